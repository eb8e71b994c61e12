/* SPDX-License-Identifier: Apache-2.0 */
/* `larder jobs`: the long work of a larder, what it is at and how it ended. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/units.h"
#include "server/cli/command.h"
#include "server/cli/job.h"
#include "server/cli/show.h"
#include "server/cli/table.h"
#include "upstream/url.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct table_column columns[] = {
	{"JOB", .right = true},
	{"KIND"},
	{"STATE"},
	{"IMAGES", .right = true},
	{"FETCHED", .right = true},
	{"HELD", .right = true, .rank = 1},
	{"ERRORS", .right = true},
	{"STARTED", .right = true},
	{"TOOK", .right = true, .rank = 2},
};
#define COLUMN_COUNT (sizeof(columns) / sizeof(columns[0]))

static void add_job(struct table *table, const json_t *job)
{
	const json_t *images = json_object_get(job, "images"), *bytes = json_object_get(job, "bytes");
	_cleanup_free_ char *id = job_id(job, "id");
	double started = json_number_value(json_object_get(job, "started"));
	int64_t ago_s = clock_wall_s() - (int64_t)started;
	char text[64];

	table_add(table, id);
	table_add(table, show_text(job, "kind"));
	table_add(table, show_text(job, "state"));
	snprintf(text, sizeof(text), "%" PRIu64 "/%" PRIu64, show_number(images, "done"), show_number(images, "total"));
	table_add(table, text);
	table_add(table, units_format_size(show_number(bytes, "fetched"), text));
	table_add(table, units_format_size(show_number(bytes, "held"), text));
	snprintf(text, sizeof(text), "%" PRIu64, show_number(job, "error_count"));
	table_add(table, text);
	table_add(table, started > 0 ? show_age(ago_s > 0 ? (uint64_t)ago_s : 0, text) : "-");
	snprintf(text, sizeof(text), "%.1f s", json_number_value(json_object_get(job, "seconds")));
	table_add(table, text);
}

static int list(const struct command_line *line, const struct admin_session *session)
{
	struct table *table;
	json_t *answer = NULL;
	const json_t *job;
	size_t i;
	int status = admin_session_ask(session, "GET", "/api/v1/jobs", NULL, &answer);

	if (status != EXIT_DONE)
		return status;
	if (command_has(line, "json")) {
		show_json(answer);
	} else {
		table = table_new(columns, COLUMN_COUNT);
		json_array_foreach(json_object_get(answer, "jobs"), i, job) add_job(table, job);
		table_print(table, stdout, columns_there_are());
		table_free(table);
	}
	json_decref(answer);
	return EXIT_DONE;
}

static int cancel(const struct command_line *line, const struct admin_session *session)
{
	_cleanup_free_ char *escaped = url_escape(line->arguments[1]);
	_cleanup_free_ char *target = mem_printf("/api/v1/jobs/%s", escaped);
	json_t *answer = NULL;
	int status = admin_session_ask(session, "DELETE", target, NULL, &answer);

	if (status == EXIT_DONE && command_has(line, "json"))
		show_json(answer);
	else if (status == EXIT_DONE)
		printf("job %s: cancelled\n", line->arguments[1]);
	json_decref(answer);
	return status;
}

int cmd_jobs(const struct command_line *line)
{
	_cleanup_(admin_session_close) struct admin_session session = {0};
	const char *action = line->argument_count ? line->arguments[0] : "list";
	bool lists = strcmp(action, "list") == 0;
	int status;

	if (line->argument_count != (lists ? line->argument_count > 0 : 2))
		return command_usage_error("jobs",
					   lists ? "list takes no job" : "name a job, as larder jobs lists them");
	status = admin_session_open(&session, line);
	if (status != EXIT_DONE)
		return status;
	if (lists)
		return list(line, &session);
	return strcmp(action, "cancel") == 0 ? cancel(line, &session) : job_watch(line, &session, line->arguments[1]);
}
