/* SPDX-License-Identifier: Apache-2.0 */
/* Files that go somewhere: copied in the kernel, by reflink where the file system can. All functions block. */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writes all of it. ERR_IO, ERR_NO_SPACE. */
int file_write(int fd, const void *data, size_t len, struct err *err);

/* Told of the bytes that were copied since it was last told; NULL where nobody is. */
struct file_watch {
	void (*copied)(void *arg, uint64_t bytes);
	void *arg;
};

/* Copies the first `size` bytes of the file `from` to where `to` stands: a file, a pipe, a socket. ERR_IO (also when
 * there are fewer), ERR_NO_SPACE. */
int file_copy(int from, int to, uint64_t size, const struct file_watch *watch, struct err *err);

/* Whether there is something at the path that is written to as it is, and not replaced: a pipe, a device. */
bool file_is_stream(const char *path);

/* Opens a directory, making it where there is none. ERR_INVALID when it is not empty. */
int file_open_empty_directory(const char *path, int *out, struct err *err);

/* Creates a file below a directory, and the directories in between, which the caller has checked to be its own. */
int file_create(int directory, const char *path, int *out, struct err *err);
