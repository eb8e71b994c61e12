/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log. Lines are put into a bounded buffer and written by a thread of the log's own, so that a reader of our output
 * who has stopped reading never stops a pull: when the buffer is full, lines are dropped, and their number is said once
 * there is room. Diagnostics go to standard error, the access log to standard output; where that is the journal's, a
 * line tells it its priority. Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

/* Starts the writing thread. Before it, lines are written at once. Call once, before other threads exist. */
void log_start(enum log_level level, enum log_format format);
/* Writes what is buffered and ends the thread. */
void log_stop(void);

bool log_wants(enum log_level level);
/* From now on. Any thread. */
void log_set_level(enum log_level level);

/* The request that this thread works for, until it is set anew: its diagnostic lines name it. Borrowed; NULL: none. */
#define LOG_REQUEST_MAX 64 /* with the NUL */
void log_set_request(const char *id);
/* Likewise; "" when there is none. */
const char *log_request_id(void);

/* One diagnostic line. Control characters in the message are escaped: peers' words end up in it. */
void log_message(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define log_error(...) log_message(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_message(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_message(LOG_INFO, __VA_ARGS__)
#define log_debug(...)                                                                                                 \
	do {                                                                                                           \
		if (log_wants(LOG_DEBUG))                                                                              \
			log_message(LOG_DEBUG, __VA_ARGS__);                                                           \
	} while (0)

/* One field of an access line: text (NULL prints as "-") or a number. */
struct log_field {
	const char *name;
	const char *text;
	uint64_t number; /* used when `is_number` */
	bool is_number;
};

/* One line of the access log: `name=value …` in text, one object in JSON, with the time in front. */
void log_access(const struct log_field *fields, size_t count);
