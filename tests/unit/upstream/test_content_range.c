/* SPDX-License-Identifier: Apache-2.0 */
#include "upstream/content_range.h"

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void expect(const char *value, uint64_t start, uint64_t end, uint64_t total)
{
	struct content_range range;

	if (content_range_parse(value, &range))
		fail_msg("'%s' is refused", value);
	assert_true(range.start == start && range.end == end && range.total == total);
}

static void content_range_says_where_and_of_how_much(void **state)
{
	(void)state;
	expect("bytes 0-0/1", 0, 0, 1);
	expect("bytes 500-999/1234", 500, 999, 1234);
	expect("Bytes 500-999/*", 500, 999, UINT64_MAX);
	expect("bytes 007-08/09", 7, 8, 9);
	expect("bytes 18446744073709551612-18446744073709551613/18446744073709551614", UINT64_MAX - 3, UINT64_MAX - 2,
	       UINT64_MAX - 1);
}

static void content_range_that_is_anything_else_is_refused(void **state)
{
	static const char *const values[] = {
		"",
		"bytes",
		"bytes ",
		"items 0-1/2",
		"bytes=0-1/2",
		"bytes  0-1/2",
		"bytes */2", /* of a 416 */
		"bytes 0-1",
		"bytes 0-1/",
		"bytes 0/2",
		"bytes -1/2",
		"bytes 0-/2",
		"bytes 1-0/2",
		"bytes 0-2/2",
		"bytes +0-1/2",
		"bytes 0-+1/2",
		"bytes 0--1/2",
		"bytes 0-1/+2",
		"bytes 0-1/-2",
		"bytes 0- 1/2",
		"bytes 0-1 /2",
		"bytes 0-1/ 2",
		"bytes 0-1/2 ",
		"bytes 0-1/2x",
		"bytes 0-1/2,3",
		"bytes 0-1/**",
		"bytes 0-1/*2",
		"bytes 0x0-0x1/0x2",
		"bytes 18446744073709551616-18446744073709551616/*",
		"bytes 0-1/18446744073709551615",
		"bytes 0-1/18446744073709551618",
		"bytes 0-1/99999999999999999999999",
	};
	struct content_range range;

	(void)state;
	assert_int_equal(content_range_parse(NULL, &range), ERR_INVALID);
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		if (content_range_parse(values[i], &range) != ERR_INVALID)
			fail_msg("'%s' is taken", values[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(content_range_says_where_and_of_how_much),
		cmocka_unit_test(content_range_that_is_anything_else_is_refused),
	};

	return cmocka_run_group_tests_name("content_range", tests, NULL, NULL);
}
