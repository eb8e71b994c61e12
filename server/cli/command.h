/* SPDX-License-Identifier: Apache-2.0 */
/* The table of commands: `larder COMMAND [options]`. --help is printed from it, and only what works is in it. */
#pragma once

/* Exit statuses (docs/cli.md): the whole program's, in one place. */
enum exit_status {
	EXIT_DONE = 0,
	EXIT_SOME_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_CONFIG = 3,
	EXIT_NO_LARDER = 4,
	EXIT_STORE_HELD = 5,
};

struct command {
	const char *name;
	const char *arguments;             /* "REF…", as in the usage line */
	const char *summary;               /* one line for --help */
	const char *help;                  /* the options, one a line, for `COMMAND --help` */
	int (*run)(int argc, char **argv); /* argv[0] is the command's name; returns an exit status */
};

extern const struct command command_table[];
extern const int command_count;

int cmd_serve(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_explain(int argc, char **argv);
int cmd_config(int argc, char **argv);

/* Prints one line that says what is wrong with the arguments, then where help is. `command` is NULL before a command is
 * known. Returns EXIT_USAGE. */
int command_usage_error(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same for an option that getopt_long() refused: call with what it returned ('?' or ':'), with opterr 0 and an
 * option string that starts with ':'. */
int command_option_error(char **argv, int result);

/* Flushes standard output. EXIT_DONE, or EXIT_SOME_FAILED when anything written to it was lost, which is then said. */
int command_finish_output(void);
