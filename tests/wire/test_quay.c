/* SPDX-License-Identifier: Apache-2.0 */
/* Listings page by page, against a scripted registry: the pager itself, and Quay's API on it. No larder runs: the room
 * is driven from here. */
#include "tests/wire/expect.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "upstream/pages.h"
#include "upstream/quay.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define ORG_PATH  "/api/v1/repository?namespace=org&public=true&last_modified=true"
#define TAGS_PATH "/api/v1/repository/org/app/tag/?onlyActiveTags=true&limit=100"

/* One listing, started on the loop and waited for here. */
struct bed {
	struct scripted *upstream;
	struct loop *loop;
	struct registry *registry;
	pthread_mutex_t lock;
	pthread_cond_t ended;
	bool done;
	struct err err; /* code 0: all is well */
	struct buf said;
	unsigned pages;
	int refuse_after; /* the receiver gives up after so many; 0: never */
	bool cancel;      /* from within the first page */

	const char *organisation, *repository, *tag;
	int64_t since_s;
	struct pages_query query;
	struct pages *listing;
};

static struct bed *bed_new(struct wire *wire, const struct scripted_options *options)
{
	struct bed *bed = mem_alloc(sizeof(*bed));
	struct err err = {0};
	bed->upstream = wire_upstream(wire, options);
	struct registry_options registry = {
		.name = "quay.test",
		.url = scripted_url(bed->upstream, 0),
		.max_connections = 4,
		.retries = 1,
		.connect_timeout_ms = 5000,
		.idle_timeout_ms = 5000,
	};
	pthread_mutex_init(&bed->lock, NULL);
	pthread_cond_init(&bed->ended, NULL);
	assert_int_equal(loop_start(&bed->loop, &err), 0);
	bed->registry = registry_new(bed->loop, &registry);
	return bed;
}

static void bed_free(struct bed **bed)
{
	registry_close((*bed)->registry);
	registry_free((*bed)->registry);
	loop_stop((*bed)->loop);
	buf_dispose(&(*bed)->said);
	pthread_mutex_destroy(&(*bed)->lock);
	pthread_cond_destroy(&(*bed)->ended);
	free(*bed);
}
#define _cleanup_bed_ _cleanup_(bed_free)

static int on_repository(void *arg, const struct quay_repository *repository)
{
	struct bed *bed = arg;
	buf_printf(&bed->said, "%s@%lld ", repository->name, (long long)repository->last_modified_s);
	return bed->refuse_after && --bed->refuse_after == 0 ? ERR_BUSY : 0;
}

static int on_tag(void *arg, const struct quay_tag *tag)
{
	struct bed *bed = arg;
	buf_printf(&bed->said, "%s@%lld=%.10s ", tag->name, (long long)tag->start_s, tag->digest ? tag->digest : "-");
	return 0;
}

static int on_page(void *arg, const char *data, size_t len, char **next, struct err *err)
{
	struct bed *bed = arg;
	(void)next;
	(void)err;
	buf_printf(&bed->said, "%s|", strlen(data) == len ? data : "not ended");
	if (bed->cancel)
		pages_cancel(bed->listing);
	return 0;
}

static void on_done(void *arg, const struct err *err)
{
	struct bed *bed = arg;
	pthread_mutex_lock(&bed->lock);
	bed->err = err ? *err : (struct err){0};
	bed->done = true;
	pthread_cond_signal(&bed->ended);
	pthread_mutex_unlock(&bed->lock);
}

static const struct quay_sink quay_sink = {.on_repository = on_repository, .on_tag = on_tag, .on_done = on_done};
static const struct pages_sink pages_sink = {.on_page = on_page, .on_done = on_done};

static void start(void *arg)
{
	struct bed *bed = arg;
	if (bed->organisation)
		quay_list_repositories(bed->registry, bed->organisation, bed->since_s, PACE_CLIENT, &quay_sink, bed);
	else if (bed->repository)
		quay_list_tags(bed->registry, bed->repository, bed->tag, PACE_CLIENT, &quay_sink, bed);
	else
		bed->listing = pages_start(bed->registry, &bed->query, &pages_sink, bed);
}

/* Runs the listing to its end: its error's code. */
static int list(struct bed *bed)
{
	struct timespec deadline;
	int rc = 0;
	bed->done = false;
	buf_clear(&bed->said);
	loop_run(bed->loop, start, bed);
	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += 30;
	pthread_mutex_lock(&bed->lock);
	while (!bed->done && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(&bed->ended, &bed->lock, &deadline);
	pthread_mutex_unlock(&bed->lock);
	assert_true(bed->done);
	return bed->err.code;
}

static void expect_said(const struct bed *bed, const char *said)
{
	assert_string_equal(bed->said.data ? bed->said.data : "", said);
}

static int answer(struct bed *bed, const char *target, const char *json)
{
	scripted_add_file(bed->upstream, target, "application/json", json, strlen(json));
	return 0;
}

WIRE_TEST(repositories_are_listed_over_pages)
{
	_cleanup_bed_ struct bed *bed = bed_new(wire, NULL);
	answer(bed, ORG_PATH,
	       "{\"repositories\":[{\"namespace\":\"org\",\"name\":\"old\",\"kind\":\"image\",\"last_modified\":1000},"
	       "{\"namespace\":\"org\",\"name\":\"new\",\"kind\":\"image\",\"last_modified\":2000}],"
	       "\"next_page\":\"a+b/c==\"}");
	answer(bed, ORG_PATH "&next_page=a%2Bb%2Fc%3D%3D",
	       "{\"repositories\":[{\"name\":\"chart\",\"kind\":\"application\",\"last_modified\":3000},"
	       "{\"name\":\"never\",\"last_modified\":null},{\"name\":\"newest\",\"last_modified\":4000}]}");
	bed->organisation = "org";
	assert_int_equal(list(bed), 0);
	expect_said(bed, "old@1000 new@2000 never@0 newest@4000 ");
	expect_count(bed->upstream, "GET", NULL, 2);
	bed->since_s = 2000;
	assert_int_equal(list(bed), 0);
	expect_said(bed, "new@2000 newest@4000 ");
}

WIRE_TEST(receiver_ends_a_listing)
{
	_cleanup_bed_ struct bed *bed = bed_new(wire, NULL);
	answer(bed, ORG_PATH,
	       "{\"repositories\":[{\"name\":\"a\"},{\"name\":\"b\"},{\"name\":\"c\"}],\"next_page\":\"x\"}");
	bed->organisation = "org";
	bed->refuse_after = 2;
	assert_int_equal(list(bed), ERR_BUSY);
	expect_said(bed, "a@0 b@0 ");
	expect_count(bed->upstream, "GET", NULL, 1);
}

WIRE_TEST(nonsense_is_an_error)
{
	static const char *const answers[] = {
		"",
		"[]",
		"{}",
		"{\"repositories\":null}",
		"{\"repositories\":{}}",
		"{\"repositories\":[1]}",
		"{\"repositories\":[{\"name\":\"../x\"}]}",
		"{\"repositories\":[{\"name\":1}]}",
		"{\"repositories\":[{\"name\":\"a\",\"namespace\":\"other\"}]}",
		"{\"repositories\":[{\"name\":\"a\",\"last_modified\":\"yesterday\"}]}",
		"{\"repositories\":[{\"name\":\"a\",\"last_modified\":-1}]}",
		"{\"repositories\":[],\"next_page\":7}",
		"{\"repositories\":[]",
	};
	_cleanup_bed_ struct bed *bed = bed_new(wire, NULL);
	bed->organisation = "org";
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		scripted_remove_rule(bed->upstream, 0);
		scripted_add_rule(bed->upstream,
				  &(struct scripted_rule){.path = "/api/*", .status = 200, .body = answers[i]});
		if (list(bed) != ERR_UPSTREAM)
			fail_msg("%s gave %d", answers[i], bed->err.code);
	}
}

WIRE_TEST(endless_listing_is_left)
{
	_cleanup_bed_ struct bed *bed = bed_new(wire, NULL);
	answer(bed, "/api/v1/repository", "{\"repositories\":[],\"next_page\":\"again\"}");
	bed->organisation = "org";
	assert_int_equal(list(bed), ERR_UPSTREAM);
	expect_count(bed->upstream, "GET", NULL, 2);
	scripted_remove_rule(bed->upstream, 0);
	scripted_add_rule(bed->upstream,
			  &(struct scripted_rule){.path = "/api/*", .status = 200, .endless_body = true});
	assert_int_equal(list(bed), ERR_LIMIT);
}

WIRE_TEST(missing_organisation_is_not_found)
{
	_cleanup_bed_ struct bed *bed = bed_new(wire, NULL);
	scripted_add_rule(bed->upstream, &(struct scripted_rule){.path = "/api/*", .status = 404});
	bed->organisation = "org";
	assert_int_equal(list(bed), ERR_NOT_FOUND);
}

/* Its pace and its retries are the registry's. */
WIRE_TEST(overload_is_waited_out)
{
	_cleanup_bed_ struct bed *bed = bed_new(wire, NULL);
	answer(bed, ORG_PATH, "{\"repositories\":[{\"name\":\"a\"}]}");
	scripted_add_rule(bed->upstream, &(struct scripted_rule){.path = "/api/*", .count = 1, .status = 429});
	bed->organisation = "org";
	assert_int_equal(list(bed), 0);
	expect_said(bed, "a@0 ");
	expect_count(bed->upstream, "GET", NULL, 2);
}

/* A page that was cut is asked for as a whole: its two halves may be of two moments. */
WIRE_TEST(page_that_was_cut_is_not_continued)
{
	_cleanup_bed_ struct bed *bed = bed_new(wire, NULL);
	answer(bed, ORG_PATH, "{\"repositories\":[{\"name\":\"a\"},{\"name\":\"b\"}]}");
	scripted_add_rule(bed->upstream,
			  &(struct scripted_rule){.path = "/api/*", .count = 1, .cut = SCRIPTED_CUT_RST, .cut_at = 20});
	bed->organisation = "org";
	assert_int_equal(list(bed), 0);
	expect_said(bed, "a@0 b@0 ");
	size_t count;
	struct scripted_record *records = scripted_records(bed->upstream, NULL, NULL, &count);
	assert_int_equal(count, 2);
	assert_null(scripted_record_header(&records[1], "Range"));
	scripted_records_free(records, count);
}

WIRE_TEST(tags_are_listed_over_pages)
{
	_cleanup_bed_ struct bed *bed = bed_new(wire, NULL);
	_cleanup_free_ char *first = mem_printf("{\"tags\":[{\"name\":\"v1\",\"start_ts\":5,\"manifest_digest\":"
						"\"sha256:%064d\"}],\"page\":1,\"has_additional\":true}",
						1);
	answer(bed, TAGS_PATH, first);
	answer(bed, TAGS_PATH "&page=2", "{\"tags\":[{\"name\":\"v2\",\"start_ts\":6}],\"has_additional\":false}");
	bed->repository = "org/app";
	assert_int_equal(list(bed), 0);
	expect_said(bed, "v1@5=sha256:000 v2@6=- ");
	answer(bed, TAGS_PATH "&page=2", "{\"tags\":[],\"has_additional\":true}");
	assert_int_equal(list(bed), 0);
	answer(bed, TAGS_PATH "&page=2", "{\"tags\":[{\"name\":\"v2\",\"manifest_digest\":\"md5:1\"}]}");
	assert_int_equal(list(bed), ERR_UPSTREAM);
}

WIRE_TEST(one_tag_is_asked_for_alone)
{
	_cleanup_bed_ struct bed *bed = bed_new(wire, NULL);
	answer(bed, "/api/v1/repository/org/app/tag/?specificTag=v1.0&onlyActiveTags=true&limit=1",
	       "{\"tags\":[{\"name\":\"v1.0\",\"start_ts\":7}],\"has_additional\":true}");
	answer(bed, "/api/v1/repository/org/app/tag/?specificTag=v2&onlyActiveTags=true&limit=1", "{\"tags\":[]}");
	bed->repository = "org/app";
	bed->tag = "v1.0";
	assert_int_equal(list(bed), 0);
	expect_said(bed, "v1.0@7=- ");
	bed->tag = "v2";
	assert_int_equal(list(bed), ERR_NOT_FOUND);
	bed->tag = "v3";
	assert_int_equal(list(bed), ERR_NOT_FOUND);
	expect_count(bed->upstream, "GET", NULL, 3);
}

/* The pager, with the registry's own listings. */

static void add_tags(struct bed *bed, unsigned count)
{
	char digest[SCRIPTED_DIGEST_MAX];
	scripted_add_manifest(bed->upstream, "team/app", NULL, SCRIPTED_TYPE_MANIFEST, "{}", 2, digest);
	for (unsigned i = 0; i < count; i++) {
		_cleanup_free_ char *tag = mem_printf("t%u", i);
		scripted_set_tag(bed->upstream, "team/app", tag, digest, false);
	}
	bed->query = (struct pages_query){.repository = "team/app", .path = "/v2/team/app/tags/list?n=2"};
}

WIRE_TEST(tags_come_in_pages_with_a_token)
{
	struct scripted_options options = {.auth = {.kind = SCRIPTED_AUTH_BEARER, .scope_check = true}};
	_cleanup_bed_ struct bed *bed = bed_new(wire, &options);
	add_tags(bed, 5);
	assert_int_equal(list(bed), 0);
	expect_count(bed->upstream, "GET", "*/tags/list*", 4);
	expect_count(bed->upstream, "GET", "/token*", 1);
	for (unsigned i = 0; i < 5; i++) {
		char tag[8];
		snprintf(tag, sizeof(tag), "\"t%u\"", i);
		assert_non_null(strstr(bed->said.data, tag));
	}
	bed->query.pages_max = 2;
	assert_int_equal(list(bed), ERR_LIMIT);
}

WIRE_TEST(page_beyond_its_bound_is_left)
{
	_cleanup_bed_ struct bed *bed = bed_new(wire, NULL);
	add_tags(bed, 5);
	bed->query.page_bytes_max = 10;
	assert_int_equal(list(bed), ERR_LIMIT);
	expect_said(bed, "");
}

WIRE_TEST(hostile_links_are_not_followed)
{
	static const char *const links[] = {
		"Link: <http://127.0.0.2/v2/team/app/tags/list?last=a>; rel=\"next\"",
		"Link: <//127.0.0.1:1/v2/team/app/tags/list>; rel=\"next\"",
		"Link: <https://127.0.0.1/v2/>; rel=\"next\"",
		"Link: <file:///etc/passwd>; rel=next",
	};
	_cleanup_bed_ struct bed *bed = bed_new(wire, NULL);
	add_tags(bed, 1);
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		scripted_remove_rule(bed->upstream, 0);
		scripted_add_rule(bed->upstream, &(struct scripted_rule){.path = "/v2/*", .headers = links[i]});
		if (list(bed) != ERR_UPSTREAM)
			fail_msg("%s gave %d", links[i], bed->err.code);
	}
}

/* RFC 8288, section 3.1: against the page's own address. */
WIRE_TEST(relative_links_are_followed)
{
	_cleanup_bed_ struct bed *bed = bed_new(wire, NULL);
	add_tags(bed, 3);
	scripted_add_rule(
		bed->upstream,
		&(struct scripted_rule){.path = "/v2/*", .count = 1, .headers = "Link: <?n=2&last=t1>; rel=\"next\""});
	assert_int_equal(list(bed), 0);
	expect_count(bed->upstream, "GET", "/v2/team/app/tags/list?n=2&last=t1", 1);
}

WIRE_TEST(cancelled_listing_asks_for_no_more)
{
	_cleanup_bed_ struct bed *bed = bed_new(wire, NULL);
	add_tags(bed, 5);
	bed->cancel = true;
	assert_int_equal(list(bed), ERR_CANCELLED);
	expect_count(bed->upstream, "GET", "*/tags/list*", 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(repositories_are_listed_over_pages),
		WIRE_CASE(receiver_ends_a_listing),
		WIRE_CASE(nonsense_is_an_error),
		WIRE_CASE(endless_listing_is_left),
		WIRE_CASE(missing_organisation_is_not_found),
		WIRE_CASE(overload_is_waited_out),
		WIRE_CASE(page_that_was_cut_is_not_continued),
		WIRE_CASE(tags_are_listed_over_pages),
		WIRE_CASE(one_tag_is_asked_for_alone),
		WIRE_CASE(tags_come_in_pages_with_a_token),
		WIRE_CASE(page_beyond_its_bound_is_left),
		WIRE_CASE(hostile_links_are_not_followed),
		WIRE_CASE(relative_links_are_followed),
		WIRE_CASE(cancelled_listing_asks_for_no_more),
	};
	return cmocka_run_group_tests_name("quay", tests, NULL, NULL);
}
