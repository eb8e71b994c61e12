/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of commands, `larder COMMAND [options]`. Parsing, --help, docs/cli.md, completion and the manual pages are
 * all made from it, and only what works is in it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Exit statuses (docs/cli.md): the whole program's, in one place. */
enum exit_status {
	EXIT_DONE = 0,
	EXIT_SOME_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_CONFIG = 3,
	EXIT_NO_LARDER = 4,
	EXIT_STORE_HELD = 5,
};

struct exit_meaning {
	enum exit_status status;
	const char *meaning;
};
extern const struct exit_meaning exit_meanings[]; /* ended by one without meaning */

struct command_option {
	const char *name;     /* behind "--"; NULL ends a table */
	char letter;          /* behind "-"; 0: none */
	const char *argument; /* NULL: it takes none. FILE and DIR are completed as such, "a|b" are the choices; what
			       * others say is in command_values.c */
	const char *help;
};

/* Options that belong together. */
struct command_section {
	const char *title;
	const struct command_option *options;
};

/* What the first argument of some commands may be. */
struct command_action {
	const char *name; /* NULL ends a table */
	const char *help;
};

#define COMMAND_SECTIONS_MAX 3
#define COMMAND_ANY_NUMBER   (-1)

struct command_line;

struct command {
	const char *name;
	const char *arguments;                /* "REF…", as in the usage line */
	int arguments_min, arguments_max;     /* COMMAND_ANY_NUMBER */
	const char *wants;                    /* said when there are fewer arguments */
	const char *summary;                  /* one line */
	const char *description;              /* paragraphs, divided by empty lines */
	const struct command_action *actions; /* NULL: the arguments are free */
	struct command_section sections[COMMAND_SECTIONS_MAX + 1];
	int (*run)(const struct command_line *line); /* returns an exit status */
	bool patterns;                               /* its REF may mean several images (server/prefetch/spec.h) */
	bool hidden;                                 /* from help and completion */
	bool bounded;                                /* with --store, the configured limits of the store hold */
	bool makes_store;                            /* with --store, where there is none */
};

extern const struct command command_table[]; /* ended by one without a name */

/* What a command was given. Arguments and values are borrowed from argv. */
struct command_line {
	const struct command *command;
	char **arguments; /* NULL-terminated */
	int argument_count;
	struct command_given *given;
	size_t given_count;
};

/* NULL when there is none of this name. */
const struct command *command_find(const char *name);
/* Parses what stands behind a command's name and runs it. `argv[0]` is that name. Returns an exit status. */
int command_run(const struct command *command, int argc, char **argv);

/* Whether the command's table has the option. */
bool command_takes(const struct command_line *line, const char *option);
/* Whether it was given. Asking for an option that is not in the command's table is a bug. */
bool command_has(const struct command_line *line, const char *option);
/* The last value that was given, or NULL. */
const char *command_value(const struct command_line *line, const char *option);
/* The values in the order they were given: the array is the caller's to free; NULL when there are none. */
const char **command_values(const struct command_line *line, const char *option, size_t *count);
/* A number from `min` to `max`; `*number` is left alone when the option was not given. EXIT_USAGE when it is none,
 * which is then said. */
int command_number(const struct command_line *line, const char *option, unsigned min, unsigned max, unsigned *number);

/* Whether the value of an option (NULL: it has none), or the arguments, are what the table's words for them say.
 * EXIT_USAGE when one is not, which is then said. */
int command_check_option(const struct command *command, const struct command_option *option, const char *value);
int command_check_arguments(const struct command *command, char *const *arguments, int count);

/* Prints one line that says what is wrong with the arguments, then where help is. `command` is NULL before a command is
 * known. Returns EXIT_USAGE. */
int command_usage_error(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Flushes standard output. EXIT_DONE, or EXIT_SOME_FAILED when anything written to it was lost, which is then said. */
int command_finish_output(void);

/* What is made from the table (help.c, completion.c, manual.c). */
void command_print_help(const struct command *command); /* NULL: the list of commands */
void command_print_markdown(void);                      /* docs/cli.md */

int cmd_serve(const struct command_line *line);
int cmd_status(const struct command_line *line);
int cmd_explain(const struct command_line *line);
int cmd_export(const struct command_line *line);
int cmd_files(const struct command_line *line);
int cmd_cat(const struct command_line *line);
int cmd_find(const struct command_line *line);
int cmd_diff(const struct command_line *line);
int cmd_import(const struct command_line *line);
int cmd_receipt(const struct command_line *line);
int cmd_prefetch(const struct command_line *line);
int cmd_ls(const struct command_line *line);
int cmd_check(const struct command_line *line);
int cmd_rm(const struct command_line *line);
int cmd_pin(const struct command_line *line);
int cmd_unpin(const struct command_line *line);
int cmd_pins(const struct command_line *line);
int cmd_gc(const struct command_line *line);
int cmd_verify(const struct command_line *line);
int cmd_jobs(const struct command_line *line);
int cmd_config(const struct command_line *line);
int cmd_doctor(const struct command_line *line);
int cmd_completion(const struct command_line *line);
int cmd_manual(const struct command_line *line);
