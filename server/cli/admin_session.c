/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/admin_session.h"

#include "base/cleanup.h"
#include "server/cli/local.h"
#include "server/cli/show.h"
#include "server/cli/text_file.h"

#include <stdio.h>
#include <string.h>

static int read_token(struct admin_session *session, const char *path)
{
	struct err err = {0};

	session->token = text_file_read_line(path, &err);
	if (session->token)
		return EXIT_DONE;
	fprintf(stderr, "larder %s: --token-file: %s\n", session->name, err.text);
	return EXIT_SOME_FAILED;
}

int admin_session_open(struct admin_session *session, const struct command_line *line)
{
	const char *url = command_value(line, "admin"), *token_file = command_value(line, "token-file");
	const char *store = command_takes(line, "store") ? command_value(line, "store") : NULL;
	const char *habit = getenv("LARDER_ADMIN");
	int status;

	*session = (struct admin_session){.name = line->command->name};
	if (store && (url || token_file))
		return command_usage_error(session->name, "--store goes without --admin and --token-file");
	if (store) {
		status = local_start(store, line->command, &session->local);
		session->url = status == EXIT_DONE ? local_url(session->local) : NULL;
		return status;
	}
	session->url = url ? url : habit && *habit ? habit : ADMIN_CLIENT_DEFAULT;
	return token_file ? read_token(session, token_file) : EXIT_DONE;
}

void admin_session_close(struct admin_session *session)
{
	local_stop(session->local);
	text_file_free(session->token);
	*session = (struct admin_session){.name = session->name};
}

static int say_no_larder(const struct admin_session *session)
{
	if (!session->silent)
		fprintf(stderr, "larder %s: what answers at %s is no larder's admin API\n", session->name,
			session->url);
	return EXIT_NO_LARDER;
}

/* What an error says in {"error": {"message"}}; whatever has none is no larder's. */
static int say_error(const struct admin_session *session, const struct admin_answer *answer)
{
	json_t *document = json_loadb(answer->body.data ? answer->body.data : "", answer->body.len, 0, NULL);
	const char *message = show_text(json_object_get(document, "error"), "message");
	int status = answer->status == 400 ? EXIT_USAGE : EXIT_SOME_FAILED;
	char plain[SHOW_TEXT_MAX];

	if (!*message)
		status = say_no_larder(session);
	else if (!session->silent)
		fprintf(stderr, "larder %s: %s\n%s", session->name, show_plain(message, plain),
			answer->status == 401 ? "see --token-file\n" : "");
	json_decref(document);
	return status;
}

/* A good answer, or what was wrong is said. */
static int exchange(const struct admin_session *session, struct admin_request *request, struct admin_answer *answer)
{
	struct err err = {0};
	int code;

	request->url = session->url;
	request->token = session->token;
	code = admin_client_ask(request, answer, &err);
	if (code == 0)
		return answer->status >= 200 && answer->status <= 299 ? EXIT_DONE : say_error(session, answer);
	if (code == ERR_INVALID)
		return command_usage_error(session->name, "--admin: %s", err.text);
	if (code != ERR_CANCELLED && !session->silent)
		fprintf(stderr, "larder %s: %s\n", session->name, err.text);
	return code == ERR_UPSTREAM ? EXIT_NO_LARDER : EXIT_SOME_FAILED;
}

int admin_session_ask(const struct admin_session *session, const char *method, const char *target, const json_t *body,
		      json_t **document)
{
	_cleanup_free_ char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	struct admin_request request = {
		.method = method, .target = target, .text = text, .content_type = text ? "application/json" : NULL};
	struct admin_answer answer = {0};
	int status = exchange(session, &request, &answer);

	*document = NULL;
	if (status == EXIT_DONE) {
		*document = json_loadb(answer.body.data ? answer.body.data : "", answer.body.len, 0, NULL);
		if (!*document)
			status = say_no_larder(session);
	}
	buf_dispose(&answer.body);
	return status;
}

int admin_session_stream(const struct admin_session *session, struct admin_request *request)
{
	struct admin_answer answer = {0};
	int status = exchange(session, request, &answer);

	buf_dispose(&answer.body);
	return status;
}
