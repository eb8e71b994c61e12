/* SPDX-License-Identifier: Apache-2.0 */
/* A pool of connections: made ready with the first fetch, freed. */
#include "upstream/fetch_curl.h"

#include <assert.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <utlist.h>
#include <stdio.h>

static pthread_once_t library_once = PTHREAD_ONCE_INIT;

static void library_init(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

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
	pool->watch.run = fetch_on_pool_event;
	pool->timer.run = fetch_on_pool_timer;
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
void fetch_pool_make_ready(struct fetch_pool *pool)
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
	curl_multi_setopt(pool->multi, CURLMOPT_SOCKETFUNCTION, fetch_on_socket);
	curl_multi_setopt(pool->multi, CURLMOPT_SOCKETDATA, pool);
	curl_multi_setopt(pool->multi, CURLMOPT_TIMERFUNCTION, fetch_on_timer);
	curl_multi_setopt(pool->multi, CURLMOPT_TIMERDATA, pool);
	curl_multi_setopt(pool->multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
	curl_multi_setopt(pool->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)pool->options.max_connections);
	/* Idle connections kept: the registry's, its token service's and a CDN's. */
	curl_multi_setopt(pool->multi, CURLMOPT_MAXCONNECTS, (long)pool->options.max_connections * 3);
}

bool fetch_pool_rest(struct fetch_pool *pool)
{
	if (pool->running)
		return false;
	while (pool->idle_easy_count > 0)
		curl_easy_cleanup(pool->idle_easies[--pool->idle_easy_count]);
	if (pool->multi)
		curl_multi_cleanup(pool->multi);
	pool->multi = NULL;
	loop_timer_clear(pool->loop, &pool->timer);
	if (pool->ca_fd >= 0)
		close(pool->ca_fd);
	pool->ca_fd = -1;
	free(pool->gathered);
	pool->gathered = NULL;
	return true;
}

void fetch_pool_free(struct fetch_pool *pool)
{
	if (!pool)
		return;
	while (pool->running)
		fetch_cancel(pool->running);
	fetch_pool_rest(pool);
	free((char *)(uintptr_t)pool->options.ca);
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
