/* SPDX-License-Identifier: Apache-2.0 */
/* Serving threads: each drives a libmicrohttpd daemon from an epoll loop of ours. In this mode the library never waits
 * by itself, which its own epoll thread does for a whole timeout when exactly 128 events come at once. */
#include "server/http/http_internal.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>
#include <utlist.h>

/* Waiting. */

/* The library has a descriptor of its own for this, and forgets to watch it in a daemon that does not listen. */
void http_thread_wake(struct http_server_thread *thread)
{
	uint64_t one = 1;

	(void)!write(thread->wake_fd, &one, sizeof(one));
}

static void exchange_pause(struct waiter *waiter)
{
	struct exchange *exchange = (struct exchange *)((char *)waiter - offsetof(struct exchange, request.waiter));

	__atomic_store_n(&exchange->own->paused, true, __ATOMIC_RELAXED);
	if (exchange->sending == HTTP_SENDING)
		return; /* the connection is ours, or about to be */
	exchange->awaits_last = exchange->is_sender;
	MHD_suspend_connection(exchange->connection);
}

static void exchange_wake(struct waiter *waiter)
{
	struct exchange *exchange = (struct exchange *)((char *)waiter - offsetof(struct exchange, request.waiter));

	__atomic_store_n(&exchange->own->paused, false, __ATOMIC_RELAXED);
	if (exchange->is_sender) {
		http_send_wake(exchange);
		return;
	}
	MHD_resume_connection(exchange->connection);
	__atomic_store_n(&exchange->thread->library_called, true, __ATOMIC_RELEASE);
	http_thread_wake(exchange->thread);
}

/* Requests. */

static enum http_method method_of(const char *text)
{
	static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"};

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(text, names[i]) == 0)
			return (enum http_method)i;
	return HTTP_OTHER;
}

/* The library calls this with the request line's target, before it decodes anything. */
static void *on_target(void *arg, const char *target, struct MHD_Connection *connection)
{
	struct exchange *exchange = mem_alloc(sizeof(*exchange));
	char *question;

	exchange->thread = arg;
	exchange->connection = connection;
	exchange->own = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
	exchange->target_end = target + strlen(target);
	exchange->wrong = http_check_target(target);
	exchange->target = mem_strdup(target);
	exchange->request.path = http_target_path(exchange->target);
	question = strchr(exchange->request.path, '?');
	exchange->request.query = question ? question + 1 : "";
	if (question)
		*question = '\0';
	exchange->request.client = exchange->own->client;
	exchange->request.began_us = clock_us();
	exchange->request.waiter.pause = exchange_pause;
	exchange->request.waiter.wake = exchange_wake;
	return exchange;
}

/* The library closes the connection behind a reply that comes before the request's body was read: what follows is not
 * to be trusted. */
static enum MHD_Result refuse(const struct exchange *exchange, const char *why)
{
	struct MHD_Response *response =
		MHD_create_response_from_buffer(strlen(why), (void *)(uintptr_t)why, MHD_RESPMEM_PERSISTENT);
	enum MHD_Result result;

	assert(response);
	log_info("refused a request of %s: %s", exchange->request.client, why);
	MHD_add_response_header(response, "Content-Type", "text/plain");
	MHD_add_response_header(response, "Connection", "close");
	result = MHD_queue_response(exchange->connection, MHD_HTTP_BAD_REQUEST, response);
	MHD_destroy_response(response);
	return result;
}

/* Letters, digits and what stands between them: a name that is safe in a log. */
static bool is_sane_id(const char *id)
{
	size_t len = strspn(id, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._:+/=-");

	return len > 0 && len < HTTP_ID_MAX && !id[len];
}

/* Ours: 64 bits in hexadecimal that begin anywhere and are no two times the same in a process. */
static void make_id(char id[HTTP_ID_MAX])
{
	static uint64_t next;
	uint64_t number = __atomic_add_fetch(&next, 1, __ATOMIC_RELAXED);

	if (number == 1) {
		uint64_t start = 0;

		if (getrandom(&start, sizeof(start), GRND_NONBLOCK) < 0)
			start = clock_us();
		number = __atomic_add_fetch(&next, start, __ATOMIC_RELAXED);
	}
	for (int i = 15; i >= 0; i--, number >>= 4)
		id[i] = "0123456789abcdef"[number & 15];
	id[16] = '\0';
}

static void write_id(struct exchange *exchange)
{
	const char *given = MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, "X-Request-Id");

	exchange->id_given = given && is_sane_id(given);
	if (exchange->id_given)
		memcpy(exchange->request.id, given, strlen(given) + 1);
	else
		make_id(exchange->request.id);
}

/* Handlers know of it from here on. */
static void exchange_begin(struct exchange *exchange, const char *method)
{
	exchange->begun = true;
	write_id(exchange);
	exchange->request.method_text = method;
	exchange->request.method = method_of(method);
	__atomic_add_fetch(&exchange->thread->requests, 1, __ATOMIC_RELAXED);
}

/* Nobody asks for the body of an upload, and it is too long to be read for politeness: the answer does not wait for it.
 */
static bool is_unwanted(const struct exchange *exchange, const char *method)
{
	const char *length = MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, "Content-Length");

	return !exchange->thread->server->options.handler.begin && strcmp(method, "GET") != 0 &&
	       strcmp(method, "HEAD") != 0 &&
	       (exchange->chunked || (length && strtoull(length, NULL, 10) > HTTP_UNREAD_MAX));
}

static void handle(struct exchange *exchange)
{
	const struct http_handler *handler = &exchange->thread->server->options.handler;

	log_set_request(exchange->request.id);
	handler->handle(handler->arg, &exchange->request);
	log_set_request(NULL);
}

/* The head was read. */
static enum MHD_Result on_head(struct exchange *exchange, const char *method, const char *version)
{
	const struct http_handler *handler = &exchange->thread->server->options.handler;
	struct http_request_line line = {.method = method, .target_end = exchange->target_end, .version = version};
	const char *wrong = http_check_head(exchange->connection, &line, &exchange->chunked);

	wrong = exchange->wrong ? exchange->wrong : wrong;
	exchange->announced = true;
	exchange->own->asked = true;
	exchange->own->pace_since_ms = 0;
	exchange->own->unread = wrong != NULL;
	if (wrong)
		return refuse(exchange, wrong);
	/* Replying now would make the library close the connection behind the reply: mostly one waits until the
	 * request is read to its end. */
	if (handler->begin) {
		exchange_begin(exchange, method);
		log_set_request(exchange->request.id);
		exchange->upload = handler->begin(handler->arg, &exchange->request);
		log_set_request(NULL);
		exchange->own->unread = exchange->replied;
	} else if (is_unwanted(exchange, method)) {
		exchange_begin(exchange, method);
		exchange->own->unread = true;
		handle(exchange);
	}
	return MHD_YES;
}

/* A piece of the request's body: how many of its bytes were taken. */
static size_t take_upload(struct exchange *exchange, const void *data, size_t len)
{
	const struct http_handler *handler = &exchange->thread->server->options.handler;
	ssize_t taken;

	switch (exchange->upload) {
	case HTTP_UPLOAD_COLLECT:
		exchange->collected.max = HTTP_COLLECT_MAX;
		if (buf_append(&exchange->collected, data, len) == 0)
			return len;
		exchange->request.body_too_large = true;
		break;
	case HTTP_UPLOAD_TAKE:
		taken = handler->take(handler->arg, &exchange->request, data, len);
		if (taken >= 0)
			return (size_t)taken;
		break;
	case HTTP_UPLOAD_DROP:
		exchange->dropped += len;
		return len;
	}
	exchange->upload = HTTP_UPLOAD_DROP;
	buf_dispose(&exchange->collected);
	return len;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url, const char *method,
				  const char *version, const char *upload_data, size_t *upload_data_size, void **state)
{
	struct http_server_thread *thread = arg;
	const struct http_handler *handler = &thread->server->options.handler;
	struct exchange *exchange = *state;

	(void)connection;
	(void)url;
	if (!exchange->announced)
		return on_head(exchange, method, version);
	if (*upload_data_size > 0) {
		*upload_data_size -= take_upload(exchange, upload_data, *upload_data_size);
		return handler->begin || exchange->dropped <= HTTP_UNREAD_MAX ? MHD_YES : MHD_NO;
	}
	if (!exchange->begun)
		exchange_begin(exchange, method);
	exchange->request.body = exchange->collected.data ? exchange->collected.data : "";
	exchange->request.body_len = exchange->collected.len;
	if (!exchange->replied)
		handle(exchange);
	return MHD_YES;
}

/* The library does not say why it gave up sending a file. The client's leaving is not what made it, where it is still
 * there. */
static bool client_is_there(const struct exchange *exchange)
{
	char byte;
	ssize_t got = recv(exchange->own->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	return !exchange->own->cut && (got > 0 || (got < 0 && errno == EAGAIN));
}

static void on_ended(void *arg, struct MHD_Connection *connection, void **state, enum MHD_RequestTerminationCode code)
{
	struct http_server_thread *thread = arg;
	const struct http_handler *handler = &thread->server->options.handler;
	struct exchange *exchange = *state;

	(void)connection;
	*state = NULL;
	if (!exchange)
		return;
	exchange->own->asked = false;
	exchange->own->sends = NULL;
	exchange->own->still_since = NULL;
	exchange->own->waits_since_ms = clock_ms();
	if (exchange->begun) {
		bool complete = code == MHD_REQUEST_TERMINATED_COMPLETED_OK;

		if (complete && exchange->body.kind != HTTP_BODY_STREAM && !exchange->is_sender &&
		    exchange->request.method != HTTP_HEAD && exchange->request.status != MHD_HTTP_NOT_MODIFIED)
			exchange->request.body_bytes = exchange->body.len;
		if (code == MHD_REQUEST_TERMINATED_WITH_ERROR && exchange->librarys_file && client_is_there(exchange))
			exchange_tell_unread(exchange, 0, exchange->body.len);
		log_set_request(exchange->request.id);
		handler->ended(handler->arg, &exchange->request, complete);
		log_set_request(NULL);
		__atomic_sub_fetch(&thread->requests, 1, __ATOMIC_RELAXED);
	}
	http_send_forget(exchange);
	if (exchange->replied && exchange->body.kind == HTTP_BODY_FILE && !exchange->librarys_file)
		close(exchange->body.fd);
	http_prepared_unref(exchange->prepared);
	buf_dispose(&exchange->collected);
	free(exchange->joined_header);
	free(exchange->target);
	free(exchange);
}

struct header_search {
	const char *name;
	struct buf found;
};

static enum MHD_Result join_header(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct header_search *search = arg;

	(void)kind;
	if (strcasecmp(name, search->name) == 0 && value) {
		if (search->found.len > 0)
			buf_append_text(&search->found, ", ");
		buf_append_text(&search->found, value);
	}
	return MHD_YES;
}

const char *http_request_header(struct http_request *request, const char *name)
{
	struct exchange *exchange = exchange_of(request);
	const char *first = MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, name);
	struct header_search search = {.name = name};

	/* Lists may be spread over several lines (RFC 9110, section 5.3). */
	if (!first || (strcasecmp(name, "Accept") != 0 && strcasecmp(name, "If-None-Match") != 0))
		return first;
	MHD_get_connection_values(exchange->connection, MHD_HEADER_KIND, join_header, &search);
	free(exchange->joined_header);
	exchange->joined_header = search.found.data;
	return exchange->joined_header;
}

/* The thread. */

static void on_connection(void *arg, struct MHD_Connection *connection, void **state,
			  enum MHD_ConnectionNotificationCode code)
{
	struct http_server_thread *thread = arg;
	struct http_connection *own;

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		*state = own = http_connection_new(thread, thread->adding);
		thread->adding = NULL;
		if (thread->server->tls) {
			own->session =
				MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION)->tls_session;
			http_tls_begin(thread->server->tls, own->session);
			http_tls_input_begin(&own->input, own->session, own->fd);
		}
	} else if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
		own = *state;
		if (own->unread && !own->cut)
			http_linger_begin(thread, own->fd);
		http_connection_free(thread, own);
		__atomic_sub_fetch(&thread->connections, 1, __ATOMIC_RELAXED);
	}
}

__attribute__((format(printf, 2, 0))) static void on_library_log(void *arg, const char *format, va_list arguments)
{
	char text[512];

	(void)arg;
	vsnprintf(text, sizeof(text), format, arguments);
	text[strcspn(text, "\r\n")] = '\0';
	log_debug("http: %s", text);
}

static void take_accepted(struct http_server_thread *thread)
{
	struct http_accepted *accepted;
	size_t len;

	pthread_mutex_lock(&thread->lock);
	accepted = thread->accepted;
	len = thread->accepted_len;
	thread->accepted = NULL;
	thread->accepted_len = thread->accepted_cap = 0;
	pthread_mutex_unlock(&thread->lock);
	if (len > 0)
		thread->library_due = true;
	for (size_t i = 0; i < len; i++) {
		thread->adding = &accepted[i];
		/* When it fails the library has closed the socket, and on_connection() may or may not have heard of it.
		 */
		if (MHD_add_connection(thread->daemon, accepted[i].fd, (struct sockaddr *)&accepted[i].address,
				       accepted[i].address_len) != MHD_YES &&
		    thread->adding) {
			http_client_leave(thread->server, &accepted[i].key);
			__atomic_sub_fetch(&thread->connections, 1, __ATOMIC_RELAXED);
		}
	}
	free(accepted);
}

static int wait_ms(struct http_server_thread *thread)
{
	MHD_UNSIGNED_LONG_LONG timeout;

	if (MHD_get_timeout(thread->daemon, &timeout) != MHD_YES || timeout > HTTP_LOOK_MS)
		return thread->open || thread->lingering ? HTTP_LOOK_MS : -1;
	return (int)timeout;
}

/* Waits until the library, another thread or a socket that we send on has something for this one. */
static void thread_wait(struct http_server_thread *thread, int timeout_ms)
{
	struct epoll_event events[HTTP_EVENTS];
	int count = epoll_wait(thread->epoll_fd, events, HTTP_EVENTS, timeout_ms);

	if (count <= 0)
		thread->library_due = true;
	for (int i = 0; i < count; i++) {
		uint64_t counter;

		if (events[i].data.ptr == thread->daemon) {
			thread->library_due = true;
		} else if (events[i].data.ptr != thread) {
			if (!http_linger_event(thread, events[i].data.ptr))
				http_send_event(events[i].data.ptr, events[i].events);
		} else if (read(thread->wake_fd, &counter, sizeof(counter)) > 0) {
			__atomic_store_n(&thread->alive, true, __ATOMIC_RELAXED);
			if (__atomic_exchange_n(&thread->library_called, false, __ATOMIC_ACQUIRE))
				thread->library_due = true;
			take_accepted(thread);
			http_send_woken(thread);
		}
	}
}

/* A paused request does not notice that its client has left. While the server drains, those are not worth waiting for.
 */
static void count_abandoned(struct http_server_thread *thread)
{
	struct http_connection *connection;
	unsigned count = 0;
	char byte;

	DL_FOREACH (thread->open, connection)
		if (__atomic_load_n(&connection->paused, __ATOMIC_RELAXED) &&
		    recv(connection->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
			count++;
	__atomic_store_n(&thread->abandoned, count, __ATOMIC_RELAXED);
}

static void *thread_main(void *arg)
{
	struct http_server_thread *thread = arg;
	unsigned turns = 0;

	pthread_setname_np(pthread_self(), "http");
	while (__atomic_load_n(&thread->phase, __ATOMIC_ACQUIRE) != HTTP_STOPPING) {
		int timeout_ms = wait_ms(thread);

		if (__atomic_load_n(&thread->phase, __ATOMIC_ACQUIRE) == HTTP_DRAINING) {
			count_abandoned(thread);
			if (timeout_ms < 0 || timeout_ms > HTTP_DRAIN_LOOK_MS)
				timeout_ms = HTTP_DRAIN_LOOK_MS;
		}

		/* While it has bytes to send the library asks the kernel for events itself, once a turn: new
		 * connections, which it knows nothing of, are looked for now and then. */
		thread->library_due = timeout_ms == 0;
		if (timeout_ms != 0 || thread->senders || ++turns % HTTP_BUSY_TURNS == 0)
			thread_wait(thread, timeout_ms);
		if (thread->library_due)
			MHD_run(thread->daemon);
		http_connections_look(thread);
	}
	take_accepted(thread);
	http_send_woken(thread);
	http_send_give_up(thread);
	MHD_stop_daemon(thread->daemon);
	http_linger_look(thread, true);
	return NULL;
}

void http_thread_give(struct http_server_thread *thread, const struct http_accepted *accepted)
{
	bool was_empty;

	__atomic_add_fetch(&thread->connections, 1, __ATOMIC_RELAXED);
	pthread_mutex_lock(&thread->lock);
	was_empty = thread->accepted_len == 0;
	if (thread->accepted_len == thread->accepted_cap) {
		thread->accepted_cap = thread->accepted_cap ? thread->accepted_cap * 2 : 16;
		thread->accepted = mem_realloc(thread->accepted, thread->accepted_cap * sizeof(*accepted));
	}
	thread->accepted[thread->accepted_len++] = *accepted;
	pthread_mutex_unlock(&thread->lock);
	if (was_empty)
		http_thread_wake(thread);
}

void http_thread_set_phase(struct http_server_thread *thread, int phase)
{
	__atomic_store_n(&thread->phase, phase, __ATOMIC_RELEASE);
	http_thread_wake(thread);
}

void http_thread_join(struct http_server_thread *thread)
{
	pthread_join(thread->thread, NULL);
	close(thread->epoll_fd);
	close(thread->wake_fd);
	free(thread->plain);
	pthread_mutex_destroy(&thread->lock);
}

static struct MHD_Daemon *daemon_start(struct http_server_thread *thread)
{
	const struct http_options *options = &thread->server->options;
	unsigned flags = MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
	struct MHD_OptionItem tls[] = {
		{MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)options->tls_cert},
		{MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)options->tls_key},
		/* TLS 1.2 and 1.3, and of 1.2 only what has forward secrecy and an AEAD, in our order. */
		{MHD_OPTION_HTTPS_PRIORITIES, 0,
		 "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-RSA:-DHE-RSA:-AES-128-CBC:-AES-256-CBC:-SHA1"
		 ":%SERVER_PRECEDENCE"},
		{MHD_OPTION_END, 0, NULL},
	};

	if (options->tls_cert)
		flags |= MHD_USE_TLS;
	else
		tls[0].option = MHD_OPTION_END;
	return MHD_start_daemon(
		flags, 0, NULL, NULL, on_request, thread, MHD_OPTION_EXTERNAL_LOGGER, on_library_log, NULL,
		MHD_OPTION_URI_LOG_CALLBACK, on_target, thread, MHD_OPTION_NOTIFY_COMPLETED, on_ended, thread,
		/* the acceptor counts them, and by a limit that may change */
		MHD_OPTION_NOTIFY_CONNECTION, on_connection, thread, MHD_OPTION_CONNECTION_LIMIT, UINT_MAX,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_CONNECTION_MEMORY,
		/* what it would refuse by this is refused in strict.c, in a better form: it would send two heads */
		MHD_OPTION_STRICT_FOR_CLIENT, 0,
		/* without it, no sendfile */
		MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_ARRAY, tls, MHD_OPTION_END);
}

static int watch(struct http_server_thread *thread, int fd, void *what)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = what};

	return epoll_ctl(thread->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

int http_thread_start(struct http_server *server, struct http_server_thread *thread, struct err *err)
{
	const union MHD_DaemonInfo *info;
	int failed;

	thread->server = server;
	pthread_mutex_init(&thread->lock, NULL);
	thread->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	thread->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	thread->daemon = daemon_start(thread);
	if (!thread->daemon && server->tls)
		return err_set(err, ERR_INVALID, "cannot serve TLS with this certificate and key");
	info = thread->daemon ? MHD_get_daemon_info(thread->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
	if (thread->epoll_fd < 0 || thread->wake_fd < 0 || !info || watch(thread, thread->wake_fd, thread) ||
	    watch(thread, info->epoll_fd, thread->daemon))
		return err_set_errno(err, ERR_IO, errno, "cannot set up a serving thread");
	failed = pthread_create(&thread->thread, NULL, thread_main, thread);
	return failed ? err_set_errno(err, ERR_IO, failed, "cannot start a serving thread") : 0;
}
