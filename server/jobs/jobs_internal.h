/* SPDX-License-Identifier: Apache-2.0 */
/* What jobs.c (how a job goes) and jobs_file.c (how it is kept) share. */
#pragma once

#include "base/work.h"
#include "server/jobs/jobs.h"

#include <pthread.h>

enum job_state { JOB_QUEUED, JOB_RUNNING, JOB_DONE, JOB_FAILED, JOB_CANCELLED };

struct job {
	struct work_job work; /* first */
	struct jobs *jobs;
	struct job *prev, *next; /* in the order of their ids */
	uint64_t id;
	const struct job_kind *kind;
	json_t *request;
	uint64_t counts[JOB_COUNTS]; /* atomic */
	uint64_t version;            /* atomic */
	bool stopping;               /* atomic */

	/* Under jobs->lock. */
	enum job_state state;
	bool on_thread;                     /* queued there, or running: it may not go */
	int64_t created, started, finished; /* wall milliseconds; 0: not yet */
	json_t *active;                     /* what it is at: names */
	json_t *errors;
	size_t more_errors; /* beyond JOB_ERRORS_MAX */
	json_t *result;
	void (*wake)(void *arg);
	void *wake_arg;
};

struct jobs {
	char *directory;
	const struct job_kind *kinds;
	size_t kind_count;
	struct work *work;

	pthread_mutex_t lock;
	struct job *list;
	uint64_t last_id;
	uint64_t version; /* atomic */
	bool stopping;
};

const struct job_kind *jobs_find_kind(const struct jobs *jobs, const char *name);

/* Files. Blocks. What cannot be kept is said in the log: the job goes on. `json` is what describes the job. */
void job_keep(const struct jobs *jobs, uint64_t id, const json_t *json);
void job_forget(const struct jobs *jobs, uint64_t id);
/* Calls `each` for every job that was kept, in the order of their ids. */
void jobs_read(struct jobs *jobs, void (*each)(struct jobs *jobs, uint64_t id, const json_t *json));
