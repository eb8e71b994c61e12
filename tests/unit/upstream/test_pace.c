/* SPDX-License-Identifier: Apache-2.0 */
#include "upstream/pace.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <string.h>

#define PERMITS 128

/* One pace on a loop of its own. What a test does with it is done on the loop's thread, by run(). */
static struct {
	struct loop *loop;
	struct pace_options options;
	struct pace *pace;
	struct pace_permit permits[PERMITS];
	struct pace_permit *order[PERMITS]; /* of being granted */
	unsigned granted;
	uint64_t granted_ms; /* the last */
	unsigned refused;
	/* As they were when run() looked, for the test's own thread. */
	unsigned seen;
	uint64_t seen_ms;
	struct pace_state state;
} test;

static void note_granted(struct pace_permit *permit)
{
	assert_true(loop_is_current(test.loop));
	assert_in_range(test.granted, 0, PERMITS - 1);
	test.order[test.granted++] = permit;
	test.granted_ms = clock_ms();
}

static void note_refused(struct pace_permit *permit, uint64_t gate_ms)
{
	assert_int_equal(permit->state, PACE_IDLE);
	assert_in_range(gate_ms, 1, PACE_GATE_MAX_MS);
	test.refused++;
}

static void begin_on_loop(void *arg)
{
	(void)arg;
	test.pace = pace_new(test.loop, &test.options);
}

static void begin(unsigned window_max, uint64_t events, uint64_t period_ms)
{
	struct err err = {0};

	memset(&test, 0, sizeof(test));
	for (size_t i = 0; i < PERMITS; i++)
		test.permits[i] = (struct pace_permit){.granted = note_granted, .refused = note_refused};
	test.options = (struct pace_options){.window_max = window_max, .rate = {events, period_ms}};
	assert_int_equal(loop_start(&test.loop, &err), 0);
	loop_run(test.loop, begin_on_loop, NULL);
}

static void end_on_loop(void *arg)
{
	(void)arg;
	for (size_t i = 0; i < PERMITS; i++)
		pace_release(test.pace, &test.permits[i]);
	pace_free(test.pace);
}

static void end(void)
{
	loop_run(test.loop, end_on_loop, NULL);
	loop_stop(test.loop);
}

/* An action for permits [first, first + count). */
struct action {
	void (*act)(struct pace *pace, struct pace_permit *permit);
	size_t first, count;
};

static void act_on_loop(void *arg)
{
	const struct action *action = arg;

	for (size_t i = 0; i < action->count; i++)
		action->act(test.pace, &test.permits[action->first + i]);
}

static void look_on_loop(void *arg)
{
	(void)arg;
	test.state = pace_state(test.pace);
	test.seen = test.granted;
	test.seen_ms = test.granted_ms;
}

/* Does it, lets the loop go round, so that what may be granted is, and takes down the state. */
static void run(void (*act)(struct pace *, struct pace_permit *), size_t first, size_t count)
{
	struct action action = {act, first, count};

	loop_run(test.loop, act_on_loop, &action);
	loop_run(test.loop, look_on_loop, NULL);
}

static void acquire_prefetch(struct pace *pace, struct pace_permit *permit)
{
	permit->priority = PACE_PREFETCH;
	pace_acquire(pace, permit);
}

static void acquire_elsewhere(struct pace *pace, struct pace_permit *permit)
{
	permit->elsewhere = true;
	pace_acquire(pace, permit);
}

static void acquire_impatient(struct pace *pace, struct pace_permit *permit)
{
	permit->impatient = true;
	pace_acquire(pace, permit);
}

static void acquire_having_waited(struct pace *pace, struct pace_permit *permit)
{
	permit->borne_ms = PACE_PATIENCE_MS - 4000;
	pace_acquire(pace, permit);
}

static void complain_for_8_s(struct pace *pace, struct pace_permit *permit)
{
	pace_congested(pace, permit, 8000);
}

static void complain(struct pace *pace, struct pace_permit *permit)
{
	pace_congested(pace, permit, 0);
}

static void complain_for_150_ms(struct pace *pace, struct pace_permit *permit)
{
	pace_congested(pace, permit, 150);
}

static void complain_for_an_hour(struct pace *pace, struct pace_permit *permit)
{
	pace_congested(pace, permit, 3600000);
}

/* Answers and gives back, as a request that goes well does. */
static void finish(struct pace *pace, struct pace_permit *permit)
{
	pace_answered(pace, permit);
	pace_release(pace, permit);
}

static void expect_window(unsigned window)
{
	loop_run(test.loop, look_on_loop, NULL);
	assert_int_equal(test.state.window, window);
}

/* Waits until so many were granted: by looking, since a timer decides when. */
static void await_granted(unsigned count)
{
	uint64_t deadline = clock_ms() + 20000;

	do
		loop_run(test.loop, look_on_loop, NULL);
	while (test.seen < count && clock_ms() < deadline);
	assert_int_equal(test.seen, count);
}

/* The window. */

static void pace_lets_out_no_more_than_the_window(void **state)
{
	(void)state;
	begin(8, 0, 0);
	run(pace_acquire, 0, 5);
	assert_int_equal(test.seen, PACE_WINDOW_START);
	assert_int_equal(test.state.out, PACE_WINDOW_START);
	assert_int_equal(test.state.waiting, 5 - PACE_WINDOW_START);
	run(pace_release, 0, 1);
	assert_int_equal(test.seen, PACE_WINDOW_START + 1);
	assert_ptr_equal(test.order[PACE_WINDOW_START], &test.permits[PACE_WINDOW_START]);
	end();
}

static void pace_opens_the_window_by_one_for_each_good_answer(void **state)
{
	(void)state;
	begin(5, 0, 0);
	run(pace_acquire, 0, 10);
	run(pace_answered, 0, 1);
	assert_int_equal(test.state.window, 3);
	assert_int_equal(test.state.out, 3);
	run(pace_answered, 0, 1); /* counts once */
	assert_int_equal(test.state.window, 3);
	run(pace_answered, 1, 9); /* of these, two are out; more come as the window opens, but only to its maximum */
	assert_int_equal(test.state.window, 5);
	run(pace_answered, 3, 7);
	assert_int_equal(test.state.window, 5);
	assert_int_equal(test.state.out, 5);
	end();
}

/* Ten out at once. */
static void open_to_ten(void)
{
	begin(10, 0, 0);
	run(pace_acquire, 0, 10);
	while (test.state.window < 10)
		run(pace_answered, 0, 10);
	assert_int_equal(test.state.out, 10);
}

static void pace_halves_the_window_once_though_ten_complain(void **state)
{
	(void)state;
	open_to_ten();
	run(complain, 0, 10);
	assert_int_equal(test.state.window, 5);
	assert_int_equal(test.state.congestion_events, 1);

	/* None of those that were out then counts again, but one that went out since does. */
	run(pace_release, 0, 9);
	run(complain, 9, 1);
	run(pace_acquire, 20, 1);
	assert_int_equal(test.seen, 11);
	assert_int_equal(test.state.window, 5);
	run(complain, 20, 1);
	assert_int_equal(test.state.window, 2);
	assert_int_equal(test.state.congestion_events, 2);
	end();
}

static void pace_never_closes_the_window_wholly(void **state)
{
	(void)state;
	begin(4, 0, 0);
	for (size_t i = 0; i < 10; i++) {
		run(pace_acquire, i, 1);
		run(complain, i, 1);
		run(pace_release, i, 1);
	}
	assert_int_equal(test.seen, 10);
	assert_int_equal(test.state.congestion_events, 10);
	assert_int_equal(test.state.window, 1);
	end();
}

static void pace_opens_by_one_a_round_after_the_first_complaint(void **state)
{
	(void)state;
	open_to_ten();
	run(complain, 0, 10);
	run(pace_release, 0, 10);
	for (size_t i = 0; i < 5; i++) {
		expect_window(5);
		run(pace_acquire, i, 1);
		run(finish, i, 1);
	}
	run(pace_acquire, 5, 1);
	run(finish, 5, 1);
	expect_window(6);
	for (size_t i = 0; i < 6; i++) {
		expect_window(6);
		run(pace_acquire, i, 1);
		run(finish, i, 1);
	}
	run(pace_acquire, 6, 1);
	run(finish, 6, 1);
	expect_window(7);
	end();
}

static void shrink(struct pace *pace, struct pace_permit *permit)
{
	(void)permit;
	pace_set_window_max(pace, 3);
	pace_set_window_max(pace, 0); /* nothing is known: nothing changes */
}

static void pace_keeps_to_a_new_maximum(void **state)
{
	(void)state;
	open_to_ten();
	run(shrink, 0, 1);
	assert_int_equal(test.state.window, 3);
	run(pace_acquire, 10, 3);
	run(pace_release, 0, 7);
	assert_int_equal(test.seen, 10);
	run(pace_release, 7, 1);
	assert_int_equal(test.seen, 11);
	end();
}

/* The gate. */

static void pace_waits_for_as_long_as_it_was_asked_to(void **state)
{
	uint64_t began;

	(void)state;
	begin(8, 0, 0);
	run(pace_acquire, 0, 1);
	began = clock_ms();
	run(complain_for_150_ms, 0, 1);
	run(complain, 0, 1); /* a later, shorter wish does not open it */
	run(pace_release, 0, 1);
	run(pace_acquire, 1, 1);
	assert_in_range(test.state.gate_ms, 1, 150);
	assert_int_equal(test.seen, 1);
	await_granted(2);
	assert_true(test.seen_ms - began >= 150);
	end();
}

static void pace_does_not_sit_out_an_hour(void **state)
{
	(void)state;
	begin(8, 0, 0);
	run(pace_acquire, 0, 1);
	run(complain_for_an_hour, 0, 1);
	assert_in_range(test.state.gate_ms, PACE_GATE_MAX_MS - 5000, PACE_GATE_MAX_MS);
	end();
}

static void pace_tells_clients_of_a_gate_that_stays_closed(void **state)
{
	(void)state;
	begin(2, 0, 0);
	run(pace_acquire, 0, 4);
	run(acquire_prefetch, 4, 1);
	assert_int_equal(test.seen, 2);
	run(complain_for_an_hour, 0, 1);
	assert_int_equal(test.refused, 2); /* those who waited already … */
	run(pace_acquire, 5, 1);
	assert_int_equal(test.refused, 3); /* … and who comes now */
	run(pace_raise, 4, 1);
	assert_int_equal(test.refused, 4);
	assert_int_equal(test.state.waiting, 0);
	end();
}

static void pace_counts_what_a_client_has_waited_already(void **state)
{
	(void)state;
	begin(8, 0, 0);
	run(pace_acquire, 0, 1);
	run(complain_for_150_ms, 0, 1);
	run(pace_release, 0, 1);
	run(pace_acquire, 1, 1);
	await_granted(2);
	assert_in_range(test.permits[1].borne_ms, 1, 150);
	run(complain_for_8_s, 1, 1);
	run(pace_acquire, 2, 1);
	assert_int_equal(test.refused, 0);
	run(acquire_having_waited, 3, 1);
	assert_int_equal(test.refused, 1);
	assert_int_equal(test.state.waiting, 1);
	end();
}

static void pace_lets_nobody_wait_who_has_something_to_fall_back_on(void **state)
{
	(void)state;
	begin(8, 0, 0);
	run(acquire_impatient, 0, 1);
	assert_int_equal(test.seen, 1);
	run(complain_for_8_s, 0, 1);
	run(acquire_impatient, 1, 1);
	assert_int_equal(test.refused, 1);
	end();
}

static void pace_lets_pass_at_a_closed_gate_who_goes_elsewhere(void **state)
{
	(void)state;
	begin(8, 0, 0);
	run(pace_acquire, 0, 1);
	run(complain_for_150_ms, 0, 1);
	run(pace_release, 0, 1);
	run(pace_acquire, 1, 1);
	run(acquire_elsewhere, 2, 1);
	assert_int_equal(test.seen, 2);
	assert_ptr_equal(test.order[1], &test.permits[2]);
	run(pace_release, 2, 1);
	await_granted(3);
	assert_int_equal(test.refused, 0);
	end();
}

/* The token bucket. */

static uint64_t until_ms;

/* One request after the other, each over at once: only the bucket holds them back. */
static void go_round(struct pace_permit *permit)
{
	if (clock_ms() >= until_ms) {
		test.granted_ms = clock_ms();
		return;
	}
	test.granted++;
	pace_release(test.pace, permit);
	pace_acquire(test.pace, permit);
}

static void pace_keeps_a_rate_exactly(void **state)
{
	(void)state;
	begin(8, 20, 1000);
	test.permits[0].granted = go_round;
	until_ms = clock_ms() + 2000;
	run(pace_acquire, 0, 1);
	while (test.seen_ms == 0)
		loop_run(test.loop, look_on_loop, NULL);
	/* 20 a second for two seconds, and the burst that a tenth of a second allows. */
	assert_in_range(test.seen, 38, 44);
	end();
}

static void go_round_until_it_waits(struct pace_permit *permit)
{
	test.granted++;
	pace_release(test.pace, permit);
	pace_acquire(test.pace, permit);
}

static void pace_gives_a_long_budget_at_once_and_no_more(void **state)
{
	(void)state;
	begin(8, 100, 6ull * 3600 * 1000);
	test.permits[0].granted = go_round_until_it_waits;
	run(pace_acquire, 0, 1);
	assert_int_equal(test.seen, 100);
	assert_int_equal(test.state.waiting, 1);
	end();
}

static void pace_lets_single_requests_through_a_slow_rate(void **state)
{
	(void)state;
	begin(8, 1, 1000); /* the burst of a tenth of a second would be a tenth of a request */
	run(pace_acquire, 0, 2);
	assert_int_equal(test.seen, 1);
	await_granted(2);
	end();
}

/* Prefetch. */

static void pace_keeps_a_place_free_of_prefetch(void **state)
{
	(void)state;
	open_to_ten();
	run(pace_release, 0, 10);
	run(acquire_prefetch, 20, 20);
	assert_int_equal(test.seen, 10 + 9);
	run(pace_acquire, 0, 1);
	assert_int_equal(test.seen, 10 + 10);
	assert_ptr_equal(test.order[19], &test.permits[0]);
	end();
}

static void pace_lets_prefetch_have_the_only_place(void **state)
{
	(void)state;
	begin(1, 0, 0);
	run(acquire_prefetch, 0, 2);
	assert_int_equal(test.seen, 1);
	run(pace_release, 0, 1);
	assert_int_equal(test.seen, 2);
	end();
}

static void note_short_budget(struct pace *pace, struct pace_permit *permit)
{
	(void)permit;
	pace_note_budget(pace, 25, 100, 3600);
}

static void note_ample_budget(struct pace *pace, struct pace_permit *permit)
{
	(void)permit;
	pace_note_budget(pace, 26, 100, 3600);
}

static void pace_leaves_the_rest_of_a_budget_to_clients(void **state)
{
	(void)state;
	open_to_ten();
	run(pace_release, 0, 10);
	run(note_short_budget, 0, 1);
	run(acquire_prefetch, 20, 2);
	assert_int_equal(test.seen, 10);
	run(pace_acquire, 0, 1);
	assert_int_equal(test.seen, 11);
	run(note_ample_budget, 0, 1);
	run(pace_release, 0, 0);
	assert_int_equal(test.seen, 13);
	end();
}

static void pace_puts_clients_before_prefetch(void **state)
{
	(void)state;
	begin(2, 0, 0);
	run(pace_acquire, 0, 2);
	run(acquire_prefetch, 2, 1);
	run(pace_acquire, 3, 2);
	run(pace_release, 0, 2);
	assert_int_equal(test.seen, 4);
	assert_ptr_equal(test.order[2], &test.permits[3]);
	assert_ptr_equal(test.order[3], &test.permits[4]);
	run(pace_release, 3, 2);
	assert_ptr_equal(test.order[4], &test.permits[2]);
	end();
}

/* Giving up. */

static void pace_forgets_who_gives_up_waiting(void **state)
{
	(void)state;
	begin(2, 0, 0);
	run(pace_acquire, 0, 5);
	run(pace_release, 2, 2);
	assert_int_equal(test.state.waiting, 1);
	run(pace_release, 0, 2);
	assert_int_equal(test.seen, 3);
	assert_ptr_equal(test.order[2], &test.permits[4]);
	assert_int_equal(test.state.out, 1);
	run(pace_release, 2, 1); /* idle: left alone */
	assert_int_equal(test.state.out, 1);
	end();
}

static void give_up_the_next(struct pace_permit *permit)
{
	note_granted(permit);
	pace_release(test.pace, permit + 1);
	pace_release(test.pace, permit);
}

static void pace_lets_others_be_given_up_while_it_grants(void **state)
{
	(void)state;
	begin(2, 0, 0);
	run(pace_acquire, 0, 2);
	test.permits[2].granted = give_up_the_next;
	run(pace_acquire, 2, 3);
	run(pace_release, 0, 2);
	assert_int_equal(test.seen, 4);
	assert_ptr_equal(test.order[2], &test.permits[2]);
	assert_ptr_equal(test.order[3], &test.permits[4]);
	assert_int_equal(test.state.out, 1);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pace_lets_out_no_more_than_the_window),
		cmocka_unit_test(pace_opens_the_window_by_one_for_each_good_answer),
		cmocka_unit_test(pace_halves_the_window_once_though_ten_complain),
		cmocka_unit_test(pace_never_closes_the_window_wholly),
		cmocka_unit_test(pace_opens_by_one_a_round_after_the_first_complaint),
		cmocka_unit_test(pace_keeps_to_a_new_maximum),
		cmocka_unit_test(pace_waits_for_as_long_as_it_was_asked_to),
		cmocka_unit_test(pace_does_not_sit_out_an_hour),
		cmocka_unit_test(pace_tells_clients_of_a_gate_that_stays_closed),
		cmocka_unit_test(pace_counts_what_a_client_has_waited_already),
		cmocka_unit_test(pace_lets_nobody_wait_who_has_something_to_fall_back_on),
		cmocka_unit_test(pace_lets_pass_at_a_closed_gate_who_goes_elsewhere),
		cmocka_unit_test(pace_keeps_a_rate_exactly),
		cmocka_unit_test(pace_gives_a_long_budget_at_once_and_no_more),
		cmocka_unit_test(pace_lets_single_requests_through_a_slow_rate),
		cmocka_unit_test(pace_keeps_a_place_free_of_prefetch),
		cmocka_unit_test(pace_lets_prefetch_have_the_only_place),
		cmocka_unit_test(pace_leaves_the_rest_of_a_budget_to_clients),
		cmocka_unit_test(pace_puts_clients_before_prefetch),
		cmocka_unit_test(pace_forgets_who_gives_up_waiting),
		cmocka_unit_test(pace_lets_others_be_given_up_while_it_grants),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
