/* SPDX-License-Identifier: Apache-2.0 */
/* The one file that names libcurl. A pool is a multi handle of its own, so that its limits are the upstream's own; its
 * sockets and timer live in the loop. */
#include "upstream/fetch.h"

#include "base/buf.h"
#include "base/clock.h"
#include "upstream/url.h"

#include <arpa/inet.h>
#include <assert.h>
#include <curl/curl.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>
#include <utlist.h>

#define BODY_BUFFER_BYTES (256L << 10)
#define GATHER_BYTES      ((size_t)256 << 10)
#define NUDGE_MIN_MS      30
#define NUDGE_MAX_MS      1000
#define IDLE_EASIES_MAX   16

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
	bool refused; /* by the sink */
	bool nonsense;
};

static pthread_once_t library_once = PTHREAD_ONCE_INIT;

static void library_init(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* Headers. */

static void headers_reset(struct fetch *fetch)
{
	buf_clear(&fetch->header_text);
	fetch->status = 0;
}

static void header_line_add(struct fetch *fetch, const char *line, size_t len)
{
	const char *colon = memchr(line, ':', len);
	const char *value;

	if (!colon)
		return;
	value = colon + 1;
	while (len > 0 &&
	       (line[len - 1] == '\r' || line[len - 1] == '\n' || line[len - 1] == ' ' || line[len - 1] == '\t'))
		len--;
	while (value < line + len && (*value == ' ' || *value == '\t'))
		value++;
	/* The bound on header_bytes keeps this far below the buffer's maximum. */
	buf_append(&fetch->header_text, line, (size_t)(colon - line));
	buf_append(&fetch->header_text, "", 1);
	if (value < line + len)
		buf_append(&fetch->header_text, value, (size_t)(line + len - value));
	buf_append(&fetch->header_text, "", 1);
}

static const char *header_next(const struct fetch *fetch, const char *name, size_t *offset)
{
	while (*offset < fetch->header_text.len) {
		const char *found = fetch->header_text.data + *offset;
		const char *value = found + strlen(found) + 1;

		*offset = (size_t)(value + strlen(value) + 1 - fetch->header_text.data);
		if (strcasecmp(found, name) == 0)
			return value;
	}
	return NULL;
}

const char *fetch_header(const struct fetch *fetch, const char *name)
{
	size_t offset = 0;

	return header_next(fetch, name, &offset);
}

const char *fetch_header_all(struct fetch *fetch, const char *name)
{
	const char *value;
	size_t offset = 0;

	buf_clear(&fetch->joined);
	while ((value = header_next(fetch, name, &offset))) {
		if (fetch->joined.len > 0)
			buf_append_text(&fetch->joined, ", ");
		buf_append_text(&fetch->joined, value);
	}
	return fetch->joined.len > 0 ? fetch->joined.data : NULL;
}

/* Statistics. */

static void count_request(struct fetch *fetch, int status)
{
	count_add(&fetch->pool->stats.requests[fetch->kind][fetch->method][count_status_slot(status)], 1);
}

static void connection_add(struct fetch_pool *pool, int fd)
{
	if (pool->connection_count == pool->connection_cap) {
		pool->connection_cap = pool->connection_cap ? pool->connection_cap * 2 : 8;
		pool->connections = mem_realloc(pool->connections, pool->connection_cap * sizeof(*pool->connections));
	}
	pool->connections[pool->connection_count++] = (struct connection){.fd = fd};
}

static long local_port(int fd)
{
	struct sockaddr_storage address = {0};
	socklen_t len = sizeof(address);

	if (getsockname(fd, (struct sockaddr *)&address, &len))
		return 0;
	if (address.ss_family == AF_INET)
		return ntohs(((struct sockaddr_in *)&address)->sin_port);
	return address.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&address)->sin6_port) : 0;
}

/* An answer came. Which connection brought it, the library tells only by our end's port while the transfer runs. */
static void connection_note(struct fetch *fetch, enum fetch_protocol protocol)
{
	struct fetch_pool *pool = fetch->pool;
	long port = 0;

	curl_easy_getinfo(fetch->easy, CURLINFO_LOCAL_PORT, &port);
	for (size_t i = 0; i < pool->connection_count; i++)
		if (pool->connections[i].port == port)
			return;
	for (size_t i = 0; i < pool->connection_count; i++) {
		struct connection *connection = &pool->connections[i];

		if (connection->port || local_port(connection->fd) != port)
			continue;
		connection->port = port;
		connection->protocol = protocol;
		count_add(&pool->stats.connections[protocol], 1);
		return;
	}
}

static int close_socket(void *arg, curl_socket_t fd)
{
	struct fetch_pool *pool = arg;

	for (size_t i = 0; i < pool->connection_count; i++) {
		struct connection *connection = &pool->connections[i];

		if (connection->fd != fd)
			continue;
		if (connection->port)
			count_add(&pool->stats.connections[connection->protocol], (uint64_t)-1);
		*connection = pool->connections[--pool->connection_count];
		break;
	}
	return close(fd);
}

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
	head.peer_private = peer && !fetch->pool->proxied && url_host_private(peer);
	head.http2 = version == CURL_HTTP_VERSION_2_0;
	head.content_length = length >= 0 ? (uint64_t)length : FETCH_LENGTH_UNKNOWN;
	connection_note(fetch, head.http2 ? FETCH_HTTP_2 : FETCH_HTTP1_1);
	count_request(fetch, fetch->status);
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

		headers_reset(fetch);
		curl_easy_getinfo(fetch->easy, CURLINFO_RESPONSE_CODE, &status);
		fetch->status = (int)status;
	} else if (line[0] == '\r' || line[0] == '\n') {
		if (fetch->status >= 200 && deliver_head(fetch))
			return 0;
	} else {
		header_line_add(fetch, line, len);
	}
	return len;
}

/* Hands what was gathered to its sink. */
static void deliver_gathered(struct fetch_pool *pool)
{
	struct fetch *fetch = pool->gatherer;

	pool->gatherer = NULL;
	if (!fetch || fetch->refused)
		return;
	pool->inside_library++;
	if (fetch->sink->on_body(fetch->arg, fetch, pool->gathered, pool->gathered_len))
		fetch->refused = pool->any_refused = true;
	pool->inside_library--;
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

	(void)to_address;
	(void)from_address;
	(void)to_port;
	(void)from_port;
	fetch->sent = true;
	fetch->last_byte_ms = fetch->window_ms = clock_ms();
	return CURL_PREREQFUNC_OK;
}

static int on_resolve(void *state, void *reserved, void *arg)
{
	(void)state;
	(void)reserved;
	((struct fetch *)arg)->dialled = true;
	return 0;
}

static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct fetch *fetch = arg;
	int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);

	(void)purpose;
	fetch->dialled = true;
	if (fd >= 0)
		connection_add(fetch->pool, fd);
	return fd;
}

/* A name that a stranger gave us may resolve to where only we can reach: the address decides, not the name. */
static curl_socket_t open_public_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	char text[INET6_ADDRSTRLEN] = "";

	if (address->family == AF_INET)
		inet_ntop(AF_INET, &((struct sockaddr_in *)(void *)&address->addr)->sin_addr, text, sizeof(text));
	else if (address->family == AF_INET6)
		inet_ntop(AF_INET6, &((struct sockaddr_in6 *)(void *)&address->addr)->sin6_addr, text, sizeof(text));
	if (text[0] == '\0' || url_host_private(text))
		return CURL_SOCKET_BAD;
	return open_socket(arg, purpose, address);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	struct fetch_pool *pool = arg;
	uint32_t events = 0;

	(void)easy;
	(void)socket_arg;
	if (what == CURL_POLL_REMOVE) {
		loop_watch_clear(pool->loop, fd);
		return 0;
	}
	if (what & CURL_POLL_IN)
		events |= EPOLLIN;
	if (what & CURL_POLL_OUT)
		events |= EPOLLOUT;
	return loop_watch_set(pool->loop, fd, events, &pool->watch) ? -1 : 0;
}

static int on_timer(CURLM *multi, long delay_ms, void *arg)
{
	struct fetch_pool *pool = arg;

	(void)multi;
	if (delay_ms < 0)
		loop_timer_clear(pool->loop, &pool->timer);
	else
		loop_timer_set(pool->loop, &pool->timer, (uint64_t)delay_ms);
	return 0;
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
		count_request(fetch, 0);
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

static void on_pool_event(struct loop_watch *watch, int fd, uint32_t epoll_events)
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

static void on_pool_timer(struct loop_timer *timer)
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

/* Pools. */

#define SYSTEM_CA_BUNDLE "/etc/ssl/certs/ca-certificates.crt"

static int append_file(int to, const char *path)
{
	char piece[16384];
	ssize_t got;
	int from = open(path, O_RDONLY | O_CLOEXEC);

	if (from < 0)
		return -1;
	while ((got = read(from, piece, sizeof(piece))) > 0 && write(to, piece, (size_t)got) == got)
		;
	close(from);
	return got == 0 && write(to, "\n", 1) == 1 ? 0 : -1;
}

/*
 * One file with all trusted certificates. The library's own default, a directory with a file for each, costs it four
 * times as long per handshake, and with GnuTLS it takes no bundle from memory. -1 where there is no system bundle and
 * no extra one: its default then applies.
 */
static int ca_bundle_make(const char *extra)
{
	int fd = memfd_create("larder-ca", MFD_CLOEXEC);
	bool any;

	if (fd < 0)
		return -1;
	any = append_file(fd, SYSTEM_CA_BUNDLE) == 0;
	if (extra && append_file(fd, extra) == 0)
		any = true;
	if (any)
		return fd;
	close(fd);
	return -1;
}

/* The library reads these where no proxy is configured. */
static bool environment_names_proxy(void)
{
	static const char *const names[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const char *value = getenv(names[i]);

		if (value && *value)
			return true;
	}
	return false;
}

struct fetch_pool *fetch_pool_new(struct loop *loop, const struct fetch_pool_options *options)
{
	struct fetch_pool *pool = mem_alloc(sizeof(*pool));

	pool->loop = loop;
	pool->watch.run = on_pool_event;
	pool->timer.run = on_pool_timer;
	pool->options = *options;
	pool->options.ca = mem_strdup(options->ca);
	pool->ca_fd = -1;
	pool->client_cert = mem_strdup(options->client_cert);
	pool->client_key = mem_strdup(options->client_key);
	pool->proxy = mem_strdup(options->proxy);
	pool->proxied = options->proxy || environment_names_proxy();
	return pool;
}

/* What the first fetch needs: the library with all that it brings along, and the certificates. A larder that serves
 * from its store does without, and a configuration may name many upstreams that nobody asks for. */
static void pool_make_ready(struct fetch_pool *pool)
{
	if (pool->multi)
		return;
	pthread_once(&library_once, library_init);
	pool->ca_fd = ca_bundle_make(pool->options.ca);
	if (pool->ca_fd >= 0)
		snprintf(pool->ca_path, sizeof(pool->ca_path), "/proc/self/fd/%d", pool->ca_fd);
	pool->gathered = mem_alloc(GATHER_BYTES);
	pool->multi = curl_multi_init();
	assert(pool->multi);
	curl_multi_setopt(pool->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(pool->multi, CURLMOPT_SOCKETDATA, pool);
	curl_multi_setopt(pool->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(pool->multi, CURLMOPT_TIMERDATA, pool);
	curl_multi_setopt(pool->multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
	curl_multi_setopt(pool->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)pool->options.max_connections);
	/* Idle connections kept: the registry's, its token service's and a CDN's. */
	curl_multi_setopt(pool->multi, CURLMOPT_MAXCONNECTS, (long)pool->options.max_connections * 3);
}

void fetch_pool_free(struct fetch_pool *pool)
{
	if (!pool)
		return;
	while (pool->running)
		fetch_cancel(pool->running);
	while (pool->idle_easy_count > 0)
		curl_easy_cleanup(pool->idle_easies[--pool->idle_easy_count]);
	if (pool->multi)
		curl_multi_cleanup(pool->multi);
	loop_timer_clear(pool->loop, &pool->timer);
	if (pool->ca_fd >= 0)
		close(pool->ca_fd);
	free((char *)(uintptr_t)pool->options.ca);
	free(pool->gathered);
	free(pool->connections);
	free(pool->client_cert);
	free(pool->client_key);
	free(pool->proxy);
	free(pool);
}

const struct fetch_pool_stats *fetch_pool_stats(const struct fetch_pool *pool)
{
	return &pool->stats;
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

static void set_request_options(CURL *easy, struct fetch *fetch, const struct fetch_request *request)
{
	bool http1 = request->http1 || request->own_connection;

	curl_easy_setopt(easy, CURLOPT_URL, request->url);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "larder/" LARDER_VERSION);
	curl_easy_setopt(easy, CURLOPT_NOBODY, request->head ? 1L : 0L);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
			 http1 ? (long)CURL_HTTP_VERSION_1_1 : (long)CURL_HTTP_VERSION_2TLS);
	/* Wait for a connection that is being opened rather than open a second: it may turn out to multiplex. */
	curl_easy_setopt(easy, CURLOPT_PIPEWAIT, http1 ? 0L : 1L);
	curl_easy_setopt(easy, CURLOPT_HTTP09_ALLOWED, 0L);
	if (fetch->pool->client_cert && !request->no_client_cert) {
		curl_easy_setopt(easy, CURLOPT_SSLCERT, fetch->pool->client_cert);
		curl_easy_setopt(easy, CURLOPT_SSLKEY, fetch->pool->client_key);
	}
	if (request->post)
		curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, request->post);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION,
			 request->public_only && !fetch->pool->proxied ? open_public_socket : open_socket);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, fetch);
	/* The library keeps these two with the connection, which outlives the fetch. */
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, fetch->pool);
	curl_easy_setopt(easy, CURLOPT_RESOLVER_START_FUNCTION, on_resolve);
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
	pool_make_ready(pool);
	fetch->pool = pool;
	fetch->sink = sink;
	fetch->arg = arg;
	assert(request->kind < FETCH_KINDS);
	fetch->kind = request->kind;
	fetch->method = request->post ? FETCH_POST : request->head ? FETCH_HEAD : FETCH_GET;
	fetch->header_text.max = 2 * FETCH_HEADER_BYTES_MAX;
	fetch->idle_timer.run = on_idle_timer;
	fetch->easy = pool->idle_easy_count > 0 ? pool->idle_easies[--pool->idle_easy_count] : curl_easy_init();
	assert(fetch->easy);
	set_connection_options(fetch->easy, pool);
	set_request_options(fetch->easy, fetch, request);
	DL_APPEND(pool->running, fetch);
	loop_timer_set(pool->loop, &fetch->idle_timer, pool->options.idle_timeout_ms);
	if (!request->http1 && !request->own_connection && strncasecmp(request->url, "https:", 6) == 0) {
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
