/* SPDX-License-Identifier: Apache-2.0 */
#include "server/prefetch/turns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void turns_let_in_no_more_than_their_number(void **state)
{
	struct turns turns = {.max = 2};
	struct turn first = {.number = 0}, second = {.number = 1}, third = {.number = 2};

	(void)state;
	assert_true(turns_enter(&turns, &first));
	assert_true(turns_enter(&turns, &second));
	assert_false(turns_enter(&turns, &third));
	/* Who is inside and asks again is still counted once. */
	assert_true(turns_enter(&turns, &second));
	turns_leave(&turns, &second);
	assert_true(turns_enter(&turns, &third));
	turns_leave(&turns, &first);
	turns_leave(&turns, &third);
	assert_int_equal(turns.inside, 0);
	assert_null(turns.waiting);
}

static void turns_let_in_by_number_whoever_asks_first(void **state)
{
	struct turns turns = {.max = 1};
	struct turn inside = {.number = 0}, second = {.number = 1}, third = {.number = 2};

	(void)state;
	assert_true(turns_enter(&turns, &inside));
	assert_false(turns_enter(&turns, &third));
	assert_false(turns_enter(&turns, &second));
	turns_leave(&turns, &inside);
	assert_false(turns_enter(&turns, &third));
	assert_true(turns_enter(&turns, &second));
	turns_leave(&turns, &second);
	assert_true(turns_enter(&turns, &third));
}

static void who_gives_up_waiting_is_in_nobodys_way(void **state)
{
	struct turns turns = {.max = 1};
	struct turn inside = {.number = 0}, second = {.number = 1}, third = {.number = 2};

	(void)state;
	assert_true(turns_enter(&turns, &inside));
	assert_false(turns_enter(&turns, &second));
	assert_false(turns_enter(&turns, &third));
	turns_leave(&turns, &second);
	/* Leaving twice, or without having come, changes nothing. */
	turns_leave(&turns, &second);
	assert_int_equal(turns.inside, 1);
	turns_leave(&turns, &inside);
	assert_true(turns_enter(&turns, &third));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(turns_let_in_no_more_than_their_number),
		cmocka_unit_test(turns_let_in_by_number_whoever_asks_first),
		cmocka_unit_test(who_gives_up_waiting_is_in_nobodys_way),
	};
	return cmocka_run_group_tests_name("turns", tests, NULL, NULL);
}
