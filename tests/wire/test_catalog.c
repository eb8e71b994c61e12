/* SPDX-License-Identifier: Apache-2.0 */
/* Lists: a repository's tags, page by page, fresh, cached and stale. */
#include "tests/wire/expect.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG(ttl)                                                                                                    \
	"default_upstream: registry.test\n"                                                                            \
	"upstreams: {registry.test: {url: %s, tag_ttl: " ttl ", missing_ttl: 0s, retries: 0}}\n"
#define FRESH       CONFIG("1h")
#define NEVER_FRESH CONFIG("0s")

#define TAGS   "/v2/team/app/tags/list"
#define ANY    "*/tags/list*"
#define ACCEPT "Accept: " SCRIPTED_TYPE_MANIFEST "\r\n"

struct listing {
	struct scripted *upstream;
	struct larder *larder;
};

/* A repository with the tags t1 … t5. */
static struct listing listing_new(struct wire *wire, const char *config, const struct scripted_options *options)
{
	struct listing listing = {.upstream = wire_upstream(wire, options)};
	struct scripted_image image;
	for (unsigned i = 1; i <= 5; i++) {
		char tag[8];
		snprintf(tag, sizeof(tag), "t%u", i);
		scripted_add_image(listing.upstream, "team/app", tag,
				   &(struct scripted_image_options){.layer_size = 100, .seed = i}, &image);
	}
	listing.larder = larder_configured(wire, listing.upstream, config);
	return listing;
}

static void pull_tags(const struct listing *listing, unsigned count)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	for (unsigned i = 1; i <= count; i++) {
		assert_true(ask(listing->larder, NULL, ACCEPT, &reply, "/v2/team/app/manifests/t%u", i));
		assert_int_equal(reply.status, 200);
	}
	/* What is learnt is written behind the answer: by the time that larder has ended, it is. */
	larder_stop(listing->larder);
	larder_restart(listing->larder);
}

static void expect_list(const struct client_reply *reply, const char *tags, const char *link)
{
	_cleanup_free_ char *body = mem_printf("{\"name\":\"team/app\",\"tags\":[%s]}", tags);
	if (reply->status != 200 || !reply->complete)
		fail_msg("%d %s: %s", reply->status, reply->error, reply->body);
	assert_string_equal(reply->body, body);
	expect_header(reply, "Content-Type", "application/json");
	expect_header(reply, "Link", link);
}

/* Asks until an answer was fetched anew: then the one before is put away. */
static void expect_kept_soon(const struct listing *listing, const char *target)
{
	uint64_t deadline_ms = clock_ms() + WIRE_WAIT_MS;
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *status = NULL;
	do {
		free(status);
		ask(listing->larder, NULL, NULL, &reply, "%s", target);
		status = client_reply_header(&reply, "Cache-Status");
		assert_non_null(status);
	} while (strcmp(status, "larder; fwd=miss; stored") != 0 && clock_ms() < deadline_ms);
	assert_string_equal(status, "larder; fwd=miss; stored");
}

WIRE_TEST(tags_come_page_by_page)
{
	struct listing listing = listing_new(wire, FRESH, NULL);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	ask(listing.larder, NULL, NULL, &reply, TAGS);
	expect_list(&reply, "\"t1\",\"t2\",\"t3\",\"t4\",\"t5\"", NULL);
	ask(listing.larder, NULL, NULL, &reply, TAGS "?n=2");
	expect_list(&reply, "\"t1\",\"t2\"", "</v2/team/app/tags/list?last=t2&n=2>; rel=\"next\"");
	ask(listing.larder, NULL, NULL, &reply, TAGS "?last=t2&n=2");
	expect_list(&reply, "\"t3\",\"t4\"", "</v2/team/app/tags/list?last=t4&n=2>; rel=\"next\"");
	ask(listing.larder, NULL, NULL, &reply, TAGS "?last=t4&n=2");
	expect_list(&reply, "\"t5\"", NULL);
	ask(listing.larder, NULL, NULL, &reply, TAGS "?n=1&ns=registry.test");
	expect_list(&reply, "\"t1\"", "</v2/team/app/tags/list?last=t1&n=1&ns=registry.test>; rel=\"next\"");
	ask(listing.larder, NULL, NULL, &reply, "/registry.test" TAGS "?n=1");
	expect_list(&reply, "\"t1\"", "</v2/registry.test/team/app/tags/list?last=t1&n=1>; rel=\"next\"");
}

/* An upstream that gives less than was asked for, and less than all when nothing was. */
WIRE_TEST(tags_of_an_upstream_with_small_pages_are_linked)
{
	struct listing listing = listing_new(wire, FRESH, &(struct scripted_options){.tags_page_max = 3});
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	ask(listing.larder, NULL, NULL, &reply, TAGS);
	expect_list(&reply, "\"t1\",\"t2\",\"t3\"", "</v2/team/app/tags/list?last=t3&n=3>; rel=\"next\"");
	ask(listing.larder, NULL, NULL, &reply, TAGS "?last=t3&n=3");
	expect_list(&reply, "\"t4\",\"t5\"", NULL);
}

WIRE_TEST(tags_page_is_asked_for_once_while_it_is_fresh)
{
	struct listing listing = listing_new(wire, FRESH, NULL);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	ask(listing.larder, NULL, NULL, &reply, TAGS "?n=2");
	expect_header(&reply, "Cache-Status", "larder; fwd=miss; stored");
	expect_hit_soon(listing.larder, TAGS "?n=2");
	ask(listing.larder, NULL, NULL, &reply, TAGS "?n=2");
	expect_list(&reply, "\"t1\",\"t2\"", "</v2/team/app/tags/list?last=t2&n=2>; rel=\"next\"");
	expect_header(&reply, "Cache-Status", "larder; hit");
	expect_count(listing.upstream, NULL, NULL, 1);
	ask(listing.larder, "HEAD", NULL, &reply, TAGS "?n=2");
	assert_int_equal(reply.status, 200);
	expect_header(&reply, "Content-Length", "38");
	ask(listing.larder, NULL, NULL, &reply, TAGS "?n=3");
	expect_count(listing.upstream, NULL, NULL, 2);
}

WIRE_TEST(tags_are_asked_for_again_when_they_are_not_fresh)
{
	struct listing listing = listing_new(wire, NEVER_FRESH, NULL);
	uint64_t deadline_ms = clock_ms() + WIRE_WAIT_MS;
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	ask(listing.larder, NULL, NULL, &reply, TAGS);
	expect_list(&reply, "\"t1\",\"t2\",\"t3\",\"t4\",\"t5\"", NULL);
	scripted_remove_tag(listing.upstream, "team/app", "t3");
	/* Who asks while the first answer is being put away gets that one. */
	do
		ask(listing.larder, NULL, NULL, &reply, TAGS);
	while (strstr(reply.body, "t3") && clock_ms() < deadline_ms);
	expect_list(&reply, "\"t1\",\"t2\",\"t4\",\"t5\"", NULL);
	expect_count(listing.upstream, NULL, NULL, 2);
}

WIRE_TEST(tags_are_the_last_known_page_while_the_upstream_is_down)
{
	struct listing listing = listing_new(wire, NEVER_FRESH, NULL);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	ask(listing.larder, NULL, NULL, &reply, TAGS "?n=3");
	expect_kept_soon(&listing, TAGS "?n=3");
	scripted_set_state(listing.upstream, 0, SCRIPTED_DOWN, true);
	ask(listing.larder, NULL, NULL, &reply, TAGS "?n=3");
	expect_list(&reply, "\"t1\",\"t2\",\"t3\"", "</v2/team/app/tags/list?last=t3&n=3>; rel=\"next\"");
	expect_header_with(&reply, "Cache-Status", "larder; hit; ttl=-");
	expect_header_with(&reply, "Warning", "299 - \"larder serves what the upstream last confirmed ");
	ask(listing.larder, NULL, NULL, &reply, TAGS "?n=2");
	expect_error(&reply, 502, "UNKNOWN");
}

static void expect_known_pages(const struct listing *listing)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	ask(listing->larder, NULL, NULL, &reply, TAGS);
	expect_list(&reply, "\"t1\",\"t2\",\"t3\"", NULL);
	expect_header_with(&reply, "Cache-Status", "larder; hit; ttl=-");
	expect_header_with(&reply, "Warning", "299 - \"larder serves what it holds: ");
	ask(listing->larder, NULL, NULL, &reply, TAGS "?n=2");
	expect_list(&reply, "\"t1\",\"t2\"", "</v2/team/app/tags/list?n=2&last=t2>; rel=\"next\"");
	ask(listing->larder, NULL, NULL, &reply, TAGS "?n=2&last=t2");
	expect_list(&reply, "\"t3\"", NULL);
	ask(listing->larder, NULL, NULL, &reply, TAGS "?n=3");
	expect_list(&reply, "\"t1\",\"t2\",\"t3\"", NULL);
	ask(listing->larder, NULL, NULL, &reply, TAGS "?n=0");
	expect_list(&reply, "", NULL);
	ask(listing->larder, NULL, NULL, &reply, TAGS "?last=t2.5");
	expect_list(&reply, "\"t3\"", NULL);
	ask(listing->larder, NULL, NULL, &reply, TAGS "?last=zzz");
	expect_list(&reply, "", NULL);
}

WIRE_TEST(tags_are_made_from_what_is_held_when_nothing_else_is_known)
{
	struct listing listing = listing_new(wire, FRESH, NULL);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	pull_tags(&listing, 3);
	scripted_set_state(listing.upstream, 0, SCRIPTED_DOWN, true);
	expect_known_pages(&listing);
	ask(listing.larder, NULL, NULL, &reply, TAGS "?next_page=opaque");
	expect_error(&reply, 502, "UNKNOWN");
	ask(listing.larder, NULL, NULL, &reply, "/v2/team/other/tags/list");
	expect_error(&reply, 502, "UNKNOWN");
}

WIRE_TEST(tags_are_made_from_what_is_held_offline)
{
	struct listing listing = listing_new(wire, FRESH, NULL);
	_cleanup_free_ char *upstream = mem_printf("registry.test=%s", scripted_url(listing.upstream, 0));
	static const char *const offline[] = {"--offline", NULL};
	struct larder_options options = {.upstream = upstream, .arguments = offline};
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	pull_tags(&listing, 3);
	larder_stop(listing.larder);
	scripted_clear_log(listing.upstream);
	listing.larder = wire_larder(wire, &options);
	expect_known_pages(&listing);
	ask(listing.larder, NULL, NULL, &reply, "/v2/team/other/tags/list");
	expect_error(&reply, 404, "NAME_UNKNOWN");
	expect_count(listing.upstream, NULL, NULL, 0);
}

/* Quay names its next page by a mark of its own; some registries write whole addresses. */
WIRE_TEST(tags_go_on_in_the_upstreams_own_terms)
{
	struct listing listing = listing_new(wire, FRESH, NULL);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *absolute = mem_printf("Link: <%s" TAGS "?n=2&extra=1&next_page=gAAA%%3D>; rel=\"next\"",
						   scripted_url(listing.upstream, 0));
	struct scripted_rule rule = {.path = TAGS "?n=2", .headers = absolute};
	scripted_add_rule(listing.upstream, &rule);
	ask(listing.larder, NULL, NULL, &reply, TAGS "?n=2");
	expect_list(&reply, "\"t1\",\"t2\"", "</v2/team/app/tags/list?n=2&next_page=gAAA%3D>; rel=\"next\"");
	ask(listing.larder, NULL, NULL, &reply, TAGS "?n=2&next_page=gAAA%%3D");
	expect_count(listing.upstream, NULL, TAGS "?n=2&next_page=gAAA%3D", 1);
}

WIRE_TEST(tags_links_that_lead_elsewhere_are_not_followed)
{
	struct listing listing = listing_new(wire, FRESH, NULL);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct scripted_rule elsewhere = {.path = TAGS "?n=2",
					  .headers = "Link: <http://169.254.169.254/v2/x?last=t2>; rel=\"next\""};
	struct scripted_rule unknown = {.path = TAGS "?n=3", .headers = "Link: <?cursor=17>; rel=\"next\""};
	scripted_add_rule(listing.upstream, &elsewhere);
	scripted_add_rule(listing.upstream, &unknown);
	ask(listing.larder, NULL, NULL, &reply, TAGS "?n=2");
	expect_list(&reply, "\"t1\",\"t2\"", NULL);
	/* A list that is cut short without a word would be taken for the whole. */
	ask(listing.larder, NULL, NULL, &reply, TAGS "?n=3");
	expect_error(&reply, 502, "UNKNOWN");
}

WIRE_TEST(tags_of_nonsense_are_no_tags)
{
	struct listing listing = listing_new(wire, FRESH, NULL);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	int rule = scripted_add_rule(listing.upstream,
				     &(struct scripted_rule){.path = ANY, .status = 200, .body = "<html>"});
	ask(listing.larder, NULL, NULL, &reply, TAGS);
	expect_error(&reply, 502, "UNKNOWN");
	scripted_remove_rule(listing.upstream, rule);
	ask(listing.larder, NULL, NULL, &reply, TAGS);
	assert_int_equal(reply.status, 200);
	ask(listing.larder, NULL, NULL, &reply, "/v2/team/none/tags/list");
	expect_error(&reply, 404, "NAME_UNKNOWN");
	ask(listing.larder, NULL, NULL, &reply, TAGS "?n=-1");
	expect_error(&reply, 400, "PAGINATION_NUMBER_INVALID");
	ask(listing.larder, NULL, NULL, &reply, TAGS "?n=");
	expect_error(&reply, 400, "PAGINATION_NUMBER_INVALID");
	ask(listing.larder, NULL, NULL, &reply, TAGS "?last=%%0a");
	expect_error(&reply, 400, "PAGINATION_NUMBER_INVALID");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(tags_come_page_by_page),
		WIRE_CASE(tags_of_an_upstream_with_small_pages_are_linked),
		WIRE_CASE(tags_page_is_asked_for_once_while_it_is_fresh),
		WIRE_CASE(tags_are_asked_for_again_when_they_are_not_fresh),
		WIRE_CASE(tags_are_the_last_known_page_while_the_upstream_is_down),
		WIRE_CASE(tags_are_made_from_what_is_held_when_nothing_else_is_known),
		WIRE_CASE(tags_are_made_from_what_is_held_offline),
		WIRE_CASE(tags_go_on_in_the_upstreams_own_terms),
		WIRE_CASE(tags_links_that_lead_elsewhere_are_not_followed),
		WIRE_CASE(tags_of_nonsense_are_no_tags),
	};
	return cmocka_run_group_tests_name("catalog", tests, NULL, NULL);
}
