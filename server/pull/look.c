/* SPDX-License-Identifier: Apache-2.0 */
#include "server/pull/look.h"

#include "base/count.h"
#include "server/pull/flight.h"
#include "upstream/fetch.h"

bool pull_is_offline(const struct pull *pull)
{
	return pull->offline;
}

struct pull_upstream *const *pull_upstreams(const struct pull *pull, size_t *count)
{
	const struct upstreams *now = upstreams_now(pull);

	*count = now->count;
	return now->items;
}

bool pull_upstream_is_ailing(const struct pull_upstream *upstream)
{
	return health_is_ailing(upstream);
}

void pull_upstream_stats(const struct pull_upstream *upstream, struct registry_stats *stats)
{
	registry_stats(upstream->registry, stats);
}

uint64_t pull_fetched_bytes(const struct pull *pull)
{
	const struct pull_upstream *upstream = __atomic_load_n(&pull->all_upstreams, __ATOMIC_ACQUIRE);
	struct registry_stats stats;
	uint64_t bytes = 0;

	for (; upstream; upstream = upstream->older) {
		registry_stats(upstream->registry, &stats);
		bytes += count_read(&stats.fetch->body_bytes);
	}
	return bytes;
}

void pull_list_flights(struct pull *pull, void (*each)(void *arg, const struct pull_flight *flight), void *arg)
{
	pthread_mutex_lock(&pull->lock);
	flights_list(pull, each, arg);
	pthread_mutex_unlock(&pull->lock);
}

static void count(void *arg, const struct pull_flight *flight)
{
	(void)flight;
	++*(size_t *)arg;
}

size_t pull_flight_count(struct pull *pull)
{
	size_t flights = 0;

	pull_list_flights(pull, count, &flights);
	return flights;
}
