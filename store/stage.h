/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A blob from a source that is read once from its beginning, such as an archive: written under a temporary name, hashed
 * on the way, and published under the digest that it proved to have. Unlike an ingest it needs no digest to begin with,
 * keeps nothing for a next time, and stands beside flights of the same blob. What is not published goes with it.
 *
 * One thread at a time. All functions block on the disk.
 */
#pragma once

#include "base/digest.h"
#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

struct stage;
struct store;

/* Begins a blob of exactly `size` bytes, and reserves the room for it. ERR_NO_SPACE, ERR_IO. */
int stage_open(struct store *store, uint8_t algorithm, uint64_t size, struct stage **out, struct err *err);
/* Removes what was not published. Takes NULL. */
void stage_close(struct stage *stage);

/* Goes on with the next bytes. ERR_LIMIT when they are more than was said, ERR_NO_SPACE, ERR_IO. */
int stage_write(struct stage *stage, const void *data, size_t len, struct err *err);

/* The content is there: closes the descriptor, so that many may wait to be published. ERR_INVALID when bytes are
 * missing. */
int stage_finish(struct stage *stage, struct err *err);

/* From here on after stage_finish(). */
const struct digest *stage_digest(const struct stage *stage);

/* fsync, rename, index. "Already there" is success, and may be called again. */
int stage_publish(struct stage *stage, struct err *err);
