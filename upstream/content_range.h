/* SPDX-License-Identifier: Apache-2.0 */
/* Which bytes of what a partial answer has: Content-Range (RFC 9110, section 14.4). Pure. */
#pragma once

#include <stdint.h>

struct content_range {
	uint64_t start, end; /* the first byte and the last */
	uint64_t total; /* of the whole, more than `end`; UINT64_MAX (REGISTRY_LENGTH_UNKNOWN) when the server does not
			   say */
};

/* "bytes START-END/TOTAL", where TOTAL may be "*". ERR_INVALID: anything else, NULL too, and numbers of more than 64
 * bits. */
int content_range_parse(const char *value, struct content_range *range);
