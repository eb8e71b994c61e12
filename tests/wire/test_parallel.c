/* SPDX-License-Identifier: Apache-2.0 */
/* Clients that read one blob in parts, side by side, as containerd 2.1 and lazy snapshotters do: whatever they ask for
 * and however they leave, the blob comes from upstream once, and ends whole. */
#include "tests/wire/speaking.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK   (4 * MIB) /* concurrent_layer_fetch_buffer, as it is mostly set */
#define READERS 6         /* max_concurrent_downloads */

struct layer {
	struct scripted *upstream;
	struct larder *larder;
	uint64_t size;
	char digest[SCRIPTED_DIGEST_MAX];
	char target[128];
	char *content;
	uint64_t next;  /* atomic: the next chunk's offset */
	unsigned wrong; /* atomic */
};

static struct layer layer_new(struct wire *wire, uint64_t size, const struct scripted_options *options)
{
	struct layer layer = {.upstream = wire_upstream(wire, options), .size = size, .content = mem_alloc(size)};

	scripted_add_blob(layer.upstream, "team/app", 3, size, layer.digest);
	scripted_blob_fill(3, 0, layer.content, size);
	snprintf(layer.target, sizeof(layer.target), "/v2/team/app/blobs/%s", layer.digest);
	layer.larder = wire_larder_for(wire, layer.upstream, "registry.test");
	return layer;
}

/* Asks for everything from `offset` on, reads `len` bytes, hangs up. */
static bool read_and_leave(const struct layer *layer, uint64_t offset, uint64_t len)
{
	_cleanup_free_ char *range = mem_printf("Range: bytes=%" PRIu64 "-\r\n", offset);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct client_request request = {
		.port = larder_port(layer->larder), .target = layer->target, .headers = range, .leave_after = len};

	client_fetch(&request, &reply);
	return reply.status == 206 && reply.body_bytes >= len && memcmp(reply.body, layer->content + offset, len) == 0;
}

static void *read_chunks(void *arg)
{
	struct layer *layer = arg;
	uint64_t offset;

	while ((offset = __atomic_fetch_add(&layer->next, CHUNK, __ATOMIC_RELAXED)) < layer->size) {
		uint64_t left = layer->size - offset;

		if (!read_and_leave(layer, offset, left < CHUNK ? left : CHUNK))
			__atomic_add_fetch(&layer->wrong, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void read_in_parallel(struct layer *layer)
{
	pthread_t threads[READERS];

	for (unsigned i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, read_chunks, layer), 0);
	for (unsigned i = 0; i < READERS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(layer->wrong, 0);
}

WIRE_TEST(open_ended_ranges_that_hang_up_cost_one_transfer)
{
	struct layer layer = layer_new(wire, 6 * CHUNK + 1234, NULL);

	read_in_parallel(&layer);
	expect_hit_soon(layer.larder, layer.target);
	/* A sanitizer's larder is so slow that lanes of their own pay for the readers ahead. */
	if (!built_with_sanitizer()) {
		assert_int_equal(scripted_body_sent(layer.upstream, "GET", BLOBS), layer.size);
		expect_count(layer.upstream, "GET", BLOBS, 1);
	}
	free(layer.content);
}

WIRE_TEST(open_ended_ranges_of_a_slow_blob_cost_its_bytes_once)
{
	const struct scripted_options slow = {.shape = {.rate_total = 16 * MIB}};
	struct layer layer = layer_new(wire, 6 * CHUNK, &slow);
	uint64_t sent;

	read_in_parallel(&layer);
	expect_hit_soon(layer.larder, layer.target);
	/* Readers ahead are served first, by a lane of their own: where lanes meet, a little is on its way twice. */
	sent = scripted_body_sent(layer.upstream, "GET", BLOBS);
	assert_in_range(sent, layer.size, layer.size + layer.size / 4);
	free(layer.content);
}

/* soci-snapshotter and zstd:chunked look into a layer's end first. */
WIRE_TEST(far_range_does_not_wait_for_all_before_it)
{
	struct layer layer = layer_new(wire, 64 * MIB, NULL);
	int stall = scripted_add_rule(
		layer.upstream, &(struct scripted_rule){.path = BLOBS, .count = 1, .stall = true, .stall_at = MIB});
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	assert_true(ask(layer.larder, NULL, "Range: bytes=60000000-60000099\r\n", &reply, "%s", layer.target));
	assert_int_equal(reply.status, 206);
	assert_memory_equal(reply.body, layer.content + 60000000, 100);
	scripted_release(layer.upstream, stall);
	expect_hit_soon(layer.larder, layer.target);
	assert_true(ask(layer.larder, NULL, NULL, &reply, "%s", layer.target));
	expect_content(&reply, layer.digest);
	free(layer.content);
}

/* Sixty-four little reads all over a cold blob, and nobody reads it whole. */
WIRE_TEST(scattered_ranges_leave_a_whole_blob_behind)
{
	const struct scripted_options slow = {.shape = {.rate_total = 32 * MIB}};
	struct layer layer = layer_new(wire, 64 * MIB, &slow);
	uint64_t at = 0;

	for (unsigned i = 0; i < 64; i++) {
		_cleanup_(client_reply_dispose) struct client_reply reply = {0};
		_cleanup_free_ char *range = NULL;

		at = (at + 39 * MIB + 4711) % (layer.size - 70000);
		range = mem_printf("Range: bytes=%" PRIu64 "-%" PRIu64 "\r\n", at, at + 65535);
		assert_true(ask(layer.larder, NULL, range, &reply, "%s", layer.target));
		assert_int_equal(reply.status, 206);
		assert_memory_equal(reply.body, layer.content + at, 65536);
	}
	expect_hit_soon(layer.larder, layer.target);
	assert_in_range(scripted_body_sent(layer.upstream, "GET", BLOBS), layer.size, 2 * layer.size);
	free(layer.content);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(open_ended_ranges_that_hang_up_cost_one_transfer),
		WIRE_CASE(open_ended_ranges_of_a_slow_blob_cost_its_bytes_once),
		WIRE_CASE(far_range_does_not_wait_for_all_before_it),
		WIRE_CASE(scattered_ranges_leave_a_whole_blob_behind),
	};
	return cmocka_run_group_tests_name("parallel", tests, NULL, NULL);
}
