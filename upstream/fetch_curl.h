/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fetch_curl*.c files share: they alone name libcurl. A pool is a multi handle of its own, so that its limits
 * are the upstream's own; its sockets and timer live in the loop.
 *
 *   fetch_curl.c          a fetch: start, the library's callbacks, end
 *   fetch_curl_header.c   the headers of an answer
 *   fetch_curl_pool.c     a pool: made ready with the first fetch, freed
 *   fetch_curl_socket.c   sockets: opened, watched, counted, closed
 */
#pragma once

#include "base/buf.h"
#include "upstream/fetch.h"

#include <curl/curl.h>

#define BODY_BUFFER_BYTES                                                                                              \
	(512L << 10) /* what is written, hashed and told at once: of 256 KiB a GiB costs 0.15 s more */
#define GATHER_BYTES    ((size_t)512 << 10)
#define NUDGE_MIN_MS    30
#define NUDGE_MAX_MS    1000
#define IDLE_EASIES_MAX 16

struct connection {
	int fd;
	long port; /* our own end's; 0: it has brought no answer yet */
	enum fetch_protocol protocol;
};

struct fetch_pool {
	struct loop_watch watch; /* first: the loop hands it back */
	struct loop_timer timer;
	struct loop *loop;
	CURLM *multi;
	struct fetch_pool_options options;
	char *client_cert, *client_key, *proxy;
	bool proxied;     /* a proxy may stand in between: the peer's address says nothing of the server's */
	int ca_fd;        /* the system's bundle and the extra one, in memory */
	char ca_path[32]; /* its name for the library; "" when there is none */
	struct fetch *running;

	/* The library hands out 16 KiB at most. What comes for one fetch within a turn of the loop is put together, so
	 * that its sink writes, hashes and wakes less often. */
	struct fetch *gatherer;
	char *gathered;
	size_t gathered_len;
	bool any_refused;                   /* some sink refused while another fetch was under way */
	CURL *idle_easies[IDLE_EASIES_MAX]; /* kept for their buffers */
	unsigned idle_easy_count;
	unsigned inside_library;        /* depth of curl callbacks: starting and cancelling are bugs there */
	struct connection *connections; /* all open sockets */
	size_t connection_count, connection_cap;
	struct fetch_pool_stats stats;
};

struct fetch {
	struct fetch_pool *pool;
	struct fetch *prev, *next;
	const struct fetch_sink *sink;
	void *arg;
	CURL *easy;
	struct curl_slist *request_headers;
	char curl_error[CURL_ERROR_SIZE];

	struct loop_timer idle_timer;
	struct loop_timer nudge_timer; /* of one that may speak HTTP/2 */
	uint64_t nudge_ms;
	uint64_t last_byte_ms;
	uint64_t window_ms, window_bytes; /* since when, and how many bytes came since: a trickle is a stall too */
	enum url_ground nearest;
	bool dialled; /* its turn for a connection of its own came: connect_timeout means something from here */
	bool sent;    /* the connection stands and the request goes out: idle_timeout counts from here */
	bool stalled;

	struct buf header_text; /* the final answer's header lines, NUL-terminated each, as name NUL value NUL */
	size_t header_bytes;    /* of all header lines seen, interim answers included */
	struct buf joined;
	unsigned kind;
	enum fetch_method method;
	int status;
	bool head_done;
	bool body_begun;
	bool refused; /* by the sink */
	bool nonsense;
};

/* fetch_curl_header.c */
void fetch_headers_reset(struct fetch *fetch);
/* Takes a header line as the library gives it. */
void fetch_header_add(struct fetch *fetch, const char *line, size_t len);

/* fetch_curl_pool.c: what the first fetch needs; nothing when it is there. */
void fetch_pool_make_ready(struct fetch_pool *pool);

/* fetch_curl_socket.c */
void fetch_count_request(struct fetch *fetch, int status);
/* An answer came by the connection of this fetch. */
void fetch_connection_note(struct fetch *fetch, enum fetch_protocol protocol);
int fetch_close_socket(void *arg, curl_socket_t fd);
int fetch_on_resolve(void *state, void *reserved, void *arg);
curl_socket_t fetch_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address);
int fetch_on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg);
int fetch_on_timer(CURLM *multi, long delay_ms, void *arg);

/* fetch_curl.c: what the loop calls. */
void fetch_on_pool_event(struct loop_watch *watch, int fd, uint32_t epoll_events);
void fetch_on_pool_timer(struct loop_timer *timer);
