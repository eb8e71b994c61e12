/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes the index of a layer in one pass over its bytes, as they come: detects gzip, zstd and plain tar by their first
 * bytes, decompresses, reads the tar, and takes checkpoints. Bounded in time and memory whatever the bytes are. One
 * thread at a time.
 */
#pragma once

#include "layer/index.h"

#define LAYER_BOMB_BYTES ((uint64_t)4 << 30) /* a stream longer than this … */
#define LAYER_BOMB_RATIO 200                 /* … must not be so many times longer than its layer */

struct layer_builder;

struct layer_builder *layer_builder_new(uint64_t interval);
/* Takes NULL. */
void layer_builder_free(struct layer_builder *builder);

/* The layer's next bytes. ERR_INVALID (no layer, or a damaged one), ERR_LIMIT, ERR_UNSUPPORTED; the text names the
 * offset. After an error nothing more may be fed. */
int layer_builder_feed(struct layer_builder *builder, const void *data, size_t len, struct err *err);
/* There are no more: the index, for the caller to free. */
int layer_builder_finish(struct layer_builder *builder, struct layer_index **index, struct err *err);

/* Of a whole layer in memory. */
int layer_build(const void *data, size_t len, uint64_t interval, struct layer_index **index, struct err *err);
/* What stands for an index that cannot be made, so that it is not tried again. */
struct layer_index *layer_index_failed(uint64_t in_size, const char *why);
