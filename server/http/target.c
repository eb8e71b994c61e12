/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of a request's target (RFC 9112, section 3.2; RFC 3986). */
#include "server/http/http_internal.h"

#include <string.h>
#include <strings.h>

const char *http_target_path(const char *target)
{
	size_t scheme = strncasecmp(target, "http://", 7) == 0 ? 7 : strncasecmp(target, "https://", 8) == 0 ? 8 : 0;

	return scheme ? target + scheme + strcspn(target + scheme, "/?") : target;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

enum decoding { DECODE_PATH, DECODE_QUERY, DECODE_BYTES /* of a query, control characters too */ };

static int decode(const char *text, size_t len, enum decoding how, char *out, size_t size)
{
	size_t used = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == '%') {
			if (len - i < 3 || hex_value(text[i + 1]) < 0 || hex_value(text[i + 2]) < 0)
				return ERR_INVALID;
			c = (unsigned char)(hex_value(text[i + 1]) * 16 + hex_value(text[i + 2]));
			i += 2;
		} else if (c == '+' && how != DECODE_PATH) {
			c = ' ';
		}
		if (c == '\0' || (how != DECODE_BYTES && (c < 0x20 || c == 0x7f)) || used + 1 >= size)
			return ERR_INVALID;
		out[used++] = (char)c;
	}
	out[used] = '\0';
	return 0;
}

int http_path_decode(const char *path, char *out, size_t size)
{
	return decode(path, strlen(path), DECODE_PATH, out, size);
}

/* The first parameter of this name: its text with name and "=", and how long that is; NULL when there is none. */
static const char *find_parameter(const char *query, const char *name, size_t *len)
{
	size_t name_len = strlen(name);

	while (*query) {
		*len = strcspn(query, "&");
		if (*len > name_len && query[name_len] == '=' && strncmp(query, name, name_len) == 0)
			return query;
		query += *len;
		query += *query == '&';
	}
	return NULL;
}

static int read_value(const char *query, const char *name, enum decoding how, char *value, size_t size)
{
	size_t len, skip = strlen(name) + 1;
	const char *found = find_parameter(query, name, &len);

	return found ? decode(found + skip, len - skip, how, value, size) : ERR_NOT_FOUND;
}

int http_query_value(const char *query, const char *name, char *value, size_t size)
{
	return read_value(query, name, DECODE_QUERY, value, size);
}

int http_query_bytes(const char *query, const char *name, char *value, size_t size)
{
	return read_value(query, name, DECODE_BYTES, value, size);
}

const char *http_query_behind(const char *query, const char *name)
{
	size_t len;
	const char *found = find_parameter(query, name, &len);

	return found ? found + len : NULL;
}
