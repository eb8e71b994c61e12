/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Brings files and index together. When the store is opened: what crashes leave in partial/, which never holds much.
 * And once behind each start, a little at a time, so that it goes unnoticed: all that there is.
 */
#include "store/evict_internal.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "store/index.h"
#include "store/layer_file.h"
#include "store/manifest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIRECTORIES_OF_ALGORITHM 256
#define BLOBS_AT_ONCE            1000

static const char *const algorithms[] = {"sha256", "sha512"};

#define DIRECTORIES (DIRECTORIES_OF_ALGORITHM * (sizeof(algorithms) / sizeof(*algorithms)))

static const char *blob_directory(unsigned number, char path[STORE_PATH_MAX])
{
	snprintf(path, STORE_PATH_MAX, "blobs/%s/%02x", algorithms[number / DIRECTORIES_OF_ALGORITHM],
		 number % DIRECTORIES_OF_ALGORITHM);
	return path;
}

/* Takes `suffix` off the end of a name in partial/. */
static bool take_suffix(const char *name, const char *suffix, char stem[STORE_PATH_MAX])
{
	size_t len = strlen(name), tail = strlen(suffix);

	if (len <= tail || strcmp(name + len - tail, suffix) != 0)
		return false;
	snprintf(stem, STORE_PATH_MAX, "partial/%.*s", (int)(len - tail), name);
	return true;
}

/* A crash may have come between publishing and recording: looking the blob up tells the index of it. */
static void record_marked(struct store *store, char *stem)
{
	char *name = strchr(stem, '/') + 1, *dash = strchr(name, '-');
	struct digest digest;
	uint64_t size;

	if (dash)
		*dash = ':';
	if (digest_parse(name, &digest) == 0)
		(void)store_find_blob(store, &digest, &size, NULL);
}

/* Whether a file in partial/ is worth nothing: a temporary file, a range file without its partial, a mark once its blob
 * is in the index. */
static bool is_useless(struct store *store, const char *name)
{
	char stem[STORE_PATH_MAX];

	if (strncmp(name, STORE_PUT_PREFIX, strlen(STORE_PUT_PREFIX)) == 0)
		return true;
	if (take_suffix(name, STORE_RANGES_SUFFIX, stem))
		return faccessat(store->root_fd, stem, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
	if (!take_suffix(name, STORE_MARK_SUFFIX, stem))
		return false;
	record_marked(store, stem);
	return true;
}

static void look_through_leftovers(struct store *store, const char *path, bool clean)
{
	int fd = openat(store->root_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	struct stat file;

	if (!directory && fd >= 0)
		close(fd);
	while (directory && (entry = readdir(directory))) {
		if (clean && is_useless(store, entry->d_name))
			unlinkat(fd, entry->d_name, 0);
		else if (fstatat(fd, entry->d_name, &file, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(file.st_mode))
			room_add_leftover(store, (uint64_t)file.st_blocks * 512);
	}
	if (directory)
		closedir(directory);
}

static void count_directories(struct store *store)
{
	char path[STORE_PATH_MAX];
	unsigned count = 0;

	for (unsigned number = 0; number < DIRECTORIES; number++)
		count += faccessat(store->root_fd, blob_directory(number, path), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	room_add_directories(store, count);
}

void sweep_at_open(struct store *store)
{
	count_directories(store);
	layer_file_count(store);
	look_through_leftovers(store, "partial", true);
	look_through_leftovers(store, "quarantine", false);
	/* What was looked up counts from here on. */
	(void)index_write(store->index, NULL, 0, NULL);
}

/* What was a manifest references others: JSON begins with a brace, and layers do not. */
static void adopt_references(struct store *store, const struct digest *digest, int directory, const char *name,
			     uint64_t size)
{
	_cleanup_close_ int fd = size <= MANIFEST_BYTES_MAX ? openat(directory, name, O_RDONLY | O_CLOEXEC) : -1;
	_cleanup_free_ char *data = NULL;
	char first = '\0';
	size_t len;

	if (fd < 0 || pread(fd, &first, 1, 0) != 1 || (first != '{' && first != ' ' && first != '\n'))
		return;
	data = manifest_load(store, digest, &len);
	if (data)
		(void)manifest_record(store, digest, data, len, NULL);
}

/* A published file that the index does not know becomes a root, as old as the file. */
static void adopt(struct store *store, struct sweep *sweep, const char *algorithm, int directory, const char *name)
{
	struct index_change change = {.kind = INDEX_PUT_BLOB};
	char text[DIGEST_TEXT_MAX + 256];
	struct index_blob known;
	struct digest digest;
	struct stat file;

	snprintf(text, sizeof(text), "%s:%s", algorithm, name);
	if (digest_parse(text, &digest) || fstatat(directory, name, &file, AT_SYMLINK_NOFOLLOW) < 0 ||
	    !S_ISREG(file.st_mode))
		return;
	if (index_get_blob(store->index, &digest, &known, NULL) == ERR_NOT_FOUND) {
		change.digest = &digest;
		change.blob = (struct index_blob){.size = (uint64_t)file.st_size, .last_use = file.st_mtime};
		if (index_write_later(store->index, &change, 1) == ERR_LIMIT)
			(void)index_write(store->index, &change, 1, NULL);
		sweep->adopted++;
	} else if (!sweep->rebuilding) {
		return;
	}
	adopt_references(store, &digest, directory, name, (uint64_t)file.st_size);
}

/* False: there is no such directory. */
static bool look_through(struct store *store, struct sweep *sweep, unsigned number)
{
	const char *algorithm = algorithms[number / DIRECTORIES_OF_ALGORITHM];
	char path[STORE_PATH_MAX];
	struct dirent *entry;
	DIR *directory;
	int fd;

	fd = openat(store->root_fd, blob_directory(number, path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	directory = fd < 0 ? NULL : fdopendir(fd);
	if (!directory) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	while ((entry = readdir(directory)))
		adopt(store, sweep, algorithm, fd, entry->d_name);
	closedir(directory);
	return true;
}

struct chunk {
	struct digest digests[BLOBS_AT_ONCE];
	unsigned count;
};

static bool take_blob(void *arg, const struct digest *digest, const struct index_blob *blob)
{
	struct chunk *chunk = arg;

	(void)blob;
	chunk->digests[chunk->count++] = *digest;
	return chunk->count < BLOBS_AT_ONCE;
}

/* Only files are removed on this thread, and others publish a file before the index knows it: what is known and has no
 * file has really gone. */
static bool look_for_files(struct store *store, struct sweep *sweep)
{
	struct index_change change = {.kind = INDEX_DELETE_BLOB};
	struct chunk chunk = {.count = 0};
	char path[STORE_PATH_MAX];
	struct stat file;

	if (index_list_blobs(store->index, sweep->after.algorithm ? &sweep->after : NULL, take_blob, &chunk, NULL))
		return false;
	for (unsigned i = 0; i < chunk.count; i++) {
		store_blob_path(&chunk.digests[i], path);
		if (fstatat(store->root_fd, path, &file, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT)
			continue;
		change.digest = &chunk.digests[i];
		if (index_write_later(store->index, &change, 1) == 0)
			sweep->missing++;
	}
	if (chunk.count > 0)
		sweep->after = chunk.digests[chunk.count - 1];
	return chunk.count == BLOBS_AT_ONCE;
}

bool sweep_step(struct store *store, struct sweep *sweep)
{
	while (sweep->directory < DIRECTORIES)
		if (look_through(store, sweep, sweep->directory++))
			return true;
	if (look_for_files(store, sweep))
		return true;
	layer_file_sweep(store);
	if (sweep->adopted > 0 || sweep->missing > 0)
		log_warn("store: %u files were not in the index, and are now; %u blobs had no file any more",
			 sweep->adopted, sweep->missing);
	return false;
}

struct named {
	struct {
		struct digest digest;
		int64_t checked; /* the newest of its names; of one that is needed, for ever */
	} digests[BLOBS_AT_ONCE];
	unsigned count;
};

static bool take_named(void *arg, const struct digest *digest, int64_t checked, bool needed)
{
	struct named *named = arg;
	unsigned at = named->count;

	checked = needed ? INT64_MAX : checked;
	if (at > 0 && digest_equal(&named->digests[at - 1].digest, digest)) {
		if (checked > named->digests[at - 1].checked)
			named->digests[at - 1].checked = checked;
		return true;
	}
	if (at == BLOBS_AT_ONCE)
		return false;
	named->digests[at].digest = *digest;
	named->digests[at].checked = checked;
	named->count++;
	return true;
}

bool sweep_names(struct store *store, struct digest *after)
{
	_cleanup_free_ struct named *named = mem_alloc(sizeof(*named));
	struct index_change change = {.kind = INDEX_FORGET_NAMES};
	int64_t oldest = clock_wall_s() - SWEEP_NAMES_AGE_S;
	int code = index_list_named(store->index, after->algorithm ? after : NULL, take_named, named, NULL);

	for (unsigned i = 0; i < named->count && !code; i++) {
		change.digest = &named->digests[i].digest;
		if (named->digests[i].checked < oldest)
			code = index_write_later(store->index, &change, 1);
	}
	*after = (struct digest){0};
	if (code || named->count < BLOBS_AT_ONCE)
		return false;
	*after = named->digests[named->count - 1].digest;
	return true;
}
