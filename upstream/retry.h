/* SPDX-License-Identifier: Apache-2.0 */
/* When to try again: exponential backoff with jitter and cap, Retry-After. Pure functions; the caller owns the clock.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define RETRY_BASE_MS 200
#define RETRY_CAP_MS  10000

/* Retry-After as seconds or as an HTTP date (RFC 9110, section 10.2.3): milliseconds from `now_wall_ms` (since
 * 1970), 0 when it lies in the past. 0 or ERR_INVALID. */
int retry_after_parse(const char *value, int64_t now_wall_ms, uint64_t *ms);
/* A wait in whole seconds, rounded up, for struct err: INT_MAX for what is longer. */
int retry_after_s(uint64_t ms);

/* The wait before attempt `attempt` (1 is the first repetition): uniformly from [d/2, d] with d = min(cap, base *
 * 2^(attempt-1)). `random` is any 32 random bits. */
uint64_t retry_backoff_ms(unsigned attempt, uint32_t random);

/* Whether an HTTP status is worth trying again: 408, 429 and 5xx but 501 and 505. */
bool retry_status(int status);
