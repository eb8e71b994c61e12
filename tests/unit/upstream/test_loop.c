/* SPDX-License-Identifier: Apache-2.0 */
#include "upstream/loop.h"

#include "base/buf.h"
#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define TIMERS  200
#define THREADS 8
#define TASKS   1000

static struct loop *start(void)
{
	struct loop *loop = NULL;
	struct err err = {0};

	assert_int_equal(loop_start(&loop, &err), 0);
	return loop;
}

/* Something that a test waits for, counted by the loop's thread. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned count;
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void see(void)
{
	pthread_mutex_lock(&seen.lock);
	seen.count++;
	pthread_cond_signal(&seen.changed);
	pthread_mutex_unlock(&seen.lock);
}

static void await(unsigned count)
{
	pthread_mutex_lock(&seen.lock);
	while (seen.count < count)
		pthread_cond_wait(&seen.changed, &seen.lock);
	pthread_mutex_unlock(&seen.lock);
}

static int reset(void **state)
{
	(void)state;
	seen.count = 0;
	return 0;
}

/* Timers. */

struct test_timer {
	struct loop_timer timer; /* first, so that the timer is the struct */
	struct loop *loop;
	uint64_t delay_ms, ran_ms;
	unsigned runs;
	struct loop_timer *other; /* what its run() clears */
	unsigned again;           /* how often its run() sets it anew */
};

static struct test_timer timers[TIMERS];
static struct test_timer *order[TIMERS];

static void note_timer(struct loop_timer *timer)
{
	struct test_timer *test = (struct test_timer *)timer;

	assert_true(loop_is_current(test->loop));
	assert_int_equal(timer->heap_slot, 0);
	test->runs++;
	test->ran_ms = clock_ms();
	if (test->other)
		loop_timer_clear(test->loop, test->other);
	if (test->again > 0) {
		test->again--;
		loop_timer_set(test->loop, timer, test->delay_ms);
		return;
	}
	if (seen.count < TIMERS)
		order[seen.count] = test;
	see();
}

static void prepare(struct loop *loop, struct test_timer *test, uint64_t delay_ms)
{
	*test = (struct test_timer){.timer.run = note_timer, .loop = loop, .delay_ms = delay_ms};
}

static void set_many(void *arg)
{
	struct loop *loop = arg;

	for (size_t i = 0; i < TIMERS; i++) {
		prepare(loop, &timers[i], (i * 7919) % 53);
		loop_timer_set(loop, &timers[i].timer, 1000000);
	}
	/* Each is moved to where it belongs, and every third taken out of the middle. */
	for (size_t i = 0; i < TIMERS; i++)
		loop_timer_set(loop, &timers[i].timer, timers[i].delay_ms);
	for (size_t i = 0; i < TIMERS; i += 3)
		loop_timer_clear(loop, &timers[i].timer);
}

static void loop_runs_timers_in_the_order_in_which_they_fall_due(void **state)
{
	struct loop *loop = start();
	unsigned expected = TIMERS - (TIMERS + 2) / 3;

	(void)state;
	loop_run(loop, set_many, loop);
	await(expected);
	loop_stop(loop);
	assert_int_equal(seen.count, expected);
	for (size_t i = 0; i < expected; i++) {
		assert_true(order[i]->ran_ms >= order[i]->timer.due_ms);
		assert_true(i == 0 || order[i - 1]->timer.due_ms <= order[i]->timer.due_ms);
	}
	for (size_t i = 0; i < TIMERS; i++)
		assert_int_equal(timers[i].runs, i % 3 == 0 ? 0 : 1);
}

static void set_rivals(void *arg)
{
	struct loop *loop = arg;

	prepare(loop, &timers[0], 0);
	prepare(loop, &timers[1], 0);
	prepare(loop, &timers[2], 20);
	timers[0].other = &timers[1].timer;
	timers[1].other = &timers[0].timer;
	for (size_t i = 0; i < 3; i++)
		loop_timer_set(loop, &timers[i].timer, timers[i].delay_ms);
}

static void loop_forgets_a_timer_that_another_one_clears_when_both_are_due(void **state)
{
	struct loop *loop = start();

	(void)state;
	loop_run(loop, set_rivals, loop);
	await(2);
	loop_stop(loop);
	assert_int_equal(timers[0].runs + timers[1].runs, 1);
	assert_int_equal(timers[2].runs, 1);
}

static void set_repeating(void *arg)
{
	struct loop *loop = arg;

	prepare(loop, &timers[0], 5);
	timers[0].again = 3;
	timers[0].other = &timers[0].timer; /* clearing what is not set does nothing */
	loop_timer_set(loop, &timers[0].timer, 5);
}

static void loop_lets_a_timer_set_itself_again(void **state)
{
	struct loop *loop = start();
	uint64_t began = clock_ms();

	(void)state;
	loop_run(loop, set_repeating, loop);
	await(1);
	loop_stop(loop);
	assert_int_equal(timers[0].runs, 4);
	assert_true(timers[0].ran_ms - began >= 20);
}

/* Tasks. */

struct test_task {
	struct loop_task task; /* first */
	struct poster *poster;
	unsigned number;
};

struct poster {
	struct loop *loop;
	pthread_t thread;
	pthread_barrier_t *start;
	unsigned next; /* the loop's thread: which number must come now */
	bool disordered;
	struct test_task tasks[TASKS];
};

static void note_task(struct loop_task *task)
{
	struct test_task *test = (struct test_task *)task;

	test->poster->disordered |= test->number != test->poster->next++;
}

static void *post_all(void *arg)
{
	struct poster *poster = arg;

	pthread_barrier_wait(poster->start);
	for (unsigned i = 0; i < TASKS; i++) {
		poster->tasks[i] = (struct test_task){.task.run = note_task, .poster = poster, .number = i};
		loop_post(poster->loop, &poster->tasks[i].task);
	}
	return NULL;
}

static void loop_runs_what_many_threads_post_in_the_order_of_each(void **state)
{
	struct loop *loop = start();
	struct poster *posters = mem_alloc(THREADS * sizeof(*posters));
	pthread_barrier_t barrier;

	(void)state;
	pthread_barrier_init(&barrier, NULL, THREADS);
	for (unsigned i = 0; i < THREADS; i++) {
		posters[i].loop = loop;
		posters[i].start = &barrier;
		assert_int_equal(pthread_create(&posters[i].thread, NULL, post_all, &posters[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(posters[i].thread, NULL);
	loop_stop(loop); /* runs what was posted before */
	for (unsigned i = 0; i < THREADS; i++) {
		assert_int_equal(posters[i].next, TASKS);
		assert_false(posters[i].disordered);
	}
	pthread_barrier_destroy(&barrier);
	free(posters);
}

static void note_where(void *arg)
{
	struct loop *loop = arg;

	assert_true(loop_is_current(loop));
	see();
}

static void loop_run_returns_when_it_was_run(void **state)
{
	struct loop *loop = start();

	(void)state;
	assert_false(loop_is_current(loop));
	for (unsigned i = 1; i <= 1000; i++) {
		loop_run(loop, note_where, loop);
		assert_int_equal(seen.count, i);
	}
	loop_stop(loop);
}

/* Descriptors. */

struct test_watch {
	struct loop_watch watch; /* first */
	struct loop *loop;
	int fd, other_fd;
	unsigned runs;
	struct loop_watch *instead; /* what its run() puts in its place */
};

static struct test_watch watches[2];

static void clear_both(struct loop_watch *watch, int fd, uint32_t epoll_events)
{
	struct test_watch *test = (struct test_watch *)watch;

	assert_int_equal(fd, test->fd);
	assert_true(epoll_events & EPOLLIN);
	test->runs++;
	loop_watch_clear(test->loop, test->fd);
	loop_watch_clear(test->loop, test->other_fd);
	see();
}

static void watch_both(void *arg)
{
	struct loop *loop = arg;

	for (int i = 0; i < 2; i++) {
		watches[i].loop = loop;
		watches[i].watch.run = clear_both;
		watches[i].other_fd = watches[!i].fd;
		assert_int_equal(loop_watch_set(loop, watches[i].fd, EPOLLIN, &watches[i].watch), 0);
	}
}

static void nothing(void *arg)
{
	(void)arg;
}

static void loop_does_not_run_a_watch_that_was_cleared_within_the_same_batch(void **state)
{
	struct loop *loop = start();

	(void)state;
	/* Both are readable before either is watched: one epoll_wait() reports both. */
	for (int i = 0; i < 2; i++)
		watches[i] = (struct test_watch){.fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK)};
	loop_run(loop, watch_both, loop);
	await(1);
	loop_run(loop, nothing, NULL);
	loop_stop(loop);
	assert_int_equal(watches[0].runs + watches[1].runs, 1);
	for (int i = 0; i < 2; i++)
		close(watches[i].fd);
}

static void put_another(struct loop_watch *watch, int fd, uint32_t epoll_events)
{
	struct test_watch *test = (struct test_watch *)watch;

	(void)epoll_events;
	test->runs++;
	assert_int_equal(loop_watch_set(test->loop, fd, EPOLLIN, test->instead), 0);
}

static void watch_first(void *arg)
{
	watches[0].loop = watches[1].loop = arg;
	assert_int_equal(loop_watch_set(arg, watches[0].fd, EPOLLIN, &watches[0].watch), 0);
}

static void loop_changes_the_watch_of_a_descriptor(void **state)
{
	struct loop *loop = start();
	int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);

	(void)state;
	watches[0] = (struct test_watch){.watch.run = put_another, .fd = fd, .instead = &watches[1].watch};
	watches[1] = (struct test_watch){.watch.run = clear_both, .fd = fd, .other_fd = fd};
	loop_run(loop, watch_first, loop);
	await(1);
	loop_stop(loop);
	assert_int_equal(watches[0].runs, 1);
	assert_int_equal(watches[1].runs, 1);
	close(fd);
}

static void try_closed(void *arg)
{
	int fd = eventfd(0, EFD_CLOEXEC);

	close(fd);
	assert_int_equal(loop_watch_set(arg, fd, EPOLLIN, &watches[0].watch), ERR_IO);
	loop_watch_clear(arg, fd);
}

static void loop_refuses_a_descriptor_that_is_closed(void **state)
{
	struct loop *loop = start();

	(void)state;
	loop_run(loop, try_closed, loop);
	loop_stop(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(loop_runs_timers_in_the_order_in_which_they_fall_due, reset),
		cmocka_unit_test_setup(loop_forgets_a_timer_that_another_one_clears_when_both_are_due, reset),
		cmocka_unit_test_setup(loop_lets_a_timer_set_itself_again, reset),
		cmocka_unit_test_setup(loop_runs_what_many_threads_post_in_the_order_of_each, reset),
		cmocka_unit_test_setup(loop_run_returns_when_it_was_run, reset),
		cmocka_unit_test_setup(loop_does_not_run_a_watch_that_was_cleared_within_the_same_batch, reset),
		cmocka_unit_test_setup(loop_changes_the_watch_of_a_descriptor, reset),
		cmocka_unit_test_setup(loop_refuses_a_descriptor_that_is_closed, reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
