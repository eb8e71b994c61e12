/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz.h"

#include "server/registry/range.h"

/* Whatever is asked for, what is answered lies within the representation, and is no more than it. */
static void check(const char *header, uint64_t size)
{
	static struct range_set set;
	enum range_verdict verdict = range_parse(header, size, &set);
	uint64_t sum = 0;

	if (verdict != RANGE_PART && verdict != RANGE_PARTS)
		return;
	FUZZ_HOLDS(set.count >= 1 && set.count <= RANGE_SET_MAX && (verdict == RANGE_PARTS || set.count == 1));
	for (size_t i = 0; i < set.count; i++) {
		FUZZ_HOLDS(set.ranges[i].len > 0 && set.ranges[i].start < size);
		FUZZ_HOLDS(set.ranges[i].len <= size - set.ranges[i].start);
		sum += set.ranges[i].len;
	}
	FUZZ_HOLDS(sum <= size);
}

FUZZ_TEXT(text)
{
	check(text, 0);
	check(text, 1);
	check(text, 1000);
	check(text, UINT64_MAX - 1);
}
