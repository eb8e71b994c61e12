/* SPDX-License-Identifier: Apache-2.0 */
/* A command's line, parsed by its table. */
#include "server/cli/command.h"

#include "base/cleanup.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct command_option first_options[] = {
	{"platform", 'p', "OS/ARCH", "one or more"},
	{"dry-run", 'n', NULL, "a flag"},
	{"only", 0, "OS/ARCH[/VARIANT]", "a platform"},
	{"as", 0, "text|json", "a choice"},
	{NULL},
};
static const struct command_option second_options[] = {
	{"jobs", 'j', "N", "a number"},
	{NULL},
};
static const struct command_action actions[] = {{"list", ""}, {"cancel", ""}, {NULL}};

static const struct command_line *seen; /* checked by run(), as it lives no longer than the command */
static void (*check)(const struct command_line *line);

static int run(const struct command_line *line)
{
	seen = line;
	if (check)
		check(line);
	return EXIT_SOME_FAILED; /* is handed on */
}

static const struct command table = {
	.name = "test",
	.arguments = "WORD…",
	.arguments_min = 1,
	.arguments_max = COMMAND_ANY_NUMBER,
	.wants = "name a reference",
	.sections = {{"First", first_options}, {"Second", second_options}},
	.run = run,
};

static const struct command acting = {
	.name = "acting",
	.arguments = "list|cancel",
	.arguments_max = 2,
	.actions = actions,
	.sections = {{"First", first_options}},
	.run = run,
};

static int parse(const struct command *command, void (*with)(const struct command_line *), const char *const *arguments)
{
	char *argv[16] = {(char *)command->name};
	int argc = 1;

	for (; arguments[argc - 1]; argc++)
		argv[argc] = (char *)arguments[argc - 1];
	optind = 0; /* of getopt: from the start, with this table */
	seen = NULL;
	check = with;
	return command_run(command, argc, argv);
}

#define PARSE(command, with, ...) parse(command, with, (const char *const[]){__VA_ARGS__, NULL})

static void expect_all(const struct command_line *line)
{
	_cleanup_free_ const char **platforms = NULL;
	size_t count;
	unsigned jobs = 0;

	assert_int_equal(line->argument_count, 2);
	assert_string_equal(line->arguments[0], "a");
	assert_string_equal(line->arguments[1], "-b");
	assert_null(line->arguments[2]);
	platforms = command_values(line, "platform", &count);
	assert_int_equal(count, 2);
	assert_string_equal(platforms[0], "linux/amd64");
	assert_string_equal(platforms[1], "linux/arm64");
	assert_string_equal(command_value(line, "platform"), "linux/arm64");
	assert_true(command_has(line, "dry-run"));
	assert_int_equal(command_number(line, "jobs", 1, 64, &jobs), EXIT_DONE);
	assert_int_equal(jobs, 8);
	assert_false(command_takes(line, "store"));
}

static void expect_nothing(const struct command_line *line)
{
	unsigned jobs = 3;
	size_t count;

	assert_null(command_values(line, "platform", &count));
	assert_int_equal(count, 0);
	assert_null(command_value(line, "platform"));
	assert_false(command_has(line, "dry-run"));
	assert_int_equal(command_number(line, "jobs", 1, 64, &jobs), EXIT_DONE);
	assert_int_equal(jobs, 3);
}

static void expect_wrong_number(const struct command_line *line)
{
	unsigned jobs = 3;

	assert_int_equal(command_number(line, "jobs", 1, 64, &jobs), EXIT_USAGE);
	assert_int_equal(jobs, 3);
}

static void options_and_arguments_come_in_any_order(void **state)
{
	(void)state;
	assert_int_equal(PARSE(&table, expect_all, "a", "-nnn", "--platform=linux/amd64", "-j", "8", "-plinux/arm64",
			       "--", "-b"),
			 EXIT_SOME_FAILED);
	assert_non_null(seen);
	assert_int_equal(PARSE(&table, expect_nothing, "a"), EXIT_SOME_FAILED);
	assert_non_null(seen);
}

static void wrong_usage_never_runs_the_command(void **state)
{
	(void)state;
	assert_int_equal(PARSE(&table, NULL, "--platform", "x"), EXIT_USAGE);
	assert_int_equal(PARSE(&table, NULL, "a", "--platform"), EXIT_USAGE);
	assert_int_equal(PARSE(&table, NULL, "a", "-p"), EXIT_USAGE);
	assert_int_equal(PARSE(&table, NULL, "a", "--dry-run=yes"), EXIT_USAGE);
	assert_int_equal(PARSE(&table, NULL, "a", "--nothing"), EXIT_USAGE);
	assert_int_equal(PARSE(&table, NULL, "a", "-x"), EXIT_USAGE);
	assert_int_equal(PARSE(&acting, NULL, "rename"), EXIT_USAGE);
	assert_int_equal(PARSE(&acting, NULL, "cancel", "1", "2"), EXIT_USAGE);
	assert_null(seen);
	assert_int_equal(PARSE(&acting, NULL, "cancel", "1"), EXIT_SOME_FAILED);
	assert_non_null(seen);
}

static const struct command naming = {
	.name = "naming",
	.arguments = "NAME REF [REF…]",
	.arguments_max = COMMAND_ANY_NUMBER,
	.sections = {{"First", first_options}},
	.run = run,
};

static void wrong_value_never_runs_the_command(void **state)
{
	(void)state;
	assert_int_equal(PARSE(&table, NULL, "a", "--only", "amd64"), EXIT_USAGE);
	assert_int_equal(PARSE(&table, NULL, "a", "--only="), EXIT_USAGE);
	assert_int_equal(PARSE(&table, NULL, "a", "--as", "tex"), EXIT_USAGE);
	assert_int_equal(PARSE(&table, NULL, "a", "--as", "text|json"), EXIT_USAGE);
	assert_int_equal(PARSE(&naming, NULL, "a b"), EXIT_USAGE);
	assert_int_equal(PARSE(&naming, NULL, "A", "B"), EXIT_USAGE);
	assert_int_equal(PARSE(&naming, NULL, "A", "b", "c", "D"), EXIT_USAGE);
	assert_null(seen);
	assert_int_equal(PARSE(&naming, NULL, "A", "b", "c", "quay.io/d/e:F", "--only", "linux/arm/v7", "--as", "json"),
			 EXIT_SOME_FAILED);
	assert_non_null(seen);
}

static void number_that_is_none_is_refused(void **state)
{
	static const char *const wrong[] = {"", "0", "65", "-1", "+1", " 1", "1x", "99999999999999999999", "0x8"};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(PARSE(&table, expect_wrong_number, "a", "-j", wrong[i]), EXIT_SOME_FAILED);
		assert_non_null(seen);
	}
}

/* Getopt is given the letters, and every table stands beside others. */
static void every_command_s_table_is_sound(void **state)
{
	(void)state;
	for (const struct command *command = command_table; command->name; command++) {
		bool letters[256] = {false};

		assert_non_null(command->run);
		assert_true(command->summary && command->description && command->arguments);
		assert_true(command->arguments_min == 0 || command->wants);
		for (const struct command_section *section = command->sections; section->title; section++) {
			for (const struct command_option *option = section->options; option->name; option++) {
				if (option->letter && letters[(unsigned char)option->letter])
					fail_msg("%s: -%c twice", command->name, option->letter);
				letters[(unsigned char)option->letter] = true;
				assert_non_null(option->help);
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_and_arguments_come_in_any_order),
		cmocka_unit_test(wrong_usage_never_runs_the_command),
		cmocka_unit_test(wrong_value_never_runs_the_command),
		cmocka_unit_test(number_that_is_none_is_refused),
		cmocka_unit_test(every_command_s_table_is_sound),
	};
	return cmocka_run_group_tests_name("command", tests, NULL, NULL);
}
