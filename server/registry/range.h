/* SPDX-License-Identifier: Apache-2.0 */
/* Byte ranges of a request (RFC 9110, section 14). Pure. */
#pragma once

#include <stdint.h>

enum range_verdict {
	RANGE_WHOLE,         /* none, or one to be ignored: 200 */
	RANGE_PART,          /* 206 */
	RANGE_UNSATISFIABLE, /* 416 */
};

struct range {
	uint64_t start, len;
};

/* Reads a Range header for a representation of `size` bytes. A malformed header and other units are ignored, as the RFC
 * asks. A set of several ranges is answered by the whole, which section 14.2 allows. */
enum range_verdict range_parse(const char *header, uint64_t size, struct range *range);
