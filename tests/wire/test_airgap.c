/* SPDX-License-Identifier: Apache-2.0 */
/* Two larders with an air gap between: what the first exports of images that an upstream serves, the second imports,
 * offline, and serves. */
#include "tests/wire/expect.h"
#include "tests/wire/jobs.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct sides {
	struct wire *wire;
	struct scripted *upstream;
	struct larder *near, *far;
	char *bundle; /* the archive's path */
	char *said;   /* by the last command */
};

static void sides_dispose(struct sides *sides)
{
	free(sides->bundle);
	free(sides->said);
}

static struct sides sides_new(struct wire *wire)
{
	const char *far[] = {"--admin", "127.0.0.1:0", "--offline", NULL};
	struct sides sides = {
		.wire = wire, .upstream = wire_upstream(wire, NULL), .bundle = wire_path(wire, "bundle.tar")};
	_cleanup_free_ char *url = mem_printf("registry.test=%s", scripted_url(sides.upstream, 0));

	sides.near = larder_with_admin(wire, "127.0.0.1:0", url, NULL);
	sides.far = wire_larder(wire, &(struct larder_options){.upstream = url, .store = "far", .arguments = far});
	return sides;
}

/* A command to a larder: its exit status. */
static int run(struct sides *sides, struct larder *larder, const char *const *words)
{
	const char *given[WIRE_ARGUMENTS_MAX] = {words[0], "--admin"};
	_cleanup_free_ char *admin = mem_printf("http://127.0.0.1:%u", admin_port(larder));
	size_t count = 3;

	given[2] = admin;
	for (size_t i = 1; words[i]; i++)
		given[count++] = words[i];
	free(sides->said);
	sides->said = NULL;
	return wire_run(sides->wire, given, &sides->said);
}

#define RUN(sides, larder, status, ...)                                                                                \
	do {                                                                                                           \
		if (run(sides, larder, (const char *const[]){__VA_ARGS__, NULL}) != (status))                          \
			fail_msg("%s", (sides)->said);                                                                 \
	} while (0)

/* From one side to the other. */
static void cross(struct sides *sides, const char *reference, const char *option)
{
	(void)remove(sides->bundle);
	RUN(sides, sides->near, 0, "export", "-o", sides->bundle, reference, option);
	RUN(sides, sides->far, 0, "import", sides->bundle);
}

/* An artifact of one blob of 100 bytes, made from the seed, under a tag. */
static void add_artifact(struct sides *sides, const char *tag, uint64_t seed, char blob[SCRIPTED_DIGEST_MAX],
			 char digest[SCRIPTED_DIGEST_MAX])
{
	_cleanup_free_ char *text = NULL;

	scripted_add_blob(sides->upstream, "team/app", seed, 100, blob);
	text = mem_printf("{\"schemaVersion\":2,\"mediaType\":\"" SCRIPTED_TYPE_MANIFEST "\",\"config\":{"
			  "\"mediaType\":\"x/y\",\"digest\":\"%s\",\"size\":100},\"layers\":[]}",
			  blob);
	scripted_add_manifest(sides->upstream, "team/app", tag, SCRIPTED_TYPE_MANIFEST, text, strlen(text), digest);
}

/* For the caller to free. */
static char *cosign_tag(const char *digest, const char *suffix)
{
	return mem_printf("sha256-%s.%s", digest + strlen("sha256:"), suffix);
}

static int far_status(struct sides *sides, const char *kind, const char *what)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	assert_true(ask(sides->far, NULL, NULL, &reply, "/v2/team/app/%s/%s", kind, what));
	return reply.status;
}

WIRE_TEST(what_cosign_keeps_beside_an_image_crosses_unless_it_is_told_to_stay)
{
	static const char *const suffixes[] = {"sig", "att", "sbom"};
	_cleanup_(sides_dispose) struct sides sides = sides_new(wire);
	char blobs[3][SCRIPTED_DIGEST_MAX], digests[3][SCRIPTED_DIGEST_MAX];
	struct scripted_image image;
	char *tags[3];

	scripted_add_image(sides.upstream, "team/app", "1", &(struct scripted_image_options){.layer_size = 1000},
			   &image);
	for (int i = 0; i < 3; i++) {
		tags[i] = cosign_tag(image.manifest, suffixes[i]);
		add_artifact(&sides, tags[i], 10 + (unsigned)i, blobs[i], digests[i]);
	}
	cross(&sides, "registry.test/team/app:1", "--no-referrers");
	assert_int_equal(far_status(&sides, "manifests", tags[0]), 404);
	cross(&sides, "registry.test/team/app:1", NULL);
	/* They belong to the image, and are no images. */
	assert_non_null(strstr(sides.said, "1 images: 6 blobs"));
	scripted_set_state(sides.upstream, 0, SCRIPTED_DOWN, true);
	for (int i = 0; i < 3; i++) {
		_cleanup_(client_reply_dispose) struct client_reply reply = {0};

		assert_true(ask(sides.far, NULL, NULL, &reply, "/v2/team/app/manifests/%s", tags[i]));
		expect_content(&reply, digests[i]);
		assert_true(ask(sides.far, NULL, NULL, &reply, "/v2/team/app/blobs/%s", blobs[i]));
		expect_content(&reply, blobs[i]);
		free(tags[i]);
	}
}

/* Two repositories hold the same image: each has what belongs to it there. */
WIRE_TEST(what_belongs_to_an_image_crosses_for_each_repository_that_has_it)
{
	_cleanup_(sides_dispose) struct sides sides = sides_new(wire);
	char blob[SCRIPTED_DIGEST_MAX], digest[SCRIPTED_DIGEST_MAX];
	struct scripted_image image;
	_cleanup_free_ char *tag = NULL;

	for (int i = 0; i < 2; i++)
		scripted_add_image(sides.upstream, i ? "team/app" : "a/copy", "1",
				   &(struct scripted_image_options){.layer_size = 1000}, &image);
	tag = cosign_tag(image.manifest, "att");
	add_artifact(&sides, tag, 10, blob, digest);
	cross(&sides, "registry.test/a/copy:1", "registry.test/team/app:1");
	assert_int_equal(far_status(&sides, "manifests", tag), 200);
	assert_int_equal(far_status(&sides, "blobs", blob), 200);
}

/* An index of one image without a tag, to whose manifest a signature belongs: under `tag`, of one blob. */
static void add_signed_platform(struct sides *sides, char **tag, char blob[SCRIPTED_DIGEST_MAX],
				char digest[SCRIPTED_DIGEST_MAX])
{
	struct scripted_image image;
	const char *manifest = image.manifest, *architecture = "amd64";
	char index[SCRIPTED_DIGEST_MAX];

	scripted_add_image(sides->upstream, "team/app", NULL, &(struct scripted_image_options){.layer_size = 1000},
			   &image);
	scripted_add_index(sides->upstream, "team/app", "1", &manifest, &architecture, 1, index);
	*tag = cosign_tag(image.manifest, "sig");
	add_artifact(sides, *tag, 10, blob, digest);
}

WIRE_TEST(what_belongs_to_one_platform_is_fetched_for_the_far_side)
{
	_cleanup_(sides_dispose) struct sides sides = sides_new(wire);
	char blob[SCRIPTED_DIGEST_MAX], digest[SCRIPTED_DIGEST_MAX];
	_cleanup_free_ char *tag = NULL;

	add_signed_platform(&sides, &tag, blob, digest);
	cross(&sides, "registry.test/team/app:1", NULL);
	assert_int_equal(far_status(&sides, "manifests", tag), 200);
	assert_int_equal(far_status(&sides, "blobs", blob), 200);
}

/* A client asked for a platform's signature, and for nothing that it consists of: no reason to fail. */
WIRE_TEST(what_belongs_to_one_platform_and_is_not_whole_is_left_behind)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_(sides_dispose) struct sides sides = sides_new(wire);
	char blob[SCRIPTED_DIGEST_MAX], digest[SCRIPTED_DIGEST_MAX];
	_cleanup_free_ char *tag = NULL, *signature = NULL;

	add_signed_platform(&sides, &tag, blob, digest);
	json_decref(job_run(sides.near, "/api/v1/prefetch", "{\"images\": [\"registry.test/team/app:1\"]}", "done"));
	assert_true(ask(sides.near, NULL, NULL, &reply, "/v2/team/app/manifests/%s", tag));
	expect_content(&reply, digest);
	cross(&sides, "registry.test/team/app:1", "--held-only");
	assert_int_equal(far_status(&sides, "manifests", tag), 404);
	assert_true(ask(sides.near, NULL, NULL, &reply, "/v2/team/app/blobs/%s", blob));
	signature = mem_printf("/v2/team/app/blobs/%s", blob);
	expect_hit_soon(sides.near, signature);
	cross(&sides, "registry.test/team/app:1", "--held-only");
	assert_int_equal(far_status(&sides, "manifests", tag), 200);
	assert_int_equal(far_status(&sides, "blobs", blob), 200);
}

/* Over HTTP the archive comes as a stream, which the command takes apart. */
WIRE_TEST(a_directory_holds_what_the_stream_brought)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_(sides_dispose) struct sides sides = sides_new(wire);
	_cleanup_free_ char *directory = wire_path(wire, "bundle");
	struct scripted_image image;

	scripted_add_image(sides.upstream, "team/app", "1",
			   &(struct scripted_image_options){.layers = 3, .layer_size = 100001}, &image);
	RUN(&sides, sides.near, 0, "export", "-o", directory, "registry.test/team/app:1");
	/* It would be mixed with what is there. */
	RUN(&sides, sides.near, 1, "export", "-o", directory, "registry.test/team/app:1");
	RUN(&sides, sides.far, 0, "import", directory);
	assert_non_null(strstr(sides.said, "1 images: 5 blobs"));
	assert_true(ask(sides.far, NULL, NULL, &reply, "/v2/team/app/manifests/1"));
	expect_content(&reply, image.manifest);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(ask(sides.far, NULL, NULL, &reply, "/v2/team/app/blobs/%s", image.layer[i]));
		expect_content(&reply, image.layer[i]);
	}
}

WIRE_TEST(an_export_that_fails_leaves_nothing_behind)
{
	_cleanup_(sides_dispose) struct sides sides = sides_new(wire);
	_cleanup_free_ char *made = wire_path(wire, "made"), *there = wire_path(wire, "there"),
			    *file = mem_printf("%s/theirs", there);
	int fd;

	RUN(&sides, sides.near, 1, "export", "-o", made, "registry.test/team/app:none");
	assert_int_not_equal(access(made, F_OK), 0);
	assert_return_code(mkdir(there, 0755), 0);
	RUN(&sides, sides.near, 1, "export", "-o", there, "registry.test/team/app:none");
	assert_int_equal(access(there, F_OK), 0);
	fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_return_code(fd, 0);
	close(fd);
	RUN(&sides, sides.near, 1, "export", "-o", there, "registry.test/team/app:none");
	assert_non_null(strstr(sides.said, "is not empty"));
	assert_int_equal(access(file, F_OK), 0);
	RUN(&sides, sides.near, 1, "export", "--have", there, "-o", sides.bundle, "registry.test/team/app:none");
	assert_non_null(strstr(sides.said, "cannot open the receipt"));
}

/* A list of what is held, with digests, says what to export as well. */
WIRE_TEST(with_tag_and_digest_the_digest_decides_and_the_tag_crosses)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_(sides_dispose) struct sides sides = sides_new(wire);
	_cleanup_free_ char *old = NULL, *new = NULL;
	struct scripted_image image, moved;

	scripted_add_image(sides.upstream, "team/app", "1", &(struct scripted_image_options){.layer_size = 1000},
			   &image);
	scripted_add_image(sides.upstream, "team/app", "1",
			   &(struct scripted_image_options){.layer_size = 1000, .seed = 9}, &moved);
	old = mem_printf("registry.test/team/app:1@%s", image.manifest);
	new = mem_printf("registry.test/team/app:1@%s", moved.manifest);
	cross(&sides, old, NULL);
	assert_true(ask(sides.far, NULL, NULL, &reply, "/v2/team/app/manifests/1"));
	expect_content(&reply, image.manifest);
	RUN(&sides, sides.near, 2, "export", "-o", sides.bundle, old, new);
	assert_non_null(strstr(sides.said, "with two digests"));
}

WIRE_TEST(what_was_fetched_and_what_was_held_is_summed_up)
{
	_cleanup_(sides_dispose) struct sides sides = sides_new(wire);
	struct scripted_image image;

	scripted_add_image(sides.upstream, "team/app", "1", &(struct scripted_image_options){.layer_size = 1048576},
			   &image);
	RUN(&sides, sides.near, 0, "export", "-o", sides.bundle, "registry.test/team/app:1");
	assert_non_null(
		strstr(sides.said, "exported 1 images: 3 blobs, 1MiB; 1MiB fetched, 0B already held; left out 0"));
	RUN(&sides, sides.near, 0, "export", "-o", sides.bundle, "registry.test/team/app:1");
	assert_non_null(strstr(sides.said, "0B fetched, 1MiB already held"));
	assert_non_null(strstr(sides.said, " s, 0 errors\n"));
	/* What cannot be asked any more is exported as it is held, and that is said. */
	scripted_set_state(sides.upstream, 0, SCRIPTED_DOWN, true);
	RUN(&sides, sides.near, 0, "export", "-o", sides.bundle, "registry.test/team/app:1");
	RUN(&sides, sides.near, 0, "export", "--json", "-o", sides.bundle, "registry.test/team/app:1");
	assert_non_null(strstr(sides.said, "\"fetched\":0,"));
}

/* What the near larder's admin API answers to an export. */
static int export_status(struct sides *sides, const char *reference, const char *code)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *target = mem_printf("/api/v1/export?ref=%s", reference);

	admin_ask(sides->near, "GET", target, NULL, &reply);
	if (!strstr(reply.body, code))
		fail_msg("%s", reply.body);
	return reply.status;
}

WIRE_TEST(what_a_registry_has_not_is_told_apart_from_one_that_fails)
{
	_cleanup_(sides_dispose) struct sides sides = sides_new(wire);
	struct scripted_image image;

	scripted_add_image(sides.upstream, "team/app", "1", &(struct scripted_image_options){.layer_size = 1000},
			   &image);
	assert_int_equal(export_status(&sides, "registry.test/team/app:none", "\"not_found\""), 404);
	RUN(&sides, sides.near, 1, "export", "-o", sides.bundle, "registry.test/team/app:none");
	assert_non_null(strstr(sides.said, "cannot fetch registry.test/team/app:none"));
	assert_int_not_equal(access(sides.bundle, F_OK), 0);
	RUN(&sides, sides.near, 2, "export", "-o", sides.bundle, "registry.test/team/app:no tag");
	RUN(&sides, sides.near, 2, "export", "-o", sides.bundle, "nowhere.test/team/app:1");
	scripted_set_state(sides.upstream, 0, SCRIPTED_DOWN, true);
	assert_int_equal(export_status(&sides, "registry.test/team/app:other", "\"upstream\""), 502);
}

WIRE_TEST(an_image_of_one_platform_is_judged_by_its_config)
{
	_cleanup_(sides_dispose) struct sides sides = sides_new(wire);
	_cleanup_free_ char *layer = NULL;
	struct scripted_image image;

	scripted_add_image(sides.upstream, "team/app", "1",
			   &(struct scripted_image_options){.layer_size = 1000, .architecture = "arm64"}, &image);
	layer = mem_printf("*/blobs/%s", image.layer[0]);
	json_decref(job_run(sides.near, "/api/v1/prefetch",
			    "{\"images\": [\"registry.test/team/app:1\"], \"platforms\": [\"linux/amd64\"]}",
			    "failed"));
	RUN(&sides, sides.near, 1, "export", "--platform", "linux/amd64", "-o", sides.bundle,
	    "registry.test/team/app:1");
	assert_non_null(strstr(sides.said, "it is of linux/arm64"));
	expect_count(sides.upstream, NULL, layer, 0);
	RUN(&sides, sides.near, 0, "export", "--platform", "linux/arm64/v8", "-o", sides.bundle,
	    "registry.test/team/app:1");
	RUN(&sides, sides.near, 1, "export", "--held-only", "--platform", "linux/amd64", "-o", sides.bundle,
	    "registry.test/team/app:1");
	assert_non_null(strstr(sides.said, "it is of linux/arm64"));
	RUN(&sides, sides.far, 0, "import", sides.bundle);
	RUN(&sides, sides.far, 0, "check", "--platform", "linux/arm64", "registry.test/team/app:1");
	RUN(&sides, sides.far, 1, "check", "--platform", "linux/amd64", "registry.test/team/app:1");
	assert_non_null(strstr(sides.said, "missing manifest linux/amd64"));
}

WIRE_TEST(an_index_that_tells_no_platforms_is_judged_by_its_images)
{
	static const char *const architectures[] = {"amd64", "arm64"};
	_cleanup_(sides_dispose) struct sides sides = sides_new(wire);
	_cleanup_(buf_dispose) struct buf text = {0};
	char index[SCRIPTED_DIGEST_MAX];
	struct scripted_image images[2];

	for (unsigned i = 0; i < 2; i++) {
		uint64_t size;

		scripted_add_image(sides.upstream, "team/app", NULL,
				   &(struct scripted_image_options){
					   .layer_size = 1000, .seed = i + 1, .architecture = architectures[i]},
				   &images[i]);
		assert_non_null(scripted_manifest_type(sides.upstream, "team/app", images[i].manifest, &size));
		buf_printf(&text, "%s{\"mediaType\":\"" SCRIPTED_TYPE_MANIFEST "\",\"digest\":\"%s\",\"size\":%llu}",
			   i ? "," : "{\"schemaVersion\":2,\"mediaType\":\"" SCRIPTED_TYPE_INDEX "\",\"manifests\":[",
			   images[i].manifest, (unsigned long long)size);
	}
	buf_append_text(&text, "]}");
	scripted_add_manifest(sides.upstream, "team/app", "1", SCRIPTED_TYPE_INDEX, text.data, text.len, index);
	RUN(&sides, sides.near, 1, "export", "--platform", "linux/s390x", "-o", sides.bundle,
	    "registry.test/team/app:1");
	RUN(&sides, sides.near, 0, "export", "--platform", "linux/arm64", "-o", sides.bundle,
	    "registry.test/team/app:1");
	RUN(&sides, sides.far, 0, "import", sides.bundle);
	assert_int_equal(far_status(&sides, "blobs", images[0].layer[0]), 404);
	assert_int_equal(far_status(&sides, "blobs", images[1].layer[0]), 200);
	RUN(&sides, sides.far, 0, "check", "--platform", "linux/arm64", "registry.test/team/app:1");
	RUN(&sides, sides.far, 1, "check", "--platform", "linux/s390x", "registry.test/team/app:1");
}

WIRE_TEST(an_export_that_is_asked_for_wrongly_is_wrong_usage)
{
	_cleanup_(sides_dispose) struct sides sides = sides_new(wire);

	RUN(&sides, sides.near, 2, "export", "-o", sides.bundle, "--format", "zip", "registry.test/team/app:1");
	RUN(&sides, sides.near, 2, "export", "-o", sides.bundle, "Not/a:reference!");
	RUN(&sides, sides.near, 2, "export", "-o", "site.tar.gz", "registry.test/team/app:1");
	assert_non_null(strstr(sides.said, "an archive is not packed"));
	RUN(&sides, sides.near, 1, "export", "--have", "/dev/null", "-o", sides.bundle, "registry.test/team/app:1");
	assert_non_null(strstr(sides.said, "this is no receipt"));
	expect_count(sides.upstream, NULL, NULL, 0);
	assert_int_equal(access(sides.bundle, F_OK), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(what_cosign_keeps_beside_an_image_crosses_unless_it_is_told_to_stay),
		WIRE_CASE(what_belongs_to_an_image_crosses_for_each_repository_that_has_it),
		WIRE_CASE(what_belongs_to_one_platform_is_fetched_for_the_far_side),
		WIRE_CASE(what_belongs_to_one_platform_and_is_not_whole_is_left_behind),
		WIRE_CASE(a_directory_holds_what_the_stream_brought),
		WIRE_CASE(an_export_that_fails_leaves_nothing_behind),
		WIRE_CASE(with_tag_and_digest_the_digest_decides_and_the_tag_crosses),
		WIRE_CASE(what_was_fetched_and_what_was_held_is_summed_up),
		WIRE_CASE(what_a_registry_has_not_is_told_apart_from_one_that_fails),
		WIRE_CASE(an_image_of_one_platform_is_judged_by_its_config),
		WIRE_CASE(an_index_that_tells_no_platforms_is_judged_by_its_images),
		WIRE_CASE(an_export_that_is_asked_for_wrongly_is_wrong_usage),
	};
	return cmocka_run_group_tests_name("airgap", tests, NULL, NULL);
}
