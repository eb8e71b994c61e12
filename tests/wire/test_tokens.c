/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens and credentials: asked for as rarely as can be, and never seen by a stranger. */
#include "tests/wire/speaking.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <string.h>
#include <time.h>

#define TOKENS   "/token*"
#define WAITING  100
#define LOGIN    "username: alice, password_file: \"%s\""
#define PASSWORD "opensesame"
#define BASIC    "YWxpY2U6b3BlbnNlc2FtZQ==" /* alice:opensesame */

static const struct scripted_auth with_login = {.kind = SCRIPTED_AUTH_BEARER,
						.username = "alice",
						.password = PASSWORD,
						.expires_in = 300,
						.scope_check = true};

static struct larder *larder_with_login(struct wire *wire, struct scripted *upstream)
{
	_cleanup_free_ char *file = wire_write_file(wire, "password", PASSWORD "\n");
	_cleanup_free_ char *keys = mem_printf(LOGIN ", retries: 1", file);

	return larder_before(wire, upstream, keys);
}

static void fetch_one(const struct larder *larder, struct scripted *upstream, uint64_t seed)
{
	fetch_blobs(larder, upstream, "team/app", seed, 1, KIB);
}

static void pass_time(unsigned ms)
{
	struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	nanosleep(&time, NULL);
}

BOTH_TEST(one_token_serves_a_hundred_waiting_requests)
{
	struct scripted_options options = {.auth = with_login};
	struct scripted *upstream = upstream_speaking(wire, &options, h2);
	struct larder *larder = larder_with_login(wire, upstream);

	scripted_add_rule(upstream, &(struct scripted_rule){.path = TOKENS, .delay_ms = 300});
	fetch_blobs(larder, upstream, "team/app", 1, WAITING, KIB);
	expect_count(upstream, NULL, TOKENS, 1);
	/* Those that learnt of the challenge while they waited for their turn did not go without a token. */
	assert_in_range(scripted_count(upstream, "GET", BLOBS), WAITING, WAITING + 4);
}

/* The field is `token`, or `access_token` as in OAuth 2. */
BOTH_TEST(token_is_taken_from_either_field)
{
	struct scripted_options options = {.auth = {.kind = SCRIPTED_AUTH_BEARER, .access_token = true}};
	struct scripted *upstream = upstream_speaking(wire, &options, h2);
	struct larder *larder = larder_before(wire, upstream, NULL);

	fetch_one(larder, upstream, 1);
	fetch_one(larder, upstream, 2);
	expect_count(upstream, NULL, TOKENS, 1);
	options.auth.access_token = false;
	scripted_set_auth(upstream, &options.auth);
	scripted_revoke_tokens(upstream);
	fetch_one(larder, upstream, 3);
	expect_count(upstream, NULL, TOKENS, 2);
}

WIRE_TEST(token_is_asked_for_anew_when_its_life_ends)
{
	struct scripted_options options = {.auth = {.kind = SCRIPTED_AUTH_BEARER, .expires_in = 2}};
	struct scripted *upstream = upstream_speaking(wire, &options, false);
	struct larder *larder = larder_before(wire, upstream, NULL);

	fetch_one(larder, upstream, 1);
	fetch_one(larder, upstream, 2);
	expect_count(upstream, NULL, TOKENS, 1);
	pass_time(2000);
	fetch_one(larder, upstream, 3);
	expect_count(upstream, NULL, TOKENS, 2);
	/* Asked for ahead of its end, not upon a refusal. */
	expect_count(upstream, "GET", BLOBS, 4);
}

/* The specification's 60 seconds: not refreshed early, and not used too long. */
WIRE_TEST(token_without_expires_in_lives_a_minute)
{
	struct scripted_options options = {.auth = {.kind = SCRIPTED_AUTH_BEARER}};
	struct scripted *upstream = upstream_speaking(wire, &options, false);
	struct larder *larder = larder_before(wire, upstream, NULL);

	fetch_one(larder, upstream, 1);
	pass_time(30000);
	fetch_one(larder, upstream, 2);
	expect_count(upstream, NULL, TOKENS, 1);
	pass_time(31000);
	fetch_one(larder, upstream, 3);
	expect_count(upstream, NULL, TOKENS, 2);
	expect_count(upstream, "GET", BLOBS, 4);
}

BOTH_TEST(refused_token_is_dropped_and_asked_for_once_more)
{
	struct scripted_options options = {.auth = with_login};
	struct scripted *upstream = upstream_speaking(wire, &options, h2);
	struct larder *larder = larder_with_login(wire, upstream);
	_cleanup_free_ char *challenge =
		mem_printf("WWW-Authenticate: Bearer realm=\"%s/token\",service=\"scripted\",error=\"invalid_token\"",
			   scripted_url(upstream, 1));
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	char digest[SCRIPTED_DIGEST_MAX];
	int refuses;

	fetch_one(larder, upstream, 1);
	scripted_revoke_tokens(upstream);
	fetch_one(larder, upstream, 2);
	expect_count(upstream, NULL, TOKENS, 2);

	/* A registry that refuses every token is asked twice, and not a third time. */
	scripted_clear_log(upstream);
	refuses = scripted_add_rule(upstream,
				    &(struct scripted_rule){.path = BLOBS, .status = 401, .headers = challenge});
	scripted_add_blob(upstream, "team/app", 3, KIB, digest);
	assert_true(ask(larder, NULL, NULL, &reply, "/v2/team/app/blobs/%s", digest));
	expect_error(&reply, 403, "DENIED");
	expect_count(upstream, NULL, TOKENS, 1);
	expect_count(upstream, NULL, BLOBS, 2);
	scripted_remove_rule(upstream, refuses);
	/* And what it says when it is well again counts. */
	fetch_one(larder, upstream, 3);
}

BOTH_TEST(refusal_is_not_remembered)
{
	struct scripted_options options = {.auth = with_login};
	struct scripted *upstream;
	struct larder *larder;
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	char digest[SCRIPTED_DIGEST_MAX];

	options.auth.password = "changed";
	upstream = upstream_speaking(wire, &options, h2);
	larder = larder_with_login(wire, upstream);
	scripted_add_blob(upstream, "team/app", 1, KIB, digest);
	assert_true(ask(larder, NULL, NULL, &reply, "/v2/team/app/blobs/%s", digest));
	expect_error(&reply, 403, "DENIED");
	scripted_set_auth(upstream, &with_login);
	assert_true(ask(larder, NULL, NULL, &reply, "/v2/team/app/blobs/%s", digest));
	expect_content(&reply, digest);
}

/* Strangers. */

/* Everything that arrived at a listener, or (0) at a whole instance: no password, in no form, and no token. */
static void expect_nothing_secret(struct scripted *upstream, int listener)
{
	size_t count;
	struct scripted_record *records = scripted_records(upstream, NULL, NULL, &count);

	for (size_t i = 0; i < count; i++) {
		const struct scripted_record *record = &records[i];

		if (listener && record->listener != listener)
			continue;
		if (scripted_record_header(record, "Authorization") ||
		    scripted_record_header(record, "Proxy-Authorization") || strstr(record->target, PASSWORD) ||
		    strstr(record->target, "alice") || strstr(record->body, PASSWORD) || strstr(record->body, BASIC))
			fail_msg("a secret went to %s %s%s", record->method, record->authority, record->target);
	}
	scripted_records_free(records, count);
}

static unsigned count_at(struct scripted *upstream, int listener)
{
	struct scripted_stats stats;

	scripted_get_stats(upstream, listener, &stats);
	return stats.requests;
}

/* A registry with a login, a stranger beside it, and a larder that knows the login. */
struct strangers {
	struct scripted *upstream;
	int foreign;
	struct larder *larder;
	char digest[SCRIPTED_DIGEST_MAX];
};

static struct strangers strangers_new(struct wire *wire, bool h2)
{
	struct scripted_options options = {.auth = with_login};
	struct strangers strangers = {.upstream = upstream_speaking(wire, &options, h2)};

	strangers.foreign = listen_elsewhere(wire, strangers.upstream, h2);
	strangers.larder = larder_with_login(wire, strangers.upstream);
	scripted_add_blob(strangers.upstream, "team/app", 1, 64 * KIB, strangers.digest);
	return strangers;
}

static void ask_blob(const struct strangers *strangers, struct client_reply *reply)
{
	assert_true(ask(strangers->larder, NULL, NULL, reply, "/v2/team/app/blobs/%s", strangers->digest));
}

/* Asks while the registry's challenge is this one. The stranger may answer 401, since nobody logs in there. */
static void ask_challenged(const struct strangers *strangers, const char *challenge)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *headers = mem_printf("WWW-Authenticate: %s", challenge);
	int rule = scripted_add_rule(
		strangers->upstream,
		&(struct scripted_rule){.path = BLOBS, .listener = 1, .status = 401, .headers = headers});

	ask_blob(strangers, &reply);
	if (reply.status != 403 && reply.status != 502)
		fail_msg("%d upon the challenge %s", reply.status, challenge);
	scripted_remove_rule(strangers->upstream, rule);
}

BOTH_TEST(foreign_realm_gets_no_credentials)
{
	struct strangers strangers = strangers_new(wire, h2);
	_cleanup_free_ char *challenge = mem_printf("Bearer realm=\"%s/token\",service=\"scripted\"",
						    scripted_url(strangers.upstream, strangers.foreign));
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	ask_challenged(&strangers, challenge);
	assert_true(count_at(strangers.upstream, strangers.foreign) > 0); /* asked, as an anonymous client would */
	expect_nothing_secret(strangers.upstream, strangers.foreign);
	/* The challenge is forgotten as soon as the registry gives a better one. */
	ask_blob(&strangers, &reply);
	expect_content(&reply, strangers.digest);
}

/* Even on the registry's own host. */
WIRE_TEST(plain_realm_of_an_https_registry_is_not_asked)
{
	struct strangers strangers = strangers_new(wire, true);
	int plain = wire_listen(strangers.upstream, NULL);
	_cleanup_free_ char *challenge =
		mem_printf("Bearer service=scripted, realm=\"%s/token\"", scripted_url(strangers.upstream, plain));

	ask_challenged(&strangers, challenge);
	assert_int_equal(count_at(strangers.upstream, plain), 0);
}

BOTH_TEST(realms_of_odd_spelling_get_no_credentials)
{
	struct strangers strangers = strangers_new(wire, h2);
	/* S stands for the scheme, P for the stranger's port. */
	static const char *const spellings[] = {
		"S://127.0.0.1@127.0.0.2:P/token",
		"S://alice:opensesame@127.0.0.2:P/token",
		"S://2130706434:P/token",
		"S://0x7f.0.0.2:P/token",
		"S://127.2:P/token",
		"S://0177.0.0.2:P/token",
		"S://[::ffff:127.0.0.2]:P/token",
		"S://127.0.0.2:P\\\\@127.0.0.1/token",
		"S://127.0.0.2:P#@127.0.0.1/token",
		"S://127.0.0.1%2f@127.0.0.2:P/token",
		"S://127.0.0.2.:P/token",
		"//127.0.0.2:P/token",
		"ftp://127.0.0.2:P/token",
		" S://127.0.0.2:P/token",
		"S:/\t/127.0.0.2:P/token",
	};

	for (size_t i = 0; i < sizeof(spellings) / sizeof(spellings[0]); i++) {
		_cleanup_(buf_dispose) struct buf challenge = {0};

		buf_append_text(&challenge, "Bearer realm=\"");
		for (const char *c = spellings[i]; *c; c++) {
			if (*c == 'S')
				buf_append_text(&challenge, h2 ? "https" : "http");
			else if (*c == 'P')
				buf_printf(&challenge, "%u",
					   (unsigned)scripted_port(strangers.upstream, strangers.foreign));
			else
				buf_append(&challenge, c, 1);
		}
		buf_append_text(&challenge, "\",service=\"scripted\"");
		ask_challenged(&strangers, challenge.data);
	}
	expect_nothing_secret(strangers.upstream, strangers.foreign);
}

/* Tokens are asked for what is pulled, whatever the challenge would like. */
BOTH_TEST(challenge_does_not_widen_the_scope)
{
	struct strangers strangers = strangers_new(wire, h2);
	_cleanup_free_ char *challenge =
		mem_printf("Bearer scope=\"repository:victim/secrets:pull,push registry:catalog:*\",realm=\"%s/token\"",
			   scripted_url(strangers.upstream, 1));

	ask_challenged(&strangers, challenge);
	assert_true(scripted_count(strangers.upstream, NULL, TOKENS) > 0);
	expect_count(strangers.upstream, NULL, "/token*victim*", 0);
	expect_count(strangers.upstream, NULL, "/token*catalog*", 0);
	assert_int_equal(scripted_count(strangers.upstream, NULL, "/token*team%2Fapp%3Apull"),
			 scripted_count(strangers.upstream, NULL, TOKENS));
}

/* A registry that larder knows by a public name sends it to where only larder can reach. Behind a proxy, so that the
 * name means nothing here, and everything that is asked passes the log. */
WIRE_TEST(public_registry_leads_to_no_private_address)
{
	static const char *const realms[] = {"169.254.169.254", "10.0.0.1", "192.168.1.1",        "172.16.0.1",
					     "127.0.0.1",       "[::1]",    "metadata.localhost", "2852039166"};
	struct scripted *proxy = wire_upstream(wire, NULL);
	_cleanup_free_ char *file = wire_write_file(wire, "password", PASSWORD "\n");
	_cleanup_free_ char *config =
		mem_printf("default_upstream: registry.test\nupstreams: { registry.test: { url: "
			   "\"http://registry.example\", proxy: \"%s\", retries: 0, " LOGIN " } }\n",
			   scripted_url(proxy, 1), file);
	struct larder_options options = {.config = config};
	struct larder *larder = wire_larder(wire, &options);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	char digest[SCRIPTED_DIGEST_MAX];

	scripted_blob_digest(1, 1, digest);
	for (size_t i = 0; i < sizeof(realms) / sizeof(realms[0]); i++) {
		_cleanup_free_ char *challenge =
			mem_printf("WWW-Authenticate: Bearer realm=\"http://%s/token\"", realms[i]);
		_cleanup_free_ char *location = mem_printf("http://%s/latest/meta-data/", realms[i]);
		int rule = scripted_add_rule(proxy, &(struct scripted_rule){.status = 401, .headers = challenge});

		ask(larder, NULL, NULL, &reply, "/v2/team/app/blobs/%s", digest);
		assert_int_equal(reply.status, 502);
		scripted_remove_rule(proxy, rule);
		rule = scripted_add_rule(proxy, &(struct scripted_rule){.redirect = location});
		ask(larder, NULL, NULL, &reply, "/v2/team/app/blobs/%s", digest);
		assert_int_equal(reply.status, 502);
		scripted_remove_rule(proxy, rule);
	}
	assert_true(scripted_count(proxy, NULL, "*registry.example*") > 0);
	assert_int_equal(scripted_count(proxy, NULL, NULL), scripted_count(proxy, NULL, "*registry.example*"));
}

/* Redirects. */

BOTH_TEST(redirect_to_another_host_leaves_the_token_behind)
{
	struct strangers strangers = strangers_new(wire, h2);
	_cleanup_free_ char *location = mem_printf("%s*", scripted_url(strangers.upstream, strangers.foreign));
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	int rule = scripted_add_rule(strangers.upstream, &(struct scripted_rule){.path = BLOBS,
										 .with_header = "Authorization",
										 .listener = 1,
										 .redirect = location});

	ask_blob(&strangers, &reply);
	expect_content(&reply, strangers.digest);
	assert_int_equal(scripted_rule_applied(strangers.upstream, rule), 1);
	assert_int_equal(count_at(strangers.upstream, strangers.foreign), 1);
	expect_nothing_secret(strangers.upstream, strangers.foreign);
}

/* The same host at another port is another one. */
BOTH_TEST(redirect_to_another_port_leaves_the_token_behind)
{
	struct strangers strangers = strangers_new(wire, h2);
	struct scripted_listen listen = {.open = true, .tls = h2 ? wire_tls(wire) : NULL, .h2 = h2};
	int other = wire_listen(strangers.upstream, &listen);
	_cleanup_free_ char *location = mem_printf("%s*", scripted_url(strangers.upstream, other));
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	scripted_add_rule(strangers.upstream,
			  &(struct scripted_rule){
				  .path = BLOBS, .with_header = "Authorization", .listener = 1, .redirect = location});
	ask_blob(&strangers, &reply);
	expect_content(&reply, strangers.digest);
	assert_int_equal(count_at(strangers.upstream, other), 1);
	expect_nothing_secret(strangers.upstream, other);
}

static void expect_not_followed(const struct strangers *strangers, const char *location)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	int rule = scripted_add_rule(strangers->upstream, &(struct scripted_rule){.path = BLOBS,
										  .with_header = "Authorization",
										  .listener = 1,
										  .redirect = location});

	ask_blob(strangers, &reply);
	expect_error(&reply, 502, "UNKNOWN");
	scripted_remove_rule(strangers->upstream, rule);
}

WIRE_TEST(redirect_from_https_to_http_is_not_followed)
{
	struct strangers strangers = strangers_new(wire, true);
	int plain = wire_listen(strangers.upstream, &(struct scripted_listen){.open = true});
	_cleanup_free_ char *location = mem_printf("%s*", scripted_url(strangers.upstream, plain));

	expect_not_followed(&strangers, location);
	assert_int_equal(count_at(strangers.upstream, plain), 0);
}

BOTH_TEST(redirect_with_userinfo_is_not_followed)
{
	struct strangers strangers = strangers_new(wire, h2);
	_cleanup_free_ char *location = mem_printf("%s://127.0.0.1@127.0.0.2:%u*", h2 ? "https" : "http",
						   (unsigned)scripted_port(strangers.upstream, strangers.foreign));

	expect_not_followed(&strangers, location);
	expect_not_followed(&strangers, "file:///etc/passwd");
	expect_not_followed(&strangers, "gopher://127.0.0.2/x");
	assert_int_equal(count_at(strangers.upstream, strangers.foreign), 0);
}

BOTH_TEST(redirect_loop_ends)
{
	struct strangers strangers = strangers_new(wire, h2);
	_cleanup_free_ char *location = mem_printf("%s*", scripted_url(strangers.upstream, strangers.foreign));
	unsigned asked;

	scripted_add_rule(strangers.upstream,
			  &(struct scripted_rule){.listener = strangers.foreign, .redirect = location});
	expect_not_followed(&strangers, location);
	asked = count_at(strangers.upstream, strangers.foreign);
	assert_int_equal(asked, 5);
	expect_nothing_secret(strangers.upstream, strangers.foreign);
}

/* Five are followed, the sixth is not. */
BOTH_TEST(redirects_are_followed_five_times)
{
	struct strangers strangers = strangers_new(wire, h2);
	_cleanup_free_ char *location = mem_printf("%s*", scripted_url(strangers.upstream, strangers.foreign));
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	scripted_add_rule(strangers.upstream,
			  &(struct scripted_rule){.listener = strangers.foreign, .count = 4, .redirect = location});
	scripted_add_rule(strangers.upstream,
			  &(struct scripted_rule){
				  .path = BLOBS, .with_header = "Authorization", .listener = 1, .redirect = location});
	ask_blob(&strangers, &reply);
	expect_content(&reply, strangers.digest);
	assert_int_equal(count_at(strangers.upstream, strangers.foreign), 5);
	expect_nothing_secret(strangers.upstream, strangers.foreign);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH_CASES(one_token_serves_a_hundred_waiting_requests),
		BOTH_CASES(token_is_taken_from_either_field),
		WIRE_CASE(token_is_asked_for_anew_when_its_life_ends),
		WIRE_CASE(token_without_expires_in_lives_a_minute),
		BOTH_CASES(refused_token_is_dropped_and_asked_for_once_more),
		BOTH_CASES(refusal_is_not_remembered),
		BOTH_CASES(foreign_realm_gets_no_credentials),
		WIRE_CASE(plain_realm_of_an_https_registry_is_not_asked),
		BOTH_CASES(realms_of_odd_spelling_get_no_credentials),
		BOTH_CASES(challenge_does_not_widen_the_scope),
		WIRE_CASE(public_registry_leads_to_no_private_address),
		BOTH_CASES(redirect_to_another_host_leaves_the_token_behind),
		BOTH_CASES(redirect_to_another_port_leaves_the_token_behind),
		WIRE_CASE(redirect_from_https_to_http_is_not_followed),
		BOTH_CASES(redirect_with_userinfo_is_not_followed),
		BOTH_CASES(redirect_loop_ends),
		BOTH_CASES(redirects_are_followed_five_times),
	};
	return cmocka_run_group_tests_name("tokens", tests, NULL, NULL);
}
