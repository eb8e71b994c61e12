/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Large bodies, sent by us on the library's socket. The library would send a file in pieces of 128 KiB with a look at
 * its events in between, and copy a flight's bytes twice; we send what the socket takes, straight out of the page
 * cache.
 *
 * To the library the body is of unknown length: it sends the head, with the length that we say, and asks for the body.
 * Then the connection is suspended, we send all but the last byte, resume, and the library sends that one. What it
 * does not know the length of it can only end by closing the connection; so this is for bodies beside which a new
 * connection costs nothing.
 *
 * Everything runs on the serving thread but http_send_wake().
 */
#include "server/http/http_internal.h"

#include "base/buf.h"
#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <microhttpd.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <unistd.h>
#include <utlist.h>

static ssize_t send_file(struct exchange *exchange, size_t max)
{
	off_t at = (off_t)(exchange->body.offset + exchange->position);
	ssize_t sent;

	do
		sent = sendfile(exchange->own->fd, exchange->body.fd, &at, max);
	while (sent < 0 && errno == EINTR);
	if (sent > 0)
		return sent;
	if (sent < 0 && errno == EAGAIN)
		return HTTP_SEND_FULL;
	/* The client left, or the file is at fault. 0: it is shorter than it was. */
	if (sent == 0 || (errno != EPIPE && errno != ECONNRESET))
		exchange_tell_unread(exchange, exchange->position, 1);
	return ERR_IO;
}

/* Under TLS the bytes pass through us. The library would look for events behind each record of 16 KiB, and so make a
 * packet of each. */
static ssize_t send_encrypted(struct exchange *exchange, size_t max)
{
	const struct http_body *body = &exchange->body;
	char **plain = &exchange->thread->plain;
	ssize_t len = 0, sent;

	if (!exchange->record_waits) {
		if (!*plain)
			*plain = mem_alloc(HTTP_TLS_READ);
		if (max > HTTP_TLS_READ)
			max = HTTP_TLS_READ;
		if (body->kind == HTTP_BODY_FILE)
			len = pread(body->fd, *plain, max, (off_t)(body->offset + exchange->position));
		else
			len = body->read(body->arg, exchange->position, *plain, max);
		if (len <= 0 && body->kind == HTTP_BODY_FILE)
			exchange_tell_unread(exchange, exchange->position, 1);
		if (len <= 0)
			return len < 0 || body->kind == HTTP_BODY_FILE ? ERR_IO : 0;
	}
	sent = http_tls_send(exchange->own->session, *plain, (size_t)len, &exchange->record_waits);
	return sent == 0 ? HTTP_SEND_FULL : sent;
}

static ssize_t send_piece(struct exchange *exchange, size_t max)
{
	const struct http_body *body = &exchange->body;

	if (exchange->own->session)
		return send_encrypted(exchange, max);
	if (body->kind == HTTP_BODY_FILE)
		return send_file(exchange, max);
	return body->send(body->arg, exchange->position, exchange->own->fd, max);
}

/* Packets are filled up, and not one made of each record. */
static void set_cork(const struct exchange *exchange, int on)
{
	if (exchange->own->session)
		setsockopt(exchange->own->fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on));
}

static void set_watched(struct exchange *exchange, int events)
{
	struct epoll_event event = {.events = (uint32_t)events, .data.ptr = exchange};
	int operation = events < 0 ? EPOLL_CTL_DEL : exchange->watched < 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;

	if (events == exchange->watched)
		return;
	exchange->watched = events;
	if (epoll_ctl(exchange->thread->epoll_fd, operation, exchange->own->fd, &event))
		exchange->sending = HTTP_SENDING_FAILED;
}

/* Up to `end`: what the last piece came to. */
static ssize_t send_pieces(struct exchange *exchange, uint64_t end)
{
	ssize_t sent;

	do {
		sent = send_piece(exchange, (size_t)(end - exchange->position));
		if (sent <= 0)
			break;
		if (exchange->request.first_byte_us == 0)
			exchange->request.first_byte_us = clock_us();
		exchange->position += (uint64_t)sent;
		exchange->request.body_bytes += (uint64_t)sent;
	} while (exchange->position < end);
	return sent;
}

/* Sends what can be sent now, in a turn. */
static void send_some(struct exchange *exchange)
{
	uint64_t end = exchange->body.len - 1;
	uint64_t turn_end = exchange->position + (exchange->own->session ? HTTP_TLS_TURN : HTTP_SEND_TURN);
	ssize_t sent;

	set_cork(exchange, 1);
	sent = send_pieces(exchange, turn_end < end ? turn_end : end);
	set_cork(exchange, 0);
	if (exchange->position == end)
		exchange->sending = HTTP_SENT;
	else if (sent < 0 && sent != HTTP_SEND_FULL)
		exchange->sending = HTTP_SENDING_FAILED;
	else
		/* Where there is no more now, http_send_wake() tells when there is; that the client has gone, epoll
		 * tells. */
		set_watched(exchange, sent == 0 ? 0 : EPOLLOUT);
}

/* The library gets the connection back once there is nothing left for us to do. */
static void send_turn(struct exchange *exchange)
{
	if (exchange->sending == HTTP_SENDING)
		send_some(exchange);
	if (exchange->suspended && exchange->sending != HTTP_SENDING) {
		set_watched(exchange, -1);
		exchange->suspended = false;
		DL_DELETE2(exchange->thread->senders, exchange, prev_sender, next_sender);
	} else if (exchange->awaits_last) {
		exchange->awaits_last = false;
	} else {
		return;
	}
	MHD_resume_connection(exchange->connection);
	exchange->thread->library_due = true;
}

static ssize_t read_last(struct exchange *exchange, char *data)
{
	const struct http_body *body = &exchange->body;
	ssize_t got = body->kind == HTTP_BODY_FILE ? pread(body->fd, data, 1, (off_t)(body->offset + body->len - 1))
						   : body->read(body->arg, body->len - 1, data, 1);

	if (got <= 0 && body->kind == HTTP_BODY_FILE)
		exchange_tell_unread(exchange, body->len - 1, 1);
	if (got < 0 || (got == 0 && body->kind == HTTP_BODY_FILE))
		return MHD_CONTENT_READER_END_WITH_ERROR;
	exchange->request.body_bytes += (uint64_t)got;
	return got;
}

/* The library asks for the body: all in front of it was sent to the socket. */
static ssize_t on_last_byte(void *arg, uint64_t position, char *data, size_t max)
{
	struct exchange *exchange = arg;

	assert(max > 0);
	if (position > 0)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (exchange->sending == HTTP_SENDING_NOT) {
		exchange->sending = HTTP_SENDING;
		send_some(exchange);
		if (exchange->sending == HTTP_SENDING) {
			MHD_suspend_connection(exchange->connection);
			exchange->suspended = true;
			DL_APPEND2(exchange->thread->senders, exchange, prev_sender, next_sender);
			return 0;
		}
	}
	return exchange->sending == HTTP_SENT ? read_last(exchange, data) : MHD_CONTENT_READER_END_WITH_ERROR;
}

struct MHD_Response *http_send_response(struct exchange *exchange)
{
	const struct http_body *body = &exchange->body;
	struct MHD_Response *response;
	char length[24];

	if (exchange->request.method == HTTP_HEAD || body->len == HTTP_LENGTH_UNKNOWN || body->len < HTTP_SEND_MIN ||
	    !(body->kind == HTTP_BODY_FILE || (body->kind == HTTP_BODY_STREAM && body->send)))
		return NULL;
	response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 1, on_last_byte, exchange, NULL);
	assert(response);
	exchange->watched = -1;
	snprintf(length, sizeof(length), "%" PRIu64, body->len);
	/* The first is what keeps it from sending chunks. */
	MHD_set_response_options(response, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT | MHD_RF_INSANITY_HEADER_CONTENT_LENGTH,
				 MHD_RO_END);
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_LENGTH, length);
	return response;
}

void http_send_wake(struct exchange *exchange)
{
	struct http_server_thread *thread = exchange->thread;
	bool first = false;

	pthread_mutex_lock(&thread->lock);
	if (!exchange->woken) {
		first = !thread->woken;
		exchange->woken = true;
		LL_PREPEND2(thread->woken, exchange, next_woken);
	}
	pthread_mutex_unlock(&thread->lock);
	if (first)
		http_thread_wake(thread);
}

void http_send_woken(struct http_server_thread *thread)
{
	struct exchange *exchange;

	for (;;) {
		pthread_mutex_lock(&thread->lock);
		exchange = thread->woken;
		if (exchange) {
			LL_DELETE2(thread->woken, exchange, next_woken);
			exchange->woken = false;
		}
		pthread_mutex_unlock(&thread->lock);
		if (!exchange)
			return;
		send_turn(exchange);
	}
}

void http_send_event(struct exchange *exchange, uint32_t events)
{
	if ((events & (EPOLLERR | EPOLLHUP)) && exchange->sending == HTTP_SENDING)
		exchange->sending = HTTP_SENDING_FAILED;
	send_turn(exchange);
}

void http_send_give_up(struct http_server_thread *thread)
{
	while (thread->senders) {
		thread->senders->sending = HTTP_SENDING_FAILED;
		send_turn(thread->senders);
	}
}

void http_send_forget(struct exchange *exchange)
{
	struct http_server_thread *thread = exchange->thread;

	if (exchange->sending == HTTP_SENDING_NOT)
		return;
	assert(!exchange->suspended);
	if (exchange->watched >= 0)
		set_watched(exchange, -1);
	pthread_mutex_lock(&thread->lock);
	if (exchange->woken)
		LL_DELETE2(thread->woken, exchange, next_woken);
	pthread_mutex_unlock(&thread->lock);
}
