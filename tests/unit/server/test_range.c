/* SPDX-License-Identifier: Apache-2.0 */
#include "server/registry/range.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct range_set set;

static enum range_verdict parse(const char *header, uint64_t size)
{
	memset(&set, 0xff, sizeof(set));
	return range_parse(header, size, &set);
}

static void expect_range(size_t i, uint64_t start, uint64_t len)
{
	assert_in_range(i + 1, 1, set.count);
	assert_int_equal(set.ranges[i].start, start);
	assert_int_equal(set.ranges[i].len, len);
}

static void expect_part(const char *header, uint64_t size, uint64_t start, uint64_t len)
{
	if (parse(header, size) != RANGE_PART)
		fail_msg("%s of %llu is no part", header, (unsigned long long)size);
	assert_int_equal(set.count, 1);
	expect_range(0, start, len);
}

static void range_reads_one(void **state)
{
	(void)state;
	expect_part("bytes=0-0", 100, 0, 1);
	expect_part("bytes=0-99", 100, 0, 100);
	expect_part("bytes=0-100", 100, 0, 100);
	expect_part("bytes=99-", 100, 99, 1);
	expect_part("bytes=0-", 100, 0, 100);
	expect_part("bytes=-1", 100, 99, 1);
	expect_part("bytes=-100", 100, 0, 100);
	expect_part("bytes=-101", 100, 0, 100);
	expect_part("Bytes=5-7", 100, 5, 3);
	expect_part("bytes= 5-7 ", 100, 5, 3);
	expect_part("bytes=5-99999999999999999999999", 100, 5, 95);
	expect_part("bytes=-18446744073709551615", 100, 0, 100);
	expect_part("bytes=18446744073709551613-18446744073709551614", UINT64_MAX, UINT64_MAX - 2, 2);
}

static void range_ignores_what_is_malformed(void **state)
{
	static const char *const headers[] = {
		"",
		"bytes",
		"bytes=",
		"bytes=,",
		"bytes=-",
		"bytes=5",
		"bytes=a-b",
		"bytes=5-4",
		"bytes=5--7",
		"bytes=1-2-3",
		"bytes=+1-2",
		"bytes=1 - 2",
		"bytes=1-2;",
		"items=0-1",
		"bytes 0-1",
		"bytes=0-1,a",
		"bytes=0-1,5-4",
		"bytes=0-1 2-3",
		"bytes=--1",
		"bytes=- 1",
		"bytes=0x1-2",
		"bytes=1-2,-",
		"octets=0-1,bytes=2-3",
	};

	(void)state;
	assert_int_equal(parse(NULL, 100), RANGE_WHOLE);
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
		if (parse(headers[i], 100) != RANGE_WHOLE)
			fail_msg("\"%s\" is taken for a range", headers[i]);
}

static void range_cannot_be_satisfied_beyond_the_end(void **state)
{
	(void)state;
	assert_int_equal(parse("bytes=100-", 100), RANGE_UNSATISFIABLE);
	assert_int_equal(parse("bytes=100-200", 100), RANGE_UNSATISFIABLE);
	assert_int_equal(parse("bytes=-0", 100), RANGE_UNSATISFIABLE);
	assert_int_equal(parse("bytes=0-", 0), RANGE_UNSATISFIABLE);
	assert_int_equal(parse("bytes=-5", 0), RANGE_UNSATISFIABLE);
	assert_int_equal(parse("bytes=100-,200-300,-0", 100), RANGE_UNSATISFIABLE);
	assert_int_equal(parse("bytes=99999999999999999999999-", UINT64_MAX), RANGE_UNSATISFIABLE);
}

static void range_keeps_several_in_their_order(void **state)
{
	(void)state;
	assert_int_equal(parse("bytes=0-9,100-199,-5", 1000), RANGE_PARTS);
	assert_int_equal(set.count, 3);
	expect_range(0, 0, 10);
	expect_range(1, 100, 100);
	expect_range(2, 995, 5);
	assert_int_equal(parse("bytes= , -1\t,, 10-19 ,10-19,20-39,", 42), RANGE_PARTS);
	assert_int_equal(set.count, 4);
	expect_range(0, 41, 1);
	expect_range(1, 10, 10);
	expect_range(2, 10, 10);
	expect_range(3, 20, 20);
}

static void range_leaves_out_what_cannot_be_satisfied(void **state)
{
	(void)state;
	expect_part("bytes=100-,5-6,-0", 100, 5, 2);
	assert_int_equal(parse("bytes=0-0,500-600,99-", 100), RANGE_PARTS);
	assert_int_equal(set.count, 2);
	expect_range(1, 99, 1);
}

static void range_never_gives_more_than_there_is(void **state)
{
	(void)state;
	assert_int_equal(parse("bytes=0-49,50-99", 100), RANGE_PARTS);
	assert_int_equal(parse("bytes=0-50,50-99", 100), RANGE_WHOLE);
	assert_int_equal(parse("bytes=0-,0-,0-,0-", 100), RANGE_WHOLE);
	assert_int_equal(parse("bytes=-100,-1", 100), RANGE_WHOLE);
	assert_int_equal(parse("bytes=0-18446744073709551613,0-18446744073709551613", UINT64_MAX), RANGE_WHOLE);
}

static void range_takes_a_bounded_number(void **state)
{
	static char header[16 * (RANGE_SET_MAX + 2)];
	size_t len = (size_t)snprintf(header, sizeof(header), "bytes=0-0");

	(void)state;
	for (unsigned i = 1; i < RANGE_SET_MAX; i++)
		len += (size_t)snprintf(header + len, sizeof(header) - len, ",%u-%u", 2 * i, 2 * i);
	assert_int_equal(parse(header, 100000), RANGE_PARTS);
	assert_int_equal(set.count, RANGE_SET_MAX);
	expect_range(RANGE_SET_MAX - 1, 2 * (RANGE_SET_MAX - 1), 1);
	snprintf(header + len, sizeof(header) - len, ",-1");
	assert_int_equal(parse(header, 100000), RANGE_WHOLE);
}

static void none_match_is_a_list_in_which_weak_counts_as_well(void **state)
{
	(void)state;
	assert_true(range_none_match("\"a\"", "\"a\""));
	assert_true(range_none_match("\"b\", W/\"a\"", "\"a\""));
	assert_true(range_none_match("*", "\"a\""));
	assert_false(range_none_match("\"ab\", \"b\"", "\"a\""));
	assert_false(range_none_match("a", "\"a\""));
	assert_false(range_none_match("", "\"a\""));
	assert_false(range_none_match(NULL, "\"a\""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(range_reads_one),
		cmocka_unit_test(range_ignores_what_is_malformed),
		cmocka_unit_test(range_cannot_be_satisfied_beyond_the_end),
		cmocka_unit_test(range_keeps_several_in_their_order),
		cmocka_unit_test(range_leaves_out_what_cannot_be_satisfied),
		cmocka_unit_test(range_never_gives_more_than_there_is),
		cmocka_unit_test(range_takes_a_bounded_number),
		cmocka_unit_test(none_match_is_a_list_in_which_weak_counts_as_well),
	};
	return cmocka_run_group_tests_name("range", tests, NULL, NULL);
}
