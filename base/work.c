/* SPDX-License-Identifier: Apache-2.0 */
#include "base/work.h"

#include "base/buf.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

struct work {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct work_job *first;
	struct work_job **end; /* where the next job is hung */
	bool stopping;
	int thread_count;
	pthread_t threads[];
};

static void *run_jobs(void *argument)
{
	struct work *work = argument;
	pthread_mutex_lock(&work->lock);
	for (;;) {
		while (!work->first && !work->stopping)
			pthread_cond_wait(&work->wake, &work->lock);
		struct work_job *job = work->first;
		if (!job)
			break;
		work->first = job->next;
		if (!work->first)
			work->end = &work->first;
		pthread_mutex_unlock(&work->lock);
		job->run(job);
		pthread_mutex_lock(&work->lock);
	}
	pthread_mutex_unlock(&work->lock);
	return NULL;
}

struct work *work_start(int threads)
{
	if (threads < 1)
		threads = 1;
	struct work *work = mem_alloc(sizeof(*work) + (size_t)threads * sizeof(work->threads[0]));
	pthread_mutex_init(&work->lock, NULL);
	pthread_cond_init(&work->wake, NULL);
	work->end = &work->first;
	while (work->thread_count < threads &&
	       !pthread_create(&work->threads[work->thread_count], NULL, run_jobs, work))
		work->thread_count++;
	/* Fewer threads than asked for do the same work; none at all is the same as no memory. */
	if (work->thread_count == 0)
		abort();
	return work;
}

void work_submit(struct work *work, struct work_job *job)
{
	job->next = NULL;
	pthread_mutex_lock(&work->lock);
	*work->end = job;
	work->end = &job->next;
	pthread_cond_signal(&work->wake);
	pthread_mutex_unlock(&work->lock);
}

void work_stop(struct work *work)
{
	if (!work)
		return;
	pthread_mutex_lock(&work->lock);
	work->stopping = true;
	pthread_cond_broadcast(&work->wake);
	pthread_mutex_unlock(&work->lock);
	/* A job may submit another: the thread that runs it looks again before it ends. */
	for (int i = 0; i < work->thread_count; i++)
		pthread_join(work->threads[i], NULL);
	pthread_cond_destroy(&work->wake);
	pthread_mutex_destroy(&work->lock);
	free(work);
}
