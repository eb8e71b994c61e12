/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the uncompressed stream of a layer at any offset through its index. A reader remembers where it stands, so that
 * going on costs nothing extra, and going elsewhere at most one interval. One thread at a time.
 */
#pragma once

#include "layer/index.h"

#include <sys/types.h>

#define LAYER_SPAN_MAX ((uint64_t)16 << 20) /* of bytes that must be checked first, and so be in memory */

/* Where the layer's own bytes come from. */
struct layer_source {
	/* Up to `max` bytes, at least one, of the layer from `offset`, which is within it: the count, or an error. May
	 * block. */
	ssize_t (*read)(void *arg, uint64_t offset, void *data, size_t max, struct err *err);
	void *arg;
	bool verified; /* they are a blob's whose digest was checked; else every part is checked before it is used */
};

struct layer_reader;

/* Both are borrowed until layer_reader_free(); the index is one without a failure. */
struct layer_reader *layer_reader_new(const struct layer_index *index, const struct layer_source *source);
/* Takes NULL. */
void layer_reader_free(struct layer_reader *reader);

/*
 * Reads exactly `len` bytes. ERR_INVALID: there are not so many, or the stream does not go on as it did; ERR_DIGEST:
 * the source gave other bytes than were indexed; ERR_UNSUPPORTED: such a part is too large to be checked
 * (LAYER_SPAN_MAX); and the source's errors.
 */
int layer_reader_read(struct layer_reader *reader, uint64_t offset, void *data, size_t len, struct err *err);

/* The same within a file: `offset` and `len` lie within entry->size. Holes are zeros. */
int layer_reader_read_file(struct layer_reader *reader, const struct layer_entry *entry, uint64_t offset, void *data,
			   size_t len, struct err *err);

/* How many bytes were decompressed so far: what reading cost. */
uint64_t layer_reader_inflated(const struct layer_reader *reader);
