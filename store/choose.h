/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which image goes next, for eviction and for cleaning up: the least recently used that no pin keeps. Of those whose
 * ages are alike, one that could be fetched again now goes before one that could not (evict_set_dear()): ages are alike
 * within a tenth of the oldest's, and within CHOOSE_ALIKE_S in any case. A chooser lasts for one pass over the images.
 */
#pragma once

#include "store/index.h"

#include <stdbool.h>

#define CHOOSE_ALIKE_S   60
#define CHOOSE_LOOKS_MAX 1024 /* images that are asked about, beside the oldest, in a pass; then age alone decides */

struct closure;
struct store;

/* Zeroed, but for the store. */
struct chooser {
	struct store *store;
	const struct closure *gone; /* what counts as gone already: of a dry run; NULL: nothing */
	struct index_root passed;   /* the last of those, from the oldest on, that stay */
	struct index_root
		asked; /* the last of those behind the oldest that were asked about: what stands before it is dear */
	unsigned looks;
};

struct choice {
	struct index_root root;
	bool ahead; /* of an older one, which could not be fetched again now */
};

/* 0, ERR_NOT_FOUND (nothing may go), ERR_IO. The same is chosen again unless it is gone, or was passed over. */
int choose_next(struct chooser *chooser, struct choice *choice, struct err *err);
/* It stays, or will be gone. */
void choose_pass_over(struct chooser *chooser, const struct choice *choice);
