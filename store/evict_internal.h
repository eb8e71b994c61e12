/* SPDX-License-Identifier: Apache-2.0 */
/* What evict.c, sweep.c, store.c and the tests of eviction share. */
#pragma once

#include "store/evict.h"
#include "store/index.h"
#include "store/store_internal.h"

/* When the store is opened: removes from partial/ what is worth nothing, records what was published and not recorded,
 * and counts what flights of the past left. */
void sweep_at_open(struct store *store);

/* Where a sweep stands. Zeroed: at its start. */
struct sweep {
	unsigned directory;  /* of files, the next to look through */
	struct digest after; /* of blobs, the last that was looked for */
	unsigned adopted, missing;
	bool rebuilding; /* the index is new: manifests are read even where it knows them */
};

/* Looks a little further. False when it came to its end. */
bool sweep_step(struct store *store, struct sweep *sweep);

/* Forgets, a little further on behind *after, what tags and links say of digests that are not held and that nothing
 * held needs: clients' questions alone leave them, and there is no end to those. A tag goes when upstream has not
 * confirmed it for SWEEP_NAMES_AGE_S; a link costs one question to learn again. False, and *after as at the start, at
 * the end. */
#define SWEEP_NAMES_AGE_S (30 * 24 * 3600)
bool sweep_names(struct store *store, struct digest *after);

/* After a damaged index was replaced: fills the new one with what can be read of the old, index_old(), and with what
 * the blobs say, and removes the old. Blocks long. Ended early by evict_stop(), it is done again at the next start. */
void rescue_index(struct store *store);
bool evict_is_stopping(struct store *store);

/* By how much the store is above its limits; with a margin below them, and with what is asked for. */
uint64_t evict_excess(struct store *store, bool margin);
/* Removes what flights of the past left and what was quarantined, as far as it is too old or there is need. How many
 * bytes went. */
uint64_t evict_leftovers(struct store *store, bool margin);

/* Brings the store under its limits. */
void evict_pass(struct store *store);
/* Ends the thread, if it was started. */
void evict_stop(struct store *store);
