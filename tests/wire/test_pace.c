/* SPDX-License-Identifier: Apache-2.0 */
/* How fast, and how much at once, an upstream is asked. */
#include "tests/wire/speaking.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define WINDOW  16
#define LATE_MS 500 /* what a busy machine may add; a wait that is wrong is so by a second or more */

static unsigned running(struct scripted *upstream)
{
	struct scripted_stats stats;

	scripted_get_stats(upstream, 0, &stats);
	return stats.running;
}

/* The most that ran at once while this much time passed. */
static unsigned running_most(struct scripted *upstream, uint64_t ms)
{
	uint64_t until = clock_ms() + ms;
	unsigned most = 0;

	while (clock_ms() < until) {
		unsigned now = running(upstream);

		if (now > most)
			most = now;
		nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
	}
	return most;
}

/* Sixteen requests are out when ten of them are answered 429 at once. One event: eight may be out from then on, not
 * sixteen, and not one. */
WIRE_TEST(ten_simultaneous_429s_halve_once)
{
	struct scripted *upstream = upstream_speaking(wire, NULL, false);
	struct larder *larder = larder_before(wire, upstream, "max_connections: 16, retries: 10");
	struct beside *beside[2 * WINDOW];
	char digests[2 * WINDOW][SCRIPTED_DIGEST_MAX];
	int refuse, hold;

	fetch_blobs(larder, upstream, "team/warm", 1, 40, KIB); /* the window opens */
	refuse = scripted_add_rule(
		upstream, &(struct scripted_rule){.path = "/v2/team/app/*", .count = 10, .status = 429, .hold = true});
	hold = scripted_add_rule(upstream, &(struct scripted_rule){.path = "/v2/team/app/*", .hold = true});
	for (size_t i = 0; i < 2 * WINDOW; i++) {
		_cleanup_free_ char *target = NULL;

		scripted_add_blob(upstream, "team/app", 1000 + i, KIB, digests[i]);
		target = blob_target("team/app", digests[i]);
		beside[i] = beside_start(larder, target);
	}
	assert_true(scripted_wait_count(upstream, "GET", "/v2/team/app/*", WINDOW, WIRE_WAIT_MS));
	assert_int_equal(running_most(upstream, 200), WINDOW);
	scripted_release(upstream, refuse);
	/* Six are still out; two more go, and that is all. */
	assert_true(scripted_wait_count(upstream, "GET", "/v2/team/app/*", WINDOW + 2, WIRE_WAIT_MS));
	assert_int_equal(running_most(upstream, 1500), WINDOW / 2);
	scripted_release(upstream, hold);
	for (size_t i = 0; i < 2 * WINDOW; i++) {
		_cleanup_(client_reply_dispose) struct client_reply reply = {0};

		beside_join(beside[i], &reply);
		expect_content(&reply, digests[i]);
	}
}

/* Retry-After. */

/* How long after the first answer the next request came, whatever it was for. */
static double wait_kept_ms(struct scripted *upstream)
{
	size_t count;
	struct scripted_record *records = scripted_records(upstream, NULL, NULL, &count);
	double waited;

	assert_true(count >= 2);
	waited = records[1].at_ms - records[0].end_ms;
	scripted_records_free(records, count);
	return waited;
}

static void expect_wait(struct scripted *upstream, double wanted_ms)
{
	double waited = wait_kept_ms(upstream);

	if (waited < wanted_ms - 5 || waited > wanted_ms + LATE_MS)
		fail_msg("waited %.0f ms instead of %.0f", waited, wanted_ms);
}

/* Everybody waits, not only the request that was told to. With one place in the window the other one cannot have gone
 * before. */
#define ONE_PLACE "max_connections: 1"

static void fetch_two(struct larder *larder, struct scripted *upstream)
{
	fetch_blobs(larder, upstream, "team/app", 1, 2, KIB);
	expect_count(upstream, NULL, NULL, 3);
}

static void keep_seconds(struct wire *wire, bool h2, int status)
{
	struct scripted *upstream = upstream_speaking(wire, NULL, h2);
	struct larder *larder = larder_before(wire, upstream, ONE_PLACE);

	scripted_add_rule(upstream, &(struct scripted_rule){.count = 1, .status = status, .headers = "Retry-After: 2"});
	fetch_two(larder, upstream);
	expect_wait(upstream, 2000);
}

BOTH_TEST(retry_after_in_seconds_is_kept)
{
	keep_seconds(wire, h2, 429);
}

BOTH_TEST(retry_after_of_a_503_is_kept)
{
	keep_seconds(wire, h2, 503);
}

/* A date is to the second, and kept to less than that. */
BOTH_TEST(retry_after_as_a_date_is_kept)
{
	struct scripted *upstream = upstream_speaking(wire, NULL, h2);
	struct larder *larder = larder_before(wire, upstream, ONE_PLACE);
	int64_t due_s = clock_wall_s() + 3;
	double due_ms = scripted_now_ms(upstream) + (double)(due_s * 1000 - clock_wall_ms());
	char date[CLOCK_HTTP_DATE_MAX];
	_cleanup_free_ char *header = mem_printf("Retry-After: %s", clock_format_http(due_s, date));
	size_t count;
	struct scripted_record *records;

	scripted_add_rule(upstream, &(struct scripted_rule){.count = 1, .status = 429, .headers = header});
	fetch_two(larder, upstream);
	records = scripted_records(upstream, NULL, NULL, &count);
	if (records[1].at_ms < due_ms - 5 || records[1].at_ms > due_ms + LATE_MS)
		fail_msg("came %.0f ms after the date", records[1].at_ms - due_ms);
	scripted_records_free(records, count);
}

/* What no client would wait for is not waited for: it is told, with the time. */
WIRE_TEST(long_retry_after_is_passed_on)
{
	struct scripted *upstream = upstream_speaking(wire, NULL, false);
	struct larder *larder = larder_before(wire, upstream, NULL);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	char digest[SCRIPTED_DIGEST_MAX];

	scripted_add_blob(upstream, "team/app", 1, KIB, digest);
	scripted_add_rule(upstream, &(struct scripted_rule){.status = 429, .headers = "Retry-After: 3600"});
	assert_true(ask(larder, NULL, NULL, &reply, "/v2/team/app/blobs/%s", digest));
	expect_error(&reply, 503, "TOOMANYREQUESTS");
	expect_header(&reply, "Retry-After", "3600");
	expect_count(upstream, NULL, NULL, 1);
}

/* One that a client can wait for is waited for once: two would be more than it bears. Nothing else is asked of the
 * registry meanwhile, such as whether it is there. */
WIRE_TEST(retry_after_that_is_said_again_is_passed_on)
{
	struct scripted *upstream = upstream_speaking(wire, NULL, false);
	struct larder *larder = larder_before(wire, upstream, NULL);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	scripted_add_rule(upstream, &(struct scripted_rule){.status = 429, .headers = "Retry-After: 6"});
	assert_true(ask(larder, NULL, NULL, &reply, "/v2/team/app/manifests/1"));
	expect_error(&reply, 503, "TOOMANYREQUESTS");
	expect_header(&reply, "Retry-After", "6");
	expect_count(upstream, NULL, "*/manifests/1", 2);
	expect_count(upstream, NULL, NULL, 2);
}

/* Rates and connections. */

#define RATE        50
#define SECOND_MOST (RATE + RATE * LATE_MS / 1000)
#define THREADS     10
#define REQUESTS    300

struct asker {
	pthread_t thread;
	uint16_t port;
	char targets[REQUESTS / THREADS][128];
	unsigned right;
};

static void *ask_in_turn(void *argument)
{
	struct asker *asker = argument;

	for (size_t i = 0; i < REQUESTS / THREADS; i++) {
		_cleanup_(client_reply_dispose) struct client_reply reply = {0};

		struct client_request request = {.port = asker->port, .method = "HEAD", .target = asker->targets[i]};

		asker->right += client_fetch(&request, &reply) && reply.status == 200;
	}
	return NULL;
}

BOTH_TEST(rate_limit_is_kept_over_ten_threads)
{
	struct scripted *upstream = upstream_speaking(wire, NULL, h2);
	struct larder *larder = larder_before(wire, upstream, "rate_limit: 50/s, max_connections: 10");
	_cleanup_free_ struct asker *askers = mem_alloc(THREADS * sizeof(*askers));
	struct scripted_record *records;
	double rate;
	size_t count;

	for (size_t i = 0; i < REQUESTS; i++) {
		struct asker *asker = &askers[i % THREADS];
		char digest[SCRIPTED_DIGEST_MAX];

		scripted_add_blob(upstream, "team/app", 1 + i, 256, digest);
		snprintf(asker->targets[i / THREADS], sizeof(asker->targets[0]), "/v2/team/app/blobs/%s", digest);
		asker->port = larder_port(larder);
	}
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&askers[i].thread, NULL, ask_in_turn, &askers[i]), 0);
	for (size_t i = 0; i < THREADS; i++) {
		pthread_join(askers[i].thread, NULL);
		assert_int_equal(askers[i].right, REQUESTS / THREADS);
	}
	records = scripted_records(upstream, "HEAD", BLOBS, &count);
	assert_int_equal(count, REQUESTS);
	/* The first may come at once. */
	rate = (double)(count - 1) / (records[count - 1].at_ms - records[0].at_ms) * 1000;
	if (rate < RATE * 0.95 || rate > RATE * 1.05)
		fail_msg("%.2f requests a second", rate);
	/* Nor is a second of it too busy. What is sent while a busy machine keeps the upstream from reading comes at
	 * once: as much as in LATE_MS more. */
	for (size_t i = SECOND_MOST; i < count; i++)
		if (records[i].at_ms - records[i - SECOND_MOST].at_ms < 1000)
			fail_msg("too many requests in the second before %.0f ms", records[i].at_ms);
	scripted_records_free(records, count);
}

BOTH_TEST(small_requests_share_few_connections)
{
	struct scripted_options options = {.shape.latency_ms = 2};
	struct scripted *upstream = upstream_speaking(wire, &options, h2);
	struct larder *larder = larder_before(wire, upstream, "max_connections: 4");
	struct scripted_stats stats;

	for (unsigned i = 0; i < 4; i++)
		fetch_blobs(larder, upstream, "team/app", 1 + i * 50, 50, KIB);
	scripted_get_stats(upstream, 0, &stats);
	assert_in_range(stats.open_max, 1, 4);
	assert_in_range(stats.accepted, 1, h2 ? 1 : 4); /* and they are kept */
	expect_count(upstream, "GET", BLOBS, 200);
}

/* Whatever is spoken: nobody waits for another's answer, not even for the first that a registry ever gives. */
BOTH_TEST(held_up_answer_holds_up_no_other)
{
	struct scripted *upstream = upstream_speaking(wire, NULL, h2);
	struct larder *larder = larder_before(wire, upstream, NULL);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0}, late = {0};
	char slow[SCRIPTED_DIGEST_MAX], quick[SCRIPTED_DIGEST_MAX];
	_cleanup_free_ char *slow_target = NULL, *quick_target = NULL, *pattern = NULL;
	struct beside *beside;
	int hold;

	scripted_add_blob(upstream, "team/app", 1, KIB, slow);
	scripted_add_blob(upstream, "team/app", 2, KIB, quick);
	slow_target = blob_target("team/app", slow);
	quick_target = blob_target("team/app", quick);
	pattern = mem_printf("*%s", slow);
	hold = scripted_add_rule(upstream, &(struct scripted_rule){.path = pattern, .hold = true});
	beside = beside_start(larder, slow_target);
	assert_true(scripted_wait_count(upstream, "GET", pattern, 1, WIRE_WAIT_MS));
	ask(larder, NULL, NULL, &reply, "%s", quick_target);
	expect_content(&reply, quick);
	/* Not only once idle_timeout, of 30 s, has ended the other. */
	if (reply.total_ms > WIRE_WAIT_MS)
		fail_msg("took %.0f ms", reply.total_ms);
	scripted_release(upstream, hold);
	beside_join(beside, &late);
	expect_content(&late, slow);
}

/* A request that has to wait for a connection longer than connect_timeout has not failed to connect. */
WIRE_TEST(waiting_for_a_connection_in_use_is_no_timeout)
{
	struct scripted *upstream = upstream_speaking(wire, NULL, false);
	int cdn = listen_elsewhere(wire, upstream, false);
	_cleanup_free_ char *location = mem_printf("%s*", scripted_url(upstream, cdn));
	struct larder *larder = larder_before(wire, upstream, "max_connections: 2, connect_timeout: 300ms, retries: 0");
	struct scripted_stats stats;

	scripted_add_rule(upstream, &(struct scripted_rule){.listener = 1, .redirect = location});
	scripted_add_rule(upstream, &(struct scripted_rule){.listener = cdn, .rate = 64 * KIB});
	fetch_blobs(larder, upstream, "team/app", 1, 6, 64 * KIB); /* a second each */
	scripted_get_stats(upstream, cdn, &stats);
	assert_in_range(stats.open_max, 1, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(ten_simultaneous_429s_halve_once),
		BOTH_CASES(retry_after_in_seconds_is_kept),
		BOTH_CASES(retry_after_of_a_503_is_kept),
		BOTH_CASES(retry_after_as_a_date_is_kept),
		WIRE_CASE(long_retry_after_is_passed_on),
		WIRE_CASE(retry_after_that_is_said_again_is_passed_on),
		BOTH_CASES(rate_limit_is_kept_over_ten_threads),
		BOTH_CASES(small_requests_share_few_connections),
		BOTH_CASES(held_up_answer_holds_up_no_other),
		WIRE_CASE(waiting_for_a_connection_in_use_is_no_timeout),
	};
	return cmocka_run_group_tests_name("pace", tests, NULL, NULL);
}
