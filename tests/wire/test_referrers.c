/* SPDX-License-Identifier: Apache-2.0 */
/* What refers to a manifest: told by the upstream, kept, made from the tag that stands for it, and never made up. */
#include "tests/wire/expect.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <stdio.h>
#include <string.h>

#define CONFIG(ttl)                                                                                                    \
	"default_upstream: registry.test\n"                                                                            \
	"upstreams: {registry.test: {url: %s, tag_ttl: " ttl ", missing_ttl: 0s, retries: 0}}\n"
#define FRESH       CONFIG("1h")
#define NEVER_FRESH CONFIG("0s")

#define REFERRERS "*/referrers/*"
#define BY_TAG    "*/manifests/sha256-*"
#define SBOM      "application/spdx+json"
#define SIGNATURE "application/vnd.example.signature"
#define UNKNOWN   "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

struct referred {
	struct scripted *upstream;
	struct larder *larder;
	char subject[SCRIPTED_DIGEST_MAX];
	char sbom[SCRIPTED_DIGEST_MAX], signature[SCRIPTED_DIGEST_MAX];
	char target[160];
};

/* An image with a list of contents and a signature. */
static struct referred referred_new(struct wire *wire, const char *config, const struct scripted_options *options)
{
	struct referred one = {.upstream = wire_upstream(wire, options)};
	struct scripted_image image;
	scripted_add_image(one.upstream, "team/app", "1.0", &(struct scripted_image_options){.layer_size = 100},
			   &image);
	memcpy(one.subject, image.manifest, sizeof(one.subject));
	scripted_add_manifest(one.upstream, "team/app", NULL, SCRIPTED_TYPE_MANIFEST, "{\"a\":1}", 7, one.sbom);
	scripted_add_manifest(one.upstream, "team/app", NULL, SCRIPTED_TYPE_MANIFEST, "{\"b\":1}", 7, one.signature);
	scripted_add_referrer(one.upstream, "team/app", one.subject, one.sbom, SBOM);
	scripted_add_referrer(one.upstream, "team/app", one.subject, one.signature, SIGNATURE);
	snprintf(one.target, sizeof(one.target), "/v2/team/app/referrers/%s", one.subject);
	one.larder = larder_configured(wire, one.upstream, config);
	return one;
}

static void get(const struct referred *one, struct client_reply *reply)
{
	ask(one->larder, NULL, NULL, reply, "%s", one->target);
}

static char *descriptor(const char *digest, const char *type)
{
	return mem_printf("{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":7,\"artifactType\":\"%s\"}",
			  SCRIPTED_TYPE_MANIFEST, digest, type);
}

static void expect_index(const struct client_reply *reply, const char *first, const char *second)
{
	_cleanup_free_ char *wanted =
		mem_printf("{\"schemaVersion\":2,\"mediaType\":\"%s\",\"manifests\":[%s%s%s]}", SCRIPTED_TYPE_INDEX,
			   first ? first : "", second ? "," : "", second ? second : "");
	if (reply->status != 200 || !reply->complete)
		fail_msg("%d %s: %s", reply->status, reply->error, reply->body);
	assert_string_equal(reply->body, wanted);
	expect_header(reply, "Content-Type", SCRIPTED_TYPE_INDEX);
}

static void expect_both(const struct referred *one, const struct client_reply *reply)
{
	_cleanup_free_ char *sbom = descriptor(one->sbom, SBOM);
	_cleanup_free_ char *signature = descriptor(one->signature, SIGNATURE);
	expect_index(reply, sbom, signature);
	expect_header(reply, "OCI-Filters-Applied", NULL);
}

WIRE_TEST(referrers_are_asked_for_once_while_they_are_fresh)
{
	struct referred one = referred_new(wire, FRESH, NULL);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	get(&one, &reply);
	expect_both(&one, &reply);
	expect_header(&reply, "Cache-Status", "larder; fwd=miss; stored");
	expect_hit_soon(one.larder, one.target);
	larder_stop(one.larder);
	larder_restart(one.larder);
	get(&one, &reply);
	expect_both(&one, &reply);
	expect_header(&reply, "Cache-Status", "larder; hit");
	ask(one.larder, NULL, NULL, &reply, "/registry.test%s", one.target);
	expect_both(&one, &reply);
	expect_count(one.upstream, NULL, NULL, 1);
}

WIRE_TEST(referrers_are_filtered_here)
{
	struct referred one = referred_new(wire, FRESH, NULL);
	_cleanup_free_ char *sbom = descriptor(one.sbom, SBOM);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	static const char *const spellings[] = {"application/spdx%2Bjson", "application%2Fspdx%2bjson",
						"application/spdx+json"};
	for (size_t i = 0; i < 3; i++) {
		ask(one.larder, NULL, NULL, &reply, "%s?artifactType=%s", one.target, spellings[i]);
		expect_index(&reply, sbom, NULL);
		expect_header(&reply, "OCI-Filters-Applied", "artifactType");
	}
	ask(one.larder, NULL, NULL, &reply, "%s?artifactType=application/nothing", one.target);
	expect_index(&reply, NULL, NULL);
	ask(one.larder, NULL, NULL, &reply, "%s?artifactType=", one.target);
	expect_both(&one, &reply);
	ask(one.larder, NULL, NULL, &reply, "%s?artifactType=a%%00b", one.target);
	assert_int_equal(reply.status, 400);
	expect_hit_soon(one.larder, one.target);
	expect_count(one.upstream, NULL, NULL, 1);
	expect_count(one.upstream, NULL, "*artifactType*", 0);
}

WIRE_TEST(referrers_of_an_unknown_digest_are_none)
{
	struct referred one = referred_new(wire, FRESH, NULL);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	ask(one.larder, NULL, NULL, &reply, "/v2/team/app/referrers/" UNKNOWN);
	expect_index(&reply, NULL, NULL);
	expect_hit_soon(one.larder, "/v2/team/app/referrers/" UNKNOWN);
	expect_count(one.upstream, NULL, NULL, 1);
	ask(one.larder, NULL, NULL, &reply, "/v2/team/app/referrers/sha256:123");
	expect_error(&reply, 400, "DIGEST_INVALID");
	ask(one.larder, NULL, NULL, &reply, "/v2/team/app/referrers/latest");
	expect_error(&reply, 400, "DIGEST_INVALID");
	ask(one.larder, "DELETE", NULL, &reply, "%s", one.target);
	expect_error(&reply, 405, "UNSUPPORTED");
	expect_count(one.upstream, NULL, NULL, 1);
}

WIRE_TEST(herd_causes_one_question)
{
	struct referred one = referred_new(wire, FRESH, NULL);
	struct client_request requests[16];
	struct client_reply replies[16] = {0};
	int rule = scripted_add_rule(one.upstream, &(struct scripted_rule){.path = REFERRERS, .delay_ms = 100});
	for (size_t i = 0; i < 16; i++)
		requests[i] = (struct client_request){.port = larder_port(one.larder), .target = one.target};
	assert_true(client_fetch_many(requests, replies, 16));
	for (size_t i = 0; i < 16; i++)
		expect_both(&one, &replies[i]);
	client_replies_dispose(replies, 16);
	assert_int_equal(scripted_rule_applied(one.upstream, rule), 1);
}

/* The tag that stands for the subject names an index of one descriptor. */
static void add_tag_index(const struct referred *one)
{
	_cleanup_free_ char *sbom = descriptor(one->sbom, SBOM);
	_cleanup_free_ char *index =
		mem_printf("{\"schemaVersion\":2,\"mediaType\":\"%s\",\"manifests\":[%s]}", SCRIPTED_TYPE_INDEX, sbom);
	_cleanup_free_ char *tag = mem_printf("sha256-%s", one->subject + 7);
	scripted_add_manifest(one->upstream, "team/app", tag, SCRIPTED_TYPE_INDEX, index, strlen(index), NULL);
}

WIRE_TEST(referrers_without_an_api_are_what_the_tag_says)
{
	struct referred one = referred_new(wire, NEVER_FRESH, &(struct scripted_options){.no_referrers = true});
	_cleanup_free_ char *sbom = descriptor(one.sbom, SBOM);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	get(&one, &reply);
	expect_index(&reply, NULL, NULL);
	expect_count(one.upstream, "GET", BY_TAG, 1);
	larder_stop(one.larder);
	larder_restart(one.larder);
	add_tag_index(&one);
	get(&one, &reply);
	expect_index(&reply, sbom, NULL);
	expect_header(&reply, "OCI-Filters-Applied", NULL);
	ask(one.larder, NULL, NULL, &reply, "%s?artifactType=application/nothing", one.target);
	expect_index(&reply, NULL, NULL);
	expect_header(&reply, "OCI-Filters-Applied", "artifactType");
}

WIRE_TEST(referrers_api_may_be_missing_in_many_ways)
{
	static const struct scripted_rule ways[] = {
		{.path = REFERRERS, .status = 400},
		{.path = REFERRERS, .status = 405},
		{.path = REFERRERS, .status = 406},
		{.path = REFERRERS, .status = 501},
		{.path = REFERRERS, .status = 200, .body = "<html>", .headers = "Content-Type: text/html"},
	};
	struct referred one = referred_new(wire, NEVER_FRESH, NULL);
	_cleanup_free_ char *sbom = descriptor(one.sbom, SBOM);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	add_tag_index(&one);
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		int rule = scripted_add_rule(one.upstream, &ways[i]);
		get(&one, &reply);
		expect_index(&reply, sbom, NULL);
		larder_stop(one.larder);
		larder_restart(one.larder);
		scripted_remove_rule(one.upstream, rule);
	}
	expect_count(one.upstream, "GET", BY_TAG, 5);
}

WIRE_TEST(list_under_another_type_is_a_list)
{
	struct referred one = referred_new(wire, NEVER_FRESH, NULL);
	_cleanup_free_ char *sbom = descriptor(one.sbom, SBOM);
	_cleanup_free_ char *body =
		mem_printf("{\"schemaVersion\":2,\"mediaType\":\"" SCRIPTED_TYPE_INDEX "\",\"manifests\":[%s]}", sbom);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_add_rule(one.upstream, &(struct scripted_rule){.path = REFERRERS,
								.status = 200,
								.body = body,
								.headers = "Content-Type: application/json"});
	get(&one, &reply);
	expect_index(&reply, sbom, NULL);
	expect_header(&reply, "Content-Type", SCRIPTED_TYPE_INDEX);
	expect_count(one.upstream, "GET", BY_TAG, 0);
}

static void expect_failure(const struct referred *one, const struct scripted_rule *rule, int status, const char *code)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	int id = scripted_add_rule(one->upstream, rule);
	get(one, &reply);
	expect_error(&reply, status, code);
	scripted_remove_rule(one->upstream, id);
}

WIRE_TEST(failure_is_never_an_empty_list)
{
	struct referred one = referred_new(wire, NEVER_FRESH, NULL);
	static const struct scripted_rule no_api = {.path = REFERRERS, .status = 404};
	static const char index_type[] = "Content-Type: " SCRIPTED_TYPE_INDEX;
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	int rule;
	expect_failure(&one, &(struct scripted_rule){.path = REFERRERS, .status = 500}, 502, "UNKNOWN");
	expect_failure(&one, &(struct scripted_rule){.path = REFERRERS, .status = 403}, 403, "DENIED");
	expect_failure(&one, &(struct scripted_rule){.path = REFERRERS, .status = 429}, 503, "TOOMANYREQUESTS");
	expect_failure(&one,
		       &(struct scripted_rule){.path = REFERRERS, .status = 200, .body = "{}", .headers = index_type},
		       502, "UNKNOWN");
	expect_failure(
		&one,
		&(struct scripted_rule){.path = REFERRERS, .cut = SCRIPTED_CUT_RST, .cut_at = SCRIPTED_BEFORE_HEAD},
		502, "UNKNOWN");
	/* The API is not there, and whether the tag is cannot be said. */
	rule = scripted_add_rule(one.upstream, &no_api);
	expect_failure(&one, &(struct scripted_rule){.path = BY_TAG, .status = 500}, 502, "UNKNOWN");
	expect_failure(&one, &(struct scripted_rule){.path = BY_TAG, .status = 403}, 403, "DENIED");
	scripted_remove_rule(one.upstream, rule);
	get(&one, &reply);
	expect_both(&one, &reply);
	scripted_set_state(one.upstream, 0, SCRIPTED_DOWN, true);
	ask(one.larder, NULL, NULL, &reply, "/v2/team/app/referrers/" UNKNOWN);
	expect_error(&reply, 502, "UNKNOWN");
}

WIRE_TEST(referrers_are_what_was_told_last_while_the_upstream_is_down)
{
	struct referred one = referred_new(wire, NEVER_FRESH, NULL);
	_cleanup_free_ char *sbom = descriptor(one.sbom, SBOM);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	get(&one, &reply);
	expect_both(&one, &reply);
	larder_stop(one.larder);
	larder_restart(one.larder);
	scripted_set_state(one.upstream, 0, SCRIPTED_DOWN, true);
	get(&one, &reply);
	expect_both(&one, &reply);
	expect_header_with(&reply, "Cache-Status", "larder; hit; ttl=-");
	expect_header_with(&reply, "Warning", "299 - \"larder serves what the upstream last confirmed ");
	ask(one.larder, NULL, NULL, &reply, "%s?artifactType=application/spdx%%2Bjson", one.target);
	expect_index(&reply, sbom, NULL);
	expect_header_with(&reply, "Warning", "299 - ");
}

static void go_offline(struct wire *wire, struct referred *one)
{
	_cleanup_free_ char *upstream = mem_printf("registry.test=%s", scripted_url(one->upstream, 0));
	static const char *const offline[] = {"--offline", NULL};
	struct larder_options options = {.upstream = upstream, .arguments = offline};
	larder_stop(one->larder);
	scripted_clear_log(one->upstream);
	one->larder = wire_larder(wire, &options);
}

WIRE_TEST(referrers_are_what_is_held_offline)
{
	struct referred one = referred_new(wire, NEVER_FRESH, NULL);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	get(&one, &reply);
	go_offline(wire, &one);
	get(&one, &reply);
	expect_both(&one, &reply);
	ask(one.larder, NULL, NULL, &reply, "/v2/team/app/referrers/" UNKNOWN);
	expect_error(&reply, 404, "MANIFEST_UNKNOWN");
	assert_non_null(strstr(reply.body, "offline"));
	expect_count(one.upstream, NULL, NULL, 0);
}

/* A client of registries without the API asked for the tag itself. */
WIRE_TEST(referrers_are_what_the_tag_that_is_held_says_offline)
{
	struct referred one = referred_new(wire, NEVER_FRESH, NULL);
	_cleanup_free_ char *sbom = descriptor(one.sbom, SBOM);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	add_tag_index(&one);
	ask(one.larder, NULL, "Accept: " SCRIPTED_TYPE_INDEX "\r\n", &reply, "/v2/team/app/manifests/sha256-%s",
	    one.subject + 7);
	assert_int_equal(reply.status, 200);
	go_offline(wire, &one);
	get(&one, &reply);
	expect_index(&reply, sbom, NULL);
}

WIRE_TEST(referrers_in_pages_become_one_list)
{
	struct referred one = referred_new(wire, FRESH, NULL);
	_cleanup_free_ char *sbom = descriptor(one.sbom, SBOM);
	_cleanup_free_ char *signature = descriptor(one.signature, SIGNATURE);
	_cleanup_free_ char *first = mem_printf("{\"manifests\":[%s]}", sbom);
	_cleanup_free_ char *second = mem_printf("{\"manifests\":[%s]}", signature);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct scripted_rule last = {.path = "*/referrers/*page=2",
				     .status = 200,
				     .body = second,
				     .headers = "Content-Type: " SCRIPTED_TYPE_INDEX};
	struct scripted_rule begin = {.path = REFERRERS,
				      .status = 200,
				      .body = first,
				      .headers = "Content-Type: " SCRIPTED_TYPE_INDEX
						 "\nLink: <?artifactType=&page=2>; rel=\"next\""};
	scripted_add_rule(one.upstream, &last);
	scripted_add_rule(one.upstream, &begin);
	get(&one, &reply);
	expect_index(&reply, sbom, signature);
	expect_header(&reply, "Link", NULL);
	expect_hit_soon(one.larder, one.target);
	expect_count(one.upstream, NULL, NULL, 2);
}

WIRE_TEST(referrers_without_end_are_given_up)
{
	struct referred one = referred_new(wire, FRESH, NULL);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct scripted_rule endless = {.path = REFERRERS, .headers = "Link: <?page=again>; rel=\"next\""};
	struct scripted_rule elsewhere = {.path = REFERRERS,
					  .headers = "Link: <http://127.0.0.2:9/v2/x?y=z>; rel=\"next\""};
	int rule = scripted_add_rule(one.upstream, &endless);
	get(&one, &reply);
	expect_error(&reply, 502, "UNKNOWN");
	expect_count(one.upstream, NULL, REFERRERS, 64);
	scripted_remove_rule(one.upstream, rule);
	scripted_clear_log(one.upstream);
	scripted_add_rule(one.upstream, &elsewhere);
	get(&one, &reply);
	expect_error(&reply, 502, "UNKNOWN");
	expect_count(one.upstream, NULL, NULL, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(referrers_are_asked_for_once_while_they_are_fresh),
		WIRE_CASE(referrers_are_filtered_here),
		WIRE_CASE(referrers_of_an_unknown_digest_are_none),
		WIRE_CASE(herd_causes_one_question),
		WIRE_CASE(referrers_without_an_api_are_what_the_tag_says),
		WIRE_CASE(referrers_api_may_be_missing_in_many_ways),
		WIRE_CASE(list_under_another_type_is_a_list),
		WIRE_CASE(failure_is_never_an_empty_list),
		WIRE_CASE(referrers_are_what_was_told_last_while_the_upstream_is_down),
		WIRE_CASE(referrers_are_what_is_held_offline),
		WIRE_CASE(referrers_are_what_the_tag_that_is_held_says_offline),
		WIRE_CASE(referrers_in_pages_become_one_list),
		WIRE_CASE(referrers_without_end_are_given_up),
	};
	return cmocka_run_group_tests_name("referrers", tests, NULL, NULL);
}
