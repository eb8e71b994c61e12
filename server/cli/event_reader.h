/* SPDX-License-Identifier: Apache-2.0 */
/* Server-sent events (WHATWG HTML, "Server-sent events"), as far as the admin API sends them: the data of each event.
 */
#pragma once

#include "base/buf.h"

#include <stdbool.h>

#define EVENT_MAX ((size_t)4 << 20)

struct event_reader {
	/* The data of one event, with a NUL behind it. Anything but 0 ends the stream. */
	int (*each)(void *arg, const char *data, size_t len);
	void *arg;

	struct buf line, data; /* private; zero */
};

/* The next piece of the stream, cut anywhere: what `each` returned, or ERR_LIMIT. */
int event_reader_take(struct event_reader *reader, const char *piece, size_t len);
void event_reader_dispose(struct event_reader *reader);
