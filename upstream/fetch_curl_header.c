/* SPDX-License-Identifier: Apache-2.0 */
/* The headers of an answer. */
#include "upstream/fetch_curl.h"

#include <string.h>
#include <strings.h>

void fetch_headers_reset(struct fetch *fetch)
{
	buf_clear(&fetch->header_text);
	fetch->status = 0;
}

void fetch_header_add(struct fetch *fetch, const char *line, size_t len)
{
	const char *colon = memchr(line, ':', len);
	const char *value;

	if (!colon)
		return;
	value = colon + 1;
	while (len > 0 &&
	       (line[len - 1] == '\r' || line[len - 1] == '\n' || line[len - 1] == ' ' || line[len - 1] == '\t'))
		len--;
	while (value < line + len && (*value == ' ' || *value == '\t'))
		value++;
	/* The bound on header_bytes keeps this far below the buffer's maximum. */
	buf_append(&fetch->header_text, line, (size_t)(colon - line));
	buf_append(&fetch->header_text, "", 1);
	if (value < line + len)
		buf_append(&fetch->header_text, value, (size_t)(line + len - value));
	buf_append(&fetch->header_text, "", 1);
}

static const char *header_next(const struct fetch *fetch, const char *name, size_t *offset)
{
	while (*offset < fetch->header_text.len) {
		const char *found = fetch->header_text.data + *offset;
		const char *value = found + strlen(found) + 1;

		*offset = (size_t)(value + strlen(value) + 1 - fetch->header_text.data);
		if (strcasecmp(found, name) == 0)
			return value;
	}
	return NULL;
}

const char *fetch_header(const struct fetch *fetch, const char *name)
{
	size_t offset = 0;

	return header_next(fetch, name, &offset);
}

const char *fetch_header_all(struct fetch *fetch, const char *name)
{
	const char *value;
	size_t offset = 0;

	buf_clear(&fetch->joined);
	while ((value = header_next(fetch, name, &offset))) {
		if (fetch->joined.len > 0)
			buf_append_text(&fetch->joined, ", ");
		buf_append_text(&fetch->joined, value);
	}
	return fetch->joined.len > 0 ? fetch->joined.data : NULL;
}
