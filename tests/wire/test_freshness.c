/* SPDX-License-Identifier: Apache-2.0 */
/* For how long what is known of a tag holds (tag_ttl, immutable_tags, stale_for), and what answers say about it. */
#include "tests/wire/expect.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include <stdio.h>
#include <string.h>

#define TAG "/v2/team/app/manifests/"

struct bed {
	struct scripted *upstream;
	struct larder *larder;
	struct scripted_image image; /* team/app:v1 and :edge */
};

static struct bed bed_new(struct wire *wire, const char *keys)
{
	struct bed bed = {.upstream = wire_upstream(wire, NULL)};
	_cleanup_free_ char *config = mem_printf("default_upstream: up.test\n"
						 "upstreams: {up.test: {url: %%s, retries: 0, %s}}\n",
						 keys);

	scripted_add_image(bed.upstream, "team/app", "v1", &(struct scripted_image_options){.layer_size = 100},
			   &bed.image);
	scripted_set_tag(bed.upstream, "team/app", "edge", bed.image.manifest, false);
	bed.larder = larder_configured(wire, bed.upstream, config);
	return bed;
}

/* Pulls the tag, and waits until that is written down. */
static void pull(const struct bed *bed, const char *tag)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	ask(bed->larder, NULL, NULL, &reply, TAG "%s", tag);
	expect_content(&reply, bed->image.manifest);
	expect_header(&reply, "Cache-Status", "larder; fwd=miss; stored");
	expect_header(&reply, "Warning", NULL);
	larder_stop(bed->larder);
	larder_restart(bed->larder);
	scripted_clear_log(bed->upstream);
}

static void expect_one_answer(const struct bed *bed, const char *method, const char *tag, const char *cache_status)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	ask(bed->larder, method, NULL, &reply, TAG "%s", tag);
	assert_int_equal(reply.status, 200);
	expect_header(&reply, "Docker-Content-Digest", bed->image.manifest);
	expect_header(&reply, "Cache-Status", cache_status);
	expect_header(&reply, "Warning", NULL);
}

static void expect_answer(const struct bed *bed, const char *tag, const char *cache_status)
{
	expect_one_answer(bed, "GET", tag, cache_status);
	expect_one_answer(bed, "HEAD", tag, cache_status);
}

/* "PREFIX<digits>SUFFIX", and what stands behind that. */
static const char *expect_number(const char *text, const char *prefix, const char *suffix)
{
	size_t len = strlen(prefix), digits = 0;
	bool fits = text && strncmp(text, prefix, len) == 0;

	if (fits)
		digits = strspn(text + len, "0123456789");
	if (digits == 0 || strncmp(text + len + digits, suffix, strlen(suffix)) != 0)
		fail_msg("\"%s\" is not \"%sNUMBER%s\"", text ? text : "nothing", prefix, suffix);
	return text + len + digits + strlen(suffix);
}

static void expect_stale(const struct client_reply *reply)
{
	_cleanup_free_ char *status = client_reply_header(reply, "Cache-Status");
	_cleanup_free_ char *warning = client_reply_header(reply, "Warning");

	assert_int_equal(reply->status, 200);
	assert_string_equal(expect_number(status, "larder; hit; ttl=-", ""), "");
	const char *why = expect_number(warning, "299 - \"larder serves what the upstream last confirmed ", " s ago: ");
	assert_ptr_equal(strchr(why, '"'), why + strlen(why) - 1);
}

WIRE_TEST(tag_is_asked_about_again_after_its_ttl)
{
	struct bed bed = bed_new(wire, "tag_ttl: 1s");
	uint64_t deadline_ms = clock_ms() + WIRE_WAIT_MS;

	pull(&bed, "v1");
	/* One at a time: behind the first that asks, the next may be a ttl later on a busy machine, and ask too. */
	while (scripted_count(bed.upstream, "HEAD", TAG "v1") == 0 && clock_ms() < deadline_ms)
		expect_one_answer(&bed, NULL, "v1", "larder; hit");
	expect_count(bed.upstream, "HEAD", TAG "v1", 1);
	expect_count(bed.upstream, "GET", NULL, 0);
}

WIRE_TEST(immutable_tag_is_never_asked_about_again)
{
	struct bed bed = bed_new(wire, "tag_ttl: 0s, immutable_tags: [ \"v[0-9]*\" ]");

	pull(&bed, "v1");
	pull(&bed, "edge");
	expect_answer(&bed, "v1", "larder; hit");
	expect_count(bed.upstream, NULL, NULL, 0);
	expect_answer(&bed, "edge", "larder; hit");
	assert_true(scripted_count(bed.upstream, "HEAD", TAG "edge") > 0); /* the second may share the first's */
}

/* Nor is it stale when there is nobody to ask. */
/* Right behind one another, while the disk still has the answer before: each is what the upstream says now. */
WIRE_TEST(tag_without_a_ttl_is_asked_about_each_time)
{
	struct bed bed = bed_new(wire, "tag_ttl: 0s");
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct scripted_image other;

	scripted_add_image(bed.upstream, "team/app", "other", &(struct scripted_image_options){.layer_size = 200},
			   &other);
	for (unsigned i = 0; i < 6; i++) {
		const char *meant = i % 2 ? other.manifest : bed.image.manifest;

		scripted_set_tag(bed.upstream, "team/app", "edge", meant, false);
		ask(bed.larder, i % 3 ? NULL : "HEAD", NULL, &reply, TAG "edge");
		assert_int_equal(reply.status, 200);
		expect_header(&reply, "Docker-Content-Digest", meant);
	}
	scripted_clear_log(bed.upstream);
	for (unsigned i = 0; i < 3; i++)
		ask(bed.larder, NULL, NULL, &reply, TAG "edge");
	expect_count(bed.upstream, "HEAD", TAG "edge", 3);
	expect_count(bed.upstream, "GET", NULL, 0);
}

WIRE_TEST(what_was_just_given_is_a_hit)
{
	struct bed bed = bed_new(wire, "tag_ttl: 1h");

	for (unsigned i = 0; i < 2; i++) {
		_cleanup_free_ char *blob = mem_printf("/v2/team/app/blobs/%s", bed.image.layer[0]);
		const char *const targets[] = {TAG "v1", blob};

		for (size_t k = 0; k < sizeof(targets) / sizeof(targets[0]); k++) {
			_cleanup_(client_reply_dispose) struct client_reply reply = {0};

			ask(bed.larder, NULL, NULL, &reply, "%s", targets[k]);
			assert_int_equal(reply.status, 200);
			expect_header(&reply, "Cache-Status", i ? "larder; hit" : "larder; fwd=miss; stored");
		}
	}
	expect_count(bed.upstream, NULL, NULL, 2);
}

/* Also by a catalog that is asked for before the disk has it. */
WIRE_TEST(what_was_just_given_is_in_the_catalog)
{
	struct bed bed = bed_new(wire, "tag_ttl: 1h");
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	ask(bed.larder, NULL, NULL, &reply, TAG "v1");
	ask(bed.larder, NULL, NULL, &reply, "/v2/_catalog");
	assert_string_equal(reply.body, "{\"repositories\":[\"up.test/team/app\"]}");
}

WIRE_TEST(immutable_tag_is_no_stale_one)
{
	struct bed bed = bed_new(wire, "tag_ttl: 0s, stale_for: 0s, immutable_tags: [ \"v[0-9]*\" ]");

	pull(&bed, "v1");
	scripted_set_state(bed.upstream, 0, SCRIPTED_DOWN, true);
	expect_answer(&bed, "v1", "larder; hit");
}

WIRE_TEST(stale_answer_says_how_old_it_is_and_why)
{
	struct bed bed = bed_new(wire, "tag_ttl: 0s");
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	pull(&bed, "v1");
	scripted_set_state(bed.upstream, 0, SCRIPTED_DOWN, true);
	for (size_t i = 0; i < 2; i++) {
		ask(bed.larder, i ? "HEAD" : NULL, NULL, &reply, TAG "v1");
		expect_stale(&reply);
		expect_header_with(&reply, "Warning", "up.test");
	}
	/* A digest does not age. */
	ask(bed.larder, NULL, NULL, &reply, TAG "%s", bed.image.manifest);
	expect_content(&reply, bed.image.manifest);
	expect_header(&reply, "Cache-Status", "larder; hit");
	expect_header(&reply, "Warning", NULL);
}

WIRE_TEST(tag_is_served_stale_for_so_long_and_no_longer)
{
	struct bed bed = bed_new(wire, "tag_ttl: 0s, stale_for: 2s");
	uint64_t deadline_ms = clock_ms() + WIRE_WAIT_MS;
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	pull(&bed, "v1");
	scripted_set_state(bed.upstream, 0, SCRIPTED_DOWN, true);
	do {
		ask(bed.larder, NULL, NULL, &reply, TAG "v1");
		if (reply.status == 200)
			expect_stale(&reply);
	} while (reply.status == 200 && clock_ms() < deadline_ms);
	expect_error(&reply, 502, "UNKNOWN");
	/* What it meant is not forgotten: the upstream is back, and asked by HEAD. */
	scripted_set_state(bed.upstream, 0, SCRIPTED_UP, false);
	expect_answer(&bed, "v1", "larder; hit");
	expect_count(bed.upstream, "GET", NULL, 0);
}

WIRE_TEST(repositories_that_are_not_allowed_are_not_asked_for)
{
	struct bed bed = bed_new(wire, "allow: [ \"team/*\" ], deny: [ \"team/secret\" ]");
	static const char *const refused[] = {"/v2/other/app/manifests/v1", "/v2/team/secret/manifests/v1",
					      "/v2/other/app/tags/list", "/v2/app/manifests/v1"};

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		_cleanup_(client_reply_dispose) struct client_reply reply = {0};

		ask(bed.larder, NULL, NULL, &reply, "%s", refused[i]);
		expect_error(&reply, 403, "DENIED");
	}
	expect_count(bed.upstream, NULL, NULL, 0);
	pull(&bed, "v1");
}

/* The same bytes in two repositories are fetched once, kept once, and linked to both. */
WIRE_TEST(blob_of_two_repositories_is_stored_once)
{
	struct bed bed = bed_new(wire, "tag_ttl: 1h");
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	static const char *const repositories[] = {"team/one", "team/two"};
	char digest[SCRIPTED_DIGEST_MAX];
	unsigned files = 0;

	for (size_t i = 0; i < 2; i++) {
		scripted_add_blob(bed.upstream, repositories[i], 3, 100000, digest);
		ask(bed.larder, NULL, NULL, &reply, "/v2/%s/blobs/%s", repositories[i], digest);
		expect_content(&reply, digest);
		_cleanup_free_ char *target = mem_printf("/v2/%s/blobs/%s", repositories[i], digest);
		expect_hit_soon(bed.larder, target);
	}
	expect_count(bed.upstream, "GET", "*/blobs/*", 1);
	expect_count(bed.upstream, "HEAD", "/v2/team/two/blobs/*", 1);
	_cleanup_free_ char *command = mem_printf("find %s -name %s | wc -l", wire->directory, digest + 7);
	FILE *found = popen(command, "r");
	assert_non_null(found);
	assert_int_equal(fscanf(found, "%u", &files), 1);
	pclose(found);
	assert_int_equal(files, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(tag_is_asked_about_again_after_its_ttl),
		WIRE_CASE(immutable_tag_is_never_asked_about_again),
		WIRE_CASE(tag_without_a_ttl_is_asked_about_each_time),
		WIRE_CASE(what_was_just_given_is_a_hit),
		WIRE_CASE(what_was_just_given_is_in_the_catalog),
		WIRE_CASE(immutable_tag_is_no_stale_one),
		WIRE_CASE(stale_answer_says_how_old_it_is_and_why),
		WIRE_CASE(tag_is_served_stale_for_so_long_and_no_longer),
		WIRE_CASE(repositories_that_are_not_allowed_are_not_asked_for),
		WIRE_CASE(blob_of_two_repositories_is_stored_once),
	};
	return cmocka_run_group_tests_name("freshness", tests, NULL, NULL);
}
