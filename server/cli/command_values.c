/* SPDX-License-Identifier: Apache-2.0 */
/* Whether values are what the table's words for them say, for all commands alike: a wrong one is found before anything
 * is read or asked. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/ref.h"
#include "server/cli/command.h"
#include "server/cli/config_text.h"
#include "server/prefetch/spec.h"
#include "store/manifest.h"
#include "store/pins.h"

#include <string.h>

typedef int check_fn(const char *value, struct err *err);

static int check_platform(const char *value, struct err *err)
{
	return manifest_platform_valid(value)
		       ? 0
		       : err_set(err, ERR_INVALID, "a platform is written linux/amd64 or linux/arm/v7");
}

static int check_reference(const char *value, struct err *err)
{
	struct ref ref;

	return ref_parse(value, &ref, err);
}

static int check_pattern(const char *value, struct err *err)
{
	_cleanup_free_ struct spec *spec = mem_alloc(sizeof(*spec));

	return spec_parse(value, spec, err);
}

static int check_forgettable(const char *value, struct err *err)
{
	struct digest digest;

	if (strncmp(value, "sha256:", 7) != 0 && strncmp(value, "sha512:", 7) != 0)
		return check_reference(value, err);
	return digest_parse(value, &digest) == 0 ? 0 : err_set(err, ERR_INVALID, "the digest is malformed");
}

static int check_pin_name(const char *value, struct err *err)
{
	return pin_name_valid(value)
		       ? 0
		       : err_set(err, ERR_INVALID, "a pin's name has letters, digits, dots, hyphens and underscores");
}

static const struct {
	const char *word; /* in the table */
	check_fn *check;
} kinds[] = {
	{"OS/ARCH[/VARIANT]", check_platform},  {"REF", check_reference},
	{"REPOSITORY[:TAG]", check_reference},  {"NAME", check_pin_name},
	{"REF|REPO|DIGEST", check_forgettable},
};

static int check_value(const struct command *command, const char *word, size_t len, const char *value, struct err *err)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strlen(kinds[i].word) == len && strncmp(kinds[i].word, word, len) == 0)
			return (command->patterns && kinds[i].check == check_reference ? check_pattern
										       : kinds[i].check)(value, err);
	return 0;
}

/* "a|b". Words in capitals are placeholders. */
static bool is_choice(const char *words)
{
	return strchr(words, '|') && !strpbrk(words, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
}

static bool is_among(const char *words, const char *value)
{
	size_t len;

	for (; *words; words += len + (words[len] == '|')) {
		len = strcspn(words, "|");
		if (strlen(value) == len && strncmp(value, words, len) == 0)
			return true;
	}
	return false;
}

int command_check_option(const struct command *command, const struct command_option *option, const char *value)
{
	char shown[TEXT_SHOWN_MAX];
	struct err err;

	if (!value)
		return EXIT_DONE;
	if (is_choice(option->argument) && !is_among(option->argument, value))
		err_set(&err, ERR_INVALID, "write %s", option->argument);
	else if (check_value(command, option->argument, strlen(option->argument), value, &err) == 0)
		return EXIT_DONE;
	return command_usage_error(command->name, "--%s '%s': %s", option->name, text_show(value, shown), err.text);
}

static bool take_end(const char *word, size_t *len, const char *end)
{
	size_t end_len = strlen(end);

	if (*len < end_len || memcmp(word + *len - end_len, end, end_len) != 0)
		return false;
	*len -= end_len;
	return true;
}

int command_check_arguments(const struct command *command, char *const *arguments, int count)
{
	const char *word = command->arguments;
	char shown[TEXT_SHOWN_MAX];
	struct err err;

	for (int i = 0; i < count && *word && !command->actions; i++) {
		size_t all = strcspn(word, " "), len = all;
		bool optional = *word == '[', repeats = false;

		while (take_end(word, &len, "]") || (take_end(word, &len, "…") && (repeats = true)))
			;
		if (check_value(command, word + optional, len - optional, arguments[i], &err))
			return command_usage_error(command->name, "'%s': %s", text_show(arguments[i], shown), err.text);
		if (!repeats)
			word += all + (word[all] == ' ');
	}
	return EXIT_DONE;
}
