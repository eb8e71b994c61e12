/* SPDX-License-Identifier: Apache-2.0 */
/* `larder check REF…`: whether images are wholly servable offline, and what is missing. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/units.h"
#include "server/cli/admin_session.h"
#include "server/cli/command.h"
#include "server/cli/list_file.h"
#include "server/cli/show.h"
#include "upstream/url.h"

#include <stdio.h>
#include <string.h>

static int take_references(const struct command_line *line, json_t *references)
{
	const char *lockfile = command_value(line, "lockfile");
	struct err err;

	for (int i = 0; i < line->argument_count; i++)
		json_array_append_new(references, json_string(line->arguments[i]));
	if (lockfile && list_file_read(lockfile, references, &err)) {
		fprintf(stderr, "larder check: %s\n", err.text);
		return EXIT_SOME_FAILED;
	}
	if (json_array_size(references) == 0)
		return command_usage_error("check", "%s",
					   lockfile ? "the lockfile names nothing" : line->command->wants);
	return EXIT_DONE;
}

/* One question for all of its platforms. The answer is the caller's. */
static int ask(const struct admin_session *session, const char *reference, const char *const *platforms, size_t count,
	       json_t **answer)
{
	_cleanup_(buf_dispose) struct buf target = {0};
	_cleanup_free_ char *escaped = url_escape(reference);

	buf_printf(&target, "/api/v1/check?ref=%s", escaped);
	for (size_t i = 0; i < count; i++) {
		_cleanup_free_ char *platform = url_escape(platforms[i]);

		buf_printf(&target, "%s%s", i == 0 ? "&platform=" : ",", platform);
	}
	return admin_session_ask(session, "GET", target.data, NULL, answer);
}

static void print_missing(const json_t *part)
{
	char plain[SHOW_TEXT_MAX], platform[SHOW_TEXT_MAX], size[UNITS_TEXT_MAX];

	if (json_is_string(part)) {
		printf("  missing %s\n", show_plain(json_string_value(part), plain));
		return;
	}
	printf("  missing");
	if (*show_text(part, "digest"))
		printf(" %s ", show_plain(show_text(part, "digest"), plain));
	if (*show_text(part, "kind"))
		printf(" %s", show_plain(show_text(part, "kind"), plain));
	if (show_number(part, "size"))
		printf(" %s", units_format_size(show_number(part, "size"), size));
	if (*show_text(part, "platform"))
		printf(" %s", show_plain(show_text(part, "platform"), platform));
	printf("\n");
}

static void print_answer(const char *reference, const json_t *answer)
{
	char plain[SHOW_TEXT_MAX];
	const json_t *part;
	size_t i;

	printf("%s: %s\n", show_plain(reference, plain), show_is(answer, "complete") ? "complete" : "incomplete");
	json_array_foreach(json_object_get(answer, "missing"), i, part) print_missing(part);
}

/* Asks about all, and gathers or prints the answers. */
static int check_all(const struct command_line *line, const struct admin_session *session, const json_t *references,
		     json_t *answers)
{
	size_t count, i;
	_cleanup_free_ const char **platforms = command_values(line, "platform", &count);
	const json_t *reference;
	int result = EXIT_DONE;

	json_array_foreach(references, i, reference)
	{
		json_t *answer = NULL;
		int status = ask(session, json_string_value(reference), platforms, count, &answer);

		if (status == EXIT_NO_LARDER)
			return status;
		/* A line that is no reference does not keep the others from being checked. */
		if (status == EXIT_USAGE)
			result = EXIT_USAGE;
		else if ((status != EXIT_DONE || !show_is(answer, "complete")) && result == EXIT_DONE)
			result = EXIT_SOME_FAILED;
		if (status != EXIT_DONE)
			continue;
		json_object_set(answer, "ref", (json_t *)reference);
		if (!command_has(line, "json"))
			print_answer(json_string_value(reference), answer);
		json_array_append_new(answers, answer);
	}
	return result;
}

static void print_json(json_t *answers, bool complete)
{
	json_t *document, *missing = json_array();
	const json_t *answer;
	size_t i;

	json_array_foreach(answers, i, answer) json_array_extend(missing, json_object_get(answer, "missing"));
	document = json_pack("{s:b, s:o, s:O}", "complete", complete, "missing", missing, "images", answers);
	show_json(document);
	json_decref(document);
}

int cmd_check(const struct command_line *line)
{
	_cleanup_(admin_session_close) struct admin_session session = {0};
	json_t *references = json_array(), *answers = json_array();
	int status = take_references(line, references);

	if (status == EXIT_DONE)
		status = admin_session_open(&session, line);
	if (status == EXIT_DONE) {
		status = check_all(line, &session, references, answers);
		if (command_has(line, "json") && status != EXIT_NO_LARDER)
			print_json(answers, status == EXIT_DONE);
	}
	json_decref(references);
	json_decref(answers);
	return status;
}
