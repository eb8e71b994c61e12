/* SPDX-License-Identifier: Apache-2.0 */
/* Byte ranges of a request (RFC 9110, section 14). Pure. */
#pragma once

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
