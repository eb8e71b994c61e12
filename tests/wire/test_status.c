/* SPDX-License-Identifier: Apache-2.0 */
/* `larder status` and `larder explain`, the commands and what they are made from. */
#include "tests/wire/admin.h"
#include "tests/wire/expect.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include <stdio.h>
#include <string.h>

struct bed {
	struct scripted *upstream;
	struct scripted_image image;
	struct larder *larder;
	char *url; /* of the admin API */
};

static void bed_dispose(struct bed *bed)
{
	free(bed->url);
}

static struct bed bed_new(struct wire *wire)
{
	struct bed bed = {.upstream = wire_upstream(wire, NULL)};
	_cleanup_free_ char *name = mem_printf("registry.test=%s", scripted_url(bed.upstream, 0));
	scripted_add_image(bed.upstream, "team/app", "1", &(struct scripted_image_options){.layers = 2}, &bed.image);
	bed.larder = larder_with_admin(wire, "127.0.0.1:0", name, NULL);
	bed.url = mem_printf("http://127.0.0.1:%u", admin_port(bed.larder));
	return bed;
}

static void expect_lines(const char *said, const char *const *parts)
{
	for (; *parts; parts++)
		if (!strstr(said, *parts))
			fail_msg("'%s' is not said in:\n%s", *parts, said);
	/* Columns, of text whose letters beyond ASCII are all ours and few. */
	for (const char *line = said; *line; line = strchr(line, '\n') + 1) {
		size_t columns = 0;
		assert_non_null(strchr(line, '\n'));
		for (const char *at = line; *at != '\n'; at++)
			columns += ((unsigned char)*at & 0xc0) != 0x80;
		if (columns > 80)
			fail_msg("%zu columns:\n%s", columns, said);
	}
}

WIRE_TEST(status_fits_80_columns_and_says_how_it_goes)
{
	_cleanup_(bed_dispose) struct bed bed = bed_new(wire);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *target = mem_printf("/v2/team/app/blobs/%s", bed.image.layer[0]);
	_cleanup_free_ char *said = NULL;
	scripted_add_rule(bed.upstream, &(struct scripted_rule){.headers = "ratelimit-limit: 100;w=21600\n"
									   "ratelimit-remaining: 97;w=21600"});
	assert_true(ask(bed.larder, NULL, NULL, &reply, "%s", target));
	expect_hit_soon(bed.larder, target);
	assert_int_equal(wire_run(wire, (const char *[]){"status", "--admin", bed.url, NULL}, &said), 0);
	expect_lines(said, (const char *[]){"larder ", "1 misses", "from the store", "1MiB served, 1MiB fetched",
					    "1 blobs, 1MiB", "registry.test", "healthy", "97 of 100", NULL});
}

WIRE_TEST(status_names_what_flies_and_what_fails)
{
	_cleanup_(bed_dispose) struct bed bed = bed_new(wire);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *said = NULL, *failing = NULL;
	_cleanup_free_ char *target = mem_printf("/v2/team/app/blobs/%s", bed.image.layer[0]);
	int stall = scripted_add_rule(bed.upstream,
				      &(struct scripted_rule){.path = "*/blobs/*", .stall = true, .stall_at = 524288});
	struct client_request request = {.port = larder_port(bed.larder), .target = target};
	struct client *client = client_connect(NULL, request.port, 60000);
	char block[4096];
	assert_true(client_send(client, &request));
	assert_true(client_read_head(client, &reply));
	for (size_t got = 0; got < 524288;) {
		ssize_t n = client_read_body(client, block, sizeof(block));
		assert_true(n > 0);
		got += (size_t)n;
	}
	assert_int_equal(wire_run(wire, (const char *[]){"status", "--admin", bed.url, NULL}, &said), 0);
	expect_lines(said, (const char *[]){"flights  1", "50 %", "1MiB", "registry.test/team/app", NULL});
	scripted_release(bed.upstream, stall);
	while (client_read_body(client, block, sizeof(block)) > 0)
		;
	client_close(client);

	scripted_set_state(bed.upstream, 0, SCRIPTED_DOWN, true);
	assert_true(ask(bed.larder, NULL, NULL, &reply, "/v2/team/app/manifests/1"));
	assert_int_equal(reply.status, 502);
	assert_int_equal(wire_run(wire, (const char *[]){"status", "--admin", bed.url, NULL}, &failing), 0);
	expect_lines(failing, (const char *[]){"failing", "ago: ", NULL});
}

WIRE_TEST(status_in_json_is_the_api_s_document)
{
	_cleanup_(bed_dispose) struct bed bed = bed_new(wire);
	_cleanup_free_ char *said = NULL;
	const char *given[] = {"status", "--json", "--admin", bed.url, NULL};
	assert_int_equal(wire_run(wire, given, &said), 0);
	assert_int_equal(said[0], '{');
	expect_lines(said, (const char *[]){"\"uptime_s\"", "\"hit_ratio\": null", "\"state\": \"unused\"", NULL});
}

WIRE_TEST(command_says_when_no_larder_answers_or_it_wants_a_token)
{
	_cleanup_free_ char *socket = wire_path(wire, "none.sock");
	_cleanup_free_ char *nowhere = mem_printf("unix:%s", socket);
	_cleanup_free_ char *token = wire_write_file(wire, "token", "sesame\n");
	_cleanup_free_ char *config = mem_printf("admin: { token_file: %s }\n", token);
	_cleanup_free_ char *none = NULL, *refused = NULL;
	assert_int_equal(wire_run(wire, (const char *[]){"status", "--admin", nowhere, NULL}, &none), 4);
	assert_non_null(strstr(none, "no larder answers at unix:"));
	struct larder *larder = larder_with_admin(wire, "127.0.0.1:0", NULL, config);
	_cleanup_free_ char *url = mem_printf("127.0.0.1:%u", admin_port(larder));
	assert_int_equal(wire_run(wire, (const char *[]){"status", "--admin", url, NULL}, &refused), 1);
	assert_non_null(strstr(refused, "--token-file"));
	const char *given[] = {"status", "--admin", url, "--token-file", token, NULL};
	assert_int_equal(wire_run(wire, given, NULL), 0);
}

/* explain. */

static char *explain(struct wire *wire, const struct bed *bed, const char *reference)
{
	char *said = NULL;
	assert_int_equal(wire_run(wire, (const char *[]){"explain", reference, "--admin", bed->url, NULL}, &said), 0);
	return said;
}

WIRE_TEST(explain_follows_an_image_from_unknown_to_held_and_asks_nobody)
{
	_cleanup_(bed_dispose) struct bed bed = bed_new(wire);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *by_digest = mem_printf("registry.test/team/app@%s", bed.image.manifest);
	_cleanup_free_ char *manifest = mem_printf("/v2/team/app/manifests/%s", bed.image.manifest);
	_cleanup_free_ char *layer = mem_printf("/v2/team/app/blobs/%s", bed.image.layer[1]);

	_cleanup_free_ char *unknown = explain(wire, &bed, "team/app:1");
	expect_lines(unknown, (const char *[]){"registry.test/team/app:1\n", "fetch: the tag is not known", "rule 3",
					       "registry.test: unused", NULL});
	expect_count(bed.upstream, NULL, NULL, 0);

	assert_true(ask(bed.larder, NULL, NULL, &reply, "/v2/team/app/manifests/1"));
	expect_hit_soon(bed.larder, manifest);
	assert_true(ask(bed.larder, NULL, NULL, &reply, "%s", layer));
	expect_hit_soon(bed.larder, layer);
	scripted_clear_log(bed.upstream);

	_cleanup_free_ char *known = explain(wire, &bed, "registry.test/team/app:1");
	expect_lines(known,
		     (const char *[]){"serve: the tag was confirmed within its tag_ttl", "rule 2", bed.image.manifest,
				      "manifest held", "config", "missing", "1MiB  held", "1 of 3 parts held", NULL});
	_cleanup_free_ char *digest = explain(wire, &bed, by_digest);
	expect_lines(digest, (const char *[]){"serve: it is held", "1 of 3 parts held", NULL});
	/* What another repository brought in is not this one's. */
	_cleanup_free_ char *foreign_ref = mem_printf("team/other@%s", bed.image.manifest);
	_cleanup_free_ char *foreign = explain(wire, &bed, foreign_ref);
	expect_lines(foreign, (const char *[]){"fetch: it is not held for this repository", "not held", NULL});
	expect_count(bed.upstream, NULL, NULL, 0);
}

WIRE_TEST(explain_tells_a_tag_that_is_asked_about_again)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	struct scripted_image image;
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *name = mem_printf("registry.test=%s", scripted_url(upstream, 0));
	scripted_add_image(upstream, "team/app", "1", &(struct scripted_image_options){0}, &image);
	scripted_add_image(upstream, "team/app", "v2", &(struct scripted_image_options){.seed = 9}, &image);
	struct larder *larder = larder_with_admin(wire, "127.0.0.1:0", name,
						  "upstreams:\n  registry.test:\n    tag_ttl: 0s\n"
						  "    immutable_tags: [ 'v*' ]\n    deny: [ 'secret/*' ]\n");
	struct bed bed = {.larder = larder};
	_cleanup_free_ char *url = mem_printf("http://127.0.0.1:%u", admin_port(larder));
	_cleanup_free_ char *manifest = mem_printf("/v2/team/app/manifests/%s", image.manifest);
	bed.url = url;
	assert_true(ask(larder, NULL, NULL, &reply, "/v2/team/app/manifests/1"));
	assert_true(ask(larder, NULL, NULL, &reply, "/v2/team/app/manifests/v2"));
	expect_hit_soon(larder, manifest);
	_cleanup_free_ char *moving = NULL, *immutable = NULL, *denied = NULL;
	uint64_t deadline_ms = clock_ms() + WIRE_WAIT_MS;
	do {
		free(moving);
		moving = explain(wire, &bed, "team/app:1");
	} while (!strstr(moving, "revalidate") && clock_ms() < deadline_ms &&
		 wire->larder_count < WIRE_LARDERS_MAX - 2);
	expect_lines(moving, (const char *[]){"revalidate: the tag was confirmed longer ago", "held", NULL});
	immutable = explain(wire, &bed, "team/app:v2");
	expect_lines(immutable, (const char *[]){"serve: the tag is one that never moves", "fresh for ever", NULL});
	admin_ask(larder, NULL, "/api/v1/explain?ref=secret/app", NULL, &reply);
	assert_int_equal(reply.status, 403);
	assert_int_equal(wire_run(wire, (const char *[]){"explain", "secret/app", "--admin", url, NULL}, &denied), 1);
}

WIRE_TEST(explain_walks_an_index_by_platform)
{
	_cleanup_(bed_dispose) struct bed bed = bed_new(wire);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct scripted_image arm;
	char digest[SCRIPTED_DIGEST_MAX];
	scripted_add_image(bed.upstream, "team/app", NULL,
			   &(struct scripted_image_options){.architecture = "arm64", .seed = 5}, &arm);
	scripted_add_index(bed.upstream, "team/app", "multi", (const char *[]){bed.image.manifest, arm.manifest},
			   (const char *[]){"amd64", "arm64"}, 2, digest);
	_cleanup_free_ char *manifest = mem_printf("/v2/team/app/manifests/%s", bed.image.manifest);
	assert_true(ask(bed.larder, NULL, NULL, &reply, "/v2/team/app/manifests/multi"));
	assert_true(ask(bed.larder, NULL, NULL, &reply, "%s", manifest));
	expect_hit_soon(bed.larder, "/v2/team/app/manifests/multi");
	expect_hit_soon(bed.larder, manifest);
	_cleanup_free_ char *said = explain(wire, &bed, "team/app:multi");
	expect_lines(said,
		     (const char *[]){"held  linux/amd64", "missing  linux/arm64", "    layer", "1 of 5 parts", NULL});
}

/* Upstreams' words end up in it: nothing that they say may end larder, or command a terminal. */
WIRE_TEST(explain_bears_what_strangers_write)
{
	_cleanup_(bed_dispose) struct bed bed = bed_new(wire);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *manifest = mem_printf("/v2/team/app/manifests/%s", bed.image.manifest);
	static const char *const wrong[] = {"",          "ref=",      "ref=A",       "ref=%ff",
					    "ref=a%00b", "ref=a%0ab", "ref=../../x", "ns=quay.io"};
	scripted_add_rule(bed.upstream,
			  &(struct scripted_rule){.path = "*/manifests/*", .headers = "Content-Type: text/\xff\xfe"});
	assert_true(ask(bed.larder, NULL, NULL, &reply, "%s", manifest));
	admin_ask(bed.larder, NULL, "/api/v1/explain?ref=team/app:1", NULL, &reply);
	assert_int_equal(reply.status, 200);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		_cleanup_free_ char *target = mem_printf("/api/v1/explain?%s", wrong[i]);
		admin_ask(bed.larder, NULL, target, NULL, &reply);
		if (reply.status != 400)
			fail_msg("%s: %d %s", target, reply.status, reply.body);
	}
	admin_ask(bed.larder, NULL, "/api/v1/explain?ref=unknown.example/a", NULL, &reply);
	assert_int_equal(reply.status, 404);
	admin_ask(bed.larder, NULL, "/api/v1/explain?ref=a&ns=quay.io", NULL, &reply);
	assert_int_equal(reply.status, 200);
	assert_non_null(strstr(reply.body, "\"rule\":1"));
}

/* Larger than what is kept of an answer. */
WIRE_TEST(doctor_pulls_in_every_way_an_image_of_one_large_layer)
{
	_cleanup_(bed_dispose) struct bed bed = bed_new(wire);
	_cleanup_free_ char *at = mem_printf("127.0.0.1:%u", larder_port(bed.larder));
	_cleanup_free_ char *text =
		mem_printf("default_upstream: registry.test\nupstreams: { registry.test: { url: \"%s\" } }\n",
			   scripted_url(bed.upstream, 0));
	_cleanup_free_ char *config = wire_write_file(wire, "doctor.yaml", text);
	_cleanup_free_ char *said = NULL, *wrong = NULL;
	const char *given[] = {"doctor", "-c", config, "--at", at, "--test", "--image", "registry.test/large/app:1",
			       NULL};
	struct scripted_image large;
	unsigned ways = 0;

	scripted_add_image(bed.upstream, "large/app", "1",
			   &(struct scripted_image_options){.layers = 1, .layer_size = 80 * MIB}, &large);
	assert_int_equal(wire_run(wire, given, &said), 0);
	for (const char *line = said; (line = strstr(line, "ok  ")); line++)
		ways++;
	assert_int_equal(ways, 4);
	/* And it is hashed: what larder cuts off for its digest does not pass. */
	given[7] = "registry.test/other/app:1";
	scripted_add_image(bed.upstream, "other/app", "1",
			   &(struct scripted_image_options){.layers = 1, .layer_size = 80 * MIB, .seed = 2}, &large);
	scripted_add_rule(bed.upstream, &(struct scripted_rule){.path = "*/blobs/*", .flip = true, .flip_at = 5});
	assert_int_equal(wire_run(wire, given, &wrong), 1);
	assert_non_null(strstr(wrong, "failed  "));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(status_fits_80_columns_and_says_how_it_goes),
		WIRE_CASE(status_names_what_flies_and_what_fails),
		WIRE_CASE(status_in_json_is_the_api_s_document),
		WIRE_CASE(explain_follows_an_image_from_unknown_to_held_and_asks_nobody),
		WIRE_CASE(explain_tells_a_tag_that_is_asked_about_again),
		WIRE_CASE(explain_walks_an_index_by_platform),
		WIRE_CASE(explain_bears_what_strangers_write),
		WIRE_CASE(command_says_when_no_larder_answers_or_it_wants_a_token),
		WIRE_CASE(doctor_pulls_in_every_way_an_image_of_one_large_layer),
	};
	return cmocka_run_group_tests_name("status", tests, NULL, NULL);
}
