/* SPDX-License-Identifier: Apache-2.0 */
#include "server/jobs/jobs_internal.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

static const char *const state_names[] = {
	[JOB_QUEUED] = "queued", [JOB_RUNNING] = "running",     [JOB_DONE] = "done",
	[JOB_FAILED] = "failed", [JOB_CANCELLED] = "cancelled",
};

const struct job_kind *jobs_find_kind(const struct jobs *jobs, const char *name)
{
	for (size_t i = 0; name && i < jobs->kind_count; i++)
		if (strcmp(jobs->kinds[i].name, name) == 0)
			return &jobs->kinds[i];
	return NULL;
}

static bool has_ended(const struct job *job)
{
	return job->state != JOB_QUEUED && job->state != JOB_RUNNING;
}

static void job_changed(struct job *job)
{
	__atomic_add_fetch(&job->version, 1, __ATOMIC_RELEASE);
	__atomic_add_fetch(&job->jobs->version, 1, __ATOMIC_RELEASE);
}

/* Describing. The lock is held. */

static json_t *number(uint64_t value)
{
	return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

static json_t *describe_counts(const struct job *job, enum job_count first)
{
	return json_pack("{s:o, s:o, s:o}", "total", number(job_count(job, first)), "done",
			 number(job_count(job, first + 1)), "failed", number(job_count(job, first + 2)));
}

static json_t *describe_time(int64_t wall_ms)
{
	return wall_ms ? json_real((double)wall_ms / 1000.0) : json_null();
}

static json_t *describe(const struct job *job, enum job_telling telling)
{
	char id[JOB_ID_MAX];
	int64_t until = job->finished ? job->finished : clock_wall_ms();
	json_t *json;

	snprintf(id, sizeof(id), "%" PRIu64, job->id);
	json = json_pack("{s:s, s:s, s:s, s:o, s:o, s:{s:o, s:o, s:o}, s:I, s:o, s:o, s:o, s:f}", "id", id, "kind",
			 job->kind->name, "state", state_names[job->state], "images",
			 describe_counts(job, JOB_IMAGES_TOTAL), "layers", describe_counts(job, JOB_LAYERS_TOTAL),
			 "bytes", "total", number(job_count(job, JOB_BYTES_TOTAL)), "fetched",
			 number(job_count(job, JOB_BYTES_FETCHED)), "held", number(job_count(job, JOB_BYTES_HELD)),
			 "error_count", (json_int_t)json_array_size(job->errors) + (json_int_t)job->more_errors,
			 "created", describe_time(job->created), "started", describe_time(job->started), "finished",
			 describe_time(job->finished), "seconds",
			 job->started ? (double)(until - job->started) / 1000.0 : 0.0);
	assert(json);
	/* Copies: the job's own may grow while these are printed. Names in work go again: they are not shared. */
	if (telling != JOB_BRIEF) {
		json_object_set_new(json, "active", json_deep_copy(job->active));
		json_object_set_new(json, "errors", json_copy(job->errors));
	}
	if (telling == JOB_WHOLE)
		json_object_set(json, "request", job->request);
	if (telling == JOB_WHOLE && job->result)
		json_object_set(json, "result", job->result);
	return json;
}

/* The list. The lock is held. */

static struct job *find(struct jobs *jobs, const char *id)
{
	char *end;
	uint64_t wanted = strtoull(id, &end, 10);
	struct job *job;

	if (*end || id[0] < '1' || id[0] > '9')
		return NULL;
	DL_SEARCH_SCALAR(jobs->list, job, id, wanted);
	return job;
}

static void job_free(struct job *job)
{
	json_decref(job->request);
	json_decref(job->active);
	json_decref(job->errors);
	json_decref(job->result);
	free(job);
}

static size_t count_active(const struct jobs *jobs)
{
	const struct job *job;
	size_t count = 0;

	DL_FOREACH (jobs->list, job)
		count += !has_ended(job);
	return count;
}

/* The oldest that have ended make room. */
static void forget_oldest(struct jobs *jobs)
{
	struct job *job, *next;
	size_t ended = 0;

	DL_FOREACH (jobs->list, job)
		ended += has_ended(job) && !job->on_thread;
	DL_FOREACH_SAFE (jobs->list, job, next) {
		if (ended <= JOBS_KEPT)
			break;
		if (!has_ended(job) || job->on_thread)
			continue;
		DL_DELETE(jobs->list, job);
		job_forget(jobs, job->id);
		job_free(job);
		ended--;
	}
}

/* Running. */

/* The lock is held; keeps what there is to say of it. */
static void set_state(struct job *job, enum job_state state)
{
	json_t *json;

	job->state = state;
	if (state == JOB_RUNNING)
		job->started = clock_wall_ms();
	else if (state != JOB_QUEUED)
		job->finished = clock_wall_ms();
	json = describe(job, JOB_WHOLE);
	job_keep(job->jobs, job->id, json);
	json_decref(json);
	job_changed(job);
}

static void log_end(const struct job *job)
{
	log_info("job %" PRIu64 " (%s): %s, %" PRIu64 " of %" PRIu64 " images, %" PRIu64 " bytes fetched, %" PRIu64
		 " held, %zu errors",
		 job->id, job->kind->name, state_names[job->state], job_count(job, JOB_IMAGES_DONE),
		 job_count(job, JOB_IMAGES_TOTAL), job_count(job, JOB_BYTES_FETCHED), job_count(job, JOB_BYTES_HELD),
		 json_array_size(job->errors) + job->more_errors);
}

static void run_work(struct work_job *work)
{
	struct job *job = (struct job *)work;
	struct jobs *jobs = job->jobs;
	struct err err = {0};
	int code;

	pthread_mutex_lock(&jobs->lock);
	if (job->state != JOB_QUEUED || jobs->stopping) {
		job->on_thread = false;
		pthread_mutex_unlock(&jobs->lock);
		return;
	}
	set_state(job, JOB_RUNNING);
	pthread_mutex_unlock(&jobs->lock);

	code = job->kind->run(job->kind->arg, job, job->request, &err);
	if (code && !job_is_stopping(job))
		job_fail(job, "", &err);

	pthread_mutex_lock(&jobs->lock);
	job->on_thread = false;
	job->wake = NULL;
	/* Cancelled is said already; a job that larder's end interrupts stays RUNNING, and begins anew. */
	if (job->state == JOB_RUNNING && !job_is_stopping(job))
		set_state(job, json_array_size(job->errors) > 0 ? JOB_FAILED : JOB_DONE);
	if (has_ended(job))
		log_end(job);
	forget_oldest(jobs);
	pthread_mutex_unlock(&jobs->lock);
}

/* The lock is held. */
static void enqueue(struct jobs *jobs, struct job *job)
{
	job->on_thread = true;
	job->work.run = run_work;
	work_submit(jobs->work, &job->work);
}

static struct job *job_new(struct jobs *jobs, const struct job_kind *kind, json_t *request, uint64_t id)
{
	struct job *job = mem_alloc(sizeof(*job));

	job->jobs = jobs;
	job->kind = kind;
	job->request = request;
	job->active = json_array();
	job->errors = json_array();
	job->id = id;
	job->version = 1;
	job->created = clock_wall_ms();
	DL_APPEND(jobs->list, job);
	if (id > jobs->last_id)
		jobs->last_id = id;
	return job;
}

int jobs_start(struct jobs *jobs, const char *kind, json_t *request, const char *by, char id[JOB_ID_MAX],
	       struct err *err)
{
	struct job *job;
	int code = 0;

	pthread_mutex_lock(&jobs->lock);
	if (jobs->stopping) {
		code = err_set(err, ERR_CANCELLED, "larder is shutting down");
	} else if (count_active(jobs) >= JOBS_ACTIVE_MAX) {
		code = err_set(err, ERR_LIMIT, "%d jobs are queued or running already", JOBS_ACTIVE_MAX);
	} else {
		job = job_new(jobs, jobs_find_kind(jobs, kind), request, jobs->last_id + 1);
		assert(job->kind);
		snprintf(id, JOB_ID_MAX, "%" PRIu64, job->id);
		set_state(job, JOB_QUEUED);
		log_info("job %s (%s) for %s", id, kind, by);
		enqueue(jobs, job);
	}
	pthread_mutex_unlock(&jobs->lock);
	if (code)
		json_decref(request);
	return code;
}

/* The lock is held. */
static void stop(struct job *job)
{
	__atomic_store_n(&job->stopping, true, __ATOMIC_RELEASE);
	if (job->wake)
		job->wake(job->wake_arg);
}

int jobs_cancel(struct jobs *jobs, const char *id, struct err *err)
{
	struct job *job;
	int code = 0;

	pthread_mutex_lock(&jobs->lock);
	job = find(jobs, id);
	if (!job) {
		code = err_set(err, ERR_NOT_FOUND, "there is no job %.40s", id);
	} else if (!has_ended(job)) {
		set_state(job, JOB_CANCELLED);
		stop(job);
	}
	pthread_mutex_unlock(&jobs->lock);
	return code;
}

/* Looking. */

json_t *jobs_describe(struct jobs *jobs, const char *id, enum job_telling telling)
{
	struct job *job;
	json_t *json = NULL;

	pthread_mutex_lock(&jobs->lock);
	job = find(jobs, id);
	if (job)
		json = describe(job, telling);
	pthread_mutex_unlock(&jobs->lock);
	return json;
}

json_t *jobs_list(struct jobs *jobs)
{
	json_t *list = json_array();
	struct job *job;

	pthread_mutex_lock(&jobs->lock);
	DL_FOREACH (jobs->list, job)
		json_array_insert_new(list, 0, describe(job, JOB_BRIEF));
	pthread_mutex_unlock(&jobs->lock);
	return list;
}

bool jobs_find_active(struct jobs *jobs, const json_t *request, char id[JOB_ID_MAX])
{
	const struct job *job;

	pthread_mutex_lock(&jobs->lock);
	DL_FOREACH (jobs->list, job)
		if (!has_ended(job) && json_equal(job->request, request))
			break;
	if (job)
		snprintf(id, JOB_ID_MAX, "%" PRIu64, job->id);
	pthread_mutex_unlock(&jobs->lock);
	return job != NULL;
}

uint64_t jobs_version(struct jobs *jobs, const char *id, bool *ended)
{
	struct job *job;
	uint64_t version = 0;

	if (!id)
		return __atomic_load_n(&jobs->version, __ATOMIC_ACQUIRE) + 1;
	pthread_mutex_lock(&jobs->lock);
	job = find(jobs, id);
	if (job) {
		version = __atomic_load_n(&job->version, __ATOMIC_ACQUIRE);
		if (ended)
			*ended = has_ended(job) || jobs->stopping;
	}
	pthread_mutex_unlock(&jobs->lock);
	return version;
}

/* For run(). */

bool job_is_stopping(const struct job *job)
{
	return __atomic_load_n(&job->stopping, __ATOMIC_ACQUIRE);
}

void job_on_stop(struct job *job, void (*wake)(void *arg), void *arg)
{
	pthread_mutex_lock(&job->jobs->lock);
	job->wake = wake;
	job->wake_arg = arg;
	pthread_mutex_unlock(&job->jobs->lock);
}

void job_add(struct job *job, enum job_count count, int64_t more)
{
	if (more == 0)
		return;
	__atomic_add_fetch(&job->counts[count], (uint64_t)more, __ATOMIC_RELAXED);
	job_changed(job);
}

uint64_t job_count(const struct job *job, enum job_count count)
{
	return __atomic_load_n(&job->counts[count], __ATOMIC_RELAXED);
}

/* Strangers' words may be in it. */
static json_t *words(const char *text)
{
	json_t *string = json_string(text);

	return string ? string : json_string("(not UTF-8)");
}

void job_begin(struct job *job, const char *what)
{
	pthread_mutex_lock(&job->jobs->lock);
	json_array_append_new(job->active, words(what));
	pthread_mutex_unlock(&job->jobs->lock);
	job_changed(job);
}

void job_end(struct job *job, const char *what)
{
	pthread_mutex_lock(&job->jobs->lock);
	for (size_t i = 0; i < json_array_size(job->active); i++)
		if (strcmp(json_string_value(json_array_get(job->active, i)), what) == 0) {
			json_array_remove(job->active, i);
			break;
		}
	pthread_mutex_unlock(&job->jobs->lock);
	job_changed(job);
}

void job_fail(struct job *job, const char *what, const struct err *why)
{
	pthread_mutex_lock(&job->jobs->lock);
	if (json_array_size(job->errors) < JOB_ERRORS_MAX)
		json_array_append_new(job->errors, json_pack("{s:o, s:o, s:s}", "image", words(what), "message",
							     words(why->text), "reason", err_name(why->code)));
	else
		job->more_errors++;
	pthread_mutex_unlock(&job->jobs->lock);
	job_changed(job);
}

void job_set_result(struct job *job, json_t *result)
{
	pthread_mutex_lock(&job->jobs->lock);
	json_decref(job->result);
	job->result = result;
	pthread_mutex_unlock(&job->jobs->lock);
	job_changed(job);
}

/* Start and end. */

struct jobs *jobs_new(const struct job_kind *kinds, size_t kind_count)
{
	struct jobs *jobs = mem_alloc(sizeof(*jobs));

	jobs->kinds = kinds;
	jobs->kind_count = kind_count;
	jobs->work = work_start(JOBS_AT_ONCE);
	pthread_mutex_init(&jobs->lock, NULL);
	return jobs;
}

static enum job_state state_of(const char *name)
{
	for (size_t i = 0; name && i < sizeof(state_names) / sizeof(state_names[0]); i++)
		if (strcmp(state_names[i], name) == 0)
			return (enum job_state)i;
	return JOB_FAILED;
}

static int64_t read_time(const json_t *json, const char *key)
{
	return (int64_t)(json_number_value(json_object_get(json, key)) * 1000.0);
}

static void read_counts(struct job *job, const json_t *json)
{
	static const struct {
		const char *group, *name;
	} places[JOB_COUNTS] = {
		[JOB_IMAGES_TOTAL] = {"images", "total"},   [JOB_IMAGES_DONE] = {"images", "done"},
		[JOB_IMAGES_FAILED] = {"images", "failed"}, [JOB_LAYERS_TOTAL] = {"layers", "total"},
		[JOB_LAYERS_DONE] = {"layers", "done"},     [JOB_LAYERS_FAILED] = {"layers", "failed"},
		[JOB_BYTES_TOTAL] = {"bytes", "total"},     [JOB_BYTES_FETCHED] = {"bytes", "fetched"},
		[JOB_BYTES_HELD] = {"bytes", "held"},
	};

	for (int i = 0; i < JOB_COUNTS; i++)
		job->counts[i] = (uint64_t)json_integer_value(
			json_object_get(json_object_get(json, places[i].group), places[i].name));
}

/* One that was kept: it goes on, or is history. */
static void take_up(struct jobs *jobs, uint64_t id, const json_t *json)
{
	const struct job_kind *kind = jobs_find_kind(jobs, json_string_value(json_object_get(json, "kind")));
	enum job_state state = state_of(json_string_value(json_object_get(json, "state")));
	json_t *request = json_object_get(json, "request");
	struct job *job;

	if (!kind || !json_is_object(request)) {
		log_warn("passed over job %" PRIu64 ": it is of no kind that is known", id);
		return;
	}
	job = job_new(jobs, kind, json_incref(request), id);
	job->created = read_time(json, "created");
	if (state == JOB_QUEUED || state == JOB_RUNNING) {
		if (kind->resumes) {
			log_info("job %" PRIu64 " (%s) goes on", id, kind->name);
			enqueue(jobs, job);
		} else {
			json_array_append_new(job->errors, json_pack("{s:s, s:s, s:s}", "image", "", "message",
								     "larder was stopped in the middle of it", "reason",
								     err_name(ERR_CANCELLED)));
			set_state(job, JOB_FAILED);
		}
		return;
	}
	job->state = state;
	job->started = read_time(json, "started");
	job->finished = read_time(json, "finished");
	read_counts(job, json);
	if (json_is_array(json_object_get(json, "errors")))
		json_array_extend(job->errors, json_object_get(json, "errors"));
	job->result = json_incref(json_object_get(json, "result"));
}

void jobs_resume(struct jobs *jobs, const char *directory)
{
	pthread_mutex_lock(&jobs->lock);
	jobs->directory = mem_strdup(directory);
	jobs_read(jobs, take_up);
	forget_oldest(jobs);
	pthread_mutex_unlock(&jobs->lock);
}

void jobs_interrupt(struct jobs *jobs)
{
	struct job *job;

	pthread_mutex_lock(&jobs->lock);
	jobs->stopping = true;
	DL_FOREACH (jobs->list, job)
		if (job->on_thread)
			stop(job);
	pthread_mutex_unlock(&jobs->lock);
}

void jobs_stop(struct jobs *jobs)
{
	jobs_interrupt(jobs);
	work_stop(jobs->work);
	jobs->work = NULL;
}

void jobs_free(struct jobs *jobs)
{
	struct job *job, *next;

	if (!jobs)
		return;
	assert(!jobs->work);
	DL_FOREACH_SAFE (jobs->list, job, next) {
		DL_DELETE(jobs->list, job);
		job_free(job);
	}
	pthread_mutex_destroy(&jobs->lock);
	free(jobs->directory);
	free(jobs);
}
