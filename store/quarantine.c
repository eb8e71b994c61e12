/* SPDX-License-Identifier: Apache-2.0 */
/* What proved damaged is put aside: not served any more, and kept for a look at it. */
#include "store/store_internal.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/count.h"
#include "base/log.h"
#include "store/index.h"
#include "store/verify.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define DOUBT_CHUNK ((size_t)64 << 10)

/* The time at the end of a quarantined file's name, or -1 for what is none. */
static int64_t quarantine_time(const char *name)
{
	const char *dot = strrchr(name, '.');
	size_t digits = dot ? strspn(dot + 1, "0123456789") : 0;

	if (digits == 0 || digits > 18 || dot[1 + digits] != '\0' || dot == name)
		return -1;
	return strtoll(dot + 1, NULL, 10);
}

void store_list_quarantined(struct store *store, bool (*each)(void *arg, const struct digest *digest), void *arg)
{
	int fd = openat(store->root_fd, "quarantine", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	bool more = true;

	while (directory && more && (entry = readdir(directory))) {
		_cleanup_free_ char *name = mem_strdup(entry->d_name);
		char *dash = strchr(name, '-');
		struct digest digest;

		if (!dash || quarantine_time(name) < 0)
			continue;
		*dash = ':';
		*strrchr(name, '.') = '\0';
		if (digest_parse(name, &digest) == 0)
			more = each(arg, &digest);
	}
	if (directory)
		closedir(directory);
	else if (fd >= 0)
		close(fd);
}

/* Removes the oldest files until STORE_QUARANTINE_MAX are left. */
static void prune_quarantine(struct store *store)
{
	size_t count = STORE_QUARANTINE_MAX + 1;

	while (count > STORE_QUARANTINE_MAX) {
		int fd = openat(store->root_fd, "quarantine", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		DIR *directory = fd < 0 ? NULL : fdopendir(fd);
		char oldest[256] = "";
		struct dirent *entry;

		count = 0;
		while (directory && (entry = readdir(directory))) {
			int64_t when = quarantine_time(entry->d_name);

			if (when < 0)
				continue;
			count++;
			if (!*oldest || when < quarantine_time(oldest))
				snprintf(oldest, sizeof(oldest), "%s", entry->d_name);
		}
		if (count > STORE_QUARANTINE_MAX && unlinkat(fd, oldest, 0) < 0 && errno != ENOENT)
			count = 0;
		if (directory)
			closedir(directory);
		else if (fd >= 0)
			close(fd);
	}
}

int store_quarantine_file(struct store *store, const char *from, const struct digest *digest, struct err *err)
{
	char to[STORE_PATH_MAX], hex[DIGEST_TEXT_MAX];
	struct timespec now;
	struct stat file;

	if (fstatat(store->root_fd, from, &file, AT_SYMLINK_NOFOLLOW) == 0)
		room_add_leftover(store, (uint64_t)file.st_blocks * 512);
	/* Microseconds, so that names differ and sort by age. */
	do {
		clock_gettime(CLOCK_REALTIME, &now);
		snprintf(to, sizeof(to), "quarantine/%s-%s.%lld%06ld", digest_algorithm_name(digest->algorithm),
			 digest_hex(digest, hex), (long long)now.tv_sec, now.tv_nsec / 1000);
		if (store_rename_new(store, from, to) == 0) {
			count_add(&store->corrupt, 1);
			prune_quarantine(store);
			return 0;
		}
	} while (errno == EEXIST);
	return errno == ENOENT ? 0 : err_set_errno(err, ERR_IO, errno, "cannot quarantine %s/%s", store->path, from);
}

int store_quarantine_blob(struct store *store, const struct digest *digest, const char *reason, struct err *err)
{
	struct index_change change = {.kind = INDEX_DELETE_BLOB, .digest = digest};
	char path[STORE_PATH_MAX];
	int code = store_quarantine_file(store, store_blob_path(digest, path), digest, err);

	if (code)
		return code;
	log_warn("store: %s/%s quarantined: %s", store->path, path, reason);
	return index_write(store->index, &change, 1, err);
}

bool store_is_blob(struct store *store, const struct digest *digest, int fd)
{
	char path[STORE_PATH_MAX];
	struct stat opened, there;

	return fstat(fd, &opened) == 0 &&
	       fstatat(store->root_fd, store_blob_path(digest, path), &there, AT_SYMLINK_NOFOLLOW) == 0 &&
	       opened.st_ino == there.st_ino;
}

/* Whether these bytes of a file can be read at all. */
static bool can_read(int fd, uint64_t offset, uint64_t len)
{
	_cleanup_free_ char *chunk = mem_alloc(DOUBT_CHUNK);
	uint64_t end = offset + len;

	while (offset < end) {
		ssize_t got = pread(fd, chunk, end - offset < DOUBT_CHUNK ? end - offset : DOUBT_CHUNK, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		offset += (uint64_t)got;
	}
	return true;
}

int store_doubt_blob(struct store *store, const struct digest *digest, uint64_t offset, uint64_t len, struct err *err)
{
	_cleanup_close_ int fd = -1;
	char path[STORE_PATH_MAX];
	uint64_t size;
	/* A file of another size is in quarantine behind this. */
	int code = store_open_blob(store, digest, &fd, &size, err);

	if (code == 0 && !can_read(fd, offset, len) && store_is_blob(store, digest, fd)) {
		code = err_set(err, ERR_IO, "%s/%s cannot be read; it goes to quarantine", store->path,
			       store_blob_path(digest, path));
		log_warn("store: %s/%s cannot be read, quarantining it", store->path, path);
		store_quarantine_file(store, path, digest, NULL);
		store_change_later(store, INDEX_DELETE_BLOB, digest, 0);
	}
	if (code == ERR_IO)
		scrub_suspect(store, digest);
	return code;
}
