/* SPDX-License-Identifier: Apache-2.0 */
/* `larder completion bash|zsh|fish`: what a shell completes, from the table of commands. */
#include "server/cli/command.h"

#include "base/cleanup.h"
#include "base/buf.h"

#include <stdio.h>
#include <string.h>

enum kind { NOTHING, CHOICES, FILES, DIRECTORIES, REFERENCES };

/* What a word of the usage line stands for. */
static enum kind kind_of(const char *argument)
{
	if (!strcmp(argument, "FILE") || !strcmp(argument, "PATH") || !strcmp(argument, "LIST") ||
	    !strcmp(argument, "RECEIPT"))
		return FILES;
	if (!strcmp(argument, "DIR"))
		return DIRECTORIES;
	if (strstr(argument, "REF"))
		return REFERENCES;
	/* Words in capitals are placeholders: "ADDR:PORT|unix:PATH" offers nothing. */
	return strchr(argument, '|') && strcspn(argument, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == strlen(argument) ? CHOICES
													    : NOTHING;
}

/* "a|b" as "a b". The caller frees. */
static char *choices_of(const char *argument)
{
	char *words = mem_strdup(argument);
	for (char *at = words; *at; at++)
		if (*at == '|')
			*at = ' ';
	return words;
}

/* NOLINTBEGIN(bugprone-macro-parentheses): names of variables that they declare. */
/* Calls for every option of a command. */
#define EACH_OPTION(command, option)                                                                                   \
	for (const struct command_section *section_ = (command)->sections; section_->title; section_++)                \
		for (const struct command_option *option = section_->options; option->name; option++)

#define EACH_COMMAND(command)                                                                                          \
	for (const struct command *command = command_table; command->name; command++)                                  \
		if (!command->hidden)
/* NOLINTEND(bugprone-macro-parentheses) */

/* bash. */

static void print_bash_value(const struct command_option *option)
{
	_cleanup_free_ char *choices = choices_of(option->argument);
	printf("        ");
	if (option->letter)
		printf("-%c | ", option->letter);
	printf("--%s) ", option->name);
	switch (kind_of(option->argument)) {
	case FILES:
		printf("_larder_files -f");
		break;
	case DIRECTORIES:
		printf("_larder_files -d");
		break;
	case CHOICES:
		printf("_larder_words '%s'", choices);
		break;
	case REFERENCES:
	case NOTHING:
		printf("COMPREPLY=()");
		break;
	}
	printf(" ;;\n");
}

static void print_bash_arguments(const struct command *command)
{
	printf("        *) ");
	if (command->actions) {
		printf("_larder_words '");
		for (const struct command_action *action = command->actions; action->name; action++)
			printf("%s%s", action == command->actions ? "" : " ", action->name);
		printf("'");
	} else {
		switch (kind_of(command->arguments)) {
		case FILES:
			printf("_larder_files -f");
			break;
		case REFERENCES:
			printf("_larder_references");
			break;
		default:
			printf("COMPREPLY=()");
		}
	}
	printf(" ;;\n");
}

static void print_bash_command(const struct command *command)
{
	printf("    %s)\n      case $last in\n", command->name);
	EACH_OPTION(command, option)
	{
		if (option->argument)
			print_bash_value(option);
	}
	printf("        *)\n          case $word in\n            -*) _larder_words '--help");
	EACH_OPTION(command, option) printf(" --%s", option->name);
	printf("' ;;\n    ");
	print_bash_arguments(command);
	printf("          esac\n          ;;\n      esac\n      ;;\n");
}

static void print_bash(void)
{
	printf("# bash completion for larder\n\n"
	       "_larder_words() { mapfile -t COMPREPLY < <(compgen -W \"$1\" -- \"$word\"); }\n"
	       "_larder_files() {\n"
	       "  compopt -o filenames\n"
	       "  mapfile -t COMPREPLY < <(compgen \"$1\" -- \"$word\")\n"
	       "}\n"
	       "# What is cached; for readline, a word begins behind a colon.\n"
	       "_larder_references() {\n"
	       "  local whole=${COMP_LINE:0:COMP_POINT}\n"
	       "  whole=${whole##*[[:space:]]}\n"
	       "  local skip=${whole%%\"${whole##*[:@]}\"}\n"
	       "  mapfile -t COMPREPLY < <(larder ls --quiet -- \"$whole*\" 2>/dev/null)\n"
	       "  COMPREPLY=(\"${COMPREPLY[@]#\"$skip\"}\")\n"
	       "}\n\n"
	       "_larder() {\n"
	       "  local word=${COMP_WORDS[COMP_CWORD]} last=${COMP_WORDS[COMP_CWORD - 1]}\n"
	       "  if [ \"$COMP_CWORD\" = 1 ]; then\n"
	       "    _larder_words '--help --version");
	EACH_COMMAND(command) printf(" %s", command->name);
	printf("'\n    return\n  fi\n  case ${COMP_WORDS[1]} in\n");
	EACH_COMMAND(command) print_bash_command(command);
	printf("    *) COMPREPLY=() ;;\n  esac\n}\n\ncomplete -F _larder larder\n");
}

/* zsh. */

/* Text within a specification of _arguments, in single quotes. */
static void print_zsh_text(const char *text)
{
	for (; *text; text++) {
		if (*text == '\'')
			printf("'\\'");
		else if (strchr("[]:\\", *text))
			putchar('\\');
		putchar(*text);
	}
}

static void print_zsh_kind(const char *argument)
{
	_cleanup_free_ char *choices = choices_of(argument);
	printf(":");
	print_zsh_text(argument);
	switch (kind_of(argument)) {
	case FILES:
		printf(":_files");
		break;
	case DIRECTORIES:
		printf(":_files -/");
		break;
	case CHOICES:
		printf(":(%s)", choices);
		break;
	case REFERENCES:
		printf(":_larder_references");
		break;
	case NOTHING:
		printf(": ");
		break;
	}
}

/* With "=" and "+" the value may also stand in the same word. */
static void print_zsh_option(const struct command_option *option)
{
	const char *long_end = option->argument ? "=" : "", *short_end = option->argument ? "+" : "";
	if (option->letter)
		printf("        '*'{-%c%s,--%s%s}'[", option->letter, short_end, option->name, long_end);
	else
		printf("        '*--%s%s[", option->name, long_end);
	print_zsh_text(option->help);
	printf("]");
	if (option->argument)
		print_zsh_kind(option->argument);
	printf("' \\\n");
}

static void print_zsh_command(const struct command *command)
{
	printf("    %s)\n      _arguments -s \\\n", command->name);
	EACH_OPTION(command, option) print_zsh_option(option);
	printf("        '(- *)--help[say more about the command]'");
	if (command->actions) {
		printf(" \\\n        '1:action:((");
		for (const struct command_action *action = command->actions; action->name; action++) {
			printf("%s%s\\:\"", action == command->actions ? "" : " ", action->name);
			print_zsh_text(action->help);
			printf("\"");
		}
		printf("))'");
	} else if (*command->arguments) {
		printf(" \\\n        '*");
		print_zsh_kind(command->arguments);
		printf("'");
	}
	printf("\n      ;;\n");
}

static void print_zsh(void)
{
	printf("#compdef larder\n\n"
	       "_larder_references() {\n"
	       "  local -a references\n"
	       "  references=(${(f)\"$(larder ls --quiet -- \"$PREFIX*\" 2>/dev/null)\"})\n"
	       "  compadd -a references\n"
	       "}\n\n"
	       "_larder() {\n"
	       "  if (( CURRENT == 2 )); then\n"
	       "    local -a commands=(\n");
	EACH_COMMAND(command)
	{
		printf("      '%s:", command->name);
		print_zsh_text(command->summary);
		printf("'\n");
	}
	printf("    )\n"
	       "    _describe command commands\n"
	       "    return\n"
	       "  fi\n"
	       "  shift words\n"
	       "  (( CURRENT-- ))\n"
	       "  case $words[1] in\n");
	EACH_COMMAND(command) print_zsh_command(command);
	printf("  esac\n}\n\n_larder \"$@\"\n");
}

/* fish. */

static void print_fish_text(const char *text)
{
	putchar('\'');
	for (; *text; text++) {
		if (*text == '\'' || *text == '\\')
			putchar('\\');
		putchar(*text);
	}
	putchar('\'');
}

static void print_fish_option(const struct command *command, const struct command_option *option)
{
	printf("complete -c larder -n '__fish_seen_subcommand_from %s' -l %s", command->name, option->name);
	if (option->letter)
		printf(" -s %c", option->letter);
	if (option->argument) {
		_cleanup_free_ char *choices = choices_of(option->argument);
		switch (kind_of(option->argument)) {
		case FILES:
			printf(" -r -F");
			break;
		case DIRECTORIES:
			printf(" -x -a '(__fish_complete_directories)'");
			break;
		case CHOICES:
			printf(" -x -a '%s'", choices);
			break;
		case REFERENCES:
		case NOTHING:
			printf(" -x");
			break;
		}
	}
	printf(" -d ");
	print_fish_text(option->help);
	printf("\n");
}

static void print_fish_arguments(const struct command *command)
{
	for (const struct command_action *action = command->actions; action && action->name; action++) {
		printf("complete -c larder -n '__fish_seen_subcommand_from %s' -a %s -d ", command->name, action->name);
		print_fish_text(action->help);
		printf("\n");
	}
	if (command->actions || !*command->arguments)
		return;
	if (kind_of(command->arguments) == FILES)
		printf("complete -c larder -n '__fish_seen_subcommand_from %s' -F\n", command->name);
	else if (kind_of(command->arguments) == REFERENCES)
		printf("complete -c larder -n '__fish_seen_subcommand_from %s' "
		       "-a '(larder ls --quiet -- (commandline -ct)\"*\" 2>/dev/null)'\n",
		       command->name);
}

static void print_fish(void)
{
	printf("# fish completion for larder\n\ncomplete -c larder -f\n");
	EACH_COMMAND(command)
	{
		printf("complete -c larder -n __fish_use_subcommand -a %s -d ", command->name);
		print_fish_text(command->summary);
		printf("\n");
		EACH_OPTION(command, option) print_fish_option(command, option);
		print_fish_arguments(command);
	}
}

int cmd_completion(const struct command_line *line)
{
	const char *shell = line->arguments[0];
	if (!strcmp(shell, "bash"))
		print_bash();
	else if (!strcmp(shell, "zsh"))
		print_zsh();
	else
		print_fish();
	return EXIT_DONE;
}
