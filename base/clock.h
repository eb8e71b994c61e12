/* SPDX-License-Identifier: Apache-2.0 */
/* Time: a monotonic clock for waits, the wall clock for ages, and HTTP dates (RFC 9110, section 5.6.7). Any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <time.h>

uint64_t clock_ms(void);    /* monotonic milliseconds */
uint64_t clock_us(void);    /* monotonic microseconds */
int64_t clock_wall_s(void); /* seconds since 1970 */
int64_t clock_wall_ms(void);

/* On the monotonic clock, so many milliseconds from now: for pthread_cond_timedwait(). */
struct timespec clock_after_ms(uint64_t ms);

#define CLOCK_HTTP_DATE_MAX 32
/* "Sat, 21 Nov 2026 05:28:34 GMT" */
const char *clock_format_http(int64_t wall_s, char text[CLOCK_HTTP_DATE_MAX]);
/* Reads an IMF-fixdate, RFC 850 or asctime date. 0, or ERR_INVALID. */
int clock_parse_http(const char *text, int64_t *wall_s);

#define CLOCK_LOG_MAX 32
/* "2026-11-21T05:28:34.123Z", now */
const char *clock_format_log(char text[CLOCK_LOG_MAX]);
