/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/wire/scripted_internal.h"

#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINGER_US    1000000 /* for the peer to close after we did */
#define DELIVERY_US  500000  /* for what was sent to reach the peer's kernel before a reset */
#define POLL_US      1000
#define GOODBYES_MAX 16 /* tries to send a TLS goodbye */

void connection_wake_at(struct connection *connection, uint64_t at_us)
{
	if (at_us < connection->wake_us)
		connection->wake_us = at_us;
}

static ssize_t tls_pull(gnutls_transport_ptr_t pointer, void *data, size_t len)
{
	struct connection *connection = pointer;
	ssize_t n = arrival_pull(connection, data, len, connection->scripted->now_us);
	if (n < 0)
		gnutls_transport_set_errno(connection->tls, errno);
	return n;
}

static ssize_t tls_push(gnutls_transport_ptr_t pointer, const void *data, size_t len)
{
	struct connection *connection = pointer;
	ssize_t n = send(connection->fd, data, len, MSG_NOSIGNAL);
	if (n < 0)
		gnutls_transport_set_errno(connection->tls, errno);
	return n;
}

static void connection_open(struct connection *connection, int fd, uint64_t now_us)
{
	struct listener *listener = connection->listener;
	struct scripted *scripted = connection->scripted;
	int one = 1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (scripted->options.send_buffer)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &scripted->options.send_buffer, sizeof(int));
	connection->state = CONNECTION_OPEN;
	if (listener->state == SCRIPTED_MUTE) {
		connection->state = CONNECTION_MUTE;
	} else if (listener->tls) {
		connection->tls = scripted_tls_session(listener);
		gnutls_transport_set_ptr(connection->tls, connection);
		gnutls_transport_set_pull_function(connection->tls, tls_pull);
		gnutls_transport_set_push_function(connection->tls, tls_push);
		connection->state = CONNECTION_HANDSHAKE;
	}
	connection->ready_us = now_us + (uint64_t)scripted->options.shape.latency_ms * 1000;
	bucket_set(&connection->rate, scripted->options.shape.rate_connection, 0, now_us);
}

void connection_accept(struct listener *listener, uint64_t now_us)
{
	struct scripted *scripted = listener->scripted;
	for (;;) {
		struct sockaddr_in peer;
		socklen_t len = sizeof(peer);
		int fd = accept4(listener->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			return;
		struct connection *connection = mem_alloc(sizeof(*connection));
		connection->kind = SOURCE_CONNECTION;
		connection->scripted = scripted;
		connection->listener = listener;
		connection->id = ++scripted->connection_count;
		connection->fd = fd;
		connection->in.max = HEAD_MAX + BODY_MAX;
		connection->arrivals_tail = &connection->arrivals;
		connection->out = mem_alloc(OUT_SIZE);
		connection->next = scripted->connections;
		scripted->connections = connection;
		log_note_connection(listener, true);
		connection_open(connection, fd, now_us);
		struct epoll_event event = {.events = 0, .data.ptr = connection};
		int rc = epoll_ctl(scripted->epoll, EPOLL_CTL_ADD, fd, &event);
		assert(rc == 0);
		connection_run(connection, now_us);
	}
}

static void connection_close(struct connection *connection, enum scripted_outcome outcome)
{
	if (connection->state == CONNECTION_DEAD)
		return;
	while (connection->exchanges)
		exchange_end(connection->exchanges, outcome);
	connection->state = CONNECTION_DEAD;
	/* A child between fork and exec has it open too, and then closing it here would not end its events. */
	epoll_ctl(connection->scripted->epoll, EPOLL_CTL_DEL, connection->fd, NULL);
	close(connection->fd);
	connection->fd = -1;
	log_note_connection(connection->listener, false);
}

void connection_reset(struct connection *connection)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 0};
	if (connection->state == CONNECTION_DEAD)
		return;
	setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	connection_close(connection, SCRIPTED_CUT);
}

void connection_free(struct connection *connection)
{
	assert(connection->state == CONNECTION_DEAD);
	http2_free(connection);
	if (connection->tls)
		gnutls_deinit(connection->tls);
	arrival_free_all(connection);
	buf_dispose(&connection->in);
	free(connection->out);
	free(connection);
}

void connection_finish(struct connection *connection, enum scripted_cut how)
{
	if (connection->state >= CONNECTION_ENDING)
		return;
	connection->state = CONNECTION_ENDING;
	connection->ending = how;
	connection->ending_deadline_us = connection->scripted->now_us + DELIVERY_US;
	connection_wake_at(connection, connection->scripted->now_us);
	while (connection->exchanges)
		exchange_end(connection->exchanges, SCRIPTED_CUT);
}

char *connection_room(struct connection *connection, size_t *cap)
{
	*cap = OUT_SIZE - connection->out_len;
	return connection->out + connection->out_len;
}

void connection_put(struct connection *connection, const void *data, size_t len)
{
	size_t cap;
	char *room = connection_room(connection, &cap);
	assert(len <= cap);
	memcpy(room, data, len);
	connection->out_len += len;
}

static ssize_t connection_send(struct connection *connection, const char *data, size_t len)
{
	if (!connection->tls)
		return send(connection->fd, data, len, MSG_NOSIGNAL);
	ssize_t n = gnutls_record_send(connection->tls, data, len);
	if (n >= 0)
		return n;
	errno = n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED ? EAGAIN : EPIPE;
	return -1;
}

bool connection_flush(struct connection *connection)
{
	while (connection->out_at < connection->out_len && connection->state != CONNECTION_DEAD) {
		ssize_t n = connection_send(connection, connection->out + connection->out_at,
					    connection->out_len - connection->out_at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			connection->blocked = true;
			return false;
		}
		if (n < 0) {
			connection_close(connection, SCRIPTED_LEFT);
			return false;
		}
		connection->out_at += (size_t)n;
	}
	connection->out_at = connection->out_len = 0;
	connection->blocked = false;
	return connection->state != CONNECTION_DEAD;
}

ssize_t connection_receive(struct connection *connection, void *data, size_t len, uint64_t now_us)
{
	if (!connection->tls)
		return arrival_pull(connection, data, len, now_us);
	ssize_t n = gnutls_record_recv(connection->tls, data, len);
	if (n >= 0)
		return n;
	if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED || n == GNUTLS_E_REHANDSHAKE) {
		errno = EAGAIN;
		return -1;
	}
	return 0; /* a peer that leaves without a goodbye has left all the same */
}

static void connection_handshake(struct connection *connection)
{
	gnutls_datum_t protocol = {0};
	int rc;
	do
		rc = gnutls_handshake(connection->tls);
	while (rc < 0 && rc != GNUTLS_E_AGAIN && !gnutls_error_is_fatal(rc));
	if (rc == GNUTLS_E_AGAIN) {
		connection->blocked = gnutls_record_get_direction(connection->tls) == 1;
		return;
	}
	if (rc < 0 || !scripted_tls_admits(connection->listener, connection->tls)) {
		connection_close(connection, SCRIPTED_LEFT);
		return;
	}
	connection->blocked = false;
	connection->state = CONNECTION_OPEN;
	if (gnutls_alpn_get_selected_protocol(connection->tls, &protocol) == 0 && protocol.size == 2)
		http2_start(connection);
	else
		connection->protocol = SCRIPTED_HTTP1;
}

/* `out` still goes; then the end that was asked for. */
static void connection_end(struct connection *connection, uint64_t now_us)
{
	int unsent = 0;
	if (!connection_flush(connection))
		return;
	if (connection->ending == SCRIPTED_CUT_RST) {
		ioctl(connection->fd, SIOCOUTQ, &unsent);
		if (unsent > 0 && now_us < connection->ending_deadline_us)
			connection_wake_at(connection, now_us + POLL_US);
		else
			connection_reset(connection);
		return;
	}
	for (int i = 0; connection->tls && connection->ending == SCRIPTED_CUT_NONE && i < GOODBYES_MAX; i++) {
		if (gnutls_bye(connection->tls, GNUTLS_SHUT_WR) != GNUTLS_E_AGAIN)
			break;
	}
	shutdown(connection->fd, SHUT_WR);
	connection->state = CONNECTION_LINGER;
	connection->ending_deadline_us = now_us + LINGER_US;
}

/* Closing a socket with unread input would reset it, and the peer might lose what it has not read yet. */
static void connection_linger(struct connection *connection, uint64_t now_us)
{
	char data[4096];
	ssize_t n;
	do
		n = recv(connection->fd, data, sizeof(data), 0);
	while (n > 0);
	if (n == 0 || (errno != EAGAIN && errno != EINTR) || now_us >= connection->ending_deadline_us)
		connection_close(connection, SCRIPTED_CUT);
	else
		connection_wake_at(connection, connection->ending_deadline_us);
}

/* What the socket is watched for now. Level-triggered, so only what would be acted on. */
static void connection_watch(struct connection *connection)
{
	uint32_t events = connection->blocked ? EPOLLOUT : 0;
	if (connection->state == CONNECTION_MUTE)
		events = EPOLLRDHUP;
	else if (connection->state != CONNECTION_ENDING && !connection->arrivals_end &&
		 connection->arrivals_size < ARRIVALS_MAX && connection->in.len < HEAD_MAX)
		events |= EPOLLIN;
	if (events == connection->events)
		return;
	struct epoll_event event = {.events = events, .data.ptr = connection};
	connection->events = events;
	int rc = epoll_ctl(connection->scripted->epoll, EPOLL_CTL_MOD, connection->fd, &event);
	assert(rc == 0);
}

void connection_run(struct connection *connection, uint64_t now_us)
{
	if (connection->state == CONNECTION_DEAD)
		return;
	connection->wake_us = NEVER;
	if (connection->state == CONNECTION_HANDSHAKE)
		connection_handshake(connection);
	if (connection->state == CONNECTION_OPEN && connection->protocol != SCRIPTED_HTTP2)
		http1_run(connection, now_us);
	if (connection->state == CONNECTION_OPEN && connection->protocol == SCRIPTED_HTTP2)
		http2_run(connection, now_us);
	if (connection->state == CONNECTION_OPEN && connection->peer_ended)
		connection_close(connection, SCRIPTED_LEFT);
	if (connection->state == CONNECTION_ENDING)
		connection_end(connection, now_us);
	if (connection->state == CONNECTION_LINGER)
		connection_linger(connection, now_us);
	if (connection->state != CONNECTION_DEAD)
		connection_watch(connection);
}
