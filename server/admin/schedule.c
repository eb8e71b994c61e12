/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of images that the configuration wants warm: each is a prefetch at larder's start, and again every so often. */
#include "server/admin/admin_internal.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

struct entry {
	uint64_t every_ms, due_ms;
	json_t *request;
	char job[JOB_ID_MAX]; /* the last one; "": none yet */
};

struct schedule {
	struct admin *admin;
	struct entry *entries;
	size_t count;
	pthread_t thread;
	pthread_mutex_t lock; /* guards `stopping` */
	pthread_cond_t stop;
	bool stopping;
};

static json_t *list_of(const char *const *items, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, json_string(items[i]));
	return list;
}

static json_t *request_of(const struct admin_scheduled *scheduled, size_t nth)
{
	json_t *request =
		json_pack("{s:I, s:o, s:b}", "schedule", (json_int_t)nth, "images",
			  list_of(scheduled->images, scheduled->image_count), "referrers", scheduled->referrers);

	if (scheduled->platform_count > 0)
		json_object_set_new(request, "platforms", list_of(scheduled->platforms, scheduled->platform_count));
	if (scheduled->pin)
		json_object_set_new(request, "pin", json_string(scheduled->pin));
	return request;
}

/* One that takes longer than its interval is not started beside itself. */
static void start(struct schedule *schedule, struct entry *entry)
{
	struct jobs *jobs = schedule->admin->jobs;
	struct err err;
	bool ended = true;

	if (entry->job[0] && jobs_version(jobs, entry->job, &ended) && !ended)
		return;
	if (jobs_start(jobs, "prefetch", json_deep_copy(entry->request), "the schedule", entry->job, &err))
		log_warn("a scheduled prefetch was left out: %s", err.text);
}

/* What is due is started; when the next is. */
static uint64_t start_due(struct schedule *schedule)
{
	uint64_t now = clock_ms(), next = UINT64_MAX;

	for (size_t i = 0; i < schedule->count; i++) {
		struct entry *entry = &schedule->entries[i];

		if (entry->due_ms <= now) {
			start(schedule, entry);
			entry->due_ms = now + entry->every_ms;
		}
		if (entry->due_ms < next)
			next = entry->due_ms;
	}
	return next;
}

static void *schedule_main(void *arg)
{
	struct schedule *schedule = arg;

	pthread_setname_np(pthread_self(), "schedule");
	pthread_mutex_lock(&schedule->lock);
	while (!schedule->stopping) {
		struct timespec until;
		uint64_t next;

		pthread_mutex_unlock(&schedule->lock);
		next = start_due(schedule);
		until.tv_sec = (time_t)(next / 1000);
		until.tv_nsec = (long)(next % 1000) * 1000000L;
		pthread_mutex_lock(&schedule->lock);
		while (!schedule->stopping &&
		       pthread_cond_clockwait(&schedule->stop, &schedule->lock, CLOCK_MONOTONIC, &until) == 0)
			;
	}
	pthread_mutex_unlock(&schedule->lock);
	return NULL;
}

struct schedule *schedule_new(struct admin *admin, const struct admin_scheduled *scheduled, size_t count)
{
	struct schedule *schedule;

	if (count == 0)
		return NULL;
	schedule = mem_alloc(sizeof(*schedule));
	schedule->admin = admin;
	schedule->entries = mem_alloc(count * sizeof(*schedule->entries));
	schedule->count = count;
	for (size_t i = 0; i < count; i++) {
		schedule->entries[i].every_ms = scheduled[i].every_ms;
		schedule->entries[i].request = request_of(&scheduled[i], i);
		/* What larder's last end interrupted goes on already; a configuration that has changed asks for
		 * another. */
		(void)jobs_find_active(admin->jobs, schedule->entries[i].request, schedule->entries[i].job);
	}
	pthread_mutex_init(&schedule->lock, NULL);
	pthread_cond_init(&schedule->stop, NULL);
	if (pthread_create(&schedule->thread, NULL, schedule_main, schedule) == 0)
		return schedule;
	log_warn("nothing is prefetched by the schedule: no thread can be started");
	schedule->stopping = true;
	schedule_free(schedule);
	return NULL;
}

void schedule_free(struct schedule *schedule)
{
	bool runs;

	if (!schedule)
		return;
	pthread_mutex_lock(&schedule->lock);
	runs = !schedule->stopping;
	schedule->stopping = true;
	pthread_cond_signal(&schedule->stop);
	pthread_mutex_unlock(&schedule->lock);
	if (runs)
		pthread_join(schedule->thread, NULL);
	for (size_t i = 0; i < schedule->count; i++)
		json_decref(schedule->entries[i].request);
	pthread_cond_destroy(&schedule->stop);
	pthread_mutex_destroy(&schedule->lock);
	free(schedule->entries);
	free(schedule);
}
