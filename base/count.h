/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters that threads add to without locks and any thread reads: each is exact, but two that are read one after the
 * other may be of different moments. What labels them has a fixed number of slots, so that nothing grows.
 */
#pragma once

#include <stdint.h>

static inline void count_add(uint64_t *counter, uint64_t amount)
{
	__atomic_fetch_add(counter, amount, __ATOMIC_RELAXED);
}

static inline uint64_t count_read(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* HTTP statuses as slots: those that registries and larder answer, one for all others, one for "no answer" (0). */
#define COUNT_STATUSES 28
unsigned count_status_slot(int status);
const char *count_status_text(unsigned slot); /* "200", "other", "none" */

/* How long something took, in buckets. */
#define COUNT_BUCKETS 16
extern const uint64_t count_bounds_us[COUNT_BUCKETS]; /* what falls at or below it is in the bucket */

struct count_histogram {
	uint64_t buckets[COUNT_BUCKETS + 1]; /* not cumulative; the last is for what took longer than all bounds */
	uint64_t sum_us;
};

void count_observe(struct count_histogram *histogram, uint64_t us);
