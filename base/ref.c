/* SPDX-License-Identifier: Apache-2.0 */
#include "base/ref.h"

static bool is_name_letter(char letter)
{
	return (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9');
}

/* The length of the separator at the start of `text`, 0 when there is none that may stand inside a component. */
static size_t separator_length(const char *text, size_t len)
{
	size_t run = 1;
	switch (text[0]) {
	case '.':
		return 1;
	case '_':
		return len > 1 && text[1] == '_' ? 2 : 1;
	case '-':
		while (run < len && text[run] == '-')
			run++;
		return run;
	case '/':
		return 1;
	default:
		return 0;
	}
}

/* A name is runs of letters with one separator between any two of them; a slash is just one more separator. */
bool ref_repository_valid(const char *name, size_t len)
{
	if (len == 0 || len > REF_REPOSITORY_MAX)
		return false;
	size_t at = 0;
	for (;;) {
		size_t start = at;
		while (at < len && is_name_letter(name[at]))
			at++;
		if (at == start)
			return false;
		if (at == len)
			return true;
		size_t separator = separator_length(name + at, len - at);
		if (!separator)
			return false;
		at += separator;
	}
}

bool ref_tag_valid(const char *tag, size_t len)
{
	if (len == 0 || len > REF_TAG_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		char letter = tag[i];
		if (is_name_letter(letter) || (letter >= 'A' && letter <= 'Z') || letter == '_')
			continue;
		if (i == 0 || (letter != '.' && letter != '-'))
			return false;
	}
	return true;
}
