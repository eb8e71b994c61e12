/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 200 small images (manifest, configuration, one layer of 20 KiB), cold, from an upstream behind TLS with 50 ms for
 * each round trip: directly over one connection, one request at a time, against 16 clients pulling through larder.
 * Prints the figures; fails below five times, and when more connections are open than allowed.
 */
#include "tests/wire/speaking.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IMAGES      200
#define CLIENTS     16
#define CONNECTIONS 8
#define LATENCY_MS  50

struct bench {
	struct larder *larder;
	struct scripted_image images[IMAGES];
	unsigned next, wrong;
};

static bool get(const struct bench *bench, unsigned image, const char *kind, const char *reference, const char *digest)
{
	_cleanup_free_ char *target = mem_printf("/v2/team/app-%u/%s/%s", image, kind, reference);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct client_request request = {.port = larder_port(bench->larder),
					 .target = target,
					 .headers = "Accept: " SCRIPTED_TYPE_MANIFEST "\r\n"};

	return client_fetch(&request, &reply) && reply.status == 200 && strcmp(reply.digest, digest) == 0;
}

/* As clients pull: the manifest, then what it names. */
static void *pull_images(void *argument)
{
	struct bench *bench = argument;
	unsigned image;

	while ((image = __atomic_fetch_add(&bench->next, 1, __ATOMIC_RELAXED)) < IMAGES) {
		const struct scripted_image *is = &bench->images[image];

		if (!get(bench, image, "manifests", "latest", is->manifest) ||
		    !get(bench, image, "blobs", is->config, is->config) ||
		    !get(bench, image, "blobs", is->layer[0], is->layer[0]))
			__atomic_fetch_add(&bench->wrong, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* One connection, one request at a time, by curl's HTTP/1.1 over TLS with the connection kept. */
static double fetch_one_by_one(struct wire *wire, struct scripted *upstream, const struct bench *bench)
{
	_cleanup_(buf_dispose) struct buf urls = {0};
	_cleanup_free_ char *file = NULL, *command = NULL;
	uint64_t began_ms;

	for (unsigned i = 0; i < IMAGES; i++) {
		const char *references[] = {"manifests/latest", bench->images[i].config, bench->images[i].layer[0]};

		for (unsigned k = 0; k < 3; k++)
			buf_printf(&urls, "url = \"%s/v2/team/app-%u/%s%s\"\noutput = \"/dev/null\"\n",
				   scripted_url(upstream, 1), i, k ? "blobs/" : "", references[k]);
	}
	file = wire_write_file(wire, "urls", urls.data);
	command = mem_printf("curl -fsS --http1.1 --cacert '%s' -H 'Accept: " SCRIPTED_TYPE_MANIFEST "' -K '%s'",
			     scripted_tls_ca(wire_tls(wire)), file);
	began_ms = clock_ms();
	assert_int_equal(system(command), 0);
	return (double)(clock_ms() - began_ms) / 1000;
}

WIRE_TEST(small_images_come_side_by_side)
{
	struct scripted_options options = {.shape.latency_ms = LATENCY_MS};
	struct scripted *upstream = upstream_speaking(wire, &options, true);
	struct bench *bench = mem_alloc(sizeof(*bench));
	pthread_t threads[CLIENTS];
	struct scripted_stats stats;
	uint64_t began_ms;
	double alone, through;

	for (unsigned i = 0; i < IMAGES; i++) {
		char repository[32];

		snprintf(repository, sizeof(repository), "team/app-%u", i);
		scripted_add_image(upstream, repository, "latest",
				   &(struct scripted_image_options){.layer_size = 20 * KIB, .seed = 1000 * i},
				   &bench->images[i]);
	}
	alone = fetch_one_by_one(wire, upstream, bench);
	assert_true(scripted_wait_idle(upstream, true, WIRE_WAIT_MS));
	scripted_clear_log(upstream);
	bench->larder = larder_before(wire, upstream, NULL);
	began_ms = clock_ms();
	for (unsigned i = 0; i < CLIENTS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, pull_images, bench), 0);
	for (unsigned i = 0; i < CLIENTS; i++)
		pthread_join(threads[i], NULL);
	through = (double)(clock_ms() - began_ms) / 1000;
	assert_int_equal(bench->wrong, 0);
	scripted_get_stats(upstream, 0, &stats);
	printf("one by one: %.2f s   through larder: %.2f s   faster: %.1f times   connections: %u   requests: %u\n",
	       alone, through, alone / through, stats.open_max, scripted_count(upstream, NULL, NULL));
	assert_true(alone >= 5 * through);
	assert_in_range(stats.open_max, 1, CONNECTIONS);
	free(bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {WIRE_CASE(small_images_come_side_by_side)};

	return cmocka_run_group_tests_name("images", tests, NULL, NULL);
}
