/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a tar archive that a stranger may have made, packed with gzip or not, from a stream. Its files come one after
 * the other; what has no business in an image (devices, hard links, holes, paths that lead out of the archive) ends it.
 * archive.c is the one file that names libarchive. One thread at a time.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ARCHIVE_PATH_LEN_MAX 512
#define ARCHIVE_BLOCK        ((size_t)256 << 10) /* what is read at once */

/* Up to `max` bytes: the count, 0 at the end, or a negative error code. */
struct archive_source {
	ssize_t (*read)(void *arg, void *data, size_t max);
	void *arg;
};

struct archive_reader;

/* A file, or a symbolic link within the archive. */
struct archive_file {
	char path[ARCHIVE_PATH_LEN_MAX + 1]; /* "blobs/sha256/…": no "./" in front, no "..", nothing unprintable */
	char link[ARCHIVE_PATH_LEN_MAX + 1]; /* of a link, the path that it leads to; else "" */
	uint64_t size;
};

struct archive_reader *archive_reader_new(const struct archive_source *source);
/* Takes NULL. */
void archive_reader_free(struct archive_reader *reader);

/* The next file. ERR_NOT_FOUND at the end; ERR_INVALID: something in it must not be there; ERR_UPSTREAM: it is no
 * archive, or damaged, or breaks off; what the source said. */
int archive_next(struct archive_reader *reader, struct archive_file *file, struct err *err);

/* The file's next bytes, borrowed until the next call: *len is 0 at its end. Errors as above. */
int archive_data(struct archive_reader *reader, const void **data, size_t *len, struct err *err);
