/* SPDX-License-Identifier: Apache-2.0 */
/* Upstreams where each client's own credentials decide (`auth: client`): with Basic, and with tokens. */
#include "tests/wire/jobs.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define AS_ALICE   "Authorization: Basic YWxpY2U6b3BlbnNlc2FtZQ==\r\n" /* alice:opensesame */
#define AS_BOB     "Authorization: Basic Ym9iOmJ1aWxkZXI=\r\n"         /* bob:builder */
#define MISTAKEN   "Authorization: Basic YWxpY2U6d3Jvbmc=\r\n"         /* alice:wrong */
#define AS_NOBODY  "Authorization: Basic Og==\r\n"                     /* as podman says it */
#define GRANTS     "alice:opensesame team/*\nbob:builder bob/*\nalice:opensesame both/*\nbob:builder both/*\n* public/*"
#define NO_ALICE   "bob:builder bob/*\nbob:builder both/*\n* public/*"
#define CONFIG     "default_upstream: up.test\nupstreams:\n  up.test: {url: %s, retries: 0, auth: client"
#define PLAIN      CONFIG "}\n"
#define SHORT      CONFIG ", auth_ttl: 100ms, auth_grace: 1h}\n"
#define NO_GRACE   CONFIG ", auth_ttl: 100ms, auth_grace: 0s}\n"
#define LAYER      (64 << 10)
#define REPOSITORY "up.test/team/app"

struct shared {
	struct scripted *upstream;
	struct larder *larder;
	struct scripted_image team, bobs, both, open;
};

static void grant(struct shared *shared, enum scripted_auth_kind kind, const char *grants)
{
	const struct scripted_auth auth = {.kind = kind, .grants = grants, .expires_in = 300};

	scripted_set_auth(shared->upstream, &auth);
	scripted_revoke_tokens(shared->upstream);
}

static struct shared shared_new(struct wire *wire, enum scripted_auth_kind kind, const char *config)
{
	struct shared shared = {.upstream = wire_upstream(wire, NULL)};
	struct scripted_image_options options = {.layer_size = LAYER, .layers = 1};

	grant(&shared, kind, GRANTS);
	scripted_add_image(shared.upstream, "team/app", "1", &options, &shared.team);
	options.seed = 1;
	scripted_add_image(shared.upstream, "bob/app", "1", &options, &shared.bobs);
	options.seed = 2;
	scripted_add_image(shared.upstream, "both/app", "1", &options, &shared.both);
	options.seed = 3;
	scripted_add_image(shared.upstream, "public/app", "1", &options, &shared.open);
	shared.larder = larder_configured(wire, shared.upstream, config);
	return shared;
}

/* Each of these tests runs against a registry that takes Basic, and one that wants tokens. */
#define AUTH_TEST(name)                                                                                                \
	static void name##_either(struct wire *wire, enum scripted_auth_kind kind);                                    \
	WIRE_TEST(name##_with_basic)                                                                                   \
	{                                                                                                              \
		name##_either(wire, SCRIPTED_AUTH_BASIC);                                                              \
	}                                                                                                              \
	WIRE_TEST(name##_with_tokens)                                                                                  \
	{                                                                                                              \
		name##_either(wire, SCRIPTED_AUTH_BEARER);                                                             \
	}                                                                                                              \
	static void name##_either(struct wire *wire, enum scripted_auth_kind kind)
#define AUTH_CASES(name) WIRE_CASE(name##_with_basic), WIRE_CASE(name##_with_tokens)

static void expect_status(const struct shared *shared, const char *headers, const char *target, int status)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	ask(shared->larder, NULL, headers, &reply, "%s", target);
	if (reply.status != status)
		fail_msg("%s: HTTP %d, not %d: %s", target, reply.status, status, reply.body);
}

static void pull(const struct shared *shared, const char *headers, const char *repository,
		 const struct scripted_image *image)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	ask(shared->larder, NULL, headers, &reply, "/v2/%s/manifests/1", repository);
	expect_content(&reply, image->manifest);
	ask(shared->larder, NULL, headers, &reply, "/v2/%s/blobs/%s", repository, image->layer[0]);
	expect_content(&reply, image->layer[0]);
}

/* Every way there is to what is held of team/app. */
static void expect_closed(const struct shared *shared, const char *headers, int status)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *ranged = mem_printf("%sRange: bytes=10-19\r\n", headers ? headers : "");
	_cleanup_free_ char *blob = mem_printf("/v2/team/app/blobs/%s", shared->team.layer[0]);
	_cleanup_free_ char *manifest = mem_printf("/v2/team/app/manifests/%s", shared->team.manifest);
	_cleanup_free_ char *referrers = mem_printf("/v2/team/app/referrers/%s", shared->team.manifest);

	expect_status(shared, headers, "/v2/team/app/manifests/1", status);
	expect_status(shared, headers, manifest, status);
	expect_status(shared, headers, blob, status);
	expect_status(shared, ranged, blob, status);
	expect_status(shared, headers, "/v2/team/app/tags/list", status);
	expect_status(shared, headers, "/v2/team/app/tags/list?n=5", status);
	expect_status(shared, headers, referrers, status);
	ask(shared->larder, "HEAD", headers, &reply, "%s", blob);
	assert_int_equal(reply.status, status);
	ask(shared->larder, "HEAD", headers, &reply, "%s", manifest);
	assert_int_equal(reply.status, status);
	/* By a repository of its own either. */
	ask(shared->larder, NULL, headers, &reply, "/v2/bob/app/blobs/%s", shared->team.layer[0]);
	assert_true(reply.status >= 400);
	ask(shared->larder, NULL, headers, &reply, "/v2/_catalog");
	assert_int_equal(reply.status, 200);
	assert_null(strstr(reply.body, REPOSITORY));
}

/* The catalog tells of what was fetched a moment behind the answer. */
static void expect_listed(const struct shared *shared, const char *headers, const char *name)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	uint64_t end_ms = clock_ms() + WIRE_WAIT_MS;

	do
		ask(shared->larder, NULL, headers, &reply, "/v2/_catalog");
	while (!strstr(reply.body, name) && clock_ms() < end_ms);
	assert_non_null(strstr(reply.body, name));
}

AUTH_TEST(what_one_user_brought_in_is_not_served_to_another)
{
	struct shared shared = shared_new(wire, kind, PLAIN);

	pull(&shared, AS_ALICE, "team/app", &shared.team);
	expect_listed(&shared, AS_ALICE, REPOSITORY);
	pull(&shared, AS_BOB, "bob/app", &shared.bobs);
	expect_closed(&shared, AS_BOB, 403);
	expect_closed(&shared, NULL, 401);
	expect_closed(&shared, AS_NOBODY, 401);
	expect_closed(&shared, MISTAKEN, 403);
	pull(&shared, AS_ALICE, "team/app", &shared.team);
	expect_status(&shared, AS_ALICE, "/v2/team/app/tags/list", 200);
}

AUTH_TEST(a_cold_pull_is_refused_and_brings_nothing_in)
{
	struct shared shared = shared_new(wire, kind, PLAIN);

	expect_closed(&shared, AS_BOB, 403);
	expect_count(shared.upstream, "GET", "/v2/team/app/manifests/*", 0);
	/* A blob's head that is refused is asked for as its first byte, and gives none. */
	assert_true(scripted_body_sent(shared.upstream, "GET", "/v2/team/app/blobs/*") < LAYER);
}

AUTH_TEST(who_is_nobody_is_told_to_log_in_where_that_is_needed)
{
	struct shared shared = shared_new(wire, kind, PLAIN);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	ask(shared.larder, NULL, NULL, &reply, "/v2/");
	expect_error(&reply, 401, "UNAUTHORIZED");
	expect_header(&reply, "WWW-Authenticate", "Basic realm=\"up.test by larder\", charset=\"UTF-8\"");
	ask(shared.larder, NULL, NULL, &reply, "/v2/team/app/manifests/1");
	expect_error(&reply, 401, "UNAUTHORIZED");
	expect_header_with(&reply, "WWW-Authenticate", "Basic realm=\"up.test");
	pull(&shared, NULL, "public/app", &shared.open);
	pull(&shared, AS_NOBODY, "public/app", &shared.open);
	expect_status(&shared, "Authorization: Bearer nonsense\r\n", "/v2/public/app/manifests/1", 401);
	expect_status(&shared, "Authorization: Basic bm9jb2xvbg==\r\n", "/v2/public/app/manifests/1", 401);
}

AUTH_TEST(a_login_is_right_when_the_registry_says_so)
{
	struct shared shared = shared_new(wire, kind, PLAIN);

	expect_status(&shared, AS_ALICE, "/v2/", 200);
	expect_status(&shared, MISTAKEN, "/v2/", 401);
	expect_status(&shared, AS_BOB, "/v2/", 200);
}

AUTH_TEST(what_the_registry_said_is_remembered_for_a_while)
{
	struct shared shared = shared_new(wire, kind, PLAIN);
	struct scripted_stats before, after;

	pull(&shared, AS_ALICE, "team/app", &shared.team);
	expect_status(&shared, AS_BOB, "/v2/team/app/manifests/1", 403);
	scripted_get_stats(shared.upstream, 0, &before);
	for (int i = 0; i < 5; i++) {
		pull(&shared, AS_ALICE, "team/app", &shared.team);
		expect_status(&shared, AS_BOB, "/v2/team/app/manifests/1", 403);
	}
	scripted_get_stats(shared.upstream, 0, &after);
	assert_int_equal(after.requests, before.requests);
}

static void pass_ms(unsigned ms)
{
	nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000}, NULL);
}

AUTH_TEST(who_loses_the_right_loses_what_is_held_after_the_ttl)
{
	struct shared shared = shared_new(wire, kind, SHORT);

	pull(&shared, AS_ALICE, "team/app", &shared.team);
	grant(&shared, kind, NO_ALICE);
	pass_ms(150);
	expect_closed(&shared, AS_ALICE, 403);
	/* A no is final: being unreachable then does not bring the yes back. */
	scripted_set_state(shared.upstream, 0, SCRIPTED_DOWN, true);
	pass_ms(150);
	expect_status(&shared, AS_ALICE, "/v2/team/app/manifests/1", 502);
}

AUTH_TEST(a_yes_holds_for_the_grace_while_the_registry_cannot_be_asked)
{
	struct shared shared = shared_new(wire, kind, SHORT);

	pull(&shared, AS_ALICE, "team/app", &shared.team);
	scripted_set_state(shared.upstream, 0, SCRIPTED_DOWN, true);
	pass_ms(150);
	pull(&shared, AS_ALICE, "team/app", &shared.team);
	expect_status(&shared, AS_BOB, "/v2/team/app/manifests/1", 502);
	expect_status(&shared, NULL, "/v2/team/app/manifests/1", 502);
	/* It answers again, and says no. */
	grant(&shared, kind, NO_ALICE);
	scripted_set_state(shared.upstream, 0, SCRIPTED_UP, false);
	expect_status(&shared, AS_BOB, "/v2/bob/app/manifests/1", 200);
}

AUTH_TEST(a_yes_does_not_outlive_the_grace)
{
	struct shared shared = shared_new(wire, kind, NO_GRACE);

	pull(&shared, AS_ALICE, "team/app", &shared.team);
	scripted_set_state(shared.upstream, 0, SCRIPTED_DOWN, true);
	pass_ms(150);
	expect_status(&shared, AS_ALICE, "/v2/team/app/manifests/1", 502);
}

AUTH_TEST(one_flight_serves_those_who_were_let_in_each)
{
	struct shared shared = shared_new(wire, kind, PLAIN);
	_cleanup_free_ char *blob = mem_printf("/v2/both/app/blobs/%s", shared.both.layer[0]);
	static const char *const shown[] = {AS_ALICE, AS_BOB, MISTAKEN, NULL};
	struct client_request requests[8] = {0};
	struct client_reply replies[8] = {0};
	for (size_t i = 0; i < 8; i++)
		requests[i] = (struct client_request){
			.port = larder_port(shared.larder), .target = blob, .headers = shown[i % 4]};
	scripted_set_shape(shared.upstream, &(struct scripted_shape){.latency_ms = 50});
	client_fetch_many(requests, replies, 8);
	for (size_t i = 0; i < 8; i++)
		if (i % 4 < 2)
			expect_content(&replies[i], shared.both.layer[0]);
		else
			assert_int_equal(replies[i].status, i % 4 == 2 ? 403 : 401);
	client_replies_dispose(replies, 8);
	assert_int_equal(scripted_body_sent(shared.upstream, "GET", blob) / LAYER, 1);
}

AUTH_TEST(credentials_stand_in_no_log_and_go_nowhere_else)
{
	struct scripted *mirror = wire_upstream(wire, NULL);
	struct scripted_image_options options = {.layer_size = LAYER, .layers = 1};
	_cleanup_free_ char *config = mem_printf(CONFIG ", mirrors: [\"%s\"], auth_ttl: 100ms, auth_grace: 0s}\n", "%s",
						 scripted_url(mirror, 0));
	struct shared shared = shared_new(wire, kind, config);
	_cleanup_free_ char *out = NULL, *err = NULL;
	struct scripted_record *records;
	struct scripted_image copy;
	size_t count;

	/* A mirror that serves anyone decides nothing, and sees nothing. */
	scripted_add_image(mirror, "team/app", "1", &options, &copy);
	pull(&shared, AS_ALICE, "team/app", &shared.team);
	expect_status(&shared, AS_BOB, "/v2/team/app/manifests/1", 403);
	scripted_set_state(shared.upstream, 0, SCRIPTED_DOWN, true);
	pass_ms(150);
	expect_status(&shared, AS_BOB, "/v2/team/app/manifests/1", 502);
	expect_status(&shared, AS_ALICE, "/v2/team/app/manifests/1", 502);
	records = scripted_records(mirror, NULL, NULL, &count);
	for (size_t i = 0; i < count; i++)
		assert_null(scripted_record_header(&records[i], "Authorization"));
	scripted_records_free(records, count);
	larder_stop(shared.larder);
	out = larder_output(shared.larder, 1);
	err = larder_output(shared.larder, 2);
	assert_null(strstr(out, "opensesame"));
	assert_null(strstr(err, "opensesame"));
	assert_null(strstr(out, "YWxp"));
	assert_null(strstr(err, "YWxp"));
}

#define GUESSER "127.0.0.2"

static void expect_from(const struct shared *shared, const char *from, const char *headers, const char *target,
			int status)
{
	struct client_request request = {
		.port = larder_port(shared->larder), .from = from, .headers = headers, .target = target};
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	client_fetch(&request, &reply);
	if (reply.status != status)
		fail_msg("%s from %s: HTTP %d, not %d: %s", target, from, reply.status, status, reply.body);
	if (status == 429)
		expect_error(&reply, 429, "TOOMANYREQUESTS");
}

AUTH_TEST(who_guesses_is_slowed_down_and_not_told_who_is_right)
{
	static const char *const guesses[] = {"YTox", "YToy", "YToz", "YTo0", "YTo1"}; /* a:1 to a:5 */
	struct shared shared = shared_new(wire, kind, PLAIN);
	struct scripted_stats before, after;
	char header[64];

	pull(&shared, AS_ALICE, "team/app", &shared.team);
	for (size_t i = 0; i < sizeof(guesses) / sizeof(guesses[0]); i++) {
		snprintf(header, sizeof(header), "Authorization: Basic %s\r\n", guesses[i]);
		expect_from(&shared, GUESSER, header, "/v2/team/app/manifests/1", 403);
	}
	scripted_get_stats(shared.upstream, 0, &before);
	expect_from(&shared, GUESSER, MISTAKEN, "/v2/team/app/manifests/1", 429);
	expect_from(&shared, GUESSER, MISTAKEN, "/v2/", 429);
	/* Right, and remembered from another address. */
	expect_from(&shared, GUESSER, AS_ALICE, "/v2/team/app/manifests/1", 429);
	scripted_get_stats(shared.upstream, 0, &after);
	assert_int_equal(after.requests, before.requests);
	/* Nobody guesses as nobody, and elsewhere all is as it was. */
	expect_from(&shared, GUESSER, NULL, "/v2/public/app/manifests/1", 200);
	expect_from(&shared, NULL, AS_ALICE, "/v2/team/app/manifests/1", 200);
	expect_from(&shared, NULL, AS_BOB, "/v2/bob/app/manifests/1", 200);
}

AUTH_TEST(who_was_right_before_is_not_slowed_down_by_a_neighbour)
{
	static const char *const guesses[] = {"YTox", "YToy", "YToz", "YTo0", "YTo1"};
	struct shared shared = shared_new(wire, kind, PLAIN);
	char header[64];

	expect_status(&shared, AS_ALICE, "/v2/", 200);
	for (size_t i = 0; i < sizeof(guesses) / sizeof(guesses[0]); i++) {
		snprintf(header, sizeof(header), "Authorization: Basic %s\r\n", guesses[i]);
		expect_status(&shared, header, "/v2/", 401);
	}
	expect_status(&shared, AS_BOB, "/v2/", 429);
	pull(&shared, AS_ALICE, "team/app", &shared.team);
}

WIRE_TEST(one_logins_requests_are_bounded_wherever_they_come_from)
{
	struct shared shared = shared_new(wire, SCRIPTED_AUTH_BASIC, "clients: {max_requests_each: 1}\n" CONFIG "}\n");
	const struct scripted_image_options options = {.layer_size = 64 << 20, .layers = 1, .seed = 9};
	struct client *held = client_connect(NULL, larder_port(shared.larder), 0);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct client_request request = {.headers = AS_ALICE};
	_cleanup_free_ char *layer = NULL;
	struct scripted_image large;

	scripted_add_image(shared.upstream, "team/large", "1", &options, &large);
	layer = mem_printf("/v2/team/large/blobs/%s", large.layer[0]);
	request.target = layer;
	assert_true(client_send(held, &request) && client_read_head(held, &reply));
	assert_int_equal(reply.status, 200);
	expect_from(&shared, GUESSER, AS_ALICE, "/v2/team/app/manifests/1", 429);
	expect_from(&shared, NULL, AS_BOB, "/v2/bob/app/manifests/1", 200);
	expect_from(&shared, NULL, NULL, "/v2/public/app/manifests/1", 200);
	client_close(held);
}

/* The catalog asks no registry: it would be a place to guess at what others logged in with, as fast as one likes. */
AUTH_TEST(the_catalog_does_not_tell_who_is_right)
{
	struct shared shared = shared_new(wire, kind, PLAIN);
	struct client_request request = {
		.port = larder_port(shared.larder), .headers = AS_ALICE, .target = "/v2/_catalog", .from = GUESSER};
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	pull(&shared, AS_ALICE, "team/app", &shared.team);
	expect_listed(&shared, AS_ALICE, REPOSITORY);
	client_fetch(&request, &reply);
	assert_int_equal(reply.status, 200);
	assert_null(strstr(reply.body, REPOSITORY));
}

WIRE_TEST(a_strange_token_service_sees_nobodys_credentials)
{
	struct scripted *stranger =
		wire_upstream(wire, &(struct scripted_options){.auth = {.kind = SCRIPTED_AUTH_BEARER}});
	_cleanup_free_ char *realm = mem_printf("http://localhost:%u/token", scripted_port(stranger, 0));
	struct shared shared = shared_new(wire, SCRIPTED_AUTH_NONE, PLAIN);
	const struct scripted_auth auth = {.kind = SCRIPTED_AUTH_BEARER, .grants = GRANTS, .realm = realm};
	struct scripted_record *records;
	size_t count;

	scripted_set_auth(shared.upstream, &auth);
	expect_status(&shared, AS_ALICE, "/v2/team/app/manifests/1", 403);
	records = scripted_records(stranger, NULL, NULL, &count);
	assert_true(count > 0);
	for (size_t i = 0; i < count; i++)
		assert_null(scripted_record_header(&records[i], "Authorization"));
	scripted_records_free(records, count);
	assert_true(larder_wait_output(shared.larder, "does not get the credentials", WIRE_WAIT_MS));
}

#define PREFETCH_TEAM "{\"images\": [\"up.test/team/app:1\"], \"referrers\": false}"

WIRE_TEST(what_no_client_waits_for_needs_credentials_of_larders_own)
{
	struct shared shared = shared_new(wire, SCRIPTED_AUTH_BASIC, PLAIN);
	_cleanup_free_ char *password = wire_write_file(wire, "password", "opensesame\n");
	_cleanup_free_ char *without = mem_printf(PLAIN, scripted_url(shared.upstream, 0));
	_cleanup_free_ char *with = mem_printf(CONFIG ", username: alice, password_file: \"%s\"}\n",
					       scripted_url(shared.upstream, 0), password);
	struct larder *larder;
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *text = NULL;
	json_t *refusal;

	larder_stop(shared.larder);
	larder = larder_with_admin(wire, "127.0.0.1:0", NULL, without);
	refusal = admin_json(larder, "POST", "/api/v1/prefetch", PREFETCH_TEAM, 400);
	text = json_dumps(refusal, 0);
	assert_non_null(strstr(text, "auth: client"));
	json_decref(refusal);
	larder_stop(larder);

	/* What it fetches by its own is still each client's to ask for. */
	larder = larder_with_admin(wire, "127.0.0.1:0", NULL, with);
	json_decref(job_run(larder, "/api/v1/prefetch", PREFETCH_TEAM, "done"));
	ask(larder, NULL, NULL, &reply, "/v2/up.test/team/app/manifests/1");
	assert_int_equal(reply.status, 401);
	ask(larder, NULL, AS_BOB, &reply, "/v2/up.test/team/app/manifests/1");
	assert_int_equal(reply.status, 403);
	ask(larder, NULL, AS_ALICE, &reply, "/v2/up.test/team/app/manifests/1");
	expect_content(&reply, shared.team.manifest);
	expect_header(&reply, "Cache-Status", "larder; hit");
}

WIRE_TEST(offline_nobody_can_be_let_in)
{
	struct shared shared = shared_new(wire, SCRIPTED_AUTH_BASIC, PLAIN "offline: true\n");

	expect_status(&shared, AS_ALICE, "/v2/team/app/manifests/1", 403);
	expect_status(&shared, NULL, "/v2/team/app/manifests/1", 401);
	expect_count(shared.upstream, NULL, NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		AUTH_CASES(what_one_user_brought_in_is_not_served_to_another),
		AUTH_CASES(a_cold_pull_is_refused_and_brings_nothing_in),
		AUTH_CASES(who_is_nobody_is_told_to_log_in_where_that_is_needed),
		AUTH_CASES(a_login_is_right_when_the_registry_says_so),
		AUTH_CASES(what_the_registry_said_is_remembered_for_a_while),
		AUTH_CASES(who_loses_the_right_loses_what_is_held_after_the_ttl),
		AUTH_CASES(a_yes_holds_for_the_grace_while_the_registry_cannot_be_asked),
		AUTH_CASES(a_yes_does_not_outlive_the_grace),
		AUTH_CASES(one_flight_serves_those_who_were_let_in_each),
		AUTH_CASES(credentials_stand_in_no_log_and_go_nowhere_else),
		AUTH_CASES(who_guesses_is_slowed_down_and_not_told_who_is_right),
		AUTH_CASES(who_was_right_before_is_not_slowed_down_by_a_neighbour),
		AUTH_CASES(the_catalog_does_not_tell_who_is_right),
		WIRE_CASE(one_logins_requests_are_bounded_wherever_they_come_from),
		WIRE_CASE(a_strange_token_service_sees_nobodys_credentials),
		WIRE_CASE(what_no_client_waits_for_needs_credentials_of_larders_own),
		WIRE_CASE(offline_nobody_can_be_let_in),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
