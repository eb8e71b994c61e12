/* SPDX-License-Identifier: Apache-2.0 */
/* What clients get of manifests and tags that the upstream does not have, or cannot be asked for, or talks nonsense
 * about. */
#include "tests/wire/one_tag.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include <string.h>

#define MANIFESTS "*/manifests/*"
#define HANG_MS   4000 /* how long a client waits for an upstream that says nothing, while something is held */

WIRE_TEST(missing_tag_is_a_404_and_remembered)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_STALE);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	for (unsigned i = 0; i < 3; i++) {
		ask(tag.larder, NULL, NULL, &reply, "/v2/team/app/manifests/none");
		expect_error(&reply, 404, "MANIFEST_UNKNOWN");
	}
	expect_count(tag.upstream, NULL, NULL, 1);
}

WIRE_TEST(missing_tag_is_asked_for_again_after_missing_ttl)
{
	struct one_tag tag = one_tag_new(wire, "default_upstream: up.test\n"
					       "upstreams: {up.test: {url: %s, retries: 0, missing_ttl: 0s}}\n");
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	ask(tag.larder, NULL, NULL, &reply, "/v2/team/app/manifests/none");
	expect_error(&reply, 404, "MANIFEST_UNKNOWN");
	scripted_set_tag(tag.upstream, "team/app", "none", tag.image.manifest, false);
	ask(tag.larder, NULL, NULL, &reply, "/v2/team/app/manifests/none");
	expect_content(&reply, tag.image.manifest);
}

WIRE_TEST(removed_tag_is_a_404_and_its_digest_stays)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_STALE);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	one_tag_pull_first(&tag);
	scripted_remove_tag(tag.upstream, "team/app", "1.0");
	one_tag_get(&tag, &reply);
	expect_error(&reply, 404, "MANIFEST_UNKNOWN");
	ask(tag.larder, NULL, NULL, &reply, "/v2/team/app/manifests/%s", tag.image.manifest);
	expect_content(&reply, tag.image.manifest);
}

static void expect_stale(const struct one_tag *tag, const char *why)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	one_tag_get(tag, &reply);
	expect_content(&reply, tag->image.manifest);
	expect_header_with(&reply, "Cache-Status", "larder; hit; ttl=-");
	expect_header_with(&reply, "Warning", "299 - \"");
	expect_header_with(&reply, "Warning", why);
	ask(tag->larder, "HEAD", ACCEPT_BOTH, &reply, BY_TAG);
	assert_int_equal(reply.status, 200);
	expect_header(&reply, "Docker-Content-Digest", tag->image.manifest);
	expect_header_with(&reply, "Cache-Status", "larder; hit; ttl=-");
}

WIRE_TEST(held_tag_is_served_stale_while_the_upstream_is_down)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_STALE);
	one_tag_pull_first(&tag);
	scripted_set_state(tag.upstream, 0, SCRIPTED_DOWN, true);
	expect_stale(&tag, "up.test");
	one_tag_settle(&tag);
	expect_stale(&tag, "up.test");
}

WIRE_TEST(held_tag_is_served_stale_while_the_upstream_fails)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_STALE);
	one_tag_pull_first(&tag);
	scripted_add_rule(tag.upstream, &(struct scripted_rule){.path = MANIFESTS, .status = 500});
	expect_stale(&tag, "500");
}

WIRE_TEST(held_tag_is_served_stale_while_the_upstream_limits)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_STALE);
	one_tag_pull_first(&tag);
	scripted_add_rule(tag.upstream, &(struct scripted_rule){.path = MANIFESTS, .status = 429});
	expect_stale(&tag, "429");
}

WIRE_TEST(held_tag_is_served_stale_while_the_upstream_says_nothing)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_STALE);
	one_tag_pull_first(&tag);
	scripted_set_state(tag.upstream, 0, SCRIPTED_MUTE, true);
	expect_stale(&tag, "up.test");
	/* It is known to hang: nobody waits for it any more, as the first one did. */
	for (unsigned i = 0; i < 5; i++) {
		uint64_t began_ms = clock_ms();
		expect_stale(&tag, "up.test");
		assert_in_range(clock_ms() - began_ms, 0, HANG_MS - 1);
	}
	/* Back again: the next who asks after it was noticed gets a fresh one. */
	scripted_set_state(tag.upstream, 0, SCRIPTED_UP, true);
	assert_true(scripted_wait_count(tag.upstream, NULL, NULL, 1, WIRE_WAIT_MS));
}

/* Nobody who can be served waits for it to want to be asked again, and nobody asks before. */
WIRE_TEST(held_tag_is_served_stale_at_once_while_the_upstream_wants_to_be_left_alone)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_STALE);
	one_tag_pull_first(&tag);
	scripted_add_rule(tag.upstream, &(struct scripted_rule){.status = 429, .headers = "Retry-After: 9"});
	for (unsigned i = 0; i < 3; i++) {
		uint64_t began_ms = clock_ms();
		expect_stale(&tag, "429");
		assert_in_range(clock_ms() - began_ms, 0, HANG_MS - 1);
	}
	expect_count(tag.upstream, NULL, NULL, 1);
}

/* A store with room for what it has, and for little more. */
#define LITTLE_ROOM                                                                                                    \
	"default_upstream: up.test\n"                                                                                  \
	"store: {max_size: 2MiB, min_free: 0}\n"                                                                       \
	"upstreams: {up.test: {url: %s, retries: 0, tag_ttl: 0s}}\n"

/* It was passed on. While the upstream is gone the tag means what is held of it. */
WIRE_TEST(moved_tag_whose_manifest_could_not_be_kept_means_the_one_before)
{
	struct one_tag tag = one_tag_new(wire, LITTLE_ROOM);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *blanks = mem_alloc(3 * MIB + 1), *large = NULL;
	char digest[SCRIPTED_DIGEST_MAX];

	one_tag_pull_first(&tag);
	memset(blanks, ' ', 3 * MIB);
	large = mem_printf("{\"schemaVersion\":2,\"layers\":[]%s}", blanks);
	scripted_add_manifest(tag.upstream, "team/app", "1.0", SCRIPTED_TYPE_MANIFEST, large, strlen(large), digest);
	one_tag_get(&tag, &reply);
	expect_content(&reply, digest);
	one_tag_settle(&tag);
	scripted_set_state(tag.upstream, 0, SCRIPTED_DOWN, true);
	expect_stale(&tag, "up.test");
}

/* HEADs are free at Docker Hub, GETs are not: the tag moved, and its new manifest cannot be had. */
WIRE_TEST(moved_tag_that_cannot_be_fetched_is_served_stale)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_STALE);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct scripted_image moved;
	one_tag_pull_first(&tag);
	one_tag_move(&tag, &moved);
	int limit = scripted_add_rule(tag.upstream,
				      &(struct scripted_rule){.method = "GET", .path = MANIFESTS, .status = 403});
	for (unsigned i = 0; i < 2; i++) {
		one_tag_get(&tag, &reply);
		expect_content(&reply, tag.image.manifest);
		expect_header_with(&reply, "Cache-Status", "larder; hit; ttl=-");
	}
	scripted_remove_rule(tag.upstream, limit);
	one_tag_get(&tag, &reply);
	expect_content(&reply, moved.manifest);
}

static void run_cold_failure(struct wire *wire, const struct scripted_rule *rule, int status, const char *code,
			     const char *retry_after)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_STALE);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_add_rule(tag.upstream, rule);
	one_tag_get(&tag, &reply);
	expect_error(&reply, status, code);
	expect_header(&reply, "Retry-After", retry_after);
	expect_count(tag.upstream, NULL, NULL, 1);
}

WIRE_TEST(limit_with_nothing_held_is_a_503_with_retry_after)
{
	run_cold_failure(wire, &(struct scripted_rule){.path = MANIFESTS, .status = 429, .headers = "Retry-After: 17"},
			 503, "TOOMANYREQUESTS", "17");
}

WIRE_TEST(forbidden_is_a_403)
{
	run_cold_failure(wire, &(struct scripted_rule){.path = MANIFESTS, .status = 403}, 403, "DENIED", NULL);
}

WIRE_TEST(unauthorized_is_a_403)
{
	run_cold_failure(wire, &(struct scripted_rule){.path = MANIFESTS, .status = 401}, 403, "DENIED", NULL);
}

WIRE_TEST(failure_with_nothing_held_is_a_502)
{
	run_cold_failure(wire, &(struct scripted_rule){.path = MANIFESTS, .status = 500}, 502, "UNKNOWN", NULL);
}

WIRE_TEST(nonsense_with_nothing_held_is_a_502)
{
	run_cold_failure(wire, &(struct scripted_rule){.path = MANIFESTS, .status = 418}, 502, "UNKNOWN", NULL);
}

/* A login page, a captive portal, a proxy's apology: all with status 200. */
static const char *const no_manifests[][2] = {
	{"text/html; charset=utf-8", "<!doctype html><title>Log in</title>"},
	{"application/json", "<html></html>"},
	{SCRIPTED_TYPE_MANIFEST, "{\"schemaVersion\":2,\"layers\":["},
	{SCRIPTED_TYPE_MANIFEST, "[]"},
	{"text/plain", "gateway is starting"},
	{"", "nothing to see"},
	{SCRIPTED_TYPE_INDEX, ""},
};

/* Makes the upstream give the nth of them. */
static void give_page(const struct one_tag *tag, size_t nth)
{
	_cleanup_free_ char *headers =
		mem_printf("Content-Type: %s\nDocker-Content-Digest:\nETag:", no_manifests[nth][0]);
	struct scripted_rule rule = {
		.path = MANIFESTS, .status = 200, .body = no_manifests[nth][1], .headers = headers};

	scripted_remove_rule(tag->upstream, 0);
	scripted_add_rule(tag->upstream, &rule);
}

WIRE_TEST(page_instead_of_a_manifest_is_a_502)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_STALE);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	for (size_t i = 0; i < sizeof(no_manifests) / sizeof(no_manifests[0]); i++) {
		give_page(&tag, i);
		one_tag_get(&tag, &reply);
		expect_error(&reply, 502, "UNKNOWN");
		ask(tag.larder, "HEAD", ACCEPT_BOTH, &reply, BY_TAG);
		assert_int_equal(reply.status, 502);
	}
	scripted_remove_rule(tag.upstream, 0);
	one_tag_get(&tag, &reply);
	expect_content(&reply, tag.image.manifest);
}

WIRE_TEST(held_tag_is_served_stale_while_the_upstream_gives_a_page)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_STALE);
	one_tag_pull_first(&tag);
	for (size_t i = 0; i < sizeof(no_manifests) / sizeof(no_manifests[0]); i++) {
		give_page(&tag, i);
		expect_stale(&tag, "is no manifest");
	}
}

WIRE_TEST(unreachable_upstream_with_nothing_held_is_a_502)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_STALE);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_set_state(tag.upstream, 0, SCRIPTED_DOWN, true);
	one_tag_get(&tag, &reply);
	expect_error(&reply, 502, "UNKNOWN");
	assert_true(larder_wait_output(tag.larder, "warn upstream up.test", WIRE_WAIT_MS));
	ask(tag.larder, NULL, NULL, &reply, "/v2/team/app/blobs/%s", tag.image.config);
	expect_error(&reply, 502, "UNKNOWN");
	scripted_set_state(tag.upstream, 0, SCRIPTED_UP, false);
	one_tag_get(&tag, &reply);
	expect_content(&reply, tag.image.manifest);
}

/* What the upstream says in its error's body is told on, also while it is remembered. */
static void run_missing(struct wire *wire, int status, const char *said, const char *code)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_STALE);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *body = mem_printf("{\"errors\":[{\"code\":\"%s\",\"message\":\"m\"}]}", said);
	scripted_add_rule(tag.upstream,
			  &(struct scripted_rule){.path = "/v2/team/none/*", .status = status, .body = body});
	for (unsigned i = 0; i < 2; i++) {
		ask(tag.larder, NULL, NULL, &reply, "/v2/team/none/manifests/1.0");
		expect_error(&reply, 404, code ? code : "MANIFEST_UNKNOWN");
		ask(tag.larder, NULL, NULL, &reply, "/v2/team/none/manifests/%s", tag.image.manifest);
		expect_error(&reply, 404, code ? code : "MANIFEST_UNKNOWN");
		ask(tag.larder, NULL, NULL, &reply, "/v2/team/none/blobs/%s", tag.image.config);
		expect_error(&reply, 404, code ? code : "BLOB_UNKNOWN");
		ask(tag.larder, NULL, NULL, &reply, "/v2/team/none/tags/list");
		expect_error(&reply, 404, "NAME_UNKNOWN");
	}
	expect_count(tag.upstream, NULL, NULL, 4);
}

WIRE_TEST(missing_repository_is_called_so)
{
	run_missing(wire, 404, "NAME_UNKNOWN", "NAME_UNKNOWN");
}

WIRE_TEST(refusal_that_says_that_the_repository_is_missing_is_a_404)
{
	run_missing(wire, 403, "NAME_UNKNOWN", "NAME_UNKNOWN");
}

WIRE_TEST(refusal_that_says_what_is_missing_is_a_404)
{
	run_missing(wire, 403, "MANIFEST_UNKNOWN", NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(missing_tag_is_a_404_and_remembered),
		WIRE_CASE(missing_tag_is_asked_for_again_after_missing_ttl),
		WIRE_CASE(removed_tag_is_a_404_and_its_digest_stays),
		WIRE_CASE(held_tag_is_served_stale_while_the_upstream_is_down),
		WIRE_CASE(held_tag_is_served_stale_while_the_upstream_fails),
		WIRE_CASE(held_tag_is_served_stale_while_the_upstream_limits),
		WIRE_CASE(held_tag_is_served_stale_while_the_upstream_says_nothing),
		WIRE_CASE(held_tag_is_served_stale_at_once_while_the_upstream_wants_to_be_left_alone),
		WIRE_CASE(moved_tag_whose_manifest_could_not_be_kept_means_the_one_before),
		WIRE_CASE(moved_tag_that_cannot_be_fetched_is_served_stale),
		WIRE_CASE(limit_with_nothing_held_is_a_503_with_retry_after),
		WIRE_CASE(forbidden_is_a_403),
		WIRE_CASE(unauthorized_is_a_403),
		WIRE_CASE(failure_with_nothing_held_is_a_502),
		WIRE_CASE(nonsense_with_nothing_held_is_a_502),
		WIRE_CASE(page_instead_of_a_manifest_is_a_502),
		WIRE_CASE(held_tag_is_served_stale_while_the_upstream_gives_a_page),
		WIRE_CASE(missing_repository_is_called_so),
		WIRE_CASE(refusal_that_says_what_is_missing_is_a_404),
		WIRE_CASE(refusal_that_says_that_the_repository_is_missing_is_a_404),
		WIRE_CASE(unreachable_upstream_with_nothing_held_is_a_502),
	};
	return cmocka_run_group_tests_name("manifest_failures", tests, NULL, NULL);
}
