/* SPDX-License-Identifier: Apache-2.0 */
/* A small pool of threads for what blocks: fsync, hashing behind, index commits. Jobs run in the order given, on any of
 * the pool's threads. */
#pragma once

struct work;

struct work_job {
	void (*run)(struct work_job *job); /* owns `job` from here on */
	struct work_job *next;             /* the pool's own */
};

/* Starts `threads` threads (at least one). */
struct work *work_start(int threads);
/* Any thread. The job's memory is the caller's until run() is called. */
void work_submit(struct work *work, struct work_job *job);
/* Runs what is queued, then ends the threads and frees the pool. Takes NULL. */
void work_stop(struct work *work);
