/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Published blobs. The file is the truth: it was verified and synced before its rename gave it its name. The index
 * follows it, and is asked before the file is looked at: since a file is there before the index knows of it, a blob
 * that the index knows and whose file is missing has really gone.
 */
#include "store/store_internal.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/count.h"
#include "base/log.h"
#include "store/index.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define PUBLISH_TRIES 3

static int file_error(struct store *store, int errno_value, const char *what, const char *path, struct err *err)
{
	return err_set_errno(err, ERR_IO, errno_value, "cannot %s %s/%s", what, store->path, path);
}

void store_change_later(struct store *store, enum index_change_kind kind, const struct digest *digest, uint64_t size)
{
	struct index_change change = {
		.kind = kind, .digest = digest, .blob = {.size = size, .last_use = clock_wall_s()}};

	/* When the queue is full, the next one who asks for the blob mends the index. */
	(void)index_write_later(store->index, &change, 1);
}

/* Without it the sweep finds the blob, only later. */
static void make_mark(struct store *store, const struct digest *digest)
{
	char path[STORE_PATH_MAX];
	_cleanup_close_ int fd = openat(store->root_fd, store_partial_path(digest, STORE_MARK_SUFFIX, path),
					O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);

	if (fd < 0)
		log_debug("store: cannot create %s: %s", path, strerrordesc_np(errno));
}

static void remove_mark(struct store *store, const struct digest *digest)
{
	char path[STORE_PATH_MAX];

	unlinkat(store->root_fd, store_partial_path(digest, STORE_MARK_SUFFIX, path), 0);
}

int store_record_blob(struct store *store, const struct digest *digest, uint64_t size, struct err *err)
{
	struct index_change change = {
		.kind = INDEX_PUT_BLOB, .digest = digest, .blob = {.size = size, .last_use = clock_wall_s()}};
	int code = index_write(store->index, &change, 1, err);

	if (code == 0)
		remove_mark(store, digest);
	return code;
}

static int not_found(const struct digest *digest, struct err *err)
{
	char text[DIGEST_TEXT_MAX];

	return err ? err_set(err, ERR_NOT_FOUND, "%s is not stored", digest_format(digest, text)) : ERR_NOT_FOUND;
}

/* Brings the file and the index together. `known` is what the index said (NULL: nothing), `found` what the disk says
 * (NULL: no such file). */
static int reconcile(struct store *store, const struct digest *digest, const struct index_blob *known,
		     const struct stat *found, struct err *err)
{
	char path[STORE_PATH_MAX];

	if (!found) {
		if (known && !room_is_removing(store, digest)) {
			log_warn("store: %s/%s is missing, forgetting it", store->path, store_blob_path(digest, path));
			store_change_later(store, INDEX_DELETE_BLOB, digest, 0);
		}
		return not_found(digest, err);
	}
	if (S_ISREG(found->st_mode) && !known) {
		if (room_is_removing(store, digest))
			return not_found(digest, err);
		store_change_later(store, INDEX_PUT_BLOB, digest, (uint64_t)found->st_size);
		return 0;
	}
	if (S_ISREG(found->st_mode) && (uint64_t)found->st_size == known->size)
		return 0;
	store_blob_path(digest, path);
	log_warn("store: %s/%s is not what was published, quarantining it", store->path, path);
	store_quarantine_file(store, path, digest, NULL);
	store_change_later(store, INDEX_DELETE_BLOB, digest, 0);
	return err_set(err, ERR_IO, "%s/%s is not what was published; it was moved to quarantine", store->path, path);
}

int store_open_blob(struct store *store, const struct digest *digest, int *fd, uint64_t *size, struct err *err)
{
	char path[STORE_PATH_MAX];
	_cleanup_close_ int file = -1;
	struct index_blob known;
	struct stat found;
	int known_code = index_get_blob(store->index, digest, &known, err);
	int code;

	if (known_code && known_code != ERR_NOT_FOUND)
		return known_code;
	file = openat(store->root_fd, store_blob_path(digest, path), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (file < 0 && errno != ENOENT)
		return file_error(store, errno, "open", path, err);
	if (file >= 0 && fstat(file, &found) < 0)
		return file_error(store, errno, "look at", path, err);
	code = reconcile(store, digest, known_code ? NULL : &known, file < 0 ? NULL : &found, err);
	if (code)
		return code;
	*size = (uint64_t)found.st_size;
	*fd = take_fd(file);
	return 0;
}

int store_find_blob(struct store *store, const struct digest *digest, uint64_t *size, struct err *err)
{
	char path[STORE_PATH_MAX];
	struct index_blob known;
	struct stat found;
	bool there;
	int known_code = index_get_blob(store->index, digest, &known, err);
	int code;

	if (known_code && known_code != ERR_NOT_FOUND)
		return known_code;
	there = fstatat(store->root_fd, store_blob_path(digest, path), &found, AT_SYMLINK_NOFOLLOW) == 0;
	if (!there && errno != ENOENT)
		return file_error(store, errno, "look at", path, err);
	code = reconcile(store, digest, known_code ? NULL : &known, there ? &found : NULL, err);
	if (!code)
		*size = (uint64_t)found.st_size;
	return code;
}

/* "blobs/sha256/ab", made durable level by level. */
static int make_blob_directories(struct store *store, const char *blob_path, struct err *err)
{
	char path[STORE_PATH_MAX], parent[STORE_PATH_MAX] = "blobs";

	for (const char *slash = strchr(blob_path + strlen("blobs/"), '/'); slash; slash = strchr(slash + 1, '/')) {
		snprintf(path, sizeof(path), "%.*s", (int)(slash - blob_path), blob_path);
		if (mkdirat(store->root_fd, path, STORE_DIRECTORY_MODE) == 0)
			room_add_directories(store, 1);
		else if (errno != EEXIST)
			return file_error(store, errno, "make the directory", path, err);
		/* Also when it exists: whoever made it may not have come to this line yet. */
		int code = store_sync_directory(store, parent, err);
		if (code)
			return code;
		snprintf(parent, sizeof(parent), "%s", path);
	}
	return 0;
}

int store_rename_new(struct store *store, const char *from, const char *to)
{
	if (renameat2(store->root_fd, from, store->root_fd, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	/* The file system does not know RENAME_NOREPLACE; a second link refuses to replace just as well. */
	if (linkat(store->root_fd, from, store->root_fd, to, 0) < 0)
		return -1;
	return unlinkat(store->root_fd, from, 0);
}

/* What to do about a blob of this name that is there already: 0 when it is as good as ours, ERR_AGAIN when it is out of
 * the way. */
static int give_way(struct store *store, const char *from, const char *to, const struct digest *digest, uint64_t size,
		    struct err *err)
{
	struct stat found;

	if (fstatat(store->root_fd, to, &found, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? ERR_AGAIN : file_error(store, errno, "look at", to, err);
	if (!S_ISREG(found.st_mode) || (uint64_t)found.st_size != size) {
		int code = store_quarantine_file(store, to, digest, err);

		return code ? code : ERR_AGAIN;
	}
	unlinkat(store->root_fd, from, 0);
	return 0;
}

/* Gives `from` the name `to`, whatever is or is not there yet. */
static int take_place(struct store *store, const char *from, const char *to, const struct digest *digest, uint64_t size,
		      struct err *err)
{
	int code = ERR_AGAIN;

	for (int tries = 0; code == ERR_AGAIN && tries < PUBLISH_TRIES; tries++) {
		if (store_rename_new(store, from, to) == 0) {
			code = 0;
		} else if (errno == ENOENT) {
			int made = make_blob_directories(store, to, err);

			if (made)
				return made;
		} else if (errno == EEXIST) {
			code = give_way(store, from, to, digest, size, err);
		} else {
			return file_error(store, errno, "publish", to, err);
		}
	}
	return code == ERR_AGAIN ? err_set(err, ERR_IO, "cannot publish %s/%s: it keeps vanishing", store->path, from)
				 : code;
}

int store_sync_file(struct store *store, const char *name, int fd, struct err *err)
{
	return fchmod(fd, 0444) < 0 || fsync(fd) < 0 ? file_error(store, errno, "sync", name, err) : 0;
}

int store_publish_file(struct store *store, const char *from, const struct digest *digest, uint64_t size,
		       struct err *err)
{
	char to[STORE_PATH_MAX], directory[STORE_PATH_MAX];
	int code;

	/* What eviction is taking away would be forgotten again. */
	room_await_removal(store, digest);
	make_mark(store, digest);
	store_blob_path(digest, to);
	code = take_place(store, from, to, digest, size, err);
	if (code) {
		remove_mark(store, digest);
		return code;
	}
	snprintf(directory, sizeof(directory), "%.*s", (int)(strrchr(to, '/') - to), to);
	return store_sync_directory(store, directory, err);
}

int store_write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t written = write(fd, data, len);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return -1;
		data += written;
		len -= (size_t)written;
	}
	return 0;
}

/* Writes, publishes and records, with the room for it reserved. */
static int put_blob(struct store *store, const struct digest *digest, const void *data, size_t len, struct err *err)
{
	_cleanup_close_ int fd = -1;
	char path[STORE_PATH_MAX];
	int code;

	snprintf(path, sizeof(path), "partial/" STORE_PUT_PREFIX "%u", atomic_fetch_add(&store->puts, 1));
	/* What an earlier run left is cleaned when the store is opened; should that have failed, it is taken over. */
	fd = openat(store->root_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (fd < 0)
		return file_error(store, errno, "create", path, err);
	if (store_write_all(fd, data, len) < 0)
		code = file_error(store, errno, "write", path, err);
	else
		code = store_sync_file(store, path, fd, err);
	if (!code)
		code = store_publish_file(store, path, digest, len, err);
	if (code) {
		unlinkat(store->root_fd, path, 0);
		return code;
	}
	return store_record_blob(store, digest, len, err);
}

int store_put_blob(struct store *store, const struct digest *digest, const void *data, size_t len, struct err *err)
{
	uint64_t held, bytes = len + ROOM_FILE_BYTES;
	int code;

	if (store_find_blob(store, digest, &held, NULL) == 0 && held == len)
		return 0;
	code = room_take(store, bytes, STORE_ROOM_WAIT_MS, err);
	if (code) {
		store_note_unwritable(store, err ? err->text : "there is no room");
		return code;
	}
	code = put_blob(store, digest, data, len, err);
	room_give(store, bytes);
	if (code)
		store_note_unwritable(store, err ? err->text : "a manifest cannot be kept");
	return code;
}

int store_open_scratch(struct store *store, int *out, struct err *err)
{
	char path[STORE_PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "partial/" STORE_PUT_PREFIX "%u", atomic_fetch_add(&store->puts, 1));
	fd = openat(store->root_fd, path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return file_error(store, errno, "create", path, err);
	unlinkat(store->root_fd, path, 0);
	*out = fd;
	return 0;
}
