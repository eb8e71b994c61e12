/* SPDX-License-Identifier: Apache-2.0 */
#include "server/registry/route.h"

#include "base/work.h"
#include "tests/unit/store/scratch.h"
#include "upstream/loop.h"

#define HEX "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static struct {
	struct scratch *scratch;
	struct work *work;
	struct loop *loop;
	struct pull *pull;
	struct route route;
	struct err err;
} test;

static int begin(void **state)
{
	static const char *const docker_aliases[] = {"index.docker.io", "registry-1.docker.io"};
	static const char *const denied[] = {"secret/*"};
	static const char *const allowed[] = {"team/*"};
	const struct registry_options registries[] = {
		{.name = "docker.io", .url = "https://registry-1.docker.io", .max_connections = 1},
		{.name = "quay.io", .url = "https://quay.io", .max_connections = 1},
		{.name = "registry.local:5000", .url = "http://registry.local:5000", .max_connections = 1},
	};
	const struct pull_upstream_options upstreams[] = {
		{.registry = registries[0], .aliases = docker_aliases, .alias_count = 2},
		{.registry = registries[1], .deny = denied, .deny_count = 1},
		{.registry = registries[2], .allow = allowed, .allow_count = 1},
	};
	struct pull_options options = {.upstreams = upstreams, .upstream_count = 3, .default_upstream = "docker.io"};

	if (scratch_setup(state))
		return -1;
	test.scratch = *state;
	options.store = test.scratch->store;
	options.work = test.work = work_start(1);
	if (loop_start(&test.loop, &test.err))
		return -1;
	options.loop = test.loop;
	test.pull = pull_new(&options);
	return 0;
}

static int finish(void **state)
{
	pull_close(test.pull);
	pull_free(test.pull);
	loop_stop(test.loop);
	work_stop(test.work);
	return scratch_teardown(state);
}

static int parse(const char *path, const char *query)
{
	memset(&test.route, 0xff, sizeof(test.route));
	test.err = (struct err){0};
	return route_parse(test.pull, path, query, &test.route, &test.err);
}

static void expect(const char *path, const char *query, enum route_kind kind, const char *upstream,
		   const char *repository, const char *reference)
{
	if (parse(path, query))
		fail_msg("%s?%s is refused: %s", path, query, test.err.text);
	assert_int_equal(test.route.kind, kind);
	assert_string_equal(pull_upstream_name(test.route.upstream), upstream);
	assert_string_equal(test.route.repository, repository);
	assert_string_equal(test.route.reference, reference);
}

static void expect_refused(const char *path, const char *query, int code, const char *error)
{
	if (parse(path, query) != code)
		fail_msg("%s?%s gives %s", path, query, err_name(test.err.code));
	assert_string_equal(test.route.error, error);
	assert_int_equal(test.err.code, code);
	assert_true(test.err.text[0]);
}

static void route_knows_the_base(void **state)
{
	static const char *const paths[] = {"/v2/", "/v2", "/quay.io/v2/", "/quay.io/v2"};

	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		assert_int_equal(parse(paths[i], ""), 0);
		assert_int_equal(test.route.kind, ROUTE_PING);
	}
	assert_int_equal(parse("/v2/", "ns=quay.io"), 0);
	assert_int_equal(parse("/v2/", "ns=nobody.example"), ERR_NOT_FOUND);
}

static void route_takes_the_default_upstream_and_its_library(void **state)
{
	(void)state;
	expect("/v2/alpine/manifests/3.20", "", ROUTE_MANIFEST, "docker.io", "library/alpine", "3.20");
	expect("/v2/org/app/manifests/sha256:" HEX, "", ROUTE_MANIFEST, "docker.io", "org/app", "sha256:" HEX);
	expect("/v2/org/app/blobs/sha256:" HEX, "", ROUTE_BLOB, "docker.io", "org/app", "sha256:" HEX);
	expect("/v2/org/app/tags/list", "n=3", ROUTE_TAGS, "docker.io", "org/app", "");
	/* A name without a slash is a repository, even when an upstream has it. */
	expect("/v2/quay.io/manifests/x", "", ROUTE_MANIFEST, "docker.io", "library/quay.io", "x");
}

static void route_finds_the_upstream_in_front_of_the_name(void **state)
{
	(void)state;
	expect("/v2/quay.io/org/app/manifests/1", "", ROUTE_MANIFEST, "quay.io", "org/app", "1");
	expect("/quay.io/v2/org/app/manifests/1", "", ROUTE_MANIFEST, "quay.io", "org/app", "1");
	expect("/v2/QUAY.IO/org/app/manifests/1", "", ROUTE_MANIFEST, "quay.io", "org/app", "1");
	expect("/v2/quay.io/app/manifests/1", "", ROUTE_MANIFEST, "quay.io", "app", "1");
	expect("/v2/index.docker.io/alpine/manifests/1", "", ROUTE_MANIFEST, "docker.io", "library/alpine", "1");
	expect("/v2/registry.local:5000/team/a/manifests/1", "", ROUTE_MANIFEST, "registry.local:5000", "team/a", "1");
	/* The prefix counts once. */
	expect("/quay.io/v2/quay.io/app/manifests/1", "", ROUTE_MANIFEST, "quay.io", "quay.io/app", "1");
}

static void route_lets_ns_decide(void **state)
{
	(void)state;
	expect("/v2/org/app/manifests/1", "ns=quay.io", ROUTE_MANIFEST, "quay.io", "org/app", "1");
	expect("/v2/alpine/manifests/1", "ns=registry-1.docker.io", ROUTE_MANIFEST, "docker.io", "library/alpine", "1");
	expect("/v2/quay.io/app/manifests/1", "ns=docker.io", ROUTE_MANIFEST, "docker.io", "quay.io/app", "1");
	expect("/v2/org/app/manifests/1", "x=y&ns=quay.io:443", ROUTE_MANIFEST, "quay.io", "org/app", "1");
	expect("/v2/team/a/manifests/1", "ns=registry.local%3A5000", ROUTE_MANIFEST, "registry.local:5000", "team/a",
	       "1");
	expect_refused("/v2/org/app/manifests/1", "ns=evil.example", ERR_NOT_FOUND, "NAME_UNKNOWN");
	expect_refused("/v2/org/app/manifests/1", "ns=quay.io:8443", ERR_NOT_FOUND, "NAME_UNKNOWN");
	expect_refused("/v2/org/app/manifests/1", "ns=registry.local", ERR_NOT_FOUND, "NAME_UNKNOWN");
	expect_refused("/v2/org/app/manifests/1", "ns=", ERR_NOT_FOUND, "NAME_UNKNOWN");
	expect_refused("/v2/org/app/manifests/1", "ns=%0d", ERR_NOT_FOUND, "NAME_UNKNOWN");
	expect_refused("/nobody.example/v2/org/app/manifests/1", "ns=quay.io", ERR_NOT_FOUND, "NAME_UNKNOWN");
}

static void route_finds_the_catalog_of_all_and_of_one(void **state)
{
	(void)state;
	assert_int_equal(parse("/v2/_catalog", ""), 0);
	assert_int_equal(test.route.kind, ROUTE_CATALOG);
	assert_null(test.route.upstream);
	expect("/v2/_catalog", "ns=quay.io", ROUTE_CATALOG, "quay.io", "", "");
	expect("/quay.io/v2/_catalog", "", ROUTE_CATALOG, "quay.io", "", "");
	assert_true(test.route.by_ns); /* the next page's link says so */
	expect_refused("/v2/_catalog", "ns=nobody.example", ERR_NOT_FOUND, "NAME_UNKNOWN");
}

static void route_reads_from_behind(void **state)
{
	(void)state;
	expect("/v2/org/blobs/manifests/blobs/manifests/1", "", ROUTE_MANIFEST, "docker.io",
	       "org/blobs/manifests/blobs", "1");
	expect("/v2/org/manifests/tags/list", "", ROUTE_TAGS, "docker.io", "org/manifests", "");
	expect("/v2/tags/list/tags/list", "", ROUTE_TAGS, "docker.io", "tags/list", "");
	expect("/v2/org%2Fapp/manifests/1", "", ROUTE_MANIFEST, "docker.io", "org/app", "1");
}

static void route_knows_uploads_to_refuse_them(void **state)
{
	static const char *const paths[] = {"/v2/org/app/blobs/uploads/", "/v2/org/app/blobs/uploads",
					    "/v2/org/app/blobs/uploads/some-uuid"};

	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		expect(paths[i], "", ROUTE_UPLOAD, "docker.io", "org/app", "");
	expect_refused("/v2/org/app/blobs/uploadsx/a/b", "", ERR_NOT_FOUND, "NAME_UNKNOWN");
}

static void route_refuses_what_is_no_route(void **state)
{
	static const char *const paths[] = {"",
					    "/",
					    "*",
					    "v2/",
					    "/v1/",
					    "/v22/",
					    "//v2/org/app/manifests/1",
					    "/nobody.example/v2/org/app/manifests/1",
					    "/v2/org/app",
					    "/v2/manifests/1",
					    "/v2/tags/list",
					    "/v2/org/app/manifest/1",
					    "/v2/org/app/tags/lists",
					    "/../v2/org/app"};

	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		if (parse(paths[i], "") == 0)
			fail_msg("%s is a route", paths[i]);
		assert_non_null(test.route.error);
	}
}

static void route_refuses_malformed_names(void **state)
{
	static const char *const names[] = {"",         "/org/app",    "Org/app",  "org/../app",
					    "../app",   "org//app",    "org/app/", "-org/app",
					    "org/app.", "org/a b",     "org/%00",  "org/app%0d%0a",
					    "org/%zz",  "org/app%3Fx", "org/...",  "org/a\xc3\xa4"};
	char path[256];

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "/v2/%s/manifests/1", names[i]);
		expect_refused(path, "", ERR_INVALID, "NAME_INVALID");
	}
}

static void route_bounds_names_and_references(void **state)
{
	char path[4096], name[1024];

	(void)state;
	memset(name, 'a', sizeof(name));
	name[REF_REPOSITORY_MAX] = '\0';
	snprintf(path, sizeof(path), "/v2/quay.io/%s/manifests/1", name);
	expect(path, "", ROUTE_MANIFEST, "quay.io", name, "1");
	/* library/ makes it too long */
	snprintf(path, sizeof(path), "/v2/%s/manifests/1", name);
	expect_refused(path, "", ERR_INVALID, "NAME_INVALID");
	name[REF_REPOSITORY_MAX] = 'a';
	name[REF_REPOSITORY_MAX + 1] = '\0';
	snprintf(path, sizeof(path), "/v2/quay.io/%s/manifests/1", name);
	expect_refused(path, "", ERR_INVALID, "NAME_INVALID");
	name[REF_REPOSITORY_MAX + 1] = 'a';
	name[sizeof(name) - 1] = '\0';
	snprintf(path, sizeof(path), "/v2/%s/manifests/1", name);
	expect_refused(path, "", ERR_INVALID, "NAME_INVALID");

	name[ROUTE_REFERENCE_MAX] = '\0';
	snprintf(path, sizeof(path), "/v2/org/app/manifests/%s", name);
	expect(path, "", ROUTE_MANIFEST, "docker.io", "org/app", name);
	name[ROUTE_REFERENCE_MAX] = 'a';
	name[ROUTE_REFERENCE_MAX + 1] = '\0';
	snprintf(path, sizeof(path), "/v2/org/app/manifests/%s", name);
	name[ROUTE_REFERENCE_MAX] = '\0'; /* cut, and no well-formed reference still */
	expect(path, "", ROUTE_MANIFEST, "docker.io", "org/app", name);

	memset(path, 'a', sizeof(path));
	memcpy(path, "/v2/", 4);
	path[sizeof(path) - 1] = '\0';
	expect_refused(path, "", ERR_INVALID, "NAME_INVALID");
}

static void route_keeps_to_what_the_configuration_allows(void **state)
{
	(void)state;
	expect_refused("/v2/quay.io/secret/app/manifests/1", "", ERR_DENIED, "DENIED");
	expect("/v2/quay.io/open/app/manifests/1", "", ROUTE_MANIFEST, "quay.io", "open/app", "1");
	expect_refused("/v2/other/a/manifests/1", "ns=registry.local:5000", ERR_DENIED, "DENIED");
	expect("/v2/team/a/manifests/1", "ns=registry.local:5000", ROUTE_MANIFEST, "registry.local:5000", "team/a",
	       "1");
}

/* What stands in the link to the next page of tags leads to the same repository. */
static void expect_way_back(const char *path, const char *query)
{
	struct route first;
	char back[1024], back_query[512];

	if (parse(path, query))
		fail_msg("%s?%s is refused: %s", path, query, test.err.text);
	first = test.route;
	snprintf(back, sizeof(back), "/v2/%s/tags/list", first.asked_name);
	snprintf(back_query, sizeof(back_query), "n=1%s%s", first.by_ns ? "&ns=" : "",
		 first.by_ns ? pull_upstream_name(first.upstream) : "");
	expect(back, back_query, ROUTE_TAGS, pull_upstream_name(first.upstream), first.repository, "");
}

static void route_tells_how_to_come_back(void **state)
{
	(void)state;
	expect_way_back("/v2/alpine/tags/list", "");
	expect_way_back("/v2/quay.io/org/app/tags/list", "");
	expect_way_back("/quay.io/v2/org/app/tags/list", "");
	expect_way_back("/index.docker.io/v2/alpine/tags/list", "");
	expect_way_back("/v2/org/app/tags/list", "ns=quay.io");
	expect_way_back("/v2/alpine/tags/list", "ns=index.docker.io:443");
	expect_way_back("/v2/quay.io/app/tags/list", "ns=docker.io");
	expect_way_back("/quay.io/v2/org/app/tags/list", "ns=docker.io");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(route_knows_the_base),
		cmocka_unit_test(route_takes_the_default_upstream_and_its_library),
		cmocka_unit_test(route_finds_the_upstream_in_front_of_the_name),
		cmocka_unit_test(route_lets_ns_decide),
		cmocka_unit_test(route_finds_the_catalog_of_all_and_of_one),
		cmocka_unit_test(route_reads_from_behind),
		cmocka_unit_test(route_knows_uploads_to_refuse_them),
		cmocka_unit_test(route_refuses_what_is_no_route),
		cmocka_unit_test(route_refuses_malformed_names),
		cmocka_unit_test(route_bounds_names_and_references),
		cmocka_unit_test(route_keeps_to_what_the_configuration_allows),
		cmocka_unit_test(route_tells_how_to_come_back),
	};

	return cmocka_run_group_tests(tests, begin, finish);
}
