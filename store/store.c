/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening the store: owner, lock, format version, directories, index, in this order, so that a process that does not
 * get the lock changes nothing.
 */
#include "store/evict_internal.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/count.h"
#include "base/log.h"
#include "store/index.h"
#include "store/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define VERSION_NEW "VERSION.new"
#define INDEX_NEW   "index.new"

static const char *const directories[] = {"index", "blobs", "layers", "partial", "quarantine"};

/* A text that says what to do; a full disk keeps its code. */
static int open_error(struct err *err, int errno_value, const char *what, const char *path)
{
	const char *advice = "see that the disk works";

	switch (errno_value) {
	case ENOSPC:
	case EDQUOT:
		return err_set_errno(err, ERR_NO_SPACE, errno_value, "%s %s", what, path);
	case EACCES:
	case EPERM:
		advice = "give it to the user that larder runs as, or name another directory with --store";
		break;
	case EROFS:
		advice = "mount it writable, or name another directory with --store";
		break;
	case ENOTDIR:
	case EEXIST:
	case ELOOP:
		advice = "a file is where a directory should be: move it away, or name another directory with --store";
		break;
	default:
		break;
	}
	return err_set(err, ERR_IO, "%s %s: %s; %s", what, path, strerrordesc_np(errno_value), advice);
}

const char *store_blob_path(const struct digest *digest, char path[STORE_PATH_MAX])
{
	char hex[DIGEST_TEXT_MAX];

	digest_hex(digest, hex);
	snprintf(path, STORE_PATH_MAX, "blobs/%s/%.2s/%s", digest_algorithm_name(digest->algorithm), hex, hex);
	return path;
}

const char *store_partial_path(const struct digest *digest, const char *suffix, char path[STORE_PATH_MAX])
{
	char hex[DIGEST_TEXT_MAX];

	snprintf(path, STORE_PATH_MAX, "partial/%s-%s%s", digest_algorithm_name(digest->algorithm),
		 digest_hex(digest, hex), suffix);
	return path;
}

int store_sync_directory(struct store *store, const char *path, struct err *err)
{
	_cleanup_close_ int fd = openat(store->root_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd) < 0)
		return err_set_errno(err, ERR_IO, errno, "cannot sync %s/%s", store->path, path);
	return 0;
}

/* mkdir -p. What exists may be a link. */
int store_make_directory(const char *path, struct err *err)
{
	_cleanup_free_ char *copy = mem_strdup(path);

	for (char *at = copy; *at;) {
		char held;

		at += strspn(at, "/");
		at += strcspn(at, "/");
		held = *at;
		*at = '\0';
		if (mkdir(copy, STORE_DIRECTORY_MODE) < 0 && errno != EEXIST) {
			int errno_value = errno;
			struct stat stat_buffer;

			/* On a read-only mount, mkdir() says so even of what exists. */
			if (stat(copy, &stat_buffer) < 0)
				return open_error(err, errno_value, "cannot create the store", copy);
		}
		*at = held;
	}
	return 0;
}

static int open_root(struct store *store, struct err *err)
{
	int code = store_make_directory(store->path, err);

	if (code)
		return code;
	store->root_fd = open(store->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (store->root_fd >= 0)
		store->real_path = realpath(store->path, NULL);
	if (!store->real_path)
		return open_error(err, errno, "cannot open the store", store->path);
	return 0;
}

/* A store is its user's who made it: what root, say, wrote into it, that user could not change. The directory itself
 * may be somebody else's, as a volume that was mounted for us is. */
static int check_owner(struct store *store, struct err *err)
{
	struct stat found;

	if (fstatat(store->root_fd, "VERSION", &found, AT_SYMLINK_NOFOLLOW) < 0 || found.st_uid == geteuid())
		return 0;
	return err_set(err, ERR_IO,
		       "the store %s belongs to user %u, and larder runs as user %u: run it as user %u, or name "
		       "another directory with --store",
		       store->path, found.st_uid, geteuid(), found.st_uid);
}

static int take_lock(struct store *store, struct err *err)
{
	char text[32] = "";
	ssize_t len;

	store->lock_fd = openat(store->root_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (store->lock_fd < 0)
		return open_error(err, errno, "cannot lock the store", store->path);
	if (flock(store->lock_fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK)
			return open_error(err, errno, "cannot lock the store", store->path);
		len = pread(store->lock_fd, text, sizeof(text) - 1, 0);
		text[len > 0 ? strspn(text, "0123456789") : 0] = '\0';
		return err_set(err, ERR_BUSY,
			       "the store %s is held by process %s; stop it, or name another directory with --store",
			       store->path, *text ? text : "(unknown)");
	}
	/* It is emptied at an orderly end. */
	store->unclean = pread(store->lock_fd, text, sizeof(text), 0) > 0;
	len = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
	if (ftruncate(store->lock_fd, 0) < 0 || pwrite(store->lock_fd, text, (size_t)len, 0) != len)
		return open_error(err, errno, "cannot write the lock of the store", store->path);
	return 0;
}

static int write_version(struct store *store, struct err *err)
{
	_cleanup_close_ int fd = -1;
	char text[16];
	int len = snprintf(text, sizeof(text), "%d\n", STORE_FORMAT_VERSION);

	fd = openat(store->root_fd, VERSION_NEW, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (fd < 0 || pwrite(fd, text, (size_t)len, 0) != len || fsync(fd) < 0 ||
	    renameat(store->root_fd, VERSION_NEW, store->root_fd, "VERSION") < 0 || fsync(store->root_fd) < 0)
		return open_error(err, errno, "cannot write VERSION in the store", store->path);
	return 0;
}

/* Reads what format the store has; a new store is of ours. */
static int check_version(struct store *store, int *version, struct err *err)
{
	_cleanup_close_ int fd = openat(store->root_fd, "VERSION", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char text[16] = "";
	size_t digits;
	ssize_t len;

	*version = STORE_FORMAT_VERSION;
	if (fd < 0 && errno == ENOENT)
		return write_version(store, err);
	len = fd < 0 ? -1 : pread(fd, text, sizeof(text) - 1, 0);
	if (len < 0)
		return open_error(err, errno, "cannot read VERSION in the store", store->path);
	digits = strspn(text, "0123456789");
	if (digits == 0 || digits > 9 || text[0] == '0' || strcmp(text + digits, "\n") != 0 ||
	    (size_t)len != digits + 1)
		return err_set(err, ERR_INVALID,
			       "%s/VERSION is no format number: if this is a larder store, write \"%d\" into it, else "
			       "name another "
			       "directory with --store",
			       store->path, STORE_FORMAT_VERSION);
	text[digits] = '\0';
	if (digits > 1 || text[0] - '0' > STORE_FORMAT_VERSION)
		return err_set(err, ERR_UNSUPPORTED,
			       "the store %s has format %s, this larder knows up to %d: run the newer larder that "
			       "wrote it, or name "
			       "another directory with --store",
			       store->path, text, STORE_FORMAT_VERSION);
	*version = text[0] - '0';
	return 0;
}

static int make_directories(struct store *store, struct err *err)
{
	for (size_t i = 0; i < sizeof(directories) / sizeof(*directories); i++) {
		struct stat found;

		if (mkdirat(store->root_fd, directories[i], STORE_DIRECTORY_MODE) == 0)
			continue;
		if (errno != EEXIST)
			return open_error(err, errno, "cannot make directories in the store", store->path);
		if (fstatat(store->root_fd, directories[i], &found, 0) < 0 || !S_ISDIR(found.st_mode))
			return open_error(err, ENOTDIR, directories[i], store->path);
	}
	if (fsync(store->root_fd) < 0)
		return open_error(err, errno, "cannot sync the store", store->path);
	return 0;
}

static void remove_index_new(struct store *store)
{
	unlinkat(store->root_fd, INDEX_NEW "/data.mdb", 0);
	unlinkat(store->root_fd, INDEX_NEW "/lock.mdb", 0);
	unlinkat(store->root_fd, INDEX_NEW, AT_REMOVEDIR);
}

/* A new index gets its place once it is whole and durable: what is cut off in LMDB's first write is no index to it. */
static int make_index(struct store *store, struct err *err)
{
	_cleanup_free_ char *path = mem_printf("%s/" INDEX_NEW, store->path);
	struct index *index = NULL;
	int code;

	remove_index_new(store);
	if (faccessat(store->root_fd, "index/data.mdb", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	if (mkdirat(store->root_fd, INDEX_NEW, STORE_DIRECTORY_MODE) < 0 && errno != EEXIST)
		return open_error(err, errno, "cannot make directories in the store", store->path);
	code = index_open(path, &(struct index_options){0}, &index, err);
	if (code)
		return code;
	index_close(index);
	if (renameat(store->root_fd, INDEX_NEW "/data.mdb", store->root_fd, "index/data.mdb") < 0)
		return open_error(err, errno, "cannot make the index in the store", store->path);
	remove_index_new(store);
	return 0;
}

/* An older format is upgraded, and only then called ours: a crash between the two repeats it. */
static int open_index(struct store *store, int version, struct err *err)
{
	_cleanup_free_ char *path = mem_printf("%s/index", store->path);
	_cleanup_free_ char *damaged = mem_printf("%s/index.damaged", store->path);
	struct index_options options = {.upgrade = version < STORE_FORMAT_VERSION, .check = store->unclean};
	int code = make_index(store, err);

	if (!code)
		code = index_open(path, &options, &store->index, err);
	/* One that was replaced, and not read to its end yet. */
	if (!code && faccessat(store->root_fd, "index.damaged", F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
		atomic_store(&store->rebuilding, true);
		index_take_old(store->index, index_open_old(damaged));
	}
	/* LMDB syncs what it writes into its files, but not the directory that names them. */
	if (!code)
		code = store_sync_directory(store, "index", err);
	return code || version == STORE_FORMAT_VERSION ? code : write_version(store, err);
}

int store_open(const struct store_options *options, struct store **store_out, struct err *err)
{
	struct store *store = mem_alloc(sizeof(*store));
	int code, version;

	store->path = mem_strdup(options->path);
	store->root_fd = store->lock_fd = -1;
	room_init(&store->room);
	if ((code = open_root(store, err)) || (code = check_owner(store, err)) || (code = take_lock(store, err)) ||
	    (code = check_version(store, &version, err)) || (code = make_directories(store, err)) ||
	    (code = open_index(store, version, err))) {
		store_close(store);
		return code;
	}
	sweep_at_open(store);
	*store_out = store;
	return 0;
}

void store_close(struct store *store)
{
	if (!store)
		return;
	scrub_stop(store);
	evict_stop(store);
	index_close(store->index);
	if (store->index && ftruncate(store->lock_fd, 0) < 0)
		log_debug("store: the lock cannot be emptied");
	if (store->lock_fd >= 0)
		close(store->lock_fd);
	if (store->root_fd >= 0)
		close(store->root_fd);
	room_dispose(&store->room);
	free(store->real_path);
	free(store->path);
	free(store);
}

const char *store_path(const struct store *store)
{
	return store->real_path;
}

struct index *store_index(struct store *store)
{
	return store->index;
}

int store_free_bytes(struct store *store, uint64_t *bytes, struct err *err)
{
	struct statvfs found;

	if (fstatvfs(store->root_fd, &found) < 0)
		return err_set_errno(err, ERR_IO, errno, "cannot look at the file system of %s", store->path);
	*bytes = (uint64_t)found.f_bavail * found.f_frsize;
	return 0;
}

uint64_t store_corrupt_count(const struct store *store)
{
	return count_read(&store->corrupt);
}

int store_probe(struct store *store, struct err *err)
{
	char path[STORE_PATH_MAX];
	int code = 0;
	int fd;

	snprintf(path, sizeof(path), "partial/" STORE_PUT_PREFIX "probe.%u", atomic_fetch_add(&store->puts, 1));
	fd = openat(store->root_fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (fd < 0)
		return err_set(err, errno == ENOSPC || errno == EDQUOT ? ERR_NO_SPACE : ERR_IO, "%s",
			       strerrordesc_np(errno));
	if (write(fd, "", 1) != 1)
		code = err_set(err, errno == ENOSPC || errno == EDQUOT ? ERR_NO_SPACE : ERR_IO, "%s",
			       strerrordesc_np(errno));
	close(fd);
	unlinkat(store->root_fd, path, 0);
	return code;
}
