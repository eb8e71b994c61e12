/* SPDX-License-Identifier: Apache-2.0 */
/* `larder rm REF|REPO|DIGEST…`: forgets, so that the next pull fetches anew. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/units.h"
#include "server/cli/admin_session.h"
#include "server/cli/command.h"
#include "server/cli/show.h"
#include "upstream/url.h"

#include <inttypes.h>
#include <stdio.h>

static char *make_target(const char *what, bool force)
{
	_cleanup_free_ char *escaped = url_escape(what);
	struct digest digest;

	if (digest_parse(what, &digest) == 0)
		return mem_printf("/api/v1/blobs/%s%s", what, force ? "?force=true" : "");
	return mem_printf("/api/v1/images?ref=%s%s", escaped, force ? "&force=true" : "");
}

static void print_forgotten(const char *what, const json_t *answer)
{
	const json_t *forgotten = json_object_get(answer, "forgotten");
	char plain[SHOW_TEXT_MAX], size[UNITS_TEXT_MAX];

	printf("%s: forgotten, %" PRIu64 " blobs, %s freed\n", show_plain(what, plain), show_number(forgotten, "blobs"),
	       units_format_size(show_number(forgotten, "bytes"), size));
}

int cmd_rm(const struct command_line *line)
{
	_cleanup_(admin_session_close) struct admin_session session = {0};
	json_t *answers;
	int result = admin_session_open(&session, line);

	if (result != EXIT_DONE)
		return result;
	answers = json_array();
	for (int i = 0; i < line->argument_count && (result == EXIT_DONE || result == EXIT_SOME_FAILED); i++) {
		_cleanup_free_ char *target = make_target(line->arguments[i], command_has(line, "force"));
		json_t *answer = NULL;
		int status = admin_session_ask(&session, "DELETE", target, NULL, &answer);

		if (status != EXIT_DONE)
			result = status;
		else if (!command_has(line, "json"))
			print_forgotten(line->arguments[i], answer);
		if (answer)
			json_object_set_new(answer, "ref", json_string(line->arguments[i]));
		if (answer)
			json_array_append_new(answers, answer);
	}
	if (command_has(line, "json") && json_array_size(answers))
		show_json(answers);
	json_decref(answers);
	return result;
}
