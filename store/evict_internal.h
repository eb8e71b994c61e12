/* SPDX-License-Identifier: Apache-2.0 */
/* What evict.c, sweep.c, store.c and the tests of eviction share. */
#pragma once

#include "store/evict.h"
#include "store/store_internal.h"

/* When the store is opened: removes from partial/ what is worth nothing, records what was published and not recorded,
 * and counts what flights of the past left. */
void sweep_at_open(struct store *store);

/* Where a sweep stands. Zeroed: at its start. */
struct sweep {
	unsigned directory;  /* of files, the next to look through */
	struct digest after; /* of blobs, the last that was looked for */
	unsigned adopted, missing;
};

/* Looks a little further. False when it came to its end. */
bool sweep_step(struct store *store, struct sweep *sweep);

/* Brings the store under its limits. */
void evict_pass(struct store *store);
/* Ends the thread, if it was started. */
void evict_stop(struct store *store);
