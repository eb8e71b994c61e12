/* SPDX-License-Identifier: Apache-2.0 */
/* `larder export -o PATH REF…`: images as one archive or directory. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/units.h"
#include "server/cli/admin_session.h"
#include "server/cli/bundle_local.h"
#include "server/cli/bundle_sink.h"
#include "server/cli/command.h"
#include "server/cli/show.h"
#include "server/cli/text_file.h"
#include "upstream/url.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_stdout(const char *path)
{
	return strcmp(path, "-") == 0;
}

static bool is_directory(const char *path)
{
	struct stat found;

	return stat(path, &found) == 0 && S_ISDIR(found.st_mode);
}

static bool ends_in(const char *path, const char *end)
{
	size_t len = strlen(path), end_len = strlen(end);

	return len >= end_len && strcmp(path + len - end_len, end) == 0;
}

static void add_parameter(struct buf *target, const char *name, const char *value)
{
	_cleanup_free_ char *escaped = url_escape(value);

	buf_printf(target, "&%s=%s", name, escaped);
}

static void make_target(const struct command_line *line, struct buf *target)
{
	size_t count;
	_cleanup_free_ const char **platforms = command_values(line, "platform", &count);

	buf_printf(target, "/api/v1/export?held_only=%d", command_has(line, "held-only"));
	if (command_value(line, "format"))
		add_parameter(target, "format", command_value(line, "format"));
	if (command_has(line, "no-referrers"))
		buf_append_text(target, "&referrers=0");
	for (size_t i = 0; i < count; i++)
		add_parameter(target, "platform", platforms[i]);
	for (int i = 0; i < line->argument_count; i++)
		add_parameter(target, "ref", line->arguments[i]);
}

/* Summary. */

static uint64_t sum(const json_t *blobs)
{
	uint64_t bytes = 0;
	const json_t *blob;
	size_t i;

	json_array_foreach(blobs, i, blob) bytes += show_number(blob, "size");
	return bytes;
}

static void print_summary(const struct bundle_sink *sink, const struct command_line *line, uint64_t began_ms)
{
	size_t len;
	const char *self = bundle_sink_self(sink, &len);
	json_t *document = json_loadb(self, len, 0, NULL);
	const json_t *images = json_object_get(document, "images"), *blobs = json_object_get(document, "blobs");
	const json_t *left_out = json_object_get(document, "leftOut");
	FILE *out = is_stdout(sink->path) ? stderr : stdout;
	char a[UNITS_TEXT_MAX], b[UNITS_TEXT_MAX];
	double seconds = (double)(clock_ms() - began_ms) / 1000;

	if (command_has(line, "json"))
		fprintf(out,
			"{\"images\":%zu,\"blobs\":%zu,\"bytes\":%" PRIu64
			",\"left_out\":{\"blobs\":%zu,\"bytes\":%" PRIu64 "},\"written\":%" PRIu64
			",\"signed\":%s,\"seconds\":%.3f}\n",
			json_array_size(images), json_array_size(blobs), sum(blobs), json_array_size(left_out),
			sum(left_out), sink->bytes, sink->key ? "true" : "false", seconds);
	else
		fprintf(out, "exported %zu images: %zu blobs, %s; left out %zu, %s; %.1f s\n", json_array_size(images),
			json_array_size(blobs), units_format_size(sum(blobs), a), json_array_size(left_out),
			units_format_size(sum(left_out), b), seconds);
	json_decref(document);
}

/* Export. */

static int say(const struct command_line *line, const struct err *err)
{
	fprintf(stderr, "larder %s: %s\n", line->command->name, err->text);
	return EXIT_SOME_FAILED;
}

/* The receipt of the far side, when there is one. */
static int attach_receipt(const struct command_line *line, struct admin_request *request, int *fd)
{
	const char *path = command_value(line, "have");
	struct stat found;
	struct err err;

	if (!path)
		return EXIT_DONE;
	if (*fd < 0)
		*fd = open(path, O_RDONLY | O_CLOEXEC);
	if (*fd < 0 || lseek(*fd, 0, SEEK_SET) < 0 || fstat(*fd, &found) < 0) {
		err_set_errno(&err, ERR_IO, errno, "cannot open the receipt %s", path);
		return say(line, &err);
	}
	request->method = "POST";
	request->content_type = "application/octet-stream";
	request->give_length = S_ISREG(found.st_mode) ? found.st_size : -1;
	return EXIT_DONE;
}

/* A request's `arg` is one for both directions: the receipt goes out before the bundle comes. */
struct exchange {
	struct bundle_sink sink;
	struct buf texts; /* of a bundle whose blobs are taken out of the store */
	int receipt;
};

static ssize_t give_receipt(void *arg, void *data, size_t max)
{
	struct exchange *exchange = arg;

	return admin_give_from_fd(&exchange->receipt, data, max);
}

static int take_bundle(void *arg, const void *data, size_t len)
{
	struct exchange *exchange = arg;

	return bundle_sink_take(&exchange->sink, data, len);
}

static int take_texts(void *arg, const void *data, size_t len)
{
	struct exchange *exchange = arg;

	return buf_append(&exchange->texts, data, len);
}

static int ask(const struct admin_session *session, const struct command_line *line, struct exchange *exchange,
	       bool blobs)
{
	_cleanup_(buf_dispose) struct buf target = {0};
	struct admin_request request = {.method = "GET", .take = blobs ? take_bundle : take_texts, .arg = exchange};
	int status;

	make_target(line, &target);
	buf_append_text(&target, blobs ? "" : "&blobs=0");
	request.target = target.data;
	status = attach_receipt(line, &request, &exchange->receipt);
	if (exchange->receipt >= 0)
		request.give = give_receipt;
	return status == EXIT_DONE ? admin_session_stream(session, &request) : status;
}

/* Where the larder's store is on this machine; NULL when it is not. The caller frees. */
static char *find_store(const struct admin_session *session)
{
	json_t *status = NULL;
	char *path = NULL;

	if (strncmp(session->url, "unix:", 5) == 0 &&
	    admin_session_ask(session, "GET", "/api/v1/status", NULL, &status) == EXIT_DONE)
		path = mem_strdup(show_text(json_object_get(status, "store"), "path"));
	json_decref(status);
	return path;
}

/*
 * Where this process can read the store itself, only the texts are asked for, and the blobs are copied from file to
 * file. *done tells whether that was possible.
 */
static int copy_from_store(const struct admin_session *session, const struct command_line *line,
			   struct exchange *exchange, bool *done)
{
	_cleanup_free_ char *store = find_store(session);
	int status;

	*done = false;
	if (!store || !bundle_local_readable(store))
		return EXIT_DONE;
	status = ask(session, line, exchange, false);
	if (status != EXIT_DONE)
		return status;
	*done = bundle_local_copy(&exchange->sink, store, &exchange->texts);
	return EXIT_DONE;
}

static int stream(const struct admin_session *session, const struct command_line *line, struct exchange *exchange)
{
	bool done;
	int status = copy_from_store(session, line, exchange, &done);

	if (status == EXIT_DONE && !done)
		status = ask(session, line, exchange, true);
	if (exchange->sink.err.code)
		return say(line, &exchange->sink.err);
	if (status == EXIT_DONE && bundle_sink_finish(&exchange->sink))
		return say(line, &exchange->sink.err);
	return status;
}

static int export_to(const struct command_line *line, const char *path, const char *key)
{
	const char *format = command_value(line, "format");
	bool tar = is_stdout(path) || ends_in(path, ".tar") || (format && strcmp(format, "docker-archive") == 0);
	_cleanup_(admin_session_close) struct admin_session session;
	struct exchange exchange = {.sink = {.path = path, .key = key}, .receipt = -1};
	uint64_t began_ms = clock_ms();
	int status = admin_session_open(&session, line);

	exchange.sink.directory = !tar || is_directory(path);
	if (status == EXIT_DONE && bundle_sink_open(&exchange.sink))
		status = say(line, &exchange.sink.err);
	if (status == EXIT_DONE)
		status = stream(&session, line, &exchange);
	if (status == EXIT_DONE)
		print_summary(&exchange.sink, line, began_ms);
	bundle_sink_dispose(&exchange.sink);
	buf_dispose(&exchange.texts);
	if (exchange.receipt >= 0)
		close(exchange.receipt);
	return status == EXIT_DONE ? command_finish_output() : status;
}

int cmd_export(const struct command_line *line)
{
	const char *path = command_value(line, "output"), *key_path = command_value(line, "sign");
	char *key = NULL;
	struct err err = {0};
	int status;

	if (!path)
		return command_usage_error(line->command->name, "say where to, with -o PATH");
	if (key_path && !(key = text_file_read(key_path, &err)))
		return say(line, &err);
	status = export_to(line, path, key);
	text_file_free(key);
	return status;
}
