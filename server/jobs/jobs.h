/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Long work that an operator starts and watches: prefetching, making room, verifying. A job has a kind, which knows how
 * to do it, and a request, the JSON that it was asked with.
 *
 * States:
 *   QUEUED     waits for one of JOBS_AT_ONCE threads      -> RUNNING, CANCELLED
 *   RUNNING    its kind's run() is under way              -> DONE, FAILED, CANCELLED
 *   DONE       all of it was done
 *   FAILED     some or all of it was not: `errors` say what
 *   CANCELLED  somebody ended it; what was done stays
 *
 * What is asked and how it ended is in a file each, so that a job survives a restart: one that had not ended begins
 * anew when its kind resumes, which finds what it did before. At most JOBS_KEPT ended ones are kept.
 *
 * Any thread, unless said otherwise. Counts are added to without a lock; everything else is under one.
 */
#pragma once

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JOBS_AT_ONCE    2
#define JOBS_ACTIVE_MAX 64 /* queued and running */
#define JOBS_KEPT       100
#define JOB_ERRORS_MAX  1000
#define JOB_ID_MAX      24

struct job;
struct jobs;

enum job_count {
	JOB_IMAGES_TOTAL,
	JOB_IMAGES_DONE,
	JOB_IMAGES_FAILED,
	JOB_LAYERS_TOTAL,
	JOB_LAYERS_DONE,
	JOB_LAYERS_FAILED,
	JOB_BYTES_TOTAL,
	JOB_BYTES_FETCHED,
	JOB_BYTES_HELD,
	JOB_COUNTS,
};

struct job_kind {
	const char *name;
	/* Does it, on a thread of the job's, until it is done or job_is_stopping(). 0: as well as job_fail() says; else
	 * it failed as a whole. */
	int (*run)(void *arg, struct job *job, const json_t *request, struct err *err);
	void *arg;
	bool resumes; /* after a restart */
};

/* `kinds` are borrowed. */
struct jobs *jobs_new(const struct job_kind *kinds, size_t kind_count);
/* From here on jobs are kept in this directory, which is made when it is absent; what an earlier process left there
 * goes on. Blocks. Before any other use; without it nothing is kept. */
void jobs_resume(struct jobs *jobs, const char *directory);
/* Tells what runs to end, so that it begins anew at the next start; nothing starts from now on. */
void jobs_interrupt(struct jobs *jobs);
/* Does so, and waits until all threads have ended. */
void jobs_stop(struct jobs *jobs);
/* Takes NULL. After jobs_stop(). */
void jobs_free(struct jobs *jobs);

/* `request` is taken over; `by` is who asked, for the log. ERR_LIMIT: too many are active; ERR_CANCELLED: larder stops.
 */
int jobs_start(struct jobs *jobs, const char *kind, json_t *request, const char *by, char id[JOB_ID_MAX],
	       struct err *err);
/* Nothing happens to one that has ended. ERR_NOT_FOUND. */
int jobs_cancel(struct jobs *jobs, const char *id, struct err *err);

/* How much is told of a job: how far it is; that with its errors; everything. */
enum job_telling { JOB_BRIEF, JOB_PROGRESS, JOB_WHOLE };

/* A job, as the admin API shows it; NULL: there is none. */
json_t *jobs_describe(struct jobs *jobs, const char *id, enum job_telling telling);
/* All, the newest first, in brief. */
json_t *jobs_list(struct jobs *jobs);
/* The id of a job that was started with this request and has not ended; false: there is none. */
bool jobs_find_active(struct jobs *jobs, const json_t *request, char id[JOB_ID_MAX]);
/* Changes with every change of the job, or, `id` NULL, of any. 0: there is no such job. `ended` (may be NULL): whether
 * nothing will change any more: it has ended, or larder stops and it goes on at the next start. */
uint64_t jobs_version(struct jobs *jobs, const char *id, bool *ended);

/* For run(), on any thread of its own. */

bool job_is_stopping(const struct job *job);
/* Called, on whatever thread ends the job, under a lock of the jobs': it wakes and returns. NULL takes it back. */
void job_on_stop(struct job *job, void (*wake)(void *arg), void *arg);
void job_add(struct job *job, enum job_count count, int64_t more);
uint64_t job_count(const struct job *job, enum job_count count);
/* What it is at, from one to the other: shown as "active", in the order in which they began. */
void job_begin(struct job *job, const char *what);
void job_end(struct job *job, const char *what);
/* Something was not done: what, and why. The job will be FAILED. */
void job_fail(struct job *job, const char *what, const struct err *why);
/* Shown as "result"; taken over. */
void job_set_result(struct job *job, json_t *result);
