/* SPDX-License-Identifier: Apache-2.0 */
/* `larder status`: how this larder does, as one document. */
#include "server/admin/admin_internal.h"

#include "base/clock.h"
#include "server/pull/look.h"
#include "server/registry/traffic.h"
#include "store/index.h"
#include "store/store.h"
#include "upstream/fetch.h"

#include <string.h>

#define FLIGHTS_SHOWN_MAX 100
#define OVERVIEW_STEP_MS  500

static json_t *number(uint64_t value)
{
	return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

/* Flights. */

static void add_flight(void *arg, const struct pull_flight *flight)
{
	json_t *list = arg;
	char digest[DIGEST_TEXT_MAX];

	if (json_array_size(list) >= FLIGHTS_SHOWN_MAX)
		return;
	json_array_append_new(list,
			      json_pack("{s:s, s:s, s:s, s:o, s:o}", "upstream", flight->upstream, "repository",
					flight->repository, "digest", digest_format(&flight->digest, digest), "size",
					flight->size == PULL_SIZE_UNKNOWN ? json_null() : number(flight->size), "held",
					number(flight->held)));
}

/* Requests. */

/* Of manifests and blobs: the rest says nothing about a cache. */
uint64_t admin_count_outcome(const struct traffic *traffic, enum traffic_outcome outcome)
{
	uint64_t sum = 0;

	for (int kind = TRAFFIC_MANIFEST; kind <= TRAFFIC_BLOB; kind++)
		for (int method = 0; method < TRAFFIC_METHODS; method++)
			for (unsigned code = 0; code < COUNT_STATUSES; code++)
				sum += count_read(&traffic->requests[kind][method][code][outcome]);
	return sum;
}

static json_t *describe_requests(const struct traffic *traffic)
{
	json_t *requests = json_object();
	uint64_t sums[TRAFFIC_OUTCOMES], good = 0, bytes = 0;

	for (int outcome = 0; outcome < TRAFFIC_OUTCOMES; outcome++) {
		sums[outcome] = admin_count_outcome(traffic, outcome);
		json_object_set_new(requests, traffic_outcome_name(outcome), number(sums[outcome]));
		bytes += count_read(&traffic->served_bytes[outcome]);
		if (outcome != TRAFFIC_ERROR)
			good += sums[outcome];
	}
	json_object_set_new(requests, "hit_ratio",
			    good ? json_real((double)(sums[TRAFFIC_HIT] + sums[TRAFFIC_STALE]) / (double)good)
				 : json_null());
	json_object_set_new(requests, "served_bytes", number(bytes));
	return requests;
}

/* The store. */

static json_t *describe_store(struct admin *admin)
{
	struct index_totals totals = {0};
	uint64_t free_bytes = 0;
	struct err err;
	bool known;

	index_get_totals(store_index(admin->store), &totals, &err);
	known = store_free_bytes(admin->store, &free_bytes, &err) == 0;
	return json_pack("{s:o, s:o, s:o, s:o, s:o}", "path", admin_words(store_path(admin->store)), "blobs",
			 number(totals.blobs), "bytes", number(totals.bytes), "free_bytes",
			 known ? number(free_bytes) : json_null(), "corrupt_blobs",
			 number(store_corrupt_count(admin->store)));
}

/* Upstreams. */

static const char *state_of(const struct pull_upstream *upstream, const struct registry_stats *stats)
{
	if (pull_upstream_is_ailing(upstream))
		return "not answering";
	if (!stats->answered && !stats->failed)
		return "unused";
	return stats->failed > stats->answered ? "failing" : "healthy";
}

static json_t *ago(int64_t then_ms)
{
	int64_t now_ms = clock_wall_ms();

	return then_ms ? json_integer(now_ms > then_ms ? (now_ms - then_ms) / 1000 : 0) : json_null();
}

static json_t *describe_budget(const struct registry_stats *stats)
{
	if (!stats->budget_known)
		return json_null();
	return json_pack("{s:o, s:o, s:o, s:o}", "remaining", number(stats->budget_remaining), "limit",
			 stats->budget_limit ? number(stats->budget_limit) : json_null(), "window_s",
			 stats->budget_window_s ? number(stats->budget_window_s) : json_null(), "said_s_ago",
			 ago(stats->budget_said));
}

static json_t *describe_pace(const struct pace_state *pace)
{
	return json_pack("{s:i, s:i, s:i, s:o, s:o}", "window", (int)pace->window, "out", (int)pace->out, "waiting",
			 (int)pace->waiting, "closed_ms", number(pace->gate_ms), "congestion_events",
			 number(pace->congestion_events));
}

static uint64_t sum_requests(const struct fetch_pool_stats *fetch)
{
	uint64_t sum = 0;

	for (unsigned kind = 0; kind < FETCH_KINDS; kind++)
		for (int method = 0; method < FETCH_METHODS; method++)
			for (unsigned code = 0; code < COUNT_STATUSES; code++)
				sum += count_read(&fetch->requests[kind][method][code]);
	return sum;
}

json_t *admin_describe_upstream(const struct pull_upstream *upstream)
{
	struct registry_stats stats;
	uint64_t retries = 0;

	pull_upstream_stats(upstream, &stats);
	for (int reason = 0; reason < REGISTRY_RETRIES; reason++)
		retries += stats.retries[reason];
	return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:{s:o, s:o}, s:o, s:o}", "name",
			 pull_upstream_name(upstream), "state", state_of(upstream, &stats), "answered_s_ago",
			 ago(stats.answered), "failed_s_ago", ago(stats.failed), "why",
			 stats.why[0] ? admin_words(stats.why) : json_null(), "requests",
			 number(sum_requests(stats.fetch)), "bytes", number(count_read(&stats.fetch->body_bytes)),
			 "retries", number(retries), "http2_fallbacks", number(stats.http2_fallbacks), "connections",
			 "http/1.1", number(count_read(&stats.fetch->connections[FETCH_HTTP1_1])), "h2",
			 number(count_read(&stats.fetch->connections[FETCH_HTTP_2])), "budget", describe_budget(&stats),
			 "pace", describe_pace(&stats.pace));
}

static json_t *describe(struct admin *admin)
{
	json_t *flights = json_array(), *upstreams = json_array();
	size_t count;
	struct pull_upstream *const *configured = pull_upstreams(admin->pull, &count);

	pull_list_flights(admin->pull, add_flight, flights);
	for (size_t i = 0; i < count; i++)
		json_array_append_new(upstreams, admin_describe_upstream(configured[i]));
	return json_pack("{s:s, s:o, s:o, s:b, s:o, s:o, s:o, s:o, s:o}", "version", LARDER_VERSION, "up_since",
			 number((uint64_t)admin->began_wall_s), "uptime_s",
			 number((clock_ms() - admin->began_ms) / 1000), "offline", pull_is_offline(admin->pull),
			 "requests", describe_requests(admin->traffic), "store", describe_store(admin), "flight_count",
			 number(pull_flight_count(admin->pull)), "flights", flights, "upstreams", upstreams);
}

void admin_status(struct admin_visit *visit)
{
	admin_reply_json(visit, 200, describe(visit->admin));
}

/* Everything, for who watches: the status, and the jobs in brief. */

static uint64_t overview_version(struct admin *admin, const char *name, bool *last)
{
	struct index_totals totals = {0};
	struct err err;
	uint64_t version = jobs_version(admin->jobs, NULL, NULL);

	(void)name;
	(void)last;
	for (int outcome = 0; outcome < TRAFFIC_OUTCOMES; outcome++)
		version += admin_count_outcome(admin->traffic, outcome);
	index_get_totals(store_index(admin->store), &totals, &err);
	version += totals.blobs + pull_flight_count(admin->pull);
	/* What flies comes nearer all the time. */
	if (pull_flight_count(admin->pull) > 0)
		version += clock_ms() / OVERVIEW_STEP_MS;
	return version;
}

static json_t *overview_describe(struct admin *admin, const char *name)
{
	(void)name;
	return json_pack("{s:o, s:o}", "status", describe(admin), "jobs", jobs_list(admin->jobs));
}

void admin_follow(struct admin_visit *visit)
{
	static const struct event_topic topic = {
		.version = overview_version, .describe = overview_describe, .event = "overview"};

	events_reply(visit, &topic, "");
}
