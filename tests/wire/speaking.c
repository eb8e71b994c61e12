/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/wire/speaking.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <pthread.h>
#include <string.h>

struct scripted *upstream_speaking(struct wire *wire, const struct scripted_options *options, bool h2)
{
	struct scripted *upstream = wire_upstream_bare(wire, options);

	wire_listen(upstream, h2 ? &(struct scripted_listen){.tls = wire_tls(wire), .h2 = true} : NULL);
	return upstream;
}

int listen_elsewhere(struct wire *wire, struct scripted *upstream, bool h2)
{
	struct scripted_listen listen = {.address = "127.0.0.2", .open = true};

	if (h2) {
		listen.tls = wire_tls(wire);
		listen.h2 = true;
	}
	return wire_listen(upstream, &listen);
}

struct larder *larder_before(struct wire *wire, struct scripted *upstream, const char *keys)
{
	_cleanup_free_ char *config = mem_printf("default_upstream: registry.test\n"
						 "upstreams: { registry.test: { url: \"%s\", ca: \"%s\"%s%s } }\n",
						 scripted_url(upstream, 1), scripted_tls_ca(wire_tls(wire)),
						 keys ? ", " : "", keys ? keys : "");
	struct larder_options options = {.config = config};

	return wire_larder(wire, &options);
}

void fetch_blobs(const struct larder *larder, struct scripted *upstream, const char *repository, uint64_t seed,
		 size_t count, uint64_t size)
{
	_cleanup_free_ struct client_request *requests = mem_alloc(count * sizeof(*requests));
	_cleanup_free_ struct client_reply *replies = mem_alloc(count * sizeof(*replies));
	_cleanup_free_ char(*digests)[SCRIPTED_DIGEST_MAX] = mem_alloc(count * sizeof(*digests));

	for (size_t i = 0; i < count; i++) {
		scripted_add_blob(upstream, repository, seed + i, size, digests[i]);
		requests[i] = (struct client_request){
			.port = larder_port(larder), .target = blob_target(repository, digests[i]), .keep = 256};
	}
	client_fetch_many(requests, replies, count);
	for (size_t i = 0; i < count; i++) {
		expect_content(&replies[i], digests[i]);
		free((char *)requests[i].target);
	}
	client_replies_dispose(replies, count);
}

struct beside {
	pthread_t thread;
	struct client_request request;
	char *target;
	struct client_reply reply;
};

static void *beside_run(void *argument)
{
	struct beside *beside = argument;

	client_fetch(&beside->request, &beside->reply);
	return NULL;
}

struct beside *beside_start(const struct larder *larder, const char *target)
{
	struct beside *beside = mem_alloc(sizeof(*beside));

	beside->target = mem_strdup(target);
	beside->request = (struct client_request){.port = larder_port(larder), .target = beside->target, .keep = 4096};
	assert_int_equal(pthread_create(&beside->thread, NULL, beside_run, beside), 0);
	return beside;
}

void beside_join(struct beside *beside, struct client_reply *reply)
{
	pthread_join(beside->thread, NULL);
	*reply = beside->reply;
	free(beside->target);
	free(beside);
}

char *blob_target(const char *repository, const char *digest)
{
	return mem_printf("/v2/%s/blobs/%s", repository, digest);
}
