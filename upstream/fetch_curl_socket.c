/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets: opened, watched, counted, closed. */
#include "upstream/fetch_curl.h"

#include "upstream/url.h"

#include <arpa/inet.h>
#include <sys/epoll.h>
#include <unistd.h>

/* Statistics. */

void fetch_count_request(struct fetch *fetch, int status)
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
void fetch_connection_note(struct fetch *fetch, enum fetch_protocol protocol)
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

int fetch_close_socket(void *arg, curl_socket_t fd)
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

/* Opening and watching. */

int fetch_on_resolve(void *state, void *reserved, void *arg)
{
	(void)state;
	(void)reserved;
	((struct fetch *)arg)->dialled = true;
	return 0;
}

static enum url_ground ground_of(const struct curl_sockaddr *address)
{
	char text[INET6_ADDRSTRLEN] = "";

	if (address->family == AF_INET)
		inet_ntop(AF_INET, &((struct sockaddr_in *)(void *)&address->addr)->sin_addr, text, sizeof(text));
	else if (address->family == AF_INET6)
		inet_ntop(AF_INET6, &((struct sockaddr_in6 *)(void *)&address->addr)->sin6_addr, text, sizeof(text));
	return url_host_ground(text);
}

/* A name that a stranger gave us may resolve to where only we can reach: the address decides, not the name. */
curl_socket_t fetch_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct fetch *fetch = arg;
	int fd;

	(void)purpose;
	fetch->dialled = true;
	if (ground_of(address) > fetch->nearest)
		return CURL_SOCKET_BAD;
	fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
	if (fd >= 0)
		connection_add(fetch->pool, fd);
	return fd;
}

int fetch_on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
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

int fetch_on_timer(CURLM *multi, long delay_ms, void *arg)
{
	struct fetch_pool *pool = arg;

	(void)multi;
	if (delay_ms < 0)
		loop_timer_clear(pool->loop, &pool->timer);
	else
		loop_timer_set(pool->loop, &pool->timer, (uint64_t)delay_ms);
	return 0;
}
