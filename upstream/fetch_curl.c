/* SPDX-License-Identifier: Apache-2.0 */
/* A fetch: its start, what the library tells of it, its end. */
#include "upstream/fetch_curl.h"

#include "base/clock.h"
#include "upstream/url.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <utlist.h>

/* The library's callbacks. */

static int deliver_head(struct fetch *fetch)
{
	struct fetch_head head = {.status = fetch->status};
	curl_off_t length = -1;
	long version = 0;
	char *peer = NULL;
	int refused;

	curl_easy_getinfo(fetch->easy, CURLINFO_HTTP_VERSION, &version);
	curl_easy_getinfo(fetch->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	curl_easy_getinfo(fetch->easy, CURLINFO_PRIMARY_IP, &peer);
	head.ground = peer && !fetch->pool->proxied ? url_host_ground(peer) : URL_PUBLIC;
	head.http2 = version == CURL_HTTP_VERSION_2_0;
	head.content_length = length >= 0 ? (uint64_t)length : FETCH_LENGTH_UNKNOWN;
	fetch_connection_note(fetch, head.http2 ? FETCH_HTTP_2 : FETCH_HTTP1_1);
	fetch_count_request(fetch, fetch->status);
	fetch->head_done = true;
	fetch->pool->inside_library++;
	refused = fetch->sink->on_head(fetch->arg, fetch, &head);
	fetch->pool->inside_library--;
	if (refused)
		fetch->refused = true;
	return refused;
}

static void note_bytes(struct fetch *fetch, size_t len)
{
	fetch->last_byte_ms = clock_ms();
	fetch->window_bytes += len;
}

static size_t on_header_line(char *line, size_t size, size_t count, void *arg)
{
	struct fetch *fetch = arg;
	size_t len = size * count;

	note_bytes(fetch, len);
	fetch->header_bytes += len;
	if (fetch->header_bytes > FETCH_HEADER_BYTES_MAX) {
		fetch->nonsense = true;
		return 0;
	}
	if (fetch->head_done)
		return len; /* a trailer */
	if (len >= 5 && memcmp(line, "HTTP/", 5) == 0) {
		long status = 0;

		fetch_headers_reset(fetch);
		curl_easy_getinfo(fetch->easy, CURLINFO_RESPONSE_CODE, &status);
		fetch->status = (int)status;
	} else if (line[0] == '\r' || line[0] == '\n') {
		if (fetch->status >= 200 && deliver_head(fetch))
			return 0;
	} else {
		fetch_header_add(fetch, line, len);
	}
	return len;
}

static void deliver(struct fetch *fetch, const void *data, size_t len)
{
	struct fetch_pool *pool = fetch->pool;

	if (fetch->refused)
		return;
	pool->inside_library++;
	if (fetch->sink->on_body(fetch->arg, fetch, data, len))
		fetch->refused = pool->any_refused = true;
	pool->inside_library--;
}

/* Hands what was gathered to its sink. */
static void deliver_gathered(struct fetch_pool *pool)
{
	struct fetch *fetch = pool->gatherer;

	pool->gatherer = NULL;
	if (fetch)
		deliver(fetch, pool->gathered, pool->gathered_len);
}

static size_t on_body_piece(char *data, size_t size, size_t count, void *arg)
{
	struct fetch *fetch = arg;
	struct fetch_pool *pool = fetch->pool;
	size_t len = size * count;

	note_bytes(fetch, len);
	count_add(&pool->stats.body_bytes, len);
	assert(len <= GATHER_BYTES);
	if (pool->gatherer != fetch || pool->gathered_len + len > GATHER_BYTES) {
		deliver_gathered(pool);
		pool->gathered_len = 0;
	}
	if (!fetch->body_begun) {
		/* Somebody waits for the first bytes. */
		fetch->body_begun = true;
		deliver(fetch, data, len);
		return fetch->refused ? 0 : len;
	}
	if (fetch->refused)
		return 0;
	memcpy(pool->gathered + pool->gathered_len, data, len);
	pool->gathered_len += len;
	pool->gatherer = fetch;
	return len;
}

static int on_request_goes_out(void *arg, char *to_address, char *from_address, int to_port, int from_port)
{
	struct fetch *fetch = arg;

	(void)from_address;
	(void)to_port;
	(void)from_port;
	/* The connection may be one that was opened for a fetch that may go nearer. */
	if (url_host_ground(to_address) > fetch->nearest)
		return CURL_PREREQFUNC_ABORT;
	fetch->sent = true;
	fetch->last_byte_ms = fetch->window_ms = clock_ms();
	return CURL_PREREQFUNC_OK;
}

/* Ends. */

static enum fetch_failure failure_of(const struct fetch *fetch, CURLcode code)
{
	if (fetch->stalled)
		return FETCH_STALLED;
	if (fetch->refused)
		return FETCH_REFUSED;
	if (fetch->nonsense)
		return FETCH_PROTOCOL;
	switch (code) {
	case CURLE_OK:
		/* An answer without a final head: the library takes a bare interim answer for one. */
		return fetch->head_done ? FETCH_OK : FETCH_PROTOCOL;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_COULDNT_CONNECT:
	case CURLE_OPERATION_TIMEDOUT:
	case CURLE_ABORTED_BY_CALLBACK: /* by on_request_goes_out() */
		return FETCH_CONNECT;
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
		return FETCH_TLS;
	case CURLE_HTTP2:
	case CURLE_HTTP2_STREAM:
		return FETCH_HTTP2;
	case CURLE_PARTIAL_FILE:
	case CURLE_GOT_NOTHING:
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
		return FETCH_CUT;
	default:
		return FETCH_PROTOCOL;
	}
}

static void easy_give_back(struct fetch_pool *pool, CURL *easy)
{
	if (pool->idle_easy_count < IDLE_EASIES_MAX) {
		curl_easy_reset(easy);
		pool->idle_easies[pool->idle_easy_count++] = easy;
	} else {
		curl_easy_cleanup(easy);
	}
}

static void fetch_end(struct fetch *fetch, enum fetch_failure failure, const char *why)
{
	struct fetch_pool *pool = fetch->pool;
	long connects = 0;

	loop_timer_clear(pool->loop, &fetch->idle_timer);
	loop_timer_clear(pool->loop, &fetch->nudge_timer);
	curl_easy_getinfo(fetch->easy, CURLINFO_NUM_CONNECTS, &connects);
	count_add(&pool->stats.connections_opened, (uint64_t)connects);
	if (fetch->sent && !fetch->head_done)
		fetch_count_request(fetch, 0);
	if (pool->gatherer == fetch)
		pool->gatherer = NULL;
	DL_DELETE(pool->running, fetch);
	curl_multi_remove_handle(pool->multi, fetch->easy);
	fetch->sink->on_done(fetch->arg, fetch, failure, why);
	easy_give_back(pool, fetch->easy);
	curl_slist_free_all(fetch->request_headers);
	buf_dispose(&fetch->header_text);
	buf_dispose(&fetch->joined);
	free(fetch);
}

static void reap(struct fetch_pool *pool)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(pool->multi, &left))) {
		struct fetch *fetch = NULL;
		CURLcode code = message->data.result;
		enum fetch_failure failure;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&fetch);
		if (code == CURLE_OPERATION_TIMEDOUT && !fetch->dialled) {
			/* The library's clock ran while others held all connections that there may be: its turn is yet
			 * to come. */
			curl_multi_remove_handle(pool->multi, fetch->easy);
			fetch->curl_error[0] = '\0';
			curl_multi_add_handle(pool->multi, fetch->easy);
			continue;
		}
		failure = failure_of(fetch, code);
		fetch_end(fetch, failure, fetch->curl_error[0] ? fetch->curl_error : curl_easy_strerror(code));
	}
}

/* After the library ran: what it brought goes to the sinks, and fetches that are over end. */
static void turn_end(struct fetch_pool *pool)
{
	struct fetch *fetch, *next;

	deliver_gathered(pool);
	if (pool->any_refused) {
		pool->any_refused = false;
		DL_FOREACH_SAFE (pool->running, fetch, next)
			if (fetch->refused)
				fetch_end(fetch, FETCH_REFUSED, "refused by its receiver");
	}
	reap(pool);
}

void fetch_on_pool_event(struct loop_watch *watch, int fd, uint32_t epoll_events)
{
	struct fetch_pool *pool = (struct fetch_pool *)watch;
	int what = 0, running;

	if (epoll_events & EPOLLIN)
		what |= CURL_CSELECT_IN;
	if (epoll_events & EPOLLOUT)
		what |= CURL_CSELECT_OUT;
	if (epoll_events & (EPOLLERR | EPOLLHUP))
		what |= CURL_CSELECT_ERR;
	curl_multi_socket_action(pool->multi, fd, what, &running);
	turn_end(pool);
}

void fetch_on_pool_timer(struct loop_timer *timer)
{
	struct fetch_pool *pool = (struct fetch_pool *)((char *)timer - offsetof(struct fetch_pool, timer));
	int running;

	curl_multi_socket_action(pool->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	turn_end(pool);
}

/* Whether the fetch stands still: no byte for the whole limit, or less than FETCH_TRICKLE_BYTES_S over it. */
static bool is_stalled(struct fetch *fetch, uint64_t now, uint64_t limit)
{
	if (!fetch->sent)
		return false;
	if (now - fetch->last_byte_ms >= limit)
		return true;
	if (now - fetch->window_ms < limit)
		return false;
	if (fetch->head_done && fetch->window_bytes < limit * FETCH_TRICKLE_BYTES_S / 1000)
		return true;
	fetch->window_ms = now;
	fetch->window_bytes = 0;
	return false;
}

static void on_idle_timer(struct loop_timer *timer)
{
	struct fetch *fetch = (struct fetch *)((char *)timer - offsetof(struct fetch, idle_timer));
	uint64_t limit = fetch->pool->options.idle_timeout_ms, now = clock_ms();
	uint64_t idle = fetch->sent ? now - fetch->last_byte_ms : 0;

	if (!is_stalled(fetch, now, limit)) {
		loop_timer_set(fetch->pool->loop, timer, limit - idle);
		return;
	}
	fetch->stalled = true;
	fetch_end(fetch, FETCH_STALLED, "stalled: no byte, or a trickle, for idle_timeout");
}

/*
 * libcurl 7.88 may leave the end of a multiplexed answer in a buffer of its own and then wait for a socket that stays
 * silent. Pausing and resuming the transfer makes it look there. A fetch that makes no way is nudged so, at once and
 * then more and more seldom; where the server is just slow this costs nothing.
 */
static void on_nudge_timer(struct loop_timer *timer)
{
	struct fetch *fetch = (struct fetch *)((char *)timer - offsetof(struct fetch, nudge_timer));
	uint64_t idle = clock_ms() - fetch->last_byte_ms;
	bool nudge = fetch->sent && idle >= NUDGE_MIN_MS;

	fetch->nudge_ms = nudge ? fetch->nudge_ms * 2 : NUDGE_MIN_MS;
	if (fetch->nudge_ms > NUDGE_MAX_MS)
		fetch->nudge_ms = NUDGE_MAX_MS;
	loop_timer_set(fetch->pool->loop, timer, fetch->nudge_ms);
	if (nudge) {
		curl_easy_pause(fetch->easy, CURLPAUSE_RECV);
		curl_easy_pause(fetch->easy, CURLPAUSE_CONT);
		turn_end(fetch->pool);
	}
}

/* Fetches. */

static void set_proxy_options(CURL *easy, const struct fetch_pool *pool)
{
	/* The headers of its answer to CONNECT are not the server's. */
	curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	if (pool->ca_path[0]) {
		curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO, pool->ca_path);
		curl_easy_setopt(easy, CURLOPT_PROXY_CAPATH, NULL);
	}
	if (pool->proxy) {
		curl_easy_setopt(easy, CURLOPT_PROXY, pool->proxy);
		curl_easy_setopt(easy, CURLOPT_NOPROXY,
				 ""); /* the environment's exceptions are the environment's proxy's */
	}
}

static void set_connection_options(CURL *easy, const struct fetch_pool *pool)
{
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	/* Else what gives up on a slow name waits on the loop, where all wait, for the thread that still asks for it.
	 */
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)pool->options.connect_timeout_ms);
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, BODY_BUFFER_BYTES);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	if (pool->ca_path[0]) {
		curl_easy_setopt(easy, CURLOPT_CAINFO, pool->ca_path);
		curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	}
	if (pool->options.insecure) {
		curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
		curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
	}
	set_proxy_options(easy, pool);
}

/* Whether it may share a connection with others that run. HTTP/2 is spoken over TLS alone. */
static bool may_multiplex(const struct fetch_request *request)
{
	return !request->http1 && !request->own_connection && strncasecmp(request->url, "https:", 6) == 0;
}

static void set_request_options(CURL *easy, struct fetch *fetch, const struct fetch_request *request)
{

	curl_easy_setopt(easy, CURLOPT_URL, request->url);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "larder/" LARDER_VERSION);
	curl_easy_setopt(easy, CURLOPT_NOBODY, request->head ? 1L : 0L);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
			 may_multiplex(request) ? (long)CURL_HTTP_VERSION_2TLS : (long)CURL_HTTP_VERSION_1_1);
	/* Wait for a connection that is being opened rather than open a second: it may turn out to multiplex. Of one
	 * without TLS the library would not know before its first answer came, however long that takes. */
	curl_easy_setopt(easy, CURLOPT_PIPEWAIT, may_multiplex(request) ? 1L : 0L);
	curl_easy_setopt(easy, CURLOPT_HTTP09_ALLOWED, 0L);
	if (fetch->pool->client_cert && !request->no_client_cert) {
		curl_easy_setopt(easy, CURLOPT_SSLCERT, fetch->pool->client_cert);
		curl_easy_setopt(easy, CURLOPT_SSLKEY, fetch->pool->client_key);
	}
	if (request->post)
		curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, request->post);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, fetch_open_socket);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, fetch);
	/* The library keeps these two with the connection, which outlives the fetch. */
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, fetch_close_socket);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, fetch->pool);
	curl_easy_setopt(easy, CURLOPT_RESOLVER_START_FUNCTION, fetch_on_resolve);
	curl_easy_setopt(easy, CURLOPT_RESOLVER_START_DATA, fetch);
	for (size_t i = 0; i < request->header_count; i++)
		fetch->request_headers = curl_slist_append(fetch->request_headers, request->headers[i]);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, fetch->request_headers);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, fetch->curl_error);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, fetch);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header_line);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, fetch);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body_piece);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, fetch);
	curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_request_goes_out);
	curl_easy_setopt(easy, CURLOPT_PREREQDATA, fetch);
}

struct fetch *fetch_start(struct fetch_pool *pool, const struct fetch_request *request, const struct fetch_sink *sink,
			  void *arg)
{
	struct fetch *fetch = mem_alloc(sizeof(*fetch));

	assert(pool->inside_library == 0);
	fetch_pool_make_ready(pool);
	fetch->pool = pool;
	fetch->sink = sink;
	fetch->arg = arg;
	assert(request->kind < FETCH_KINDS);
	fetch->kind = request->kind;
	fetch->nearest = pool->proxied ? URL_LOCAL : request->nearest;
	fetch->method = request->post ? FETCH_POST : request->head ? FETCH_HEAD : FETCH_GET;
	fetch->header_text.max = 2 * FETCH_HEADER_BYTES_MAX;
	fetch->idle_timer.run = on_idle_timer;
	fetch->easy = pool->idle_easy_count > 0 ? pool->idle_easies[--pool->idle_easy_count] : curl_easy_init();
	assert(fetch->easy);
	set_connection_options(fetch->easy, pool);
	set_request_options(fetch->easy, fetch, request);
	DL_APPEND(pool->running, fetch);
	loop_timer_set(pool->loop, &fetch->idle_timer, pool->options.idle_timeout_ms);
	if (may_multiplex(request)) {
		fetch->nudge_timer.run = on_nudge_timer;
		fetch->nudge_ms = NUDGE_MIN_MS;
		loop_timer_set(pool->loop, &fetch->nudge_timer, NUDGE_MIN_MS);
	}
	curl_multi_add_handle(pool->multi, fetch->easy);
	return fetch;
}

void fetch_cancel(struct fetch *fetch)
{
	assert(fetch->pool->inside_library == 0);
	fetch_end(fetch, FETCH_CANCELLED, "given up");
}
