/* SPDX-License-Identifier: Apache-2.0 */
/* A set of bytes as sorted ranges, of which no two touch. Bounded, without memory of its own. */
#pragma once

#include "store/ingest.h"

struct range {
	uint64_t start;
	uint64_t end; /* exclusive */
};

struct ranges {
	size_t count;
	uint64_t bytes; /* in all ranges */
	struct range items[INGEST_RANGES_MAX];
};

/* Adds [start, end). ERR_LIMIT when that would make too many ranges; nothing is changed then. */
int ranges_add(struct ranges *ranges, uint64_t start, uint64_t end);

/* Whether ranges_add() would succeed. */
bool ranges_can_add(const struct ranges *ranges, uint64_t start, uint64_t end);

/* Takes away everything from `end` on. */
void ranges_cut(struct ranges *ranges, uint64_t end);

/* Where the range that holds `offset` ends; `offset` itself when none does. */
uint64_t ranges_end_of(const struct ranges *ranges, uint64_t offset);

/* Where the first range begins that lies wholly behind `offset`; UINT64_MAX when there is none. */
uint64_t ranges_next_start(const struct ranges *ranges, uint64_t offset);
