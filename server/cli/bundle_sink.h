/* SPDX-License-Identifier: Apache-2.0 */
/* Where an exported bundle goes: it comes as the tar archive that larder makes, piece by piece, and is written as one,
 * or as a directory, signed on the way where there is a key. The key never leaves this process. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct bundle_sink {
	const char *path; /* "-": standard output */
	const char *key;  /* PEM; NULL: not signed */
	bool directory;

	int fd;          /* the archive, or the directory */
	char *part;      /* the archive while it is being written */
	struct buf head; /* the first member: what the bundle says of itself */
	bool head_done;
	struct untar *untar;
	uint64_t bytes; /* written */
	struct err err;
};

/* Opens it. `path`, `key` and `directory` are set, all else is zero. ERR_INVALID, ERR_IO. */
int bundle_sink_open(struct bundle_sink *sink);
/* An admin_request's take(); why it gave up is in sink->err. */
int bundle_sink_take(void *arg, const void *data, size_t len);
/* Copies a blob out of a file behind what came so far: in the kernel, by reflink where the file system can. */
int bundle_sink_copy(struct bundle_sink *sink, int fd, const char *path, uint64_t size);
/* Ends an archive whose blobs were copied. */
int bundle_sink_end(struct bundle_sink *sink);

/* Gives it its name: all has come. ERR_IO, ERR_NO_SPACE. */
int bundle_sink_finish(struct bundle_sink *sink);
/* Removes an archive that was not finished. */
void bundle_sink_dispose(struct bundle_sink *sink);

/* What the bundle says of itself, once it has come. */
const char *bundle_sink_self(const struct bundle_sink *sink, size_t *len);
