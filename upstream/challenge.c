/* SPDX-License-Identifier: Apache-2.0 */
#include "upstream/challenge.h"

#include "base/err.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

enum value_result {
	VALUE_READ,
	VALUE_TOO_LONG,
	VALUE_BROKEN, /* a quote without its end, or a control character: what follows means nothing */
};

static bool is_blank(char letter)
{
	return letter == ' ' || letter == '\t';
}

static bool is_control(char letter)
{
	return (unsigned char)letter < 0x20 ? letter != '\t' : letter == 0x7f;
}

static bool is_alphanumeric(char letter)
{
	return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') || (letter >= '0' && letter <= '9');
}

/* RFC 9110, section 5.6.2 */
static size_t token_length(const char *text)
{
	size_t len = 0;
	while (is_alphanumeric(text[len]) || (text[len] && strchr("!#$%&'*+-.^_`|~", text[len])))
		len++;
	return len;
}

static const char *skip_blanks(const char *at)
{
	while (is_blank(*at))
		at++;
	return at;
}

/* RFC 9110, section 11.2: after a scheme may stand one token68 in place of parameters. Returns its end, NULL when it is
 * none. */
static const char *skip_token68(const char *at)
{
	const char *start = at;
	while (is_alphanumeric(*at) || (*at && strchr("-._~+/", *at)))
		at++;
	if (at == start)
		return NULL;
	while (*at == '=')
		at++;
	const char *end = at;
	at = skip_blanks(at);
	return !*at || *at == ',' ? end : NULL;
}

/* Adds a character to a value while there is room; counts on, so that the caller sees what did not fit. */
static void put(char *value, size_t *len, char letter)
{
	if (*len < CHALLENGE_VALUE_MAX - 1)
		value[*len] = letter;
	(*len)++;
}

/* Reads a quoted or bare value into `value` (CHALLENGE_VALUE_MAX bytes) and moves past it. Bare ones are read up to the
 * next comma or blank, because registries leave URLs unquoted, which are no tokens. */
static enum value_result read_value(const char **text, char *value)
{
	const char *at = *text;
	size_t len = 0;
	if (*at == '"') {
		for (at++; *at != '"'; at++) {
			if (*at == '\\')
				at++;
			if (!*at || is_control(*at))
				return VALUE_BROKEN;
			put(value, &len, *at);
		}
		at++;
	} else {
		for (; *at && *at != ',' && *at != '"' && !is_blank(*at); at++) {
			if (is_control(*at))
				return VALUE_BROKEN;
			put(value, &len, *at);
		}
	}
	*text = at;
	value[len < CHALLENGE_VALUE_MAX ? len : CHALLENGE_VALUE_MAX - 1] = '\0';
	return len < CHALLENGE_VALUE_MAX ? VALUE_READ : VALUE_TOO_LONG;
}

static const struct parameter {
	const char *name;
	size_t offset; /* of its value in struct challenge */
} parameters[] = {
	{"realm", offsetof(struct challenge, realm)},
	{"service", offsetof(struct challenge, service)},
	{"scope", offsetof(struct challenge, scope)},
	{"error", offsetof(struct challenge, error)},
};

#define PARAMETER_COUNT (sizeof(parameters) / sizeof(parameters[0]))

/* PARAMETER_COUNT when nobody asks for it. */
static size_t find_parameter(const char *name, size_t len)
{
	size_t i = 0;
	while (i < PARAMETER_COUNT &&
	       (strlen(parameters[i].name) != len || strncasecmp(parameters[i].name, name, len) != 0))
		i++;
	return i;
}

static enum challenge_scheme scheme_of(const char *name, size_t len)
{
	if (len == 6 && !strncasecmp(name, "Bearer", len))
		return CHALLENGE_BEARER;
	if (len == 5 && !strncasecmp(name, "Basic", len))
		return CHALLENGE_BASIC;
	return CHALLENGE_NONE;
}

/* Ends a challenge: the first usable one of the preferred scheme stays. A Bearer without realm says nowhere to go. */
static void settle(struct challenge *best, const struct challenge *current)
{
	if (current->scheme == CHALLENGE_BEARER && !current->realm[0])
		return;
	if (current->scheme > best->scheme)
		*best = *current;
}

static void begin(struct challenge *challenge, enum challenge_scheme scheme)
{
	challenge->scheme = scheme;
	challenge->realm[0] = '\0';
	challenge->service[0] = '\0';
	challenge->scope[0] = '\0';
	challenge->error[0] = '\0';
}

/* Reads one parameter, from its '='. `seen` has a bit for each that was read before. */
static enum value_result read_parameter(struct challenge *current, size_t index, const char **text, unsigned *seen)
{
	char value[CHALLENGE_VALUE_MAX];
	*text = skip_blanks(*text + 1);
	enum value_result result = read_value(text, value);
	if (result == VALUE_BROKEN)
		return result;
	if (index == PARAMETER_COUNT || current->scheme == CHALLENGE_NONE || *seen & 1U << index)
		return VALUE_READ;
	*seen |= 1U << index;
	if (result == VALUE_READ)
		strcpy((char *)current + parameters[index].offset, value);
	return result;
}

int challenge_parse(const char *header, struct challenge *challenge)
{
	struct challenge best;
	struct challenge current;
	unsigned seen = 0;
	const char *at = header;
	begin(&best, CHALLENGE_NONE);
	begin(&current, CHALLENGE_NONE);
	for (;;) {
		while (is_blank(*at) || *at == ',')
			at++;
		if (!*at)
			break;
		size_t len = token_length(at);
		const char *name = at;
		at = skip_blanks(at + len);
		/* Garbage ends the reading; what was whole before it stays good. */
		if (len == 0 || (*at && *at != '=' && *at != ',' && at == name + len))
			break;
		if (*at != '=') {
			settle(&best, &current);
			begin(&current, scheme_of(name, len));
			seen = 0;
			const char *end = skip_token68(at);
			at = end ? end : at;
			continue;
		}
		enum value_result result = read_parameter(&current, find_parameter(name, len), &at, &seen);
		if (result == VALUE_TOO_LONG)
			return ERR_INVALID;
		if (result == VALUE_BROKEN) {
			/* A challenge cut in the middle would be asked about with half of its scope. */
			begin(&current, CHALLENGE_NONE);
			break;
		}
	}
	settle(&best, &current);
	if (best.scheme == CHALLENGE_NONE)
		return ERR_INVALID;
	*challenge = best;
	return 0;
}
