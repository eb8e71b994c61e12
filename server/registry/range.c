/* SPDX-License-Identifier: Apache-2.0 */
#include "server/registry/range.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define WHITESPACE " \t"

/* A run of digits; one that is larger than 64 bits counts as the largest number. */
static bool read_number(const char **text, uint64_t *number)
{
	char *end;

	if (!isdigit((unsigned char)**text))
		return false;
	*number = strtoull(*text, &end, 10);
	*text = end;
	return true;
}

/* One range-spec, "FIRST-LAST", "FIRST-" or "-SUFFIX"; false when it is malformed. One that cannot be satisfied gets
 * the length 0. */
static bool read_spec(const char **text, uint64_t size, struct range *range)
{
	uint64_t first, last;

	*range = (struct range){0};
	if (**text == '-') {
		++*text;
		if (!read_number(text, &last))
			return false;
		range->len = last < size ? last : size;
		range->start = size - range->len;
		return true;
	}
	if (!read_number(text, &first) || *(*text)++ != '-')
		return false;
	if (!read_number(text, &last))
		last = UINT64_MAX;
	if (last < first)
		return false;
	if (first < size) {
		range->start = first;
		range->len = (last < size ? last + 1 : size) - first;
	}
	return true;
}

enum range_verdict range_parse(const char *header, uint64_t size, struct range_set *set)
{
	uint64_t bytes = 0;
	bool any = false;

	set->count = 0;
	if (!header || strncasecmp(header, "bytes=", 6) != 0)
		return RANGE_WHOLE;
	/* A list may have empty elements (RFC 9110, section 5.6.1). */
	for (header += 6; *(header += strspn(header, WHITESPACE ","));) {
		struct range range;

		if (!read_spec(&header, size, &range))
			return RANGE_WHOLE;
		header += strspn(header, WHITESPACE);
		if (*header && *header != ',')
			return RANGE_WHOLE;
		any = true;
		if (range.len == 0)
			continue;
		if (set->count == RANGE_SET_MAX || range.len > size - bytes)
			return RANGE_WHOLE;
		bytes += range.len;
		set->ranges[set->count++] = range;
	}
	if (!any)
		return RANGE_WHOLE;
	if (set->count == 0)
		return RANGE_UNSATISFIABLE;
	return set->count == 1 ? RANGE_PART : RANGE_PARTS;
}

bool range_none_match(const char *header, const char *etag)
{
	return header && (strcmp(header, "*") == 0 || strstr(header, etag) != NULL);
}
