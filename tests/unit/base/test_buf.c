/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

static void buf_ends_its_content_with_a_nul_that_does_not_count(void **state)
{
	(void)state;
	_cleanup_(buf_dispose) struct buf buf = {0};
	for (int i = 0; i < 1000; i++)
		assert_int_equal(buf_append(&buf, "ab\0", 3), 0);
	assert_int_equal(buf.len, 3000);
	assert_int_equal(buf.data[3000], '\0');
	assert_memory_equal(buf.data + 2997, "ab\0", 3);
}

static void buf_appends_nothing_beyond_its_maximum(void **state)
{
	(void)state;
	_cleanup_(buf_dispose) struct buf buf = {.max = 8};
	assert_int_equal(buf_append_text(&buf, "12345"), 0);
	assert_int_equal(buf_append_text(&buf, "6789"), ERR_LIMIT);
	assert_int_equal(buf_printf(&buf, "%s", "6789"), ERR_LIMIT);
	assert_int_equal(buf_append_json(&buf, "6\n9"), ERR_LIMIT);
	assert_string_equal(buf.data, "12345");
	assert_int_equal(buf_printf(&buf, "%d", 678), 0);
	assert_string_equal(buf.data, "12345678");
	assert_int_equal(buf_append(&buf, "", 0), 0);
	assert_int_equal(buf_append(&buf, "x", SIZE_MAX), ERR_LIMIT);
}

static void buf_prints_more_than_it_has_room_for_at_first(void **state)
{
	(void)state;
	_cleanup_(buf_dispose) struct buf buf = {0};
	assert_int_equal(buf_printf(&buf, "%0500d|", 7), 0);
	assert_int_equal(buf.len, 501);
	assert_string_equal(buf.data + 499, "7|");
}

static void buf_on_memory_of_the_caller_does_not_grow(void **state)
{
	(void)state;
	char memory[8];
	struct buf buf = {.data = memory, .cap = sizeof(memory), .max = sizeof(memory) - 1};
	assert_int_equal(buf_append_text(&buf, "1234567"), 0);
	assert_int_equal(buf_append_text(&buf, "8"), ERR_LIMIT);
	assert_ptr_equal(buf.data, memory);
	assert_string_equal(memory, "1234567");
}

static void buf_clear_keeps_memory_and_dispose_gives_it_back(void **state)
{
	(void)state;
	struct buf buf = {0};
	buf_clear(&buf);
	buf_append_text(&buf, "text");
	char *data = buf.data;
	buf_clear(&buf);
	assert_ptr_equal(buf.data, data);
	assert_string_equal(buf.data, "");
	buf_dispose(&buf);
	assert_null(buf.data);
	assert_int_equal(buf.len, 0);
	buf_append_text(&buf, "again");
	assert_string_equal(buf.data, "again");
	buf_dispose(&buf);
}

static void buf_json_escapes_what_cannot_stand_in_a_string(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		const char *json;
	} cases[] = {
		{"", ""},
		{"plain / text", "plain / text"},
		{"\"quoted\" \\ back", "\\\"quoted\\\" \\\\ back"},
		{"\b\f\n\r\t", "\\b\\f\\n\\r\\t"},
		{"\x01\x1f\x7f", "\\u0001\\u001f\\u007f"},
		{"h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\xb3", "h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\xb3"},
		{"\xff", "\\ufffd"},
		{"\xc0\xaf", "\\ufffd\\ufffd"},                       /* overlong */
		{"\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd"},            /* surrogate */
		{"\xf4\x90\x80\x80", "\\ufffd\\ufffd\\ufffd\\ufffd"}, /* beyond U+10FFFF */
		{"cut \xe2\x82", "cut \\ufffd\\ufffd"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		_cleanup_(buf_dispose) struct buf buf = {0};
		assert_int_equal(buf_append_json(&buf, cases[i].text), 0);
		assert_string_equal(buf.data, cases[i].json);
	}
}

static void mem_functions_copy_and_print(void **state)
{
	(void)state;
	assert_null(mem_strdup(NULL));
	_cleanup_free_ char *whole = mem_strdup("whole");
	_cleanup_free_ char *part = mem_strndup("whole", 2);
	_cleanup_free_ char *beyond = mem_strndup("whole", 200);
	_cleanup_free_ char *printed = mem_printf("%s-%d", part, 3);
	_cleanup_free_ unsigned char *zeros = mem_alloc(64);
	_cleanup_free_ void *nothing = mem_alloc(0);
	assert_string_equal(whole, "whole");
	assert_string_equal(part, "wh");
	assert_string_equal(beyond, "whole");
	assert_string_equal(printed, "wh-3");
	assert_non_null(nothing);
	for (int i = 0; i < 64; i++)
		assert_int_equal(zeros[i], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buf_ends_its_content_with_a_nul_that_does_not_count),
		cmocka_unit_test(buf_appends_nothing_beyond_its_maximum),
		cmocka_unit_test(buf_prints_more_than_it_has_room_for_at_first),
		cmocka_unit_test(buf_on_memory_of_the_caller_does_not_grow),
		cmocka_unit_test(buf_clear_keeps_memory_and_dispose_gives_it_back),
		cmocka_unit_test(buf_json_escapes_what_cannot_stand_in_a_string),
		cmocka_unit_test(mem_functions_copy_and_print),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
