/* SPDX-License-Identifier: Apache-2.0 */
/* Many requests on one HTTP/2 connection, and what servers do to it. */
#include "tests/wire/speaking.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <stdio.h>
#include <string.h>

#define STREAMS 100

static struct scripted_stats stats_of(struct scripted *upstream)
{
	struct scripted_stats stats;

	scripted_get_stats(upstream, 0, &stats);
	return stats;
}

static unsigned count_spoken(struct scripted *upstream, enum scripted_protocol protocol)
{
	size_t count;
	struct scripted_record *records = scripted_records(upstream, NULL, NULL, &count);
	unsigned spoken = 0;

	for (size_t i = 0; i < count; i++)
		spoken += records[i].protocol == protocol;
	scripted_records_free(records, count);
	return spoken;
}

WIRE_TEST(a_hundred_requests_share_one_connection)
{
	struct scripted *upstream = upstream_speaking(wire, NULL, true);
	struct larder *larder = larder_before(wire, upstream, NULL);

	fetch_blobs(larder, upstream, "team/app", 1, STREAMS, 16 * KIB);
	assert_int_equal(stats_of(upstream).accepted, 1);
	assert_int_equal(count_spoken(upstream, SCRIPTED_HTTP2), STREAMS);
}

/* Streams up to the last one named are answered, later ones are asked for again on another connection. */
WIRE_TEST(goaway_in_the_middle_loses_nothing)
{
	struct scripted_options options = {.h2_goaway_after = STREAMS / 2};
	struct scripted *upstream = upstream_speaking(wire, &options, true);
	struct larder *larder = larder_before(wire, upstream, NULL);

	scripted_add_rule(upstream, &(struct scripted_rule){.delay_ms = 20}); /* so that many are under way */
	fetch_blobs(larder, upstream, "team/app", 1, STREAMS, 16 * KIB);
	assert_true(stats_of(upstream).accepted >= 2);
	assert_in_range(stats_of(upstream).open_max, 1, 8);
	assert_int_equal(count_spoken(upstream, SCRIPTED_HTTP1), 0);
}

/* A server that wants a new connection for every few streams. */
WIRE_TEST(many_goaways_lose_nothing)
{
	struct scripted_options options = {.h2_goaway_after = 3};
	struct scripted *upstream = upstream_speaking(wire, &options, true);
	struct larder *larder = larder_before(wire, upstream, NULL);

	fetch_blobs(larder, upstream, "team/app", 1, STREAMS, 16 * KIB);
}

/* GOAWAY together with the end of the connection, while bodies are under way. */
WIRE_TEST(connection_that_goes_away_in_the_middle_loses_nothing)
{
	struct scripted *upstream = upstream_speaking(wire, NULL, true);
	struct larder *larder = larder_before(wire, upstream, NULL);

	scripted_add_rule(
		upstream,
		&(struct scripted_rule){
			.path = BLOBS, .from = STREAMS / 2, .count = 1, .cut = SCRIPTED_CUT_GOAWAY, .cut_at = 8 * KIB});
	fetch_blobs(larder, upstream, "team/app", 1, STREAMS, 16 * KIB);
	assert_in_range(scripted_count(upstream, "GET", BLOBS), STREAMS + 1, STREAMS * 2);
}

WIRE_TEST(refused_streams_are_asked_for_again)
{
	struct scripted *upstream = upstream_speaking(wire, NULL, true);
	struct larder *larder = larder_before(wire, upstream, "retries: 3");
	int rule = scripted_add_rule(
		upstream, &(struct scripted_rule){.path = BLOBS, .from = 10, .count = 1, .refuse_stream = true});

	fetch_blobs(larder, upstream, "team/app", 1, STREAMS, 16 * KIB);
	assert_int_equal(scripted_rule_applied(upstream, rule), 1);
	expect_count(upstream, "GET", BLOBS, STREAMS + 1);
	assert_int_equal(count_spoken(upstream, SCRIPTED_HTTP1), 0);
}

/* More at once than the server's SETTINGS allow must wait, not fail. */
WIRE_TEST(stream_limit_is_kept)
{
	struct scripted_options options = {.h2_streams_max = 4};
	struct scripted *upstream = upstream_speaking(wire, &options, true);
	struct larder *larder = larder_before(wire, upstream, "max_connections: 2");

	scripted_add_rule(upstream, &(struct scripted_rule){.delay_ms = 5});
	fetch_blobs(larder, upstream, "team/app", 1, STREAMS, 16 * KIB);
	assert_in_range(stats_of(upstream).open_max, 1, 2);
	assert_in_range(stats_of(upstream).running_max, 1, 8);
	expect_count(upstream, "GET", BLOBS, STREAMS);
}

/* HTTP/2 that never works: found out within a few requests, then HTTP/1.1, and no more tries for a while. */
static void break_http2(struct wire *wire, const struct scripted_rule *broken)
{
	struct scripted *upstream = upstream_speaking(wire, NULL, true);
	struct larder *larder = larder_before(wire, upstream, NULL);
	unsigned tries;

	/* Only HTTP/1.1 has this header. */
	scripted_add_rule(upstream, &(struct scripted_rule){.with_header = "Host"});
	scripted_add_rule(upstream, broken);
	fetch_blobs(larder, upstream, "team/app", 1, 1, 16 * KIB);
	tries = count_spoken(upstream, SCRIPTED_HTTP2);
	assert_in_range(tries, 1, 30); /* the library tries a refused stream five times by itself */
	assert_true(larder_wait_output(larder, "HTTP/1.1", WIRE_WAIT_MS));
	fetch_blobs(larder, upstream, "team/app", 2, 20, 16 * KIB);
	assert_int_equal(count_spoken(upstream, SCRIPTED_HTTP2), tries);
	assert_true(count_spoken(upstream, SCRIPTED_HTTP1) >= 21);
}

WIRE_TEST(server_that_refuses_every_stream_is_spoken_to_in_http1)
{
	break_http2(wire, &(struct scripted_rule){.refuse_stream = true});
}

WIRE_TEST(server_that_resets_every_stream_is_spoken_to_in_http1)
{
	break_http2(wire,
		    &(struct scripted_rule){.cut = SCRIPTED_CUT_STREAM, .cut_at = SCRIPTED_BEFORE_HEAD, .h2_error = 1});
}

WIRE_TEST(server_that_always_goes_away_is_spoken_to_in_http1)
{
	break_http2(wire, &(struct scripted_rule){.cut = SCRIPTED_CUT_GOAWAY, .cut_at = SCRIPTED_BEFORE_HEAD});
}

WIRE_TEST(server_that_talks_nonsense_is_spoken_to_in_http1)
{
	static const char nonsense[] = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";

	break_http2(wire, &(struct scripted_rule){.raw = nonsense, .raw_len = sizeof(nonsense) - 1});
}

/* Tags. */

BOTH_TEST(unchanged_tag_costs_one_head_and_no_get)
{
	struct scripted *upstream = upstream_speaking(wire, NULL, h2);
	struct larder *larder = larder_before(wire, upstream, "tag_ttl: 0s");
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct scripted_image image;

	scripted_add_image(upstream, "team/app", "latest", NULL, &image);
	assert_true(
		ask(larder, NULL, "Accept: " SCRIPTED_TYPE_MANIFEST "\r\n", &reply, "/v2/team/app/manifests/latest"));
	expect_content(&reply, image.manifest);
	scripted_clear_log(upstream);
	assert_true(
		ask(larder, NULL, "Accept: " SCRIPTED_TYPE_MANIFEST "\r\n", &reply, "/v2/team/app/manifests/latest"));
	expect_content(&reply, image.manifest);
	expect_count(upstream, "HEAD", "/v2/team/app/manifests/latest", 1);
	expect_count(upstream, NULL, NULL, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(a_hundred_requests_share_one_connection),
		WIRE_CASE(goaway_in_the_middle_loses_nothing),
		WIRE_CASE(many_goaways_lose_nothing),
		WIRE_CASE(connection_that_goes_away_in_the_middle_loses_nothing),
		WIRE_CASE(refused_streams_are_asked_for_again),
		WIRE_CASE(stream_limit_is_kept),
		WIRE_CASE(server_that_refuses_every_stream_is_spoken_to_in_http1),
		WIRE_CASE(server_that_resets_every_stream_is_spoken_to_in_http1),
		WIRE_CASE(server_that_always_goes_away_is_spoken_to_in_http1),
		WIRE_CASE(server_that_talks_nonsense_is_spoken_to_in_http1),
		BOTH_CASES(unchanged_tag_costs_one_head_and_no_get),
	};
	return cmocka_run_group_tests_name("streams", tests, NULL, NULL);
}
