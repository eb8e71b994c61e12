/* SPDX-License-Identifier: Apache-2.0 */
/* `larder export -o PATH REF…`: images as one archive or directory. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/units.h"
#include "server/bundle/file_copy.h"
#include "server/bundle/receipt.h"
#include "server/cli/admin_session.h"
#include "server/cli/bundle_local.h"
#include "server/cli/bundle_sink.h"
#include "server/cli/command.h"
#include "server/cli/job.h"
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

#define RECEIPT_BLOCK ((size_t)64 << 10)

/* Whichever name it has: /dev/stdout is another. */
static bool is_stdout(const char *path)
{
	struct stat named, here;

	if (strcmp(path, "-") == 0)
		return true;
	return file_is_stream(path) && stat(path, &named) == 0 && fstat(STDOUT_FILENO, &here) == 0 &&
	       named.st_dev == here.st_dev && named.st_ino == here.st_ino;
}

/* Where to say what there is to be said of it. */
static FILE *output(const char *path)
{
	return is_stdout(path) ? stderr : stdout;
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

/* Who names it so does not mean a directory. */
static bool is_packed(const char *path)
{
	static const char *const ends[] = {".gz", ".tgz", ".zst", ".xz", ".bz2", ".zip"};

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		if (ends_in(path, ends[i]))
			return true;
	return false;
}

static void add_parameter(struct buf *target, const char *name, const char *value)
{
	_cleanup_free_ char *escaped = url_escape(value);

	buf_printf(target, "&%s=%s", name, escaped);
}

static void make_target(const struct command_line *line, const char *job, struct buf *target)
{
	size_t count;
	_cleanup_free_ const char **platforms = command_values(line, "platform", &count);

	buf_printf(target, "/api/v1/export?held_only=%d", command_has(line, "held-only"));
	if (job)
		add_parameter(target, "job", job);
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

static void print_summary(const struct bundle_sink *sink, const struct command_line *line, const json_t *job,
			  uint64_t began_ms)
{
	size_t len;
	const char *self = bundle_head_self(&sink->head, &len);
	json_t *document = json_loadb(self, len, 0, NULL);
	const json_t *blobs = json_object_get(document, "blobs"), *left_out = json_object_get(document, "leftOut");
	size_t images = json_array_size(json_object_get(document, "images"));
	uint64_t fetched = show_number(json_object_get(job, "bytes"), "fetched"),
		 errors = show_number(job, "error_count");
	uint64_t bytes = sum(blobs), held = bytes > fetched ? bytes - fetched : 0;
	double seconds = (double)(clock_ms() - began_ms) / 1000;
	FILE *out = output(sink->path);
	char a[UNITS_TEXT_MAX], b[UNITS_TEXT_MAX], c[UNITS_TEXT_MAX], d[UNITS_TEXT_MAX];

	if (command_has(line, "json"))
		fprintf(out,
			"{\"images\":%zu,\"blobs\":%zu,\"bytes\":%" PRIu64 ",\"fetched\":%" PRIu64 ",\"held\":%" PRIu64
			",\"left_out\":{\"blobs\":%zu,\"bytes\":%" PRIu64 "},\"written\":%" PRIu64
			",\"signed\":%s,\"seconds\":%.3f,\"errors\":%" PRIu64 "}\n",
			images, json_array_size(blobs), bytes, fetched, held, json_array_size(left_out), sum(left_out),
			sink->bytes, sink->key ? "true" : "false", seconds, errors);
	else
		fprintf(out,
			"exported %zu images: %zu blobs, %s; %s fetched, %s already held; left out %zu, %s; %.1f s, "
			"%" PRIu64 " errors\n",
			images, json_array_size(blobs), units_format_size(bytes, a), units_format_size(fetched, b),
			units_format_size(held, c), json_array_size(left_out), units_format_size(sum(left_out), d),
			seconds, errors);
	json_decref(document);
}

/* Export. */

static int say(const struct command_line *line, const struct err *err)
{
	fprintf(stderr, "larder %s: %s\n", line->command->name, err->text);
	return EXIT_SOME_FAILED;
}

/* What comes from a pipe is kept, as it may be sent twice: the descriptor, or -1. */
static int keep(int pipe)
{
	_cleanup_free_ char *block = mem_alloc(RECEIPT_BLOCK);
	int fd = open(P_tmpdir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	ssize_t got = fd < 0 ? -1 : 0;

	while (fd >= 0 && (got = admin_give_from_fd(&pipe, block, RECEIPT_BLOCK)) > 0)
		if (admin_take_to_fd(&fd, block, (size_t)got))
			break;
	if (fd < 0 || got == 0)
		return fd;
	close(fd);
	return -1;
}

static int open_receipt(const char *path)
{
	_cleanup_close_ int fd =
		strcmp(path, "-") == 0 ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0) : open(path, O_RDONLY | O_CLOEXEC);
	struct stat found;

	if (fd < 0 || fstat(fd, &found) < 0)
		return -1;
	return S_ISREG(found.st_mode) ? take_fd(fd) : keep(fd);
}

/* The receipt of the far side, when there is one: looked at before anything is fetched for it. */
static int take_receipt(const struct command_line *line, int *fd)
{
	const char *path = command_value(line, "have");
	struct receipt *receipt = NULL;
	struct err err = {0};

	if (!path)
		return EXIT_DONE;
	*fd = open_receipt(path);
	if (*fd < 0)
		err_set_errno(&err, ERR_IO, errno, "cannot open the receipt %s", path);
	else if (receipt_open(*fd, &receipt, &err) == 0)
		receipt_free(receipt);
	return err.code ? say(line, &err) : EXIT_DONE;
}

static int attach_receipt(const struct command_line *line, struct admin_request *request, int fd)
{
	struct stat found;
	struct err err;

	if (fd < 0)
		return EXIT_DONE;
	if (lseek(fd, 0, SEEK_SET) < 0 || fstat(fd, &found) < 0) {
		err_set_errno(&err, ERR_IO, errno, "cannot read the receipt");
		return say(line, &err);
	}
	request->method = "POST";
	request->content_type = "application/octet-stream";
	request->give_length = found.st_size;
	return EXIT_DONE;
}

/* A request's `arg` is one for both directions: the receipt goes out before the bundle comes. */
struct exchange {
	struct bundle_sink sink;
	char *job;        /* that fetches what is not held; NULL: there is none */
	struct buf texts; /* of a bundle whose blobs are taken out of the store */
	int receipt;
};

static ssize_t give_receipt(void *arg, void *data, size_t max)
{
	struct exchange *exchange = arg;
	ssize_t got = admin_give_from_fd(&exchange->receipt, data, max);

	if (got < 0)
		err_set_errno(&exchange->sink.err, ERR_IO, errno, "cannot read the receipt");
	return got;
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

	make_target(line, exchange->job, &target);
	buf_append_text(&target, blobs ? "" : "&blobs=0");
	request.target = target.data;
	status = attach_receipt(line, &request, exchange->receipt);
	if (exchange->receipt >= 0)
		request.give = give_receipt;
	return status == EXIT_DONE ? admin_session_stream(session, &request) : status;
}

/*
 * Where this process can read the store itself, only the texts are asked for, and the blobs are copied from file to
 * file. *done tells whether that was possible.
 */
static int copy_from_store(const struct admin_session *session, const struct command_line *line,
			   struct exchange *exchange, const char *store, bool *done)
{
	int status;

	*done = false;
	if (strncmp(session->url, "unix:", 5) != 0 || !bundle_local_readable(store))
		return EXIT_DONE;
	status = ask(session, line, exchange, false);
	if (status != EXIT_DONE)
		return status;
	*done = bundle_local_copy(&exchange->sink, store, &exchange->texts);
	return EXIT_DONE;
}

static int stream(const struct admin_session *session, const struct command_line *line, struct exchange *exchange,
		  const char *store)
{
	bool done;
	int status = copy_from_store(session, line, exchange, store, &done);

	if (status == EXIT_DONE && !done)
		status = ask(session, line, exchange, true);
	meter_free(exchange->sink.meter);
	exchange->sink.meter = NULL;
	if (exchange->sink.err.code)
		return say(line, &exchange->sink.err);
	if (status == EXIT_DONE && bundle_sink_finish(&exchange->sink))
		return say(line, &exchange->sink.err);
	return status;
}

/* Fetching. */

static json_t *texts_of(const char *const *texts, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, json_string(texts[i]));
	return list;
}

/*
 * What is not held is fetched by a job like any prefetch, which is followed to its end. What could not be fetched is
 * the export's to judge, as all of it may be held; so it is when no job can be started.
 */
static int fetch(const struct admin_session *session, const struct command_line *line, struct exchange *exchange,
		 json_t **job)
{
	struct admin_session silent = *session;
	size_t count;
	_cleanup_free_ const char **platforms = command_values(line, "platform", &count);
	json_t *answer = NULL,
	       *request = json_pack("{s:o, s:o, s:b, s:b}", "images",
				    texts_of((const char *const *)line->arguments, (size_t)line->argument_count),
				    "platforms", texts_of(platforms, count), "referrers",
				    !command_has(line, "no-referrers"), "platform_referrers",
				    !command_has(line, "no-referrers"));
	int status = EXIT_DONE;

	silent.silent = true;
	if (admin_session_ask(&silent, "POST", "/api/v1/prefetch", request, &answer) == EXIT_DONE) {
		exchange->job = job_id(answer, "job");
		status = job_follow(session, command_has(line, "json") ? NULL : output(exchange->sink.path),
				    exchange->job, job);
	}
	if (status == EXIT_DONE && strcmp(show_text(*job, "state"), "cancelled") == 0) {
		fprintf(stderr, "larder export: cancelled\n");
		status = EXIT_SOME_FAILED;
	}
	json_decref(request);
	json_decref(answer);
	return status;
}

/* All of it was held, but may be older than what the registry has. */
static void warn(const json_t *job)
{
	char image[SHOW_TEXT_MAX], message[SHOW_TEXT_MAX];
	const json_t *error;
	size_t i;

	json_array_foreach(json_object_get(job, "errors"), i, error)
		fprintf(stderr, "larder export: %s: %s; it is exported as it is held\n",
			show_plain(show_text(error, "image"), image), show_plain(show_text(error, "message"), message));
}

/* Export. */

/* `about` is the larder's status. */
static int export_with(const struct admin_session *session, const struct command_line *line, const json_t *about,
		       struct exchange *exchange)
{
	const char *store = show_text(json_object_get(about, "store"), "path");
	bool fetches = !command_has(line, "held-only") && !show_is(about, "offline");
	uint64_t began_ms = clock_ms();
	json_t *job = NULL;
	int status = bundle_sink_open(&exchange->sink) ? say(line, &exchange->sink.err) : EXIT_DONE;

	if (status == EXIT_DONE && fetches)
		status = fetch(session, line, exchange, &job);
	if (!command_has(line, "json"))
		exchange->sink.meter = meter_new(output(exchange->sink.path), 0);
	if (status == EXIT_DONE)
		status = stream(session, line, exchange, store);
	if (status == EXIT_DONE) {
		warn(job);
		print_summary(&exchange->sink, line, job, began_ms);
	}
	json_decref(job);
	return status;
}

static int export_to(const struct command_line *line, const char *path, const char *key)
{
	const char *format = command_value(line, "format");
	bool tar = is_stdout(path) || file_is_stream(path) || ends_in(path, ".tar") ||
		   (format && strcmp(format, "docker-archive") == 0);
	_cleanup_(admin_session_close) struct admin_session session = {0};
	struct exchange exchange = {.sink = {.path = path, .key = key, .fd = -1}, .receipt = -1};
	json_t *about = NULL;
	int status = take_receipt(line, &exchange.receipt);

	exchange.sink.directory = !tar || is_directory(path);
	if (status == EXIT_DONE)
		status = admin_session_open(&session, line);
	if (status == EXIT_DONE)
		status = admin_session_ask(&session, "GET", "/api/v1/status", NULL, &about);
	if (status == EXIT_DONE)
		status = export_with(&session, line, about, &exchange);
	json_decref(about);
	meter_free(exchange.sink.meter);
	bundle_sink_dispose(&exchange.sink);
	buf_dispose(&exchange.texts);
	free(exchange.job);
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
	if (is_stdout(path) && isatty(STDOUT_FILENO))
		return command_usage_error(line->command->name, "an archive is nothing for a terminal");
	if (is_packed(path) && !is_directory(path) && !file_is_stream(path))
		return command_usage_error(line->command->name,
					   "an archive is not packed: name it .tar, or write to - and pack that");
	if (key_path && !(key = text_file_read(key_path, &err)))
		return say(line, &err);
	status = export_to(line, path, key);
	text_file_free(key);
	return status;
}
