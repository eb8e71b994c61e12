/* SPDX-License-Identifier: Apache-2.0 */
#include "base/units.h"

#include "base/err.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

struct unit {
	const char *name;
	uint64_t factor;
};

/* Largest first: formatting takes the first that fits. */
static const struct unit binary_units[] = {
	{"TiB", UINT64_C(1) << 40}, {"GiB", UINT64_C(1) << 30}, {"MiB", UINT64_C(1) << 20}, {"KiB", UINT64_C(1) << 10}};
static const struct unit decimal_units[] = {
	{"TB", UINT64_C(1000000000000)}, {"GB", 1000000000}, {"MB", 1000000}, {"kB", 1000}};
static const struct unit time_units[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};

#define SIZE_UNITS          (sizeof(binary_units) / sizeof(binary_units[0]))
#define TIME_UNITS          (sizeof(time_units) / sizeof(time_units[0]))
#define RATE_EVENTS_MAX     UINT64_C(1000000000)
#define RATE_PERIOD_MAX_MS  (UINT64_C(366) * 86400000)
#define FRACTION_DIGITS_MAX 6 /* 10^6 * 1 TiB stays within 64 bits */

/* Reads decimal digits and moves past them. False when there are none or they are too many. */
static bool scan_number(const char **text, uint64_t *number)
{
	const char *at = *text;
	uint64_t value = 0;
	while (*at >= '0' && *at <= '9') {
		if (__builtin_mul_overflow(value, UINT64_C(10), &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value))
			return false;
		at++;
	}
	if (at == *text)
		return false;
	*text = at;
	*number = value;
	return true;
}

/* The factor of a size suffix; 0 when unknown. The case of letters is free, as people write "10gb" and mean it. */
static uint64_t size_factor(const char *suffix)
{
	if (!*suffix || !strcasecmp(suffix, "B"))
		return 1;
	for (size_t i = 0; i < SIZE_UNITS; i++) {
		if (!strcasecmp(suffix, binary_units[i].name) ||
		    (strlen(suffix) == 2 && !strncasecmp(suffix, binary_units[i].name, 2)))
			return binary_units[i].factor;
		if (!strcasecmp(suffix, decimal_units[i].name) ||
		    (strlen(suffix) == 1 && !strncasecmp(suffix, decimal_units[i].name, 1)))
			return decimal_units[i].factor;
	}
	return 0;
}

int units_parse_size(const char *text, uint64_t *bytes)
{
	uint64_t whole = 0;
	uint64_t fraction = 0;
	uint64_t scale = 1;
	if (!scan_number(&text, &whole))
		return ERR_INVALID;
	bool fractional = *text == '.';
	if (fractional) {
		const char *digits = ++text;
		if (!scan_number(&text, &fraction) || text - digits > FRACTION_DIGITS_MAX)
			return ERR_INVALID;
		for (; digits < text; digits++)
			scale *= 10;
	}
	while (*text == ' ')
		text++;
	uint64_t factor = size_factor(text);
	if (!factor || (fractional && factor == 1))
		return ERR_INVALID;
	uint64_t total = 0;
	if (__builtin_mul_overflow(whole, factor, &total) ||
	    __builtin_add_overflow(total, fraction * factor / scale, &total))
		return ERR_INVALID;
	*bytes = total;
	return 0;
}

int units_parse_duration(const char *text, uint64_t *ms)
{
	if (!strcmp(text, "forever")) {
		*ms = UNITS_FOREVER;
		return 0;
	}
	if (!strcmp(text, "0")) {
		*ms = 0;
		return 0;
	}
	uint64_t total = 0;
	size_t next_unit = 0; /* units come in falling order, each at most once: "30m1h" is a slip of the pen */
	do {
		uint64_t number = 0;
		if (!scan_number(&text, &number))
			return ERR_INVALID;
		size_t name_len = strspn(text, "dhms");
		size_t unit = next_unit;
		while (unit < TIME_UNITS && (strlen(time_units[unit].name) != name_len ||
					     memcmp(text, time_units[unit].name, name_len) != 0))
			unit++;
		if (unit == TIME_UNITS || __builtin_mul_overflow(number, time_units[unit].factor, &number) ||
		    __builtin_add_overflow(total, number, &total))
			return ERR_INVALID;
		next_unit = unit + 1;
		text += name_len;
	} while (*text);
	if (total == UNITS_FOREVER)
		return ERR_INVALID;
	*ms = total;
	return 0;
}

int units_parse_rate(const char *text, struct rate *rate)
{
	if (!strcmp(text, "unlimited")) {
		*rate = (struct rate){0};
		return 0;
	}
	struct rate parsed = {0};
	if (!scan_number(&text, &parsed.events) || !parsed.events || *text++ != '/')
		return ERR_INVALID;
	for (size_t i = 0; i < TIME_UNITS; i++) {
		if (!strcmp(text, time_units[i].name))
			parsed.period_ms = time_units[i].factor;
	}
	if (!parsed.period_ms && units_parse_duration(text, &parsed.period_ms))
		return ERR_INVALID;
	if (!parsed.period_ms || parsed.period_ms > RATE_PERIOD_MAX_MS || parsed.events > RATE_EVENTS_MAX)
		return ERR_INVALID;
	*rate = parsed;
	return 0;
}

const char *units_format_size(uint64_t bytes, char text[UNITS_TEXT_MAX])
{
	for (size_t i = 0; i < SIZE_UNITS; i++) {
		uint64_t factor = binary_units[i].factor;
		/* What would round up to 1024 of the next smaller unit is said in this one. */
		if (bytes < factor - factor / 1024 / 20)
			continue;
		uint64_t tenths = bytes / factor * 10 + (bytes % factor * 10 + factor / 2) / factor;
		if (tenths % 10)
			snprintf(text, UNITS_TEXT_MAX, "%" PRIu64 ".%" PRIu64 "%s", tenths / 10, tenths % 10,
				 binary_units[i].name);
		else
			snprintf(text, UNITS_TEXT_MAX, "%" PRIu64 "%s", tenths / 10, binary_units[i].name);
		return text;
	}
	snprintf(text, UNITS_TEXT_MAX, "%" PRIu64 "B", bytes);
	return text;
}

const char *units_format_duration(uint64_t ms, char text[UNITS_TEXT_MAX])
{
	if (ms == UNITS_FOREVER)
		return strcpy(text, "forever");
	if (ms == 0)
		return strcpy(text, "0s");
	size_t len = 0;
	for (size_t i = 0; i < TIME_UNITS; i++) {
		uint64_t number = ms / time_units[i].factor;
		ms %= time_units[i].factor;
		if (number)
			len += (size_t)snprintf(text + len, UNITS_TEXT_MAX - len, "%" PRIu64 "%s", number,
						time_units[i].name);
	}
	return text;
}

const char *units_format_rate(const struct rate *rate, char text[UNITS_TEXT_MAX])
{
	if (!rate->events)
		return strcpy(text, "unlimited");
	char period[UNITS_TEXT_MAX];
	const char *shown = units_format_duration(rate->period_ms, period);
	for (size_t i = 0; i < TIME_UNITS; i++) {
		if (rate->period_ms == time_units[i].factor)
			shown = time_units[i].name;
	}
	snprintf(text, UNITS_TEXT_MAX, "%" PRIu64 "/%s", rate->events, shown);
	return text;
}
