/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/store/shelf.h"

#include "store/check.h"
#include "store/forget.h"

static void take_missing(void *arg, const struct check_part *part)
{
	char digest[DIGEST_TEXT_MAX] = "-";

	if (part->digest.algorithm)
		digest_format(&part->digest, digest);
	buf_printf(arg, "%s %s %s %s\n", manifest_kind_name(part->kind), check_state_name(part->state),
		   *part->platform ? part->platform : "-", digest);
}

/* Checks and compares the list of what is missing: "kind state platform digest" in lines. */
static struct check_result expect_missing(struct scratch *scratch, const char *reference, const char *platform,
					  const char *wanted)
{
	const struct check_options options = {
		.platforms = &platform, .platform_count = platform ? 1 : 0, .referrers = true};
	_cleanup_(buf_dispose) struct buf text = {0};
	struct check_result result;

	assert_int_equal(check_image(scratch->store, &shelf_app, reference, &options, take_missing, &text, &result,
				     &scratch->err),
			 0);
	assert_string_equal(text.len ? text.data : "", wanted);
	return result;
}

static void remove_file(const struct scratch *scratch, const struct digest *digest)
{
	char *path = scratch_blob_path(scratch, digest);

	assert_int_equal(unlink(path), 0);
	free(path);
}

static void whole_image_is_complete_for_each_platform(void **state)
{
	static const char *const platforms[] = {"linux/amd64", "linux/arm64"};
	struct scratch *scratch = *state;
	struct digest images[2], index;
	struct check_result result;
	char text[DIGEST_TEXT_MAX];

	assert_false(expect_missing(scratch, "1", NULL, "manifest missing - -\n").known);
	images[0] = shelf_put_image(scratch, &shelf_app, "one", "linux/amd64", "base");
	images[1] = shelf_put_image(scratch, &shelf_app, "two", "linux/arm64", "base");
	index = shelf_put_index(scratch, &shelf_app, images, platforms, 2);
	shelf_tag(scratch, &shelf_app, "1", &index, 7);
	result = expect_missing(scratch, "1", NULL, "");
	assert_true(result.known && result.complete);
	assert_int_equal(result.parts, 8); /* the base is one */
	assert_int_equal(result.bytes, scratch_totals(scratch).bytes);
	assert_true(digest_equal(&result.digest, &index));
	assert_true(expect_missing(scratch, digest_format(&index, text), "linux/arm64", "").complete);
	assert_int_equal(expect_missing(scratch, "1", "linux/arm64", "").parts, 5);
	assert_int_equal(check_image(scratch->store, &shelf_app, "no tag", &(struct check_options){0}, NULL, NULL,
				     &result, &scratch->err),
			 ERR_INVALID);
}

static void missing_parts_are_named_with_kind_platform_and_digest(void **state)
{
	static const char *const platforms[] = {"linux/amd64", "linux/arm64"};
	struct scratch *scratch = *state;
	struct digest images[2], index, layer = scratch_digest("layer of two", 12);
	char text[DIGEST_TEXT_MAX], wanted[512];
	struct forgotten forgotten;

	images[0] = shelf_put_image(scratch, &shelf_app, "one", "linux/amd64", "base");
	images[1] = shelf_put_image(scratch, &shelf_app, "two", "linux/arm64", "base");
	index = shelf_put_index(scratch, &shelf_app, images, platforms, 2);
	shelf_tag(scratch, &shelf_app, "1", &index, 7);
	remove_file(scratch, &layer);
	snprintf(wanted, sizeof(wanted), "layer missing linux/arm64 %s\n", digest_format(&layer, text));
	assert_false(expect_missing(scratch, "1", NULL, wanted).complete);
	assert_true(expect_missing(scratch, "1", "linux/amd64", "").complete);
	expect_missing(scratch, "1", "linux/riscv64", "manifest missing linux/riscv64 -\n");

	assert_int_equal(forget_digest(scratch->store, &images[1], true, &forgotten, NULL), 0);
	snprintf(wanted, sizeof(wanted), "manifest missing linux/arm64 %s\n", digest_format(&images[1], text));
	expect_missing(scratch, "1", NULL, wanted);
	remove_file(scratch, &index);
	snprintf(wanted, sizeof(wanted), "manifest missing - %s\n", digest_format(&index, text));
	expect_missing(scratch, "1", NULL, wanted);
}

/* What another repository brought in is not served here before the upstream was asked. */
static void part_without_a_link_is_not_servable(void **state)
{
	struct scratch *scratch = *state;
	struct digest image = shelf_put_image(scratch, &shelf_app, "one", "linux/amd64", "base");
	struct digest base = scratch_digest("base", 4);
	struct index_change drop = {.kind = INDEX_DELETE_LINK, .repository = shelf_app, .digest = &base};
	char text[DIGEST_TEXT_MAX], wanted[512];

	shelf_tag(scratch, &shelf_app, "1", &image, 7);
	assert_int_equal(index_write(scratch_index(scratch), &drop, 1, NULL), 0);
	snprintf(wanted, sizeof(wanted), "layer elsewhere - %s\n", digest_format(&base, text));
	assert_false(expect_missing(scratch, "1", NULL, wanted).complete);
}

/* Indexes in one another, as many as there may be and one more: what lies too deep to be looked at is not called whole,
 * whether it is held or not. */
static void image_that_lies_too_deep_is_not_called_complete(void **state)
{
	static const char *const platform = "linux/amd64";
	struct scratch *scratch = *state;
	struct digest image = shelf_put_image(scratch, &shelf_app, "one", "linux/amd64", "base"), index = image;
	struct digest layer = scratch_digest("layer of one", 12);
	char text[DIGEST_TEXT_MAX], wanted[512];
	struct check_result result;

	for (int i = 0; i < CHECK_DEPTH_MAX; i++)
		index = shelf_put_index(scratch, &shelf_app, &index, &platform, 1);
	shelf_tag(scratch, &shelf_app, "1", &index, 7);
	assert_true(expect_missing(scratch, "1", NULL, "").complete);
	remove_file(scratch, &layer);
	snprintf(wanted, sizeof(wanted), "layer missing linux/amd64 %s\n", digest_format(&layer, text));
	assert_false(expect_missing(scratch, "1", NULL, wanted).complete);

	index = shelf_put_index(scratch, &shelf_app, &index, &platform, 1);
	shelf_tag(scratch, &shelf_app, "2", &index, 7);
	assert_int_equal(check_image(scratch->store, &shelf_app, "2", &(struct check_options){0}, NULL, NULL, &result,
				     &scratch->err),
			 ERR_LIMIT);
	assert_false(result.complete);
}

static void foreign_layers_are_not_required(void **state)
{
	static const char manifest[] =
		"{\"layers\":[{\"mediaType\":\"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip\","
		"\"digest\":\"sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881\",\"size\":1}]}";
	struct scratch *scratch = *state;
	struct digest image = shelf_put(scratch, &shelf_app, manifest, SHELF_MANIFEST);

	shelf_tag(scratch, &shelf_app, "1", &image, 7);
	assert_int_equal(expect_missing(scratch, "1", NULL, "").parts, 2);
}

static void what_refers_to_an_image_is_looked_at_too(void **state)
{
	struct scratch *scratch = *state;
	struct digest image = shelf_put_image(scratch, &shelf_app, "one", "linux/amd64", "base");
	struct digest signature = shelf_put_image(scratch, &shelf_app, "signature", "x/y", "signed"), list;
	struct digest layer = scratch_digest("layer of signature", 18);
	struct index_tag record = {.size = 4, .media_type = SHELF_INDEX};
	struct index_change change = {
		.kind = INDEX_PUT_REFERRERS, .repository = shelf_app, .digest = &image, .tag_record = &record};
	static const char *const platform = "x/y";
	char text[DIGEST_TEXT_MAX], wanted[512];

	list = shelf_put_index(scratch, &shelf_app, &signature, &platform, 1);
	record.digest = list;
	assert_int_equal(index_write(scratch_index(scratch), &change, 1, NULL), 0);
	shelf_tag(scratch, &shelf_app, "1", &image, 7);
	assert_int_equal(expect_missing(scratch, "1", NULL, "").parts, 8);
	remove_file(scratch, &layer);
	snprintf(wanted, sizeof(wanted), "layer missing x/y %s\n", digest_format(&layer, text));
	expect_missing(scratch, "1", "linux/amd64", wanted);
}

/* Where no index tells it, the config does. */
static void image_without_an_index_is_for_the_platform_that_its_config_says(void **state)
{
	struct scratch *scratch = *state;
	struct digest image = shelf_put_image(scratch, &shelf_app, "one", "linux/arm64", "base");

	shelf_tag(scratch, &shelf_app, "1", &image, 7);
	assert_true(expect_missing(scratch, "1", "linux/arm64", "").complete);
	assert_true(expect_missing(scratch, "1", "linux/arm64/v8", "").complete);
	assert_false(expect_missing(scratch, "1", "linux/amd64", "manifest missing linux/amd64 -\n").complete);
	assert_false(expect_missing(scratch, "1", "linux/arm64/v7", "manifest missing linux/arm64/v7 -\n").complete);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(whole_image_is_complete_for_each_platform),
		scratch_test(missing_parts_are_named_with_kind_platform_and_digest),
		scratch_test(part_without_a_link_is_not_servable),
		scratch_test(image_that_lies_too_deep_is_not_called_complete),
		scratch_test(foreign_layers_are_not_required),
		scratch_test(what_refers_to_an_image_is_looked_at_too),
		scratch_test(image_without_an_index_is_for_the_platform_that_its_config_says),
	};

	return cmocka_run_group_tests_name("check", tests, NULL, NULL);
}
