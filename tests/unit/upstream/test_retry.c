/* SPDX-License-Identifier: Apache-2.0 */
#include "upstream/retry.h"

#include "base/err.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define EXAMPLE INT64_C(784111777000) /* Sun, 06 Nov 1994 08:49:37 GMT, in milliseconds */

static void retry_after_reads_seconds(void **state)
{
	(void)state;
	uint64_t ms = 1;
	assert_int_equal(retry_after_parse("0", EXAMPLE, &ms), 0);
	assert_int_equal(ms, 0);
	assert_int_equal(retry_after_parse("120", EXAMPLE, &ms), 0);
	assert_int_equal(ms, 120000);
	assert_int_equal(retry_after_parse(" \t7 ", EXAMPLE, &ms), 0);
	assert_int_equal(ms, 7000);
}

static void retry_after_reads_dates(void **state)
{
	(void)state;
	uint64_t ms = 1;
	assert_int_equal(retry_after_parse("Sun, 06 Nov 1994 08:49:37 GMT", EXAMPLE - 90000, &ms), 0);
	assert_int_equal(ms, 90000);
	assert_int_equal(retry_after_parse("Sunday, 06-Nov-94 08:49:37 GMT ", EXAMPLE - 1, &ms), 0);
	assert_int_equal(ms, 1);
	assert_int_equal(retry_after_parse("Sun, 06 Nov 1994 08:49:37 GMT", EXAMPLE + 90000, &ms), 0);
	assert_int_equal(ms, 0);
}

static void retry_after_bounds_huge_waits(void **state)
{
	(void)state;
	uint64_t century = UINT64_C(3155760000) * 1000;
	uint64_t ms = 1;
	assert_int_equal(retry_after_parse("99999999999999999999999999", EXAMPLE, &ms), 0);
	assert_true(ms == century);
	assert_int_equal(retry_after_parse("Fri, 31 Dec 9999 23:59:59 GMT", INT64_MIN / 2, &ms), 0);
	assert_true(ms == century);
}

static void retry_after_in_seconds_is_rounded_up_and_never_negative(void **state)
{
	(void)state;
	assert_int_equal(retry_after_s(0), 0);
	assert_int_equal(retry_after_s(1), 1);
	assert_int_equal(retry_after_s(2000), 2);
	assert_int_equal(retry_after_s(UINT64_C(3155760000) * 1000), INT_MAX);
	assert_int_equal(retry_after_s(UINT64_MAX), INT_MAX);
}

static void retry_after_refuses_anything_else(void **state)
{
	(void)state;
	static const char *const wrong[] = {
		"",     " ",
		"-5",   "+5",
		"1.5",  "5s",
		"0x10", "soon",
		"1 2",  "Sun, 06 Nov 1994 08:49:37 GMT, and then some more words that never seem to end"};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		uint64_t ms = 42;
		assert_int_equal(retry_after_parse(wrong[i], EXAMPLE, &ms), ERR_INVALID);
		assert_int_equal(ms, 42);
	}
}

static void retry_backoff_doubles_up_to_the_cap(void **state)
{
	(void)state;
	uint64_t most = RETRY_BASE_MS;
	for (unsigned attempt = 1; attempt < 100; attempt++) {
		uint64_t wait = most < RETRY_CAP_MS ? most : RETRY_CAP_MS;
		assert_int_equal(retry_backoff_ms(attempt, 0), wait / 2);
		assert_int_equal(retry_backoff_ms(attempt, UINT32_MAX), wait);
		if (most < RETRY_CAP_MS)
			most *= 2;
	}
	assert_int_equal(retry_backoff_ms(UINT32_MAX, UINT32_MAX), RETRY_CAP_MS);
	assert_int_equal(retry_backoff_ms(0, UINT32_MAX), RETRY_BASE_MS);
}

static void retry_backoff_spreads_over_its_range(void **state)
{
	(void)state;
	unsigned low = 0;
	for (uint32_t i = 0; i < 1000; i++) {
		uint64_t wait = retry_backoff_ms(4, i * (UINT32_MAX / 1000));
		assert_in_range(wait, 800, 1600);
		low += wait < 1200;
	}
	assert_in_range(low, 480, 520);
}

static void retry_status_knows_what_may_pass(void **state)
{
	(void)state;
	static const int yes[] = {408, 429, 500, 502, 503, 504, 507, 520, 599};
	static const int no[] = {0, 200, 206, 301, 307, 400, 401, 403, 404, 410, 416, 418, 499, 501, 505, 600};
	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
		assert_true(retry_status(yes[i]));
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		assert_false(retry_status(no[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(retry_after_reads_seconds),
		cmocka_unit_test(retry_after_reads_dates),
		cmocka_unit_test(retry_after_bounds_huge_waits),
		cmocka_unit_test(retry_after_in_seconds_is_rounded_up_and_never_negative),
		cmocka_unit_test(retry_after_refuses_anything_else),
		cmocka_unit_test(retry_backoff_doubles_up_to_the_cap),
		cmocka_unit_test(retry_backoff_spreads_over_its_range),
		cmocka_unit_test(retry_status_knows_what_may_pass),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
