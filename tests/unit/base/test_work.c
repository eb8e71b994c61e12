/* SPDX-License-Identifier: Apache-2.0 */
#include "base/work.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>

#define JOBS 1000

struct counted_job {
	struct work_job job; /* first, so that the job is the struct */
	int number;
	struct work *work;
	struct counted_job *follower;
	pthread_barrier_t *barrier;
};

static atomic_int runs;
static int order[JOBS];

static void note_order(struct work_job *job)
{
	struct counted_job *counted = (struct counted_job *)job;
	order[atomic_fetch_add(&runs, 1)] = counted->number;
}

static void submit_follower(struct work_job *job)
{
	struct counted_job *counted = (struct counted_job *)job;
	atomic_fetch_add(&runs, 1);
	if (counted->follower)
		work_submit(counted->work, &counted->follower->job);
}

static void meet_at_barrier(struct work_job *job)
{
	struct counted_job *counted = (struct counted_job *)job;
	pthread_barrier_wait(counted->barrier);
	atomic_fetch_add(&runs, 1);
}

static void work_runs_jobs_in_the_order_given(void **state)
{
	(void)state;
	static struct counted_job jobs[JOBS];
	atomic_store(&runs, 0);
	struct work *work = work_start(0); /* at least one thread */
	for (int i = 0; i < JOBS; i++) {
		jobs[i] = (struct counted_job){.job.run = note_order, .number = i};
		work_submit(work, &jobs[i].job);
	}
	work_stop(work);
	assert_int_equal(atomic_load(&runs), JOBS);
	for (int i = 0; i < JOBS; i++)
		assert_int_equal(order[i], i);
}

static void work_runs_jobs_side_by_side(void **state)
{
	(void)state;
	struct counted_job jobs[3];
	pthread_barrier_t barrier;
	pthread_barrier_init(&barrier, NULL, 3);
	atomic_store(&runs, 0);
	struct work *work = work_start(3);
	for (int i = 0; i < 3; i++) {
		jobs[i] = (struct counted_job){.job.run = meet_at_barrier, .barrier = &barrier};
		work_submit(work, &jobs[i].job);
	}
	work_stop(work);
	assert_int_equal(atomic_load(&runs), 3);
	pthread_barrier_destroy(&barrier);
}

static void work_stop_runs_what_a_job_submits(void **state)
{
	(void)state;
	static struct counted_job jobs[100];
	atomic_store(&runs, 0);
	struct work *work = work_start(2);
	for (int i = 0; i < 100; i++) {
		jobs[i] = (struct counted_job){
			.job.run = submit_follower, .work = work, .follower = i + 1 < 100 ? &jobs[i + 1] : NULL};
	}
	work_submit(work, &jobs[0].job);
	work_stop(work);
	assert_int_equal(atomic_load(&runs), 100);
}

static void *submit_many(void *argument)
{
	struct counted_job *jobs = argument;
	for (int i = 0; i < JOBS; i++)
		work_submit(jobs[i].work, &jobs[i].job);
	return NULL;
}

static void work_takes_jobs_from_many_threads(void **state)
{
	(void)state;
	static struct counted_job jobs[4][JOBS];
	pthread_t threads[4];
	atomic_store(&runs, 0);
	struct work *work = work_start(2);
	for (int i = 0; i < 4; i++) {
		for (int j = 0; j < JOBS; j++)
			jobs[i][j] = (struct counted_job){.job.run = submit_follower, .work = work};
		assert_int_equal(pthread_create(&threads[i], NULL, submit_many, jobs[i]), 0);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	work_stop(work);
	assert_int_equal(atomic_load(&runs), 4 * JOBS);
}

static void work_stop_takes_null_and_an_idle_pool(void **state)
{
	(void)state;
	work_stop(NULL);
	work_stop(work_start(4));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(work_runs_jobs_in_the_order_given),
		cmocka_unit_test(work_runs_jobs_side_by_side),
		cmocka_unit_test(work_stop_runs_what_a_job_submits),
		cmocka_unit_test(work_takes_jobs_from_many_threads),
		cmocka_unit_test(work_stop_takes_null_and_an_idle_pool),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
