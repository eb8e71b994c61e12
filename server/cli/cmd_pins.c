/* SPDX-License-Identifier: Apache-2.0 */
/* `larder pin`, `unpin` and `pins`: named sets of references that eviction leaves alone. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "server/cli/admin_session.h"
#include "server/cli/command.h"
#include "server/cli/show.h"

#include <stdio.h>

/* The references behind the name. */
static json_t *make_body(const struct command_line *line)
{
	json_t *references = json_array();

	for (int i = 1; i < line->argument_count; i++)
		json_array_append_new(references, json_string(line->arguments[i]));
	return json_pack("{s:o, s:b}", "references", references, "add", true);
}

/* Asks, and says in one line how the pin is now. */
static int change(const struct command_line *line, const char *method, const json_t *body)
{
	_cleanup_(admin_session_close) struct admin_session session = {0};
	_cleanup_free_ char *target = mem_printf("/api/v1/pins/%s", line->arguments[0]);
	json_t *answer = NULL;
	char plain[SHOW_TEXT_MAX];
	int status = admin_session_open(&session, line);

	if (status == EXIT_DONE)
		status = admin_session_ask(&session, method, target, body, &answer);
	if (status == EXIT_DONE && command_has(line, "json"))
		show_json(answer);
	else if (status == EXIT_DONE)
		printf("pin %s: %zu references\n", show_plain(line->arguments[0], plain),
		       json_array_size(json_object_get(answer, "references")));
	json_decref(answer);
	return status;
}

int cmd_pin(const struct command_line *line)
{
	json_t *body = make_body(line);
	int status = change(line, "PUT", body);

	json_decref(body);
	return status;
}

int cmd_unpin(const struct command_line *line)
{
	json_t *body = make_body(line);
	int status = change(line, "DELETE", line->argument_count > 1 ? body : NULL);

	json_decref(body);
	return status;
}

static void print_pin(const json_t *pin)
{
	const json_t *reference;
	char plain[SHOW_TEXT_MAX];
	size_t i;

	printf("%s\n", show_plain(show_text(pin, "name"), plain));
	json_array_foreach(json_object_get(pin, "references"), i, reference)
	{
		printf("  %s", show_plain(show_text(reference, "ref"), plain));
		if (*show_text(reference, "platforms"))
			printf("  %s", show_plain(show_text(reference, "platforms"), plain));
		printf("\n");
	}
}

int cmd_pins(const struct command_line *line)
{
	_cleanup_(admin_session_close) struct admin_session session = {0};
	json_t *answer = NULL;
	const json_t *pin;
	size_t i;
	int status = admin_session_open(&session, line);

	if (status == EXIT_DONE)
		status = admin_session_ask(&session, "GET", "/api/v1/pins", NULL, &answer);
	if (status == EXIT_DONE && command_has(line, "json"))
		show_json(answer);
	else if (status == EXIT_DONE)
		json_array_foreach(json_object_get(answer, "pins"), i, pin) print_pin(pin);
	json_decref(answer);
	return status;
}
