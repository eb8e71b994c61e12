/* SPDX-License-Identifier: Apache-2.0 */
#include "base/count.h"

#include <stddef.h>

/* In order, but for the last two. */
static const struct {
	int status;
	const char *text;
} statuses[COUNT_STATUSES] = {
	{200, "200"}, {202, "202"}, {204, "204"}, {206, "206"}, {301, "301"}, {302, "302"},  {303, "303"},
	{304, "304"}, {307, "307"}, {308, "308"}, {400, "400"}, {401, "401"}, {403, "403"},  {404, "404"},
	{405, "405"}, {406, "406"}, {408, "408"}, {410, "410"}, {416, "416"}, {429, "429"},  {431, "431"},
	{500, "500"}, {501, "501"}, {502, "502"}, {503, "503"}, {504, "504"}, {-1, "other"}, {0, "none"},
};

unsigned count_status_slot(int status)
{
	unsigned slot = 0;

	if (status == 0)
		return COUNT_STATUSES - 1;
	while (slot < COUNT_STATUSES - 2 && statuses[slot].status != status)
		slot++;
	return slot;
}

const char *count_status_text(unsigned slot)
{
	return statuses[slot].text;
}

const uint64_t count_bounds_us[COUNT_BUCKETS] = {
	500,    1000,   2500,    5000,    10000,   25000,    50000,    100000,
	250000, 500000, 1000000, 2500000, 5000000, 10000000, 60000000, 600000000,
};

void count_observe(struct count_histogram *histogram, uint64_t us)
{
	size_t bucket = 0;

	while (bucket < COUNT_BUCKETS && us > count_bounds_us[bucket])
		bucket++;
	count_add(&histogram->buckets[bucket], 1);
	count_add(&histogram->sum_us, us);
}
