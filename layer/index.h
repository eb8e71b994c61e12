/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index of a layer: its table of files, and checkpoints from which decompressing can go on, so that reading n bytes
 * anywhere costs at most one interval and n. Made by build.h in one pass, read with read.h, merged into an image's
 * view by view.h. Once made it does not change: any thread.
 *
 * A checkpoint of gzip is a bit offset and the 32 KiB that came before it (Mark Adler's zran shows the idea), of which
 * only what is referred to behind it is kept. One of zstd is where a frame begins. A tar that is not compressed has
 * checkpoints too, since each also tells the digest of what lies between it and the next: bytes that come from anywhere
 * but a verified blob are checked before they are used.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "layer/table.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LAYER_FORMAT_VERSION 2
#define LAYER_INTERVAL_MIN   ((uint64_t)1 << 20)
#define LAYER_INTERVAL_MAX   ((uint64_t)8 << 20)
#define LAYER_INTERVAL       ((uint64_t)2 << 20)
#define LAYER_INDEX_MAX      ((size_t)512 << 20) /* of an encoded index */
#define LAYER_CHECK_BYTES    16
#define LAYER_WINDOW         ((size_t)32768) /* RFC 1951: how far back gzip refers */

enum layer_compression { LAYER_PLAIN = 0, LAYER_GZIP = 1, LAYER_ZSTD = 2 }; /* values are stored on disk */

struct layer_checkpoint {
	uint64_t in;                      /* offset in the layer at which to go on … */
	uint64_t out;                     /* … with this byte of the uncompressed stream */
	uint8_t bits;                     /* gzip: so many bits of the byte before `in` belong to what follows */
	bool fresh;                       /* a gzip member, a zstd frame or a plain part begins here: no window */
	uint8_t check[LAYER_CHECK_BYTES]; /* of SHA-256 over the layer's bytes up to the next checkpoint, beginning with
					     the one before `in` when there are bits of it */
	size_t window_at, window_len;     /* in `windows`, packed */
};

struct layer_index {
	enum layer_compression compression;
	uint64_t interval;
	uint64_t in_size;                     /* of the layer */
	uint64_t out_size;                    /* of the tar */
	struct layer_checkpoint *checkpoints; /* the first at 0 */
	size_t count, cap;
	struct buf windows;
	struct layer_table table;
	char *failure; /* why the layer has no index: then there is nothing else but in_size; NULL: it has one */
};

/* Takes NULL. */
void layer_index_free(struct layer_index *index);
static inline void layer_index_freep(struct layer_index **index)
{
	layer_index_free(*index);
}

/* What it takes of memory, about. */
size_t layer_index_memory(const struct layer_index *index);

/* The last checkpoint at or before an offset of the uncompressed stream. */
const struct layer_checkpoint *layer_index_find(const struct layer_index *index, uint64_t out);
/* The bytes of the layer between a checkpoint and the next, that its check is over. */
void layer_index_span(const struct layer_index *index, const struct layer_checkpoint *checkpoint, uint64_t *start,
		      uint64_t *end);
/* Whether reading anywhere has a bounded cost; else (one large zstd frame) it begins at the start. */
bool layer_index_is_seekable(const struct layer_index *index);

/* The index as bytes to be stored; docs/storage-format.md. ERR_LIMIT. */
int layer_index_encode(const struct layer_index *index, struct buf *out, struct err *err);
/* Reads it back. ERR_INVALID for anything that layer_index_encode() would not have written, another version among it.
 */
int layer_index_decode(const void *data, size_t len, struct layer_index **out, struct err *err);
