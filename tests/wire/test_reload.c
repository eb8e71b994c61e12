/* SPDX-License-Identifier: Apache-2.0 */
/* SIGHUP: what changes while larder runs, and what a wrong configuration must not change. */
#include "tests/wire/speaking.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ALICE    "alice:$2y$04$abcdefghijklmnopqrstuuNlZAR7NEExaJuD6ixqkqXpRrQa5lFvC\n"
#define BOB      "bob:$2b$04$ABCDEFGHIJKLMNOPQRSTUues6SAkqShBCRSCknWvLdAk8d/uDATN2\n"
#define AS_ALICE "Authorization: Basic YWxpY2U6d29uZGVyIGxhbmQ6MQ==\r\n"
#define AS_BOB   "Authorization: Basic Ym9iOmI=\r\n"

struct reloaded {
	struct wire *wire;
	struct scripted *upstream;
	struct scripted_image image;
	struct larder *larder;
};

/* Writes the larder's configuration: what is said here of up.test, and then the rest. */
static void configure(const struct reloaded *reloaded, const char *upstream, const char *rest)
{
	char text[2048];

	snprintf(text, sizeof(text),
		 "default_upstream: up.test\n"
		 "upstreams:\n  up.test: {url: \"%s\", retries: 0, tag_ttl: 1h%s}\n%s\n",
		 scripted_url(reloaded->upstream, 0), upstream, rest);
	free(wire_write_file(reloaded->wire, "live.yaml", text));
}

static struct reloaded reloaded_new(struct wire *wire, const char *upstream, const char *rest)
{
	struct reloaded reloaded = {.wire = wire, .upstream = wire_upstream(wire, NULL)};
	_cleanup_free_ char *path = wire_path(wire, "live.yaml");
	const char *arguments[] = {"-c", path, NULL};

	scripted_add_image(reloaded.upstream, "team/app", "1",
			   &(struct scripted_image_options){.layer_size = 1000, .layers = 1}, &reloaded.image);
	configure(&reloaded, upstream, rest);
	reloaded.larder = wire_larder(wire, &(struct larder_options){.arguments = arguments});
	return reloaded;
}

static void hang_up(const struct reloaded *reloaded, const char *says)
{
	larder_signal(reloaded->larder, SIGHUP);
	assert_true(larder_wait_output(reloaded->larder, says, WIRE_WAIT_MS));
}

static void expect_status(const struct reloaded *reloaded, const char *headers, const char *target, int status)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	ask(reloaded->larder, NULL, headers, &reply, "%s", target);
	assert_int_equal(reply.status, status);
}

/* Pulls the manifest until it comes from the store: what was fetched is written behind the answer. */
static void hold(const struct reloaded *reloaded)
{
	uint64_t end_ms = clock_ms() + WIRE_WAIT_MS;
	bool held = false;

	while (!held && clock_ms() < end_ms) {
		_cleanup_(client_reply_dispose) struct client_reply reply = {0};
		_cleanup_free_ char *status = NULL;

		ask(reloaded->larder, NULL, NULL, &reply, "/v2/team/app/manifests/1");
		status = client_reply_header(&reply, "Cache-Status");
		held = status && strcmp(status, "larder; hit") == 0;
	}
	assert_true(held);
}

WIRE_TEST(an_upstream_and_an_alias_that_are_added_serve_at_once)
{
	struct reloaded reloaded = reloaded_new(wire, "", "");
	char rest[256];

	expect_status(&reloaded, NULL, "/v2/team/app/manifests/1", 200);
	expect_status(&reloaded, NULL, "/v2/other.test/team/app/manifests/1", 404);
	snprintf(rest, sizeof(rest), "  other.test: {url: \"%s\", aliases: [third.test]}",
		 scripted_url(reloaded.upstream, 0));
	configure(&reloaded, "", rest);
	hang_up(&reloaded, "1 of 9 upstreams are new or changed");
	expect_status(&reloaded, NULL, "/v2/other.test/team/app/manifests/1", 200);
	expect_status(&reloaded, NULL, "/v2/team/app/manifests/1?ns=third.test", 200);
}

WIRE_TEST(what_is_denied_now_is_not_served_even_where_it_was_ready)
{
	struct reloaded reloaded = reloaded_new(wire, "", "");

	hold(&reloaded);
	for (int i = 0; i < 3; i++)
		expect_status(&reloaded, NULL, "/v2/team/app/manifests/1", 200);
	configure(&reloaded, ", deny: [\"team/*\"]", "");
	hang_up(&reloaded, "the configuration was read again");
	expect_status(&reloaded, NULL, "/v2/team/app/manifests/1", 403);
}

WIRE_TEST(an_upstream_that_did_not_change_is_not_asked_anew)
{
	struct reloaded reloaded = reloaded_new(wire, "", "");

	hold(&reloaded);
	scripted_clear_log(reloaded.upstream);
	hang_up(&reloaded, "0 of 8 upstreams are new or changed");
	expect_status(&reloaded, NULL, "/v2/team/app/manifests/1", 200);
	expect_count(reloaded.upstream, NULL, NULL, 0);
}

WIRE_TEST(a_wrong_configuration_changes_nothing)
{
	struct reloaded reloaded = reloaded_new(wire, "", "");

	configure(&reloaded, ", deny: [\"*\"]", "nonsense: 1\n");
	hang_up(&reloaded, "SIGHUP: all stays as it was");
	assert_true(larder_wait_output(reloaded.larder, "nonsense", WIRE_WAIT_MS));
	expect_status(&reloaded, NULL, "/v2/team/app/manifests/1", 200);
}

WIRE_TEST(users_change_and_a_wrong_file_of_them_changes_nothing)
{
	_cleanup_free_ char *users = wire_write_file(wire, "users", ALICE);
	char rest[256];

	snprintf(rest, sizeof(rest), "access: {htpasswd: %s}", users);
	struct reloaded reloaded = reloaded_new(wire, "", rest);

	expect_status(&reloaded, AS_ALICE, "/v2/team/app/manifests/1", 200);
	free(wire_write_file(wire, "users", "alice:plain\n"));
	hang_up(&reloaded, "SIGHUP: all stays as it was");
	expect_status(&reloaded, AS_ALICE, "/v2/team/app/manifests/1", 200);
	free(wire_write_file(wire, "users", BOB));
	hang_up(&reloaded, "the configuration was read again");
	expect_status(&reloaded, AS_ALICE, "/v2/team/app/manifests/1", 401);
	expect_status(&reloaded, AS_BOB, "/v2/team/app/manifests/1", 200);
}

WIRE_TEST(a_right_certificate_beside_wrong_users_is_not_taken)
{
	const char *ca = scripted_tls_ca(wire_tls(wire));
	_cleanup_free_ char *server = wire_path(wire, "server"), *client = wire_path(wire, "client");
	_cleanup_free_ char *users = wire_write_file(wire, "users", ALICE);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	char rest[1024];

	snprintf(rest, sizeof(rest), "tls: {cert: %s.pem, key: %s.key}\naccess: {htpasswd: %s}", server, server, users);
	struct reloaded reloaded = reloaded_new(wire, "", rest);
	struct client_request request = {.port = larder_port(reloaded.larder),
					 .ca = ca,
					 .headers = AS_ALICE,
					 .target = "/v2/team/app/manifests/1"};

	/* A certificate that no client takes for this server's. */
	snprintf(rest, sizeof(rest), "tls: {cert: %s.pem, key: %s.key}\naccess: {htpasswd: %s}", client, client, users);
	configure(&reloaded, "", rest);
	free(wire_write_file(wire, "users", "alice:plain\n"));
	hang_up(&reloaded, "SIGHUP: all stays as it was");
	if (!client_fetch(&request, &reply))
		fail_msg("%s", reply.error);
	assert_int_equal(reply.status, 200);
	free(wire_write_file(wire, "users", ALICE));
	hang_up(&reloaded, "the configuration was read again");
	client_reply_dispose(&reply);
	assert_false(client_fetch(&request, &reply));
}

/* As larder would stop at the start; what is served meanwhile is what was right. Each says what none before it did. */
WIRE_TEST(whatever_is_wrong_in_a_configuration_leaves_all_as_it_was)
{
	_cleanup_free_ char *nonsense = wire_write_file(wire, "nonsense", "x\n");
	static const struct {
		const char *rest, *says;
	} cases[] = {
		{"store: { max_size: lots }", "4:20: store.max_size: "},
		{"\tlisten: x", "not tabs"},
		{"listen: [", "syntax: did not find"},
		{"access: { rules: { a: [ '*' ] } }", "4:18: access.rules: does nothing without"},
		{"access: { htpasswd: %s }", "4:21: access.htpasswd: "},
		{"tls: { cert: %s, key: /nowhere }", "tls.key: '/nowhere'"},
		{"admin: { token_file: /nowhere }", "4:22: admin.token_file: "},
		{"import: { verify_key: %s }", "4:23: import.verify_key: "},
		{"  other.test: { ca: %s }", "4:21: upstreams.other.test.ca: "},
		{"  other.test: { url: \"${LARDER_NOT_SET}\" }", "4:22: upstreams.other.test.url: "},
	};
	struct reloaded reloaded = reloaded_new(wire, "", "");

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *place = strstr(cases[i].rest, "%s");
		_cleanup_free_ char *rest = mem_printf("%.*s%s%s", place ? (int)(place - cases[i].rest) : 1000,
						       cases[i].rest, place ? nonsense : "", place ? place + 2 : "");

		configure(&reloaded, ", deny: [\"*\"]", rest);
		hang_up(&reloaded, cases[i].says);
		expect_status(&reloaded, NULL, "/v2/team/app/manifests/1", 200);
	}
	assert_true(larder_wait_output(reloaded.larder, "SIGHUP: all stays as it was", WIRE_WAIT_MS));
}

WIRE_TEST(what_needs_a_restart_is_named)
{
	struct reloaded reloaded = reloaded_new(wire, "", "");

	configure(&reloaded, "", "offline: true\n");
	hang_up(&reloaded, "SIGHUP: offline changes with a restart alone");
	configure(&reloaded, "", "prefetch: [{images: [x]}]\n");
	hang_up(&reloaded, "SIGHUP: prefetch changes with a restart alone");
	expect_status(&reloaded, NULL, "/v2/team/app/manifests/1", 200);
}

static size_t times_reloaded(struct larder *larder)
{
	_cleanup_free_ char *log = larder_output(larder, 2);
	size_t times = 0;

	for (const char *at = log; (at = strstr(at, "the configuration was read again")); at++)
		times++;
	return times;
}

/* Its probe is out when another takes its place, and fails then. */
WIRE_TEST(upstream_that_was_replaced_while_it_did_not_answer_is_not_probed_any_more)
{
	struct reloaded reloaded = reloaded_new(wire, "", "");
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct beside *waits;
	int hold = scripted_add_rule(reloaded.upstream, &(struct scripted_rule){.path = "*/manifests/1", .hold = true});

	scripted_add_rule(reloaded.upstream, &(struct scripted_rule){.path = "/v2/",
								     .delay_ms = 1500,
								     .cut = SCRIPTED_CUT_FIN,
								     .cut_at = SCRIPTED_BEFORE_HEAD});
	waits = beside_start(reloaded.larder, "/v2/team/app/manifests/1");
	assert_true(scripted_wait_count(reloaded.upstream, "GET", "/v2/", 1, WIRE_WAIT_MS));
	configure(&reloaded, ", missing_ttl: 1s", "");
	hang_up(&reloaded, "1 of 8 upstreams are new or changed");
	assert_false(scripted_wait_count(reloaded.upstream, "GET", "/v2/", 2, 4000));
	scripted_release(reloaded.upstream, hold);
	beside_join(waits, &reply);
	assert_int_equal(reply.status, 200);
}

/* The larder has another configuration from here on, not for the first time perhaps. */
static void reconfigure(const struct reloaded *reloaded, const char *rest)
{
	size_t before = times_reloaded(reloaded->larder);
	uint64_t end_ms = clock_ms() + WIRE_WAIT_MS;

	configure(reloaded, "", rest);
	larder_signal(reloaded->larder, SIGHUP);
	while (times_reloaded(reloaded->larder) == before) {
		assert_true(clock_ms() < end_ms);
		usleep(5000);
	}
}

/* Whether a request on this connection, which stays open, is answered. */
static bool answers(struct client *client)
{
	const struct client_request ping = {.target = "/v2/"};
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	char body[16];

	if (!client_send(client, &ping) || !client_read_head(client, &reply))
		return false;
	while (client_read_body(client, body, sizeof(body)) > 0)
		;
	return reply.status == 200;
}

WIRE_TEST(how_many_connections_there_may_be_changes_and_none_ends_by_it)
{
	struct reloaded reloaded = reloaded_new(wire, "", "clients: {max_connections: 6, max_connections_each: 2}");
	struct client *clients[4];

	for (size_t i = 0; i < 3; i++)
		clients[i] = client_connect(NULL, larder_port(reloaded.larder), 0);
	assert_true(answers(clients[0]) && answers(clients[1]));
	assert_false(answers(clients[2]));
	client_close(clients[2]);

	reconfigure(&reloaded, "clients: {max_connections: 6, max_connections_each: 3}");
	for (size_t i = 2; i < 4; i++)
		clients[i] = client_connect(NULL, larder_port(reloaded.larder), 0);
	assert_true(answers(clients[2]));
	assert_false(answers(clients[3]));
	client_close(clients[3]);

	reconfigure(&reloaded, "clients: {max_connections: 1, max_connections_each: 5}");
	clients[3] = client_connect(NULL, larder_port(reloaded.larder), 0);
	assert_false(answers(clients[3]));
	for (size_t i = 0; i < 3; i++)
		assert_true(answers(clients[i]));
	for (size_t i = 0; i < 4; i++)
		client_close(clients[i]);
}

WIRE_TEST(connection_that_idles_is_cut_by_the_time_that_holds_now)
{
	struct reloaded reloaded = reloaded_new(wire, "", "clients: {request_timeout: 1h}");
	struct client *client = client_connect(NULL, larder_port(reloaded.larder), 0);

	assert_true(answers(client));
	reconfigure(&reloaded, "clients: {request_timeout: 1s}");
	assert_true(larder_wait_output(reloaded.larder, "no whole request came in time", WIRE_WAIT_MS));
	assert_false(answers(client));
	client_close(client);
}

/* An answer that is not read to its end, as whoever shows this. */
static struct client *hold_answer(const struct reloaded *reloaded, const char *headers, const char *target)
{
	const struct client_request request = {.headers = headers, .target = target};
	struct client *client = client_connect(NULL, larder_port(reloaded->larder), 0);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	assert_true(client_send(client, &request) && client_read_head(client, &reply));
	assert_int_equal(reply.status, 200);
	return client;
}

/* The target of a blob that no socket takes whole, for the caller to free. */
static char *large_layer(const struct reloaded *reloaded)
{
	const struct scripted_image_options options = {.layer_size = 64 << 20, .layers = 1, .seed = 9};
	struct scripted_image image;

	scripted_add_image(reloaded->upstream, "large/app", "1", &options, &image);
	return mem_printf("/v2/large/app/blobs/%s", image.layer[0]);
}

WIRE_TEST(client_that_takes_nothing_is_cut_by_the_rate_that_holds_now)
{
	struct reloaded reloaded = reloaded_new(wire, "", "clients: {min_rate: 0}");
	_cleanup_free_ char *layer = large_layer(&reloaded);
	struct client *client = hold_answer(&reloaded, NULL, layer);

	reconfigure(&reloaded, "clients: {min_rate: 64KiB, patience: 1s}");
	assert_true(larder_wait_output(reloaded.larder, "too slowly", WIRE_WAIT_MS));
	client_close(client);
}

WIRE_TEST(how_many_requests_one_user_may_have_changes)
{
	_cleanup_free_ char *users = wire_write_file(wire, "users", ALICE BOB);
	_cleanup_free_ char *rest = mem_printf("access: {htpasswd: %s}\nclients: {max_requests_each: 1}", users);
	_cleanup_free_ char *wider = mem_printf("access: {htpasswd: %s}\nclients: {max_requests_each: 2}", users);
	struct reloaded reloaded = reloaded_new(wire, "", rest);
	_cleanup_free_ char *layer = large_layer(&reloaded);
	struct client *client = hold_answer(&reloaded, AS_BOB, layer);

	expect_status(&reloaded, AS_BOB, "/v2/", 429);
	expect_status(&reloaded, AS_ALICE, "/v2/", 200);
	reconfigure(&reloaded, wider);
	expect_status(&reloaded, AS_BOB, "/v2/", 200);
	reconfigure(&reloaded, rest);
	expect_status(&reloaded, AS_BOB, "/v2/", 429);
	client_close(client);
}

static size_t count_descriptors(const struct larder *larder)
{
	_cleanup_free_ char *path = mem_printf("/proc/%d/fd", (int)larder_pid(larder));
	DIR *folder = opendir(path);
	size_t count = 0;

	assert_non_null(folder);
	while (readdir(folder))
		count++;
	closedir(folder);
	return count;
}

/* Passwords that are renewed twice a day for years. */
WIRE_TEST(upstreams_that_were_replaced_keep_nothing_open)
{
	enum { TIMES = 12 };
	struct reloaded reloaded = reloaded_new(wire, "", "");
	uint64_t end_ms = clock_ms() + WIRE_WAIT_MS;
	_cleanup_(buf_dispose) struct buf others = {0};
	size_t before;

	expect_status(&reloaded, NULL, "/v2/team/app/manifests/missing", 404);
	before = count_descriptors(reloaded.larder);
	for (int i = 1; i <= TIMES; i++) {
		_cleanup_free_ char *changed = mem_printf(", connect_timeout: %ds", i);
		_cleanup_free_ char *says = mem_printf("2 of %d upstreams are new or changed", 8 + i);
		_cleanup_free_ char *target = mem_printf("/v2/team/app/manifests/missing-%d", i);

		buf_printf(&others, "  other-%d.test: {url: \"http://127.0.0.1:1\"}\n", i);
		configure(&reloaded, changed, others.data);
		hang_up(&reloaded, says);
		expect_status(&reloaded, NULL, target, 404);
	}
	while (count_descriptors(reloaded.larder) > before + TIMES / 2 && clock_ms() < end_ms)
		usleep(20000);
	assert_in_range(count_descriptors(reloaded.larder), 1, before + TIMES / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(an_upstream_and_an_alias_that_are_added_serve_at_once),
		WIRE_CASE(what_is_denied_now_is_not_served_even_where_it_was_ready),
		WIRE_CASE(an_upstream_that_did_not_change_is_not_asked_anew),
		WIRE_CASE(a_wrong_configuration_changes_nothing),
		WIRE_CASE(users_change_and_a_wrong_file_of_them_changes_nothing),
		WIRE_CASE(a_right_certificate_beside_wrong_users_is_not_taken),
		WIRE_CASE(whatever_is_wrong_in_a_configuration_leaves_all_as_it_was),
		WIRE_CASE(what_needs_a_restart_is_named),
		WIRE_CASE(upstream_that_was_replaced_while_it_did_not_answer_is_not_probed_any_more),
		WIRE_CASE(how_many_connections_there_may_be_changes_and_none_ends_by_it),
		WIRE_CASE(connection_that_idles_is_cut_by_the_time_that_holds_now),
		WIRE_CASE(client_that_takes_nothing_is_cut_by_the_rate_that_holds_now),
		WIRE_CASE(how_many_requests_one_user_may_have_changes),
		WIRE_CASE(upstreams_that_were_replaced_keep_nothing_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
