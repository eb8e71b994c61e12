/* SPDX-License-Identifier: Apache-2.0 */
/* One transfer of a blob, however many have it, and all of them served while it lasts. */
#include "tests/wire/speaking.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/digest.h"

#include <stdio.h>
#include <string.h>

#define CLIENTS      16
#define HERD_LIMIT   (24 * MIB) /* what memory may grow by, whatever the blob and the clients */
#define HERD_WAIT_MS 240000     /* 4 GiB are read and hashed on a machine that does other things too */

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

static int add_stall(const struct one_blob *blob, uint64_t at)
{
	return scripted_add_rule(blob->upstream, &(struct scripted_rule){.path = BLOBS, .stall = true, .stall_at = at});
}

/* A client that reads as far as the test lets it. */
struct reader {
	struct client *client;
	struct client_reply reply;
	struct hasher *hasher;
	uint64_t got;
};

static struct reader reader_start(const struct one_blob *blob)
{
	struct client_request request = {.port = larder_port(blob->larder), .target = blob->target};
	struct reader reader = {.client = client_connect(NULL, request.port, 60000)};
	assert_true(client_send(reader.client, &request));
	if (!client_read_head(reader.client, &reader.reply))
		fail_msg("no head: %s", client_error(reader.client));
	assert_int_equal(reader.reply.status, 200);
	reader.hasher = hasher_new(DIGEST_SHA256);
	return reader;
}

static void reader_read_to(struct reader *reader, uint64_t end)
{
	_cleanup_free_ char *block = mem_alloc(65536);
	while (reader->got < end) {
		uint64_t left = end - reader->got;
		ssize_t n = client_read_body(reader->client, block, left < 65536 ? (size_t)left : 65536);
		if (n <= 0)
			fail_msg("%s after %llu bytes", client_error(reader->client), (unsigned long long)reader->got);
		hasher_update(reader->hasher, block, (size_t)n);
		reader->got += (uint64_t)n;
	}
}

static void reader_expect_end(struct reader *reader, const char *digest)
{
	char rest, text[DIGEST_TEXT_MAX];
	struct digest of_all;
	assert_int_equal(client_read_body(reader->client, &rest, 1), 0);
	hasher_finish(reader->hasher, &of_all);
	assert_string_equal(digest_format(&of_all, text), digest);
	client_close(reader->client);
	client_reply_dispose(&reader->reply);
}

WIRE_TEST(first_bytes_arrive_while_the_upstream_still_sends)
{
	struct one_blob blob = one_blob_new(wire, 4 * MIB);
	int stall = add_stall(&blob, MIB);
	struct reader reader = reader_start(&blob);
	_cleanup_free_ char *length = client_reply_header(&reader.reply, "Content-Length");
	assert_string_equal(length, "4194304");
	expect_header(&reader.reply, "Cache-Status", "larder; fwd=miss; stored");
	reader_read_to(&reader, MIB);
	assert_int_equal(scripted_body_sent(blob.upstream, "GET", BLOBS), MIB);
	scripted_release(blob.upstream, stall);
	reader_read_to(&reader, blob.size);
	reader_expect_end(&reader, blob.digest);
}

WIRE_TEST(only_the_last_byte_waits_for_the_digest)
{
	struct one_blob blob = one_blob_new(wire, MIB);
	int stall = add_stall(&blob, MIB - 1);
	struct reader reader = reader_start(&blob);
	reader_read_to(&reader, MIB - 1);
	scripted_release(blob.upstream, stall);
	reader_read_to(&reader, MIB);
	reader_expect_end(&reader, blob.digest);
}

WIRE_TEST(stored_blob_is_served_without_the_upstream)
{
	struct one_blob blob = one_blob_new(wire, 3 * MIB + 5);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	assert_true(ask(blob.larder, NULL, NULL, &reply, "%s", blob.target));
	expect_content(&reply, blob.digest);
	expect_header(&reply, "Cache-Status", "larder; fwd=miss; stored");
	expect_hit_soon(blob.larder, blob.target);
	scripted_clear_log(blob.upstream);
	assert_true(ask(blob.larder, NULL, NULL, &reply, "%s", blob.target));
	expect_content(&reply, blob.digest);
	expect_header(&reply, "Cache-Status", "larder; hit");
	scripted_set_state(blob.upstream, 0, SCRIPTED_DOWN, true);
	larder_stop(blob.larder);
	larder_restart(blob.larder);
	assert_true(ask(blob.larder, NULL, NULL, &reply, "%s", blob.target));
	expect_content(&reply, blob.digest);
	expect_header(&reply, "Cache-Status", "larder; hit");
	expect_count(blob.upstream, NULL, NULL, 0);
}

WIRE_TEST(joiner_in_the_middle_gets_everything)
{
	struct one_blob blob = one_blob_new(wire, 4 * MIB);
	int stall = add_stall(&blob, 2 * MIB);
	struct reader first = reader_start(&blob);
	reader_read_to(&first, 2 * MIB);
	struct reader second = reader_start(&blob);
	expect_header(&second.reply, "Cache-Status", "larder; fwd=miss; collapsed");
	reader_read_to(&second, 2 * MIB);
	scripted_release(blob.upstream, stall);
	reader_read_to(&second, blob.size);
	reader_read_to(&first, blob.size);
	reader_expect_end(&first, blob.digest);
	reader_expect_end(&second, blob.digest);
	expect_count(blob.upstream, NULL, BLOBS, 1);
	assert_int_equal(scripted_body_sent(blob.upstream, NULL, BLOBS), blob.size);
}

WIRE_TEST(flight_goes_on_without_the_client_that_began_it)
{
	struct one_blob blob = one_blob_new(wire, 4 * MIB);
	int stall = add_stall(&blob, 2 * MIB);
	struct client_request request = {
		.port = larder_port(blob.larder), .target = blob.target, .leave_after = blob.size / 4};
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	assert_false(client_fetch(&request, &reply));
	assert_int_equal(reply.body_bytes, blob.size / 4);
	scripted_release(blob.upstream, stall);
	assert_true(scripted_wait_body(blob.upstream, "GET", BLOBS, blob.size, WIRE_WAIT_MS));
	expect_hit_soon(blob.larder, blob.target);
	assert_true(ask(blob.larder, NULL, NULL, &reply, "%s", blob.target));
	expect_content(&reply, blob.digest);
	expect_count(blob.upstream, NULL, BLOBS, 1);
}

/* A reader that takes its time holds up neither the flight nor another reader. */
WIRE_TEST(slow_reader_holds_nobody_up)
{
	struct one_blob blob = one_blob_new(wire, 32 * MIB);
	struct reader slow = reader_start(&blob);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	reader_read_to(&slow, 1);
	assert_true(ask(blob.larder, NULL, NULL, &reply, "%s", blob.target));
	expect_content(&reply, blob.digest);
	expect_hit_soon(blob.larder, blob.target);
	reader_read_to(&slow, blob.size);
	reader_expect_end(&slow, blob.digest);
	expect_count(blob.upstream, NULL, BLOBS, 1);
}

static void fetch_by_many(const struct one_blob *blob)
{
	struct client_request requests[CLIENTS];
	struct client_reply replies[CLIENTS] = {0};
	for (size_t i = 0; i < CLIENTS; i++)
		requests[i] = (struct client_request){.port = larder_port(blob->larder),
						      .target = blob->target,
						      .deadline_ms = HERD_WAIT_MS,
						      .keep = 1};
	client_fetch_many(requests, replies, CLIENTS);
	for (size_t i = 0; i < CLIENTS; i++)
		expect_content(&replies[i], blob->digest);
	client_replies_dispose(replies, CLIENTS);
}

WIRE_TEST(herd_causes_one_request_and_takes_no_memory)
{
	bool checked = built_with_sanitizer();
	struct one_blob blob = one_blob_new(wire, checked ? 16 * MIB : 256 * MIB);
	uint64_t before = larder_rss(blob.larder);
	fetch_by_many(&blob);
	expect_count(blob.upstream, NULL, BLOBS, 1);
	assert_int_equal(scripted_body_sent(blob.upstream, NULL, BLOBS), blob.size);
	expect_hit_soon(blob.larder, blob.target);
	fetch_by_many(&blob);
	expect_count(blob.upstream, NULL, BLOBS, 1);
	/* The kernel's counts are inexact by some pages: the peak may stand below what was told before. */
	uint64_t peak = larder_rss_peak(blob.larder), grown = peak > before ? peak - before : 0;
	if (!checked && grown > HERD_LIMIT)
		fail_msg("memory grew by %llu KiB", (unsigned long long)(grown / 1024));
}

/* A blob is stored once, and served in a repository only where the upstream says that it belongs there. */
WIRE_TEST(blob_of_one_repository_is_not_served_in_another)
{
	struct one_blob blob = one_blob_new(wire, MIB);
	char shared[SCRIPTED_DIGEST_MAX];
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	assert_true(ask(blob.larder, NULL, NULL, &reply, "%s", blob.target));
	expect_hit_soon(blob.larder, blob.target);
	assert_true(ask(blob.larder, NULL, NULL, &reply, "/v2/team/other/blobs/%s", blob.digest));
	expect_error(&reply, 404, "BLOB_UNKNOWN");
	expect_count(blob.upstream, "HEAD", "/v2/team/other/blobs/*", 1);

	scripted_add_blob(blob.upstream, "team/third", 7, MIB, shared);
	assert_true(ask(blob.larder, NULL, NULL, &reply, "/v2/team/third/blobs/%s", shared));
	expect_content(&reply, blob.digest);
	expect_count(blob.upstream, "HEAD", "/v2/team/third/blobs/*", 1);
	expect_count(blob.upstream, "GET", BLOBS, 1);
}

/* The same while it still flies: whoever may not have it does not get it from another's flight. */
WIRE_TEST(flight_of_one_repository_is_not_joined_from_another)
{
	struct one_blob blob = one_blob_new(wire, 2 * MIB);
	int stall = add_stall(&blob, MIB);
	struct reader reader = reader_start(&blob);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	assert_true(ask(blob.larder, NULL, NULL, &reply, "/v2/team/other/blobs/%s", blob.digest));
	expect_error(&reply, 404, "BLOB_UNKNOWN");
	scripted_release(blob.upstream, stall);
	reader_read_to(&reader, blob.size);
	reader_expect_end(&reader, blob.digest);
	expect_count(blob.upstream, "GET", BLOBS, 1);
}

static void expect_missing(struct larder *larder, const char *digest)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	ask(larder, NULL, NULL, &reply, "/v2/team/app/blobs/%s", digest);
	expect_error(&reply, 404, "BLOB_UNKNOWN");
}

WIRE_TEST(missing_blob_is_a_404_and_remembered_for_missing_ttl)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	struct larder *larder = larder_before(wire, upstream, "missing_ttl: 3s");
	char digest[SCRIPTED_DIGEST_MAX], target[128];
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	uint64_t deadline = clock_ms() + WIRE_WAIT_MS;

	scripted_blob_digest(7, 1000, digest);
	expect_missing(larder, digest);
	expect_missing(larder, digest);
	expect_count(upstream, "GET", BLOBS, 1);
	scripted_add_blob(upstream, "team/app", 7, 1000, digest);
	snprintf(target, sizeof(target), "/v2/team/app/blobs/%s", digest);
	while (reply.status != 200 && clock_ms() < deadline)
		ask(larder, NULL, NULL, &reply, "%s", target);
	expect_content(&reply, digest);
	expect_count(upstream, "GET", BLOBS, 2);
}

WIRE_TEST(empty_blob_is_served)
{
	struct one_blob blob = one_blob_new(wire, 0);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	assert_true(ask(blob.larder, NULL, NULL, &reply, "%s", blob.target));
	expect_content(&reply, blob.digest);
	expect_header(&reply, "Content-Length", "0");
	expect_hit_soon(blob.larder, blob.target);
	assert_true(ask(blob.larder, NULL, NULL, &reply, "%s", blob.target));
	expect_content(&reply, blob.digest);
	expect_count(blob.upstream, NULL, BLOBS, 1);
}

/* Its length is known only at its end: the client waits until then, and is told it. */
WIRE_TEST(blob_of_unknown_length_is_served)
{
	struct one_blob blob = one_blob_new(wire, 2 * MIB);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_add_rule(blob.upstream, &(struct scripted_rule){.path = BLOBS, .no_length = true});
	assert_true(ask(blob.larder, NULL, NULL, &reply, "%s", blob.target));
	expect_content(&reply, blob.digest);
	expect_header(&reply, "Content-Length", "2097152");
	expect_hit_soon(blob.larder, blob.target);
	expect_count(blob.upstream, NULL, BLOBS, 1);
}

/* As a GET would say it: from the manifest, or else from the blob itself, which is then held. */
WIRE_TEST(head_that_upstream_answers_without_a_length_tells_it)
{
	struct one_blob blob = one_blob_new(wire, 2 * MIB);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct scripted_image image;
	scripted_add_image(blob.upstream, "team/app", "latest", NULL, &image);
	scripted_add_rule(blob.upstream, &(struct scripted_rule){.path = BLOBS, .no_length = true});
	assert_true(ask(blob.larder, NULL, NULL, &reply, "/v2/team/app/manifests/latest"));
	assert_true(ask(blob.larder, "HEAD", NULL, &reply, "/v2/team/app/blobs/%s", image.layer[0]));
	assert_int_equal(reply.status, 200);
	expect_header(&reply, "Content-Length", "1048576");
	expect_count(blob.upstream, "GET", BLOBS, 0);
	assert_true(ask(blob.larder, "HEAD", NULL, &reply, "%s", blob.target));
	assert_int_equal(reply.status, 200);
	expect_header(&reply, "Content-Length", "2097152");
	assert_true(ask(blob.larder, NULL, NULL, &reply, "%s", blob.target));
	expect_content(&reply, blob.digest);
	expect_count(blob.upstream, "GET", BLOBS, 1);
}

WIRE_TEST(head_that_upstream_refuses_is_answered_by_a_get)
{
	static const int refusals[] = {400, 401, 403, 405, 501};
	struct scripted *upstream = wire_upstream(wire, NULL);
	struct larder *larder = wire_larder_for(wire, upstream, "registry.test");
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		_cleanup_(client_reply_dispose) struct client_reply reply = {0};
		char digest[SCRIPTED_DIGEST_MAX];
		int rule = scripted_add_rule(
			upstream, &(struct scripted_rule){.method = "HEAD", .path = BLOBS, .status = refusals[i]});
		scripted_add_blob(upstream, "team/app", 20 + i, MIB, digest);
		assert_true(ask(larder, "HEAD", NULL, &reply, "/v2/team/app/blobs/%s", digest));
		assert_int_equal(reply.status, 200);
		expect_header(&reply, "Content-Length", "1048576");
		scripted_remove_rule(upstream, rule);
	}
}

/* As where an address is signed for GET alone. */
WIRE_TEST(head_that_is_refused_behind_a_redirect_is_answered_by_a_get)
{
	struct one_blob blob = one_blob_new(wire, MIB);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	int cdn = scripted_listen(blob.upstream, &(struct scripted_listen){.address = "127.0.0.2", .open = true}, NULL);
	_cleanup_free_ char *elsewhere = mem_printf("%s*", scripted_url(blob.upstream, cdn));
	scripted_add_rule(blob.upstream, &(struct scripted_rule){.path = BLOBS, .listener = 1, .redirect = elsewhere});
	scripted_add_rule(blob.upstream,
			  &(struct scripted_rule){.method = "HEAD", .path = BLOBS, .listener = cdn, .status = 403});
	assert_true(ask(blob.larder, "HEAD", NULL, &reply, "%s", blob.target));
	assert_int_equal(reply.status, 200);
	expect_header(&reply, "Content-Length", "1048576");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(first_bytes_arrive_while_the_upstream_still_sends),
		WIRE_CASE(only_the_last_byte_waits_for_the_digest),
		WIRE_CASE(stored_blob_is_served_without_the_upstream),
		WIRE_CASE(joiner_in_the_middle_gets_everything),
		WIRE_CASE(flight_goes_on_without_the_client_that_began_it),
		WIRE_CASE(slow_reader_holds_nobody_up),
		WIRE_CASE(herd_causes_one_request_and_takes_no_memory),
		WIRE_CASE(blob_of_one_repository_is_not_served_in_another),
		WIRE_CASE(flight_of_one_repository_is_not_joined_from_another),
		WIRE_CASE(missing_blob_is_a_404_and_remembered_for_missing_ttl),
		WIRE_CASE(empty_blob_is_served),
		WIRE_CASE(blob_of_unknown_length_is_served),
		WIRE_CASE(head_that_upstream_answers_without_a_length_tells_it),
		WIRE_CASE(head_that_upstream_refuses_is_answered_by_a_get),
		WIRE_CASE(head_that_is_refused_behind_a_redirect_is_answered_by_a_get),
	};
	return cmocka_run_group_tests_name("flight", tests, NULL, NULL);
}
