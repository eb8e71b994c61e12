/* SPDX-License-Identifier: Apache-2.0 */
/* What every command says in the same words: wrong usage, and output that could not be written. */
#include "server/cli/command.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 2, 0))) static int say_usage_error(const char *command, const char *format,
								 va_list arguments)
{
	fprintf(stderr, "larder%s%s: ", command ? " " : "", command ? command : "");
	vfprintf(stderr, format, arguments);
	fprintf(stderr, "\nsee larder%s%s --help\n", command ? " " : "", command ? command : "");
	return EXIT_USAGE;
}

int command_usage_error(const char *command, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	int status = say_usage_error(command, format, arguments);
	va_end(arguments);
	return status;
}

int command_option_error(char **argv, int result)
{
	/* getopt has already gone past a long option, but not past a cluster of short ones; optopt tells the short
	 * one's letter, and is 0, or the value that stands for it, for a long one. */
	const char *last = argv[optind - 1];
	bool is_long = !strncmp(last, "--", 2);
	char letter[3] = {'-', (char)optopt, '\0'};
	const char *option = is_long ? last : letter;
	if (result == ':')
		return command_usage_error(argv[0], "option %s needs a value", option);
	if (is_long && optopt)
		return command_usage_error(argv[0], "option %s takes no value", option);
	return command_usage_error(argv[0], "unknown option %s", option);
}

int command_finish_output(void)
{
	int failed = ferror(stdout);
	errno = 0;
	if (fflush(stdout) == 0 && !failed)
		return EXIT_DONE;
	fprintf(stderr, "larder: standard output: %s\n", errno ? strerror(errno) : "some of it could not be written");
	return EXIT_SOME_FAILED;
}
