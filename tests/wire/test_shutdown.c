/* SPDX-License-Identifier: Apache-2.0 */
/* How larder ends, by signal or by force, and what it knows afterwards; and many who come at once. */
#include "tests/wire/expect.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define BLOBS    "*/blobs/*"
#define GRACE_MS 25000
#define BURST    300

struct one_blob {
	struct scripted *upstream;
	struct larder *larder;
	uint64_t size;
	char digest[SCRIPTED_DIGEST_MAX];
	char target[128];
};

static struct one_blob one_blob_new(struct wire *wire, uint64_t size)
{
	struct one_blob blob = {.upstream = wire_upstream(wire, NULL), .size = size};
	scripted_add_blob(blob.upstream, "team/app", 7, size, blob.digest);
	snprintf(blob.target, sizeof(blob.target), "/v2/team/app/blobs/%s", blob.digest);
	blob.larder = wire_larder_for(wire, blob.upstream, "registry.test");
	return blob;
}

/* A client that has read the head of the blob and `bytes` of its body. */
static struct client *start_reading(const struct one_blob *blob, uint64_t bytes, struct client_reply *reply)
{
	struct client_request request = {.port = larder_port(blob->larder), .target = blob->target};
	struct client *client = client_connect(NULL, request.port, 60000);
	_cleanup_free_ char *block = mem_alloc(65536);
	assert_true(client_send(client, &request));
	if (!client_read_head(client, reply))
		fail_msg("no head: %s", client_error(client));
	while (reply->body_bytes < bytes) {
		uint64_t left = bytes - reply->body_bytes;
		ssize_t n = client_read_body(client, block, left < 65536 ? (size_t)left : 65536);
		if (n <= 0)
			fail_msg("%s after %llu bytes", client_error(client), (unsigned long long)reply->body_bytes);
		reply->body_bytes += (uint64_t)n;
	}
	return client;
}

/* Reads on to the end; whether it came as it should. */
static bool read_rest(struct client *client, struct client_reply *reply)
{
	_cleanup_free_ char *block = mem_alloc(65536);
	ssize_t n;
	while ((n = client_read_body(client, block, 65536)) > 0)
		reply->body_bytes += (uint64_t)n;
	return n == 0;
}

static void expect_refused(const struct larder *larder)
{
	struct client *client = client_connect(NULL, larder_port(larder), WIRE_WAIT_MS);
	assert_string_equal(client_error(client), "Connection refused");
	client_close(client);
}

static void run_end(struct wire *wire, int signal)
{
	struct one_blob blob = one_blob_new(wire, 2 * MIB);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	int stall = scripted_add_rule(blob.upstream,
				      &(struct scripted_rule){.path = BLOBS, .stall = true, .stall_at = MIB});
	struct client *client = start_reading(&blob, MIB, &reply);
	uint16_t port = larder_port(blob.larder);
	larder_signal(blob.larder, signal);
	assert_true(larder_wait_output(blob.larder, "running answers get up to 25 s", WIRE_WAIT_MS));
	/* The listener is closed soon after that was said. */
	struct client *late;
	do {
		late = client_connect(NULL, port, WIRE_WAIT_MS);
		bool refused = strcmp(client_error(late), "Connection refused") == 0;
		client_close(late);
		if (refused)
			break;
	} while (true);
	expect_refused(blob.larder);
	scripted_release(blob.upstream, stall);
	assert_true(read_rest(client, &reply));
	assert_int_equal(reply.body_bytes, blob.size);
	client_close(client);
	assert_int_equal(larder_wait(blob.larder, GRACE_MS), 0);

	/* Nothing is lost: it was published. */
	scripted_clear_log(blob.upstream);
	larder_restart(blob.larder);
	ask(blob.larder, NULL, NULL, &reply, "%s", blob.target);
	expect_content(&reply, blob.digest);
	expect_header(&reply, "Cache-Status", "larder; hit");
	expect_count(blob.upstream, NULL, NULL, 0);
}

WIRE_TEST(sigterm_lets_a_running_answer_end)
{
	run_end(wire, SIGTERM);
}

WIRE_TEST(sigint_lets_a_running_answer_end)
{
	run_end(wire, SIGINT);
}

WIRE_TEST(idle_larder_ends_at_once)
{
	struct one_blob blob = one_blob_new(wire, MIB);
	struct client *idle = client_connect(NULL, larder_port(blob.larder), 60000);
	struct client_request ping = {.port = larder_port(blob.larder), .target = "/v2/"};
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	assert_true(client_send(idle, &ping));
	assert_true(client_read_head(idle, &reply));
	larder_signal(blob.larder, SIGTERM);
	/* Far below the grace: a connection that is merely kept open holds nothing up. */
	assert_int_equal(larder_wait(blob.larder, WIRE_WAIT_MS), 0);
	client_close(idle);
}

/* The client left, and its flight goes on, slowly: nobody waits for it, so larder ends, and goes on the next time. */
WIRE_TEST(flight_without_clients_does_not_hold_up_the_end)
{
	struct one_blob blob = one_blob_new(wire, 64 * MIB);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_add_rule(blob.upstream, &(struct scripted_rule){.path = BLOBS, .rate = MIB});
	client_close(start_reading(&blob, MIB, &reply));
	assert_true(larder_wait_output(blob.larder, "outcome=aborted", WIRE_WAIT_MS));
	larder_signal(blob.larder, SIGTERM);
	assert_int_equal(larder_wait(blob.larder, WIRE_WAIT_MS), 0);
	scripted_remove_rule(blob.upstream, 0);
	assert_true(scripted_wait_idle(blob.upstream, true, WIRE_WAIT_MS));
	larder_restart(blob.larder);
	ask(blob.larder, NULL, NULL, &reply, "%s", blob.target);
	expect_content(&reply, blob.digest);
	/* What was under way when larder ended is all that is sent again. */
	assert_in_range(scripted_body_sent(blob.upstream, NULL, BLOBS), blob.size, blob.size + 8 * MIB);
}

WIRE_TEST(stalled_upstream_does_not_hold_up_the_end_beyond_the_grace)
{
	struct one_blob blob = one_blob_new(wire, 4 * MIB);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	int stall = scripted_add_rule(blob.upstream,
				      &(struct scripted_rule){.path = BLOBS, .stall = true, .stall_at = 3 * MIB});
	struct client *client = start_reading(&blob, 3 * MIB, &reply);
	larder_signal(blob.larder, SIGTERM);
	assert_false(read_rest(client, &reply));
	assert_int_equal(reply.body_bytes, 3 * MIB);
	assert_int_equal(larder_wait(blob.larder, WIRE_WAIT_MS), 0);
	client_close(client);
	scripted_release(blob.upstream, stall);
	larder_restart(blob.larder);
	ask(blob.larder, NULL, NULL, &reply, "%s", blob.target);
	expect_content(&reply, blob.digest);
	assert_int_equal(scripted_body_sent(blob.upstream, NULL, BLOBS), blob.size);
}

static void run_kill(struct wire *wire, uint64_t size, uint64_t stall_at)
{
	struct one_blob blob = one_blob_new(wire, size);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	size_t count;
	unsigned long long from = 0;
	int stall = scripted_add_rule(blob.upstream,
				      &(struct scripted_rule){.path = BLOBS, .stall = true, .stall_at = stall_at});
	struct client *client = start_reading(&blob, stall_at, &reply);
	larder_kill(blob.larder);
	client_close(client);
	scripted_release(blob.upstream, stall);
	assert_true(scripted_wait_idle(blob.upstream, true, WIRE_WAIT_MS));
	scripted_clear_log(blob.upstream);
	larder_restart(blob.larder);
	ask(blob.larder, NULL, NULL, &reply, "%s", blob.target);
	expect_content(&reply, blob.digest);
	struct scripted_record *records = scripted_records(blob.upstream, "GET", BLOBS, &count);
	assert_int_equal(count, 1);
	const char *range = scripted_record_header(&records[0], "Range");
	if (!range || sscanf(range, "bytes=%llu-", &from) != 1 || from > stall_at || stall_at - from > MIB)
		fail_msg("resumed with \"%s\" after %llu bytes", range ? range : "", (unsigned long long)stall_at);
	assert_non_null(scripted_record_header(&records[0], "If-Range"));
	scripted_records_free(records, count);
	expect_hit_soon(blob.larder, blob.target);
}

WIRE_TEST(killed_larder_resumes_where_it_was)
{
	run_kill(wire, 16 * MIB, 11 * MIB + 12345);
}

WIRE_TEST(killed_larder_resumes_a_short_beginning)
{
	run_kill(wire, 16 * MIB, MIB + MIB / 2);
}

/* All is there but the last byte's proof, or its publication: the store opens at once and serves nothing damaged. */
WIRE_TEST(larder_that_is_killed_again_and_again_serves_nothing_damaged)
{
	struct one_blob blob = one_blob_new(wire, 8 * MIB);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_set_shape(blob.upstream, &(struct scripted_shape){.rate_total = 64 * MIB});
	for (unsigned i = 0; i < 6; i++) {
		struct client_reply begun = {0};
		struct client *client = start_reading(&blob, (i + 1) * MIB, &begun);
		larder_kill(blob.larder);
		client_close(client);
		client_reply_dispose(&begun);
		larder_restart(blob.larder);
	}
	ask(blob.larder, NULL, NULL, &reply, "%s", blob.target);
	expect_content(&reply, blob.digest);
	expect_hit_soon(blob.larder, blob.target);
}

/* They all come at once; how soon they are answered is for the bench to say. */
WIRE_TEST(burst_of_connections_is_answered)
{
	struct one_blob blob = one_blob_new(wire, 10000);
	_cleanup_free_ struct client_request *requests = mem_alloc(BURST * sizeof(*requests));
	_cleanup_free_ struct client_reply *replies = mem_alloc(BURST * sizeof(*replies));
	for (unsigned round = 0; round < 3; round++) {
		for (size_t i = 0; i < BURST; i++)
			requests[i] = (struct client_request){.port = larder_port(blob.larder),
							      .target = i % 2 ? blob.target : "/v2/"};
		assert_true(client_fetch_many(requests, replies, BURST));
		for (size_t i = 0; i < BURST; i++) {
			assert_int_equal(replies[i].status, 200);
			if (i % 2)
				assert_string_equal(replies[i].digest, blob.digest);
		}
		client_replies_dispose(replies, BURST);
	}
	expect_count(blob.upstream, NULL, NULL, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(sigterm_lets_a_running_answer_end),
		WIRE_CASE(sigint_lets_a_running_answer_end),
		WIRE_CASE(idle_larder_ends_at_once),
		WIRE_CASE(flight_without_clients_does_not_hold_up_the_end),
		WIRE_CASE(stalled_upstream_does_not_hold_up_the_end_beyond_the_grace),
		WIRE_CASE(killed_larder_resumes_where_it_was),
		WIRE_CASE(killed_larder_resumes_a_short_beginning),
		WIRE_CASE(larder_that_is_killed_again_and_again_serves_nothing_damaged),
		WIRE_CASE(burst_of_connections_is_answered),
	};
	return cmocka_run_group_tests_name("shutdown", tests, NULL, NULL);
}
