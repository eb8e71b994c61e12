/* SPDX-License-Identifier: Apache-2.0 */
/* Upstreams that lie, or never end: what they say is never believed further than the digest goes, and costs little. */
#include "tests/wire/speaking.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SIZE       (2 * MIB)
#define MANIFESTS  "*/manifests/*"
#define GROWTH     (24 * MIB) /* what larder's memory may grow by */
#define SENT       (64 * MIB) /* what is taken of an answer that never ends: socket buffers on both sides included */
#define IMPATIENCE "idle_timeout: 1s, retries: 1"

struct liar {
	struct scripted *upstream;
	struct larder *larder;
	struct scripted_image image; /* of one layer of SIZE bytes */
	char digest[SCRIPTED_DIGEST_MAX];
	char target[128];
	uint64_t memory;
};

/* `told`: larder knows the size of the layer from its manifest. */
static struct liar liar_new(struct wire *wire, bool h2, bool told)
{
	struct liar liar = {.upstream = upstream_speaking(wire, NULL, h2)};
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	scripted_add_image(liar.upstream, "team/app", "latest", &(struct scripted_image_options){.layer_size = SIZE},
			   &liar.image);
	memcpy(liar.digest, liar.image.layer[0], sizeof(liar.digest));
	snprintf(liar.target, sizeof(liar.target), "/v2/team/app/blobs/%s", liar.digest);
	liar.larder = larder_before(wire, liar.upstream, IMPATIENCE);
	if (told) {
		assert_true(ask(liar.larder, NULL, NULL, &reply, "/v2/team/app/manifests/latest"));
		expect_content(&reply, liar.image.manifest);
	}
	liar.memory = larder_rss(liar.larder);
	return liar;
}

static void get(const struct liar *liar, struct client_reply *reply)
{
	ask(liar->larder, NULL, NULL, reply, "%s", liar->target);
}

/* No whole wrong body, within time and memory; and once the truth is told, the right one. */
static void expect_no_harm(const struct liar *liar, const struct client_reply *reply, int rule)
{
	_cleanup_(client_reply_dispose) struct client_reply later = {0};
	uint64_t peak = larder_rss_peak(liar->larder);

	if (reply->status == 200 && reply->complete && strcmp(reply->digest, liar->digest) != 0)
		fail_msg("a wrong body was sent whole");
	if (reply->status == 404)
		fail_msg("an upstream's nonsense became a 404");
	if (reply->total_ms > 20000)
		fail_msg("took %.0f ms", reply->total_ms);
	if (!built_with_sanitizer() && peak > liar->memory + GROWTH)
		fail_msg("memory grew by %" PRIu64 " KiB", (peak - liar->memory) / 1024);
	scripted_remove_rule(liar->upstream, rule);
	get(liar, &later);
	expect_content(&later, liar->digest);
}

/* Tells this lie about the blob, always, and returns what the client made of it. */
static int lie(const struct liar *liar, const struct scripted_rule *how, struct client_reply *reply)
{
	struct scripted_rule rule = *how;
	int id;

	rule.path = BLOBS;
	id = scripted_add_rule(liar->upstream, &rule);
	get(liar, reply);
	return id;
}

static void lie_about_blob(struct wire *wire, bool h2, bool told, const struct scripted_rule *how)
{
	struct liar liar = liar_new(wire, h2, told);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	int rule = lie(&liar, how, &reply);

	if (reply.status == 200 && reply.complete)
		fail_msg("the lie was believed");
	if (reply.status != 200 && reply.status != 502)
		fail_msg("%d %s", reply.status, reply.error);
	expect_no_harm(&liar, &reply, rule);
	if (scripted_body_sent(liar.upstream, "GET", BLOBS) > SENT)
		fail_msg("took %" PRIu64 " bytes", scripted_body_sent(liar.upstream, "GET", BLOBS));
}

/* Lengths. */

BOTH_TEST(length_that_is_too_long)
{
	lie_about_blob(wire, h2, false, &(struct scripted_rule){.length_lie = 10});
}

BOTH_TEST(length_that_is_too_short)
{
	lie_about_blob(wire, h2, false, &(struct scripted_rule){.length_lie = -10});
}

BOTH_TEST(length_unlike_the_manifests)
{
	lie_about_blob(wire, h2, true, &(struct scripted_rule){.length_lie = 10});
}

/* Whoever may push to some repository can write a manifest that names the blobs of another with sizes of their own. */
static void name_with_another_size(const struct liar *liar)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *manifest = mem_printf(
		"{\"schemaVersion\":2,\"layers\":[{\"digest\":\"%s\",\"size\":%llu}]}", liar->digest, SIZE + 10ULL);

	scripted_add_manifest(liar->upstream, "evil/app", "1", SCRIPTED_TYPE_MANIFEST, manifest, strlen(manifest),
			      NULL);
	assert_true(ask(liar->larder, NULL, NULL, &reply, "/v2/evil/app/manifests/1"));
	assert_int_equal(reply.status, 200);
}

WIRE_TEST(size_that_another_repository_lies_about_does_not_count_against_the_right_one)
{
	struct liar liar = liar_new(wire, false, true);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	name_with_another_size(&liar);
	get(&liar, &reply);
	expect_content(&reply, liar.digest);
}

WIRE_TEST(size_that_another_repository_lies_about_alone_costs_one_attempt)
{
	struct liar liar = liar_new(wire, false, false);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0}, again = {0};

	name_with_another_size(&liar);
	get(&liar, &reply);
	expect_error(&reply, 502, "UNKNOWN");
	get(&liar, &again);
	expect_content(&again, liar.digest);
}

BOTH_TEST(length_of_an_exabyte)
{
	lie_about_blob(wire, h2, true, &(struct scripted_rule){.length_lie = INT64_C(1) << 60});
}

BOTH_TEST(length_of_an_exabyte_that_no_manifest_told)
{
	lie_about_blob(wire, h2, false, &(struct scripted_rule){.length_lie = INT64_C(1) << 60});
}

BOTH_TEST(no_length_at_all_is_no_lie)
{
	struct liar liar = liar_new(wire, h2, false);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	lie(&liar, &(struct scripted_rule){.no_length = true}, &reply);
	expect_content(&reply, liar.digest);
}

/* Ranges: the first answer is cut, and what comes then is not what was asked for. */
static void lie_about_range(struct wire *wire, bool h2, const char *content_range)
{
	struct liar liar = liar_new(wire, h2, false);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *header = mem_printf("Content-Range: %s", content_range);
	int cut = scripted_add_rule(
		liar.upstream,
		&(struct scripted_rule){.path = BLOBS, .count = 1, .cut = SCRIPTED_CUT_FIN, .cut_at = SIZE / 2});
	int rule = lie(&liar, &(struct scripted_rule){.headers = header}, &reply);

	scripted_remove_rule(liar.upstream, cut);
	expect_no_harm(&liar, &reply, rule);
}

BOTH_TEST(range_of_another_place)
{
	lie_about_range(wire, h2, "bytes 0-1048575/2097152");
}

BOTH_TEST(range_of_another_whole)
{
	lie_about_range(wire, h2, "bytes 1048576-2097151/4194304");
}

BOTH_TEST(range_that_is_nonsense)
{
	lie_about_range(wire, h2, "bytes 99999999999999999999999-1/x");
}

BOTH_TEST(range_without_a_header)
{
	lie_about_range(wire, h2, "");
}

/* The first answer is cut, and what comes then ends well and brings nothing: asked for again as often as a failure is,
 * and not for ever. */
static void bring_nothing(struct wire *wire, bool h2, const struct scripted_rule *how)
{
	struct liar liar = liar_new(wire, h2, true);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	int cut = scripted_add_rule(
		liar.upstream,
		&(struct scripted_rule){.path = BLOBS, .count = 1, .cut = SCRIPTED_CUT_FIN, .cut_at = SIZE / 2});
	int rule = lie(&liar, how, &reply);

	assert_false(reply.complete);
	if (scripted_rule_applied(liar.upstream, rule) > 4)
		fail_msg("asked %u times", scripted_rule_applied(liar.upstream, rule));
	scripted_remove_rule(liar.upstream, cut);
	expect_no_harm(&liar, &reply, rule);
}

BOTH_TEST(part_without_a_byte)
{
	bring_nothing(wire, h2,
		      &(struct scripted_rule){.status = 206,
					      .body = "",
					      .no_length = true,
					      .headers = "Content-Range: bytes 1048576-2097151/2097152"});
}

BOTH_TEST(whole_that_ends_before_what_is_missing)
{
	bring_nothing(wire, h2, &(struct scripted_rule){.status = 200, .body = "short", .no_length = true});
}

/* Encodings and digests. */

BOTH_TEST(encoding_that_was_not_asked_for)
{
	lie_about_blob(wire, h2, false, &(struct scripted_rule){.headers = "Content-Encoding: gzip"});
}

BOTH_TEST(digest_header_of_a_blob_is_not_believed)
{
	struct liar liar = liar_new(wire, h2, false);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	lie(&liar,
	    &(struct scripted_rule){.headers =
					    "Docker-Content-Digest: "
					    "sha256:0000000000000000000000000000000000000000000000000000000000000000"},
	    &reply);
	expect_content(&reply, liar.digest);
	expect_header(&reply, "Docker-Content-Digest", liar.digest);
}

BOTH_TEST(flipped_bit_is_found)
{
	lie_about_blob(wire, h2, true, &(struct scripted_rule){.flip = true, .flip_at = SIZE / 3});
}

/* A tag's manifest is what its bytes are. */
BOTH_TEST(digest_header_of_a_manifest_is_not_believed)
{
	struct liar liar = liar_new(wire, h2, false);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	scripted_add_rule(liar.upstream,
			  &(struct scripted_rule){
				  .path = MANIFESTS,
				  .headers =
					  "Docker-Content-Digest: "
					  "sha256:0000000000000000000000000000000000000000000000000000000000000000"});
	assert_true(ask(liar.larder, NULL, NULL, &reply, "/v2/team/app/manifests/latest"));
	expect_content(&reply, liar.image.manifest);
	expect_header(&reply, "Docker-Content-Digest", liar.image.manifest);
}

/* Asked for by digest, other bytes are refused. */
BOTH_TEST(flipped_bit_in_a_manifest_is_found)
{
	struct liar liar = liar_new(wire, h2, false);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	int rule = scripted_add_rule(liar.upstream,
				     &(struct scripted_rule){.path = MANIFESTS, .flip = true, .flip_at = 20});

	assert_true(ask(liar.larder, NULL, NULL, &reply, "/v2/team/app/manifests/%s", liar.image.manifest));
	expect_error(&reply, 502, "UNKNOWN");
	scripted_remove_rule(liar.upstream, rule);
	assert_true(ask(liar.larder, NULL, NULL, &reply, "/v2/team/app/manifests/%s", liar.image.manifest));
	expect_content(&reply, liar.image.manifest);
}

/* Without an end. */

BOTH_TEST(header_without_end)
{
	lie_about_blob(wire, h2, false, &(struct scripted_rule){.endless_header = true});
}

/* All of the blob, and then more: its size is known, so what follows is not waited for. */
BOTH_TEST(body_beyond_the_descriptors_size)
{
	struct liar liar = liar_new(wire, h2, true);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	int rule = lie(&liar, &(struct scripted_rule){.endless_body = true}, &reply);

	expect_no_harm(&liar, &reply, rule);
	if (scripted_body_sent(liar.upstream, "GET", BLOBS) > SENT)
		fail_msg("took %" PRIu64 " bytes", scripted_body_sent(liar.upstream, "GET", BLOBS));
}

/* Here nothing tells its size: held to a rate, so that the test is not about how much a second is. The client leaves,
 * and memory is what counts. */
BOTH_TEST(body_without_length_or_end_takes_no_memory)
{
	struct liar liar = liar_new(wire, h2, false);
	struct client_request request = {.port = larder_port(liar.larder), .target = liar.target, .deadline_ms = 2000};
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	uint64_t peak;

	scripted_add_rule(liar.upstream,
			  &(struct scripted_rule){.path = BLOBS, .endless_body = true, .rate = 64 * MIB});
	client_fetch(&request, &reply);
	assert_false(reply.status == 200 && reply.complete);
	peak = larder_rss_peak(liar.larder);
	if (!built_with_sanitizer() && peak > liar.memory + GROWTH)
		fail_msg("memory grew by %" PRIu64 " KiB", (peak - liar.memory) / 1024);
	scripted_set_state(liar.upstream, 0, SCRIPTED_DOWN, true);
}

BOTH_TEST(manifest_without_end)
{
	struct liar liar = liar_new(wire, h2, false);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	int rule = scripted_add_rule(liar.upstream, &(struct scripted_rule){.path = MANIFESTS, .endless_body = true});

	assert_true(ask(liar.larder, NULL, NULL, &reply, "/v2/team/app/manifests/latest"));
	expect_error(&reply, 502, "UNKNOWN");
	if (scripted_body_sent(liar.upstream, "GET", MANIFESTS) > SENT)
		fail_msg("took %" PRIu64 " bytes", scripted_body_sent(liar.upstream, "GET", MANIFESTS));
	scripted_remove_rule(liar.upstream, rule);
	assert_true(ask(liar.larder, NULL, NULL, &reply, "/v2/team/app/manifests/latest"));
	expect_content(&reply, liar.image.manifest);
}

BOTH_TEST(listing_without_end)
{
	struct liar liar = liar_new(wire, h2, false);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	scripted_add_rule(liar.upstream, &(struct scripted_rule){.path = "*/tags/list", .endless_body = true});
	assert_true(ask(liar.larder, NULL, NULL, &reply, "/v2/team/app/tags/list"));
	expect_error(&reply, 502, "UNKNOWN");
	if (scripted_body_sent(liar.upstream, "GET", "*/tags/list") > SENT)
		fail_msg("took %" PRIu64 " bytes", scripted_body_sent(liar.upstream, "GET", "*/tags/list"));
}

/* A byte a second is never idle_timeout without a byte, and yet a stall: each attempt ends, and then the transfer. */
BOTH_TEST(body_that_drips)
{
	lie_about_blob(wire, h2, true, &(struct scripted_rule){.rate = 1});
}

/* Control characters, bytes beyond ASCII, or more than any type has: none is passed on, and the manifest is served all
 * the same. */
BOTH_TEST(type_that_is_none)
{
	static const char manifest[] = "{\"schemaVersion\":2,\"x\":1}";
	struct liar liar = liar_new(wire, h2, false);
	_cleanup_free_ char *endless = mem_alloc(301);
	const char *const types[] = {"text/\001html", "text/html\rX-Injected: 1", "text/\377html",
				     memset(endless, 'a', 300)};
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	char digest[SCRIPTED_DIGEST_MAX];

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		_cleanup_free_ char *tag = mem_printf("odd-%zu", i);

		scripted_add_manifest(liar.upstream, "team/app", tag, types[i], manifest, strlen(manifest), digest);
		ask(liar.larder, NULL, NULL, &reply, "/v2/team/app/manifests/%s", tag);
		/* HTTP/2 has no place for such characters. */
		if (h2 && i < 2 && reply.status == 502)
			continue;
		expect_content(&reply, digest);
		expect_header(&reply, "Content-Type", NULL);
		expect_header(&reply, "X-Injected", NULL);
	}
}

/* A type is passed on as it is; what a browser makes of it is another matter. */
BOTH_TEST(manifest_that_calls_itself_a_page)
{
	static const char page[] = "{\"schemaVersion\":2,\"x\":\"<script>alert(1)</script>\"}";
	struct liar liar = liar_new(wire, h2, false);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	char digest[SCRIPTED_DIGEST_MAX];

	scripted_add_manifest(liar.upstream, "team/app", "page", "text/html", page, strlen(page), digest);
	for (int i = 0; i < 3; i++) {
		ask(liar.larder, NULL, NULL, &reply, "/v2/team/app/manifests/page");
		expect_content(&reply, digest);
		expect_header(&reply, "Content-Type", "text/html");
		expect_header(&reply, "X-Content-Type-Options", "nosniff");
		expect_header_with(&reply, "Content-Security-Policy", "sandbox");
	}
}

/* Nor may a header drip. */
WIRE_TEST(answer_that_never_begins)
{
	lie_about_blob(wire, false, true, &(struct scripted_rule){.hold = true});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH_CASES(length_that_is_too_long),
		BOTH_CASES(length_that_is_too_short),
		BOTH_CASES(length_unlike_the_manifests),
		WIRE_CASE(size_that_another_repository_lies_about_does_not_count_against_the_right_one),
		WIRE_CASE(size_that_another_repository_lies_about_alone_costs_one_attempt),
		BOTH_CASES(length_of_an_exabyte),
		BOTH_CASES(length_of_an_exabyte_that_no_manifest_told),
		BOTH_CASES(no_length_at_all_is_no_lie),
		BOTH_CASES(range_of_another_place),
		BOTH_CASES(range_of_another_whole),
		BOTH_CASES(range_that_is_nonsense),
		BOTH_CASES(range_without_a_header),
		BOTH_CASES(part_without_a_byte),
		BOTH_CASES(whole_that_ends_before_what_is_missing),
		BOTH_CASES(encoding_that_was_not_asked_for),
		BOTH_CASES(digest_header_of_a_blob_is_not_believed),
		BOTH_CASES(flipped_bit_is_found),
		BOTH_CASES(digest_header_of_a_manifest_is_not_believed),
		BOTH_CASES(flipped_bit_in_a_manifest_is_found),
		BOTH_CASES(header_without_end),
		BOTH_CASES(body_beyond_the_descriptors_size),
		BOTH_CASES(body_without_length_or_end_takes_no_memory),
		BOTH_CASES(manifest_without_end),
		BOTH_CASES(listing_without_end),
		BOTH_CASES(body_that_drips),
		BOTH_CASES(type_that_is_none),
		BOTH_CASES(manifest_that_calls_itself_a_page),
		WIRE_CASE(answer_that_never_begins),
	};
	return cmocka_run_group_tests_name("lies", tests, NULL, NULL);
}
