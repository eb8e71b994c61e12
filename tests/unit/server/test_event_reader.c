/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/event_reader.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct told {
	struct buf all;
	size_t left; /* events until the stream is ended */
};

static int take(void *arg, const char *data, size_t len)
{
	struct told *told = arg;

	assert_int_equal(strlen(data), len);
	buf_printf(&told->all, "<%s>", data);
	return --told->left == 0 ? 7 : 0;
}

static const char stream[] = ": a comment\n\nevent: job\ndata: {\"a\": 1}\nid: 4\n\ndata:one\r\ndata: two\r\n\r\n"
			     "data\n\n\ndata: cut";

static void events_are_the_same_however_the_stream_is_cut(void **state)
{
	(void)state;
	for (size_t step = 1; step < sizeof(stream); step++) {
		struct told told = {.left = 100};
		struct event_reader reader = {.each = take, .arg = &told};

		for (size_t at = 0; at < sizeof(stream) - 1; at += step) {
			size_t left = sizeof(stream) - 1 - at;

			assert_int_equal(event_reader_take(&reader, stream + at, left < step ? left : step), 0);
		}
		assert_string_equal(told.all.data, "<{\"a\": 1}><one\ntwo>");
		event_reader_dispose(&reader);
		buf_dispose(&told.all);
	}
}

static void stream_ends_where_the_taker_wants(void **state)
{
	struct told told = {.left = 1};
	struct event_reader reader = {.each = take, .arg = &told};

	(void)state;
	assert_int_equal(event_reader_take(&reader, stream, sizeof(stream) - 1), 7);
	assert_string_equal(told.all.data, "<{\"a\": 1}>");
	event_reader_dispose(&reader);
	buf_dispose(&told.all);
}

static void line_without_end_is_not_kept_for_ever(void **state)
{
	struct event_reader reader = {.each = take};
	static char block[1 << 20];
	int code = 0;

	(void)state;
	memset(block, 'x', sizeof(block));
	for (size_t sent = 0; code == 0 && sent <= EVENT_MAX; sent += sizeof(block))
		code = event_reader_take(&reader, block, sizeof(block));
	assert_int_not_equal(code, 0);
	event_reader_dispose(&reader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(events_are_the_same_however_the_stream_is_cut),
		cmocka_unit_test(stream_ends_where_the_taker_wants),
		cmocka_unit_test(line_without_end_is_not_kept_for_ever),
	};
	return cmocka_run_group_tests_name("event_reader", tests, NULL, NULL);
}
