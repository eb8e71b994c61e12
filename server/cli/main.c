/* SPDX-License-Identifier: Apache-2.0 */
/* `larder COMMAND [options]`: finds the command in the table and hands over. */
#include "server/cli/command.h"
#include "server/cli/config_text.h"

#include <stdio.h>
#include <string.h>

static void print_help(void)
{
	printf("Usage: larder COMMAND [options]\n\nA pull-through cache for container registries.\n\nCommands:\n");
	for (int i = 0; i < command_count; i++) {
		const struct command *command = &command_table[i];
		printf("  %-7s %-17s %s\n", command->name, command->arguments, command->summary);
	}
	printf("\n  larder COMMAND --help     tells more about a command\n"
	       "  larder --version          prints the version\n");
}

static void print_command_help(const struct command *command)
{
	printf("Usage: larder %s%s%s [options]\n\n%s", command->name, *command->arguments ? " " : "",
	       command->arguments, command->help);
}

/* docs/cli.md, from the same table. */
static void print_markdown(void)
{
	printf("# The command line\n\n"
	       "<!-- This page is the output of `larder --help --markdown`. -->\n\n"
	       "`larder COMMAND [options]`; `larder --help`, `larder COMMAND --help`, `larder --version`.\n\n"
	       "| exit status | means |\n|---|---|\n"
	       "| 0 | done |\n"
	       "| 1 | some of it failed, and was said |\n"
	       "| 2 | wrong usage |\n"
	       "| 3 | an invalid configuration |\n"
	       "| 4 | no larder answers at the admin address |\n"
	       "| 5 | the store is held by another process |\n");
	for (int i = 0; i < command_count; i++) {
		const struct command *command = &command_table[i];
		printf("\n## larder %s%s%s\n\n```\n%s```\n", command->name, *command->arguments ? " " : "",
		       command->arguments, command->help);
	}
}

static int refuse_command(const char *name)
{
	char shown[TEXT_SHOWN_MAX];
	for (int i = 0; i < command_count; i++) {
		if (text_is_near(name, command_table[i].name))
			return command_usage_error(NULL, "unknown command '%s'; did you mean %s?",
						   text_show(name, shown), command_table[i].name);
	}
	return command_usage_error(NULL, "unknown command '%s'", text_show(name, shown));
}

static bool asks_for_help(const char *argument)
{
	return !strcmp(argument, "--help") || !strcmp(argument, "-h");
}

static int run_command(const struct command *command, int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		if (asks_for_help(argv[i])) {
			print_command_help(command);
			return EXIT_DONE;
		}
	}
	return command->run(argc, argv);
}

static int run(int argc, char **argv)
{
	if (argc < 2)
		return command_usage_error(NULL, "no command given");
	if (asks_for_help(argv[1])) {
		if (argc == 3 && !strcmp(argv[2], "--markdown"))
			print_markdown();
		else
			print_help();
		return EXIT_DONE;
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		printf("larder %s\n", LARDER_VERSION);
		return EXIT_DONE;
	}
	char shown[TEXT_SHOWN_MAX];
	if (argv[1][0] == '-')
		return command_usage_error(NULL, "unknown option %s", text_show(argv[1], shown));
	for (int i = 0; i < command_count; i++) {
		if (!strcmp(command_table[i].name, argv[1]))
			return run_command(&command_table[i], argc - 1, argv + 1);
	}
	return refuse_command(argv[1]);
}

int main(int argc, char **argv)
{
	int status = run(argc, argv);
	int output = command_finish_output();
	return status == EXIT_DONE ? output : status;
}
