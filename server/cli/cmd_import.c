/* SPDX-License-Identifier: Apache-2.0 */
/* `larder import PATH`: takes images from an archive, a layout's directory, or standard input. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/units.h"
#include "server/bundle/sign.h"
#include "server/cli/admin_session.h"
#include "server/cli/bundle_head.h"
#include "server/cli/command.h"
#include "server/cli/layout_source.h"
#include "server/cli/meter.h"
#include "server/cli/show.h"
#include "server/cli/text_file.h"
#include "upstream/url.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define MISSING_SHOWN_MAX 50

/* Where the archive comes from. */
struct import_input {
	int fd;
	struct layout_source *layout; /* NULL: `fd` is the archive */
};

static int say(const struct err *err)
{
	fprintf(stderr, "larder import: %s\n", err->text);
	return EXIT_SOME_FAILED;
}

/* *len: -1 when it is not known. */
static int open_input(const char *path, struct import_input *input, int64_t *len)
{
	struct stat found;
	struct err err;

	input->fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
	if (input->fd < 0 || fstat(input->fd, &found) < 0) {
		err_set_errno(&err, ERR_IO, errno, "cannot open %s", path);
		return say(&err);
	}
	*len = S_ISREG(found.st_mode) ? found.st_size : -1;
	if (!S_ISDIR(found.st_mode))
		return EXIT_DONE;
	if (layout_source_open(path, &input->layout, &err))
		return say(&err);
	*len = (int64_t)layout_source_size(input->layout);
	return EXIT_DONE;
}

static void close_input(struct import_input *input)
{
	layout_source_free(input->layout);
	if (input->fd > STDERR_FILENO)
		close(input->fd);
}

static int add_key(const char *path, struct buf *target)
{
	uint8_t key[SIGN_PUBLIC_KEY_BYTES] = {0};
	struct err err = {0};
	char *pem = text_file_read(path, &err);
	int code = pem ? sign_read_public_key(pem, key, &err) : err.code;

	text_file_free(pem);
	if (code)
		return say(&err);
	buf_append_text(target, "&verify_key=");
	for (size_t i = 0; i < sizeof(key); i++)
		buf_printf(target, "%02x", key[i]);
	return EXIT_DONE;
}

static int make_target(const struct command_line *line, struct buf *target)
{
	const char *as = command_value(line, "as"), *key = command_value(line, "verify-key");
	_cleanup_free_ char *escaped = url_escape(as ? as : "");

	buf_printf(target, "/api/v1/import?as=%s", escaped);
	return key ? add_key(key, target) : EXIT_DONE;
}

/* The answer. */

static void print_images(const json_t *report)
{
	const json_t *image;
	char plain[SHOW_TEXT_MAX];
	size_t i;

	json_array_foreach(json_object_get(report, "images"), i, image)
	{
		printf("%-10s %s  %s\n", show_is(image, "complete") ? "imported" : "INCOMPLETE",
		       show_plain(show_text(image, "name"), plain), show_text(image, "digest"));
		if (!show_is(image, "configured"))
			printf("           no upstream of this name is configured: add it, or it is not served\n");
	}
}

static void print_missing(const json_t *missing)
{
	const json_t *blob;
	char plain[SHOW_TEXT_MAX];
	size_t i;

	json_array_foreach(missing, i, blob)
	{
		if (i == MISSING_SHOWN_MAX) {
			fprintf(stderr, "… and %zu more; --json lists all\n", json_array_size(missing) - i);
			break;
		}
		fprintf(stderr, "missing %s of %s%s\n", show_text(blob, "digest"),
			show_plain(show_text(blob, "image"), plain),
			show_is(blob, "promised") ? ", which the receipt said is here" : "");
	}
}

static size_t count_incomplete(const json_t *report)
{
	const json_t *image;
	size_t count = 0, i;

	json_array_foreach(json_object_get(report, "images"), i, image) count += !show_is(image, "complete");
	return count;
}

static void print_summary(const json_t *report, uint64_t began_ms)
{
	const json_t *came = json_object_get(report, "imported"), *held = json_object_get(report, "held");
	char a[UNITS_TEXT_MAX], b[UNITS_TEXT_MAX];

	print_images(report);
	printf("%zu images%s: %" PRIu64 " blobs, %s; held already %" PRIu64 ", %s; missing %zu; %.1f s, %zu errors\n",
	       json_array_size(json_object_get(report, "images")),
	       show_is(report, "signed") ? ", signature verified" : "", show_number(came, "blobs"),
	       units_format_size(show_number(came, "bytes"), a), show_number(held, "blobs"),
	       units_format_size(show_number(held, "bytes"), b), json_array_size(json_object_get(report, "missing")),
	       (double)(clock_ms() - began_ms) / 1000, count_incomplete(report));
}

static int show(const struct command_line *line, const struct buf *text, uint64_t began_ms)
{
	json_t *report = json_loadb(text->data ? text->data : "", text->len, 0, NULL);
	int status = show_is(report, "complete") ? EXIT_DONE : EXIT_SOME_FAILED;

	if (command_has(line, "json")) {
		show_json(report);
	} else {
		print_summary(report, began_ms);
		print_missing(json_object_get(report, "missing"));
	}
	json_decref(report);
	return command_finish_output() == EXIT_DONE ? status : EXIT_SOME_FAILED;
}

/* One `arg` is for both directions. */
struct exchange {
	struct import_input input;
	struct bundle_head head; /* of a bundle of larder's */
	bool foreign;            /* it is none */
	struct meter *meter;
	uint64_t given;
	struct err err;
	struct buf answer;
};

/* Looks at what is sent. */
static void note(struct exchange *exchange, const void *data, size_t len)
{
	const char *self;

	exchange->given += len;
	if (!exchange->head.done && !exchange->foreign) {
		exchange->foreign = bundle_head_take(&exchange->head, data, len, NULL) < 0;
		self = bundle_head_self(&exchange->head, &len);
		if (exchange->head.done)
			meter_describe(exchange->meter, self, len);
	}
	meter_show(exchange->meter, exchange->given);
}

static ssize_t give(void *arg, void *data, size_t max)
{
	struct exchange *exchange = arg;
	ssize_t got;

	errno = 0;
	got = exchange->input.layout ? layout_source_give(exchange->input.layout, data, max)
				     : admin_give_from_fd(&exchange->input.fd, data, max);
	if (got < 0 && errno)
		err_set_errno(&exchange->err, ERR_IO, errno, "cannot read what is to be imported");
	else if (got < 0)
		err_set(&exchange->err, ERR_IO, "what is to be imported changed meanwhile");
	else
		note(exchange, data, (size_t)got);
	return got;
}

static int take(void *arg, const void *data, size_t len)
{
	return buf_append(&((struct exchange *)arg)->answer, data, len);
}

/* Without a path, what is piped in; NULL when nothing is, as on a terminal. */
static const char *input_path(const struct command_line *line)
{
	struct stat input;

	if (line->argument_count > 0)
		return line->arguments[0];
	return fstat(STDIN_FILENO, &input) == 0 && !S_ISCHR(input.st_mode) ? "-" : NULL;
}

int cmd_import(const struct command_line *line)
{
	const char *path = input_path(line);
	_cleanup_(admin_session_close) struct admin_session session = {0};
	_cleanup_(buf_dispose) struct buf target = {0};
	struct exchange exchange = {.input.fd = -1};
	struct admin_request request = {
		.method = "POST", .content_type = "application/x-tar", .give = give, .take = take, .arg = &exchange};
	uint64_t began_ms = clock_ms();
	int status;

	if (!path)
		return command_usage_error(line->command->name, "%s", line->command->wants);
	status = make_target(line, &target);
	request.target = target.data;
	if (status == EXIT_DONE)
		status = open_input(path, &exchange.input, &request.give_length);
	if (status == EXIT_DONE)
		status = admin_session_open(&session, line);
	if (status == EXIT_DONE) {
		exchange.meter = meter_new(command_has(line, "json") ? NULL : stdout,
					   request.give_length > 0 ? (uint64_t)request.give_length : 0);
		status = admin_session_stream(&session, &request);
		meter_free(exchange.meter);
	}
	if (exchange.err.code)
		say(&exchange.err);
	if (status == EXIT_DONE)
		status = show(line, &exchange.answer, began_ms);
	close_input(&exchange.input);
	buf_dispose(&exchange.answer);
	buf_dispose(&exchange.head.text);
	return status;
}
