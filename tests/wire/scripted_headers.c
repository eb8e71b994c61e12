/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/wire/scripted_internal.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

void headers_add(struct headers *headers, const char *name, size_t name_len, const char *value, size_t value_len)
{
	headers->items = mem_realloc(headers->items, (headers->count + 1) * sizeof(*headers->items));
	headers->items[headers->count++] = (struct header){mem_strndup(name, name_len), mem_strndup(value, value_len)};
}

static void remove_at(struct headers *headers, size_t i)
{
	free(headers->items[i].name);
	free(headers->items[i].value);
	headers->count--;
	memmove(&headers->items[i], &headers->items[i + 1], (headers->count - i) * sizeof(*headers->items));
}

static void headers_set_part(struct headers *headers, const char *name, size_t name_len, const char *value,
			     size_t value_len)
{
	for (size_t i = headers->count; i-- > 0;) {
		const char *other = headers->items[i].name;
		if (strlen(other) == name_len && strncasecmp(other, name, name_len) == 0)
			remove_at(headers, i);
	}
	if (value_len > 0)
		headers_add(headers, name, name_len, value, value_len);
}

void headers_set(struct headers *headers, const char *name, const char *value)
{
	headers_set_part(headers, name, strlen(name), value, strlen(value));
}

void headers_set_lines(struct headers *headers, const char *lines)
{
	while (lines && *lines) {
		size_t len = strcspn(lines, "\r\n");
		const char *colon = memchr(lines, ':', len);
		if (colon) {
			const char *value = colon + 1;
			while (value < lines + len && *value == ' ')
				value++;
			headers_set_part(headers, lines, (size_t)(colon - lines), value, (size_t)(lines + len - value));
		}
		lines += len;
		lines += strspn(lines, "\r\n");
	}
}

const char *headers_get(const struct headers *headers, const char *name)
{
	for (size_t i = 0; i < headers->count; i++) {
		if (strcasecmp(headers->items[i].name, name) == 0)
			return headers->items[i].value;
	}
	return NULL;
}

void headers_copy(struct headers *to, const struct headers *from)
{
	for (size_t i = 0; i < from->count; i++) {
		const struct header *item = &from->items[i];
		headers_add(to, item->name, strlen(item->name), item->value, strlen(item->value));
	}
}

void headers_dispose(struct headers *headers)
{
	while (headers->count > 0)
		remove_at(headers, headers->count - 1);
	free(headers->items);
	headers->items = NULL;
}

static int hex_value(char digit)
{
	if (isdigit((unsigned char)digit))
		return digit - '0';
	return isxdigit((unsigned char)digit) ? (digit | 0x20) - 'a' + 10 : -1;
}

static char *percent_decode(const char *text, size_t len)
{
	char *out = mem_alloc(len + 1);
	size_t n = 0;
	for (size_t i = 0; i < len; i++) {
		int high = text[i] == '%' && i + 2 < len ? hex_value(text[i + 1]) : -1;
		int low = high >= 0 ? hex_value(text[i + 2]) : -1;
		if (low >= 0) {
			out[n++] = (char)(high * 16 + low);
			i += 2;
		} else {
			out[n++] = text[i] == '+' ? ' ' : text[i];
		}
	}
	return out;
}

char *query_get(const char *query, const char *name, unsigned nth)
{
	size_t name_len = strlen(name);
	while (query && *query) {
		size_t len = strcspn(query, "&");
		if (len > name_len && query[name_len] == '=' && strncmp(query, name, name_len) == 0 && nth-- == 0)
			return percent_decode(query + name_len + 1, len - name_len - 1);
		query += len + (query[len] == '&');
	}
	return NULL;
}
