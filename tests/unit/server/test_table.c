/* SPDX-License-Identifier: Apache-2.0 */
/* Tables in little and much room. */
#include "server/cli/table.h"

#include "base/cleanup.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct table_column columns[] = {
	{"IMAGE", .flexible = true},
	{"SIZE", .right = true},
	{"DIGEST", .rank = 2},
	{"PINS", .rank = 1},
};

static char *print(const char *const *cells, size_t count, size_t width)
{
	struct table *table = table_new(columns, 4);
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	for (size_t i = 0; i < count; i++)
		table_add(table, cells[i]);
	table_print(table, out, width);
	table_free(table);
	fclose(out);
	return text;
}

#define IMAGE "docker.io/library/alpine:3.20"
static const char *const row[] = {IMAGE, "12MiB", "0123456789ab", "base"};

static void table_has_all_columns_where_there_is_room(void **state)
{
	_cleanup_free_ char *wide = print(row, 4, 0), *fitting = print(row, 4, 56);

	(void)state;
	assert_string_equal(wide, "IMAGE                           SIZE  DIGEST        PINS\n" IMAGE
				  "  12MiB  0123456789ab  base\n");
	assert_string_equal(fitting, wide);
}

static void table_leaves_out_columns_by_rank_then_cuts_beginnings(void **state)
{
	static const struct {
		size_t width;
		const char *text;
	} cases[] = {
		{55, "IMAGE                           SIZE  PINS\n" IMAGE "  12MiB  base\n"},
		{42, "IMAGE                           SIZE  PINS\n" IMAGE "  12MiB  base\n"},
		{41, "IMAGE                           SIZE\n" IMAGE "  12MiB\n"},
		{30, "IMAGE                     SIZE\n…io/library/alpine:3.20  12MiB\n"},
		{1, "IMAGE          SIZE\n…alpine:3.20  12MiB\n"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		_cleanup_free_ char *text = print(row, 4, cases[i].width);

		assert_string_equal(text, cases[i].text);
	}
}

static void table_shows_nothing_that_commands_a_terminal(void **state)
{
	static const char *const empty_end[] = {"a", "", "b", ""};
	static const char *const hostile[] = {"a\033[2Jb\r\n\xc2\x9b\xe2\x80\xae\xff", "\xe2\x80\xa6", "", "c"};
	_cleanup_free_ char *text = print(hostile, 4, 0), *empty = print(NULL, 0, 80),
			    *unpadded = print(empty_end, 4, 0);

	(void)state;
	assert_string_equal(text, "IMAGE        SIZE  DIGEST  PINS\n"
				  "a?[2Jb?????     \xe2\x80\xa6          c\n");
	assert_string_equal(empty, "");
	assert_string_equal(unpadded, "IMAGE  SIZE  DIGEST  PINS\na            b\n");
}

static void columns_are_those_that_the_environment_says(void **state)
{
	(void)state;
	setenv("COLUMNS", "123", 1);
	assert_int_equal(columns_there_are(), 123);
	unsetenv("COLUMNS");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table_has_all_columns_where_there_is_room),
		cmocka_unit_test(table_leaves_out_columns_by_rank_then_cuts_beginnings),
		cmocka_unit_test(table_shows_nothing_that_commands_a_terminal),
		cmocka_unit_test(columns_are_those_that_the_environment_says),
	};
	return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
