/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/event_reader.h"

#include <string.h>

/* A whole line without its end. */
static int take_line(struct event_reader *reader)
{
	const char *line = reader->line.data ? reader->line.data : "";
	int code = 0;

	if (!*line && reader->data.len > 0) {
		code = reader->each(reader->arg, reader->data.data, reader->data.len);
		buf_clear(&reader->data);
	} else if (strncmp(line, "data:", 5) == 0) {
		if (reader->data.len > 0)
			buf_append(&reader->data, "\n", 1);
		reader->data.max = EVENT_MAX;
		code = buf_append_text(&reader->data, line + 5 + (line[5] == ' '));
	}
	buf_clear(&reader->line);
	return code;
}

int event_reader_take(struct event_reader *reader, const char *piece, size_t len)
{
	const char *end = piece + len;
	int code = 0;

	reader->line.max = EVENT_MAX;
	while (code == 0 && piece < end) {
		const char *stop = memchr(piece, '\n', (size_t)(end - piece));
		size_t part = (size_t)((stop ? stop : end) - piece);

		code = buf_append(&reader->line, piece, part);
		piece += part + (stop != NULL);
		if (code || !stop)
			continue;
		if (reader->line.len > 0 && reader->line.data[reader->line.len - 1] == '\r')
			reader->line.data[--reader->line.len] = '\0';
		code = take_line(reader);
	}
	return code;
}

void event_reader_dispose(struct event_reader *reader)
{
	buf_dispose(&reader->line);
	buf_dispose(&reader->data);
}
