/* SPDX-License-Identifier: Apache-2.0 */
/* How larder proves to an upstream who it is, and where it never does. */
#include "tests/wire/expect.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <string.h>

#define CLIENTS 20
#define BLOBS   "*/blobs/*"
#define TOKENS  "/token"
#define ANYBODY "default_upstream: up.test\nupstreams: {up.test: {url: %s, retries: 0, tag_ttl: 0s}}\n"
#define SOMEBODY                                                                                                       \
	"default_upstream: up.test\n"                                                                                  \
	"upstreams: {up.test: {url: %s, retries: 0, tag_ttl: 0s, username: me, password_file: %d/password}}\n"

struct one_image {
	struct scripted *upstream;
	struct larder *larder;
	struct scripted_image image;
};

static void add_image(struct one_image *one)
{
	scripted_add_image(one->upstream, "team/app", "1.0",
			   &(struct scripted_image_options){.layer_size = 1000, .layers = 3}, &one->image);
}

/* An upstream that asks for `auth`, and a larder that knows (or not) the name "me" and the word "open sesame". */
static struct one_image one_image_new(struct wire *wire, const struct scripted_auth *auth, const char *config)
{
	struct one_image one = {.upstream = wire_upstream(wire, &(struct scripted_options){.auth = *auth})};
	free(wire_write_file(wire, "password", "open sesame\n"));
	add_image(&one);
	one.larder = larder_configured(wire, one.upstream, config);
	return one;
}

/* Manifest by tag, config and layers, as a client pulls. */
static void pull(const struct one_image *one)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	ask(one->larder, NULL, NULL, &reply, "/v2/team/app/manifests/1.0");
	expect_content(&reply, one->image.manifest);
	ask(one->larder, NULL, NULL, &reply, "/v2/team/app/blobs/%s", one->image.config);
	expect_content(&reply, one->image.config);
	for (unsigned i = 0; i < one->image.layers; i++) {
		ask(one->larder, NULL, NULL, &reply, "/v2/team/app/blobs/%s", one->image.layer[i]);
		expect_content(&reply, one->image.layer[i]);
	}
}

/* How many requests that match carried an Authorization that starts so. */
static unsigned count_authorized(struct scripted *upstream, const char *pattern, const char *with)
{
	size_t count;
	unsigned found = 0;
	struct scripted_record *records = scripted_records(upstream, NULL, pattern, &count);
	for (size_t i = 0; i < count; i++) {
		const char *said = scripted_record_header(&records[i], "Authorization");
		found += said && strncmp(said, with, strlen(with)) == 0;
	}
	scripted_records_free(records, count);
	return found;
}

WIRE_TEST(anonymous_upstream_gets_no_authorization)
{
	struct one_image one = one_image_new(wire, &(struct scripted_auth){0}, ANYBODY);
	pull(&one);
	expect_count(one.upstream, NULL, NULL, 5);
	assert_int_equal(count_authorized(one.upstream, NULL, ""), 0);
}

WIRE_TEST(basic_is_said_only_where_it_is_asked_for)
{
	struct one_image one = one_image_new(wire, &(struct scripted_auth){0}, SOMEBODY);
	pull(&one);
	assert_int_equal(count_authorized(one.upstream, NULL, ""), 0);
}

WIRE_TEST(basic_upstream_is_challenged_once)
{
	struct scripted_auth auth = {.kind = SCRIPTED_AUTH_BASIC, .username = "me", .password = "open sesame"};
	struct one_image one = one_image_new(wire, &auth, SOMEBODY);
	pull(&one);
	expect_count(one.upstream, NULL, NULL, 6);
	/* base64 of "me:open sesame" */
	assert_int_equal(count_authorized(one.upstream, NULL, "Basic bWU6b3BlbiBzZXNhbWU="), 5);
}

static void expect_refusal(const struct one_image *one)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	ask(one->larder, NULL, NULL, &reply, "/v2/team/app/manifests/1.0");
	expect_error(&reply, 403, "DENIED");
	expect_header(&reply, "WWW-Authenticate", NULL);
	ask(one->larder, NULL, NULL, &reply, "/v2/team/app/blobs/%s", one->image.config);
	expect_error(&reply, 403, "DENIED");
}

WIRE_TEST(wrong_basic_password_is_a_403_and_not_for_good)
{
	struct scripted_auth auth = {.kind = SCRIPTED_AUTH_BASIC, .username = "me", .password = "another"};
	struct one_image one = one_image_new(wire, &auth, SOMEBODY);
	expect_refusal(&one);
	auth.password = "open sesame";
	scripted_set_auth(one.upstream, &auth);
	pull(&one);
}

WIRE_TEST(missing_credentials_are_a_403)
{
	struct scripted_auth auth = {.kind = SCRIPTED_AUTH_BASIC, .username = "me", .password = "open sesame"};
	struct one_image one = one_image_new(wire, &auth, ANYBODY);
	expect_refusal(&one);
}

WIRE_TEST(anonymous_token_is_asked_for_once)
{
	struct one_image one =
		one_image_new(wire, &(struct scripted_auth){.kind = SCRIPTED_AUTH_BEARER, .expires_in = 300}, ANYBODY);
	pull(&one);
	expect_count(one.upstream, NULL, TOKENS, 1);
	assert_int_equal(count_authorized(one.upstream, TOKENS, ""), 0);
	assert_int_equal(count_authorized(one.upstream, "/v2/*", "Bearer scripted-token-1"), 5);
	expect_count(one.upstream, NULL, "/v2/*", 6);
	expect_count(one.upstream, NULL, "/token[?]*scope=repository*team*app*pull*", 1);
	expect_count(one.upstream, NULL, "/token[?]*service=scripted*", 1);
}

WIRE_TEST(token_is_asked_for_with_credentials)
{
	struct scripted_auth auth = {.kind = SCRIPTED_AUTH_BEARER,
				     .username = "me",
				     .password = "open sesame",
				     .expires_in = 300,
				     .access_token = true,
				     .scope_check = true};
	struct one_image one = one_image_new(wire, &auth, SOMEBODY);
	pull(&one);
	expect_count(one.upstream, NULL, TOKENS, 1);
	assert_int_equal(count_authorized(one.upstream, TOKENS, "Basic bWU6b3BlbiBzZXNhbWU="), 1);
	assert_int_equal(count_authorized(one.upstream, "/v2/*", "Basic"), 0);
}

WIRE_TEST(refused_token_credentials_are_a_403_and_not_for_good)
{
	struct scripted_auth auth = {.kind = SCRIPTED_AUTH_BEARER, .username = "me", .password = "another"};
	struct one_image one = one_image_new(wire, &auth, SOMEBODY);
	expect_refusal(&one);
	auth.password = "open sesame";
	scripted_set_auth(one.upstream, &auth);
	pull(&one);
}

WIRE_TEST(each_repository_has_a_token_of_its_own)
{
	struct scripted_auth auth = {.kind = SCRIPTED_AUTH_BEARER, .expires_in = 300, .scope_check = true};
	struct one_image one = one_image_new(wire, &auth, ANYBODY);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct scripted_image other;
	scripted_add_image(one.upstream, "team/other", "1.0", &(struct scripted_image_options){.seed = 9}, &other);
	pull(&one);
	ask(one.larder, NULL, NULL, &reply, "/v2/team/other/manifests/1.0");
	expect_content(&reply, other.manifest);
	expect_count(one.upstream, NULL, TOKENS, 2);
	expect_count(one.upstream, NULL, "/token[?]*scope=repository*team*other*pull*", 1);
}

WIRE_TEST(herd_asks_for_one_token)
{
	struct scripted_auth auth = {.kind = SCRIPTED_AUTH_BEARER, .expires_in = 300};
	struct one_image one = one_image_new(wire, &auth, ANYBODY);
	struct client_request requests[CLIENTS];
	struct client_reply replies[CLIENTS] = {0};
	char digests[CLIENTS][SCRIPTED_DIGEST_MAX];
	char *targets[CLIENTS];
	scripted_add_rule(one.upstream, &(struct scripted_rule){.path = TOKENS, .delay_ms = 500});
	for (size_t i = 0; i < CLIENTS; i++) {
		scripted_add_blob(one.upstream, "team/app", 100 + i, 5000, digests[i]);
		targets[i] = mem_printf("/v2/team/app/blobs/%s", digests[i]);
		requests[i] = (struct client_request){.port = larder_port(one.larder), .target = targets[i]};
	}
	assert_true(client_fetch_many(requests, replies, CLIENTS));
	for (size_t i = 0; i < CLIENTS; i++) {
		expect_content(&replies[i], digests[i]);
		free(targets[i]);
	}
	client_replies_dispose(replies, CLIENTS);
	expect_count(one.upstream, NULL, TOKENS, 1);
	assert_int_equal(count_authorized(one.upstream, "/v2/*", "Bearer scripted-token-1"), CLIENTS);
}

WIRE_TEST(revoked_token_is_dropped_and_asked_for_once_more)
{
	struct scripted_auth auth = {.kind = SCRIPTED_AUTH_BEARER, .expires_in = 300};
	struct one_image one = one_image_new(wire, &auth, ANYBODY);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	ask(one.larder, NULL, NULL, &reply, "/v2/team/app/manifests/1.0");
	expect_content(&reply, one.image.manifest);
	scripted_revoke_tokens(one.upstream);
	pull(&one);
	expect_count(one.upstream, NULL, TOKENS, 2);
}

/* The upstream says nothing of how long, or less than any margin: a token that ends is asked for anew. */
WIRE_TEST(expired_token_is_asked_for_anew)
{
	struct scripted_auth auth = {.kind = SCRIPTED_AUTH_BEARER, .expires_in = 1, .lives_ms = 1};
	struct one_image one = one_image_new(wire, &auth, ANYBODY);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	ask(one.larder, NULL, NULL, &reply, "/v2/team/app/manifests/1.0");
	/* By the time it is used, it is worthless: that is a refusal, and ends. */
	if (reply.status != 200)
		expect_error(&reply, 403, "DENIED");
	assert_in_range(scripted_count(one.upstream, NULL, TOKENS), 1, 2);
	auth.expires_in = 300;
	auth.lives_ms = 0;
	scripted_set_auth(one.upstream, &auth);
	pull(&one);
}

WIRE_TEST(failing_token_service_is_a_502)
{
	struct scripted_auth auth = {.kind = SCRIPTED_AUTH_BEARER, .expires_in = 300};
	struct one_image one = one_image_new(wire, &auth, ANYBODY);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_add_rule(one.upstream, &(struct scripted_rule){.path = TOKENS, .status = 500});
	ask(one.larder, NULL, NULL, &reply, "/v2/team/app/manifests/1.0");
	expect_error(&reply, 502, "UNKNOWN");
	scripted_remove_rule(one.upstream, 0);
	pull(&one);
}

/* Redirects. */

/* The registry sends its blobs' clients to another host (here: another address). */
struct redirected {
	struct one_image one;
	struct scripted *elsewhere;
	char digest[SCRIPTED_DIGEST_MAX];
	uint64_t size;
};

static struct redirected redirected_new(struct wire *wire, const struct scripted_auth *auth)
{
	struct redirected redirected = {.one = one_image_new(wire, auth, SOMEBODY), .size = 2 * MIB};
	redirected.elsewhere = wire_upstream_bare(wire, NULL);
	wire_listen(redirected.elsewhere, &(struct scripted_listen){.address = "127.0.0.2"});
	scripted_add_blob(redirected.elsewhere, "team/app", 7, redirected.size, redirected.digest);
	scripted_add_blob(redirected.one.upstream, "team/app", 7, redirected.size, NULL);
	_cleanup_free_ char *to = mem_printf("%s*", scripted_url(redirected.elsewhere, 0));
	struct scripted_rule rule = {.path = BLOBS, .with_header = "Authorization", .redirect = to};
	scripted_add_rule(redirected.one.upstream, &rule);
	return redirected;
}

static void run_redirect(struct wire *wire, const struct scripted_auth *auth)
{
	struct redirected redirected = redirected_new(wire, auth);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct scripted_rule cut = {.count = 1, .cut = SCRIPTED_CUT_FIN, .cut_at = (int64_t)MIB};
	size_t count;
	scripted_add_rule(redirected.elsewhere, &cut);
	ask(redirected.one.larder, NULL, NULL, &reply, "/v2/team/app/blobs/%s", redirected.digest);
	assert_int_not_equal(reply.body_bytes, redirected.size);
	ask(redirected.one.larder, NULL, NULL, &reply, "/v2/team/app/blobs/%s", redirected.digest);
	expect_content(&reply, redirected.digest);
	assert_int_equal(count_authorized(redirected.elsewhere, NULL, ""), 0);
	struct scripted_record *records = scripted_records(redirected.elsewhere, "GET", BLOBS, &count);
	assert_int_equal(count, 2);
	assert_string_equal(scripted_record_header(&records[1], "Range"), "bytes=1048576-");
	assert_int_equal(records[0].body_sent + records[1].body_sent, redirected.size);
	scripted_records_free(records, count);
	assert_true(count_authorized(redirected.one.upstream, BLOBS, "B") >= 2);
}

WIRE_TEST(redirect_drops_basic_and_keeps_range)
{
	run_redirect(wire,
		     &(struct scripted_auth){.kind = SCRIPTED_AUTH_BASIC, .username = "me", .password = "open sesame"});
}

WIRE_TEST(redirect_drops_the_token_and_keeps_range)
{
	run_redirect(wire, &(struct scripted_auth){.kind = SCRIPTED_AUTH_BEARER, .expires_in = 300});
}

WIRE_TEST(redirects_in_a_circle_end)
{
	struct one_image one = one_image_new(wire, &(struct scripted_auth){0}, ANYBODY);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *to = mem_printf("%s*", scripted_url(one.upstream, 0));
	scripted_add_rule(one.upstream, &(struct scripted_rule){.path = BLOBS, .redirect = to});
	ask(one.larder, NULL, NULL, &reply, "/v2/team/app/blobs/%s", one.image.config);
	expect_error(&reply, 502, "UNKNOWN");
	assert_in_range(scripted_count(one.upstream, NULL, BLOBS), 2, 10);
}

WIRE_TEST(redirect_that_leads_nowhere_is_a_502)
{
	struct one_image one = one_image_new(wire, &(struct scripted_auth){0}, ANYBODY);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_add_rule(one.upstream, &(struct scripted_rule){.path = BLOBS, .redirect = "file:///etc/passwd"});
	ask(one.larder, NULL, NULL, &reply, "/v2/team/app/blobs/%s", one.image.config);
	expect_error(&reply, 502, "UNKNOWN");
}

/* Credentials go to the upstream's own token service, not to one that a stranger names. */
WIRE_TEST(strange_token_service_gets_no_credentials)
{
	struct scripted *stranger = wire_upstream_bare(wire, NULL);
	wire_listen(stranger, &(struct scripted_listen){.address = "127.0.0.3"});
	_cleanup_free_ char *realm = mem_printf("%s/token", scripted_url(stranger, 0));
	struct scripted_auth auth = {.kind = SCRIPTED_AUTH_BEARER, .realm = realm};
	struct one_image one = one_image_new(wire, &auth, SOMEBODY);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	ask(one.larder, NULL, NULL, &reply, "/v2/team/app/manifests/1.0");
	assert_int_not_equal(reply.status, 200);
	assert_int_equal(count_authorized(stranger, NULL, ""), 0);
	expect_count(stranger, "POST", NULL, 0);
}

/* TLS. */

static struct one_image tls_image_new(struct wire *wire, const char *address, bool with_ca)
{
	struct one_image one = {.upstream = wire_upstream_bare(wire, NULL)};
	struct scripted_listen listen = {.address = address, .tls = wire_tls(wire), .h2 = true};
	wire_listen(one.upstream, &listen);
	add_image(&one);
	one.larder = larder_configured(
		wire, one.upstream,
		with_ca ? "default_upstream: up.test\nupstreams: {up.test: {url: %s, retries: 0, ca: %d/ca.pem}}\n"
			: ANYBODY);
	return one;
}

WIRE_TEST(tls_upstream_with_the_given_ca_is_pulled_over_http2)
{
	struct one_image one = tls_image_new(wire, NULL, true);
	size_t count;
	pull(&one);
	struct scripted_record *records = scripted_records(one.upstream, NULL, NULL, &count);
	assert_int_equal(count, 5);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(records[i].protocol, SCRIPTED_HTTP2);
	scripted_records_free(records, count);
	struct scripted_stats stats;
	scripted_get_stats(one.upstream, 0, &stats);
	assert_int_equal(stats.accepted, 1);
}

static void expect_distrust(const struct one_image *one)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	ask(one->larder, NULL, NULL, &reply, "/v2/team/app/manifests/1.0");
	expect_error(&reply, 502, "UNKNOWN");
	expect_count(one->upstream, NULL, NULL, 0);
	assert_true(larder_wait_output(one->larder, "certificate", WIRE_WAIT_MS));
}

WIRE_TEST(tls_upstream_without_its_ca_is_refused)
{
	struct one_image one = tls_image_new(wire, NULL, false);
	expect_distrust(&one);
}

WIRE_TEST(tls_upstream_of_another_name_is_refused)
{
	struct one_image one = tls_image_new(wire, "127.0.0.3", true);
	expect_distrust(&one);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(anonymous_upstream_gets_no_authorization),
		WIRE_CASE(basic_is_said_only_where_it_is_asked_for),
		WIRE_CASE(basic_upstream_is_challenged_once),
		WIRE_CASE(wrong_basic_password_is_a_403_and_not_for_good),
		WIRE_CASE(missing_credentials_are_a_403),
		WIRE_CASE(anonymous_token_is_asked_for_once),
		WIRE_CASE(token_is_asked_for_with_credentials),
		WIRE_CASE(refused_token_credentials_are_a_403_and_not_for_good),
		WIRE_CASE(each_repository_has_a_token_of_its_own),
		WIRE_CASE(herd_asks_for_one_token),
		WIRE_CASE(revoked_token_is_dropped_and_asked_for_once_more),
		WIRE_CASE(expired_token_is_asked_for_anew),
		WIRE_CASE(failing_token_service_is_a_502),
		WIRE_CASE(redirect_drops_basic_and_keeps_range),
		WIRE_CASE(redirect_drops_the_token_and_keeps_range),
		WIRE_CASE(redirects_in_a_circle_end),
		WIRE_CASE(redirect_that_leads_nowhere_is_a_502),
		WIRE_CASE(strange_token_service_gets_no_credentials),
		WIRE_CASE(tls_upstream_with_the_given_ca_is_pulled_over_http2),
		WIRE_CASE(tls_upstream_without_its_ca_is_refused),
		WIRE_CASE(tls_upstream_of_another_name_is_refused),
	};
	return cmocka_run_group_tests_name("auth", tests, NULL, NULL);
}
