/* SPDX-License-Identifier: Apache-2.0 */
/* Byte ranges of a request, and what it has already (RFC 9110, sections 13 and 14). Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RANGE_SET_MAX 1024 /* what containers/image asks for at once, of a zstd:chunked layer */

enum range_verdict {
	RANGE_WHOLE,         /* none, or one to be ignored: 200 */
	RANGE_PART,          /* 206, with set.ranges[0] */
	RANGE_PARTS,         /* 206 multipart/byteranges */
	RANGE_UNSATISFIABLE, /* 416 */
};

struct range {
	uint64_t start, len; /* within the representation, len > 0 */
};

struct range_set {
	size_t count;
	struct range ranges[RANGE_SET_MAX]; /* in the order in which they were asked for */
};

/*
 * Reads a Range header, NULL when there was none, for a representation of `size` bytes. A malformed header and other
 * units are ignored, and ranges that lie beyond the end left out, as the RFC asks. The set is ignored too (section 14.2
 * allows it) when it has more than RANGE_SET_MAX ranges, or asks for more bytes than there are, which only overlapping
 * ranges do. Nothing is coalesced: containers/image counts the parts, and wants as many as it asked for.
 */
enum range_verdict range_parse(const char *header, uint64_t size, struct range_set *set);

/* Whether If-None-Match (NULL when there was none) has the entity tag, with its quotes, or any: then the client has
 * what it asks for, and is told so by a 304. As section 13.1.2 has it, W/ makes no difference. */
bool range_none_match(const char *header, const char *etag);
