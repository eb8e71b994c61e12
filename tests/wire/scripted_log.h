/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a scripted upstream saw. Every request becomes a record when its header is complete. Patterns are globs in which
 * * crosses slashes, held against the path without and with its query; NULL for a method or pattern means any.
 */
#pragma once

#include "tests/wire/scripted.h"

struct headers;

enum scripted_protocol { SCRIPTED_HTTP1 = 1, SCRIPTED_HTTP2 = 2 };

enum scripted_outcome {
	SCRIPTED_RUNNING, /* no answer yet, or not whole */
	SCRIPTED_DONE,    /* answered to the last byte */
	SCRIPTED_CUT,     /* a rule ended it */
	SCRIPTED_LEFT,    /* the client ended it */
};

struct scripted_record {
	unsigned number; /* from 1 on, in order of arrival */
	int listener;
	unsigned connection; /* from 1 on, in order of acceptance, over all listeners */
	int32_t stream;      /* HTTP/2; 0 on HTTP/1.1 */
	enum scripted_protocol protocol;
	char *method;
	char *target;            /* path and query */
	char *authority;         /* Host */
	struct headers *headers; /* see scripted_record_header() */
	char *body;              /* of the request; "" when none */
	double at_ms;            /* since the instance started; see also scripted_now_ms() */
	double head_ms;          /* when the answer's head was sent; 0: not yet */
	double end_ms;           /* when the exchange ended; 0: not yet */
	int status;              /* 0: none sent */
	uint64_t body_sent;      /* body bytes handed to the connection */
	enum scripted_outcome outcome;
};

/* Copies the matching records, oldest first, into an array that the caller frees with scripted_records_free(). */
struct scripted_record *scripted_records(struct scripted *scripted, const char *method, const char *pattern,
					 size_t *count);
void scripted_records_free(struct scripted_record *records, size_t count);

/* A request header's value, or NULL. Borrowed, as long as the records. */
const char *scripted_record_header(const struct scripted_record *record, const char *name);

unsigned scripted_count(struct scripted *scripted, const char *method, const char *pattern);
uint64_t scripted_body_sent(struct scripted *scripted, const char *method, const char *pattern);

struct scripted_stats {
	unsigned accepted; /* connections ever */
	unsigned open;     /* connections now */
	unsigned open_max;
	unsigned running; /* requests being answered now */
	unsigned running_max;
	unsigned requests; /* ever */
	unsigned limited;  /* answered 429 by the shape */
	uint64_t body_sent;
};

/* Of a listener, or of all together (0). */
void scripted_get_stats(struct scripted *scripted, int listener, struct scripted_stats *stats);

/* The clock of at_ms. */
double scripted_now_ms(struct scripted *scripted);

/* Wait until as many requests matched, as many body bytes were sent for them, or nothing is being answered and (with
 * `closed`) no connection is open. False when that did not come true within `deadline_ms`. */
bool scripted_wait_count(struct scripted *scripted, const char *method, const char *pattern, unsigned count,
			 unsigned deadline_ms);
bool scripted_wait_body(struct scripted *scripted, const char *method, const char *pattern, uint64_t bytes,
			unsigned deadline_ms);
bool scripted_wait_idle(struct scripted *scripted, bool closed, unsigned deadline_ms);

/* Forgets all records and the maxima, so that what follows is counted from nothing. Running requests are kept. */
void scripted_clear_log(struct scripted *scripted);
