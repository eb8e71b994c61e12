/* SPDX-License-Identifier: Apache-2.0 */
/* How many connections there may be and how slow. The acceptor counts them by client; each serving thread looks once a
 * second whether somebody keeps it waiting: for a request that does not come to its end, or with an answer that is not
 * taken. An answer that larder itself has no bytes for yet is nobody's fault and goes unlimited. */
#include "server/http/http_internal.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <utlist.h>

void http_set_limits(struct http_server *server, const struct http_limits *limits)
{
	pthread_mutex_lock(&server->clients_lock);
	server->limits = *limits;
	if (!limits->client_connections)
		server->limits.client_connections = limits->connections;
	if (!limits->request_timeout_ms)
		server->limits.request_timeout_ms = HTTP_REQUEST_TIMEOUT_MS;
	pthread_mutex_unlock(&server->clients_lock);
}

struct http_limits http_limits_now(struct http_server *server)
{
	struct http_limits limits;

	pthread_mutex_lock(&server->clients_lock);
	limits = server->limits;
	pthread_mutex_unlock(&server->clients_lock);
	return limits;
}

/* Clients. */

/* Whom an address belongs to: of IPv6, its first half, since one host has all of the second. */
static struct http_client_key key_of(const struct http_accepted *accepted)
{
	struct http_client_key key = {0};
	const struct sockaddr *address = (const struct sockaddr *)&accepted->address;

	key.family = address->sa_family;
	if (address->sa_family == AF_INET) {
		const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;

		memcpy(key.address, &v4->sin_addr, 4);
	} else if (address->sa_family == AF_INET6) {
		const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)address;
		bool mapped = IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr);

		key.family = mapped ? AF_INET : AF_INET6;
		memcpy(key.address, v6->sin6_addr.s6_addr + (mapped ? 12 : 0), mapped ? 4 : 8);
	}
	return key;
}

bool http_client_enter(struct http_server *server, struct http_accepted *accepted)
{
	struct http_client *client;
	bool room;

	accepted->key = key_of(accepted);
	if (accepted->key.family == AF_UNIX)
		return true;
	pthread_mutex_lock(&server->clients_lock);
	HASH_FIND(hh, server->clients, &accepted->key, sizeof(accepted->key), client);
	room = !client || client->connections < server->limits.client_connections;
	if (room && !client) {
		client = mem_alloc(sizeof(*client));
		client->key = accepted->key;
		HASH_ADD(hh, server->clients, key, sizeof(client->key), client);
	}
	if (room)
		client->connections++;
	pthread_mutex_unlock(&server->clients_lock);
	return room;
}

void http_client_leave(struct http_server *server, const struct http_client_key *key)
{
	struct http_client *client;

	if (key->family == AF_UNIX)
		return;
	pthread_mutex_lock(&server->clients_lock);
	HASH_FIND(hh, server->clients, key, sizeof(*key), client);
	if (client && --client->connections == 0) {
		HASH_DEL(server->clients, client);
		free(client);
	}
	pthread_mutex_unlock(&server->clients_lock);
}

/* Connections. */

static void write_client(const struct http_accepted *accepted, char text[HTTP_CLIENT_TEXT_MAX])
{
	const struct sockaddr *address = (const struct sockaddr *)&accepted->address;

	if (address->sa_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)address)->sin_addr, text,
			  HTTP_CLIENT_TEXT_MAX);
	else if (address->sa_family == AF_INET6)
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, text,
			  HTTP_CLIENT_TEXT_MAX);
	else
		strcpy(text, "unix");
}

struct http_connection *http_connection_new(struct http_server_thread *thread, const struct http_accepted *accepted)
{
	struct http_connection *connection = mem_alloc(sizeof(*connection));

	connection->fd = accepted->fd;
	connection->key = accepted->key;
	write_client(accepted, connection->client);
	connection->waits_since_ms = clock_ms();
	DL_APPEND(thread->open, connection);
	return connection;
}

void http_connection_free(struct http_server_thread *thread, struct http_connection *connection)
{
	DL_DELETE(thread->open, connection);
	http_client_leave(thread->server, &connection->key);
	free(connection);
}

/* What the client has acknowledged and sent. */
static bool bytes_moved(int fd, uint64_t *bytes)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) ||
	    len < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof(info.tcpi_bytes_received))
		return false;
	*bytes = info.tcpi_bytes_acked + info.tcpi_bytes_received;
	return true;
}

/* The library learns of it as of any connection that broke. */
static void cut(struct http_connection *connection, const char *why)
{
	log_info("cut a connection of %s: %s", connection->client, why);
	shutdown(connection->fd, SHUT_RDWR);
	connection->cut = true;
}

static void look_at_pace(const struct http_limits *limits, struct http_connection *connection, uint64_t now)
{
	uint64_t elapsed, bytes;

	if (!bytes_moved(connection->fd, &bytes))
		return;
	elapsed = connection->pace_since_ms ? now - connection->pace_since_ms : 0;
	if (connection->pace_since_ms && elapsed < limits->client_patience_ms)
		return;
	if (connection->pace_since_ms && bytes - connection->pace_bytes < limits->client_min_rate * elapsed / 1000) {
		cut(connection, "it takes what it asked for too slowly");
		return;
	}
	connection->pace_since_ms = now;
	connection->pace_bytes = bytes;
}

/* A file that cannot be read, or is shorter than it was: then the library waits until it can send, which it can, or
 * tries over and over again. */
static bool is_stuck(struct http_connection *connection)
{
	uint64_t bytes = 0;
	bool still;
	int unsent;

	if (!connection->sends || ioctl(connection->fd, SIOCOUTQ, &unsent) || unsent > 0) {
		connection->still_since = NULL;
		return false;
	}
	(void)bytes_moved(connection->fd, &bytes);
	still = connection->still_since == connection->sends && connection->still_bytes == bytes;
	connection->still_since = connection->sends;
	connection->still_bytes = bytes;
	return still;
}

void http_connections_look(struct http_server_thread *thread)
{
	struct http_connection *connection;
	uint64_t now = clock_ms();
	struct http_limits limits;

	if (now - thread->looked_ms < HTTP_LOOK_MS)
		return;
	thread->looked_ms = now;
	http_linger_look(thread, false);
	limits = http_limits_now(thread->server);
	DL_FOREACH (thread->open, connection) {
		if (connection->cut)
			continue;
		if (!connection->asked) {
			if (now - connection->waits_since_ms >= limits.request_timeout_ms)
				cut(connection, "no whole request came in time");
		} else if (is_stuck(connection)) {
			exchange_tell_unread(connection->sends, 0, connection->sends->body.len);
			cut(connection, "what it asked for cannot be read");
		} else if (__atomic_load_n(&connection->paused, __ATOMIC_RELAXED)) {
			connection->pace_since_ms = 0;
		} else {
			look_at_pace(&limits, connection, now);
		}
	}
}
