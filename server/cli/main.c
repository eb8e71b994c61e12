/* SPDX-License-Identifier: Apache-2.0 */
/* `larder COMMAND [options]`: finds the command in the table and hands over. */
#include "server/cli/command.h"
#include "server/cli/config_text.h"

#include <stdio.h>
#include <string.h>

static int refuse_command(const char *name)
{
	char shown[TEXT_SHOWN_MAX];
	for (const struct command *command = command_table; command->name; command++) {
		if (!command->hidden && text_is_near(name, command->name))
			return command_usage_error(NULL, "unknown command '%s'; did you mean %s?",
						   text_show(name, shown), command->name);
	}
	return command_usage_error(NULL, "unknown command '%s'", text_show(name, shown));
}

static int run(int argc, char **argv)
{
	if (argc < 2)
		return command_usage_error(NULL, "no command given");
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		if (argc == 3 && !strcmp(argv[2], "--markdown"))
			command_print_markdown();
		else
			command_print_help(NULL);
		return EXIT_DONE;
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		printf("larder %s\n", LARDER_VERSION);
		return EXIT_DONE;
	}
	char shown[TEXT_SHOWN_MAX];
	if (argv[1][0] == '-')
		return command_usage_error(NULL, "unknown option %s", text_show(argv[1], shown));
	const struct command *command = command_find(argv[1]);
	return command ? command_run(command, argc - 1, argv + 1) : refuse_command(argv[1]);
}

int main(int argc, char **argv)
{
	int status = run(argc, argv);
	int output = command_finish_output();
	return status == EXIT_DONE ? output : status;
}
