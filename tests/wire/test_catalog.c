/* SPDX-License-Identifier: Apache-2.0 */
/* Lists: a repository's tags, page by page, fresh, cached and stale; the repositories that are held. */
#include "tests/wire/expect.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include <stdio.h>
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
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	ask(listing.larder, NULL, NULL, &reply, TAGS);
	expect_list(&reply, "\"t1\",\"t2\",\"t3\",\"t4\",\"t5\"", NULL);
	scripted_remove_tag(listing.upstream, "team/app", "t3");
	ask(listing.larder, NULL, NULL, &reply, TAGS);
	expect_list(&reply, "\"t1\",\"t2\",\"t4\",\"t5\"", NULL);
	expect_count(listing.upstream, NULL, NULL, 2);
}

WIRE_TEST(tags_are_the_last_known_page_while_the_upstream_is_down)
{
	struct listing listing = listing_new(wire, NEVER_FRESH, NULL);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	ask(listing.larder, NULL, NULL, &reply, TAGS "?n=3");
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

/* The next page would begin at a name that no header has room for. */
WIRE_TEST(names_that_are_no_tags_are_in_no_page_that_is_cut)
{
	struct listing listing = listing_new(wire, NEVER_FRESH, NULL);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *endless = mem_alloc(200001);
	_cleanup_free_ char *body = NULL;

	memset(endless, 'a', 200000);
	body = mem_printf("{\"name\":\"team/app\",\"tags\":[\"t1\",\"../x\",\"t2\",\"%s\",\"a\\r\\nb\",\"t3\"]}",
			  endless);
	scripted_add_rule(listing.upstream, &(struct scripted_rule){.path = ANY, .status = 200, .body = body});
	ask(listing.larder, NULL, NULL, &reply, TAGS "?n=1");
	expect_list(&reply, "\"t1\"", "</v2/team/app/tags/list?n=1&last=t1>; rel=\"next\"");
	ask(listing.larder, NULL, NULL, &reply, TAGS "?n=2&last=t1");
	expect_list(&reply, "\"t2\",\"t3\"", NULL);
	ask(listing.larder, NULL, NULL, &reply, TAGS);
	assert_string_equal(reply.body, body);
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

/* As docker's registry does before 3.0. */
WIRE_TEST(tags_come_page_by_page_from_an_upstream_without_pages)
{
	struct listing listing = listing_new(wire, FRESH, NULL);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct scripted_rule all = {
		.path = ANY,
		.status = 200,
		.headers = "Content-Type: application/json",
		.body = "{\"name\":\"team/app\",\"tags\":[\"t3\",\"t1\",\"t5\",\"t2\",\"t4\"]}",
	};
	scripted_add_rule(listing.upstream, &all);
	ask(listing.larder, NULL, NULL, &reply, TAGS "?n=2");
	expect_list(&reply, "\"t1\",\"t2\"", "</v2/team/app/tags/list?n=2&last=t2>; rel=\"next\"");
	ask(listing.larder, NULL, NULL, &reply, TAGS "?n=2&last=t2");
	expect_list(&reply, "\"t3\",\"t4\"", "</v2/team/app/tags/list?n=2&last=t4>; rel=\"next\"");
	ask(listing.larder, NULL, NULL, &reply, TAGS "?n=2&last=t4");
	expect_list(&reply, "\"t5\"", NULL);
	ask(listing.larder, NULL, NULL, &reply, TAGS "?last=t3");
	expect_list(&reply, "\"t4\",\"t5\"", NULL);
	ask(listing.larder, NULL, NULL, &reply, TAGS "?n=0");
	expect_list(&reply, "", NULL);
	ask(listing.larder, NULL, NULL, &reply, TAGS "?n=9");
	expect_list(&reply, "\"t3\",\"t1\",\"t5\",\"t2\",\"t4\"", NULL);
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
	/* A list that is cut short without a word would be taken for the whole. */
	ask(listing.larder, NULL, NULL, &reply, TAGS "?n=2");
	expect_error(&reply, 502, "UNKNOWN");
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

#define TWO_UPSTREAMS                                                                                                  \
	"default_upstream: registry.test\n"                                                                            \
	"upstreams: {registry.test: {url: %s, tag_ttl: 1h}, registry: {url: %s, tag_ttl: 1h, aliases: "                \
	"[other.test]}}\n"

static void expect_names(const struct client_reply *reply, const char *names, const char *link)
{
	_cleanup_free_ char *body = mem_printf("{\"repositories\":[%s]}", names);
	if (reply->status != 200 || !reply->complete)
		fail_msg("%d %s: %s", reply->status, reply->error, reply->body);
	assert_string_equal(reply->body, body);
	expect_header(reply, "Content-Type", "application/json");
	expect_header(reply, "Link", link);
}

static void pull_one(const struct larder *larder, const char *name)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	ask(larder, NULL, ACCEPT, &reply, "/v2/%s/manifests/t1", name);
	assert_int_equal(reply.status, 200);
}

/* Five repositories of two upstreams, one of which has a name that the other's begins with. */
static struct listing catalog_new(struct wire *wire)
{
	static const char *const names[] = {"team/app", "team/app-2", "base", "registry/registry/team/app",
					    "registry/zoo"};
	struct listing listing = listing_new(wire, TWO_UPSTREAMS, NULL);
	struct scripted_image image;
	struct scripted_image_options options = {.layer_size = 100};
	scripted_add_image(listing.upstream, NULL, "t1", &options, &image);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		pull_one(listing.larder, names[i]);
	larder_stop(listing.larder);
	larder_restart(listing.larder);
	scripted_clear_log(listing.upstream);
	return listing;
}

WIRE_TEST(catalog_lists_what_is_held)
{
	struct listing listing = listing_new(wire, TWO_UPSTREAMS, NULL);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	ask(listing.larder, NULL, NULL, &reply, "/v2/_catalog");
	expect_names(&reply, "", NULL);
	larder_stop(listing.larder);
	listing = catalog_new(wire);
	ask(listing.larder, NULL, NULL, &reply, "/v2/_catalog");
	expect_names(&reply,
		     "\"registry.test/base\",\"registry.test/team/app\",\"registry.test/team/app-2\","
		     "\"registry/registry/team/app\",\"registry/zoo\"",
		     NULL);
	expect_header(&reply, "Cache-Status", "larder; hit");
	/* Whatever is in the list can be pulled by that name. */
	pull_one(listing.larder, "registry.test/team/app-2");
	pull_one(listing.larder, "registry/registry/team/app");
	expect_count(listing.upstream, NULL, NULL, 0);
}

WIRE_TEST(catalog_comes_page_by_page)
{
	struct listing listing = catalog_new(wire);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	ask(listing.larder, NULL, NULL, &reply, "/v2/_catalog?n=2");
	expect_names(&reply, "\"registry.test/base\",\"registry.test/team/app\"",
		     "</v2/_catalog?n=2&last=registry.test%2Fteam%2Fapp>; rel=\"next\"");
	ask(listing.larder, NULL, NULL, &reply, "/v2/_catalog?n=2&last=registry.test%%2Fteam%%2Fapp");
	expect_names(&reply, "\"registry.test/team/app-2\",\"registry/registry/team/app\"",
		     "</v2/_catalog?n=2&last=registry%2Fregistry%2Fteam%2Fapp>; rel=\"next\"");
	ask(listing.larder, NULL, NULL, &reply, "/v2/_catalog?n=2&last=registry/registry/team/app");
	expect_names(&reply, "\"registry/zoo\"", NULL);
	ask(listing.larder, NULL, NULL, &reply, "/v2/_catalog?n=5");
	expect_header(&reply, "Link", NULL);
	ask(listing.larder, NULL, NULL, &reply, "/v2/_catalog?last=registry.tes");
	assert_non_null(strstr(reply.body, "registry.test/base"));
	ask(listing.larder, NULL, NULL, &reply, "/v2/_catalog?last=registry0");
	expect_names(&reply, "", NULL);
	ask(listing.larder, NULL, NULL, &reply, "/v2/_catalog?n=0");
	expect_names(&reply, "", NULL);
	ask(listing.larder, NULL, NULL, &reply, "/v2/_catalog?n=x");
	expect_error(&reply, 400, "PAGINATION_NUMBER_INVALID");
}

WIRE_TEST(catalog_of_one_upstream)
{
	struct listing listing = catalog_new(wire);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	ask(listing.larder, NULL, NULL, &reply, "/v2/_catalog?ns=other.test&n=1");
	expect_names(&reply, "\"registry/registry/team/app\"",
		     "</v2/_catalog?n=1&last=registry%2Fregistry%2Fteam%2Fapp&ns=registry>; rel=\"next\"");
	ask(listing.larder, NULL, NULL, &reply,
	    "/v2/_catalog?n=1&last=registry%%2Fregistry%%2Fteam%%2Fapp&ns=registry");
	expect_names(&reply, "\"registry/zoo\"", NULL);
	ask(listing.larder, NULL, NULL, &reply, "/v2/_catalog?ns=nobody.test");
	expect_error(&reply, 404, "NAME_UNKNOWN");
	ask(listing.larder, "POST", NULL, &reply, "/v2/_catalog");
	expect_error(&reply, 405, "UNSUPPORTED");
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
		WIRE_CASE(tags_come_page_by_page_from_an_upstream_without_pages),
		WIRE_CASE(tags_links_that_lead_elsewhere_are_not_followed),
		WIRE_CASE(tags_of_nonsense_are_no_tags),
		WIRE_CASE(names_that_are_no_tags_are_in_no_page_that_is_cut),
		WIRE_CASE(catalog_lists_what_is_held),
		WIRE_CASE(catalog_comes_page_by_page),
		WIRE_CASE(catalog_of_one_upstream),
	};
	return cmocka_run_group_tests_name("catalog", tests, NULL, NULL);
}
