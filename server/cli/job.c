/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/job.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "server/cli/event_reader.h"
#include "server/cli/progress.h"
#include "server/cli/show.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define RETURN_WAIT_MS 60000 /* a larder that is restarted is waited for so long */
#define RETURN_STEP_MS 500

/* Set by SIGINT. */
static volatile sig_atomic_t interrupted;

struct following {
	const struct admin_session *session;
	struct admin_session silent; /* a copy of it that says nothing */
	struct progress *progress;   /* NULL: nothing is shown … */
	bool json;                   /* … but each event, as JSON */
	json_t *job;                 /* as the last event said */
};

static void on_interrupt(int signal_number)
{
	(void)signal_number;
	interrupted = 1;
}

char *job_id(const json_t *object, const char *member)
{
	const json_t *id = json_object_get(object, member);

	if (json_is_integer(id))
		return mem_printf("%" JSON_INTEGER_FORMAT, json_integer_value(id));
	return mem_strdup(json_is_string(id) ? json_string_value(id) : "");
}

static bool is_over(const json_t *job)
{
	const char *state = show_text(job, "state");

	return strcmp(state, "done") == 0 || strcmp(state, "failed") == 0 || strcmp(state, "cancelled") == 0;
}

/* Keeps the document, and shows it. */
static void take_job(struct following *following, json_t *job)
{
	json_decref(following->job);
	following->job = job;
	if (following->progress)
		progress_show(following->progress, job);
	if (!following->json)
		return;
	json_dumpf(job, stdout, JSON_COMPACT | SHOW_PRECISION);
	putchar('\n');
	fflush(stdout);
}

static int on_event(void *arg, const char *data, size_t len)
{
	struct following *following = arg;
	json_t *job = json_loadb(data, len, 0, NULL);

	if (!json_is_object(job)) {
		json_decref(job);
		return 0; /* an event of another kind */
	}
	take_job(following, job);
	return is_over(job);
}

static int take_events(void *arg, const void *data, size_t len)
{
	return event_reader_take(arg, data, len);
}

/* The stream until the job is over, it is cut, or SIGINT comes. */
static void stream_events(struct following *following, const char *id)
{
	_cleanup_free_ char *target = mem_printf("/api/v1/jobs/%s/events", id);
	_cleanup_(event_reader_dispose) struct event_reader events = {.each = on_event, .arg = following};
	struct admin_request request = {
		.method = "GET", .target = target, .take = take_events, .arg = &events, .stop = &interrupted};

	/* Whatever ends it, find_again() finds out. */
	admin_session_stream(&following->silent, &request);
}

/* The job as it is, from a larder that may be on its way back. */
static int find_again(struct following *following, const char *id)
{
	_cleanup_free_ char *target = mem_printf("/api/v1/jobs/%s", id);
	uint64_t until_ms = clock_ms() + RETURN_WAIT_MS;
	json_t *job = NULL;
	int status;

	for (;;) {
		bool last = clock_ms() >= until_ms || interrupted;

		status = admin_session_ask(last ? following->session : &following->silent, "GET", target, NULL, &job);
		if (status != EXIT_NO_LARDER || last)
			break;
		usleep(RETURN_STEP_MS * 1000);
	}
	if (status == EXIT_DONE)
		take_job(following, job);
	return status;
}

static int cancel(struct following *following, const char *id)
{
	_cleanup_free_ char *target = mem_printf("/api/v1/jobs/%s", id);
	json_t *job = NULL;
	int status = admin_session_ask(following->session, "DELETE", target, NULL, &job);

	json_decref(job);
	return status;
}

/* Events tell how far it is; the job itself, asked for when they end, also what came of it. */
static int follow_to_end(struct following *following, const char *id)
{
	int status = EXIT_DONE;

	do {
		stream_events(following, id);
		if (interrupted) {
			/* Who interrupts again does not want to wait for that either. */
			interrupted = 0;
			signal(SIGINT, SIG_DFL);
			status = cancel(following, id);
		}
		if (status == EXIT_DONE)
			status = find_again(following, id);
	} while (status == EXIT_DONE && !is_over(following->job));
	return status;
}

/* An error is a text, or {"image", "message"}. */
static int say_errors(const struct admin_session *session, const json_t *job)
{
	char image[SHOW_TEXT_MAX], message[SHOW_TEXT_MAX];
	const json_t *error;
	size_t i;

	json_array_foreach(json_object_get(job, "errors"), i, error)
	{
		const char *about = show_text(error, "image");

		show_plain(json_is_string(error) ? json_string_value(error) : show_text(error, "message"), message);
		fprintf(stderr, "larder %s: %s%s%s\n", session->name, show_plain(about, image), *about ? ": " : "",
			message);
	}
	return strcmp(show_text(job, "state"), "done") == 0 && i == 0 ? EXIT_DONE : EXIT_SOME_FAILED;
}

/* EXIT_DONE when it came to its end: `*job` is what it looked like then, the caller's. */
static int follow(const struct admin_session *session, FILE *out, bool json, const char *id, json_t **job)
{
	struct following following = {.session = session, .silent = *session, .json = json};
	int status;

	following.silent.silent = true;
	following.progress = out ? progress_new(out, isatty(fileno(out))) : NULL;
	status = follow_to_end(&following, id);
	progress_free(following.progress);
	*job = following.job;
	return status;
}

int job_watch(const struct command_line *line, const struct admin_session *session, const char *id)
{
	bool json = command_has(line, "json");
	json_t *job = NULL;
	int status = follow(session, json ? NULL : stdout, json, id, &job);

	if (status == EXIT_DONE) {
		status = say_errors(session, job);
		if (!json)
			job_print_summary(job);
	}
	json_decref(job);
	return status;
}

int job_follow(const struct admin_session *session, FILE *out, const char *id, json_t **job)
{
	int status;

	signal(SIGINT, on_interrupt);
	status = follow(session, out, false, id, job);
	signal(SIGINT, SIG_DFL);
	return status;
}

int job_run(const struct command_line *line, const char *target, const json_t *request)
{
	_cleanup_(admin_session_close) struct admin_session session;
	_cleanup_free_ char *id = NULL;
	json_t *answer = NULL;
	int status = admin_session_open(&session, line);

	if (status == EXIT_DONE && session.local && command_has(line, "detach"))
		status = command_usage_error(line->command->name, "--detach needs a running larder");
	if (status == EXIT_DONE)
		status = admin_session_ask(&session, "POST", target, request, &answer);
	if (status != EXIT_DONE)
		return status;
	id = job_id(answer, "job");
	if (!command_has(line, "detach")) {
		signal(SIGINT, on_interrupt);
		status = job_watch(line, &session, id);
	} else if (command_has(line, "json")) {
		show_json(answer);
	} else {
		printf("job %s\n", id);
	}
	json_decref(answer);
	return status;
}
