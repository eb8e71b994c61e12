/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prefetch of 200 images (manifest, configuration, four layers of 64 KiB), cold, from an upstream with 50 ms for each
 * round trip: eight images and four layers of each at once, against one of each. Prints the figures, and how they stand
 * to the time that the requests need when as many as allowed are always out. Fails beyond 1.3 times that, below five
 * times the serial run, and when a second run fetches anything.
 */
#include "tests/wire/jobs.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <stdio.h>

#define IMAGES     200
#define LAYERS     4
#define IMAGES_J   8
#define LAYERS_J   4
#define LATENCY_MS 50

static struct scripted *upstream;

/* Seconds that the job took. */
static double prefetch(struct larder *larder, unsigned images_at_once, unsigned layers_at_once, uint64_t *fetched)
{
	_cleanup_(buf_dispose) struct buf body = {0};
	json_t *job;
	double seconds;

	buf_printf(&body, "{\"image_parallel\": %u, \"layer_parallel\": %u, \"images\": [", images_at_once,
		   layers_at_once);
	for (unsigned i = 0; i < IMAGES; i++)
		buf_printf(&body, "%s\"team/app-%u\"", i ? "," : "", i);
	buf_append_text(&body, "]}");
	_cleanup_free_ char *id = job_start(larder, "/api/v1/prefetch", body.data);
	_cleanup_free_ char *target = mem_printf("/api/v1/jobs/%s/events", id);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	/* Its events end with it. */
	client_get(admin_port(larder), target, &reply);
	job = job_wait(larder, id, "done");
	assert_int_equal(json_number_at(job, "images.done"), IMAGES);
	*fetched = json_number_at(job, "bytes.fetched");
	seconds = json_number_value(json_object_get(job, "seconds"));
	json_decref(job);
	return seconds;
}

static struct larder *fresh_larder(struct wire *wire, const char *store)
{
	const char *arguments[] = {"--admin", "127.0.0.1:0", NULL};
	_cleanup_free_ char *config = mem_printf(
		"default_upstream: registry.test\nupstreams: { registry.test: { url: %s, max_connections: %d, "
		"tag_ttl: 0s } }\n",
		scripted_url(upstream, 0), IMAGES_J * LAYERS_J + 1);

	return wire_larder(wire, &(struct larder_options){.config = config, .arguments = arguments, .store = store});
}

WIRE_TEST(images_side_by_side)
{
	struct scripted_options options = {.shape.latency_ms = LATENCY_MS};
	struct larder *larder;
	struct scripted_stats stats;
	uint64_t fetched;
	double fast, slow, again, needed;
	unsigned requests;

	upstream = wire_upstream(wire, &options);
	for (unsigned i = 0; i < IMAGES; i++) {
		_cleanup_free_ char *repository = mem_printf("team/app-%u", i);
		struct scripted_image image;

		scripted_add_image(
			upstream, repository, "latest",
			&(struct scripted_image_options){.layers = LAYERS, .layer_size = 65536, .seed = 1000 * (i + 1)},
			&image);
	}
	larder = fresh_larder(wire, "fast");
	fast = prefetch(larder, IMAGES_J, LAYERS_J, &fetched);
	requests = scripted_count(upstream, NULL, NULL);
	scripted_get_stats(upstream, 0, &stats);
	needed = (double)requests * LATENCY_MS / 1000 / (IMAGES_J * LAYERS_J);
	printf("-J %d -j %d: %.2f s, %u requests, %u connections, %.1f MiB; the requests need %.2f s: %.2f times "
	       "that\n",
	       IMAGES_J, LAYERS_J, fast, requests, stats.open_max, (double)fetched / (double)MIB, needed,
	       fast / needed);
	scripted_clear_log(upstream);
	again = prefetch(larder, IMAGES_J, LAYERS_J, &fetched);
	printf("again: %.2f s, %u requests, %u of them GET of manifests or blobs\n", again,
	       scripted_count(upstream, NULL, NULL),
	       scripted_count(upstream, "GET", "*/manifests/*") + scripted_count(upstream, "GET", "*/blobs/*"));
	expect_count(upstream, "GET", "*/manifests/*", 0);
	expect_count(upstream, "GET", "*/blobs/*", 0);
	larder_stop(larder);
	slow = prefetch(fresh_larder(wire, "slow"), 1, 1, &fetched);
	printf("-J 1 -j 1: %.2f s: %.1f times as long\n", slow, slow / fast);
	assert_true(fast <= 1.3 * needed);
	assert_true(slow >= 5 * fast);
}

int main(void)
{
	const struct CMUnitTest tests[] = {WIRE_CASE(images_side_by_side)};

	return cmocka_run_group_tests_name("prefetch", tests, NULL, NULL);
}
