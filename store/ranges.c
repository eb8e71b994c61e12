/* SPDX-License-Identifier: Apache-2.0 */
#include "store/ranges.h"

#include <string.h>

/* The first range that ends at or behind `offset`: the one that holds it, touches it, or comes next. */
static size_t first_touching(const struct ranges *ranges, uint64_t offset)
{
	size_t low = 0, high = ranges->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (ranges->items[middle].end < offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool ranges_can_add(const struct ranges *ranges, uint64_t start, uint64_t end)
{
	size_t at = first_touching(ranges, start);

	return ranges->count < INGEST_RANGES_MAX || (at < ranges->count && ranges->items[at].start <= end);
}

int ranges_add(struct ranges *ranges, uint64_t start, uint64_t end)
{
	size_t first = first_touching(ranges, start), behind = first;

	if (start >= end)
		return 0;
	if (!ranges_can_add(ranges, start, end))
		return ERR_LIMIT;
	for (; behind < ranges->count && ranges->items[behind].start <= end; behind++) {
		const struct range *range = &ranges->items[behind];

		ranges->bytes -= range->end - range->start;
		if (range->start < start)
			start = range->start;
		if (range->end > end)
			end = range->end;
	}
	memmove(&ranges->items[first + 1], &ranges->items[behind], (ranges->count - behind) * sizeof(ranges->items[0]));
	ranges->items[first] = (struct range){start, end};
	ranges->count = ranges->count - (behind - first) + 1;
	ranges->bytes += end - start;
	return 0;
}

void ranges_cut(struct ranges *ranges, uint64_t end)
{
	while (ranges->count > 0) {
		struct range *last = &ranges->items[ranges->count - 1];

		if (last->end <= end)
			return;
		if (last->start < end) {
			ranges->bytes -= last->end - end;
			last->end = end;
			return;
		}
		ranges->bytes -= last->end - last->start;
		ranges->count--;
	}
}

uint64_t ranges_end_of(const struct ranges *ranges, uint64_t offset)
{
	size_t at = first_touching(ranges, offset);

	if (at < ranges->count && ranges->items[at].start <= offset)
		return ranges->items[at].end;
	return offset;
}

uint64_t ranges_next_start(const struct ranges *ranges, uint64_t offset)
{
	for (size_t at = first_touching(ranges, offset); at < ranges->count; at++)
		if (ranges->items[at].start > offset)
			return ranges->items[at].start;
	return UINT64_MAX;
}
