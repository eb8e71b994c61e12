/* SPDX-License-Identifier: Apache-2.0 */
/* What registry.c (the upstream as a whole) and call.c (one call) share. Loop thread only. */
#pragma once

#include "base/buf.h"
#include "base/count.h"
#include "upstream/fetch.h"
#include "upstream/registry.h"
#include "upstream/token.h"
#include "upstream/transfer.h"
#include "upstream/url.h"

#include <pthread.h>

/* What goes wrong with HTTP/2 adds up within HTTP2_FAILURE_WINDOW_MS, less one for each good answer; at the maximum the
 * endpoint is spoken to in HTTP/1.1 for a while. */
#define HTTP2_FAILURES_MAX           4
#define HTTP2_FAILURE_PROTOCOL       2 /* a protocol error, a refused stream */
#define HTTP2_FAILURE_CUT            1 /* a connection that ended before it answered: perhaps GOAWAY, perhaps just down */
#define HTTP2_FAILURE_WINDOW_MS      60000
#define HTTP1_FALLBACK_MS            600000
#define HTTP2_STREAMS_PER_CONNECTION 16 /* how far multiplexing widens the window */

/* The registry itself or one of its mirrors. */
struct endpoint {
	char *base; /* "https://registry-1.docker.io" */
	struct url url;
	struct challenge challenge; /* the last one seen: later calls bring their token along */
	struct tokens *tokens;      /* a mirror's own, so that it never gets what the registry's credentials bought */
	enum url_ground ground;     /* as its host is written */
	enum url_ground challenge_ground; /* where the challenge came from */
	unsigned http2_failures;
	unsigned http2_epoch; /* how many failures were counted ever */
	uint64_t http2_failed_ms;
	uint64_t http1_until_ms;
};

/* What registry_stats() tells: written on the loop's thread, read on any. */
struct registry_counts {
	uint64_t retries[REGISTRY_RETRIES];
	uint64_t http2_fallbacks;
	uint64_t budget_remaining, budget_limit, budget_window_s, budget_said;
	uint64_t answered, failed;
	pthread_mutex_t lock; /* guards `why` */
	char why[ERR_TEXT_MAX];
};

struct registry {
	struct loop *loop;
	struct registry_counts counts;
	char *name;
	struct fetch_pool *pool;
	struct pace *pace;
	int gate_status; /* what closed the pace's gate last: 429 or 503 */
	struct endpoint *endpoints;
	size_t endpoint_count;
	unsigned retries;
	unsigned max_connections;
	struct registry_call *calls;
	bool closed;
	bool retired;
	struct loop_timer rest_timer; /* of one that is retired */
	bool clients_decide;
	struct transfer_limits limits;
	unsigned lanes_hint;          /* how many lanes proved best for a large blob (transfer.h) … */
	uint64_t lanes_hint_until_ms; /* … remembered until then */
};

enum call_state { CALL_NEXT, CALL_TOKEN, CALL_PERMIT, CALL_FETCH, CALL_RETRY, CALL_DONE };

struct registry_call {
	struct registry *registry;
	struct registry_call *prev, *next;
	const struct registry_sink *sink;
	void *arg;
	struct registry_query query; /* its strings are the call's own */
	char *repository, *reference, *accept;
	char *scope; /* "repository:NAME:pull" */
	enum call_state state;
	struct loop_task start_task, cancel_task;
	bool cancel_wanted;

	size_t endpoint;
	unsigned attempt;   /* failures in a row without progress, on this endpoint */
	bool token_renewed; /* a 401 was answered by one new token, or by credentials read anew, already */
	unsigned redirects;
	char *redirect_url;              /* where the next fetch goes instead of to the endpoint … */
	enum url_ground redirect_ground; /* … and where that was said: it goes no nearer */
	uint64_t retry_after_ms;

	struct token_waiter token_waiter;
	char *authorization; /* "Bearer …" or "Basic …" for the endpoint's own host */
	struct pace_permit permit;
	struct fetch *fetch;
	struct loop_timer retry_timer;

	/* The answer under way. */
	int status;
	enum url_ground ground; /* where it comes from: as written, or as seen, whichever is nearer */
	unsigned http2_epoch;   /* the endpoint's, when the request went out */
	bool spoke_http1;       /* it was not to speak HTTP/2 */
	uint64_t attempt_bytes; /* of the body, in this attempt */
	struct buf refusal;     /* the body of a 403 or 404, as far as it is read */
	bool head_by_get;       /* a HEAD that was refused is asked as a GET of one byte */
	bool head_known;        /* … and that told what was wanted */
	bool ranged;            /* the request that is out has a Range … */
	uint64_t asked_offset;  /* … from here */
	uint64_t offset;        /* of the next body byte */
	uint64_t size;          /* of the whole, once an answer told */
	char *etag;             /* of the version whose bytes were delivered … */
	size_t etag_endpoint;   /* … by this endpoint */
	bool start_over;        /* what came does not fit what we have: ask for all of it */
	unsigned starts_over;
	int sink_code;                    /* the sink said no */
	struct err last;                  /* what the last failure was */
	enum registry_retry retry_reason; /* likewise, should it be tried again */
	bool answered;                    /* on_answer was called at least once */
};

/* What a call's answers tell about the registry. */
void registry_note_answer(struct registry *registry);
void registry_note_failure(struct registry *registry, const struct err *err);
/* RateLimit headers, as Docker Hub ("ratelimit-remaining: 97;w=21600") and others have them. An answer without them
 * says nothing. */
void registry_note_budget(struct registry *registry, const struct fetch *fetch);

/* Moves a call that is not waiting for anything on to its next request. */
void call_begin(struct registry_call *call);
/* Ends a call, whatever it waits for. */
void call_end(struct registry_call *call, const struct err *err);

/* What the files of a call share; on_head to on_done are its fetch's sink. */
static inline struct endpoint *call_endpoint(const struct registry_call *call)
{
	return &call->registry->endpoints[call->endpoint];
}
/* A mirror never sees what was meant for the registry. */
static inline struct client_login *call_login(const struct registry_call *call)
{
	return call->endpoint == 0 ? call->query.login : NULL;
}
/* Asks for what is wanted next, with the permit that is held. */
void call_fetch(struct registry_call *call);
/* After a failure that may pass: waits and begins anew here, goes to a mirror, or gives up with call->last. */
void call_retry(struct registry_call *call, bool unreachable);
/* Likewise, once the server is to be asked again; or gives up at once, when a client would not wait that long. */
void call_retry_after(struct registry_call *call, uint64_t after_ms);
bool call_next_endpoint(struct registry_call *call);
void call_count_retry(struct registry_call *call, enum registry_retry reason);
bool call_beside_registry(const struct registry_call *call);
const char *call_scope(const struct registry_call *call);
int call_on_head(void *arg, struct fetch *fetch, const struct fetch_head *head);
int call_on_body(void *arg, struct fetch *fetch, const void *data, size_t len);
void call_on_done(void *arg, struct fetch *fetch, enum fetch_failure failure, const char *why);
