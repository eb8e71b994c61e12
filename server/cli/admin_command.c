/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/admin_command.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "server/cli/admin_client.h"
#include "server/cli/command.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define TOKEN_MAX 4096

void admin_command_init(struct admin_command *command, const char *name)
{
	const char *url = getenv("LARDER_ADMIN");

	*command = (struct admin_command){.name = name, .url = url && *url ? url : ADMIN_CLIENT_DEFAULT};
}

bool admin_command_take(struct admin_command *command, int option, const char *value)
{
	switch (option) {
	case ADMIN_OPTION_ADMIN:
		command->url = value;
		return true;
	case ADMIN_OPTION_TOKEN_FILE:
		command->token_file = value;
		return true;
	case ADMIN_OPTION_JSON:
		command->json = true;
		return true;
	default:
		return false;
	}
}

int admin_command_parse(struct admin_command *command, int argc, char **argv)
{
	static const struct option longs[] = {ADMIN_LONG_OPTIONS, {NULL, 0, NULL, 0}};
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, ":", longs, NULL)) != -1)
		if (!admin_command_take(command, option, optarg))
			return command_option_error(argv, option);
	return EXIT_DONE;
}

/* Asking. */

/* The first line. The caller wipes it. */
static int read_token(const char *path, char token[TOKEN_MAX])
{
	FILE *file = fopen(path, "re");
	bool got = file && fgets(token, TOKEN_MAX, file);

	if (!file)
		fprintf(stderr, "larder: cannot read %s: %s\n", path, strerror(errno));
	else
		fclose(file);
	if (!got)
		return EXIT_SOME_FAILED;
	token[strcspn(token, "\r\n")] = '\0';
	return EXIT_DONE;
}

/* What an error says in {"error": {"message"}}, or its status alone. */
static int say_error(const struct admin_command *command, const struct admin_answer *answer)
{
	json_t *document = json_loadb(answer->body.data ? answer->body.data : "", answer->body.len, 0, NULL);
	const char *message = admin_text(json_object_get(document, "error"), "message");
	char plain[ADMIN_TEXT_MAX];

	if (*message)
		fprintf(stderr, "larder %s: %s\n", command->name, admin_plain(message, plain));
	else
		fprintf(stderr, "larder %s: %s answered HTTP %d\n", command->name, command->url, answer->status);
	if (answer->status == 401)
		fprintf(stderr, "see --token-file\n");
	json_decref(document);
	return answer->status == 400 ? EXIT_USAGE : EXIT_SOME_FAILED;
}

static int exchange(const struct admin_command *command, const struct admin_request *request,
		    struct admin_answer *answer)
{
	struct err err = {0};
	int code = admin_client_ask(request, answer, &err);

	if (code == 0)
		return EXIT_DONE;
	if (code == ERR_INVALID)
		return command_usage_error(command->name, "--admin: %s", err.text);
	fprintf(stderr, "larder %s: %s\n", command->name, err.text);
	return code == ERR_UPSTREAM ? EXIT_NO_LARDER : EXIT_SOME_FAILED;
}

int admin_command_ask(const struct admin_command *command, const char *method, const char *target, json_t **document)
{
	char token[TOKEN_MAX] = "";
	struct admin_answer answer = {0};
	struct admin_request request = {.url = command->url, .method = method, .target = target};
	int status = command->token_file ? read_token(command->token_file, token) : EXIT_DONE;

	*document = NULL;
	if (status != EXIT_DONE)
		return status;
	request.token = command->token_file ? token : NULL;
	status = exchange(command, &request, &answer);
	explicit_bzero(token, sizeof(token));
	if (status == EXIT_DONE && (answer.status < 200 || answer.status > 299)) {
		status = say_error(command, &answer);
	} else if (status == EXIT_DONE) {
		*document = json_loadb(answer.body.data ? answer.body.data : "", answer.body.len, 0, NULL);
		if (!json_is_object(*document)) {
			fprintf(stderr, "larder %s: what answers at %s is no larder's admin API\n", command->name,
				command->url);
			json_decref(*document);
			*document = NULL;
			status = EXIT_NO_LARDER;
		}
	}
	buf_dispose(&answer.body);
	return status;
}

void admin_command_print_json(const json_t *document)
{
	json_dumpf(document, stdout, JSON_INDENT(2));
	putchar('\n');
}

/* Reading and showing. */

uint64_t admin_number(const json_t *object, const char *name)
{
	json_int_t value = json_integer_value(json_object_get(object, name));

	return value > 0 ? (uint64_t)value : 0;
}

const char *admin_text(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

bool admin_is(const json_t *object, const char *name)
{
	return json_is_true(json_object_get(object, name));
}

const char *admin_plain(const char *text, char plain[ADMIN_TEXT_MAX])
{
	size_t len = 0;

	for (; *text && len < ADMIN_TEXT_MAX - 1; text++)
		plain[len++] = (unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text;
	plain[len] = '\0';
	return plain;
}

const char *admin_format_age(uint64_t seconds, char text[32])
{
	static const struct {
		uint64_t seconds;
		char unit;
	} units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
	size_t i = 0;

	/* Two of the next smaller unit say more than one of the larger. */
	while (i < 3 && seconds < 2 * units[i].seconds)
		i++;
	snprintf(text, 32, "%" PRIu64 "%c", seconds / units[i].seconds, units[i].unit);
	return text;
}
