/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One HTTP request to an upstream, over pooled connections. A pool belongs to one configured upstream: its connections
 * (to the registry, its token service, its CDN) are kept, shared by all that it is asked, multiplexed where HTTP/2 is
 * spoken, and bounded per host. Knows nothing of registries: no redirects are followed, no status is special, nothing
 * is tried again.
 *
 * Everything here runs on the loop's thread. The sink's functions do too: on_head once the headers of the final answer
 * are in, on_body for each piece, on_done exactly once and last. on_head and on_body run inside the library: they must
 * not start or cancel a fetch; a negative return ends this one. on_done may do both.
 */
#pragma once

#include "base/count.h"
#include "base/err.h"
#include "upstream/loop.h"
#include "upstream/url.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FETCH_HEADER_BYTES_MAX ((size_t)64 << 10) /* of one answer; more ends it with FETCH_PROTOCOL */
#define FETCH_TRICKLE_BYTES_S  1024               /* a body slower than this over idle_timeout counts as stalled */
#define FETCH_LENGTH_UNKNOWN   UINT64_MAX
#define FETCH_KINDS            8 /* what fetches are for, told apart in the statistics */

struct fetch_pool;
struct fetch;

struct fetch_pool_options {
	unsigned max_connections; /* per host */
	uint64_t connect_timeout_ms;
	uint64_t idle_timeout_ms; /* no byte for so long after the request was sent: FETCH_STALLED */
	const char *ca;           /* a bundle used besides the system's; NULL: the system's alone */
	bool insecure;            /* certificates are not verified */
	const char *client_cert;
	const char *client_key;
	const char *proxy; /* for all hosts; NULL: as the environment says */
};

struct fetch_request {
	const char *url;
	unsigned kind; /* below FETCH_KINDS: how it is counted */
	bool head;
	bool http1;                 /* speak HTTP/1.1 even where HTTP/2 is offered */
	bool own_connection;        /* do not share one with other running requests: implies http1 */
	enum url_ground nearest;    /* refuse to connect to what lies nearer (no effect behind a proxy) */
	bool no_client_cert;        /* do not show the client certificate: the host is not the upstream's own */
	const char *post;           /* sent as the body of a POST, and copied; NULL: GET, or HEAD */
	const char *const *headers; /* "Name: value"; copied */
	size_t header_count;
};

enum fetch_failure {
	FETCH_OK = 0,
	FETCH_CONNECT,   /* name or address could not be reached: nothing was sent */
	FETCH_TLS,       /* the peer could not be verified, or no handshake */
	FETCH_CUT,       /* the connection ended midway */
	FETCH_STALLED,   /* no byte for idle_timeout */
	FETCH_PROTOCOL,  /* nonsense, or over a bound */
	FETCH_HTTP2,     /* the HTTP/2 layer failed: a stream refused, GOAWAY, a protocol error */
	FETCH_REFUSED,   /* the sink's on_head or on_body returned negative */
	FETCH_CANCELLED, /* fetch_cancel() */
};

struct fetch_head {
	int status;
	bool http2;
	enum url_ground ground;  /* where the peer's address lies; URL_PUBLIC behind a proxy, which hides it */
	uint64_t content_length; /* FETCH_LENGTH_UNKNOWN when not given */
};

struct fetch_sink {
	int (*on_head)(void *arg, struct fetch *fetch, const struct fetch_head *head);
	int (*on_body)(void *arg, struct fetch *fetch, const void *data, size_t len);
	void (*on_done)(void *arg, struct fetch *fetch, enum fetch_failure failure, const char *why);
};

/* `loop` outlives the pool. Options' strings are copied. */
struct fetch_pool *fetch_pool_new(struct loop *loop, const struct fetch_pool_options *options);
/* Closes idle connections and gives back all that only fetching needs; the next fetch has it anew. False: something is
 * being fetched, and nothing was done. Loop thread, not from a fetch's sink. */
bool fetch_pool_rest(struct fetch_pool *pool);
/* Ends what runs with FETCH_CANCELLED and closes the connections. Loop thread. Takes NULL. */
void fetch_pool_free(struct fetch_pool *pool);

/* Starts. `sink` is borrowed until on_done, `arg` goes to its functions. The fetch frees itself after on_done. */
struct fetch *fetch_start(struct fetch_pool *pool, const struct fetch_request *request, const struct fetch_sink *sink,
			  void *arg);
/* on_done(FETCH_CANCELLED) is called before this returns. Not from on_head or on_body. */
void fetch_cancel(struct fetch *fetch);

/* The first header of that name (any case) in the final answer, trimmed; NULL when absent. From on_head on; valid until
 * on_done returns. */
const char *fetch_header(const struct fetch *fetch, const char *name);
/* All headers of that name in one, joined by ", ". */
const char *fetch_header_all(struct fetch *fetch, const char *name);

enum fetch_method { FETCH_GET, FETCH_HEAD, FETCH_POST, FETCH_METHODS };
enum fetch_protocol { FETCH_HTTP1_1, FETCH_HTTP_2, FETCH_PROTOCOLS };

struct fetch_pool_stats {
	/* That were sent: counted when the answer's head is there, and those that get none at their end. */
	uint64_t requests[FETCH_KINDS][FETCH_METHODS][COUNT_STATUSES];
	uint64_t body_bytes; /* of all answers, whatever became of them */
	uint64_t connections_opened;
	uint64_t connections[FETCH_PROTOCOLS]; /* open now, and have answered once */
};

/* Any thread, as long as the pool: its numbers change, and are read with count_read(). */
const struct fetch_pool_stats *fetch_pool_stats(const struct fetch_pool *pool);
