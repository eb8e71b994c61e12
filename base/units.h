/* SPDX-License-Identifier: Apache-2.0 */
/* The units that people write in configuration: sizes, durations, rates. All parsers return 0 or ERR_INVALID. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* "512MiB", "200GiB", "10 kB", "4096": bytes. Binary (KiB MiB GiB TiB) and decimal (kB MB GB TB) suffixes, B
 * optional, the case of letters free, fractions ("1.5GiB") too. */
int units_parse_size(const char *text, uint64_t *bytes);

/* "30s", "5m", "12h", "7d", "250ms", "1h30m", "0": milliseconds. "forever" is UNITS_FOREVER. */
#define UNITS_FOREVER UINT64_MAX
int units_parse_duration(const char *text, uint64_t *ms);

/* "10/s", "100/6h", "600/m": events in a period, at most 10^9 in at most 366 days; "unlimited". */
struct rate {
	uint64_t events; /* 0: unlimited */
	uint64_t period_ms;
};
int units_parse_rate(const char *text, struct rate *rate);

#define UNITS_TEXT_MAX 32
const char *units_format_size(uint64_t bytes, char text[UNITS_TEXT_MAX]);  /* "200GiB", "1.5GiB", "17B" */
const char *units_format_duration(uint64_t ms, char text[UNITS_TEXT_MAX]); /* "30s", "1h30m", "forever"; parses back */
const char *units_format_rate(const struct rate *rate, char text[UNITS_TEXT_MAX]); /* "100/6h"; parses back */
