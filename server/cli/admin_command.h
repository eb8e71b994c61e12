/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands that ask a running larder have in common: their options, the question, and how failures are said.
 */
#pragma once

#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct admin_command {
	const char *name;       /* the command's */
	const char *url;        /* --admin, else $LARDER_ADMIN, else the default */
	const char *token_file; /* NULL: no token */
	bool json;              /* print the document as it came */
};

enum { ADMIN_OPTION_ADMIN = 512, ADMIN_OPTION_TOKEN_FILE, ADMIN_OPTION_JSON };

/* For a command's table of long options, and for its help. */
#define ADMIN_LONG_OPTIONS                                                                                             \
	{"admin", required_argument, NULL, ADMIN_OPTION_ADMIN},                                                        \
		{"token-file", required_argument, NULL, ADMIN_OPTION_TOKEN_FILE},                                      \
	{                                                                                                              \
		"json", no_argument, NULL, ADMIN_OPTION_JSON                                                           \
	}
#define ADMIN_HELP                                                                                                     \
	"      --admin URL           ask this larder: http://HOST:PORT or unix:/PATH;\n"                               \
	"                            else $LARDER_ADMIN, else http://127.0.0.1:5001\n"                                 \
	"      --token-file FILE     the admin API's token is in this file's first line\n"                             \
	"      --json                print one JSON document\n"

void admin_command_init(struct admin_command *command, const char *name);
/* Takes one option that getopt_long() returned. False when it is none of these. */
bool admin_command_take(struct admin_command *command, int option, const char *value);
/* Takes all options, for commands that have no others; the arguments follow optind. An exit status. */
int admin_command_parse(struct admin_command *command, int argc, char **argv);

/*
 * Asks, and hands over the document of a good answer, which is an object. Else says what is wrong and returns the exit
 * status: EXIT_NO_LARDER, EXIT_USAGE (a malformed argument), EXIT_SOME_FAILED.
 */
int admin_command_ask(const struct admin_command *command, const char *method, const char *target, json_t **document);

/* Prints a document as it came, for --json. */
void admin_command_print_json(const json_t *document);

/* Members, also when they are absent: 0 and "". */
uint64_t admin_number(const json_t *object, const char *name);
const char *admin_text(const json_t *object, const char *name);
bool admin_is(const json_t *object, const char *name);

#define ADMIN_TEXT_MAX 512
/* A text of strangers', safe for a terminal: control characters are shown as '?'. */
const char *admin_plain(const char *text, char plain[ADMIN_TEXT_MAX]);
/* "35s", "12m", "3h", "2d": one unit, for people. */
const char *admin_format_age(uint64_t seconds, char text[32]);
