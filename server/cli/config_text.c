/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/config_text.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORD_MAX 40

/* Where user name and password stand in a URL; empty when there are none. */
static void find_userinfo(const char *text, size_t *start, size_t *end)
{
	const char *authority = strstr(text, "://");
	*start = *end = 0;
	if (!authority)
		return;
	authority += strlen("://");
	const char *at = strrchr(authority, '@');
	if (!at)
		return;
	*start = (size_t)(authority - text);
	*end = (size_t)(at - text);
}

const char *text_show(const char *text, char shown[TEXT_SHOWN_MAX])
{
	size_t len = 0;
	size_t secret = 0;
	size_t secret_end = 0;
	find_userinfo(text, &secret, &secret_end);
	for (; text[len] && len < TEXT_SHOWN_MAX - 4; len++) {
		unsigned char byte = (unsigned char)text[len];
		bool hidden = len >= secret && len < secret_end;
		shown[len] = hidden ? '*' : byte < 0x20 || byte == 0x7f ? '?' : (char)byte;
	}
	if (text[len]) {
		while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
			len--; /* no half of a character */
		memcpy(shown + len, "...", 3);
		len += 3;
	}
	shown[len] = '\0';
	return shown;
}

/* Decodes one UTF-8 character (RFC 3629) and returns its length; 0 when it is none. */
static size_t decode_utf8(const unsigned char *text, uint32_t *code)
{
	static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t len = text[0] < 0x80 ? 1 : text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : text[0] >= 0xc2 ? 2 : 0;
	if (len < 2) {
		*code = text[0];
		return len;
	}
	*code = text[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		*code = *code << 6 | (text[i] & 0x3f);
	}
	bool surrogate = *code >= 0xd800 && *code <= 0xdfff;
	return *code < smallest[len] || *code > 0x10ffff || surrogate ? 0 : len;
}

bool text_is_plain(const char *text)
{
	const unsigned char *at = (const unsigned char *)text;
	while (*at) {
		uint32_t code = 0;
		size_t len = decode_utf8(at, &code);
		bool control = code < 0x20 || (code >= 0x7f && code < 0xa0);
		bool separator = code == 0x2028 || code == 0x2029;
		bool mark = code == 0xfeff || (code & 0xfffe) == 0xfffe;
		if (!len || control || separator || mark)
			return false;
		at += len;
	}
	return true;
}

unsigned text_distance(const char *a, const char *b)
{
	size_t a_len = strlen(a);
	size_t b_len = strlen(b);
	if (a_len > WORD_MAX || b_len > WORD_MAX)
		return WORD_MAX;
	unsigned row[WORD_MAX + 1];
	for (size_t j = 0; j <= b_len; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= a_len; i++) {
		unsigned diagonal = row[0];
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= b_len; j++) {
			unsigned best = diagonal + (a[i - 1] != b[j - 1]);
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			diagonal = row[j];
			row[j] = best;
		}
	}
	return row[b_len];
}

bool text_is_near(const char *word, const char *known)
{
	/* A third of the letters may be wrong, so that short words are not near to everything. */
	return text_distance(word, known) <= (strlen(known) + 2) / 3;
}

static bool name_valid(const char *name, size_t len)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
	return len > 0 && strspn(name, letters) >= len && !(name[0] >= '0' && name[0] <= '9');
}

/* Expands what stands between the braces, "VAR" or "VAR:-default". */
static int expand_reference(const char *inside, size_t len, struct buf *out, struct err *err)
{
	char shown[TEXT_SHOWN_MAX];
	char name[256];
	const char *standard = memmem(inside, len, ":-", 2);
	size_t name_len = standard ? (size_t)(standard - inside) : len;
	if (name_len >= sizeof(name) || !name_valid(inside, name_len)) {
		snprintf(name, sizeof(name), "%.*s", (int)(len < sizeof(name) ? len : sizeof(name) - 1), inside);
		return err_set(err, ERR_INVALID,
			       "'${%s}' names no variable; write ${NAME} or ${NAME:-default}, and $${ for a literal ${",
			       text_show(name, shown));
	}
	snprintf(name, sizeof(name), "%.*s", (int)name_len, inside);
	const char *value = getenv(name);
	if (standard && (!value || !*value)) {
		standard += strlen(":-");
		return buf_append(out, standard, len - (size_t)(standard - inside));
	}
	if (!value)
		return err_set(err, ERR_INVALID,
			       "the environment variable %s is not set; set it, or write ${%s:-default}",
			       text_show(name, shown), shown);
	return buf_append_text(out, value);
}

int text_expand(const char *text, struct buf *out, struct err *err)
{
	int code = 0;
	while (*text && !code) {
		if (!strncmp(text, "$${", 3)) {
			code = buf_append_text(out, "${");
			text += 3;
		} else if (!strncmp(text, "${", 2)) {
			const char *inside = text + 2;
			const char *end = strchr(inside, '}');
			const char *nested = strstr(inside, "${");
			if (!end)
				return err_set(err, ERR_INVALID,
					       "'${' has no '}'; write ${NAME}, and $${ for a literal ${");
			if (nested && nested < end)
				return err_set(err, ERR_INVALID,
					       "a variable's default holds another variable; write one at a time");
			code = expand_reference(inside, (size_t)(end - inside), out, err);
			text = end + 1;
		} else {
			/* A lone dollar is only a dollar. */
			size_t plain = *text == '$' ? 1 : strcspn(text, "$");
			code = buf_append(out, text, plain);
			text += plain;
		}
	}
	return code == ERR_LIMIT ? err_set(err, ERR_LIMIT, "is too long once its variables are expanded") : code;
}

char *text_variable(const char *text)
{
	size_t len = strlen(text);
	bool braced = len > 3 && !strncmp(text, "${", 2) && text[len - 1] == '}';
	return braced && name_valid(text + 2, len - 3) ? mem_strndup(text + 2, len - 3) : NULL;
}
