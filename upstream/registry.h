/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One upstream registry as calls: manifests, blobs, tags (OCI distribution-spec). A call finds an endpoint (the
 * registry, then its mirrors), a token and a permit, follows redirects, tries again what is worth it, and goes on where
 * a body was cut. Each call ends with exactly one on_done().
 *
 * A call's states, each with one function in call.c:
 *   NEXT      choose endpoint and credentials        -> TOKEN, PERMIT
 *   TOKEN     waits for a bearer token               -> PERMIT
 *   PERMIT    waits for its turn (pace.h)            -> FETCH
 *   FETCH     a request is out                       -> NEXT (401, redirect), RETRY, DONE
 *   RETRY     waits before another attempt           -> NEXT
 *   DONE      on_done() was called
 *
 * registry_call() and registry_call_cancel() may be called from any thread; everything else runs on the loop's.
 */
#pragma once

#include "base/err.h"
#include "base/units.h"
#include "upstream/client_login.h"
#include "upstream/loop.h"
#include "upstream/pace.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REGISTRY_LENGTH_UNKNOWN UINT64_MAX
#define REGISTRY_REDIRECTS_MAX  5

struct registry;
struct transfer_limits;
struct registry_call;

struct registry_options {
	const char *name; /* for messages */
	const char *url;
	const char *const *mirrors;
	size_t mirror_count;
	const char *username;
	const char *password;
	const char *docker_config;         /* where there is no username, and for the mirrors (credentials.h) */
	const char *const *token_services; /* trusted besides the upstream's own, "HOST[:PORT]" (token.h) */
	size_t token_service_count;
	bool clients_decide; /* its calls need a client's login, where larder has no credentials of its own */
	const char *ca;
	bool insecure;
	const char *client_cert;
	const char *client_key;
	const char *proxy;
	struct rate rate_limit;
	unsigned max_connections;
	unsigned retries;
	uint64_t connect_timeout_ms;
	uint64_t idle_timeout_ms;
	const struct transfer_limits *transfer_limits; /* NULL: the standard ones */
};

enum registry_kind {
	REGISTRY_MANIFEST,
	REGISTRY_BLOB,
	REGISTRY_TAGS,
	REGISTRY_REFERRERS,
	REGISTRY_PING,
	REGISTRY_RAW,
};

/* What is counted besides calls: the requests to token services. */
#define REGISTRY_TOKEN (REGISTRY_RAW + 1)
#define REGISTRY_KINDS (REGISTRY_TOKEN + 1)

/* Why something was asked again, here or of a mirror. */
enum registry_retry {
	REGISTRY_RETRY_CONNECT,      /* no connection */
	REGISTRY_RETRY_TLS,          /* no trust, or no handshake */
	REGISTRY_RETRY_CUT,          /* the connection ended midway */
	REGISTRY_RETRY_STALLED,      /* no byte for idle_timeout */
	REGISTRY_RETRY_PROTOCOL,     /* an answer that makes no sense */
	REGISTRY_RETRY_HTTP2,        /* a refused stream, GOAWAY, an error of the layer */
	REGISTRY_RETRY_RATE_LIMITED, /* 429 */
	REGISTRY_RETRY_SERVER_ERROR, /* 408 and 5xx */
	REGISTRY_RETRY_TOKEN,        /* the token service failed */
	REGISTRY_RETRY_REDIRECT,     /* the address that it redirected to refused */
	REGISTRY_RETRY_CHANGED,      /* another version: everything from the start */
	REGISTRY_RETRIES,
};

/* What is asked. Strings are copied. */
struct registry_query {
	enum registry_kind kind;
	bool head;
	const char *repository;
	const char *reference; /* tag or digest; for REGISTRY_TAGS the query string without '?', or ""; for
				* REGISTRY_REFERRERS the subject's digest, and the query with its '?' when there is one;
				* for REGISTRY_RAW path and query, of the repository's API, or where the repository is
				* "" of another */
	const char *accept;    /* NULL: none is sent */
	uint64_t offset;       /* GET of a blob: the first byte wanted … */
	uint64_t end;          /* … and the first that is not; 0: all to the end */
	bool own_connection;   /* over a connection that it shares with no other call while it runs */
	const char *etag;      /* with offset: the validator of the bytes before it, or NULL */
	enum pace_priority priority;
	bool impatient;             /* one attempt on each endpoint: the caller has something to fall back on */
	struct client_login *login; /* whose credentials the registry itself is shown; NULL: larder's own */
	bool registry_only;         /* what a mirror would say is of no interest */
};

/* The head of a good answer (200 or 206). Strings are borrowed during the call. */
struct registry_answer {
	uint64_t offset;            /* where the body that follows begins in the whole */
	uint64_t size;              /* of the whole; REGISTRY_LENGTH_UNKNOWN when the server does not say */
	const char *content_type;   /* NULL when absent */
	const char *content_digest; /* Docker-Content-Digest, as sent; a claim, never trusted for content */
	const char *etag;           /* a strong one, or NULL */
	const char *link;           /* of a listing */
	const char *base;           /* URL of the registry or mirror that was asked */
	bool from_mirror;           /* not from the registry itself */
};

struct registry_sink {
	/*
	 * Once for each good answer: again after a transfer was cut and goes on, then with `offset` where it does; with
	 * offset 0 when it starts over, since the server would not go on, or has another version now. ERR_AGAIN:
	 * it does not continue what is there, and the whole is asked for. Another negative code ends the call with it.
	 */
	int (*on_answer)(void *arg, const struct registry_answer *answer);
	/* Body bytes and where they belong. Negative ends the call with that code. */
	int (*on_body)(void *arg, uint64_t offset, const void *data, size_t len);
	/* Last. `err` is NULL when all is well; its code says why not: ERR_NOT_FOUND (404; of
	 * REGISTRY_REFERRERS also what says that there is no such API), ERR_DENIED, ERR_RATE, ERR_UPSTREAM,
	 * ERR_CANCELLED, or what the sink returned. */
	void (*on_done)(void *arg, const struct err *err);
};

struct registry *registry_new(struct loop *loop, const struct registry_options *options);
/* It was replaced: once its calls have ended it keeps no connection and little memory. Late calls are served all the
 * same. Not on the loop's thread. */
void registry_retire(struct registry *registry);
/* Ends its calls with ERR_CANCELLED; those that are started from now on end so at once. Not on the loop's thread. */
void registry_close(struct registry *registry);
/* After registry_close(), once every call has ended. Not on the loop's thread. Takes NULL. */
void registry_free(struct registry *registry);

/* Starts a call. `sink` lives until on_done; the call's memory is the registry's and valid until on_done returns. */
struct registry_call *registry_call(struct registry *registry, const struct registry_query *query,
				    const struct registry_sink *sink, void *arg);
/* Asks for the end of a call that has not yet ended: on_done(ERR_CANCELLED) follows, unless it ends by itself before.
 * The caller makes sure that on_done has not returned yet (by a lock of its own that on_done takes). */
void registry_call_cancel(struct registry_call *call);

/* A client has come to wait for what prefetch asked with this sink's argument: if it still waits for its turn, it does
 * so among the clients from here on. Any thread; nothing happens when the call has ended. */
void registry_raise(struct registry *registry, const void *arg);

const char *registry_name(const struct registry *registry);

/* How an upstream does. Times are wall milliseconds, 0: never. */
struct registry_stats {
	const struct fetch_pool_stats *fetch; /* requests by REGISTRY_KINDS; borrowed, read with count_read() */
	uint64_t retries[REGISTRY_RETRIES];
	uint64_t http2_fallbacks; /* how often HTTP/2 was given up for a while */
	bool budget_known;        /* an answer said what its rate limit leaves us */
	uint64_t budget_remaining;
	uint64_t budget_limit, budget_window_s; /* 0: not said */
	int64_t budget_said;
	int64_t answered; /* the last answer that was no complaint */
	int64_t failed;   /* the last call that ended without one … */
	char why[ERR_TEXT_MAX];
	struct pace_state pace;
};

/* Any thread. */
void registry_stats(struct registry *registry, struct registry_stats *stats);
/* Whether it is left alone just now, because a Retry-After said so. Any thread. */
bool registry_is_gated(const struct registry *registry);

/* For labels: "manifest", "other"; "cut". Static storage. */
const char *registry_kind_name(unsigned kind);
const char *registry_retry_name(enum registry_retry reason);
