/* SPDX-License-Identifier: Apache-2.0 */
/* What clients are told when something is wrong: each kind of failure, for each thing that can be asked for, by GET and
 * by HEAD. */
#include "tests/wire/expect.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <stdio.h>
#include <string.h>

#define HEX         "1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define DIGEST      "sha256:" HEX
#define ZEROS       "0000000000000000000000000000000000000000000000000000000000000000"
#define MANIFEST    "/v2/team/app/manifests/"
#define BLOB        "/v2/team/app/blobs/"
#define TAGS        "/v2/team/app/tags/list"
#define REFERRERS   "/v2/team/app/referrers/"
#define TAG_INVALID "MANIFEST_INVALID"

/* Nothing of it is held. */
static const struct thing {
	const char *target;
	const char *unknown; /* the code when there is none */
} things[] = {
	{MANIFEST "1.0", "MANIFEST_UNKNOWN"},
	{MANIFEST DIGEST, "MANIFEST_UNKNOWN"},
	{BLOB DIGEST, "BLOB_UNKNOWN"},
	{TAGS, "NAME_UNKNOWN"},
	{REFERRERS DIGEST, NULL},
};

#define THINGS (sizeof(things) / sizeof(things[0]))

struct bed {
	struct scripted *upstream;
	struct larder *larder;
};

static struct bed bed_new(struct wire *wire, const char *keys)
{
	struct bed bed = {.upstream = wire_upstream(wire, NULL)};
	_cleanup_free_ char *config = mem_printf("default_upstream: up.test\n"
						 "upstreams: {up.test: {url: %%s, retries: 0, missing_ttl: 0s%s}}\n",
						 keys);

	bed.larder = larder_configured(wire, bed.upstream, config);
	return bed;
}

static void expect_head(const struct larder *larder, const char *target, int status)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	if (!ask(larder, "HEAD", NULL, &reply, "%s", target) || reply.status != status || reply.body_bytes != 0)
		fail_msg("HEAD %s: %d %s instead of %d", target, reply.status, reply.error, status);
	expect_header(&reply, "Content-Type", "application/json");
	expect_header(&reply, "Docker-Distribution-API-Version", "registry/2.0");
	expect_header(&reply, "Cache-Status", NULL);
}

/* A code of NULL stands for the thing's own. */
static void expect_failures(const struct bed *bed, int status, const char *code, const char *retry_after)
{
	for (size_t i = 0; i < THINGS; i++) {
		_cleanup_(client_reply_dispose) struct client_reply reply = {0};

		if (!code && !things[i].unknown)
			continue;
		ask(bed->larder, NULL, NULL, &reply, "%s", things[i].target);
		expect_error(&reply, status, code ? code : things[i].unknown);
		expect_header(&reply, "Cache-Status", NULL);
		if (!retry_after)
			expect_header(&reply, "Retry-After", NULL);
		else
			expect_header_with(&reply, "Retry-After", retry_after);
		assert_non_null(strstr(reply.body, "\"detail\":\""));
		expect_head(bed->larder, things[i].target, status);
	}
}

static void run_rule(struct wire *wire, const struct scripted_rule *rule, int status, const char *code)
{
	struct bed bed = bed_new(wire, "");

	scripted_add_rule(bed.upstream, rule);
	expect_failures(&bed, status, code, NULL);
}

WIRE_TEST(what_is_missing_is_a_404_by_its_kind)
{
	struct bed bed = bed_new(wire, "");

	expect_failures(&bed, 404, NULL, NULL);
}

WIRE_TEST(refusal_with_401_is_a_403)
{
	run_rule(wire, &(struct scripted_rule){.status = 401}, 403, "DENIED");
}

WIRE_TEST(refusal_with_403_is_a_403)
{
	run_rule(wire, &(struct scripted_rule){.status = 403}, 403, "DENIED");
}

WIRE_TEST(failure_is_a_502)
{
	run_rule(wire, &(struct scripted_rule){.status = 500}, 502, "UNKNOWN");
}

WIRE_TEST(overload_is_a_502)
{
	run_rule(wire, &(struct scripted_rule){.status = 503}, 502, "UNKNOWN");
}

WIRE_TEST(answer_that_breaks_off_is_a_502)
{
	run_rule(wire, &(struct scripted_rule){.cut = SCRIPTED_CUT_FIN, .cut_at = SCRIPTED_BEFORE_HEAD}, 502,
		 "UNKNOWN");
}

WIRE_TEST(answer_that_is_no_http_is_a_502)
{
	run_rule(wire, &(struct scripted_rule){.raw = "SSH-2.0-OpenSSH\r\n", .raw_len = 17}, 502, "UNKNOWN");
}

WIRE_TEST(status_that_nobody_expects_is_a_502)
{
	run_rule(wire, &(struct scripted_rule){.status = 418}, 502, "UNKNOWN");
}

WIRE_TEST(upstream_that_is_down_is_a_502)
{
	struct bed bed = bed_new(wire, "");

	scripted_set_state(bed.upstream, 0, SCRIPTED_DOWN, true);
	expect_failures(&bed, 502, "UNKNOWN", NULL);
}

WIRE_TEST(upstream_that_says_nothing_is_a_502)
{
	struct bed bed = bed_new(wire, ", idle_timeout: 1s, connect_timeout: 1s");
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	scripted_set_state(bed.upstream, 0, SCRIPTED_MUTE, true);
	ask(bed.larder, NULL, NULL, &reply, MANIFEST "1.0");
	expect_error(&reply, 502, "UNKNOWN");
	ask(bed.larder, NULL, NULL, &reply, BLOB DIGEST);
	expect_error(&reply, 502, "UNKNOWN");
	expect_head(bed.larder, BLOB DIGEST, 502);
}

WIRE_TEST(offline_larder_says_404_and_why)
{
	struct bed bed = {.larder = wire_larder(wire, &(struct larder_options){.config = "offline: true\n"})};
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	expect_failures(&bed, 404, NULL, NULL);
	for (size_t i = 0; i < THINGS; i++) {
		ask(bed.larder, NULL, NULL, &reply, "%s", things[i].target);
		assert_int_equal(reply.status, 404);
		assert_non_null(strstr(strstr(reply.body, "\"detail\":\""), "offline"));
	}
}

/* 429. The upstream is left alone for as long as it says, and everybody is told so at once. */

WIRE_TEST(limit_is_a_503_for_all_and_the_upstream_is_left_alone)
{
	struct bed bed = bed_new(wire, "");

	scripted_add_rule(bed.upstream, &(struct scripted_rule){.status = 429, .headers = "Retry-After: 59"});
	expect_failures(&bed, 503, "TOOMANYREQUESTS", "5"); /* 59, and less from then on */
	expect_count(bed.upstream, NULL, NULL, 1);
}

WIRE_TEST(limit_without_a_time_is_a_503_with_one)
{
	struct bed bed = bed_new(wire, "");

	scripted_add_rule(bed.upstream, &(struct scripted_rule){.status = 429});
	expect_failures(&bed, 503, "TOOMANYREQUESTS", "1");
}

WIRE_TEST(limit_of_the_registry_does_not_hold_up_its_mirror)
{
	struct scripted *mirror = wire_upstream(wire, NULL);
	struct scripted_image image;
	_cleanup_free_ char *keys = mem_printf(", mirrors: [ \"%s\" ]", scripted_url(mirror, 0));
	struct bed bed = bed_new(wire, keys);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	scripted_add_image(mirror, "team/app", "1.0", &(struct scripted_image_options){.layer_size = 1000}, &image);
	scripted_add_rule(bed.upstream, &(struct scripted_rule){.status = 429, .headers = "Retry-After: 59"});
	ask(bed.larder, NULL, NULL, &reply, MANIFEST "1.0");
	expect_content(&reply, image.manifest);
	ask(bed.larder, NULL, NULL, &reply, BLOB "%s", image.layer[0]);
	expect_content(&reply, image.layer[0]);
	expect_count(bed.upstream, NULL, NULL, 1);
}

/* Malformed. */

WIRE_TEST(malformed_requests_are_named_and_not_asked_for)
{
	static const struct {
		const char *target;
		int status;
		const char *code;
	} cases[] = {
		{BLOB "sha256:00", 400, "DIGEST_INVALID"},
		{BLOB "sha256:" ZEROS "0", 400, "DIGEST_INVALID"},
		{BLOB "sha256:" ZEROS "/", 404, "NAME_UNKNOWN"},
		{BLOB "SHA256:" ZEROS, 400, "DIGEST_INVALID"},
		{BLOB "sha256:A123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", 400, "DIGEST_INVALID"},
		{BLOB "sha512:" ZEROS, 400, "DIGEST_INVALID"},
		{BLOB "md5:00000000000000000000000000000000", 400, "DIGEST_INVALID"},
		{BLOB "latest", 400, "DIGEST_INVALID"},
		{BLOB, 400, "DIGEST_INVALID"},
		{REFERRERS "latest", 400, "DIGEST_INVALID"},
		{REFERRERS "sha256:00", 400, "DIGEST_INVALID"},
		{MANIFEST "sha256:xyz", 400, "DIGEST_INVALID"},
		{MANIFEST ":", 400, "DIGEST_INVALID"},
		{MANIFEST ".hidden", 400, TAG_INVALID},
		{MANIFEST "-dash", 400, TAG_INVALID},
		{MANIFEST "a%20b", 400, TAG_INVALID},
		{MANIFEST "a+b", 400, TAG_INVALID},
		{MANIFEST "a@" DIGEST, 400, "DIGEST_INVALID"},
		{MANIFEST, 400, TAG_INVALID},
		{"/v2/Team/app/manifests/1.0", 400, "NAME_INVALID"},
		{"/v2/team//app/manifests/1.0", 400, "NAME_INVALID"},
		{"/v2//manifests/1.0", 400, "NAME_INVALID"},
		{"/v2//tags/list", 400, "NAME_INVALID"},
		{"/v2/team/../app/manifests/1.0", 400, "NAME_INVALID"},
		{"/v2/team/%2e%2e/app/manifests/1.0", 400, "NAME_INVALID"},
		{"/v2/-team/app/manifests/1.0", 400, "NAME_INVALID"},
		{"/v2/team_/app/blobs/" DIGEST, 400, "NAME_INVALID"},
		{"/v2/team/app%zz/manifests/1.0", 400, "NAME_INVALID"},
		{"/v2/team/app%00/manifests/1.0", 400, "NAME_INVALID"},
		{"/v2/team/app", 404, "NAME_UNKNOWN"},
		{"/v2/team/app/tags", 404, "NAME_UNKNOWN"},
		{"/v1/_ping", 404, "NAME_UNKNOWN"},
		{"/", 404, "NAME_UNKNOWN"},
		{"/nowhere.test/v2/", 404, "NAME_UNKNOWN"},
	};
	struct bed bed = bed_new(wire, "");

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		_cleanup_(client_reply_dispose) struct client_reply reply = {0};

		ask(bed.larder, NULL, NULL, &reply, "%s", cases[i].target);
		if (reply.status != cases[i].status || !strstr(reply.body, cases[i].code))
			fail_msg("%s: %d %s instead of %d %s", cases[i].target, reply.status, reply.body,
				 cases[i].status, cases[i].code);
		expect_error(&reply, cases[i].status, cases[i].code);
		expect_head(bed.larder, cases[i].target, cases[i].status);
	}
	expect_count(bed.upstream, NULL, NULL, 0);
}

WIRE_TEST(longest_reference_is_asked_for_and_a_longer_one_is_not)
{
	static const size_t too_long[] = {129, 256, 257, 1000};
	struct bed bed = bed_new(wire, "");
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	char tag[1001];

	memset(tag, 'a', sizeof(tag));
	for (size_t i = 0; i < sizeof(too_long) / sizeof(too_long[0]); i++) {
		tag[too_long[i]] = '\0';
		ask(bed.larder, NULL, NULL, &reply, MANIFEST "%s", tag);
		expect_error(&reply, 400, TAG_INVALID);
		ask(bed.larder, NULL, NULL, &reply, BLOB "sha256:%s", tag);
		expect_error(&reply, 400, "DIGEST_INVALID");
		tag[too_long[i]] = 'a';
	}
	expect_count(bed.upstream, NULL, NULL, 0);
	tag[128] = '\0';
	ask(bed.larder, NULL, NULL, &reply, MANIFEST "%s", tag);
	expect_error(&reply, 404, "MANIFEST_UNKNOWN");
	expect_count(bed.upstream, NULL, NULL, 1);
}

WIRE_TEST(pushing_and_deleting_is_refused)
{
	static const struct {
		const char *method, *target;
	} cases[] = {
		{"POST", BLOB "uploads/"},
		{"POST", BLOB "uploads/?mount=" DIGEST "&from=a/b"},
		{"PATCH", BLOB "uploads/1234"},
		{"PUT", BLOB "uploads/1234?digest=" DIGEST},
		{"GET", BLOB "uploads/1234"},
		{"PUT", MANIFEST "1.0"},
		{"PUT", MANIFEST DIGEST},
		{"DELETE", MANIFEST "1.0"},
		{"DELETE", MANIFEST DIGEST},
		{"DELETE", BLOB DIGEST},
		{"POST", "/v2/up.test/team/app/blobs/uploads/"},
		{"POST", BLOB "uploads/?ns=up.test"},
		{"BREW", MANIFEST "1.0"},
	};
	struct bed bed = bed_new(wire, "");

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		_cleanup_(client_reply_dispose) struct client_reply reply = {0};
		struct client_request request = {.port = larder_port(bed.larder),
						 .method = cases[i].method,
						 .target = cases[i].target,
						 .body = "{}",
						 .body_len = 2};

		client_fetch(&request, &reply);
		expect_error(&reply, 405, "UNSUPPORTED");
		expect_header(&reply, "Allow", "GET, HEAD");
	}
	expect_count(bed.upstream, NULL, NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(what_is_missing_is_a_404_by_its_kind),
		WIRE_CASE(refusal_with_401_is_a_403),
		WIRE_CASE(refusal_with_403_is_a_403),
		WIRE_CASE(failure_is_a_502),
		WIRE_CASE(overload_is_a_502),
		WIRE_CASE(answer_that_breaks_off_is_a_502),
		WIRE_CASE(answer_that_is_no_http_is_a_502),
		WIRE_CASE(status_that_nobody_expects_is_a_502),
		WIRE_CASE(upstream_that_is_down_is_a_502),
		WIRE_CASE(upstream_that_says_nothing_is_a_502),
		WIRE_CASE(offline_larder_says_404_and_why),
		WIRE_CASE(limit_is_a_503_for_all_and_the_upstream_is_left_alone),
		WIRE_CASE(limit_without_a_time_is_a_503_with_one),
		WIRE_CASE(limit_of_the_registry_does_not_hold_up_its_mirror),
		WIRE_CASE(malformed_requests_are_named_and_not_asked_for),
		WIRE_CASE(longest_reference_is_asked_for_and_a_longer_one_is_not),
		WIRE_CASE(pushing_and_deleting_is_refused),
	};
	return cmocka_run_group_tests_name("errors", tests, NULL, NULL);
}
