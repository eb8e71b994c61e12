/* SPDX-License-Identifier: Apache-2.0 */
#include "server/registry/range.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A run of digits; one that is larger than 64 bits counts as the largest number. */
static bool read_number(const char **text, uint64_t *number)
{
	char *end;

	if (!isdigit((unsigned char)**text))
		return false;
	errno = 0;
	*number = strtoull(*text, &end, 10);
	*text = end;
	return true;
}

enum range_verdict range_parse(const char *header, uint64_t size, struct range *range)
{
	uint64_t first, last;
	bool suffix;

	if (!header || strncasecmp(header, "bytes=", 6) != 0)
		return RANGE_WHOLE;
	header += 6;
	header += strspn(header, " \t");
	suffix = *header == '-';
	if (suffix) {
		header++;
		if (!read_number(&header, &last))
			return RANGE_WHOLE;
	} else {
		if (!read_number(&header, &first) || *header++ != '-')
			return RANGE_WHOLE;
		if (!read_number(&header, &last))
			last = UINT64_MAX;
		if (last < first)
			return RANGE_WHOLE;
	}
	header += strspn(header, " \t");
	if (*header)
		return RANGE_WHOLE;
	if (suffix) {
		if (last == 0 || size == 0)
			return RANGE_UNSATISFIABLE;
		range->len = last < size ? last : size;
		range->start = size - range->len;
		return RANGE_PART;
	}
	if (first >= size)
		return RANGE_UNSATISFIABLE;
	range->start = first;
	range->len = (last < size ? last + 1 : size) - first;
	return RANGE_PART;
}
