/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of admin/ share: one request, how it is answered, and the table of routes.
 *
 * A route's answer() runs where its way says: on the serving thread, which it must not keep, or on a thread that may
 * block. It sees the request through the visit alone, which holds copies of what it needs, so that a client that
 * leaves takes nothing away from under it. It replies once: with something whole, or, on its way ADMIN_STREAMS, piece
 * by piece.
 */
#pragma once

#include "base/buf.h"
#include "base/work.h"
#include "server/admin/admin.h"
#include "server/jobs/jobs.h"
#include "server/prefetch/prefetch.h"
#include "server/registry/traffic.h"

#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>

#define ADMIN_JSON        (JSON_COMPACT | JSON_REAL_PRECISION(15)) /* how documents are written */
#define ADMIN_VALUE_MAX   1024                                     /* of one parameter of a query */
#define ADMIN_HEADERS_MAX 8
#define ADMIN_PIPE_BYTES  ((size_t)256 << 10) /* between a stream's thread and its connection, each way */
#define ADMIN_WORKERS     4
#define ADMIN_STREAMS_MAX 8 /* that run at once; others wait */
#define ADMIN_JOB_KINDS   3

struct files;
struct pull_upstream;
struct visit_flow;
struct events;
struct history;
struct route;
struct schedule;

struct admin {
	struct pull *pull;
	struct store *store;
	struct files *files;
	const struct traffic *traffic;
	bool has_token;      /* whoever asks must show it */
	uint8_t *verify_key; /* NULL: bundles need not be signed */
	int64_t began_wall_s;
	uint64_t began_ms;
	enum admin_phase phase; /* atomic */
	struct work *work;      /* ADMIN_BLOCKS */
	struct work *streams;   /* ADMIN_STREAMS */
	struct jobs *jobs;
	struct prefetch prefetch;
	struct job_kind kinds[ADMIN_JOB_KINDS];
	struct events *events;
	struct history *history;
	struct schedule *schedule; /* NULL: nothing is scheduled */

	pthread_mutex_t lock; /* guards what follows; taken before a visit's own */
	char *token;
	struct admin_visit *visits;
	bool closing;
};

struct admin_visit {
	struct admin *admin;
	const struct admin_route *route; /* NULL: none, and the reply is there already */
	enum http_method method;
	char *path;       /* decoded */
	const char *rest; /* of it, what the route has in braces; "" */
	char *query;
	char *body; /* of a route that wants one: what was sent, with a NUL behind it */
	size_t body_len;
	bool body_too_large;
	char *range;         /* the Range header, or NULL */
	char *if_range;      /* likewise */
	char *if_none_match; /* likewise */
	char *content_type;  /* likewise */
	char client[HTTP_CLIENT_TEXT_MAX];
	char id[HTTP_ID_MAX]; /* the request's */

	struct visit_flow *flow; /* visit.c's and stream.c's own */
	struct admin_visit *prev, *next;
};

enum admin_way {
	ADMIN_AT_ONCE, /* on the serving thread: it looks into memory and the index, and does not wait */
	ADMIN_BLOCKS,  /* on one of a few threads: it walks the disk or waits for a commit */
	ADMIN_STREAMS, /* on a thread of its own: it reads the request's body or writes the reply as it goes */
};

/* A route. A GET also answers HEAD. */
struct admin_route {
	enum http_method method;
	const char *path;       /* "/api/v1/jobs/{id}": in braces, what is between two slashes, or ends it */
	const char *parameters; /* of the query, as the documentation shows them; "" when there are none */
	const char *help;       /* one line */
	void (*answer)(struct admin_visit *visit);
	bool open; /* asked by probes, which have no token */
	enum admin_way way;
	/* For the API's description: schemas of openapi.c, or media types. JSON that is sent is kept whole, up to
	 * HTTP_COLLECT_MAX: admin_body(). */
	const char *sends, *answers;
	int status; /* of a good answer; 0: 200 */
};

extern const struct admin_route admin_routes[];
extern const size_t admin_route_count;
/* Whether a body of JSON is sent to it. */
bool admin_route_takes_json(const struct admin_route *route);

/* Replies; one of them is called once for a visit. */
void admin_reply_json(struct admin_visit *visit, int status, json_t *json); /* takes `json` over */
void admin_reply_text(struct admin_visit *visit, const char *content_type, const struct buf *text);
/* `code` is one word for programs; the message is for people. */
void admin_reply_error(struct admin_visit *visit, int status, const char *code, const char *message);
void admin_reply_error_with(struct admin_visit *visit, int status, const char *code, const char *message,
			    const struct http_header *more);
/* From an error of the rooms below. */
void admin_reply_err(struct admin_visit *visit, const struct err *err);
/* The same where the request is well made: what is invalid is what it is about, 422. */
void admin_reply_unfit(struct admin_visit *visit, const struct err *err);
/* The one that all others come to: `data` is copied, `more` (may be NULL) are headers besides the usual ones. */
void admin_reply(struct admin_visit *visit, int status, const char *content_type, const void *data, size_t len,
		 const struct http_header *more, size_t more_count);

/* A text that strangers may have written: what is no UTF-8 is shown as '?'. */
json_t *admin_words(const char *text);

/* A parameter that the query must have. False when it is absent or malformed, which is then answered. */
bool admin_parameter(struct admin_visit *visit, const char *name, char value[ADMIN_VALUE_MAX]);
/* The same of one that may be absent: "" then. */
bool admin_parameter_optional(struct admin_visit *visit, const char *name, char value[ADMIN_VALUE_MAX]);
/* The same of what may have any bytes but NUL: names of files. */
bool admin_parameter_bytes(struct admin_visit *visit, const char *name, bool needed, char *value, size_t size);
/* The JSON object that was sent, an empty one where nothing was sent; the caller's to free.
 * NULL when it is none, or too large, which is then answered. */
json_t *admin_body(struct admin_visit *visit);

/*
 * Streams: for a route whose way is ADMIN_STREAMS, on its thread. They block, and say ERR_CANCELLED once the client has
 * left or larder stops.
 */
/* The next bytes of the request's body: the count, 0 at its end. */
ssize_t admin_read(struct admin_visit *visit, void *data, size_t max);
/* Begins a reply of `len` bytes (HTTP_LENGTH_UNKNOWN) that admin_write() brings. It ends when answer() returns; what
 * is not complete then, or was cut, is seen by the client as cut. */
void admin_reply_stream(struct admin_visit *visit, int status, const struct http_header *headers, size_t count,
			uint64_t len);
int admin_write(struct admin_visit *visit, const void *data, size_t len);
void admin_cut(struct admin_visit *visit);
/* Whether the client has left or larder stops: for work that goes on long without a word. */
bool admin_has_ended(struct admin_visit *visit);

/*
 * A reply that goes on by itself, on the serving thread and without one of its own: read() gives what there is, 0 when
 * that is nothing now, HTTP_READ_END at its end; admin_wake() makes it be asked again. It is called under the visit's
 * lock, so it calls nothing of the visit's. ended() is its end, after which the visit is not woken any more.
 */
struct admin_source {
	ssize_t (*read)(void *arg, void *data, size_t max);
	void (*ended)(void *arg);
	void *arg;
};
void admin_reply_source(struct admin_visit *visit, const char *content_type, const struct admin_source *source);
/* Any thread, until ended() has returned. */
void admin_wake(struct admin_visit *visit);

/*
 * The life of a visit, for admin.c; on the serving thread. visit_run() starts the route's answer once: a stream's as
 * soon as the head is there, any other's when the body is. visit_show() sends what there is, or pauses the request;
 * visit_end() is the request's end, whoever still works for it.
 */
struct admin_visit *visit_new(struct admin *admin, struct http_request *request);
void visit_run(struct admin_visit *visit);
void visit_take_body(struct admin_visit *visit); /* the request is read to its end */
void visit_show(struct admin_visit *visit);
ssize_t visit_take(struct admin_visit *visit, const void *data, size_t len);
void visit_end(struct admin_visit *visit);
/* All of them: from here on nothing waits. */
void visits_close(struct admin *admin);

/* The routes' answers. */
void admin_healthz(struct admin_visit *visit);
void admin_readyz(struct admin_visit *visit);
void admin_metrics(struct admin_visit *visit);
void admin_status(struct admin_visit *visit);
void admin_page(struct admin_visit *visit);
void admin_page_style(struct admin_visit *visit);
void admin_page_script(struct admin_visit *visit);
void admin_explain(struct admin_visit *visit);
void admin_export(struct admin_visit *visit);
void admin_import(struct admin_visit *visit);
void admin_receipt(struct admin_visit *visit);
void admin_start_prefetch(struct admin_visit *visit);
void admin_list_jobs(struct admin_visit *visit);
void admin_show_job(struct admin_visit *visit);
void admin_follow_job(struct admin_visit *visit);
void admin_cancel_job(struct admin_visit *visit);
void admin_list_images(struct admin_visit *visit);
void admin_check(struct admin_visit *visit);
void admin_forget_image(struct admin_visit *visit);
void admin_forget_blob(struct admin_visit *visit);
void admin_list_pins(struct admin_visit *visit);
void admin_show_pin(struct admin_visit *visit);
void admin_put_pin(struct admin_visit *visit);
void admin_delete_pin(struct admin_visit *visit);
void admin_start_gc(struct admin_visit *visit);
void admin_start_verify(struct admin_visit *visit);
void admin_image(struct admin_visit *visit);
void admin_files(struct admin_visit *visit);
void admin_file(struct admin_visit *visit);
void admin_find(struct admin_visit *visit);
void admin_diff(struct admin_visit *visit);
void admin_openapi(struct admin_visit *visit);
void admin_history(struct admin_visit *visit);
void admin_follow(struct admin_visit *visit);

/* Looks at the counters now and then, from here on. */
struct history *history_new(struct admin *admin);
void history_free(struct history *history);

/* NULL when nothing is to be done. */
struct schedule *schedule_new(struct admin *admin, const struct admin_scheduled *scheduled, size_t count);
/* Takes NULL. */
void schedule_free(struct schedule *schedule);

/* How many manifests and blobs clients got so. */
uint64_t admin_count_outcome(const struct traffic *traffic, enum traffic_outcome outcome);

/* Starts a job and replies 202 with its id; `request` is taken over. */
void admin_start_job(struct admin_visit *visit, const char *kind, json_t *request);
/* The kinds' run(); `arg` is the struct admin. */
int admin_run_gc(void *arg, struct job *job, const json_t *request, struct err *err);
int admin_run_verify(void *arg, struct job *job, const json_t *request, struct err *err);
/* Which upstream and repository a reference of people's means. */
bool admin_find_reference(struct admin_visit *visit, const char *text, struct route *route, struct err *err);

/*
 * Server-sent events. A topic is looked at four times a second, and told when it is another than it was: whoever reads
 * slowly is told the latest, and nothing is queued.
 */
struct event_topic {
	/* Another number whenever there is something new to tell; 0: the topic is gone. `last`: nothing will come after
	 * what there is now. */
	uint64_t (*version)(struct admin *admin, const char *name, bool *last);
	/* What there is now; NULL: nothing. */
	json_t *(*describe)(struct admin *admin, const char *name);
	const char *event; /* its name */
};
struct events *events_new(struct admin *admin);
/* Ends all streams, which are not opened any more from then on. */
void events_stop(struct events *events);
/* After all visits have ended. */
void events_free(struct events *events);
/* Replies with the events of a topic; `name` is copied. On the serving thread. */
void events_reply(struct admin_visit *visit, const struct event_topic *topic, const char *name);

/* An upstream's health, budget and pace, as status and explain tell them. */
json_t *admin_describe_upstream(const struct pull_upstream *upstream);
