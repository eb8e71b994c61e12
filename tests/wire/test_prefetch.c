/* SPDX-License-Identifier: Apache-2.0 */
/* Prefetch: what is fetched for which reference, how often, and what is said when it cannot be. */
#include "tests/wire/jobs.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <string.h>

#define PREFETCH "/api/v1/prefetch"

struct bed {
	struct scripted *upstream;
	struct larder *larder;
};

static struct bed bed_with(struct wire *wire, const struct scripted_options *options, const char *keys)
{
	struct bed bed = {.upstream = wire_upstream(wire, options)};
	const char *url = scripted_url(bed.upstream, 0);
	_cleanup_free_ char *config = mem_printf("default_upstream: registry.test\n"
						 "upstreams:\n"
						 "  registry.test: { url: %s, retries: 0%s%s }\n"
						 "  quay.io: { url: %s, max_connections: 32 }\n",
						 url, keys ? ", " : "", keys ? keys : "", url);

	_cleanup_free_ char *upstream = mem_printf("registry.test=%s", url);

	bed.larder = larder_with_admin(wire, "127.0.0.1:0", upstream, config);
	return bed;
}

static struct bed bed_new(struct wire *wire)
{
	return bed_with(wire, NULL, NULL);
}

static void add_image(struct bed *bed, const char *repository, const char *tag, uint64_t seed,
		      struct scripted_image *image)
{
	struct scripted_image unused;

	scripted_add_image(bed->upstream, repository, tag,
			   &(struct scripted_image_options){.layers = 3, .layer_size = 65536, .seed = seed},
			   image ? image : &unused);
}

static void prefetch(struct bed *bed, const char *body, const char *state, json_t **job)
{
	json_t *ended = job_run(bed->larder, PREFETCH, body, state);

	if (job)
		*job = ended;
	else
		json_decref(ended);
}

/* A client's pull finds all of it. */
static void expect_held(struct bed *bed, const char *repository, const char *tag, const struct scripted_image *image)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	scripted_clear_log(bed->upstream);
	assert_true(ask(bed->larder, NULL, NULL, &reply, "/v2/%s/manifests/%s", repository, tag));
	expect_content(&reply, image->manifest);
	assert_true(ask(bed->larder, NULL, NULL, &reply, "/v2/%s/blobs/%s", repository, image->config));
	expect_content(&reply, image->config);
	for (unsigned i = 0; i < image->layers; i++) {
		assert_true(ask(bed->larder, NULL, NULL, &reply, "/v2/%s/blobs/%s", repository, image->layer[i]));
		expect_content(&reply, image->layer[i]);
	}
	expect_count(bed->upstream, "GET", "*/blobs/*", 0);
	expect_count(bed->upstream, "GET", "*/manifests/*", 0);
}

WIRE_TEST(image_is_held_whole_and_counted)
{
	struct bed bed = bed_new(wire);
	struct scripted_image image;
	json_t *job;

	add_image(&bed, "team/app", "1", 1, &image);
	prefetch(&bed, "{\"images\": [\"team/app:1\"]}", "done", &job);
	assert_int_equal(json_number_at(job, "images.total"), 1);
	assert_int_equal(json_number_at(job, "images.done"), 1);
	assert_int_equal(json_number_at(job, "images.failed"), 0);
	assert_int_equal(json_number_at(job, "layers.done"), 4);
	assert_int_equal(json_number_at(job, "bytes.total"), image.bytes);
	assert_int_equal(json_number_at(job, "bytes.fetched"), image.bytes);
	assert_int_equal(json_number_at(job, "bytes.held"), 0);
	assert_int_equal(json_array_size(json_object_get(job, "errors")), 0);
	json_decref(job);
	expect_held(&bed, "team/app", "1", &image);
}

WIRE_TEST(second_run_fetches_no_manifest_and_no_blob)
{
	struct bed bed = bed_with(wire, NULL, "tag_ttl: 0s");
	struct scripted_image image;
	json_t *job;

	add_image(&bed, "team/app", "1", 1, &image);
	add_image(&bed, "team/app", "2", 2, NULL);
	prefetch(&bed, "{\"images\": [\"team/app:*\"]}", "done", NULL);
	scripted_clear_log(bed.upstream);
	prefetch(&bed, "{\"images\": [\"team/app:*\"]}", "done", &job);
	assert_int_equal(json_number_at(job, "bytes.fetched"), 0);
	assert_int_equal(json_number_at(job, "bytes.held"), json_number_at(job, "bytes.total"));
	json_decref(job);
	expect_count(bed.upstream, "GET", "*/manifests/*", 0);
	expect_count(bed.upstream, "GET", "*/blobs/*", 0);
	expect_count(bed.upstream, "HEAD", "*/manifests/1", 1);
}

WIRE_TEST(blob_that_several_images_need_is_fetched_once)
{
	struct bed bed = bed_new(wire);
	struct scripted_image image;
	json_t *job;

	/* Layers are made from the seed and their place: one seed, the same layers under several tags. */
	add_image(&bed, "team/app", "1", 7, &image);
	for (int i = 2; i < 8; i++) {
		char tag[8];

		snprintf(tag, sizeof(tag), "%d", i);
		scripted_set_tag(bed.upstream, "team/app", tag, image.manifest, false);
	}
	scripted_add_rule(bed.upstream, &(struct scripted_rule){.path = "*/blobs/*", .delay_ms = 50});
	prefetch(&bed, "{\"images\": [\"team/app:*\"], \"image_parallel\": 7}", "done", &job);
	assert_int_equal(json_number_at(job, "images.done"), 7);
	assert_int_equal(json_number_at(job, "layers.total"), 4);
	assert_int_equal(json_number_at(job, "bytes.total"), image.bytes);
	json_decref(job);
	expect_count(bed.upstream, "GET", "*/blobs/*", 4);
}

/* Of one image: from its first blob's request to the end of its last's. */
struct span {
	double from_ms, to_ms;
};

static struct span span_of(struct bed *bed, unsigned image)
{
	_cleanup_free_ char *blobs = mem_printf("*/team/many-%u/blobs/*", image);
	struct span span = {0};
	size_t count;
	struct scripted_record *records = scripted_records(bed->upstream, "GET", blobs, &count);

	assert_int_equal(count, 4);
	span.from_ms = records[0].at_ms;
	for (size_t i = 0; i < count; i++)
		span.to_ms = records[i].end_ms > span.to_ms ? records[i].end_ms : span.to_ms;
	scripted_records_free(records, count);
	return span;
}

WIRE_TEST(never_more_images_are_fetched_at_once_than_asked_for)
{
	enum { IMAGES = 12, AT_ONCE = 3 };
	struct bed bed = bed_with(wire, NULL, "max_connections: 64");
	_cleanup_(buf_dispose) struct buf body = {0};
	struct span spans[IMAGES];
	unsigned most = 0;

	buf_printf(&body, "{\"image_parallel\": %d, \"layer_parallel\": 8, \"images\": [", AT_ONCE);
	for (unsigned i = 0; i < IMAGES; i++) {
		_cleanup_free_ char *repository = mem_printf("team/many-%u", i);

		add_image(&bed, repository, "1", 100 + i, NULL);
		buf_printf(&body, "%s\"%s:1\"", i ? "," : "", repository);
	}
	buf_append_text(&body, "]}");
	/* Long enough that images which may be fetched at once are. */
	scripted_add_rule(bed.upstream, &(struct scripted_rule){.path = "*/blobs/*", .delay_ms = 50});
	prefetch(&bed, body.data, "done", NULL);
	for (unsigned i = 0; i < IMAGES; i++)
		spans[i] = span_of(&bed, i);
	for (unsigned i = 0; i < IMAGES; i++) {
		unsigned beside = 0;

		for (unsigned j = 0; j < IMAGES; j++)
			beside += spans[j].from_ms <= spans[i].from_ms && spans[i].from_ms < spans[j].to_ms;
		most = beside > most ? beside : most;
	}
	assert_int_equal(most, AT_ONCE);
}

WIRE_TEST(platforms_are_chosen_and_the_index_is_whole)
{
	struct bed bed = bed_new(wire);
	struct scripted_image amd, arm;
	char digest[SCRIPTED_DIGEST_MAX];
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	add_image(&bed, "team/app", NULL, 1, &amd);
	add_image(&bed, "team/app", NULL, 2, &arm);
	scripted_add_index(bed.upstream, "team/app", "1", (const char *[]){amd.manifest, arm.manifest},
			   (const char *[]){"amd64", "arm64"}, 2, digest);
	prefetch(&bed, "{\"images\": [\"team/app:1\"], \"platforms\": [\"linux/arm64/v8\"]}", "done", NULL);
	expect_count(bed.upstream, "GET", amd.manifest, 0);
	expect_count(bed.upstream, "GET", "*/blobs/*", 4);
	expect_held(&bed, "team/app", arm.manifest, &arm);
	assert_true(ask(bed.larder, NULL, NULL, &reply, "/v2/team/app/manifests/%s", digest));
	expect_content(&reply, digest);
	prefetch(&bed, "{\"images\": [\"team/app:1\"], \"platforms\": [\"linux/s390x\"]}", "failed", NULL);
	prefetch(&bed, "{\"images\": [\"team/app:1\"]}", "done", NULL);
	expect_held(&bed, "team/app", amd.manifest, &amd);
}

WIRE_TEST(referrers_and_signatures_come_along)
{
	static const char text[] = "{\"schemaVersion\":2,\"mediaType\":\"" SCRIPTED_TYPE_MANIFEST "\",\"config\":{"
				   "\"mediaType\":\"x/y\",\"digest\":\"%s\",\"size\":100},\"layers\":[]}";
	struct bed bed = bed_new(wire);
	struct scripted_image image;
	char blob[SCRIPTED_DIGEST_MAX], sbom[SCRIPTED_DIGEST_MAX], signature[SCRIPTED_DIGEST_MAX];
	_cleanup_free_ char *manifest = NULL, *tag = NULL, *signed_manifest = NULL;

	add_image(&bed, "team/app", "1", 1, &image);
	scripted_add_blob(bed.upstream, "team/app", 99, 100, blob);
	manifest = mem_printf(text, blob);
	scripted_add_manifest(bed.upstream, "team/app", NULL, SCRIPTED_TYPE_MANIFEST, manifest, strlen(manifest), sbom);
	scripted_add_referrer(bed.upstream, "team/app", image.manifest, sbom, "application/spdx+json");
	tag = mem_printf("sha256-%s.sig", image.manifest + 7);
	signed_manifest = mem_printf("%s ", manifest);
	scripted_add_manifest(bed.upstream, "team/app", tag, SCRIPTED_TYPE_MANIFEST, signed_manifest,
			      strlen(signed_manifest), signature);
	prefetch(&bed, "{\"images\": [\"team/app:1\"], \"referrers\": false}", "done", NULL);
	expect_count(bed.upstream, NULL, "*/referrers/*", 0);
	prefetch(&bed, "{\"images\": [\"team/app:1\"]}", "done", NULL);
	_cleanup_free_ char *sbom_path = mem_printf("*/manifests/%s", sbom);
	_cleanup_free_ char *tag_path = mem_printf("*/manifests/%s", tag);
	_cleanup_free_ char *blob_path = mem_printf("*/blobs/%s", blob);
	expect_count(bed.upstream, "GET", sbom_path, 1);
	expect_count(bed.upstream, "HEAD", tag_path, 1);
	/* By its digest, where the index knows already what the HEAD told. */
	_cleanup_free_ char *signature_path = mem_printf("*/manifests/%s", signature);
	assert_int_equal(
		scripted_count(bed.upstream, "GET", tag_path) + scripted_count(bed.upstream, "GET", signature_path), 1);
	expect_count(bed.upstream, "GET", blob_path, 1);
}

WIRE_TEST(failure_names_the_image_and_the_rest_goes_on)
{
	struct bed bed = bed_new(wire);
	struct scripted_image good, bad;
	_cleanup_free_ char *path = NULL, *shown = NULL;
	json_t *job;

	add_image(&bed, "team/good", "1", 1, &good);
	add_image(&bed, "team/bad", "1", 2, &bad);
	path = mem_printf("*/blobs/%s", bad.layer[1]);
	scripted_add_rule(bed.upstream, &(struct scripted_rule){.path = path, .status = 404});
	prefetch(&bed, "{\"images\": [\"team/bad:1\", \"team/none:3\", \"team/good:1\"]}", "failed", &job);
	assert_int_equal(json_number_at(job, "images.done"), 1);
	assert_int_equal(json_number_at(job, "images.failed"), 2);
	assert_int_equal(json_number_at(job, "layers.failed"), 1);
	shown = json_dumps(json_object_get(job, "errors"), 0);
	assert_non_null(strstr(shown, "registry.test/team/bad:1"));
	assert_non_null(strstr(shown, bad.layer[1]));
	assert_non_null(strstr(shown, "registry.test/team/none:3"));
	assert_null(strstr(shown, "team/good"));
	json_decref(job);
	expect_held(&bed, "team/good", "1", &good);
}

WIRE_TEST(dry_run_tells_sizes_and_fetches_no_layer)
{
	struct bed bed = bed_new(wire);
	struct scripted_image image;
	json_t *job, *plan;

	add_image(&bed, "team/app", "1", 1, &image);
	prefetch(&bed, "{\"images\": [\"team/app:1\"], \"dry_run\": true}", "done", &job);
	expect_count(bed.upstream, "GET", "*/blobs/*", 0);
	assert_int_equal(json_number_at(job, "bytes.total"), image.bytes);
	plan = json_array_get(json_object_get(json_object_get(job, "result"), "plan"), 0);
	assert_string_equal(json_string_value(json_object_get(plan, "image")), "registry.test/team/app:1");
	assert_string_equal(json_string_value(json_object_get(plan, "digest")), image.manifest);
	assert_int_equal(json_number_at(plan, "bytes"), image.bytes);
	json_decref(job);
}

WIRE_TEST(tags_are_chosen_by_version_over_pages)
{
	struct bed bed = bed_with(wire, &(struct scripted_options){.tags_page_max = 3}, NULL);
	static const char *const tags[] = {"1.0.0", "1.1.0", "1.2.0", "1.2.1-rc1", "1.3.0", "2.0.0", "latest"};
	json_t *job;

	for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++)
		add_image(&bed, "team/app", tags[i], i, NULL);
	prefetch(&bed, "{\"images\": [\"team/app?semver=>=1.1 <2&latest=2\"]}", "done", &job);
	assert_int_equal(json_number_at(job, "images.done"), 2);
	json_decref(job);
	expect_count(bed.upstream, "GET", "*/manifests/1.3.0", 1);
	expect_count(bed.upstream, "GET", "*/manifests/1.2.0", 1);
	expect_count(bed.upstream, "GET", "*/tags/list*", 3);
}

static void add_page(struct bed *bed, const char *asked, const char *next)
{
	_cleanup_free_ char *path = mem_printf("*/tags/list*%s*", asked);
	_cleanup_free_ char *headers = mem_printf(
		"Content-Type: application/json\nLink: </v2/team/app/tags/list?n=1000&last=%s>; rel=\"next\"", next);

	scripted_add_rule(bed->upstream, &(struct scripted_rule){.path = path,
								 .status = 200,
								 .headers = headers,
								 .body = "{\"name\":\"team/app\",\"tags\":[]}"});
}

WIRE_TEST(list_of_tags_that_does_not_move_on_is_given_up)
{
	struct bed bed = bed_new(wire);
	unsigned asked;
	json_t *job;

	add_page(&bed, "", "same");
	prefetch(&bed, "{\"images\": [\"team/app:*\"]}", "failed", &job);
	json_decref(job);
	asked = scripted_count(bed.upstream, "GET", "*/tags/list*");
	assert_in_range(asked, 1, 2);
}

WIRE_TEST(list_of_tags_in_a_circle_is_given_up)
{
	struct bed bed = bed_new(wire);
	json_t *job;

	add_page(&bed, "last=one", "other");
	add_page(&bed, "", "one");
	prefetch(&bed, "{\"images\": [\"team/app:*\"]}", "failed", &job);
	json_decref(job);
}

WIRE_TEST(wrong_references_are_named_at_once)
{
	static const struct {
		const char *body, *part;
	} cases[] = {
		{"{\"images\": [\"team/app:1\", \"team/APP:1\"]}", "'team/APP:1'"},
		{"{\"images\": [\"other.test/app\"]}", "no upstream other.test"},
		{"{\"images\": [\"app:*?newest=1\"]}", "'newest'"},
		{"{\"images\": []}", "images"},
		{"{}", "images"},
		{"{\"images\": [1]}", "images[0]"},
		{"{\"images\": [\"app\"], \"platforms\": [\"linux\"]}", "'linux'"},
		{"{\"images\": [\"app\"], \"image_parallel\": 0}", "image_parallel"},
		{"{\"images\": [\"app\"], \"layer_paralel\": 1}", "layer_paralel"},
		{"{\"images\": [\"app\"], \"pin\": \"a/b\"}", "pin"},
		{"[", "JSON"},
	};
	struct bed bed = bed_new(wire);

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		json_t *answer = admin_json(bed.larder, "POST", PREFETCH, cases[i].body, 400);
		const char *message = json_string_value(json_object_get(json_object_get(answer, "error"), "message"));

		if (!message || !strstr(message, cases[i].part))
			fail_msg("%s: '%s' is not in '%s'", cases[i].body, cases[i].part, message);
		json_decref(answer);
	}
	json_t *jobs = admin_json(bed.larder, "GET", "/api/v1/jobs", NULL, 200);
	assert_int_equal(json_array_size(json_object_get(jobs, "jobs")), 0);
	json_decref(jobs);
}

/* An organisation of `count` repositories in pages of 100; every tenth is an "app". */
static void add_organisation(struct bed *bed, unsigned count, unsigned *apps)
{
	*apps = 0;
	for (unsigned from = 0; from < count; from += 100) {
		_cleanup_(buf_dispose) struct buf page = {0};
		_cleanup_free_ char *target =
			mem_printf("/api/v1/repository?namespace=org&public=true&last_modified=true%s%.0u",
				   from ? "&next_page=p" : "", from);

		buf_append_text(&page, "{\"repositories\":[");
		for (unsigned i = from; i < from + 100; i++)
			buf_printf(
				&page,
				"%s{\"namespace\":\"org\",\"name\":\"%s%u\",\"kind\":\"image\",\"last_modified\":%u}",
				i > from ? "," : "", i % 10 ? "other" : "app", i, i % 20 ? 1700000000 : 1600000000);
		buf_append_text(&page, "]");
		if (from + 100 < count)
			buf_printf(&page, ",\"next_page\":\"p%u\"", from + 100);
		buf_append_text(&page, "}");
		scripted_add_file(bed->upstream, target, "application/json", page.data, page.len);
	}
	/* One of two apps changed since. */
	for (unsigned i = 10; i < count; i += 20, ++*apps) {
		_cleanup_free_ char *repository = mem_printf("org/app%u", i);
		_cleanup_free_ char *target =
			mem_printf("/api/v1/repository/%s/tag/?onlyActiveTags=true&limit=100", repository);
		static const char tags[] = "{\"tags\":[{\"name\":\"v1.0\"},{\"name\":\"v1.1\"},{\"name\":\"dev\"}],"
					   "\"has_additional\":false}";

		scripted_add_file(bed->upstream, target, "application/json", tags, strlen(tags));
		add_image(bed, repository, "v1.1", 5, NULL);
	}
}

WIRE_TEST(organisation_of_2000_repositories_costs_its_pages_and_what_matches)
{
	struct bed bed = bed_new(wire);
	unsigned apps;
	json_t *job;

	add_organisation(&bed, 2000, &apps);
	assert_int_equal(apps, 100);
	prefetch(&bed,
		 "{\"images\": [\"quay://org/app*:v*?latest=1&since=2023-01-01\"], \"dry_run\": true, "
		 "\"referrers\": false}",
		 "done", &job);
	assert_int_equal(json_number_at(job, "images.done"), apps);
	json_decref(job);
	expect_count(bed.upstream, NULL, "*namespace=*", 20);
	expect_count(bed.upstream, NULL, "/api/v1/repository/*", apps);
	expect_count(bed.upstream, NULL, "*/manifests/*", apps);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(image_is_held_whole_and_counted),
		WIRE_CASE(second_run_fetches_no_manifest_and_no_blob),
		WIRE_CASE(blob_that_several_images_need_is_fetched_once),
		WIRE_CASE(never_more_images_are_fetched_at_once_than_asked_for),
		WIRE_CASE(platforms_are_chosen_and_the_index_is_whole),
		WIRE_CASE(referrers_and_signatures_come_along),
		WIRE_CASE(failure_names_the_image_and_the_rest_goes_on),
		WIRE_CASE(dry_run_tells_sizes_and_fetches_no_layer),
		WIRE_CASE(tags_are_chosen_by_version_over_pages),
		WIRE_CASE(list_of_tags_that_does_not_move_on_is_given_up),
		WIRE_CASE(list_of_tags_in_a_circle_is_given_up),
		WIRE_CASE(wrong_references_are_named_at_once),
		WIRE_CASE(organisation_of_2000_repositories_costs_its_pages_and_what_matches),
	};
	return cmocka_run_group_tests_name("prefetch", tests, NULL, NULL);
}
