/* SPDX-License-Identifier: Apache-2.0 */
/* Larder served over TLS: large bodies are encrypted and sent by larder itself, on the library's session. */
#include "tests/wire/expect.h"
#include "tests/wire/trace.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <stdio.h>
#include <string.h>

#define BLOB (20 * MIB) /* more than sockets hold, and such as larder sends itself */

static void trace_dispose(struct trace **trace)
{
	trace_free(*trace);
}

struct blob {
	struct scripted *upstream;
	struct larder *larder;
	const char *ca;
	char digest[SCRIPTED_DIGEST_MAX];
	char target[128];
};

static struct blob blob_new(struct wire *wire)
{
	struct blob blob = {.upstream = wire_upstream(wire, NULL), .ca = scripted_tls_ca(wire_tls(wire))};

	scripted_add_blob(blob.upstream, "team/app", 7, BLOB, blob.digest);
	snprintf(blob.target, sizeof(blob.target), "/v2/team/app/blobs/%s", blob.digest);
	blob.larder = larder_configured(wire, blob.upstream,
					"default_upstream: registry.test\n"
					"tls: { cert: \"%d/server.pem\", key: \"%d/server.key\" }\n"
					"upstreams:\n"
					"  registry.test: { url: \"%s\" }\n");
	return blob;
}

/* At so many bytes a second; 0: as they come. */
static void fetch(const struct blob *blob, uint64_t rate, struct client_reply *reply)
{
	struct client_request request = {
		.port = larder_port(blob->larder), .ca = blob->ca, .target = blob->target, .rate = rate, .keep = 1};

	client_reply_dispose(reply);
	if (!client_fetch(&request, reply))
		fail_msg("%s", reply->error);
	expect_content(reply, blob->digest);
	assert_int_equal(reply->body_bytes, BLOB);
}

static bool is_hit(const struct client_reply *reply)
{
	_cleanup_free_ char *status = client_reply_header(reply, "Cache-Status");

	return status && strcmp(status, "larder; hit") == 0;
}

static struct blob stored_blob_new(struct wire *wire)
{
	struct blob blob = blob_new(wire);
	struct client_reply reply = {0};

	do
		fetch(&blob, 0, &reply);
	while (!is_hit(&reply));
	client_reply_dispose(&reply);
	return blob;
}

WIRE_TEST(stored_blob_comes_whole_to_clients_of_any_pace)
{
	struct blob blob = stored_blob_new(wire);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	fetch(&blob, 0, &reply);
	/* Slow enough that a record waits for the socket, again and again. */
	fetch(&blob, 20 * MIB, &reply);
}

WIRE_TEST(blob_in_flight_comes_whole_to_clients_of_any_pace)
{
	struct blob blob = blob_new(wire);
	struct client_request requests[4];
	struct client_reply replies[4];

	/* All come while it stands still in the middle. */
	scripted_add_rule(
		blob.upstream,
		&(struct scripted_rule){.path = "*/blobs/*", .stall = true, .stall_at = BLOB / 2, .stall_ms = 300});
	for (size_t i = 0; i < 4; i++)
		requests[i] = (struct client_request){.port = larder_port(blob.larder),
						      .ca = blob.ca,
						      .target = blob.target,
						      .rate = i * 10 * MIB,
						      .keep = 1};
	assert_true(client_fetch_many(requests, replies, 4));
	for (size_t i = 0; i < 4; i++)
		expect_content(&replies[i], blob.digest);
	client_replies_dispose(replies, 4);
	expect_count(blob.upstream, "GET", "*/blobs/*", 1);
}

/* The library alone would look for events and make a packet for each record of 16 KiB. */
WIRE_TEST(stored_blob_goes_out_many_records_at_once)
{
	struct blob blob = stored_blob_new(wire);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_(trace_dispose) struct trace *trace =
		trace_begin(wire, blob.larder, "http", "trace=sendmsg,epoll_wait,pread64,setsockopt");
	unsigned records;

	if (!trace)
		skip();
	fetch(&blob, 0, &reply);
	trace_end(trace);
	records = trace_count(trace, "sendmsg", NULL);
	assert_in_range(records, BLOB / 16384, BLOB / 8192);
	assert_in_range(trace_count(trace, "epoll_wait", NULL), 1, records / 2);
	assert_in_range(trace_count(trace, "pread64", NULL), BLOB / 65536, records / 2);
	assert_true(trace_count(trace, "setsockopt", "TCP_CORK") > 0);
}

WIRE_TEST(small_answers_keep_their_connection)
{
	struct blob blob = stored_blob_new(wire);
	struct client_request request = {
		.port = larder_port(blob.larder), .target = blob.target, .headers = "Range: bytes=5-1000004\r\n"};
	struct client *client = client_connect(NULL, request.port, 60000);
	_cleanup_free_ char *block = mem_alloc(65536);

	assert_true(client_secure(client, blob.ca));
	for (unsigned i = 0; i < 3; i++) {
		struct client_reply reply = {0};
		uint64_t got = 0;
		ssize_t n;

		assert_true(client_send(client, &request));
		if (!client_read_head(client, &reply))
			fail_msg("answer %u: %s", i, client_error(client));
		while ((n = client_read_body(client, block, 65536)) > 0)
			got += (uint64_t)n;
		assert_int_equal(got, 1000000);
		client_reply_dispose(&reply);
	}
	client_close(client);
}

WIRE_TEST(client_that_leaves_leaves_nothing_behind)
{
	struct blob blob = stored_blob_new(wire);
	struct client_request request = {
		.port = larder_port(blob.larder), .ca = blob.ca, .target = blob.target, .leave_after = 100000};
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	for (unsigned i = 0; i < 8; i++) {
		client_fetch(&request, &reply);
		client_reply_dispose(&reply);
	}
	assert_true(larder_wait_output(blob.larder, "outcome=aborted", WIRE_WAIT_MS));
	fetch(&blob, 0, &reply);
	larder_stop(blob.larder);
}

WIRE_TEST(tls_and_plain_http_do_not_understand_one_another)
{
	struct blob blob = blob_new(wire);
	struct larder *plain = wire_larder(wire, &(struct larder_options){.store = "plain"});
	struct client *client = client_connect(NULL, larder_port(plain), 10000);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	assert_false(client_secure(client, blob.ca));
	client_close(client);
	assert_true(larder_get(plain, "/v2/", &reply));
	client_reply_dispose(&reply);
	assert_false(larder_get(blob.larder, "/v2/", &reply));
	client_reply_dispose(&reply);
	fetch(&blob, 0, &reply);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(stored_blob_comes_whole_to_clients_of_any_pace),
		WIRE_CASE(blob_in_flight_comes_whole_to_clients_of_any_pace),
		WIRE_CASE(stored_blob_goes_out_many_records_at_once),
		WIRE_CASE(small_answers_keep_their_connection),
		WIRE_CASE(client_that_leaves_leaves_nothing_behind),
		WIRE_CASE(tls_and_plain_http_do_not_understand_one_another),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
