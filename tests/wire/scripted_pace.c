/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/wire/scripted_internal.h"

/* How long a bucket may save up: makes good what the machine's scheduling takes away, and no more. */
#define SAVED_S 0.05

void bucket_set(struct bucket *bucket, uint64_t rate, uint64_t burst, uint64_t now_us)
{
	if (bucket->rate == rate)
		return;
	*bucket = (struct bucket){.rate = rate, .filled_us = now_us, .tokens = (double)burst};
	bucket->most = burst ? (double)burst : (double)rate * SAVED_S;
}

static void bucket_fill(struct bucket *bucket, uint64_t want, uint64_t now_us)
{
	if (now_us <= bucket->filled_us)
		return;
	double rate = (double)bucket->rate;
	double most = bucket->most > (double)want ? bucket->most : (double)want;
	bucket->tokens += rate * (double)(now_us - bucket->filled_us) / 1e6;
	if (bucket->tokens > most)
		bucket->tokens = most;
	bucket->filled_us = now_us;
}

bool bucket_offers(struct bucket *bucket, uint64_t want, uint64_t now_us, uint64_t *wake_us)
{
	if (bucket->rate == 0)
		return true;
	bucket_fill(bucket, want, now_us);
	if (bucket->tokens >= (double)want)
		return true;
	uint64_t at = now_us + 1 + (uint64_t)(((double)want - bucket->tokens) / (double)bucket->rate * 1e6);
	if (at > *wake_us)
		*wake_us = at;
	return false;
}

void bucket_take(struct bucket *bucket, uint64_t amount)
{
	if (bucket->rate > 0)
		bucket->tokens -= (double)amount;
}

uint64_t bucket_available(struct bucket *bucket, uint64_t want, uint64_t now_us)
{
	if (bucket->rate == 0)
		return want;
	bucket_fill(bucket, 1, now_us);
	if (bucket->tokens < 1)
		return 0;
	return bucket->tokens < (double)want ? (uint64_t)bucket->tokens : want;
}
