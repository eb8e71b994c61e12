/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics: what larder counts is what the upstream saw and what clients got, to the request and the byte. */
#include "tests/wire/admin.h"
#include "tests/wire/expect.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CERTAIN 0.5 /* counts are whole numbers */

static void expect_series(const char *metrics, const char *series, double value)
{
	double is = metric_value(metrics, series);
	if (is < value - CERTAIN || is > value + CERTAIN)
		fail_msg("%s is %.0f, not %.0f, in:\n%s", series, is, value, metrics);
}

/* What the path of a request to the upstream is counted as. */
static const char *kind_of(const char *target)
{
	if (strstr(target, "/manifests/"))
		return "manifest";
	if (strstr(target, "/blobs/"))
		return "blob";
	if (strstr(target, "/tags/list"))
		return "tags";
	if (strstr(target, "/referrers/"))
		return "referrers";
	return strncmp(target, "/v2/", 4) == 0 ? "ping" : "token";
}

/* Every series of the upstream is held against its log, and nothing else is counted. */
static void expect_upstream_as_logged(const char *metrics, struct scripted *upstream)
{
	size_t count = 0;
	struct scripted_record *records = scripted_records(upstream, NULL, NULL, &count);
	uint64_t bytes = 0;
	for (size_t i = 0; i < count; i++) {
		unsigned same = 0;
		char series[256];
		for (size_t k = 0; k < count; k++)
			same += strcmp(records[i].method, records[k].method) == 0 &&
				records[i].status == records[k].status &&
				strcmp(kind_of(records[i].target), kind_of(records[k].target)) == 0;
		snprintf(series, sizeof(series),
			 "larder_upstream_requests_total{upstream=\"registry.test\",kind=\"%s\",method=\"%s\",code=\"%"
			 "d\"}",
			 kind_of(records[i].target), records[i].method, records[i].status);
		expect_series(metrics, series, same);
		bytes += records[i].body_sent;
	}
	scripted_records_free(records, count);
	assert_int_equal((unsigned)metric_sum(metrics, "larder_upstream_requests_total", "registry.test"), count);
	expect_series(metrics, "larder_upstream_bytes_total{upstream=\"registry.test\"}", (double)bytes);
}

/* Once so many requests of clients are counted: each is behind its last byte, which the client may have by then. */
static char *metrics_after(struct larder *larder, unsigned requests)
{
	uint64_t deadline_ms = clock_ms() + WIRE_WAIT_MS;
	char *metrics = admin_metrics(larder);
	while (metric_sum(metrics, "larder_requests_total", "") < requests - CERTAIN && clock_ms() < deadline_ms) {
		free(metrics);
		usleep(1000);
		metrics = admin_metrics(larder);
	}
	assert_int_equal((unsigned)metric_sum(metrics, "larder_requests_total", ""), requests);
	return metrics;
}

static struct larder *larder_for(struct wire *wire, struct scripted *upstream)
{
	_cleanup_free_ char *name = mem_printf("registry.test=%s", scripted_url(upstream, 0));
	return larder_with_admin(wire, "127.0.0.1:0", name, NULL);
}

WIRE_TEST(upstream_requests_and_bytes_are_those_of_its_log)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	struct scripted_image image;
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_set_auth(upstream, &(struct scripted_auth){.kind = SCRIPTED_AUTH_BEARER});
	scripted_add_image(upstream, "team/app", "1", &(struct scripted_image_options){.layers = 3}, &image);
	/* One layer is cut once, another meets a 503 first. */
	_cleanup_free_ char *first = mem_printf("*/blobs/%s", image.layer[0]);
	_cleanup_free_ char *second = mem_printf("*/blobs/%s", image.layer[1]);
	scripted_add_rule(upstream, &(struct scripted_rule){.path = first,
							    .method = "GET",
							    .with_header = "Authorization",
							    .count = 1,
							    .cut = SCRIPTED_CUT_FIN,
							    .cut_at = 300000});
	scripted_add_rule(
		upstream,
		&(struct scripted_rule){
			.path = second, .method = "GET", .with_header = "Authorization", .count = 1, .status = 503});
	struct larder *larder = larder_for(wire, upstream);
	assert_true(ask(larder, NULL, NULL, &reply, "/v2/team/app/manifests/1"));
	assert_int_equal(reply.status, 200);
	for (unsigned i = 0; i < image.layers; i++) {
		assert_true(ask(larder, NULL, NULL, &reply, "/v2/team/app/blobs/%s", image.layer[i]));
		expect_content(&reply, image.layer[i]);
	}
	assert_true(ask(larder, NULL, NULL, &reply, "/v2/team/app/tags/list"));
	assert_int_equal(reply.status, 200);
	assert_true(ask(larder, NULL, NULL, &reply, "/v2/team/app/manifests/missing"));
	assert_int_equal(reply.status, 404);
	assert_true(scripted_wait_idle(upstream, false, WIRE_WAIT_MS));

	_cleanup_free_ char *metrics = admin_metrics(larder);
	expect_upstream_as_logged(metrics, upstream);
	assert_true(metric_sum(metrics, "larder_upstream_requests_total", "kind=\"token\"") > 0);
	expect_series(metrics, "larder_upstream_retries_total{upstream=\"registry.test\",reason=\"cut\"}", 1);
	expect_series(metrics, "larder_upstream_retries_total{upstream=\"registry.test\",reason=\"server_error\"}", 1);
	assert_int_equal((int)metric_sum(metrics, "larder_upstream_retries_total", ""), 2);
	struct scripted_stats stats;
	scripted_get_stats(upstream, 0, &stats);
	expect_series(metrics, "larder_upstream_connections{upstream=\"registry.test\",protocol=\"http/1.1\"}",
		      stats.open);
	assert_true(stats.open > 0);
}

WIRE_TEST(clients_requests_are_counted_by_what_came_of_them)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	char digest[SCRIPTED_DIGEST_MAX];
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_add_blob(upstream, "team/app", 7, MIB, digest);
	struct larder *larder = larder_for(wire, upstream);
	_cleanup_free_ char *target = mem_printf("/v2/team/app/blobs/%s", digest);
	assert_true(ask(larder, NULL, NULL, &reply, "%s", target));
	_cleanup_free_ char *before = metrics_after(larder, 1);
	expect_series(before, "larder_requests_total{kind=\"blob\",method=\"GET\",code=\"200\",outcome=\"miss\"}", 1);
	expect_series(before, "larder_served_bytes_total{outcome=\"miss\"}", MIB);
	unsigned heads = expect_hit_soon(larder, target);
	assert_true(ask(larder, NULL, NULL, &reply, "%s", target));
	assert_true(ask(larder, NULL, "Range: bytes=0-99\r\n", &reply, "%s", target));
	assert_int_equal(reply.status, 206);
	assert_true(ask(larder, NULL, NULL, &reply, "/v2/"));
	assert_true(ask(larder, NULL, NULL, &reply, "/v2/team/app/blobs/sha256:nonsense"));
	assert_true(ask(larder, "PUT", NULL, &reply, "/v2/team/app/manifests/1"));
	assert_true(ask(larder, NULL, NULL, &reply, "/elsewhere"));
	_cleanup_free_ char *after = metrics_after(larder, 1 + heads + 6);
	expect_series(after, "larder_requests_total{kind=\"blob\",method=\"GET\",code=\"200\",outcome=\"hit\"}", 1);
	expect_series(after, "larder_requests_total{kind=\"blob\",method=\"GET\",code=\"206\",outcome=\"hit\"}", 1);
	expect_series(after, "larder_served_bytes_total{outcome=\"hit\"}", (double)MIB + 100 + 2);
	expect_series(after, "larder_requests_total{kind=\"ping\",method=\"GET\",code=\"200\",outcome=\"hit\"}", 1);
	expect_series(after, "larder_requests_total{kind=\"blob\",method=\"GET\",code=\"400\",outcome=\"error\"}", 1);
	expect_series(after, "larder_requests_total{kind=\"manifest\",method=\"PUT\",code=\"405\",outcome=\"error\"}",
		      1);
	expect_series(after, "larder_requests_total{kind=\"other\",method=\"GET\",code=\"404\",outcome=\"error\"}", 1);
	expect_series(after, "larder_request_seconds_count", metric_sum(after, "larder_requests_total", ""));
	expect_series(after, "larder_store_blobs", 1);
	expect_series(after, "larder_store_bytes", MIB);
	expect_series(after, "larder_flights", 0);
	expect_series(after, "larder_evicted_bytes_total", 0);
	double since = metric_value(after, "larder_up_since_seconds");
	assert_true(since > (double)time(NULL) - 300 && since <= (double)time(NULL));
}

WIRE_TEST(flights_and_damage_are_seen)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	char digest[SCRIPTED_DIGEST_MAX];
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_add_blob(upstream, "team/app", 7, MIB, digest);
	int stall = scripted_add_rule(upstream, &(struct scripted_rule){.path = "*/blobs/*",
									.flip = true,
									.flip_at = 5,
									.stall = true,
									.stall_at = 500000,
									.count = 1});
	struct larder *larder = larder_for(wire, upstream);
	_cleanup_free_ char *target = mem_printf("/v2/team/app/blobs/%s", digest);
	struct client_request request = {.port = larder_port(larder), .target = target};
	struct client *client = client_connect(NULL, request.port, 60000);
	assert_true(client_send(client, &request));
	assert_true(client_read_head(client, &reply));
	_cleanup_free_ char *during = admin_metrics(larder);
	expect_series(during, "larder_flights", 1);
	scripted_release(upstream, stall);
	char block[65536];
	while (client_read_body(client, block, sizeof(block)) > 0)
		;
	client_close(client);
	_cleanup_free_ char *after = admin_metrics(larder);
	expect_series(after, "larder_corrupt_blobs_total", 1);
}

/* A response that does not speak of the budget does not mean that there is none. */
WIRE_TEST(budget_is_what_the_registry_last_said)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	struct scripted_image image;
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	static const char series[] = "larder_upstream_ratelimit_remaining{upstream=\"registry.test\"}";
	scripted_add_image(upstream, "team/app", "1", &(struct scripted_image_options){0}, &image);
	scripted_add_rule(
		upstream,
		&(struct scripted_rule){.path = "*/manifests/*",
					.headers = "ratelimit-limit: 100;w=21600\nratelimit-remaining: 97;w=21600"});
	struct larder *larder = larder_for(wire, upstream);
	_cleanup_free_ char *before = admin_metrics(larder);
	assert_null(strstr(before, series));
	assert_true(ask(larder, NULL, NULL, &reply, "/v2/team/app/manifests/1"));
	_cleanup_free_ char *said = admin_metrics(larder);
	expect_series(said, series, 97);
	assert_true(ask(larder, NULL, NULL, &reply, "/v2/team/app/blobs/%s", image.layer[0]));
	expect_content(&reply, image.layer[0]);
	_cleanup_free_ char *after = admin_metrics(larder);
	expect_series(after, series, 97);
}

WIRE_TEST(streams_of_one_connection_are_requests_of_their_own)
{
	struct scripted *upstream = wire_upstream_bare(wire, NULL);
	struct scripted_image image;
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	wire_listen(upstream, &(struct scripted_listen){.tls = wire_tls(wire), .h2 = true});
	scripted_add_image(upstream, "team/app", "1", &(struct scripted_image_options){.layers = 4}, &image);
	_cleanup_free_ char *config =
		mem_printf("upstreams:\n  registry.test:\n    ca: %s\n", scripted_tls_ca(wire_tls(wire)));
	_cleanup_free_ char *name = mem_printf("registry.test=%s", scripted_url(upstream, 0));
	struct larder *larder = larder_with_admin(wire, "127.0.0.1:0", name, config);
	for (unsigned i = 0; i < image.layers; i++) {
		assert_true(ask(larder, NULL, NULL, &reply, "/v2/team/app/blobs/%s", image.layer[i]));
		expect_content(&reply, image.layer[i]);
	}
	assert_true(scripted_wait_idle(upstream, false, WIRE_WAIT_MS));
	_cleanup_free_ char *metrics = admin_metrics(larder);
	expect_upstream_as_logged(metrics, upstream);
	expect_series(metrics, "larder_upstream_connections{upstream=\"registry.test\",protocol=\"h2\"}", 1);
	expect_series(metrics, "larder_upstream_connections{upstream=\"registry.test\",protocol=\"http/1.1\"}", 0);
	scripted_set_state(upstream, 0, SCRIPTED_DOWN, true);
	assert_true(scripted_wait_idle(upstream, true, WIRE_WAIT_MS));
	uint64_t deadline_ms = clock_ms() + WIRE_WAIT_MS;
	double open = 1;
	while (open > 0 && clock_ms() < deadline_ms) {
		/* The library notices a closed connection when it looks for one. */
		ask(larder, NULL, NULL, &reply, "/v2/team/app/manifests/1");
		_cleanup_free_ char *after = admin_metrics(larder);
		open = metric_value(after, "larder_upstream_connections{upstream=\"registry.test\",protocol=\"h2\"}");
	}
	assert_true(open == 0);
}

WIRE_TEST(names_of_repositories_are_no_labels)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct larder *larder = larder_for(wire, upstream);
	for (unsigned i = 0; i < 20; i++)
		assert_true(ask(larder, NULL, NULL, &reply, "/v2/secret%u/app/manifests/t%u", i, i));
	_cleanup_free_ char *metrics = metrics_after(larder, 20);
	assert_null(strstr(metrics, "secret"));
	assert_int_equal((int)metric_sum(metrics, "larder_requests_total", "manifest"), 20);
}

/* Of all its threads so far, in seconds. */
static double processor_time(const struct larder *larder)
{
	_cleanup_free_ char *path = mem_printf("/proc/%d/stat", (int)larder_pid(larder));
	unsigned long user = 0, system = 0;
	FILE *file = fopen(path, "re");
	assert_non_null(file);
	assert_int_equal(fscanf(file, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system),
			 2);
	fclose(file);
	return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

WIRE_TEST(thousand_scrapes_cost_less_than_a_second)
{
	struct larder *larder = larder_with_admin(wire, "127.0.0.1:0", NULL, NULL);
	if (built_with_sanitizer()) {
		print_message("skipped: a sanitizer takes its own time\n");
		skip();
	}
	double before = processor_time(larder);
	for (int i = 0; i < 1000; i++)
		free(admin_metrics(larder));
	double cost = processor_time(larder) - before;
	if (cost >= 1)
		fail_msg("1,000 scrapes took %.2f s of processor time", cost);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(upstream_requests_and_bytes_are_those_of_its_log),
		WIRE_CASE(clients_requests_are_counted_by_what_came_of_them),
		WIRE_CASE(flights_and_damage_are_seen),
		WIRE_CASE(budget_is_what_the_registry_last_said),
		WIRE_CASE(streams_of_one_connection_are_requests_of_their_own),
		WIRE_CASE(names_of_repositories_are_no_labels),
		WIRE_CASE(thousand_scrapes_cost_less_than_a_second),
	};
	return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
