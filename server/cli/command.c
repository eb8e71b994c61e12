/* SPDX-License-Identifier: Apache-2.0 */
/* A command's line: parsed by its table of options, and what is said when it is wrong. */
#include "server/cli/command.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "server/cli/config_text.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct command_given {
	const struct command_option *option;
	const char *value; /* NULL: it takes none */
};

/* What getopt_long() returns for the option of this number: beyond every letter. */
#define FIRST_LONG 256

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

int command_finish_output(void)
{
	int failed = ferror(stdout);
	errno = 0;
	if (fflush(stdout) == 0 && !failed)
		return EXIT_DONE;
	fprintf(stderr, "larder: standard output: %s\n", errno ? strerror(errno) : "some of it could not be written");
	return EXIT_SOME_FAILED;
}

/* Parsing. */

static size_t count_options(const struct command *command)
{
	size_t count = 0;
	for (const struct command_section *section = command->sections; section->title; section++)
		for (const struct command_option *option = section->options; option->name; option++)
			count++;
	return count;
}

/* All options of the command, in order. */
static const struct command_option **list_options(const struct command *command, size_t *count)
{
	const struct command_option **options = mem_alloc((count_options(command) + 1) * sizeof(const void *));
	*count = 0;
	for (const struct command_section *section = command->sections; section->title; section++)
		for (const struct command_option *option = section->options; option->name; option++)
			options[(*count)++] = option;
	return options;
}

static int refuse_option(char **argv, int result)
{
	/* getopt has already gone past a long option, but not past a cluster of short ones; optopt tells the short
	 * one's letter, and is 0, or the value that stands for it, for a long one. */
	const char *last = argv[optind - 1];
	bool is_long = !strncmp(last, "--", 2);
	char letter[3] = {'-', (char)optopt, '\0'}, shown[TEXT_SHOWN_MAX];
	const char *option = is_long ? text_show(last, shown) : letter;
	if (result == ':')
		return command_usage_error(argv[0], "option %s needs a value", option);
	if (is_long && optopt)
		return command_usage_error(argv[0], "option %s takes no value", option);
	return command_usage_error(argv[0], "unknown option %s", option);
}

/* Which option getopt_long() means; NULL when it refuses one. */
static const struct command_option *find_taken(const struct command_option **options, size_t count, int result)
{
	if (result >= FIRST_LONG)
		return options[result - FIRST_LONG];
	for (size_t i = 0; i < count; i++)
		if (options[i]->letter == result)
			return options[i];
	return NULL;
}

static int parse_options(struct command_line *line, int argc, char **argv)
{
	size_t count;
	_cleanup_free_ const struct command_option **options = list_options(line->command, &count);
	_cleanup_free_ struct option *longs = mem_alloc((count + 1) * sizeof(*longs));
	_cleanup_free_ char *letters = mem_alloc(2 * count + 2);
	char *letter = letters;
	*letter++ = ':';
	for (size_t i = 0; i < count; i++) {
		longs[i] = (struct option){options[i]->name, options[i]->argument ? required_argument : no_argument,
					   NULL, FIRST_LONG + (int)i};
		if (options[i]->letter)
			*letter++ = options[i]->letter;
		if (options[i]->letter && options[i]->argument)
			*letter++ = ':';
	}
	opterr = 0;
	for (int result; (result = getopt_long(argc, argv, letters, longs, NULL)) != -1;) {
		const struct command_option *option = find_taken(options, count, result);
		if (!option)
			return refuse_option(argv, result);
		line->given = mem_realloc(line->given, (line->given_count + 1) * sizeof(*line->given));
		line->given[line->given_count++] = (struct command_given){option, optarg};
		if (command_check_option(line->command, option, option->argument ? optarg : NULL) != EXIT_DONE)
			return EXIT_USAGE;
	}
	return EXIT_DONE;
}

static int check_arguments(const struct command_line *line)
{
	const struct command *command = line->command;
	char shown[TEXT_SHOWN_MAX];
	if (line->argument_count < command->arguments_min)
		return command_usage_error(command->name, "%s", command->wants);
	if (command->arguments_max != COMMAND_ANY_NUMBER && line->argument_count > command->arguments_max)
		return command_usage_error(command->name, "unexpected argument '%s'",
					   text_show(line->arguments[command->arguments_max], shown));
	if (!command->actions || line->argument_count == 0)
		return command_check_arguments(command, line->arguments, line->argument_count);
	for (const struct command_action *action = command->actions; action->name; action++)
		if (!strcmp(action->name, line->arguments[0]))
			return EXIT_DONE;
	return command_usage_error(command->name, "unknown action '%s': write %s", text_show(line->arguments[0], shown),
				   command->arguments);
}

static bool wants_help(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return true;
	return false;
}

const struct command *command_find(const char *name)
{
	for (const struct command *command = command_table; command->name; command++)
		if (!strcmp(command->name, name))
			return command;
	return NULL;
}

int command_run(const struct command *command, int argc, char **argv)
{
	struct command_line line = {.command = command};
	if (wants_help(argc, argv)) {
		command_print_help(command);
		return EXIT_DONE;
	}
	int status = parse_options(&line, argc, argv);
	if (status == EXIT_DONE) {
		line.arguments = argv + optind;
		line.argument_count = argc - optind;
		status = check_arguments(&line);
	}
	if (status == EXIT_DONE)
		status = command->run(&line);
	free(line.given);
	return status;
}

/* Reading. */

bool command_takes(const struct command_line *line, const char *name)
{
	for (const struct command_section *section = line->command->sections; section->title; section++)
		for (const struct command_option *option = section->options; option->name; option++)
			if (!strcmp(option->name, name))
				return true;
	return false;
}

static bool is_option(const struct command_given *given, const char *name)
{
	return !strcmp(given->option->name, name);
}

static const struct command_given *find_last(const struct command_line *line, const char *name)
{
	assert(command_takes(line, name));
	for (size_t i = line->given_count; i > 0; i--)
		if (is_option(&line->given[i - 1], name))
			return &line->given[i - 1];
	return NULL;
}

bool command_has(const struct command_line *line, const char *option)
{
	return find_last(line, option) != NULL;
}

const char *command_value(const struct command_line *line, const char *option)
{
	const struct command_given *given = find_last(line, option);
	return given ? given->value : NULL;
}

const char **command_values(const struct command_line *line, const char *option, size_t *count)
{
	assert(command_takes(line, option));
	const char **values = NULL;
	*count = 0;
	for (size_t i = 0; i < line->given_count; i++) {
		if (!is_option(&line->given[i], option))
			continue;
		values = mem_realloc(values, (*count + 1) * sizeof(*values));
		values[(*count)++] = line->given[i].value;
	}
	return values;
}

int command_number(const struct command_line *line, const char *option, unsigned min, unsigned max, unsigned *number)
{
	const char *value = command_value(line, option);
	if (!value)
		return EXIT_DONE;
	char *end;
	errno = 0;
	unsigned long long parsed = strtoull(value, &end, 10);
	if (value[0] < '0' || value[0] > '9' || *end || errno || parsed < min || parsed > max)
		return command_usage_error(line->command->name, "--%s takes a number from %u to %u", option, min, max);
	*number = (unsigned)parsed;
	return EXIT_DONE;
}
