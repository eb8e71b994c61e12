/* SPDX-License-Identifier: Apache-2.0 */
/* Brings files and index together once after each start, a directory or a thousand blobs at a time. */
#include "store/evict_internal.h"

#include "base/log.h"
#include "store/index.h"

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

/* A published file that the index does not know becomes a root, as old as the file. */
static void adopt(struct store *store, struct sweep *sweep, const char *algorithm, int directory, const char *name)
{
	struct index_change change = {.kind = INDEX_PUT_BLOB};
	char text[DIGEST_TEXT_MAX + 256];
	struct index_blob known;
	struct digest digest;
	struct stat file;

	snprintf(text, sizeof(text), "%s:%s", algorithm, name);
	if (digest_parse(text, &digest) || index_get_blob(store->index, &digest, &known, NULL) != ERR_NOT_FOUND ||
	    fstatat(directory, name, &file, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(file.st_mode))
		return;
	change.digest = &digest;
	change.blob = (struct index_blob){.size = (uint64_t)file.st_size, .last_use = file.st_mtime};
	if (index_write_later(store->index, &change, 1) == 0)
		sweep->adopted++;
}

static void look_through(struct store *store, struct sweep *sweep, unsigned number)
{
	const char *algorithm = algorithms[number / DIRECTORIES_OF_ALGORITHM];
	char path[STORE_PATH_MAX];
	struct dirent *entry;
	DIR *directory;
	int fd;

	snprintf(path, sizeof(path), "blobs/%s/%02x", algorithm, number % DIRECTORIES_OF_ALGORITHM);
	fd = openat(store->root_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	directory = fd < 0 ? NULL : fdopendir(fd);
	if (!directory) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((entry = readdir(directory)))
		adopt(store, sweep, algorithm, fd, entry->d_name);
	closedir(directory);
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
	if (sweep->directory < DIRECTORIES) {
		look_through(store, sweep, sweep->directory++);
		return true;
	}
	if (look_for_files(store, sweep))
		return true;
	if (sweep->adopted > 0 || sweep->missing > 0)
		log_warn("store: %u files were not in the index, and are now; %u blobs had no file any more",
			 sweep->adopted, sweep->missing);
	return false;
}
