/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/units.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define TIB (UINT64_C(1) << 40)

#define SECOND UINT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

static void units_read_sizes(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		uint64_t bytes;
	} cases[] = {
		{"0", 0},
		{"4096", 4096},
		{"17B", 17},
		{"512MiB", 512 * MIB},
		{"200GiB", 200 * GIB},
		{"10 kB", 10000},
		{"1Ki", KIB},
		{"1k", 1000},
		{"3MB", 3000000},
		{"2G", 2000000000},
		{"1.5GiB", 3 * GIB / 2},
		{"0.5k", 500},
		{"1TiB", TIB},
		{"1TB", 1000000000000},
		{"10gb", 10000000000},
		{"5kib", 5 * KIB},
		{"16777215TiB", 16777215 * TIB},
		{"18446744073709551615", UINT64_MAX},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t bytes = 1;
		assert_int_equal(units_parse_size(cases[i].text, &bytes), 0);
		assert_true(bytes == cases[i].bytes);
	}
}

static void units_refuse_other_sizes(void **state)
{
	(void)state;
	static const char *const wrong[] = {
		"",           " ",     "B",      "-1",     "+1",  "1.5", "1.5B", "1.GiB",       ".5GiB",
		"1.1234567k", "1PiB",  "1 GiB ", "10 k B", "ten", "1e3", "0x10", "16777216TiB", "18446744073709551616",
		"1,5GiB",     "1GiBB", "1Bk",
	};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		uint64_t bytes = 42;
		assert_int_equal(units_parse_size(wrong[i], &bytes), ERR_INVALID);
		assert_true(bytes == 42);
	}
}

static void units_print_sizes_in_the_largest_unit_that_fits(void **state)
{
	(void)state;
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{0, "0B"},
		{17, "17B"},
		{1023, "1023B"},
		{KIB, "1KiB"},
		{3 * GIB / 2, "1.5GiB"},
		{200 * GIB, "200GiB"},
		{MIB - 1, "1MiB"},
		{MIB - 52 * KIB, "972KiB"},
		{GIB - 1, "1GiB"},
		{TIB - 1, "1TiB"},
		{1000 * MIB, "1000MiB"},
		{UINT64_MAX, "16777216TiB"},
		{1023 * KIB + 921, "1023.9KiB"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[UNITS_TEXT_MAX];
		assert_string_equal(units_format_size(cases[i].bytes, text), cases[i].text);
	}
}

static void units_read_durations(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		uint64_t ms;
	} cases[] = {
		{"0", 0},
		{"0s", 0},
		{"250ms", 250},
		{"30s", 30 * SECOND},
		{"5m", 5 * MINUTE},
		{"12h", 12 * HOUR},
		{"7d", 7 * DAY},
		{"1h30m", 90 * MINUTE},
		{"1d2h3m4s5ms", DAY + 2 * HOUR + 3 * MINUTE + 4 * SECOND + 5},
		{"90m", 90 * MINUTE},
		{"1m500ms", MINUTE + 500},
		{"forever", UNITS_FOREVER},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t ms = 1;
		assert_int_equal(units_parse_duration(cases[i].text, &ms), 0);
		assert_true(ms == cases[i].ms);
	}
}

static void units_refuse_other_durations(void **state)
{
	(void)state;
	static const char *const wrong[] = {
		"",
		"5",
		"s",
		"-5s",
		"5 s",
		"5x",
		"1.5h",
		"30m1h",
		"5s5s",
		"1h30",
		"5sm",
		"Forever",
		"forever1s",
		"99999999999999999999s",
		"213503982335d",
		"18446744073709551615ms",
		"5w",
	};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		uint64_t ms = 42;
		assert_int_equal(units_parse_duration(wrong[i], &ms), ERR_INVALID);
		assert_true(ms == 42);
	}
}

static void units_print_durations_that_read_back(void **state)
{
	(void)state;
	static const uint64_t cases[] = {0,           1,         999,      30 * SECOND,       90 * MINUTE,  DAY,
					 7 * DAY + 1, DAY + 999, 86399999, UNITS_FOREVER - 1, UNITS_FOREVER};
	char text[UNITS_TEXT_MAX];
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t ms = 42;
		assert_int_equal(units_parse_duration(units_format_duration(cases[i], text), &ms), 0);
		assert_true(ms == cases[i]);
	}
	assert_string_equal(units_format_duration(90 * MINUTE, text), "1h30m");
	assert_string_equal(units_format_duration(0, text), "0s");
	assert_string_equal(units_format_duration(UNITS_FOREVER, text), "forever");
}

static void units_read_and_print_rates(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		struct rate rate;
		const char *printed;
	} cases[] = {
		{"10/s", {10, SECOND}, "10/s"},
		{"100/6h", {100, 6 * HOUR}, "100/6h"},
		{"600/m", {600, MINUTE}, "600/m"},
		{"600/60s", {600, MINUTE}, "600/m"},
		{"5/1h30m", {5, 90 * MINUTE}, "5/1h30m"},
		{"1/250ms", {1, 250}, "1/250ms"},
		{"unlimited", {0, 0}, "unlimited"},
		{"1000000000/365d23h59m59s999ms", {1000000000, 366 * DAY - 1}, "1000000000/365d23h59m59s999ms"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct rate rate = {1, 1};
		char text[UNITS_TEXT_MAX];
		assert_int_equal(units_parse_rate(cases[i].text, &rate), 0);
		assert_true(rate.events == cases[i].rate.events);
		assert_true(rate.period_ms == cases[i].rate.period_ms);
		assert_string_equal(units_format_rate(&rate, text), cases[i].printed);
	}
}

static void units_refuse_other_rates(void **state)
{
	(void)state;
	static const char *const wrong[] = {"",      "10",      "10/",          "/s",    "0/s",        "10/0",
					    "10/0s", "-1/s",    "10/x",         "10 /s", "10/forever", "1/s ",
					    "1.5/s", "1/1000d", "1000000001/s", "10/s/s"};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct rate rate = {42, 42};
		assert_int_equal(units_parse_rate(wrong[i], &rate), ERR_INVALID);
		assert_true(rate.events == 42);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(units_read_sizes),
		cmocka_unit_test(units_refuse_other_sizes),
		cmocka_unit_test(units_print_sizes_in_the_largest_unit_that_fits),
		cmocka_unit_test(units_read_durations),
		cmocka_unit_test(units_refuse_other_durations),
		cmocka_unit_test(units_print_durations_that_read_back),
		cmocka_unit_test(units_read_and_print_rates),
		cmocka_unit_test(units_refuse_other_rates),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
