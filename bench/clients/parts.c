/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients that read a cold blob in parts. Built with the tests, run by hand: `bench-parts [scattered|parallel]`.
 *   scattered: 64 ranges of 1 MiB at random places of 2 GiB, one after another, at 20 MB/s in all (takes two minutes)
 *   parallel:  512 MiB in open-ended ranges of which 4 MiB are read, six at a time, as containerd 2.1 does, at 100 MB/s
 * in all; directly, and through larder Prints the figures; fails when a promise is not kept.
 */
#include "tests/wire/speaking.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RANGES  64
#define CHUNK   (4 * MIB)
#define READERS 6

struct blob {
	uint16_t port;
	char target[128];
	uint64_t size, next;
	unsigned wrong;
};

static bool fetch(const struct blob *blob, const char *range, uint64_t leave_after, double *ms)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct client_request request = {
		.port = blob->port, .target = blob->target, .headers = range, .leave_after = leave_after, .keep = 1};

	client_fetch(&request, &reply);
	if (ms)
		*ms = reply.total_ms;
	return reply.status == 206 && (leave_after ? reply.body_bytes >= leave_after : reply.complete);
}

static int compare(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return left < right ? -1 : left > right;
}

static void blob_make(struct blob *blob, struct scripted *upstream, uint64_t seed, uint64_t size)
{
	char digest[SCRIPTED_DIGEST_MAX];

	scripted_add_blob(upstream, "team/app", seed, size, digest);
	snprintf(blob->target, sizeof(blob->target), "/v2/team/app/blobs/%s", digest);
	blob->size = size;
	blob->next = 0;
}

static void wait_until_stored(const struct larder *larder, const struct blob *blob, unsigned seconds)
{
	uint64_t deadline_ms = clock_ms() + seconds * 1000;
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	bool hit = false;

	while (!hit && clock_ms() < deadline_ms) {
		_cleanup_free_ char *status = NULL;

		ask(larder, "HEAD", NULL, &reply, "%s", blob->target);
		status = client_reply_header(&reply, "Cache-Status");
		hit = status && strcmp(status, "larder; hit") == 0;
		if (!hit)
			nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
	}
	assert_true(hit);
}

WIRE_TEST(scattered)
{
	const struct scripted_options slow = {.shape = {.rate_total = 20000000}};
	struct scripted *upstream = wire_upstream(wire, &slow);
	struct larder *larder = wire_larder_for(wire, upstream, "registry.test");
	struct blob blob = {.port = larder_port(larder)};
	double ms[RANGES];
	uint64_t at = 0;

	blob_make(&blob, upstream, 5, 2048 * MIB);
	for (unsigned i = 0; i < RANGES; i++) {
		_cleanup_free_ char *range = NULL;

		at = (at + 1237 * MIB + 4711) % (blob.size - MIB); /* all over, and the same in each run */
		range = mem_printf("Range: bytes=%" PRIu64 "-%" PRIu64 "\r\n", at, at + MIB - 1);
		assert_true(fetch(&blob, range, 0, &ms[i]));
	}
	qsort(ms, RANGES, sizeof(ms[0]), compare);
	printf("scattered: median %.0f ms   slowest %.0f ms", ms[RANGES / 2], ms[RANGES - 1]);
	fflush(stdout);
	wait_until_stored(larder, &blob, 600);
	printf("   bytes from upstream %.3f x\n",
	       (double)scripted_body_sent(upstream, "GET", BLOBS) / (double)blob.size);
	assert_true(ms[RANGES / 2] <= 500);
}

static void *read_chunks(void *arg)
{
	struct blob *blob = arg;
	uint64_t offset;

	while ((offset = __atomic_fetch_add(&blob->next, CHUNK, __ATOMIC_RELAXED)) < blob->size) {
		_cleanup_free_ char *range = mem_printf("Range: bytes=%" PRIu64 "-\r\n", offset);

		if (!fetch(blob, range, CHUNK, NULL))
			__atomic_add_fetch(&blob->wrong, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static double read_in_parallel(struct blob *blob)
{
	pthread_t threads[READERS];
	uint64_t began_ms = clock_ms();

	for (unsigned i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, read_chunks, blob), 0);
	for (unsigned i = 0; i < READERS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(blob->wrong, 0);
	return (double)(clock_ms() - began_ms) / 1000;
}

WIRE_TEST(parallel)
{
	const struct scripted_options shaped = {.shape = {.rate_total = 100000000}};
	struct scripted *upstream = wire_upstream(wire, &shaped);
	struct larder *larder = wire_larder_for(wire, upstream, "registry.test");
	struct blob blob = {.port = scripted_port(upstream, 0)};
	double direct, through;

	blob_make(&blob, upstream, 6, 512 * MIB);
	direct = read_in_parallel(&blob);
	scripted_clear_log(upstream);
	blob.port = larder_port(larder);
	blob.next = 0;
	through = read_in_parallel(&blob);
	wait_until_stored(larder, &blob, 60);
	printf("parallel: direct %.2f s   through larder %.2f s, %.3f x   bytes from upstream %.3f x\n", direct,
	       through, through / direct, (double)scripted_body_sent(upstream, "GET", BLOBS) / (double)blob.size);
	assert_true(through <= 1.05 * direct);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {WIRE_CASE(scattered), WIRE_CASE(parallel)};

	cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
	return cmocka_run_group_tests_name("parts", tests, NULL, NULL);
}
