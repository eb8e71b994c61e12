/* SPDX-License-Identifier: Apache-2.0 */
/* Where an exported bundle goes: it comes as the tar archive that larder makes, piece by piece, and is written as one,
 * or as a directory, signed on the way where there is a key. The key never leaves this process. */
#pragma once

#include "base/err.h"
#include "server/cli/bundle_head.h"
#include "server/cli/meter.h"

#include <stdbool.h>
#include <stdint.h>

struct bundle_sink {
	const char *path; /* "-": standard output */
	const char *key;  /* PEM; NULL: not signed */
	bool directory;
	struct meter *meter; /* shows how far it is; NULL: nothing does */

	int fd;     /* the archive, or the directory */
	char *part; /* the archive while it is being written */
	struct bundle_head head;
	struct untar *untar;
	bool made;      /* the directory was not there before */
	bool finished;  /* it has its name, and stays */
	uint64_t bytes; /* written, of the archive that it is or would be */
	struct err err;
};

/* Opens it. `path`, `key`, `directory` and `meter` are set, all else is zero. ERR_INVALID, ERR_IO. */
int bundle_sink_open(struct bundle_sink *sink);
/* An admin_request's take(); why it gave up is in sink->err. */
int bundle_sink_take(void *arg, const void *data, size_t len);
/* Copies a blob out of a file behind what came so far: in the kernel, by reflink where the file system can. */
int bundle_sink_copy(struct bundle_sink *sink, int fd, const char *path, uint64_t size);
/* Ends an archive whose blobs were copied. */
int bundle_sink_end(struct bundle_sink *sink);

/* Gives it its name: all has come. ERR_IO, ERR_NO_SPACE. */
int bundle_sink_finish(struct bundle_sink *sink);
/* Removes what was not finished. */
void bundle_sink_dispose(struct bundle_sink *sink);
