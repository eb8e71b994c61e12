/* SPDX-License-Identifier: Apache-2.0 */
/* The server as a whole: start and stop. */
#include "server/http/http_internal.h"

#include "base/buf.h"
#include "base/clock.h"
#include "server/http/tls.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define DRAIN_LOOK_NS 5000000L
#define ALIVE_LOOK_NS 1000000L

int http_start(const struct http_options *options, struct http_server **out, struct err *err)
{
	struct http_server *server = mem_alloc(sizeof(*server));
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned wanted = options->threads ? options->threads : cores > 0 ? (unsigned)cores : 1;
	int code;

	server->options = *options;
	server->stop_fd = -1;
	server->threads = mem_alloc(wanted * sizeof(*server->threads));
	pthread_mutex_init(&server->clients_lock, NULL);
	http_set_limits(server, &options->limits);
	code = options->tls_cert
		       ? http_tls_load(&server->tls, options->tls_cert, options->tls_key, options->tls_client_ca, err)
		       : 0;
	if (code == 0)
		code = http_listen(server, err);
	while (code == 0 && server->thread_count < wanted) {
		code = http_thread_start(server, &server->threads[server->thread_count], err);
		if (code == 0)
			server->thread_count++;
	}
	if (code == 0)
		code = http_accept_start(server, err);
	if (code) {
		http_stop(server, 0, NULL, NULL);
		return code;
	}
	/* The texts were the caller's. */
	server->options.tls_cert = server->options.tls_key = server->options.tls_client_ca = NULL;
	*out = server;
	return 0;
}

int http_reload_tls(struct http_server *server, const char *cert, const char *key, const char *client_ca,
		    struct err *err)
{
	return http_tls_load(&server->tls, cert, key, client_ca, err);
}

const char *http_address(const struct http_server *server, size_t i)
{
	return server->listeners[i].address;
}

static bool all_came(const struct http_server *server)
{
	bool all = __atomic_load_n(&server->acceptor_alive, __ATOMIC_RELAXED);

	for (unsigned i = 0; i < server->thread_count; i++)
		all = all && __atomic_load_n(&server->threads[i].alive, __ATOMIC_RELAXED);
	return all;
}

bool http_is_alive(struct http_server *server, uint64_t within_ms)
{
	uint64_t deadline = clock_ms() + within_ms, one = 1;

	__atomic_store_n(&server->acceptor_alive, false, __ATOMIC_RELAXED);
	(void)!write(server->stop_fd, &one, sizeof(one));
	for (unsigned i = 0; i < server->thread_count; i++) {
		__atomic_store_n(&server->threads[i].alive, false, __ATOMIC_RELAXED);
		http_thread_wake(&server->threads[i]);
	}
	while (!all_came(server) && clock_ms() < deadline)
		nanosleep(&(struct timespec){.tv_nsec = ALIVE_LOOK_NS}, NULL);
	return all_came(server);
}

/* Those that somebody waits for. */
static unsigned running_requests(const struct http_server *server)
{
	unsigned count = 0;

	for (unsigned i = 0; i < server->thread_count; i++) {
		unsigned requests = __atomic_load_n(&server->threads[i].requests, __ATOMIC_RELAXED);
		unsigned abandoned = __atomic_load_n(&server->threads[i].abandoned, __ATOMIC_RELAXED);

		count += requests > abandoned ? requests - abandoned : 0;
	}
	return count;
}

void http_stop(struct http_server *server, uint64_t grace_ms, void (*wake_all)(void *arg), void *arg)
{
	uint64_t deadline = clock_ms() + grace_ms;

	http_accept_stop(server);
	for (unsigned i = 0; i < server->thread_count; i++)
		http_thread_set_phase(&server->threads[i], HTTP_DRAINING);
	while (running_requests(server) > 0 && clock_ms() < deadline)
		nanosleep(&(struct timespec){.tv_nsec = DRAIN_LOOK_NS}, NULL);
	/* The library may not be stopped while a connection is suspended. */
	if (wake_all)
		wake_all(arg);
	for (unsigned i = 0; i < server->thread_count; i++)
		http_thread_set_phase(&server->threads[i], HTTP_STOPPING);
	for (unsigned i = 0; i < server->thread_count; i++)
		http_thread_join(&server->threads[i]);
	pthread_mutex_destroy(&server->clients_lock);
	http_tls_free(server->tls);
	free(server->threads);
	free(server);
}
