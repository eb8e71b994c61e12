/* SPDX-License-Identifier: Apache-2.0 */
#include "server/bundle/file_copy.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#define COPY_AT_ONCE ((size_t)16 << 20) /* so that a copy can be interrupted */
#define BUFFER_BYTES ((size_t)256 << 10)

static int write_error(struct err *err)
{
	return err_set_errno(err, ERR_IO, errno, "cannot write");
}

int file_write(int fd, const void *data, size_t len, struct err *err)
{
	const char *at = data;

	while (len > 0) {
		ssize_t written = write(fd, at, len);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return write_error(err);
		at += written;
		len -= (size_t)written;
	}
	return 0;
}

static int too_short(struct err *err)
{
	return err_set(err, ERR_IO, "a file became shorter while it was read");
}

static void note(const struct file_watch *watch, uint64_t bytes)
{
	if (watch)
		watch->copied(watch->arg, bytes);
}

/* What neither of the kernel's ways can do. */
static int copy_through_memory(int from, int to, uint64_t offset, uint64_t size, const struct file_watch *watch,
			       struct err *err)
{
	_cleanup_free_ char *buffer = mem_alloc(BUFFER_BYTES);

	while (offset < size) {
		size_t want = size - offset < BUFFER_BYTES ? (size_t)(size - offset) : BUFFER_BYTES;
		ssize_t got = pread(from, buffer, want, (off_t)offset);
		int code;

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_set_errno(err, ERR_IO, errno, "cannot read");
		if (got == 0)
			return too_short(err);
		code = file_write(to, buffer, (size_t)got, err);
		if (code)
			return code;
		offset += (uint64_t)got;
		note(watch, (uint64_t)got);
	}
	return 0;
}

/* copy_file_range() wants two files, sendfile() one: what says so is tried with the other. */
int file_copy(int from, int to, uint64_t size, const struct file_watch *watch, struct err *err)
{
	bool ranges = true;
	off_t offset = 0;

	while ((uint64_t)offset < size) {
		size_t want = size - (uint64_t)offset < COPY_AT_ONCE ? (size_t)(size - (uint64_t)offset) : COPY_AT_ONCE;
		ssize_t copied =
			ranges ? copy_file_range(from, &offset, to, NULL, want, 0) : sendfile(to, from, &offset, want);

		if (copied > 0)
			note(watch, (uint64_t)copied);
		if (copied > 0 || (copied < 0 && errno == EINTR))
			continue;
		if (copied == 0)
			return too_short(err);
		if (errno == ENOSPC || errno == EDQUOT || errno == EPIPE || errno == EIO || errno == EFBIG)
			return write_error(err);
		if (!ranges)
			return copy_through_memory(from, to, (uint64_t)offset, size, watch, err);
		ranges = false;
	}
	return 0;
}

bool file_is_stream(const char *path)
{
	struct stat found;

	return stat(path, &found) == 0 && !S_ISREG(found.st_mode) && !S_ISDIR(found.st_mode);
}

/* One that cannot be read counts as not. */
static bool is_empty(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	DIR *directory = copy < 0 ? NULL : fdopendir(copy);
	const struct dirent *entry;
	bool empty = true;

	if (!directory) {
		if (copy >= 0)
			close(copy);
		return false;
	}
	while ((entry = readdir(directory)))
		empty = empty && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0);
	closedir(directory);
	return empty;
}

int file_open_empty_directory(const char *path, int *out, struct err *err)
{
	_cleanup_close_ int fd = -1;

	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return err_set_errno(err, ERR_IO, errno, "cannot make the directory %s", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_set_errno(err, ERR_IO, errno, "cannot open the directory %s", path);
	if (!is_empty(fd))
		return err_set(err, ERR_INVALID, "%s is not empty", path);
	*out = take_fd(fd);
	return 0;
}

int file_create(int directory, const char *path, int *out, struct err *err)
{
	char parent[PATH_MAX];
	int fd;

	for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
		snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
		if (mkdirat(directory, parent, 0755) < 0 && errno != EEXIST)
			return err_set_errno(err, ERR_IO, errno, "cannot make the directory %s", parent);
	}
	fd = openat(directory, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return err_set_errno(err, ERR_IO, errno, "cannot create %s", path);
	*out = fd;
	return 0;
}
