/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/wire/scripted_internal.h"

#include "base/cleanup.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS_MAX 64
#define BACKLOG    1024
#define PERIOD_MS  1000

void scripted_lock(struct scripted *scripted)
{
	pthread_mutex_lock(&scripted->turn);
	pthread_mutex_lock(&scripted->lock);
	pthread_mutex_unlock(&scripted->turn);
}

void scripted_unlock(struct scripted *scripted)
{
	pthread_mutex_unlock(&scripted->lock);
}

void scripted_poke(struct scripted *scripted)
{
	uint64_t one = 1;
	scripted->poked = true;
	ssize_t n = write(scripted->wake, &one, sizeof(one));
	assert(n == sizeof(one));
}

static void handle_event(struct scripted *scripted, const struct epoll_event *event)
{
	enum source_kind kind = *(enum source_kind *)event->data.ptr;
	if (kind == SOURCE_WAKE) {
		uint64_t count;
		ssize_t n = read(scripted->wake, &count, sizeof(count));
		(void)n;
	} else if (kind == SOURCE_LISTENER) {
		connection_accept(event->data.ptr, scripted->now_us);
	} else {
		struct connection *connection = event->data.ptr;
		if (connection->state == CONNECTION_MUTE)
			connection_reset(connection); /* the peer has left: nothing else is watched for */
		else
			connection_run(connection, scripted->now_us);
	}
}

/* Runs whom time (or a poke) moves, one after the other from a place that changes, so that who shares a rate shares it.
 */
static void run_due(struct scripted *scripted)
{
	bool all = scripted->poked;
	scripted->poked = false;
	for (struct connection *connection = scripted->connections; connection; connection = connection->next) {
		if (connection->state != CONNECTION_DEAD && connection->state != CONNECTION_MUTE &&
		    (all || connection->wake_us <= scripted->now_us))
			connection_run(connection, scripted->now_us);
	}
	struct connection *first = scripted->connections;
	if (first && first->next) {
		struct connection **tail = &scripted->connections;
		while (*tail)
			tail = &(*tail)->next;
		*tail = first;
		scripted->connections = first->next;
		first->next = NULL;
	}
}

static void reap(struct scripted *scripted)
{
	struct connection **link = &scripted->connections;
	while (*link) {
		struct connection *connection = *link;
		if (connection->state != CONNECTION_DEAD) {
			link = &connection->next;
			continue;
		}
		*link = connection->next;
		connection_free(connection);
	}
}

static int next_timeout_ms(const struct scripted *scripted)
{
	uint64_t wake_us = NEVER;
	uint64_t now_us = clock_us();
	for (const struct connection *connection = scripted->connections; connection; connection = connection->next) {
		if (connection->wake_us < wake_us)
			wake_us = connection->wake_us;
	}
	if (wake_us <= now_us)
		return 0;
	uint64_t left_ms = (wake_us - now_us + 999) / 1000;
	return left_ms < PERIOD_MS ? (int)left_ms : PERIOD_MS;
}

static void *loop(void *argument)
{
	struct scripted *scripted = argument;
	struct epoll_event events[EVENTS_MAX];
	int timeout_ms = PERIOD_MS;
	bool stopping = false;
	while (!stopping) {
		int n = epoll_wait(scripted->epoll, events, EVENTS_MAX, timeout_ms);
		assert(n >= 0 || errno == EINTR);
		scripted_lock(scripted);
		scripted->now_us = clock_us();
		for (int i = 0; i < n; i++)
			handle_event(scripted, &events[i]);
		run_due(scripted);
		reap(scripted);
		timeout_ms = next_timeout_ms(scripted);
		stopping = scripted->stopping;
		scripted_unlock(scripted);
	}
	return NULL;
}

static void auth_dispose(struct scripted_auth *auth)
{
	free((char *)auth->username);
	free((char *)auth->password);
	free((char *)auth->realm);
	free((char *)auth->grants);
}

static void auth_copy(struct scripted_auth *to, const struct scripted_auth *from)
{
	*to = *from;
	to->username = mem_strdup(from->username);
	to->password = mem_strdup(from->password);
	to->realm = mem_strdup(from->realm);
	to->grants = mem_strdup(from->grants);
}

struct scripted *scripted_new(const struct scripted_options *options, struct err *err)
{
	static const struct scripted_options defaults;
	struct scripted *scripted = mem_alloc(sizeof(*scripted));
	pthread_condattr_t monotonic;
	scripted->kind = SOURCE_WAKE;
	scripted->started_us = scripted->now_us = clock_us();
	scripted->options = options ? *options : defaults;
	auth_copy(&scripted->options.auth, &(options ? options : &defaults)->auth);
	pthread_mutex_init(&scripted->turn, NULL);
	pthread_mutex_init(&scripted->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&scripted->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	scripted_set_shape(scripted, &scripted->options.shape);
	scripted->epoll = epoll_create1(EPOLL_CLOEXEC);
	scripted->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = scripted};
	if (scripted->epoll >= 0 && scripted->wake >= 0 &&
	    epoll_ctl(scripted->epoll, EPOLL_CTL_ADD, scripted->wake, &event) == 0 &&
	    pthread_create(&scripted->thread, NULL, loop, scripted) == 0)
		return scripted;
	err_set_errno(err, ERR_IO, errno, "cannot start the scripted upstream");
	free(scripted);
	return NULL;
}

static void listener_free(struct listener *listener)
{
	if (listener->fd >= 0)
		close(listener->fd);
	if (listener->keeper >= 0)
		close(listener->keeper);
	free(listener->address);
	free(listener->url);
	free(listener);
}

void scripted_free(struct scripted *scripted)
{
	if (!scripted)
		return;
	scripted_lock(scripted);
	scripted->stopping = true;
	scripted_poke(scripted);
	scripted_unlock(scripted);
	pthread_join(scripted->thread, NULL);
	for (struct connection *connection = scripted->connections; connection; connection = connection->next)
		connection_reset(connection);
	reap(scripted);
	for (int i = 0; i < scripted->listener_count; i++)
		listener_free(scripted->listeners[i]);
	rules_free_all(scripted);
	token_free_all(scripted);
	content_free_all(scripted);
	log_free_all(scripted);
	auth_dispose(&scripted->options.auth);
	close(scripted->epoll);
	close(scripted->wake);
	pthread_cond_destroy(&scripted->changed);
	pthread_mutex_destroy(&scripted->lock);
	pthread_mutex_destroy(&scripted->turn);
	free(scripted);
}

static int bind_socket(const char *address, uint16_t port)
{
	struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port)};
	int one = 1;
	if (inet_pton(AF_INET, address, &name.sin_addr) != 1) {
		errno = EINVAL;
		return -1;
	}
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
	    bind(fd, (struct sockaddr *)&name, sizeof(name)) != 0)
		return -1;
	return take_fd(fd);
}

/* Starts to accept. The socket is bound beside the keeper, which Linux allows as long as that one does not listen. */
static int listener_up(struct listener *listener)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = listener};
	listener->fd = bind_socket(listener->address, listener->port);
	if (listener->fd < 0)
		return -1;
	if (listen(listener->fd, BACKLOG) != 0)
		return -1;
	return epoll_ctl(listener->scripted->epoll, EPOLL_CTL_ADD, listener->fd, &event);
}

int scripted_listen(struct scripted *scripted, const struct scripted_listen *listen, struct err *err)
{
	static const struct scripted_listen plain;
	struct sockaddr_in name = {0};
	socklen_t len = sizeof(name);
	const struct scripted_listen *l = listen ? listen : &plain;
	struct listener *listener = mem_alloc(sizeof(*listener));
	listener->kind = SOURCE_LISTENER;
	listener->scripted = scripted;
	listener->fd = -1;
	listener->address = mem_strdup(l->address ? l->address : "127.0.0.1");
	listener->tls = l->tls;
	listener->h2 = l->h2;
	listener->open = l->open;
	listener->client_certificate = l->client_certificate;
	listener->keeper = bind_socket(listener->address, l->port);
	if (listener->keeper < 0 || getsockname(listener->keeper, (struct sockaddr *)&name, &len) != 0) {
		int rc = err_set_errno(err, ERR_IO, errno, "cannot bind %s:%u", listener->address, l->port);
		listener_free(listener);
		return rc;
	}
	listener->port = ntohs(name.sin_port);
	listener->url = mem_printf("%s://%s:%u", l->tls ? "https" : "http", listener->address, listener->port);
	scripted_lock(scripted);
	assert(scripted->listener_count < SCRIPTED_LISTENERS_MAX);
	listener->id = scripted->listener_count + 1;
	int rc = listener_up(listener);
	if (rc == 0) {
		scripted->listeners[scripted->listener_count++] = listener;
		rc = listener->id;
	} else {
		rc = err_set_errno(err, ERR_IO, errno, "cannot listen on %s", listener->url);
	}
	scripted_unlock(scripted);
	if (rc < 0)
		listener_free(listener);
	return rc;
}

static struct listener *listener_find(struct scripted *scripted, int id)
{
	scripted_lock(scripted);
	assert(id >= 0 && id <= scripted->listener_count && scripted->listener_count > 0);
	struct listener *listener = scripted->listeners[id ? id - 1 : 0];
	scripted_unlock(scripted);
	return listener;
}

const char *scripted_url(struct scripted *scripted, int listener)
{
	return listener_find(scripted, listener)->url;
}

const char *scripted_address(struct scripted *scripted, int listener)
{
	return listener_find(scripted, listener)->address;
}

uint16_t scripted_port(struct scripted *scripted, int listener)
{
	return listener_find(scripted, listener)->port;
}

static void listener_set_state(struct listener *listener, enum scripted_state state)
{
	listener->state = state;
	if (state == SCRIPTED_DOWN && listener->fd >= 0) {
		close(listener->fd);
		listener->fd = -1;
	} else if (state != SCRIPTED_DOWN && listener->fd < 0) {
		int rc = listener_up(listener);
		assert(rc == 0 && "the keeper keeps the port");
	}
}

void scripted_set_state(struct scripted *scripted, int id, enum scripted_state state, bool cut)
{
	scripted_lock(scripted);
	for (int i = 0; i < scripted->listener_count; i++) {
		if (id == 0 || scripted->listeners[i]->id == id)
			listener_set_state(scripted->listeners[i], state);
	}
	for (struct connection *connection = scripted->connections; cut && connection; connection = connection->next) {
		if (id == 0 || connection->listener->id == id)
			connection_reset(connection);
	}
	scripted_poke(scripted);
	scripted_unlock(scripted);
}

void scripted_set_shape(struct scripted *scripted, const struct scripted_shape *shape)
{
	scripted_lock(scripted);
	uint64_t now_us = clock_us();
	scripted->options.shape = *shape;
	bucket_set(&scripted->rate, shape->rate_total, 0, now_us);
	bucket_set(&scripted->requests, shape->requests_per_s, shape->requests_per_s, now_us);
	for (struct connection *connection = scripted->connections; connection; connection = connection->next) {
		bucket_set(&connection->rate, shape->rate_connection, 0, now_us);
		for (struct exchange *exchange = connection->exchanges; exchange; exchange = exchange->next) {
			if (exchange_script(exchange)->rate == 0)
				bucket_set(&exchange->rate, shape->rate_stream, 0, now_us);
		}
	}
	if (scripted->connections)
		scripted_poke(scripted);
	scripted_unlock(scripted);
}

void scripted_set_auth(struct scripted *scripted, const struct scripted_auth *auth)
{
	scripted_lock(scripted);
	auth_dispose(&scripted->options.auth);
	auth_copy(&scripted->options.auth, auth);
	scripted_unlock(scripted);
}
