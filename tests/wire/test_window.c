/* SPDX-License-Identifier: Apache-2.0 */
/* Blobs that neither the disk nor the memory for such blobs can hold: they stream through. */
#include "tests/wire/expect.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOB_SIZE (400 * MIB)

#define SEED 42

/* A larder whose store lies on a disk of 40 MiB of its own; false: that cannot be had here. */
static bool start(struct wire *wire, struct scripted **upstream, struct larder **larder,
		  char digest[SCRIPTED_DIGEST_MAX])
{
	_cleanup_free_ char *path = wire_path(wire, "store");
	_cleanup_free_ char *url = NULL;

	assert_int_equal(mkdir(path, 0750), 0);
	if (mount("tmpfs", path, "tmpfs", 0, "size=40m,mode=0750") < 0) {
		print_message("skipped: no file system can be mounted here: %s\n", strerror(errno));
		return false;
	}
	*upstream = wire_upstream(wire, NULL);
	scripted_add_blob(*upstream, "team/app", SEED, BLOB_SIZE, digest);
	url = mem_printf("registry.test=%s", scripted_url(*upstream, 0));
	*larder = wire_larder(
		wire, &(struct larder_options){.upstream = url, .config = "store: { max_size: 0, min_free: 0 }\n"});
	return true;
}

static int teardown_with_disk(void **state)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/store", ((struct wire *)*state)->directory);
	umount2(path, MNT_DETACH);
	return wire_teardown(state);
}

static struct client_request request_for(const struct larder *larder, const char *target, uint64_t rate)
{
	return (struct client_request){
		.port = larder_port(larder), .target = target, .rate = rate, .keep = 1, .deadline_ms = 200000};
}

WIRE_TEST(blob_larger_than_disk_and_memory_streams_through_to_clients_of_any_pace)
{
	struct scripted *upstream = NULL;
	struct larder *larder = NULL;
	char digest[SCRIPTED_DIGEST_MAX];
	_cleanup_free_ char *target = NULL;
	struct client_reply replies[2] = {0};
	struct client_request requests[2];

	if (!start(wire, &upstream, &larder, digest))
		skip();
	target = mem_printf("/v2/team/app/blobs/%s", digest);
	requests[0] = request_for(larder, target, 0);
	requests[1] = request_for(larder, target, 100 * MIB);
	assert_true(client_fetch_many(requests, replies, 2));
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(replies[i].status, 200);
		assert_string_equal(replies[i].digest, digest);
	}
	print_message("%.0f ms and %.0f ms; %.0f MiB from upstream\n", replies[0].total_ms, replies[1].total_ms,
		      (double)scripted_body_sent(upstream, "GET", "*/blobs/*") / MIB);
	client_replies_dispose(replies, 2);
	assert_true(larder_wait_output(larder, "passed on without being kept", WIRE_WAIT_MS));
}

struct early {
	struct client *client;
	uint64_t bytes;
	bool right;
};

/* Reads on from where the test's thread stopped. */
static void *read_rest(void *arg)
{
	struct early *early = arg;
	_cleanup_free_ char *data = mem_alloc(MIB), *wanted = mem_alloc(MIB);
	ssize_t got;

	early->right = true;
	while ((got = client_read_body(early->client, data, MIB)) > 0) {
		scripted_blob_fill(SEED, early->bytes, wanted, (size_t)got);
		early->right = early->right && memcmp(data, wanted, (size_t)got) == 0;
		early->bytes += (uint64_t)got;
	}
	return NULL;
}

/* One that reads slowly holds the transfer up; one that comes late gets a transfer of its own. */
WIRE_TEST(client_that_comes_late_gets_the_blob_from_its_beginning)
{
	struct scripted *upstream = NULL;
	struct larder *larder = NULL;
	char digest[SCRIPTED_DIGEST_MAX];
	_cleanup_free_ char *target = NULL, *data = mem_alloc(MIB);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0}, late = {0};
	struct early early = {0};
	struct client_request request;
	pthread_t thread;

	if (!start(wire, &upstream, &larder, digest))
		skip();
	target = mem_printf("/v2/team/app/blobs/%s", digest);
	request = request_for(larder, target, 0);
	early.client = client_connect("127.0.0.1", larder_port(larder), 200000);
	assert_true(client_send(early.client, &request));
	assert_true(client_read_head(early.client, &reply));
	assert_int_equal(reply.status, 200);
	while (early.bytes < 120 * MIB) {
		ssize_t got = client_read_body(early.client, data, MIB);

		assert_true(got > 0);
		early.bytes += (uint64_t)got;
	}
	/* It rests, and so does the upstream: what is on its way is the window, the disk, and what sockets hold. */
	usleep(300000);
	assert_true(scripted_body_sent(upstream, "GET", "*/blobs/*") < 300 * MIB);

	assert_int_equal(pthread_create(&thread, NULL, read_rest, &early), 0);
	assert_true(client_fetch(&request, &late));
	pthread_join(thread, NULL);
	assert_string_equal(late.digest, digest);
	assert_true(early.right);
	assert_int_equal(early.bytes, BLOB_SIZE);
	client_close(early.client);
}

WIRE_TEST(transfer_that_nobody_reads_and_nobody_keeps_ends)
{
	struct scripted *upstream = NULL;
	struct larder *larder = NULL;
	char digest[SCRIPTED_DIGEST_MAX];
	_cleanup_free_ char *target = NULL;
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct client_request request;

	if (!start(wire, &upstream, &larder, digest))
		skip();
	target = mem_printf("/v2/team/app/blobs/%s", digest);
	request = request_for(larder, target, 0);
	request.leave_after = 100 * MIB;
	client_fetch(&request, &reply);
	assert_true(larder_wait_output(larder, "nobody reads it", WIRE_WAIT_MS));
	/* And the next one finds nothing in the way. */
	client_reply_dispose(&reply);
	request.leave_after = 0;
	assert_true(client_fetch(&request, &reply));
	assert_string_equal(reply.digest, digest);
}

#define DISK_CASE(name) cmocka_unit_test_setup_teardown(name, wire_setup, teardown_with_disk)

int main(void)
{
	const struct CMUnitTest tests[] = {
		DISK_CASE(blob_larger_than_disk_and_memory_streams_through_to_clients_of_any_pace),
		DISK_CASE(client_that_comes_late_gets_the_blob_from_its_beginning),
		DISK_CASE(transfer_that_nobody_reads_and_nobody_keeps_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
