/* SPDX-License-Identifier: Apache-2.0 */
#include "upstream/content_range.h"

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

/* Digits, at least one, and nothing that strtoull() would take besides. */
static bool read_number(const char **text, uint64_t *number)
{
	const char *at = *text;

	for (*number = 0; *at >= '0' && *at <= '9'; at++)
		if (__builtin_mul_overflow(*number, 10, number) ||
		    __builtin_add_overflow(*number, (uint64_t)(*at - '0'), number))
			return false;
	if (at == *text)
		return false;
	*text = at;
	return true;
}

int content_range_parse(const char *value, struct content_range *range)
{
	if (!value || strncasecmp(value, "bytes ", 6) != 0)
		return ERR_INVALID;
	value += 6;
	if (!read_number(&value, &range->start) || *value++ != '-' || !read_number(&value, &range->end) ||
	    *value++ != '/' || range->start > range->end)
		return ERR_INVALID;
	range->total = UINT64_MAX;
	if (strcmp(value, "*") == 0)
		return 0;
	if (!read_number(&value, &range->total) || *value || range->total <= range->end || range->total == UINT64_MAX)
		return ERR_INVALID;
	return 0;
}
