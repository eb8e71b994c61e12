/* SPDX-License-Identifier: Apache-2.0 */
/* Who may pull what from larder itself: users, rules, tokens, and guessers. */
#include "tests/wire/expect.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "wonder land:1" and "b", at the least cost. */
#define USERS                                                                                                          \
	"alice:$2y$04$abcdefghijklmnopqrstuuNlZAR7NEExaJuD6ixqkqXpRrQa5lFvC\n"                                         \
	"bob:$2b$04$ABCDEFGHIJKLMNOPQRSTUues6SAkqShBCRSCknWvLdAk8d/uDATN2\n"
#define AS_ALICE  "Authorization: Basic YWxpY2U6d29uZGVyIGxhbmQ6MQ==\r\n"
#define AS_BOB    "Authorization: Basic Ym9iOmI=\r\n"
#define MISTAKEN  "Authorization: Basic YWxpY2U6d3Jvbmc=\r\n" /* alice:wrong */
#define UPSTREAM  "default_upstream: up.test\nupstreams: {up.test: {url: %s, retries: 0}}\n"
#define EVERYBODY UPSTREAM "access: {htpasswd: %d/users}\n"
#define RULES                                                                                                          \
	UPSTREAM "access:\n  htpasswd: %d/users\n  anonymous: [\"up.test/public/*\"]\n"                                \
		 "  rules: {\"@ops\": [\"*\"], bob: [\"up.test/team/*\"]}\n  groups: {ops: [alice]}\n"

struct guarded {
	struct scripted *upstream;
	struct larder *larder;
	struct scripted_image team, other, open;
};

static struct guarded guarded_new(struct wire *wire, const char *config)
{
	struct guarded guarded = {.upstream = wire_upstream(wire, NULL)};
	const struct scripted_image_options options = {.layer_size = 1000, .layers = 1};

	free(wire_write_file(wire, "users", USERS));
	scripted_add_image(guarded.upstream, "team/app", "1", &options, &guarded.team);
	scripted_add_image(guarded.upstream, "other/app", "1", &options, &guarded.other);
	scripted_add_image(guarded.upstream, "public/app", "1", &options, &guarded.open);
	guarded.larder = larder_configured(wire, guarded.upstream, config);
	return guarded;
}

static void expect_status(const struct guarded *guarded, const char *headers, const char *target, int status)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	ask(guarded->larder, NULL, headers, &reply, "%s", target);
	assert_int_equal(reply.status, status);
}

/* Asks again until the answer holds this. */
static void ask_until(const struct guarded *guarded, const char *headers, const char *target, const char *part,
		      struct client_reply *reply)
{
	uint64_t end_ms = clock_ms() + WIRE_WAIT_MS;

	do {
		ask(guarded->larder, NULL, headers, reply, "%s", target);
		assert_int_equal(reply->status, 200);
	} while (!strstr(reply->body, part) && clock_ms() < end_ms);
	assert_non_null(strstr(reply->body, part));
}

WIRE_TEST(nobody_pulls_without_a_login_and_nothing_is_asked_upstream)
{
	struct guarded guarded = guarded_new(wire, EVERYBODY);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	ask(guarded.larder, NULL, NULL, &reply, "/v2/");
	assert_int_equal(reply.status, 401);
	expect_header_with(&reply, "WWW-Authenticate", "Basic realm=\"larder\"");
	expect_header(&reply, "Docker-Distribution-API-Version", "registry/2.0");
	assert_non_null(strstr(reply.body, "UNAUTHORIZED"));
	expect_status(&guarded, NULL, "/v2/team/app/manifests/1", 401);
	expect_status(&guarded, MISTAKEN, "/v2/team/app/manifests/1", 401);
	expect_status(&guarded, NULL, "/v2/_catalog", 401);
	expect_status(&guarded, NULL, "/v2/no.such.upstream/x/manifests/%%", 401);
	expect_count(guarded.upstream, NULL, NULL, 0);
}

WIRE_TEST(who_logs_in_pulls)
{
	struct guarded guarded = guarded_new(wire, EVERYBODY);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	expect_status(&guarded, AS_ALICE, "/v2/", 200);
	ask(guarded.larder, NULL, AS_ALICE, &reply, "/v2/team/app/manifests/1");
	expect_content(&reply, guarded.team.manifest);
	ask(guarded.larder, NULL, AS_BOB, &reply, "/v2/team/app/blobs/%s", guarded.team.layer[0]);
	expect_content(&reply, guarded.team.layer[0]);
	assert_true(larder_wait_output(guarded.larder, "user=bob", WIRE_WAIT_MS));
}

WIRE_TEST(what_a_client_shows_larder_goes_to_no_upstream_and_into_no_log)
{
	struct guarded guarded = guarded_new(wire, EVERYBODY);
	struct scripted_record *records;
	_cleanup_free_ char *out = NULL, *err = NULL;
	size_t count;

	expect_status(&guarded, AS_ALICE, "/v2/team/app/manifests/1", 200);
	expect_status(&guarded, MISTAKEN, "/v2/team/app/manifests/1", 401);
	records = scripted_records(guarded.upstream, NULL, NULL, &count);
	assert_true(count > 0);
	for (size_t i = 0; i < count; i++)
		assert_null(scripted_record_header(&records[i], "Authorization"));
	scripted_records_free(records, count);
	larder_stop(guarded.larder);
	out = larder_output(guarded.larder, 1);
	err = larder_output(guarded.larder, 2);
	assert_null(strstr(out, "wonder"));
	assert_null(strstr(err, "wonder"));
	assert_null(strstr(out, "YWxp"));
	assert_null(strstr(err, "YWxp"));
}

WIRE_TEST(rules_say_who_pulls_what_and_the_catalog_shows_no_more)
{
	struct guarded guarded = guarded_new(wire, RULES);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	expect_status(&guarded, AS_ALICE, "/v2/team/app/manifests/1", 200);
	expect_status(&guarded, AS_ALICE, "/v2/other/app/manifests/1", 200);
	expect_status(&guarded, AS_BOB, "/v2/team/app/manifests/1", 200);
	ask(guarded.larder, NULL, AS_BOB, &reply, "/v2/other/app/manifests/1");
	assert_int_equal(reply.status, 403);
	assert_non_null(strstr(reply.body, "DENIED"));
	expect_status(&guarded, NULL, "/v2/public/app/manifests/1", 200);
	/* What was fetched is written behind the answer. */
	ask_until(&guarded, AS_BOB, "/v2/_catalog", "up.test/team/app", &reply);
	ask_until(&guarded, AS_BOB, "/v2/_catalog", "up.test/public/app", &reply);
	assert_null(strstr(reply.body, "up.test/other/app"));
}

/* The value of a member of a small JSON document, into `value`. */
static void member(const char *json, const char *name, char *value, size_t size)
{
	const char *at = strstr(json, name);

	assert_non_null(at);
	at += strlen(name) + 2; /* :" */
	snprintf(value, size, "%.*s", (int)strcspn(at, "\""), at);
}

WIRE_TEST(where_some_stay_anonymous_clients_get_tokens)
{
	struct guarded guarded = guarded_new(wire, RULES);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	char token[256], header[320];

	ask(guarded.larder, NULL, NULL, &reply, "/v2/");
	assert_int_equal(reply.status, 401);
	expect_header_with(&reply, "WWW-Authenticate", "Bearer realm=\"http://127.0.0.1:");
	expect_header_with(&reply, "WWW-Authenticate", "/token\",service=\"larder\"");
	ask(guarded.larder, NULL, NULL, &reply, "/v2/team/app/manifests/1");
	expect_header_with(&reply, "WWW-Authenticate", "scope=\"repository:team/app:pull\"");

	ask(guarded.larder, NULL, NULL, &reply, "/token?service=larder");
	assert_int_equal(reply.status, 200);
	member(reply.body, "\"token\"", token, sizeof(token));
	snprintf(header, sizeof(header), "Authorization: Bearer %s\r\n", token);
	expect_status(&guarded, header, "/v2/", 200);
	expect_status(&guarded, header, "/v2/public/app/manifests/1", 200);
	expect_status(&guarded, header, "/v2/team/app/manifests/1", 401);

	ask(guarded.larder, NULL, AS_BOB, &reply, "/token?service=larder");
	member(reply.body, "\"token\"", token, sizeof(token));
	snprintf(header, sizeof(header), "Authorization: Bearer %s\r\n", token);
	expect_status(&guarded, header, "/v2/team/app/manifests/1", 200);
	expect_status(&guarded, header, "/v2/other/app/manifests/1", 403);
	expect_status(&guarded, MISTAKEN, "/token", 401);
	expect_status(&guarded, "Authorization: Bearer nonsense\r\n", "/v2/public/app/manifests/1", 401);
}

WIRE_TEST(who_guesses_passwords_is_slowed_down_and_who_knows_one_is_not)
{
	struct guarded guarded = guarded_new(wire, EVERYBODY);
	static const char *const guesses[] = {"YTox", "YToy", "YToz", "YTo0", "YTo1"}; /* a:1 to a:5 */
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	char header[64];

	expect_status(&guarded, AS_ALICE, "/v2/", 200);
	for (size_t i = 0; i < sizeof(guesses) / sizeof(guesses[0]); i++) {
		snprintf(header, sizeof(header), "Authorization: Basic %s\r\n", guesses[i]);
		expect_status(&guarded, header, "/v2/", 401);
	}
	ask(guarded.larder, NULL, "Authorization: Basic YTo2\r\n", &reply, "/v2/");
	assert_int_equal(reply.status, 429);
	expect_header(&reply, "Retry-After", "1");
	expect_status(&guarded, AS_ALICE, "/v2/team/app/manifests/1", 200);
}

/* An answer that is not read to its end, as whoever shows this. */
static struct client *hold_answer(const struct larder *larder, const char *headers, const char *target)
{
	struct client_request request = {.port = larder_port(larder), .headers = headers, .target = target};
	struct client *client = client_connect(NULL, request.port, 0);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	assert_true(client_send(client, &request) && client_read_head(client, &reply));
	assert_int_equal(reply.status, 200);
	return client;
}

static int status_from(const struct larder *larder, const char *from, const char *headers, const char *target)
{
	struct client_request request = {
		.port = larder_port(larder), .from = from, .headers = headers, .target = target};
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	client_fetch(&request, &reply);
	if (reply.status == 429)
		expect_error(&reply, 429, "TOOMANYREQUESTS");
	return reply.status;
}

WIRE_TEST(one_users_requests_are_bounded_wherever_they_come_from)
{
	struct guarded guarded = guarded_new(wire, EVERYBODY "clients: {max_requests_each: 2}\n");
	const struct scripted_image_options options = {.layer_size = 64 << 20, .layers = 1, .seed = 9};
	uint64_t end_ms = clock_ms() + WIRE_WAIT_MS;
	struct scripted_image large;
	_cleanup_free_ char *layer = NULL;
	struct client *held[2];

	scripted_add_image(guarded.upstream, "large/app", "1", &options, &large);
	layer = mem_printf("/v2/large/app/blobs/%s", large.layer[0]);
	for (int i = 0; i < 2; i++)
		held[i] = hold_answer(guarded.larder, AS_BOB, layer);
	assert_int_equal(status_from(guarded.larder, NULL, AS_BOB, "/v2/"), 429);
	assert_int_equal(status_from(guarded.larder, "127.0.0.2", AS_BOB, "/v2/team/app/manifests/1"), 429);
	assert_int_equal(status_from(guarded.larder, NULL, AS_ALICE, "/v2/team/app/manifests/1"), 200);
	client_close(held[0]);
	while (status_from(guarded.larder, NULL, AS_BOB, "/v2/") != 200)
		assert_true(clock_ms() < end_ms);
	client_close(held[1]);
}

WIRE_TEST(a_file_that_is_no_user_file_is_refused_at_start)
{
	struct guarded guarded = guarded_new(wire, UPSTREAM);
	_cleanup_free_ char *path = wire_write_file(wire, "users", "bob:plain\n");
	_cleanup_free_ char *config = NULL, *output = NULL;
	char text[256];

	(void)guarded;
	snprintf(text, sizeof(text), "access: {htpasswd: %s}\nstore: {path: %s.store}\nlisten: 127.0.0.1:0\n", path,
		 path);
	config = wire_write_file(wire, "other.yaml", text);
	assert_int_equal(wire_run(wire, (const char *const[]){"serve", "-c", config, "--admin", "off", NULL}, &output),
			 3);
	assert_non_null(strstr(output, "users:1: the hash of 'bob' is not bcrypt"));
}

/* While it waits for bytes that the upstream has yet to send. */
WIRE_TEST(user_who_leaves_in_the_middle_of_a_layer_ends_no_more_than_that_answer)
{
	struct guarded guarded = guarded_new(wire, EVERYBODY);
	char digest[SCRIPTED_DIGEST_MAX];
	_cleanup_free_ char *target = NULL;
	struct client_request request = {.headers = AS_ALICE};
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct client *client = client_connect(NULL, larder_port(guarded.larder), 0);

	scripted_add_blob(guarded.upstream, "team/app", 7, 32 * MIB, digest);
	scripted_add_rule(guarded.upstream,
			  &(struct scripted_rule){.path = "*/blobs/*", .stall = true, .stall_at = MIB});
	target = mem_printf("/v2/team/app/blobs/%s", digest);
	request.target = target;
	assert_true(client_send(client, &request));
	assert_true(client_read_head(client, &reply));
	assert_int_equal(reply.status, 200);
	assert_true(scripted_wait_body(guarded.upstream, "GET", "*/blobs/*", MIB, WIRE_WAIT_MS));
	/* With bytes that were not read, which is how one leaves without a goodbye. */
	client_close(client);
	assert_true(larder_wait_output(guarded.larder, "outcome=aborted", WIRE_WAIT_MS));
	expect_status(&guarded, AS_BOB, "/v2/team/app/manifests/1", 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(nobody_pulls_without_a_login_and_nothing_is_asked_upstream),
		WIRE_CASE(who_logs_in_pulls),
		WIRE_CASE(what_a_client_shows_larder_goes_to_no_upstream_and_into_no_log),
		WIRE_CASE(rules_say_who_pulls_what_and_the_catalog_shows_no_more),
		WIRE_CASE(where_some_stay_anonymous_clients_get_tokens),
		WIRE_CASE(who_guesses_passwords_is_slowed_down_and_who_knows_one_is_not),
		WIRE_CASE(one_users_requests_are_bounded_wherever_they_come_from),
		WIRE_CASE(a_file_that_is_no_user_file_is_refused_at_start),
		WIRE_CASE(user_who_leaves_in_the_middle_of_a_layer_ends_no_more_than_that_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
