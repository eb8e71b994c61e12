/* SPDX-License-Identifier: Apache-2.0 */
/* `larder manual DIR`: the manual pages, from the tables of commands and of configuration keys; the build calls it. */
#include "server/cli/command.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "server/cli/config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* The character that begins at `text`, as groff and mandoc both know it. */
static uint32_t decode(const char *text, size_t bytes)
{
	static const unsigned char masks[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
	uint32_t character = (unsigned char)text[0] & masks[bytes];
	for (size_t i = 1; i < bytes; i++)
		character = character << 6 | ((unsigned char)text[i] & 0x3f);
	return character;
}

/* Text within a line. A hyphen is written as the minus that it is on a keyboard. */
static void print_text(FILE *out, const char *text)
{
	for (size_t bytes; *text && *text != '\n'; text += bytes) {
		bytes = buf_utf8_length(text);
		if (bytes != 1)
			fprintf(out, "\\[u%04" PRIX32 "]", decode(text, bytes));
		else if (*text == '-')
			fputs("\\-", out);
		else if (*text == '\\')
			fputs("\\e", out);
		else
			fputc(*text, out);
	}
}

/* A line of text, which no dot or quote at its start makes a request. */
static void print_line(FILE *out, const char *text)
{
	if (*text == '.' || *text == '\'')
		fputs("\\&", out);
	print_text(out, text);
	fputc('\n', out);
}

static void print_paragraphs(FILE *out, const char *text)
{
	for (bool first = true; *text; first = false) {
		if (!first)
			fputs(".PP\n", out);
		print_line(out, text);
		text += strcspn(text, "\n");
		text += strspn(text, "\n");
	}
}

static void print_term(FILE *out, const char *term, const char *meaning)
{
	fputs(".TP\n\\fB", out);
	print_text(out, term);
	fputs("\\fR\n", out);
	print_line(out, meaning);
}

/* SOURCE_DATE_EPOCH makes builds repeatable (reproducible-builds.org). */
static void print_title(FILE *out, const char *name, int section)
{
	const char *epoch = getenv("SOURCE_DATE_EPOCH");
	time_t when = epoch ? (time_t)strtoll(epoch, NULL, 10) : time(NULL);
	struct tm day;
	char date[16] = "";
	if (gmtime_r(&when, &day))
		strftime(date, sizeof(date), "%Y-%m-%d", &day);
	fputs(".TH \"", out);
	for (; *name; name++)
		fputc(*name >= 'a' && *name <= 'z' ? *name - 'a' + 'A' : *name, out);
	fprintf(out, "\" %d %s \"larder %s\" \"larder manual\"\n.SH NAME\n", section, date, LARDER_VERSION);
}

static void print_option(FILE *out, const struct command_option *option)
{
	fputs(".TP\n", out);
	if (option->letter)
		fprintf(out, "\\fB\\-%c\\fR, ", option->letter);
	fputs("\\fB\\-\\-", out);
	print_text(out, option->name);
	fputs("\\fR", out);
	if (option->argument) {
		fputs(" \\fI", out);
		print_text(out, option->argument);
		fputs("\\fR", out);
	}
	fputc('\n', out);
	print_line(out, option->help);
}

static void print_exits(FILE *out)
{
	fputs(".SH EXIT STATUS\n", out);
	for (const struct exit_meaning *exit = exit_meanings; exit->meaning; exit++) {
		char number[8];
		snprintf(number, sizeof(number), "%d", (int)exit->status);
		print_term(out, number, exit->meaning);
	}
}

static void print_command(FILE *out, const struct command *command)
{
	_cleanup_free_ char *name = mem_printf("larder-%s", command->name);
	print_title(out, name, 1);
	fprintf(out, "larder\\-%s \\- ", command->name);
	print_line(out, command->summary);
	fprintf(out, ".SH SYNOPSIS\n\\fBlarder %s\\fR", command->name);
	if (*command->arguments) {
		fputs(" \\fI", out);
		print_text(out, command->arguments);
		fputs("\\fR", out);
	}
	fputs(" [\\fIoptions\\fR]\n.SH DESCRIPTION\n", out);
	print_paragraphs(out, command->description);
	for (const struct command_action *action = command->actions; action && action->name; action++)
		print_term(out, action->name, action->help);
	if (command->sections[0].title)
		fputs(".SH OPTIONS\n", out);
	for (const struct command_section *section = command->sections; section->title; section++) {
		if (section > command->sections || strcmp(section->title, "Options") != 0) {
			fputs(".SS ", out);
			print_line(out, section->title);
		}
		for (const struct command_option *option = section->options; option->name; option++)
			print_option(out, option);
	}
	print_exits(out);
	fputs(".SH SEE ALSO\n.BR larder (1),\n.BR larder.yaml (5)\n", out);
}

static void print_program(FILE *out)
{
	print_title(out, "larder", 1);
	fputs("larder \\- a pull\\-through cache for container registries\n"
	      ".SH SYNOPSIS\n\\fBlarder\\fR \\fICOMMAND\\fR [\\fIoptions\\fR]\n"
	      ".SH DESCRIPTION\n"
	      "larder is a proxy that container clients use as a mirror of their registries. It fetches manifests and "
	      "blobs\n"
	      "on demand, keeps them on disk, and serves them again also when the registry is slow, limited or gone.\n"
	      ".SH COMMANDS\n",
	      out);
	for (const struct command *command = command_table; command->name; command++) {
		if (command->hidden)
			continue;
		fprintf(out, ".TP\n.BR larder\\-%s (1)\n", command->name);
		print_line(out, command->summary);
	}
	fputs(".SH ENVIRONMENT\n", out);
	print_term(out, "LARDER_ADMIN", "the admin API that commands ask when they are not given --admin");
	print_term(out, "LARDER_CONFIG", "the configuration file that is read when --config is not given");
	print_exits(out);
	fputs(".SH SEE ALSO\n.BR larder.yaml (5)\n", out);
}

static void print_key(void *out, const char *path, const char *value, const char *standard, const char *help)
{
	_cleanup_free_ char *values = mem_printf("Value: %s. Default: %s.", value, standard);
	print_term(out, path, help);
	fputs(".br\n", out);
	print_line(out, values);
}

static void print_configuration(FILE *out)
{
	print_title(out, "larder.yaml", 5);
	fputs("larder.yaml \\- configuration of larder\n"
	      ".SH DESCRIPTION\n"
	      "\\fBlarder serve\\fR reads the file that \\fB\\-\\-config\\fR or \\fBLARDER_CONFIG\\fR names, else\n"
	      "\\fI/etc/larder/larder.yaml\\fR where there is one, else it runs with what is built in.\n"
	      "The file is YAML. Every key is optional, an unknown one is an error.\n"
	      "\\fB${VAR}\\fR and \\fB${VAR:\\-default}\\fR stand for environment variables.\n"
	      "Sizes are written as 512MiB or 200GiB, durations as 30s, 5m or 12h, rates as 10/s or 100/6h.\n"
	      ".PP\n"
	      "\\fBlarder config check\\fR says what is wrong in a file, \\fBlarder config show\\fR what it comes to.\n"
	      ".SH KEYS\n"
	      "A key below another is written here with a dot; NAME stands for any upstream's name.\n",
	      out);
	config_list_keys(print_key, out);
	fputs(".SH SEE ALSO\n.BR larder (1),\n.BR larder\\-serve (1),\n.BR larder\\-config (1)\n", out);
}

static FILE *create_page(const char *directory, const char *name, int section)
{
	_cleanup_free_ char *folder = mem_printf("%s/man%d", directory, section);
	_cleanup_free_ char *path = mem_printf("%s/%s.%d", folder, name, section);
	mkdir(folder, 0755); /* where that fails, so does the next step, and says why */
	FILE *out = fopen(path, "we");
	if (!out)
		fprintf(stderr, "larder manual: cannot write %s: %s\n", path, strerror(errno));
	return out;
}

/* Closes the page. */
static int finish_page(FILE *out)
{
	if (fclose(out) == 0)
		return EXIT_DONE;
	fprintf(stderr, "larder manual: %s\n", strerror(errno));
	return EXIT_SOME_FAILED;
}

static int write_command(const char *directory, const struct command *command)
{
	_cleanup_free_ char *name = mem_printf("larder-%s", command->name);
	FILE *out = create_page(directory, name, 1);
	if (!out)
		return EXIT_SOME_FAILED;
	print_command(out, command);
	return finish_page(out);
}

static int write_page(const char *directory, const char *name, int section, void (*print)(FILE *out))
{
	FILE *out = create_page(directory, name, section);
	if (!out)
		return EXIT_SOME_FAILED;
	print(out);
	return finish_page(out);
}

int cmd_manual(const struct command_line *line)
{
	const char *directory = line->arguments[0];
	int status = write_page(directory, "larder", 1, print_program);
	if (status == EXIT_DONE)
		status = write_page(directory, "larder.yaml", 5, print_configuration);
	for (const struct command *command = command_table; status == EXIT_DONE && command->name; command++)
		if (!command->hidden)
			status = write_command(directory, command);
	return status;
}
