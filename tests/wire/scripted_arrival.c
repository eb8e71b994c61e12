/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The delay line: with a latency, what the peer sends counts as arrived one round trip later, before TLS and HTTP see
 * it. As the whole round trip is put on this side, a handshake, a request and a window update each cost the peer one.
 */
#include "tests/wire/scripted_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define ARRIVAL_SIZE ((size_t)16384)

/* Moves what the socket has into the line. */
static void arrival_read(struct connection *connection, uint64_t now_us)
{
	uint64_t latency_us = (uint64_t)connection->scripted->options.shape.latency_ms * 1000;
	uint64_t sent_us = now_us > connection->ready_us ? now_us : connection->ready_us;
	while (connection->arrivals_size < ARRIVALS_MAX && !connection->arrivals_end) {
		char data[ARRIVAL_SIZE];
		ssize_t n = recv(connection->fd, data, sizeof(data), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			connection->arrivals_end = true;
			return;
		}
		struct arrival *arrival = mem_alloc(sizeof(*arrival) + (size_t)n);
		arrival->due_us = sent_us + latency_us;
		arrival->len = (size_t)n;
		memcpy(arrival->data, data, (size_t)n);
		*connection->arrivals_tail = arrival;
		connection->arrivals_tail = &arrival->next;
		connection->arrivals_size += arrival->len;
	}
}

static void arrival_drop_first(struct connection *connection)
{
	struct arrival *first = connection->arrivals;
	connection->arrivals = first->next;
	if (!connection->arrivals)
		connection->arrivals_tail = &connection->arrivals;
	connection->arrivals_size -= first->len;
	free(first);
}

ssize_t arrival_pull(struct connection *connection, void *data, size_t len, uint64_t now_us)
{
	bool delays = connection->scripted->options.shape.latency_ms > 0;
	if (!delays && !connection->arrivals && !connection->arrivals_end) {
		ssize_t n;
		do
			n = recv(connection->fd, data, len, 0);
		while (n < 0 && errno == EINTR);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			connection->arrivals_end = true;
		return n;
	}
	arrival_read(connection, now_us);
	struct arrival *first = connection->arrivals;
	if (!first && connection->arrivals_end)
		return 0;
	if (!first || first->due_us > now_us) {
		if (first)
			connection_wake_at(connection, first->due_us);
		errno = EAGAIN;
		return -1;
	}
	size_t n = first->len - first->at < len ? first->len - first->at : len;
	memcpy(data, first->data + first->at, n);
	first->at += n;
	if (first->at == first->len)
		arrival_drop_first(connection);
	return (ssize_t)n;
}

void arrival_free_all(struct connection *connection)
{
	while (connection->arrivals)
		arrival_drop_first(connection);
}
