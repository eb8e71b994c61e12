/* SPDX-License-Identifier: Apache-2.0 */
/* Where checkpoints go: as far apart as the interval allows, given that they can only be where a block, a gzip member
 * or a zstd frame begins. What comes next is taken to be as long as the longest since the last checkpoint. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct spacing {
	uint64_t interval;
	uint64_t last;    /* uncompressed offset of the last checkpoint … */
	uint64_t place;   /* … and of the last place where one could have been */
	uint64_t longest; /* between two places since the last checkpoint */
};

/* Whether there is to be a checkpoint here, where one can be. */
bool spacing_reach(struct spacing *spacing, uint64_t offset);
