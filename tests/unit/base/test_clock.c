/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#define EXAMPLE 784111777 /* the date of RFC 9110, section 5.6.7 */

static void clock_reads_the_three_forms_of_an_http_date(void **state)
{
	(void)state;
	static const char *const forms[] = {"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
					    "Sun Nov  6 08:49:37 1994"};
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		int64_t time = 0;
		assert_int_equal(clock_parse_http(forms[i], &time), 0);
		assert_int_equal(time, EXAMPLE);
	}
}

static void clock_prints_an_http_date_that_it_reads_back(void **state)
{
	(void)state;
	static const int64_t times[] = {0, EXAMPLE, 951782400 /* 29 February 2000 */, 4102444799, 253402300799};
	char text[CLOCK_HTTP_DATE_MAX];
	assert_string_equal(clock_format_http(EXAMPLE, text), "Sun, 06 Nov 1994 08:49:37 GMT");
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		int64_t time = -1;
		assert_int_equal(clock_parse_http(clock_format_http(times[i], text), &time), 0);
		assert_int_equal(time, times[i]);
	}
}

static void clock_prints_any_number_within_its_buffer(void **state)
{
	(void)state;
	char text[CLOCK_HTTP_DATE_MAX];
	assert_string_equal(clock_format_http(INT64_MAX, text), "Fri, 31 Dec 9999 23:59:59 GMT");
	assert_int_equal(strlen(clock_format_http(INT64_MIN, text)), 29);
}

static void clock_takes_two_digits_of_a_year_for_the_nearer_century(void **state)
{
	(void)state;
	int64_t time = 0;
	assert_int_equal(clock_parse_http("Tuesday, 01-Jan-30 00:00:00 GMT", &time), 0);
	assert_int_equal(time, 1893456000);
	assert_int_equal(clock_parse_http("Friday, 01-Jan-99 00:00:00 GMT", &time), 0);
	assert_int_equal(time, 915148800);
}

static void clock_refuses_what_is_no_http_date(void **state)
{
	(void)state;
	static const char *const wrong[] = {
		"",
		"120",
		"Sun, 06 Nov 1994 08:49:37",
		"Sun, 06 Nov 1994 08:49:37 CET",
		"Sun, 06 Nov 1994 08:49:37 GMT ",
		"Sun, 06 Nov 1994 08:49:37 GMT+1",
		"Xyz, 06 Nov 1994 08:49:37 GMT",
		"Sun, 06 Xyz 1994 08:49:37 GMT",
		"Sun, 31 Jun 1994 08:49:37 GMT",
		"Sun, 29 Feb 1999 08:49:37 GMT",
		"Sun, 00 Nov 1994 08:49:37 GMT",
		"Sun, 06 Nov 1994 24:49:37 GMT",
		"Sun, 06 Nov 1994 08:60:37 GMT",
		"Sun, 06 Nov 1994 08:49:61 GMT",
		"Sun, 06 Nov -994 08:49:37 GMT",
		"Sun Nov  6 08:49:37 1994 GMT",
		"2026-11-21T05:28:34Z",
	};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		int64_t time = 42;
		assert_int_equal(clock_parse_http(wrong[i], &time), ERR_INVALID);
		assert_int_equal(time, 42);
	}
}

static void clock_prints_log_times_with_milliseconds(void **state)
{
	(void)state;
	char text[CLOCK_LOG_MAX];
	clock_format_log(text);
	assert_int_equal(strlen(text), strlen("2026-11-21T05:28:34.123Z"));
	assert_int_equal(text[4], '-');
	assert_int_equal(text[10], 'T');
	assert_int_equal(text[19], '.');
	assert_int_equal(text[23], 'Z');
}

static void clock_never_runs_backwards(void **state)
{
	(void)state;
	uint64_t last = clock_us();
	for (int i = 0; i < 10000; i++) {
		uint64_t now = clock_us();
		assert_true(now >= last);
		last = now;
	}
	assert_true(clock_ms() >= last / 1000);
	assert_true(clock_wall_s() > 1600000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(clock_reads_the_three_forms_of_an_http_date),
		cmocka_unit_test(clock_prints_an_http_date_that_it_reads_back),
		cmocka_unit_test(clock_prints_any_number_within_its_buffer),
		cmocka_unit_test(clock_takes_two_digits_of_a_year_for_the_nearer_century),
		cmocka_unit_test(clock_refuses_what_is_no_http_date),
		cmocka_unit_test(clock_prints_log_times_with_milliseconds),
		cmocka_unit_test(clock_never_runs_backwards),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
