/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeping the store within its limits. Room is made before it is needed: whoever is to write reserves its bytes first
 * (ingest_reserve()), and what is reserved counts as if it were written. One thread makes room, a little more than is
 * asked for, in this order: what was quarantined, partials that no flight has, then images, the least recently used
 * first (choose.h). An image is a root of the index (index.h) with everything that only it needs (closure.h); what is
 * pinned (pins.h) stays. remove.h says how it goes.
 *
 * After the start the same thread sweeps once, a little at a time, over files that the index does not know (a crash
 * between publishing and recording, a power cut that took an unlink back) and over blobs without a file.
 * Behind that, and once a day, it forgets names of what is not held (sweep_names()).
 */
#pragma once

#include "base/digest.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define EVICT_PARTIAL_AGE_S (7 * 24 * 3600) /* a partial that nobody went on with for so long goes */

struct index_repository;
struct store;

struct evict_options {
	uint64_t max_size; /* of all files in the store; 0: no limit */
	uint64_t min_free; /* of the file system */
};

/* Sets the limits, at any time. */
void evict_set_limits(struct store *store, const struct evict_options *options);

/* Sets them, and starts the thread. Before, and without, the store has no limits. store_close() ends it. */
int evict_start(struct store *store, const struct evict_options *options, struct err *err);

/* Whether what this repository gave could not be had from it again now. Called under locks of the index: it answers out
 * of memory. */
typedef bool evict_dear_fn(void *arg, const struct index_repository *repository);
/* Who is asked from now on, by any thread, before something goes; NULL: nobody, and once that has returned none is
 * called any more. At first nobody is, and nothing is dear. */
void evict_set_dear(struct store *store, evict_dear_fn *is_dear, void *arg);

/* What was removed to make room since the start, in bytes of blobs. */
uint64_t evict_total_bytes(struct store *store);
