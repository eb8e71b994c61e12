/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeping the store within its limits. Room is made before it is needed: whoever is to write reserves its bytes first
 * (ingest_reserve()), and what is reserved counts as if it were written. One thread makes room, a little more than is
 * asked for, in this order: what was quarantined, partials that no flight has, then images, the least recently used
 * first. An image is a root of the index (index.h) with everything that only it needs; what a kept image references, or
 * a tag means, stays. What is being sent stays readable through its descriptor.
 *
 * A blob's file goes first, then the index forgets it, a batch in one commit, from the root down: after a crash between
 * the two the index names files that are missing, which lookups and the sweep notice, and never the other way round,
 * and what is left of an image is below roots of its own. On a full disk the index could not be written before a file
 * went.
 *
 * After the start the same thread sweeps once, a little at a time, over files that the index does not know (a crash
 * between publishing and recording, a power cut that took an unlink back) and over blobs without a file.
 */
#pragma once

#include "base/digest.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define EVICT_PARTIAL_AGE_S (7 * 24 * 3600) /* a partial that nobody went on with for so long goes */

struct store;

struct evict_options {
	uint64_t max_size; /* of all files in the store; 0: no limit */
	uint64_t min_free; /* of the file system */
	/* Whether an image is to be kept whatever its age (a pin); NULL: none is. Called on the thread. */
	bool (*is_kept)(void *arg, const struct digest *root);
	void *arg;
};

/* Starts the thread. Before, and without, the store has no limits. store_close() ends it. */
int evict_start(struct store *store, const struct evict_options *options, struct err *err);

/* Removes blobs, whoever names them, and all that names them: what should not have come. Blocks. ERR_IO. */
int evict_blobs(struct store *store, const struct digest *digests, size_t count, struct err *err);

/* What was removed to make room since the start, in bytes of blobs. */
uint64_t evict_total_bytes(struct store *store);
