/* SPDX-License-Identifier: Apache-2.0 */
#include "store/layer_file.h"

#include "base/cleanup.h"
#include "store/index.h"
#include "store/store_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char *layer_path(const struct digest *digest, char path[STORE_PATH_MAX])
{
	char hex[DIGEST_TEXT_MAX];

	snprintf(path, STORE_PATH_MAX, "layers/%s-%s", digest_algorithm_name(digest->algorithm),
		 digest_hex(digest, hex));
	return path;
}

static int failed(struct store *store, int errno_value, const char *what, const char *path, struct err *err)
{
	return err_set_errno(err, ERR_IO, errno_value, "cannot %s %s/%s", what, store->path, path);
}

/* What a file takes on disk; 0 when there is none. */
static uint64_t bytes_on_disk(struct store *store, const char *path)
{
	struct stat found;

	if (fstatat(store->root_fd, path, &found, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	return (uint64_t)found.st_blocks * 512 + ROOM_FILE_BYTES;
}

bool layer_file_exists(struct store *store, const struct digest *digest)
{
	char path[STORE_PATH_MAX];

	return bytes_on_disk(store, layer_path(digest, path)) > 0;
}

int layer_file_read(struct store *store, const struct digest *digest, struct buf *out, struct err *err)
{
	char path[STORE_PATH_MAX], text[DIGEST_TEXT_MAX], piece[1 << 16];
	_cleanup_close_ int fd = openat(store->root_fd, layer_path(digest, path), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t got;

	if (fd < 0 && errno == ENOENT)
		return err_set(err, ERR_NOT_FOUND, "no index of %s is kept", digest_format(digest, text));
	if (fd < 0)
		return failed(store, errno, "open", path, err);
	while ((got = read(fd, piece, sizeof(piece))) > 0)
		if (buf_append(out, piece, (size_t)got))
			return err_set(err, ERR_LIMIT, "%s/%s is too large", store->path, path);
	return got < 0 ? failed(store, errno, "read", path, err) : 0;
}

static void count_change(struct store *store, uint64_t before, uint64_t after)
{
	pthread_mutex_lock(&store->room.mutex);
	store->room.layers = store->room.layers + after > before ? store->room.layers + after - before : 0;
	pthread_mutex_unlock(&store->room.mutex);
}

static int put_file(struct store *store, const char *path, const void *data, size_t len, struct err *err)
{
	char from[STORE_PATH_MAX];
	_cleanup_close_ int fd = -1;
	uint64_t before;

	snprintf(from, sizeof(from), "partial/" STORE_PUT_PREFIX "%u", atomic_fetch_add(&store->puts, 1));
	fd = openat(store->root_fd, from, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (fd < 0)
		return failed(store, errno, "create", from, err);
	before = bytes_on_disk(store, path);
	if (store_write_all(fd, data, len) < 0 || renameat(store->root_fd, from, store->root_fd, path) < 0) {
		int why = errno;

		unlinkat(store->root_fd, from, 0);
		return failed(store, why, "write", path, err);
	}
	count_change(store, before, bytes_on_disk(store, path));
	return 0;
}

int layer_file_write(struct store *store, const struct digest *digest, const void *data, size_t len, struct err *err)
{
	uint64_t bytes = len + 2 * ROOM_FILE_BYTES;
	char path[STORE_PATH_MAX];
	int code = room_take(store, bytes, STORE_ROOM_WAIT_MS, err);

	if (code)
		return code;
	code = put_file(store, layer_path(digest, path), data, len, err);
	room_give(store, bytes);
	return code;
}

void layer_file_remove(struct store *store, const struct digest *digest)
{
	char path[STORE_PATH_MAX];
	uint64_t bytes = bytes_on_disk(store, layer_path(digest, path));

	if (bytes > 0 && unlinkat(store->root_fd, path, 0) == 0)
		count_change(store, bytes, 0);
}

/* All that are there. */
static void list(struct store *store, void (*each)(struct store *store, const struct digest *digest))
{
	int fd = openat(store->root_fd, "layers", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	struct digest digest;

	if (!directory && fd >= 0)
		close(fd);
	while (directory && (entry = readdir(directory))) {
		char *dash = strchr(entry->d_name, '-');

		if (dash)
			*dash = ':';
		if (digest_parse(entry->d_name, &digest) == 0)
			each(store, &digest);
	}
	if (directory)
		closedir(directory);
}

static void count_one(struct store *store, const struct digest *digest)
{
	char path[STORE_PATH_MAX];

	count_change(store, 0, bytes_on_disk(store, layer_path(digest, path)));
}

void layer_file_count(struct store *store)
{
	list(store, count_one);
}

static bool note_parent(void *arg, const struct digest *parent, bool is_manifest)
{
	(void)parent;
	(void)is_manifest;
	*(bool *)arg = true;
	return false;
}

/* Whether the blob is on its way into the index: a layer may have been indexed as it came. It goes from the one place
 * to the other, so they are looked at in this order. */
static bool is_coming(struct store *store, const struct digest *digest)
{
	char partial[STORE_PATH_MAX], blob[STORE_PATH_MAX];

	return bytes_on_disk(store, store_partial_path(digest, "", partial)) > 0 ||
	       bytes_on_disk(store, store_blob_path(digest, blob)) > 0;
}

static void sweep_one(struct store *store, const struct digest *digest)
{
	struct index_blob blob;
	bool named = false;

	if (index_get_blob(store->index, digest, &blob, NULL) == ERR_NOT_FOUND && !is_coming(store, digest) &&
	    index_list_parents(store->index, digest, note_parent, &named, NULL) == 0 && !named)
		layer_file_remove(store, digest);
}

void layer_file_sweep(struct store *store)
{
	list(store, sweep_one);
}
