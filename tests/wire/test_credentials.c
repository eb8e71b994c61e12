/* SPDX-License-Identifier: Apache-2.0 */
/* Credentials: where they come from, when they are asked for again, and who never sees them. */
#include "tests/wire/expect.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define USER     "carol"
#define PASSWORD "open-sesame"
#define PAIR     "Y2Fyb2w6b3Blbi1zZXNhbWU=" /* of the two */
#define BLOBS    "*/blobs/*"
#define TOKENS   "/token*"

struct bed {
	struct scripted *upstream;
	struct larder *larder;
	struct client_reply reply;
};

static void bed_dispose(struct bed *bed)
{
	client_reply_dispose(&bed->reply);
}
#define _cleanup_bed_ _cleanup_(bed_dispose)

static struct scripted_options guarded(enum scripted_auth_kind kind)
{
	return (struct scripted_options){
		.auth = {.kind = kind, .username = USER, .password = PASSWORD, .expires_in = 300}};
}

/* A larder whose only upstream is guarded, with these keys besides its URL. */
static struct bed bed_new(struct wire *wire, const struct scripted_options *options, const char *keys)
{
	struct bed bed = {.upstream = wire_upstream(wire, options)};
	_cleanup_free_ char *config =
		mem_printf("admin: { listen: off }\ndefault_upstream: guarded.test\nupstreams:\n  guarded.test:\n"
			   "    url: %%s\n    retries: 0\n%s",
			   keys);
	bed.larder = larder_configured(wire, bed.upstream, config);
	return bed;
}

/* The same with a config.json, in which each @ is the upstream's "127.0.0.1:PORT". */
static struct bed bed_with_login(struct wire *wire, const struct scripted_options *options, const char *login)
{
	struct bed bed = {.upstream = wire_upstream(wire, options)};
	_cleanup_(buf_dispose) struct buf text = {0};
	for (const char *at = login; *at; at++) {
		if (*at == '@')
			buf_printf(&text, "127.0.0.1:%u", scripted_port(bed.upstream, 0));
		else
			buf_append(&text, at, 1);
	}
	_cleanup_free_ char *path = wire_write_file(wire, "config.json", text.data);
	_cleanup_free_ char *config =
		mem_printf("admin: { listen: off }\ndefault_upstream: guarded.test\nupstreams:\n  guarded.test:\n"
			   "    url: %%s\n    retries: 0\n    docker_config: %s\n",
			   path);
	bed.larder = larder_configured(wire, bed.upstream, config);
	return bed;
}

/* Pulls a blob that was never pulled before. */
static void pull(struct bed *bed, uint64_t seed)
{
	char digest[SCRIPTED_DIGEST_MAX];
	scripted_add_blob(bed->upstream, "team/app", seed, 1000, digest);
	assert_true(ask(bed->larder, NULL, NULL, &bed->reply, "/v2/team/app/blobs/%s", digest));
}

static void expect_pull(struct bed *bed, uint64_t seed)
{
	char digest[SCRIPTED_DIGEST_MAX];
	pull(bed, seed);
	scripted_blob_digest(seed, 1000, digest);
	expect_content(&bed->reply, digest);
}

static void expect_never_said(struct larder *larder, const char *secret)
{
	for (int stream = 1; stream <= 2; stream++) {
		_cleanup_free_ char *output = larder_output(larder, stream);
		assert_null(strstr(output, secret));
	}
}

/* A credential helper, put in front of PATH: it says what the file "answer" holds, and leaves a line in "asked". */
static void add_helper(struct wire *wire, const char *name, const char *script)
{
	_cleanup_free_ char *file = mem_printf("docker-credential-%s", name);
	_cleanup_free_ char *text =
		mem_printf("#!/bin/sh\nread server\necho \"$1 $server\" >> %s/asked\n%s\n", wire->directory, script);
	_cleanup_free_ char *path = wire_write_file(wire, file, text);
	_cleanup_free_ char *search = mem_printf("%s:/usr/bin:/bin", wire->directory);
	assert_int_equal(chmod(path, 0755), 0);
	assert_int_equal(setenv("PATH", search, 1), 0);
}

static void set_answer(struct wire *wire, const char *username, const char *secret)
{
	_cleanup_free_ char *json =
		mem_printf("{\"ServerURL\":\"x\",\"Username\":\"%s\",\"Secret\":\"%s\"}\n", username, secret);
	/* At once, for a helper that reads it meanwhile. */
	_cleanup_free_ char *from = wire_write_file(wire, "answer.new", json);
	_cleanup_free_ char *to = wire_path(wire, "answer");
	assert_int_equal(rename(from, to), 0);
}

/* How often the helper was run. */
static unsigned asked(struct wire *wire, const char *line)
{
	_cleanup_free_ char *path = wire_path(wire, "asked");
	char text[512];
	unsigned count = 0;
	FILE *file = fopen(path, "r");
	while (file && fgets(text, sizeof(text), file)) {
		text[strcspn(text, "\n")] = '\0';
		if (line)
			assert_string_equal(text, line);
		count++;
	}
	if (file)
		fclose(file);
	return count;
}

WIRE_TEST(docker_login_is_shown_to_the_token_service_alone)
{
	struct scripted_options options = guarded(SCRIPTED_AUTH_BEARER);
	_cleanup_bed_ struct bed bed = bed_with_login(wire, &options, "{\"auths\":{\"@\":{\"auth\":\"" PAIR "\"}}}");
	size_t count;
	expect_pull(&bed, 1);
	expect_pull(&bed, 2);
	expect_count(bed.upstream, "GET", TOKENS, 1);
	struct scripted_record *records = scripted_records(bed.upstream, NULL, NULL, &count);
	for (size_t i = 0; i < count; i++) {
		const char *shown = scripted_record_header(&records[i], "Authorization");
		bool service = strncmp(records[i].target, "/token", 6) == 0;
		assert_true(service == (shown && strcmp(shown, "Basic " PAIR) == 0));
	}
	scripted_records_free(records, count);
	expect_never_said(bed.larder, PAIR);
	expect_never_said(bed.larder, PASSWORD);
}

WIRE_TEST(docker_login_answers_a_basic_challenge)
{
	struct scripted_options options = guarded(SCRIPTED_AUTH_BASIC);
	_cleanup_bed_ struct bed bed = bed_with_login(wire, &options,
						      "{\"auths\":{\"http://@/v2/\":{\"username\":\"" USER
						      "\",\"password\":\"" PASSWORD "\"}}}");
	expect_pull(&bed, 1);
	expect_pull(&bed, 2);
	/* The challenge is remembered. */
	expect_count(bed.upstream, NULL, BLOBS, 3);
}

WIRE_TEST(identity_token_is_posted)
{
	struct scripted_options options = guarded(SCRIPTED_AUTH_BEARER);
	options.auth.access_token = true;
	_cleanup_bed_ struct bed bed =
		bed_with_login(wire, &options, "{\"auths\":{\"@\":{\"identitytoken\":\"" PASSWORD "\"}}}");
	size_t count;
	expect_pull(&bed, 1);
	expect_count(bed.upstream, "GET", TOKENS, 0);
	struct scripted_record *records = scripted_records(bed.upstream, "POST", TOKENS, &count);
	assert_int_equal(count, 1);
	assert_null(scripted_record_header(&records[0], "Authorization"));
	assert_string_equal(scripted_record_header(&records[0], "Content-Type"), "application/x-www-form-urlencoded");
	assert_non_null(strstr(records[0].body, "grant_type=refresh_token"));
	assert_non_null(strstr(records[0].body, "scope=repository%3Ateam%2Fapp%3Apull"));
	assert_non_null(strstr(records[0].body, "refresh_token=" PASSWORD));
	scripted_records_free(records, count);
}

WIRE_TEST(identity_token_does_not_answer_a_basic_challenge)
{
	struct scripted_options options = guarded(SCRIPTED_AUTH_BASIC);
	_cleanup_bed_ struct bed bed =
		bed_with_login(wire, &options, "{\"auths\":{\"@\":{\"identitytoken\":\"" PASSWORD "\"}}}");
	pull(&bed, 1);
	expect_error(&bed.reply, 403, "DENIED");
	assert_non_null(strstr(bed.reply.body, "identity token"));
}

WIRE_TEST(login_of_another_registry_is_not_used)
{
	struct scripted_options options = guarded(SCRIPTED_AUTH_BASIC);
	_cleanup_bed_ struct bed bed = bed_with_login(wire, &options,
						      "{\"auths\":{\"127.0.0.1\":{\"auth\":\"" PAIR
						      "\"},\"https://@\":{\"auth\":\"" PAIR "\"}}}");
	size_t count;
	pull(&bed, 1);
	expect_error(&bed.reply, 403, "DENIED");
	struct scripted_record *records = scripted_records(bed.upstream, NULL, NULL, &count);
	assert_true(count > 0);
	for (size_t i = 0; i < count; i++)
		assert_null(scripted_record_header(&records[i], "Authorization"));
	scripted_records_free(records, count);
}

WIRE_TEST(username_goes_before_docker_config)
{
	struct scripted_options options = guarded(SCRIPTED_AUTH_BASIC);
	_cleanup_free_ char *password = wire_write_file(wire, "password", PASSWORD "\n");
	_cleanup_free_ char *login = wire_write_file(wire, "config.json", "{\"credsStore\":\"none\"}");
	_cleanup_free_ char *keys =
		mem_printf("    username: " USER "\n    password_file: %s\n    docker_config: %s\n", password, login);
	_cleanup_bed_ struct bed bed = bed_new(wire, &options, keys);
	expect_pull(&bed, 1);
}

/* A wrong password costs one question, is not said, and is no reason to try again. */
WIRE_TEST(wrong_password_is_refused_once)
{
	struct scripted_options options = guarded(SCRIPTED_AUTH_BEARER);
	_cleanup_free_ char *password = wire_write_file(wire, "password", "mistaken-secret\n");
	_cleanup_free_ char *keys = mem_printf("    username: " USER "\n    password_file: %s\n", password);
	_cleanup_bed_ struct bed bed = bed_new(wire, &options, keys);
	pull(&bed, 1);
	expect_error(&bed.reply, 403, "DENIED");
	expect_count(bed.upstream, NULL, TOKENS, 1);
	expect_never_said(bed.larder, "mistaken-secret");
	scripted_set_auth(bed.upstream, &(struct scripted_auth){.kind = SCRIPTED_AUTH_NONE});
	expect_pull(&bed, 2);
}

WIRE_TEST(helper_is_asked_once_for_many)
{
	struct scripted_options options = guarded(SCRIPTED_AUTH_BASIC);
	add_helper(wire, "test_one", "cat \"${0%/*}/answer\"");
	set_answer(wire, USER, PASSWORD);
	_cleanup_bed_ struct bed bed = bed_with_login(wire, &options, "{\"credHelpers\":{\"@\":\"test_one\"}}");
	_cleanup_free_ char *line = mem_printf("get 127.0.0.1:%u", scripted_port(bed.upstream, 0));
	struct client_request requests[8] = {0};
	struct client_reply replies[8] = {0};
	char digests[8][SCRIPTED_DIGEST_MAX], targets[8][128];
	for (size_t i = 0; i < 8; i++) {
		scripted_add_blob(bed.upstream, "team/app", 100 + i, 1000, digests[i]);
		snprintf(targets[i], sizeof(targets[i]), "/v2/team/app/blobs/%s", digests[i]);
		requests[i] = (struct client_request){.port = larder_port(bed.larder), .target = targets[i]};
	}
	assert_true(client_fetch_many(requests, replies, 8));
	for (size_t i = 0; i < 8; i++)
		expect_content(&replies[i], digests[i]);
	client_replies_dispose(replies, 8);
	assert_int_equal(asked(wire, line), 1);
	expect_never_said(bed.larder, PASSWORD);
}

/* As ECR's, whose passwords live for twelve hours; `status` is what the registry says of an old one. */
static void expect_new_secret(struct wire *wire, enum scripted_auth_kind kind, int status)
{
	struct scripted_options options = guarded(kind);
	add_helper(wire, "rotating", "cat \"${0%/*}/answer\"");
	set_answer(wire, USER, PASSWORD);
	_cleanup_bed_ struct bed bed = bed_with_login(wire, &options, "{\"credsStore\":\"rotating\"}");
	expect_pull(&bed, 1);
	assert_int_equal(asked(wire, NULL), 1);
	set_answer(wire, USER, "the-next-one");
	options.auth.password = "the-next-one";
	scripted_set_auth(bed.upstream, &options.auth);
	scripted_revoke_tokens(bed.upstream);
	if (status)
		scripted_add_rule(bed.upstream, &(struct scripted_rule){.path = BLOBS, .count = 1, .status = status});
	expect_pull(&bed, 2);
	assert_int_equal(asked(wire, NULL), 2);
	expect_pull(&bed, 3);
	assert_int_equal(asked(wire, NULL), 2);
}

WIRE_TEST(refused_basic_secret_is_asked_for_again)
{
	expect_new_secret(wire, SCRIPTED_AUTH_BASIC, 0);
}

WIRE_TEST(forbidden_basic_secret_is_asked_for_again)
{
	expect_new_secret(wire, SCRIPTED_AUTH_BASIC, 403);
}

WIRE_TEST(secret_that_the_token_service_refuses_is_asked_for_again)
{
	expect_new_secret(wire, SCRIPTED_AUTH_BEARER, 0);
}

/* A secret that stays wrong does not make a helper run for every pull. */
WIRE_TEST(secret_that_stays_wrong_is_not_asked_for_each_time)
{
	struct scripted_options options = guarded(SCRIPTED_AUTH_BEARER);
	add_helper(wire, "wrong", "cat \"${0%/*}/answer\"");
	set_answer(wire, USER, "wrong-secret");
	_cleanup_bed_ struct bed bed = bed_with_login(wire, &options, "{\"credsStore\":\"wrong\"}");
	for (unsigned i = 0; i < 4; i++) {
		pull(&bed, i);
		expect_error(&bed.reply, 403, "DENIED");
	}
	assert_int_equal(asked(wire, NULL), 2);
	expect_never_said(bed.larder, "wrong-secret");
}

WIRE_TEST(helper_without_credentials_means_anonymous)
{
	struct scripted_options options = guarded(SCRIPTED_AUTH_BEARER);
	options.auth.username = options.auth.password = NULL;
	add_helper(wire, "empty", "echo credentials not found in native keychain; exit 1");
	_cleanup_bed_ struct bed bed = bed_with_login(wire, &options, "{\"credsStore\":\"empty\"}");
	expect_pull(&bed, 1);
	assert_int_equal(asked(wire, NULL), 1);
}

WIRE_TEST(helper_that_fails_is_named_and_nothing_it_wrote)
{
	struct scripted_options options = guarded(SCRIPTED_AUTH_BEARER);
	add_helper(wire, "broken", "echo leaked-words; echo leaked-words >&2; exit 3");
	_cleanup_bed_ struct bed bed = bed_with_login(wire, &options, "{\"credsStore\":\"broken\"}");
	pull(&bed, 1);
	expect_error(&bed.reply, 502, "UNKNOWN");
	assert_non_null(strstr(bed.reply.body, "docker-credential-broken: ended with status 3"));
	assert_null(strstr(bed.reply.body, "leaked-words"));
	assert_true(larder_wait_output(bed.larder, "docker-credential-broken: ended with status 3", WIRE_WAIT_MS));
	expect_never_said(bed.larder, "leaked-words");
	expect_count(bed.upstream, NULL, TOKENS, 0);
}

WIRE_TEST(helper_that_hangs_holds_nothing_up)
{
	struct scripted_options options = guarded(SCRIPTED_AUTH_BEARER);
	add_helper(wire, "hanging", "exec sleep 600");
	_cleanup_bed_ struct bed bed = bed_with_login(wire, &options, "{\"credsStore\":\"hanging\"}");
	_cleanup_free_ char *target = mem_printf("/v2/team/app/blobs/sha256:%064d", 0);
	struct client_request request = {.port = larder_port(bed.larder), .target = target};
	struct client *client = client_connect(NULL, request.port, 60000);
	assert_true(client_send(client, &request));
	uint64_t deadline = clock_ms() + WIRE_WAIT_MS;
	while (asked(wire, NULL) == 0 && clock_ms() < deadline)
		usleep(1000);
	assert_int_equal(asked(wire, NULL), 1);
	assert_true(ask(bed.larder, NULL, NULL, &bed.reply, "/v2/"));
	assert_int_equal(bed.reply.status, 200);
	larder_kill(bed.larder); /* a stop would give the answer that waits its time */
	client_close(client);
}

/* A token service on another host. */
static struct bed bed_with_foreign_service(struct wire *wire, bool guards, const char *keys_format)
{
	struct scripted_options options = guarded(SCRIPTED_AUTH_BEARER);
	struct bed bed = {.upstream = wire_upstream(wire, &options)};
	int service = wire_listen(bed.upstream, &(struct scripted_listen){.address = "127.0.0.2"});
	_cleanup_free_ char *realm = mem_printf("%s/token", scripted_url(bed.upstream, service));
	_cleanup_free_ char *password = wire_write_file(wire, "password", PASSWORD "\n");
	_cleanup_free_ char *services =
		mem_printf("    token_services: [ \"%s:%u\" ]\n", keys_format, scripted_port(bed.upstream, service));
	_cleanup_free_ char *config =
		mem_printf("admin: { listen: off }\ndefault_upstream: guarded.test\nupstreams:\n  guarded.test:\n"
			   "    url: %%s\n    retries: 0\n    username: " USER "\n    password_file: %s\n%s",
			   password, keys_format[0] ? services : "");
	options.auth.realm = realm;
	if (!guards)
		options.auth.username = NULL;
	scripted_set_auth(bed.upstream, &options.auth);
	bed.larder = larder_configured(wire, bed.upstream, config);
	return bed;
}

static void expect_asked_as_nobody(struct bed *bed)
{
	size_t count;
	struct scripted_record *records = scripted_records(bed->upstream, NULL, TOKENS, &count);
	assert_true(count > 0);
	for (size_t i = 0; i < count; i++)
		assert_null(scripted_record_header(&records[i], "Authorization"));
	scripted_records_free(records, count);
}

WIRE_TEST(foreign_token_service_is_asked_as_nobody_and_told_once)
{
	_cleanup_bed_ struct bed bed = bed_with_foreign_service(wire, false, "");
	expect_pull(&bed, 1);
	scripted_revoke_tokens(bed.upstream);
	expect_pull(&bed, 2);
	expect_count(bed.upstream, NULL, TOKENS, 2);
	expect_asked_as_nobody(&bed);
	assert_true(larder_wait_output(bed.larder, "add it to upstreams.guarded.test.token_services", WIRE_WAIT_MS));
	_cleanup_free_ char *log = larder_output(bed.larder, 2);
	const char *first = strstr(log, "token_services");
	assert_null(strstr(first + 1, "token_services"));
	expect_never_said(bed.larder, PASSWORD);
}

WIRE_TEST(configured_token_service_gets_the_credentials)
{
	_cleanup_bed_ struct bed bed = bed_with_foreign_service(wire, true, "127.0.0.2");
	expect_pull(&bed, 1);
	expect_count(bed.upstream, NULL, TOKENS, 1);
}

WIRE_TEST(another_configured_token_service_changes_nothing)
{
	_cleanup_bed_ struct bed bed = bed_with_foreign_service(wire, true, "127.0.0.3");
	pull(&bed, 1);
	expect_error(&bed.reply, 403, "DENIED");
	expect_asked_as_nobody(&bed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(docker_login_is_shown_to_the_token_service_alone),
		WIRE_CASE(docker_login_answers_a_basic_challenge),
		WIRE_CASE(identity_token_is_posted),
		WIRE_CASE(identity_token_does_not_answer_a_basic_challenge),
		WIRE_CASE(login_of_another_registry_is_not_used),
		WIRE_CASE(username_goes_before_docker_config),
		WIRE_CASE(wrong_password_is_refused_once),
		WIRE_CASE(helper_is_asked_once_for_many),
		WIRE_CASE(refused_basic_secret_is_asked_for_again),
		WIRE_CASE(forbidden_basic_secret_is_asked_for_again),
		WIRE_CASE(secret_that_the_token_service_refuses_is_asked_for_again),
		WIRE_CASE(secret_that_stays_wrong_is_not_asked_for_each_time),
		WIRE_CASE(helper_without_credentials_means_anonymous),
		WIRE_CASE(helper_that_fails_is_named_and_nothing_it_wrote),
		WIRE_CASE(helper_that_hangs_holds_nothing_up),
		WIRE_CASE(foreign_token_service_is_asked_as_nobody_and_told_once),
		WIRE_CASE(configured_token_service_gets_the_credentials),
		WIRE_CASE(another_configured_token_service_changes_nothing),
	};
	return cmocka_run_group_tests_name("credentials", tests, NULL, NULL);
}
