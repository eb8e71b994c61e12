/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/show.h"

#include "base/buf.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void show_json(const json_t *document)
{
	/* Files in images are named by strangers: some characters turn a terminal's text round, or steer it. */
	size_t escapes = isatty(STDOUT_FILENO) ? JSON_ENSURE_ASCII : 0;

	json_dumpf(document, stdout, JSON_INDENT(2) | SHOW_PRECISION | escapes);
	putchar('\n');
}

uint64_t show_number(const json_t *object, const char *name)
{
	json_int_t value = json_integer_value(json_object_get(object, name));

	return value > 0 ? (uint64_t)value : 0;
}

const char *show_text(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

bool show_is(const json_t *object, const char *name)
{
	return json_is_true(json_object_get(object, name));
}

char *show_list(const json_t *object, const char *name)
{
	const json_t *list = json_object_get(object, name), *item;
	struct buf words = {0};
	size_t i;

	buf_append_text(&words, "");
	json_array_foreach(list, i, item)
	{
		if (json_is_string(item))
			buf_printf(&words, "%s%s", words.len ? ", " : "", json_string_value(item));
	}
	return words.data;
}

const char *show_hex(const json_t *object, const char *name, char text[SHOW_HEX_MAX])
{
	const char *digest = show_text(object, name), *hex = strchr(digest, ':');

	snprintf(text, SHOW_HEX_MAX, "%s", hex ? hex + 1 : digest);
	return text;
}

/* Control characters of both halves of Latin-1 (C1 is U+0080 to U+009F: c2 80 to c2 9f), and what turns the direction
 * of text (U+202A to U+202E, U+2066 to U+2069), which hides what a name is. */
static bool is_harmless(const char *at, size_t len)
{
	const unsigned char *byte = (const unsigned char *)at;

	if (len == 1)
		return byte[0] >= ' ' && byte[0] != 0x7f;
	if (len == 2)
		return byte[0] != 0xc2 || byte[1] >= 0xa0;
	if (len == 3 && byte[0] == 0xe2 && byte[1] == 0x80)
		return byte[2] < 0xa8 || byte[2] > 0xae;
	if (len == 3 && byte[0] == 0xe2 && byte[1] == 0x81)
		return byte[2] < 0xa6 || byte[2] > 0xa9;
	return true;
}

const char *show_plain(const char *text, char plain[SHOW_TEXT_MAX])
{
	size_t len = 0;

	while (*text) {
		size_t bytes = buf_utf8_length(text);

		if (len + (bytes ? bytes : 1) >= SHOW_TEXT_MAX)
			break;
		if (bytes == 0 || !is_harmless(text, bytes))
			plain[len++] = '?';
		else
			for (size_t i = 0; i < bytes; i++)
				plain[len++] = text[i];
		text += bytes ? bytes : 1;
	}
	plain[len] = '\0';
	return plain;
}

const char *show_age(uint64_t seconds, char text[SHOW_AGE_MAX])
{
	static const struct {
		uint64_t seconds;
		char unit;
	} units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
	size_t i = 0;

	/* Two of the next smaller unit say more than one of the larger. */
	while (i < 3 && seconds < 2 * units[i].seconds)
		i++;
	snprintf(text, SHOW_AGE_MAX, "%" PRIu64 "%c", seconds / units[i].seconds, units[i].unit);
	return text;
}
