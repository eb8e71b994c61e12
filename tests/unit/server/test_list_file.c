/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/list_file.h"

#include "base/cleanup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Reads the text as a file; the array's texts with a '|' behind each, or what is wrong. */
static int read_text(const char *text, size_t len, char said[256])
{
	char path[] = "/tmp/larder-test-XXXXXX";
	_cleanup_close_ int fd = mkstemp(path);
	json_t *array = json_array();
	const json_t *item;
	struct err err;
	size_t i;
	int code;

	assert_int_equal(write(fd, text, len), len);
	code = list_file_read(path, array, &err);
	unlink(path);
	said[0] = '\0';
	json_array_foreach(array, i, item)
	{
		strcat(said, json_string_value(item));
		strcat(said, "|");
	}
	if (code)
		strcpy(said, err.text + strlen(path));
	json_decref(array);
	return code;
}

static void list_has_references_comments_and_empty_lines(void **state)
{
	static const char text[] = "# base images\n\nalpine\n  quay.io/org/app:1.*?semver=>=1.2 <2  # the new ones\r\n"
				   "\tdebian@sha256:00#not-a-comment\t#\n \n#";
	char said[256];

	(void)state;
	assert_int_equal(read_text(text, sizeof(text) - 1, said), 0);
	assert_string_equal(said, "alpine|quay.io/org/app:1.*?semver=>=1.2 <2|debian@sha256:00#not-a-comment|");
	assert_int_equal(read_text("", 0, said), 0);
	assert_string_equal(said, "");
}

static void list_that_is_none_is_refused_by_line(void **state)
{
	static char line[LIST_FILE_LINE_MAX + 10];
	char said[256];

	(void)state;
	memset(line, 'x', sizeof(line));
	line[1] = '\n';
	assert_int_equal(read_text(line, sizeof(line), said), ERR_LIMIT);
	assert_string_equal(said, ":2: the line is too long");
	assert_int_equal(read_text("a\nb\n\xff\n", 6, said), ERR_INVALID);
	assert_string_equal(said, ":3: the line is no UTF-8 text");
	assert_int_equal(list_file_read("/nonexistent", NULL, NULL), ERR_IO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(list_has_references_comments_and_empty_lines),
		cmocka_unit_test(list_that_is_none_is_refused_by_line),
	};
	return cmocka_run_group_tests_name("list_file", tests, NULL, NULL);
}
