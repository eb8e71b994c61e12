/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prefetch of 200 images (manifest, configuration, four layers of 64 KiB), cold, from an upstream with 50 ms for each
 * round trip: eight images and four layers of each at once, five times, against one of each, once. Prints the figures,
 * and how they stand to the time that the requests need when as many as allowed are always out. Fails when the median
 * is beyond 1.3 times that or below five times the serial run, and when a second run fetches anything.
 */
#include "tests/wire/jobs.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <stdio.h>
#include <stdlib.h>

#define IMAGES     200
#define LAYERS     4
#define IMAGES_J   8
#define LAYERS_J   4
#define LATENCY_MS 50
#define ROUNDS     5

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

static int compare(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

/* From the first request to the end of the last. */
static double seconds_asked(void)
{
	size_t count;
	struct scripted_record *records = scripted_records(upstream, NULL, NULL, &count);
	double end_ms = 0, from_ms = count ? records[0].at_ms : 0;

	for (size_t i = 0; i < count; i++)
		end_ms = records[i].end_ms > end_ms ? records[i].end_ms : end_ms;
	scripted_records_free(records, count);
	return (end_ms - from_ms) / 1000;
}

static void add_images(void)
{
	for (unsigned i = 0; i < IMAGES; i++) {
		_cleanup_free_ char *repository = mem_printf("team/app-%u", i);
		struct scripted_image image;

		scripted_add_image(
			upstream, repository, "latest",
			&(struct scripted_image_options){.layers = LAYERS, .layer_size = 65536, .seed = 1000 * (i + 1)},
			&image);
	}
}

/* Into an empty store, and once more into the same. How it stands to what is needed. */
static double round_fast(struct wire *wire, unsigned number, double *fast)
{
	_cleanup_free_ char *store = mem_printf("fast-%u", number);
	struct larder *larder = fresh_larder(wire, store);
	struct scripted_stats stats;
	uint64_t fetched;
	double needed, again;
	unsigned requests;

	scripted_clear_log(upstream);
	*fast = prefetch(larder, IMAGES_J, LAYERS_J, &fetched);
	requests = scripted_count(upstream, NULL, NULL);
	scripted_get_stats(upstream, 0, &stats);
	needed = (double)requests * LATENCY_MS / 1000 / (IMAGES_J * LAYERS_J);
	printf("-J %d -j %d: %.2f s (the upstream was asked for %.2f s), %u requests, %u connections, %.1f MiB; the "
	       "requests need %.2f s: %.2f times that\n",
	       IMAGES_J, LAYERS_J, *fast, seconds_asked(), requests, stats.open_max, (double)fetched / (double)MIB,
	       needed, *fast / needed);
	scripted_clear_log(upstream);
	again = prefetch(larder, IMAGES_J, LAYERS_J, &fetched);
	printf("again: %.2f s, %u requests, %u of them GET of manifests or blobs\n", again,
	       scripted_count(upstream, NULL, NULL),
	       scripted_count(upstream, "GET", "*/manifests/*") + scripted_count(upstream, "GET", "*/blobs/*"));
	expect_count(upstream, "GET", "*/manifests/*", 0);
	expect_count(upstream, "GET", "*/blobs/*", 0);
	larder_stop(larder);
	return *fast / needed;
}

WIRE_TEST(images_side_by_side)
{
	struct scripted_options options = {.shape.latency_ms = LATENCY_MS};
	double fast[ROUNDS], ratio[ROUNDS], slow;
	uint64_t fetched;

	upstream = wire_upstream(wire, &options);
	add_images();
	for (unsigned i = 0; i < ROUNDS; i++)
		ratio[i] = round_fast(wire, i, &fast[i]);
	qsort(fast, ROUNDS, sizeof(*fast), compare);
	qsort(ratio, ROUNDS, sizeof(*ratio), compare);
	printf("median of %d: %.2f s (%.2f to %.2f), %.2f times what the requests need (%.2f to %.2f)\n", ROUNDS,
	       fast[ROUNDS / 2], fast[0], fast[ROUNDS - 1], ratio[ROUNDS / 2], ratio[0], ratio[ROUNDS - 1]);
	fflush(stdout);
	slow = prefetch(fresh_larder(wire, "slow"), 1, 1, &fetched);
	printf("-J 1 -j 1: %.2f s: %.1f times as long\n", slow, slow / fast[ROUNDS / 2]);
	assert_true(ratio[ROUNDS / 2] <= 1.3);
	assert_true(slow >= 5 * fast[ROUNDS / 2]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {WIRE_CASE(images_side_by_side)};

	return cmocka_run_group_tests_name("prefetch", tests, NULL, NULL);
}
