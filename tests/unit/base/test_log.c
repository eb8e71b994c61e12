/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Standard output and standard error, led into pipes while the log writes. */
struct capture {
	int saved[2];
	int readers[2];
};

static void capture_begin(struct capture *capture)
{
	fflush(NULL);
	for (int i = 0; i < 2; i++) {
		int ends[2];
		assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
		capture->saved[i] = dup(STDOUT_FILENO + i);
		capture->readers[i] = ends[0];
		dup2(ends[1], STDOUT_FILENO + i);
		close(ends[1]);
	}
}

/* Puts the real descriptors back; the pipes' readers then see an end. */
static void capture_release(struct capture *capture)
{
	for (int i = 0; i < 2; i++) {
		dup2(capture->saved[i], STDOUT_FILENO + i);
		close(capture->saved[i]);
	}
}

/* Reads until the end, or until `until` was seen when it is not NULL. */
static void read_pipe(int fd, struct buf *text, const char *until)
{
	char part[4096];
	buf_append_text(text, "");
	while (!until || !strstr(text->data, until)) {
		ssize_t got = read(fd, part, sizeof(part));
		if (got <= 0)
			break;
		buf_append(text, part, (size_t)got);
	}
}

static void capture_end(struct capture *capture, struct buf *out, struct buf *err)
{
	capture_release(capture);
	read_pipe(capture->readers[0], out, NULL);
	read_pipe(capture->readers[1], err, NULL);
	close(capture->readers[0]);
	close(capture->readers[1]);
}

static void *read_all(void *argument)
{
	void **pair = argument;
	read_pipe(*(int *)pair[0], pair[1], NULL);
	return NULL;
}

static const struct log_field odd_fields[] = {
	{.name = "method", .text = "GET"},
	{.name = "path", .text = "/v2/a?x=1"},
	{.name = "agent", .text = "a \"b\" \\ c"},
	{.name = "bad", .text = "x\n\x1b[2J\xff"},
	{.name = "empty", .text = ""},
	{.name = "none"},
	{.name = "bytes", .number = UINT64_MAX, .is_number = true},
	{.name = "zero", .is_number = true},
};
#define ODD_FIELD_COUNT (sizeof(odd_fields) / sizeof(odd_fields[0]))

static void log_writes_text_lines_with_quotes_where_needed(void **state)
{
	(void)state;
	struct capture capture;
	_cleanup_(buf_dispose) struct buf out = {0};
	_cleanup_(buf_dispose) struct buf err = {0};
	capture_begin(&capture);
	log_start(LOG_INFO, LOG_TEXT);
	log_access(odd_fields, ODD_FIELD_COUNT);
	log_warn("%s said \"%s\"", "peer", "a\r\nb\x1b\xc2\x9bm\xc3\xa9");
	log_debug("unwanted");
	log_stop();
	capture_end(&capture, &out, &err);
	size_t time_len = strlen("2026-11-21T05:28:34.123Z");
	assert_string_equal(
		out.data + time_len,
		" method=GET path=/v2/a?x=1 agent=\"a \\\"b\\\" \\\\ c\" bad=\"x\\x0a\\x1b[2J\\xff\" empty=\"\""
		" none=- bytes=18446744073709551615 zero=0\n");
	assert_string_equal(err.data + time_len, " warn peer said \"a\\x0d\\x0ab\\x1b\\xc2\\x9bm\xc3\xa9\"\n");
}

static void log_writes_json_lines(void **state)
{
	(void)state;
	struct capture capture;
	_cleanup_(buf_dispose) struct buf out = {0};
	_cleanup_(buf_dispose) struct buf err = {0};
	capture_begin(&capture);
	log_start(LOG_DEBUG, LOG_JSON);
	log_access(odd_fields, ODD_FIELD_COUNT);
	log_debug("a \"quoted\" %s", "word\n");
	log_stop();
	capture_end(&capture, &out, &err);
	size_t time_len = strlen("{\"time\":\"2026-11-21T05:28:34.123Z\"");
	assert_memory_equal(out.data, "{\"time\":\"2", 10);
	assert_string_equal(out.data + time_len,
			    ",\"method\":\"GET\",\"path\":\"/v2/a?x=1\",\"agent\":\"a \\\"b\\\" \\\\ c\","
			    "\"bad\":\"x\\n\\u001b[2J\\ufffd\",\"empty\":\"\",\"none\":\"-\","
			    "\"bytes\":18446744073709551615,\"zero\":0}\n");
	assert_string_equal(err.data + time_len, ",\"level\":\"debug\",\"message\":\"a \\\"quoted\\\" word\\n\"}\n");
}

static void log_cuts_what_is_too_long_and_keeps_lines_whole(void **state)
{
	(void)state;
	char huge[8000];
	memset(huge, '\x01', sizeof(huge) - 1);
	huge[sizeof(huge) - 1] = '\0';
	struct log_field fields[6];
	for (size_t i = 0; i < 5; i++)
		fields[i] = (struct log_field){.name = "huge", .text = huge};
	fields[5] = (struct log_field){.name = "last", .number = 7, .is_number = true};
	for (int format = LOG_TEXT; format <= LOG_JSON; format++) {
		struct capture capture;
		_cleanup_(buf_dispose) struct buf out = {0};
		_cleanup_(buf_dispose) struct buf err = {0};
		capture_begin(&capture);
		log_start(LOG_INFO, (enum log_format)format);
		log_access(fields, 6);
		log_info("%s", huge);
		log_stop();
		capture_end(&capture, &out, &err);
		assert_true(out.len < 16384 && err.len < 16384);
		const char *end = format == LOG_JSON ? ",\"last\":7}\n" : " last=7\n";
		assert_string_equal(out.data + out.len - strlen(end), end);
		end = format == LOG_JSON ? "\\u0001...\"}\n" : "\\x01...\n";
		assert_string_equal(err.data + err.len - strlen(end), end);
		assert_ptr_equal(strchr(out.data, '\n'), out.data + out.len - 1);
	}
}

static void log_writes_at_once_before_start_and_after_stop(void **state)
{
	(void)state;
	struct capture capture;
	_cleanup_(buf_dispose) struct buf err = {0};
	_cleanup_(buf_dispose) struct buf out = {0};
	capture_begin(&capture);
	log_error("first");
	read_pipe(capture.readers[1], &err, "first\n");
	log_start(LOG_WARN, LOG_TEXT);
	log_info("unwanted");
	log_warn("second");
	log_stop();
	log_warn("third");
	capture_end(&capture, &out, &err);
	assert_non_null(strstr(err.data, "error first\n"));
	assert_non_null(strstr(err.data, "warn second\n"));
	assert_non_null(strstr(err.data, "warn third\n"));
	assert_null(strstr(err.data, "unwanted"));
}

#define STALLED_LINES 20000

static void log_drops_lines_for_a_stalled_reader_and_says_how_many(void **state)
{
	(void)state;
	struct capture capture;
	_cleanup_(buf_dispose) struct buf out = {0};
	_cleanup_(buf_dispose) struct buf err = {0};
	const struct log_field fields[] = {
		{.name = "filler", .text = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}};
	pthread_t reader;
	capture_begin(&capture);
	log_start(LOG_INFO, LOG_TEXT);
	for (int i = 0; i < STALLED_LINES; i++)
		log_access(fields, 1);
	/* The other stream goes on meanwhile. */
	log_info("still here");
	read_pipe(capture.readers[1], &err, "still here\n");
	/* Once the reader reads again, the loss is said. */
	void *pair[2] = {&capture.readers[0], &out};
	assert_int_equal(pthread_create(&reader, NULL, read_all, pair), 0);
	read_pipe(capture.readers[1], &err, "lines dropped");
	log_stop();
	capture_release(&capture);
	pthread_join(reader, NULL);
	close(capture.readers[0]);
	close(capture.readers[1]);

	const char *notice = strstr(err.data, "log: ");
	assert_non_null(notice);
	unsigned long dropped = strtoul(notice + 5, NULL, 10);
	size_t written = 0;
	for (size_t i = 0; i < out.len; i++)
		written += out.data[i] == '\n';
	assert_true(dropped > 0);
	assert_int_equal(dropped + written, STALLED_LINES);
}

static void log_stop_does_not_wait_for_ever_for_a_stalled_reader(void **state)
{
	(void)state;
	struct capture capture;
	_cleanup_(buf_dispose) struct buf out = {0};
	_cleanup_(buf_dispose) struct buf err = {0};
	const struct log_field fields[] = {
		{.name = "filler", .text = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}};
	capture_begin(&capture);
	log_start(LOG_INFO, LOG_TEXT);
	for (int i = 0; i < 5000; i++)
		log_access(fields, 1);
	uint64_t start = clock_ms();
	log_stop();
	uint64_t waited = clock_ms() - start;
	capture_end(&capture, &out, &err);
	assert_true(waited < 30000);
	assert_non_null(strstr(err.data, "access lines dropped"));
}

static void log_survives_a_reader_who_is_gone(void **state)
{
	(void)state;
	struct capture capture;
	_cleanup_(buf_dispose) struct buf err = {0};
	const struct log_field fields[] = {{.name = "n", .number = 1, .is_number = true}};
	signal(SIGPIPE, SIG_IGN);
	capture_begin(&capture);
	close(capture.readers[0]);
	log_start(LOG_INFO, LOG_TEXT);
	log_access(fields, 1);
	log_warn("diagnostics go on");
	log_stop();
	capture_release(&capture);
	read_pipe(capture.readers[1], &err, NULL);
	close(capture.readers[1]);
	assert_non_null(strstr(err.data, "diagnostics go on\n"));
	assert_non_null(strstr(err.data, "log: 1 access lines dropped"));
}

#define WRITERS      4
#define WRITER_LINES 500

static void *write_many(void *argument)
{
	for (uint64_t i = 0; i < WRITER_LINES; i++) {
		const struct log_field fields[] = {{.name = "writer", .text = argument},
						   {.name = "n", .number = i, .is_number = true}};
		log_access(fields, 2);
	}
	return NULL;
}

static void log_keeps_the_lines_of_many_threads_whole(void **state)
{
	(void)state;
	static char names[WRITERS][2] = {"a", "b", "c", "d"};
	struct capture capture;
	_cleanup_(buf_dispose) struct buf out = {0};
	pthread_t writers[WRITERS];
	pthread_t reader;
	capture_begin(&capture);
	void *pair[2] = {&capture.readers[0], &out};
	assert_int_equal(pthread_create(&reader, NULL, read_all, pair), 0);
	log_start(LOG_INFO, LOG_TEXT);
	for (int i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_create(&writers[i], NULL, write_many, names[i]), 0);
	for (int i = 0; i < WRITERS; i++)
		pthread_join(writers[i], NULL);
	log_stop();
	capture_release(&capture);
	pthread_join(reader, NULL);
	close(capture.readers[0]);
	close(capture.readers[1]);

	uint64_t next[WRITERS] = {0};
	size_t lines = 0;
	char *rest = out.data;
	for (char *line; (line = strsep(&rest, "\n")) && *line; lines++) {
		char writer = 0;
		unsigned long number = 0;
		char end = 0;
		assert_int_equal(sscanf(line, "%*24s writer=%c n=%lu%c", &writer, &number, &end), 2);
		assert_in_range(writer, 'a', 'd');
		assert_int_equal(number, next[writer - 'a']++);
	}
	assert_int_equal(lines, WRITERS * WRITER_LINES);
}

static void set_journal_stream(int fd, unsigned more)
{
	struct stat found;
	char text[64];
	assert_int_equal(fstat(fd, &found), 0);
	snprintf(text, sizeof(text), "%ju:%ju", (uintmax_t)found.st_dev, (uintmax_t)found.st_ino + more);
	setenv("JOURNAL_STREAM", text, 1);
}

static void log_tells_the_journal_the_priority_of_each_line(void **state)
{
	(void)state;
	struct capture capture;
	_cleanup_(buf_dispose) struct buf out = {0};
	_cleanup_(buf_dispose) struct buf err = {0};
	capture_begin(&capture);
	/* Of the two, only standard error is the journal's. */
	set_journal_stream(STDERR_FILENO, 0);
	log_start(LOG_DEBUG, LOG_TEXT);
	log_error("one");
	log_warn("two");
	log_info("three");
	log_debug("four");
	log_access(odd_fields, 1);
	log_stop();
	set_journal_stream(STDOUT_FILENO, 0);
	log_start(LOG_INFO, LOG_JSON);
	log_access(odd_fields, 1);
	log_warn("five");
	log_stop();
	set_journal_stream(STDERR_FILENO, 1);
	log_start(LOG_INFO, LOG_TEXT);
	log_warn("six");
	log_stop();
	unsetenv("JOURNAL_STREAM");
	capture_end(&capture, &out, &err);
	static const char *const said[] = {"<3>2",
					   " error one\n<4>2",
					   " warn two\n<6>2",
					   " info three\n<7>2",
					   " debug four\n{\"time\":\"2",
					   "\"five\"}\n2",
					   " warn six\n"};
	const char *at = err.data;
	assert_memory_equal(at, said[0], strlen(said[0]));
	for (size_t i = 0; i < sizeof(said) / sizeof(said[0]); i++) {
		at = strstr(at, said[i]);
		assert_non_null(at);
	}
	assert_int_equal(out.data[0], '2');
	assert_non_null(strstr(out.data, " method=GET\n<6>{\"time\":\"2"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* Before any other test starts the log. */
		cmocka_unit_test(log_writes_at_once_before_start_and_after_stop),
		cmocka_unit_test(log_writes_text_lines_with_quotes_where_needed),
		cmocka_unit_test(log_writes_json_lines),
		cmocka_unit_test(log_cuts_what_is_too_long_and_keeps_lines_whole),
		cmocka_unit_test(log_drops_lines_for_a_stalled_reader_and_says_how_many),
		cmocka_unit_test(log_stop_does_not_wait_for_ever_for_a_stalled_reader),
		cmocka_unit_test(log_survives_a_reader_who_is_gone),
		cmocka_unit_test(log_keeps_the_lines_of_many_threads_whole),
		cmocka_unit_test(log_tells_the_journal_the_priority_of_each_line),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
