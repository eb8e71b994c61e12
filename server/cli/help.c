/* SPDX-License-Identifier: Apache-2.0 */
/* --help and docs/cli.md, from the table of commands. */
#include "server/cli/command.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "server/cli/table.h"

#include <stdio.h>
#include <string.h>

#define HELP_COLUMNS   80
#define OPTION_COLUMNS 28 /* where the help of an option begins */

const struct exit_meaning exit_meanings[] = {
	{EXIT_DONE, "done"},
	{EXIT_SOME_FAILED, "some of it failed, and was said"},
	{EXIT_USAGE, "wrong usage"},
	{EXIT_CONFIG, "an invalid configuration"},
	{EXIT_NO_LARDER, "no larder answers at the admin address"},
	{EXIT_STORE_HELD, "the store is held by another process"},
	{0, NULL},
};

/* What stands left, then its help, on the next line where there is no room. */
static void print_entry(FILE *out, const char *left, size_t indent, const char *help)
{
	size_t used = columns_of(left, strlen(left));
	fputs(left, out);
	if (used + 1 > indent) {
		fputc('\n', out);
		used = 0;
	}
	columns_print_words(out, help, indent, used, HELP_COLUMNS);
}

static void print_option(FILE *out, const struct command_option *option)
{
	char letter[8] = "    ";
	if (option->letter)
		snprintf(letter, sizeof(letter), "-%c, ", option->letter);
	_cleanup_free_ char *left = mem_printf("  %s--%s%s%s", letter, option->name, option->argument ? " " : "",
					       option->argument ? option->argument : "");
	print_entry(out, left, OPTION_COLUMNS, option->help);
}

static void print_body(FILE *out, const struct command *command)
{
	for (const char *text = command->description; *text;) {
		text = columns_print_words(out, text, 0, 0, HELP_COLUMNS);
		if (*text)
			fputc('\n', out);
	}
	if (command->actions)
		fputc('\n', out);
	for (const struct command_action *action = command->actions; action && action->name; action++) {
		_cleanup_free_ char *left = mem_printf("  %-7s", action->name);
		print_entry(out, left, 10, action->help);
	}
	for (const struct command_section *section = command->sections; section->title; section++) {
		fprintf(out, "\n%s:\n", section->title);
		for (const struct command_option *option = section->options; option->name; option++)
			print_option(out, option);
	}
}

static void print_commands(FILE *out)
{
	fprintf(out,
		"Usage: larder COMMAND [options]\n\nA pull-through cache for container registries.\n\nCommands:\n");
	for (const struct command *command = command_table; command->name; command++) {
		if (command->hidden)
			continue;
		_cleanup_free_ char *left =
			mem_printf("  %s%s%s", command->name, *command->arguments ? " " : "", command->arguments);
		print_entry(out, left, OPTION_COLUMNS, command->summary);
	}
	fprintf(out, "\n  larder COMMAND --help     tells more about a command\n"
		     "  larder --version          prints the version\n");
}

void command_print_help(const struct command *command)
{
	if (!command) {
		print_commands(stdout);
		return;
	}
	printf("Usage: larder %s%s%s [options]\n\n", command->name, *command->arguments ? " " : "", command->arguments);
	print_body(stdout, command);
}

void command_print_markdown(void)
{
	printf("# The command line\n\n"
	       "<!-- This page is the output of `larder --help --markdown`. -->\n\n"
	       "`larder COMMAND [options]`; `larder --help`, `larder COMMAND --help`, `larder --version`.\n\n"
	       "| exit status | means |\n|---|---|\n");
	for (const struct exit_meaning *exit = exit_meanings; exit->meaning; exit++)
		printf("| %d | %s |\n", (int)exit->status, exit->meaning);
	for (const struct command *command = command_table; command->name; command++) {
		if (command->hidden)
			continue;
		printf("\n## larder %s%s%s\n\n```\n", command->name, *command->arguments ? " " : "",
		       command->arguments);
		print_body(stdout, command);
		printf("```\n");
	}
}
