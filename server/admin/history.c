/* SPDX-License-Identifier: Apache-2.0 */
/* How it went over time, for who looks at it now and has no Prometheus: in memory alone, and bounded. A thread looks at
 * the counters every HOUR_STEP_S seconds; what came in between is a point of the last hour, and many of them one of the
 * last week. */
#include "server/admin/admin_internal.h"

#include "base/clock.h"
#include "base/count.h"
#include "server/files/files.h"
#include "server/pull/look.h"
#include "server/registry/traffic.h"
#include "store/evict.h"
#include "store/index.h"
#include "store/store.h"
#include "upstream/fetch.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HOUR_STEP_S  10
#define HOUR_POINTS  360
#define WEEK_STEP_S  600
#define WEEK_POINTS  1008
#define STEPS_A_WEEK (WEEK_STEP_S / HOUR_STEP_S)

enum { SUM_HIT, SUM_MISS, SUM_COLLAPSED, SUM_STALE, SUM_ERROR, SUM_SERVED, SUM_SAVED, SUM_FETCHED, SUM_EVICTED, SUMS };

static const char *const sum_names[SUMS] = {
	[SUM_HIT] = "hit",
	[SUM_MISS] = "miss",
	[SUM_COLLAPSED] = "collapsed",
	[SUM_STALE] = "stale",
	[SUM_ERROR] = "error",
	[SUM_SERVED] = "served_bytes",
	[SUM_SAVED] = "saved_bytes", /* served without fetching them for it */
	[SUM_FETCHED] = "fetched_bytes",
	[SUM_EVICTED] = "evicted_bytes",
};

struct point {
	int64_t at; /* wall seconds: its end */
	uint64_t sums[SUMS];
	uint64_t store_bytes, store_blobs, flights;
};

struct ring {
	struct point *points;
	size_t size, next, count;
	uint64_t before[SUMS]; /* the counters when the last point was made */
};

struct history {
	struct admin *admin;
	pthread_t thread;
	bool has_thread;
	pthread_mutex_t lock;
	pthread_cond_t stop;
	bool stopping;
	struct ring hour, week;
};

static void look(struct admin *admin, struct point *now)
{
	static const enum traffic_outcome outcomes[] = {[SUM_HIT] = TRAFFIC_HIT,
							[SUM_MISS] = TRAFFIC_MISS,
							[SUM_COLLAPSED] = TRAFFIC_COLLAPSED,
							[SUM_STALE] = TRAFFIC_STALE,
							[SUM_ERROR] = TRAFFIC_ERROR};
	struct index_totals totals = {0};
	struct err err;

	memset(now, 0, sizeof(*now));
	now->at = clock_wall_s();
	for (int i = SUM_HIT; i <= SUM_ERROR; i++) {
		uint64_t bytes = count_read(&admin->traffic->served_bytes[outcomes[i]]);

		now->sums[i] = admin_count_outcome(admin->traffic, outcomes[i]);
		now->sums[SUM_SERVED] += bytes;
		now->sums[SUM_SAVED] += i == SUM_MISS || i == SUM_ERROR ? 0 : bytes;
	}
	now->sums[SUM_FETCHED] = pull_fetched_bytes(admin->pull);
	now->sums[SUM_EVICTED] = evict_total_bytes(admin->store);
	index_get_totals(store_index(admin->store), &totals, &err);
	now->store_bytes = totals.bytes;
	now->store_blobs = totals.blobs;
	now->flights = pull_flight_count(admin->pull);
}

/* The lock is held. */
static void add(struct ring *ring, const struct point *now)
{
	struct point *point = &ring->points[ring->next];

	*point = *now;
	for (int i = 0; i < SUMS; i++)
		point->sums[i] -= ring->before[i];
	memcpy(ring->before, now->sums, sizeof(ring->before));
	ring->next = (ring->next + 1) % ring->size;
	ring->count += ring->count < ring->size;
}

static void *history_main(void *arg)
{
	struct history *history = arg;
	struct timespec until;
	unsigned steps = 0;
	struct point now;

	pthread_setname_np(pthread_self(), "history");
	clock_gettime(CLOCK_MONOTONIC, &until);
	pthread_mutex_lock(&history->lock);
	while (!history->stopping) {
		until.tv_sec += HOUR_STEP_S;
		while (!history->stopping &&
		       pthread_cond_clockwait(&history->stop, &history->lock, CLOCK_MONOTONIC, &until) == 0)
			;
		if (history->stopping)
			break;
		pthread_mutex_unlock(&history->lock);
		look(history->admin, &now);
		/* Nobody else comes by when nobody asks. */
		if (history->admin->files)
			files_tidy(history->admin->files);
		pthread_mutex_lock(&history->lock);
		add(&history->hour, &now);
		if (++steps % STEPS_A_WEEK == 0)
			add(&history->week, &now);
	}
	pthread_mutex_unlock(&history->lock);
	return NULL;
}

static void ring_init(struct ring *ring, size_t size)
{
	ring->points = mem_alloc(size * sizeof(*ring->points));
	ring->size = size;
}

struct history *history_new(struct admin *admin)
{
	struct history *history = mem_alloc(sizeof(*history));

	history->admin = admin;
	ring_init(&history->hour, HOUR_POINTS);
	ring_init(&history->week, WEEK_POINTS);
	pthread_mutex_init(&history->lock, NULL);
	pthread_cond_init(&history->stop, NULL);
	history->has_thread = admin->pull && pthread_create(&history->thread, NULL, history_main, history) == 0;
	return history;
}

void history_free(struct history *history)
{
	pthread_mutex_lock(&history->lock);
	history->stopping = true;
	pthread_cond_signal(&history->stop);
	pthread_mutex_unlock(&history->lock);
	if (history->has_thread)
		pthread_join(history->thread, NULL);
	pthread_cond_destroy(&history->stop);
	pthread_mutex_destroy(&history->lock);
	free(history->hour.points);
	free(history->week.points);
	free(history);
}

static json_t *describe_point(const struct point *point)
{
	json_t *json = json_pack("{s:I, s:I, s:I, s:I}", "at", (json_int_t)point->at, "store_bytes",
				 (json_int_t)point->store_bytes, "store_blobs", (json_int_t)point->store_blobs,
				 "flights", (json_int_t)point->flights);

	for (int i = 0; i < SUMS; i++)
		json_object_set_new(json, sum_names[i], json_integer((json_int_t)point->sums[i]));
	return json;
}

void admin_history(struct admin_visit *visit)
{
	struct history *history = visit->admin->history;
	json_t *points = json_array();
	char span[ADMIN_VALUE_MAX];
	struct ring *ring = &history->hour;

	if (!admin_parameter_optional(visit, "span", span))
		return;
	if (strcmp(span, "week") == 0) {
		ring = &history->week;
	} else if (span[0] && strcmp(span, "hour") != 0) {
		json_decref(points);
		admin_reply_error(visit, 400, "invalid", "the parameter span is hour or week");
		return;
	}
	pthread_mutex_lock(&history->lock);
	for (size_t i = 0; i < ring->count; i++)
		json_array_append_new(
			points,
			describe_point(&ring->points[(ring->next + ring->size - ring->count + i) % ring->size]));
	pthread_mutex_unlock(&history->lock);
	admin_reply_json(visit, 200,
			 json_pack("{s:i, s:o}", "every_s", ring == &history->week ? WEEK_STEP_S : HOUR_STEP_S,
				   "points", points));
}
