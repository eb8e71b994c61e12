/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A library to preload: counts a program's calls that change files below one folder, makes one of them fail, or kills
 * the program there, and can write all of them down. Environment:
 *
 *   FAULT_BELOW   the folder, an absolute path without links in it
 *   FAULT_AT      the number of the call, from 1 on; absent or 0: none
 *   FAULT_KIND    EIO, ENOSPC, EROFS: the call fails with it and changes nothing
 *                 kill: SIGKILL instead of the call; torn: SIGKILL behind half of a write, or behind another call
 *   FAULT_LASTS   1: so do all calls behind it
 *   FAULT_WHILE   a file: as long as it is there, all calls fail
 *   FAULT_COUNT   a file into which the number of calls so far is written, as text, before each
 *   FAULT_TRACE   a file for the records of trace.h
 *   FAULT_UNREADABLE  a file with the number of an inode, as text: what lies behind the middle of that one cannot be
 *                 read (EIO), wherever it is
 *
 * Watched: open with O_CREAT or O_TRUNC, write, pwrite, writev, pwritev, ftruncate, fsync, fdatasync, rename, link,
 * unlink, mkdir, fchmod and the variants of them that larder and LMDB call. LMDB's commits are such writes and syncs:
 * it is opened without MDB_WRITEMAP, so nothing is written through the map but the table of readers. Of reads, pread
 * and sendfile, which are not counted.
 */
/* Each function under the name that it has in the C library. */
#undef _FILE_OFFSET_BITS
#undef _FORTIFY_SOURCE

#include "tests/faults/trace.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name,bugprone-macro-parentheses): the C library's own
 * declarations name their parameters as only it may. */
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

enum verdict { GO_ON, FAIL, TEAR };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char below[PATH_MAX];
static size_t below_len;
static unsigned long calls, fault_at;
static bool fault_lasts;
static const char *fault_kind = "EIO", *fault_while, *fault_unreadable;
static int count_fd = -1, trace_fd = -1;

static int open_aside(const char *name)
{
	const char *path = getenv(name);

	return path ? REAL(open64)(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
}

__attribute__((constructor)) static void start(void)
{
	const char *folder = getenv("FAULT_BELOW"), *at = getenv("FAULT_AT"), *kind = getenv("FAULT_KIND");
	const char *lasts = getenv("FAULT_LASTS");

	fault_unreadable = getenv("FAULT_UNREADABLE");
	if (!folder)
		return;
	below_len = (size_t)snprintf(below, sizeof(below), "%s", folder);
	fault_at = at ? strtoul(at, NULL, 10) : 0;
	fault_lasts = lasts && *lasts == '1';
	fault_while = getenv("FAULT_WHILE");
	if (kind)
		fault_kind = kind;
	count_fd = open_aside("FAULT_COUNT");
	trace_fd = open_aside("FAULT_TRACE");
}

/* Whether a call at this path is watched; `relative` gets the path from the folder on. */
static bool is_below(const char *path, char relative[TRACE_PATH_MAX])
{
	if (below_len == 0 || strncmp(path, below, below_len) != 0 ||
	    (path[below_len] != '/' && path[below_len] != '\0'))
		return false;
	path += below_len;
	snprintf(relative, TRACE_PATH_MAX, "%s", *path == '/' ? path + 1 : path);
	return true;
}

static bool find_fd(int fd, char relative[TRACE_PATH_MAX])
{
	char link[64], path[PATH_MAX];
	ssize_t len;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof(path) - 1);
	if (len <= 0)
		return false;
	path[len] = '\0';
	return is_below(path, relative);
}

static bool find_path(int directory, const char *name, char relative[TRACE_PATH_MAX])
{
	char path[TRACE_PATH_MAX];

	if (*name == '/')
		return is_below(name, relative);
	if (directory == AT_FDCWD || !find_fd(directory, path))
		return false;
	if (*path)
		snprintf(relative, TRACE_PATH_MAX, "%.100s/%.150s", path, name);
	else
		snprintf(relative, TRACE_PATH_MAX, "%s", name);
	return true;
}

static bool is_due(void)
{
	return (fault_at > 0 && (calls == fault_at || (calls > fault_at && fault_lasts))) ||
	       (fault_while && access(fault_while, F_OK) == 0);
}

static int fault_errno(void)
{
	return strcmp(fault_kind, "ENOSPC") == 0 ? ENOSPC : strcmp(fault_kind, "EROFS") == 0 ? EROFS : EIO;
}

/* Counts a watched call and says what becomes of it; errno is set for FAIL. The mutex is held, and stays so until the
 * call is over: otherwise the trace would tell another order than the disk saw. */
static enum verdict begin(void)
{
	char text[32];

	pthread_mutex_lock(&mutex);
	calls++;
	if (count_fd >= 0)
		(void)!REAL(pwrite64)(count_fd, text, (size_t)snprintf(text, sizeof(text), "%lu\n", calls), 0);
	if (!is_due())
		return GO_ON;
	if (strcmp(fault_kind, "torn") == 0)
		return TEAR;
	if (strcmp(fault_kind, "kill") == 0)
		raise(SIGKILL);
	errno = fault_errno();
	return FAIL;
}

/* Ends what begin() began, with errno as the call left it. */
static void end(enum verdict verdict)
{
	if (verdict == TEAR)
		raise(SIGKILL);
	pthread_mutex_unlock(&mutex);
}

static void note(struct trace_record *record, const void *data)
{
	int errno_value = errno;

	if (trace_fd < 0)
		return;
	(void)!REAL(write)(trace_fd, record, sizeof(*record));
	if (record->len > 0)
		(void)!REAL(write)(trace_fd, data, record->len);
	errno = errno_value;
}

static void note_names(enum trace_kind kind, const char *path, const char *other)
{
	struct trace_record record = {.kind = kind};

	snprintf(record.path, sizeof(record.path), "%s", path);
	snprintf(record.other, sizeof(record.other), "%s", other);
	note(&record, NULL);
}

static void note_file(enum trace_kind kind, int fd, const char *path, uint64_t offset, const void *data, size_t len)
{
	struct trace_record record = {.kind = kind, .offset = offset, .len = (uint32_t)len};
	struct stat file = {0};

	if (fstat(fd, &file) == 0 && S_ISDIR(file.st_mode))
		record.kind = TRACE_SYNC_FOLDER;
	if (kind == TRACE_WRITE && (fcntl(fd, F_GETFL) & O_DSYNC))
		record.kind = TRACE_WRITE_SYNC;
	record.inode = file.st_ino;
	snprintf(record.path, sizeof(record.path), "%s", path);
	note(&record, data);
}

/* Files. */

static ssize_t write_at(int fd, const char *path, const void *data, size_t len, uint64_t offset)
{
	enum verdict verdict = begin();
	ssize_t written = -1;

	if (verdict == TEAR)
		len /= 2;
	if (verdict != FAIL)
		written = REAL(pwrite64)(fd, data, len, (off64_t)offset);
	if (written > 0)
		note_file(TRACE_WRITE, fd, path, offset, data, (size_t)written);
	end(verdict);
	return written;
}

/* At the file's position, which moves on. */
static ssize_t write_on(int fd, const char *path, const void *data, size_t len)
{
	off64_t offset = lseek64(fd, 0, SEEK_CUR);
	ssize_t written = write_at(fd, path, data, len, (uint64_t)offset);

	if (written > 0)
		lseek64(fd, offset + written, SEEK_SET);
	return written;
}

ssize_t pwrite64(int fd, const void *data, size_t len, off64_t offset)
{
	char path[TRACE_PATH_MAX];

	return find_fd(fd, path) ? write_at(fd, path, data, len, (uint64_t)offset)
				 : REAL(pwrite64)(fd, data, len, offset);
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
	return pwrite64(fd, data, len, offset);
}

ssize_t write(int fd, const void *data, size_t len)
{
	char path[TRACE_PATH_MAX];

	return find_fd(fd, path) ? write_on(fd, path, data, len) : REAL(write)(fd, data, len);
}

/* One buffer of the parts, for the caller to free. */
static char *gather(const struct iovec *parts, int count, size_t *len)
{
	char *data;

	*len = 0;
	for (int i = 0; i < count; i++)
		*len += parts[i].iov_len;
	data = malloc(*len + 1);
	if (!data)
		abort();
	*len = 0;
	for (int i = 0; i < count; i++) {
		memcpy(data + *len, parts[i].iov_base, parts[i].iov_len);
		*len += parts[i].iov_len;
	}
	return data;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
	char path[TRACE_PATH_MAX], *data;
	ssize_t written;
	size_t len;

	if (!find_fd(fd, path))
		return REAL(writev)(fd, parts, count);
	data = gather(parts, count, &len);
	written = write_on(fd, path, data, len);
	free(data);
	return written;
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
{
	char path[TRACE_PATH_MAX], *data;
	ssize_t written;
	size_t len;

	if (!find_fd(fd, path))
		return REAL(pwritev64)(fd, parts, count, offset);
	data = gather(parts, count, &len);
	written = write_at(fd, path, data, len, (uint64_t)offset);
	free(data);
	return written;
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
	return pwritev64(fd, parts, count, offset);
}

int ftruncate64(int fd, off64_t size)
{
	char path[TRACE_PATH_MAX];
	enum verdict verdict;
	int rc = -1;

	if (!find_fd(fd, path))
		return REAL(ftruncate64)(fd, size);
	verdict = begin();
	if (verdict != FAIL)
		rc = REAL(ftruncate64)(fd, size);
	if (rc == 0)
		note_file(TRACE_TRUNCATE, fd, path, (uint64_t)size, NULL, 0);
	end(verdict);
	return rc;
}

int ftruncate(int fd, off_t size)
{
	return ftruncate64(fd, size);
}

static int sync_file(int fd, int (*sync)(int fd))
{
	char path[TRACE_PATH_MAX];
	enum verdict verdict;
	int rc = -1;

	if (!find_fd(fd, path))
		return sync(fd);
	verdict = begin();
	if (verdict != FAIL)
		rc = sync(fd);
	if (rc == 0)
		note_file(TRACE_SYNC, fd, path, 0, NULL, 0);
	end(verdict);
	return rc;
}

int fsync(int fd)
{
	return sync_file(fd, REAL(fsync));
}

int fdatasync(int fd)
{
	return sync_file(fd, REAL(fdatasync));
}

int fchmod(int fd, mode_t mode)
{
	char path[TRACE_PATH_MAX];
	enum verdict verdict;
	int rc = -1;

	if (!find_fd(fd, path))
		return REAL(fchmod)(fd, mode);
	verdict = begin();
	if (verdict != FAIL)
		rc = REAL(fchmod)(fd, mode);
	end(verdict);
	return rc;
}

/* Reading. */

static uint64_t unreadable_inode(void)
{
	char text[32] = "";
	int fd = fault_unreadable ? REAL(open64)(fault_unreadable, O_RDONLY | O_CLOEXEC) : -1;

	if (fd < 0)
		return 0;
	(void)!REAL(pread64)(fd, text, sizeof(text) - 1, 0);
	close(fd);
	return strtoul(text, NULL, 10);
}

/* How much of a read can be had; 0: nothing, with errno set. */
static size_t readable(int fd, uint64_t offset, size_t len)
{
	uint64_t inode = unreadable_inode(), middle;
	struct stat file;

	if (inode == 0 || fstat(fd, &file) < 0 || file.st_ino != inode)
		return len;
	middle = (uint64_t)file.st_size / 2;
	errno = EIO;
	return offset >= middle ? 0 : offset + len > middle ? (size_t)(middle - offset) : len;
}

ssize_t pread64(int fd, void *data, size_t len, off64_t offset)
{
	size_t max = readable(fd, (uint64_t)offset, len);

	return max == 0 && len > 0 ? -1 : REAL(pread64)(fd, data, max, offset);
}

ssize_t pread(int fd, void *data, size_t len, off_t offset)
{
	return pread64(fd, data, len, offset);
}

ssize_t sendfile64(int out, int in, off64_t *offset, size_t len)
{
	size_t max = readable(in, (uint64_t)(offset ? *offset : lseek64(in, 0, SEEK_CUR)), len);

	return max == 0 && len > 0 ? -1 : REAL(sendfile64)(out, in, offset, max);
}

ssize_t sendfile(int out, int in, off_t *offset, size_t len)
{
	return sendfile64(out, in, offset, len);
}

/* Names. */

static int open_at(int directory, const char *name, int flags, mode_t mode)
{
	char path[TRACE_PATH_MAX];
	enum verdict verdict;
	struct stat before;
	bool new_file;
	int fd = -1;

	if (!(flags & (O_CREAT | O_TRUNC)) || !find_path(directory, name, path))
		return REAL(openat64)(directory, name, flags, mode);
	verdict = begin();
	new_file = fstatat(directory, name, &before, AT_SYMLINK_NOFOLLOW) < 0;
	/* A disk that takes no more still opens what exists. */
	if (verdict != FAIL || (!new_file && !(flags & O_TRUNC)))
		fd = REAL(openat64)(directory, name, flags, mode);
	else
		errno = fault_errno();
	if (fd >= 0 && new_file)
		note_file(TRACE_CREATE, fd, path, 0, NULL, 0);
	else if (fd >= 0 && (flags & O_TRUNC))
		note_file(TRACE_TRUNCATE, fd, path, 0, NULL, 0);
	end(verdict);
	return fd;
}

static mode_t mode_of(int flags, va_list arguments)
{
	return flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
}

#define OPEN(directory)                                                                                                \
	va_list arguments;                                                                                             \
	mode_t mode;                                                                                                   \
                                                                                                                       \
	va_start(arguments, flags);                                                                                    \
	mode = mode_of(flags, arguments);                                                                              \
	va_end(arguments);                                                                                             \
	return open_at(directory, name, flags, mode)

int openat64(int directory, const char *name, int flags, ...)
{
	OPEN(directory);
}

int openat(int directory, const char *name, int flags, ...)
{
	OPEN(directory);
}

int open64(const char *name, int flags, ...)
{
	OPEN(AT_FDCWD);
}

int open(const char *name, int flags, ...)
{
	OPEN(AT_FDCWD);
}

int mkdirat(int directory, const char *name, mode_t mode)
{
	char path[TRACE_PATH_MAX];
	enum verdict verdict;
	int rc = -1;

	if (!find_path(directory, name, path))
		return REAL(mkdirat)(directory, name, mode);
	verdict = begin();
	if (verdict != FAIL)
		rc = REAL(mkdirat)(directory, name, mode);
	if (rc == 0)
		note_names(TRACE_DIRECTORY, path, "");
	end(verdict);
	return rc;
}

int mkdir(const char *name, mode_t mode)
{
	return mkdirat(AT_FDCWD, name, mode);
}

int renameat2(int from_directory, const char *from, int to_directory, const char *to, unsigned flags)
{
	char path[TRACE_PATH_MAX], other[TRACE_PATH_MAX];
	enum verdict verdict;
	int rc = -1;

	if (!find_path(from_directory, from, path) || !find_path(to_directory, to, other))
		return REAL(renameat2)(from_directory, from, to_directory, to, flags);
	verdict = begin();
	if (verdict != FAIL)
		rc = REAL(renameat2)(from_directory, from, to_directory, to, flags);
	if (rc == 0)
		note_names(TRACE_RENAME, path, other);
	end(verdict);
	return rc;
}

int renameat(int from_directory, const char *from, int to_directory, const char *to)
{
	return renameat2(from_directory, from, to_directory, to, 0);
}

int rename(const char *from, const char *to)
{
	return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int linkat(int from_directory, const char *from, int to_directory, const char *to, int flags)
{
	char path[TRACE_PATH_MAX], other[TRACE_PATH_MAX];
	enum verdict verdict;
	int rc = -1;

	if (!find_path(from_directory, from, path) || !find_path(to_directory, to, other))
		return REAL(linkat)(from_directory, from, to_directory, to, flags);
	verdict = begin();
	if (verdict != FAIL)
		rc = REAL(linkat)(from_directory, from, to_directory, to, flags);
	if (rc == 0)
		note_names(TRACE_LINK, path, other);
	end(verdict);
	return rc;
}

int unlinkat(int directory, const char *name, int flags)
{
	char path[TRACE_PATH_MAX];
	enum verdict verdict;
	int rc = -1;

	if (!find_path(directory, name, path))
		return REAL(unlinkat)(directory, name, flags);
	verdict = begin();
	if (verdict != FAIL)
		rc = REAL(unlinkat)(directory, name, flags);
	if (rc == 0)
		note_names(TRACE_UNLINK, path, "");
	end(verdict);
	return rc;
}

int unlink(const char *name)
{
	return unlinkat(AT_FDCWD, name, 0);
}
/* NOLINTEND(readability-inconsistent-declaration-parameter-name,bugprone-macro-parentheses) */
