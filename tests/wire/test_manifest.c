/* SPDX-License-Identifier: Apache-2.0 */
/* What manifests and tags cost the upstream, and what clients get when it cannot be asked. */
#include "tests/wire/expect.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include <stdio.h>
#include <string.h>

#define MANIFESTS   "*/manifests/*"
#define BY_TAG      "/v2/team/app/manifests/1.0"
#define BY_DIGEST   "/v2/team/app/manifests/sha256:*"
#define CLIENTS     32
#define ACCEPT_BOTH "Accept: " SCRIPTED_TYPE_MANIFEST ", " SCRIPTED_TYPE_INDEX "\r\n"

/* A tag that is asked about each time. */
#define ALWAYS_STALE                                                                                                   \
	"default_upstream: up.test\n"                                                                                  \
	"upstreams: {up.test: {url: %s, retries: 0, tag_ttl: 0s}}\n"
#define ALWAYS_FRESH                                                                                                   \
	"default_upstream: up.test\n"                                                                                  \
	"upstreams: {up.test: {url: %s, retries: 0, tag_ttl: 1h}}\n"

struct one_tag {
	struct scripted *upstream;
	struct larder *larder;
	struct scripted_image image;
};

static struct one_tag one_tag_new(struct wire *wire, const char *config)
{
	struct one_tag tag = {.upstream = wire_upstream(wire, NULL)};
	scripted_add_image(tag.upstream, "team/app", "1.0", &(struct scripted_image_options){.layer_size = 100},
			   &tag.image);
	tag.larder = larder_configured(wire, tag.upstream, config);
	return tag;
}

static void get_tag(const struct one_tag *tag, struct client_reply *reply)
{
	ask(tag->larder, NULL, ACCEPT_BOTH, reply, BY_TAG);
}

/* What is learnt is written behind the answer: by the time that larder has ended, it is. */
static void settle(const struct one_tag *tag)
{
	larder_stop(tag->larder);
	larder_restart(tag->larder);
}

/* The tag has been pulled; what follows is counted from nothing. */
static void pull_first(const struct one_tag *tag)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	get_tag(tag, &reply);
	expect_content(&reply, tag->image.manifest);
	expect_header(&reply, "Cache-Status", "larder; fwd=miss; stored");
	settle(tag);
	scripted_clear_log(tag->upstream);
}

/* Makes the tag mean another image. */
static void move_tag(const struct one_tag *tag, struct scripted_image *image)
{
	scripted_add_image(tag->upstream, "team/app", "1.0",
			   &(struct scripted_image_options){.layer_size = 100, .seed = 5}, image);
}

WIRE_TEST(cold_tag_costs_one_get)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_FRESH);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	get_tag(&tag, &reply);
	expect_content(&reply, tag.image.manifest);
	expect_header(&reply, "Docker-Content-Digest", tag.image.manifest);
	expect_header(&reply, "Content-Type", SCRIPTED_TYPE_MANIFEST);
	expect_header(&reply, "Docker-Distribution-API-Version", "registry/2.0");
	expect_header_with(&reply, "ETag", tag.image.manifest);
	expect_header(&reply, "Content-Encoding", NULL);
	expect_count(tag.upstream, NULL, NULL, 1);
	expect_count(tag.upstream, "GET", BY_TAG, 1);
}

WIRE_TEST(fresh_tag_costs_nothing)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_FRESH);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	pull_first(&tag);
	get_tag(&tag, &reply);
	expect_content(&reply, tag.image.manifest);
	expect_header(&reply, "Cache-Status", "larder; hit");
	ask(tag.larder, "HEAD", ACCEPT_BOTH, &reply, BY_TAG);
	assert_int_equal(reply.status, 200);
	expect_header(&reply, "Cache-Status", "larder; hit");
	expect_count(tag.upstream, NULL, NULL, 0);
}

WIRE_TEST(held_digest_costs_nothing_ever)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_STALE);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	pull_first(&tag);
	scripted_remove_tag(tag.upstream, "team/app", "1.0");
	ask(tag.larder, NULL, NULL, &reply, "/v2/team/app/manifests/%s", tag.image.manifest);
	expect_content(&reply, tag.image.manifest);
	expect_header(&reply, "Cache-Status", "larder; hit");
	expect_header(&reply, "Content-Type", SCRIPTED_TYPE_MANIFEST);
	ask(tag.larder, "HEAD", NULL, &reply, "/v2/team/app/manifests/%s", tag.image.manifest);
	assert_int_equal(reply.status, 200);
	expect_count(tag.upstream, NULL, NULL, 0);
}

WIRE_TEST(stale_tag_costs_one_head_with_the_clients_accept)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_STALE);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	size_t count;
	pull_first(&tag);
	get_tag(&tag, &reply);
	expect_content(&reply, tag.image.manifest);
	expect_header(&reply, "Warning", NULL);
	expect_count(tag.upstream, NULL, NULL, 1);
	struct scripted_record *records = scripted_records(tag.upstream, "HEAD", BY_TAG, &count);
	assert_int_equal(count, 1);
	assert_string_equal(scripted_record_header(&records[0], "Accept"),
			    SCRIPTED_TYPE_MANIFEST ", " SCRIPTED_TYPE_INDEX);
	scripted_records_free(records, count);
}

WIRE_TEST(moved_tag_costs_a_head_and_a_get_by_digest)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_STALE);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct scripted_image moved;
	pull_first(&tag);
	move_tag(&tag, &moved);
	get_tag(&tag, &reply);
	expect_content(&reply, moved.manifest);
	expect_header(&reply, "Docker-Content-Digest", moved.manifest);
	expect_count(tag.upstream, NULL, NULL, 2);
	expect_count(tag.upstream, "HEAD", BY_TAG, 1);
	expect_count(tag.upstream, "GET", BY_DIGEST, 1);
	get_tag(&tag, &reply);
	expect_content(&reply, moved.manifest);
	expect_count(tag.upstream, "GET", NULL, 1);
}

WIRE_TEST(herd_at_a_stale_tag_costs_one_head)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_STALE);
	struct client_request requests[CLIENTS];
	struct client_reply replies[CLIENTS] = {0};
	pull_first(&tag);
	/* Long enough for all to be there, whatever else this machine does. */
	scripted_add_rule(tag.upstream, &(struct scripted_rule){.method = "HEAD", .delay_ms = 2000});
	for (size_t i = 0; i < CLIENTS; i++)
		requests[i] = (struct client_request){
			.port = larder_port(tag.larder), .target = BY_TAG, .headers = ACCEPT_BOTH};
	assert_true(client_fetch_many(requests, replies, CLIENTS));
	for (size_t i = 0; i < CLIENTS; i++)
		expect_content(&replies[i], tag.image.manifest);
	client_replies_dispose(replies, CLIENTS);
	expect_count(tag.upstream, NULL, NULL, 1);
}

WIRE_TEST(herd_at_a_cold_tag_costs_one_get)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_FRESH);
	struct client_request requests[CLIENTS];
	struct client_reply replies[CLIENTS] = {0};
	for (size_t i = 0; i < CLIENTS; i++)
		requests[i] = (struct client_request){
			.port = larder_port(tag.larder), .target = BY_TAG, .headers = ACCEPT_BOTH};
	assert_true(client_fetch_many(requests, replies, CLIENTS));
	for (size_t i = 0; i < CLIENTS; i++)
		expect_content(&replies[i], tag.image.manifest);
	client_replies_dispose(replies, CLIENTS);
	expect_count(tag.upstream, NULL, NULL, 1);
}

WIRE_TEST(cold_head_is_answered_by_a_head)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_FRESH);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	uint64_t size;
	scripted_manifest_type(tag.upstream, "team/app", tag.image.manifest, &size);
	_cleanup_free_ char *length = mem_printf("%llu", (unsigned long long)size);
	assert_true(ask(tag.larder, "HEAD", ACCEPT_BOTH, &reply, BY_TAG));
	assert_int_equal(reply.status, 200);
	assert_int_equal(reply.body_bytes, 0);
	expect_header(&reply, "Content-Length", length);
	expect_header(&reply, "Content-Type", SCRIPTED_TYPE_MANIFEST);
	expect_header(&reply, "Docker-Content-Digest", tag.image.manifest);
	expect_count(tag.upstream, NULL, NULL, 1);
	expect_count(tag.upstream, "HEAD", BY_TAG, 1);

	assert_true(ask(tag.larder, "HEAD", NULL, &reply, "/v2/team/app/manifests/%s", tag.image.manifest));
	assert_int_equal(reply.status, 200);
	expect_header(&reply, "Content-Length", length);
	expect_header(&reply, "Docker-Content-Digest", tag.image.manifest);
	expect_count(tag.upstream, "GET", NULL, 0);
}

/* As containerd pulls: HEAD of the tag, then GET by digest; the tag is known from then on, whoever is gone. */
WIRE_TEST(head_and_get_by_digest_are_enough_to_hold_a_tag)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_STALE);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	ask(tag.larder, "HEAD", ACCEPT_BOTH, &reply, BY_TAG);
	ask(tag.larder, NULL, ACCEPT_BOTH, &reply, "/v2/team/app/manifests/%s", tag.image.manifest);
	expect_content(&reply, tag.image.manifest);
	settle(&tag);
	scripted_set_state(tag.upstream, 0, SCRIPTED_DOWN, true);
	ask(tag.larder, "HEAD", ACCEPT_BOTH, &reply, BY_TAG);
	assert_int_equal(reply.status, 200);
	expect_header(&reply, "Docker-Content-Digest", tag.image.manifest);
	get_tag(&tag, &reply);
	expect_content(&reply, tag.image.manifest);
}

static void run_to_the_byte(struct wire *wire, const char *type, const char *bytes)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	struct larder *larder = larder_configured(wire, upstream, ALWAYS_FRESH);
	char digest[SCRIPTED_DIGEST_MAX];
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_add_manifest(upstream, "team/app", "1.0", type, bytes, strlen(bytes), digest);
	for (unsigned i = 0; i < 2; i++) {
		ask(larder, NULL, NULL, &reply, BY_TAG);
		expect_content(&reply, digest);
		assert_string_equal(reply.body, bytes);
		expect_header(&reply, "Content-Type", type);
		larder_stop(larder);
		larder_restart(larder);
		ask(larder, NULL, NULL, &reply, "/v2/team/app/manifests/%s", digest);
		expect_content(&reply, digest);
		expect_header(&reply, "Content-Type", type);
	}
	expect_count(upstream, NULL, NULL, 1);
}

WIRE_TEST(odd_spacing_is_kept)
{
	run_to_the_byte(wire, SCRIPTED_TYPE_MANIFEST, "\n{ \"schemaVersion\" :2 ,\r\n\t\"layers\":[ ]}  \n\n");
}

WIRE_TEST(unknown_media_type_is_kept)
{
	run_to_the_byte(wire, "application/vnd.example.Odd.v7+cbor;x=\"1\"", "not even JSON");
}

WIRE_TEST(schema_1_is_kept)
{
	run_to_the_byte(wire, "application/vnd.docker.distribution.manifest.v1+prettyjws",
			"{\n   \"schemaVersion\": 1,\n   \"signatures\": []\n}");
}

WIRE_TEST(clients_of_different_accepts_get_different_manifests)
{
	static const char *const types[] = {SCRIPTED_TYPE_DOCKER, SCRIPTED_TYPE_MANIFEST};
	struct scripted *upstream = wire_upstream(wire, NULL);
	struct larder *larder = larder_configured(wire, upstream, ALWAYS_FRESH);
	char digests[2][SCRIPTED_DIGEST_MAX];
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_add_manifest(upstream, "team/app", NULL, types[0], "{\"a\":1}", 7, digests[0]);
	scripted_add_manifest(upstream, "team/app", NULL, types[1], "{\"b\":22}", 8, digests[1]);
	for (unsigned i = 0; i < 2; i++)
		scripted_set_tag(upstream, "team/app", "1.0", digests[i], true);
	for (unsigned i = 0; i < 6; i++) {
		_cleanup_free_ char *accept = mem_printf("Accept: %s\r\n", types[i % 2]);
		ask(larder, NULL, accept, &reply, BY_TAG);
		expect_content(&reply, digests[i % 2]);
		expect_header(&reply, "Content-Type", types[i % 2]);
	}
	expect_count(upstream, NULL, NULL, 2);
}

WIRE_TEST(client_without_accept_asks_for_every_type)
{
	static const char *const types[] = {SCRIPTED_TYPE_MANIFEST, SCRIPTED_TYPE_INDEX, SCRIPTED_TYPE_DOCKER,
					    SCRIPTED_TYPE_LIST};
	struct one_tag tag = one_tag_new(wire, ALWAYS_STALE);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	size_t count;
	ask(tag.larder, NULL, NULL, &reply, BY_TAG);
	settle(&tag);
	ask(tag.larder, NULL, "Accept: */*\r\n", &reply, BY_TAG);
	struct scripted_record *records = scripted_records(tag.upstream, NULL, BY_TAG, &count);
	assert_int_equal(count, 2);
	assert_string_equal(records[1].method, "HEAD");
	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < 4; k++)
			assert_non_null(strstr(scripted_record_header(&records[i], "Accept"), types[k]));
	scripted_records_free(records, count);
}

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
	pull_first(&tag);
	scripted_remove_tag(tag.upstream, "team/app", "1.0");
	get_tag(&tag, &reply);
	expect_error(&reply, 404, "MANIFEST_UNKNOWN");
	ask(tag.larder, NULL, NULL, &reply, "/v2/team/app/manifests/%s", tag.image.manifest);
	expect_content(&reply, tag.image.manifest);
}

static void expect_stale(const struct one_tag *tag, const char *why)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	get_tag(tag, &reply);
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
	pull_first(&tag);
	scripted_set_state(tag.upstream, 0, SCRIPTED_DOWN, true);
	expect_stale(&tag, "up.test");
	settle(&tag);
	expect_stale(&tag, "up.test");
}

WIRE_TEST(held_tag_is_served_stale_while_the_upstream_fails)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_STALE);
	pull_first(&tag);
	scripted_add_rule(tag.upstream, &(struct scripted_rule){.path = MANIFESTS, .status = 500});
	expect_stale(&tag, "500");
}

WIRE_TEST(held_tag_is_served_stale_while_the_upstream_limits)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_STALE);
	pull_first(&tag);
	scripted_add_rule(tag.upstream, &(struct scripted_rule){.path = MANIFESTS, .status = 429});
	expect_stale(&tag, "429");
}

WIRE_TEST(held_tag_is_served_stale_while_the_upstream_says_nothing)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_STALE);
	pull_first(&tag);
	scripted_set_state(tag.upstream, 0, SCRIPTED_MUTE, true);
	expect_stale(&tag, "up.test");
	/* It is known to hang: nobody waits for it any more, let alone for the 4 s that the first one did. */
	for (unsigned i = 0; i < 5; i++) {
		uint64_t began_ms = clock_ms();
		expect_stale(&tag, "up.test");
		assert_in_range(clock_ms() - began_ms, 0, 2000);
	}
	/* Back again: the next who asks after it was noticed gets a fresh one. */
	scripted_set_state(tag.upstream, 0, SCRIPTED_UP, true);
	assert_true(scripted_wait_count(tag.upstream, NULL, NULL, 1, WIRE_WAIT_MS));
}

/* HEADs are free at Docker Hub, GETs are not: the tag moved, and its new manifest cannot be had. */
WIRE_TEST(moved_tag_that_cannot_be_fetched_is_served_stale)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_STALE);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct scripted_image moved;
	pull_first(&tag);
	move_tag(&tag, &moved);
	int limit = scripted_add_rule(tag.upstream,
				      &(struct scripted_rule){.method = "GET", .path = MANIFESTS, .status = 403});
	for (unsigned i = 0; i < 2; i++) {
		get_tag(&tag, &reply);
		expect_content(&reply, tag.image.manifest);
		expect_header_with(&reply, "Cache-Status", "larder; hit; ttl=-");
	}
	scripted_remove_rule(tag.upstream, limit);
	get_tag(&tag, &reply);
	expect_content(&reply, moved.manifest);
}

static void run_cold_failure(struct wire *wire, const struct scripted_rule *rule, int status, const char *code,
			     const char *retry_after)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_STALE);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_add_rule(tag.upstream, rule);
	get_tag(&tag, &reply);
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
		get_tag(&tag, &reply);
		expect_error(&reply, 502, "UNKNOWN");
		ask(tag.larder, "HEAD", ACCEPT_BOTH, &reply, BY_TAG);
		assert_int_equal(reply.status, 502);
	}
	scripted_remove_rule(tag.upstream, 0);
	get_tag(&tag, &reply);
	expect_content(&reply, tag.image.manifest);
}

WIRE_TEST(held_tag_is_served_stale_while_the_upstream_gives_a_page)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_STALE);
	pull_first(&tag);
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
	get_tag(&tag, &reply);
	expect_error(&reply, 502, "UNKNOWN");
	assert_true(larder_wait_output(tag.larder, "warn upstream up.test", WIRE_WAIT_MS));
	ask(tag.larder, NULL, NULL, &reply, "/v2/team/app/blobs/%s", tag.image.config);
	expect_error(&reply, 502, "UNKNOWN");
	scripted_set_state(tag.upstream, 0, SCRIPTED_UP, false);
	get_tag(&tag, &reply);
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

WIRE_TEST(manifest_of_one_repository_is_not_served_in_another)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_FRESH);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	pull_first(&tag);
	ask(tag.larder, NULL, NULL, &reply, "/v2/team/other/manifests/%s", tag.image.manifest);
	expect_error(&reply, 404, "MANIFEST_UNKNOWN");
	expect_count(tag.upstream, NULL, "/v2/team/other/manifests/*", 1);
}

WIRE_TEST(what_the_client_has_is_a_304)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_FRESH);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *headers = mem_printf("If-None-Match: \"%s\"\r\n", tag.image.manifest);
	pull_first(&tag);
	assert_true(ask(tag.larder, NULL, headers, &reply, BY_TAG));
	assert_int_equal(reply.status, 304);
	assert_int_equal(reply.body_bytes, 0);
	expect_header_with(&reply, "ETag", tag.image.manifest);
	expect_header(&reply, "Docker-Content-Digest", tag.image.manifest);
	ask(tag.larder, NULL, "If-None-Match: \"sha256:00\"\r\n", &reply, BY_TAG);
	expect_content(&reply, tag.image.manifest);
}

WIRE_TEST(range_is_ignored_on_manifests)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_FRESH);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	for (unsigned i = 0; i < 2; i++) {
		ask(tag.larder, NULL, "Range: bytes=0-\r\n", &reply, "/v2/team/app/manifests/%s", tag.image.manifest);
		expect_content(&reply, tag.image.manifest);
		expect_header(&reply, "Content-Range", NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(cold_tag_costs_one_get),
		WIRE_CASE(fresh_tag_costs_nothing),
		WIRE_CASE(held_digest_costs_nothing_ever),
		WIRE_CASE(stale_tag_costs_one_head_with_the_clients_accept),
		WIRE_CASE(moved_tag_costs_a_head_and_a_get_by_digest),
		WIRE_CASE(herd_at_a_stale_tag_costs_one_head),
		WIRE_CASE(herd_at_a_cold_tag_costs_one_get),
		WIRE_CASE(cold_head_is_answered_by_a_head),
		WIRE_CASE(head_and_get_by_digest_are_enough_to_hold_a_tag),
		WIRE_CASE(odd_spacing_is_kept),
		WIRE_CASE(unknown_media_type_is_kept),
		WIRE_CASE(schema_1_is_kept),
		WIRE_CASE(clients_of_different_accepts_get_different_manifests),
		WIRE_CASE(client_without_accept_asks_for_every_type),
		WIRE_CASE(missing_tag_is_a_404_and_remembered),
		WIRE_CASE(missing_tag_is_asked_for_again_after_missing_ttl),
		WIRE_CASE(removed_tag_is_a_404_and_its_digest_stays),
		WIRE_CASE(held_tag_is_served_stale_while_the_upstream_is_down),
		WIRE_CASE(held_tag_is_served_stale_while_the_upstream_fails),
		WIRE_CASE(held_tag_is_served_stale_while_the_upstream_limits),
		WIRE_CASE(held_tag_is_served_stale_while_the_upstream_says_nothing),
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
		WIRE_CASE(manifest_of_one_repository_is_not_served_in_another),
		WIRE_CASE(what_the_client_has_is_a_304),
		WIRE_CASE(range_is_ignored_on_manifests),
	};
	return cmocka_run_group_tests_name("manifest", tests, NULL, NULL);
}
