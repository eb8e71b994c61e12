/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/server/bundle_bed.h"

#include "server/bundle/receipt.h"

static const char *const both[] = {"alpine:3", "docker.io/library/busybox:1"};

static bool anything(void *arg, const char *media_type)
{
	(void)arg;
	(void)media_type;
	return true;
}

static void expect_tag(struct scratch *scratch, const char *repository, const char *tag, const struct digest *digest)
{
	struct index_repository at = {"docker.io", repository};
	struct index_tag found;

	assert_int_equal(index_get_tag_any(scratch_index(scratch), &at, tag, anything, NULL, &found, NULL), 0);
	assert_true(digest_equal(&found.digest, digest));
	assert_string_equal(found.media_type, INDEX_TYPE);
}

static void make_tarball(struct scratch *scratch, const struct plan_options *options, struct tarball *tarball)
{
	struct bundle *bundle = bed_bundle(scratch, options);

	tarball_of(tarball, bundle);
	bundle_free(bundle);
}

static void what_is_exported_and_imported_is_the_same(void **state)
{
	struct bed *bed = *state;
	struct digest alpine = bed_image(&bed->here, "library/alpine", "3", "alpine");
	struct digest busybox = bed_image(&bed->here, "library/busybox", "1", "busybox");
	struct plan_options options = bed_options(both, 2);
	_cleanup_(tarball_end) struct tarball tarball = {0};
	struct import_report report;
	struct index_repository repository = {"docker.io", "library/alpine"};
	struct index_link link;

	make_tarball(&bed->here, &options, &tarball);
	assert_int_equal(bed_import(&bed->there, &tarball, NULL, &report), 0);
	assert_int_equal(report.image_count, 2);
	assert_int_equal(report.missing_count, 0);
	assert_int_equal(report.blobs_new, scratch_totals(&bed->here).blobs);
	import_report_dispose(&report);
	assert_int_equal(scratch_totals(&bed->there).blobs, scratch_totals(&bed->here).blobs);
	assert_int_equal(scratch_totals(&bed->there).bytes, scratch_totals(&bed->here).bytes);
	expect_tag(&bed->there, "library/alpine", "3", &alpine);
	expect_tag(&bed->there, "library/busybox", "1", &busybox);
	assert_int_equal(index_get_link(scratch_index(&bed->there), &repository, &alpine, &link, NULL), 0);
	assert_string_equal(link.media_type, INDEX_TYPE);
	assert_int_equal(index_get_link(scratch_index(&bed->there), &repository, &busybox, &link, NULL), ERR_NOT_FOUND);
}

static void repeating_an_import_brings_nothing_new(void **state)
{
	struct bed *bed = *state;
	struct plan_options options = bed_options(both, 1);
	_cleanup_(tarball_end) struct tarball tarball = {0};
	struct import_report report;
	uint64_t blobs;

	bed_image(&bed->here, "library/alpine", "3", "alpine");
	make_tarball(&bed->here, &options, &tarball);
	assert_int_equal(bed_import(&bed->there, &tarball, NULL, &report), 0);
	blobs = report.blobs_new;
	import_report_dispose(&report);
	assert_int_equal(bed_import(&bed->there, &tarball, NULL, &report), 0);
	assert_int_equal(report.blobs_new, 0);
	assert_int_equal(report.blobs_held, blobs);
	assert_int_equal(report.image_count, 1);
	import_report_dispose(&report);
}

static void the_same_images_give_the_same_bytes_in_whatever_order_they_are_named(void **state)
{
	static const char *const turned[] = {"docker.io/library/busybox:1", "alpine:3", "docker.io/library/alpine:3"};
	struct bed *bed = *state;
	struct plan_options options = bed_options(both, 2), other = bed_options(turned, 3);
	_cleanup_(tarball_end) struct tarball one = {0}, two = {0};

	bed_image(&bed->here, "library/alpine", "3", "alpine");
	bed_image(&bed->here, "library/busybox", "1", "busybox");
	bed_image(&bed->there, "library/busybox", "1", "busybox");
	bed_image(&bed->there, "library/alpine", "3", "alpine");
	make_tarball(&bed->here, &options, &one);
	make_tarball(&bed->there, &other, &two);
	assert_int_equal(one.data.len, two.data.len);
	assert_memory_equal(one.data.data, two.data.data, one.data.len);
}

static void a_chosen_platform_comes_with_the_index_unchanged(void **state)
{
	static const char *const platforms[] = {"linux/arm64"};
	struct bed *bed = *state;
	struct digest index = bed_image(&bed->here, "library/alpine", "3", "alpine");
	struct digest arm_layer = scratch_digest("alpine for arm", 14), amd_layer = scratch_digest("alpine", 6);
	struct plan_options options = bed_options(both, 1);
	_cleanup_(tarball_end) struct tarball tarball = {0};
	struct import_report report;
	uint64_t size;

	options.platforms = (struct walk_platforms){.items = platforms, .count = 1};
	make_tarball(&bed->here, &options, &tarball);
	assert_int_equal(bed_import(&bed->there, &tarball, NULL, &report), 0);
	assert_int_equal(report.missing_count, 0);
	assert_int_equal(report.blobs_new, 5);
	import_report_dispose(&report);
	expect_tag(&bed->there, "library/alpine", "3", &index);
	assert_int_equal(store_find_blob(bed->there.store, &arm_layer, &size, NULL), 0);
	assert_int_equal(store_find_blob(bed->there.store, &amd_layer, &size, NULL), ERR_NOT_FOUND);
}

static void a_platform_that_the_image_lacks_is_refused(void **state)
{
	static const char *const platforms[] = {"linux/s390x"}, *const wrong[] = {"s390x"};
	struct bed *bed = *state;
	struct plan_options options = bed_options(both, 1);
	struct err err = {0};
	struct plan *plan;

	bed_image(&bed->here, "library/alpine", "3", "alpine");
	options.platforms = (struct walk_platforms){.items = platforms, .count = 1};
	assert_int_equal(plan_make(bed->here.store, &options, &plan, &err), ERR_NOT_FOUND);
	options.platforms.items = wrong;
	assert_int_equal(plan_make(bed->here.store, &options, &plan, &err), ERR_INVALID);
}

static void what_is_not_held_is_named(void **state)
{
	struct bed *bed = *state;
	struct digest layer = scratch_digest("alpine", 6);
	struct plan_options options = bed_options(both, 1);
	char text[DIGEST_TEXT_MAX];
	struct bundle *bundle;
	struct plan *plan;
	uint64_t bytes;

	bed_image(&bed->here, "library/alpine", "3", "alpine");
	assert_int_equal(store_quarantine_blob(bed->here.store, &layer, "a test", &bed->here.err), 0);
	assert_int_equal(plan_make(bed->here.store, &options, &plan, &bed->here.err), 0);
	assert_int_equal(plan_count(plan, PLAN_MISSING, &bytes), 1);
	assert_int_equal(bundle_make(bed->here.store, plan, &options, &bundle, &bed->here.err), ERR_NOT_FOUND);
	assert_non_null(strstr(bed->here.err.text, digest_format(&layer, text)));
}

static struct receipt *receipt_of(struct scratch *scratch)
{
	struct receipt *receipt;
	FILE *file = tmpfile();

	assert_int_equal(receipt_write(scratch->store, fileno(file), &scratch->err), 0);
	assert_int_equal(receipt_open(fileno(file), &receipt, &scratch->err), 0);
	fclose(file);
	return receipt;
}

static void the_next_days_bundle_carries_what_changed_and_no_more(void **state)
{
	struct bed *bed = *state;
	struct plan_options options = bed_options(both, 1);
	_cleanup_(tarball_end) struct tarball first = {0}, second = {0};
	struct import_report report;
	struct receipt *receipt;
	struct digest index;

	bed_image(&bed->here, "library/alpine", "3", "monday");
	make_tarball(&bed->here, &options, &first);
	assert_int_equal(bed_import(&bed->there, &first, NULL, &report), 0);
	import_report_dispose(&report);
	receipt = receipt_of(&bed->there);

	index = bed_image(&bed->here, "library/alpine", "3", "tuesday");
	options.have = receipt;
	make_tarball(&bed->here, &options, &second);
	assert_int_equal(bed_import(&bed->there, &second, NULL, &report), 0);
	/* The layer of each platform, the config of the one that has a new one, both manifests and the index. */
	assert_int_equal(report.blobs_new, 6);
	assert_int_equal(report.blobs_held, 0);
	assert_int_equal(report.missing_count, 0);
	import_report_dispose(&report);
	expect_tag(&bed->there, "library/alpine", "3", &index);
	receipt_free(receipt);
}

static void what_a_receipt_promised_and_is_gone_is_reported_and_the_tag_stays(void **state)
{
	struct bed *bed = *state;
	struct plan_options options = bed_options(both, 1);
	struct digest base = scratch_digest("the base", 8);
	_cleanup_(tarball_end) struct tarball first = {0}, second = {0};
	struct import_report report;
	struct receipt *receipt;
	struct digest index = bed_image(&bed->here, "library/alpine", "3", "monday");

	make_tarball(&bed->here, &options, &first);
	assert_int_equal(bed_import(&bed->there, &first, NULL, &report), 0);
	import_report_dispose(&report);
	receipt = receipt_of(&bed->there);
	assert_int_equal(store_quarantine_blob(bed->there.store, &base, "a test", &bed->there.err), 0);

	bed_image(&bed->here, "library/alpine", "3", "tuesday");
	options.have = receipt;
	make_tarball(&bed->here, &options, &second);
	assert_int_equal(bed_import(&bed->there, &second, NULL, &report), 0);
	assert_int_equal(report.missing_count, 1);
	assert_true(report.missing[0].promised);
	assert_true(digest_equal(&report.missing[0].digest, &base));
	assert_int_equal(report.images[0].missing, 1);
	import_report_dispose(&report);
	expect_tag(&bed->there, "library/alpine", "3", &index);
	receipt_free(receipt);
}

static void what_refers_to_an_image_goes_along(void **state)
{
	struct bed *bed = *state;
	struct digest image = bed_image(&bed->here, "library/alpine", "3", "alpine"), list;
	_cleanup_free_ char *signature =
		bed_manifest(&bed->here, "{}", "a signature", "another", ",\"artifactType\":\"application/x\"");
	_cleanup_free_ char *text =
		mem_printf("{\"schemaVersion\":2,\"mediaType\":\"" INDEX_TYPE "\",\"manifests\":[%s]}", signature);
	struct index_tag record = {.checked = 1, .fetched = 1, .size = strlen(text), .media_type = INDEX_TYPE}, found;
	struct index_repository repository = {"docker.io", "library/alpine"};
	struct index_change change = {
		.kind = INDEX_PUT_REFERRERS, .repository = repository, .digest = &image, .tag_record = &record};
	struct digest layer = scratch_digest("a signature", 11);
	struct plan_options options = bed_options(both, 1);
	_cleanup_(tarball_end) struct tarball tarball = {0}, without = {0};
	struct import_report report;
	uint64_t size;

	list = bed_put(&bed->here, text);
	record.digest = list;
	assert_int_equal(index_write(scratch_index(&bed->here), &change, 1, NULL), 0);
	make_tarball(&bed->here, &options, &tarball);
	assert_int_equal(bed_import(&bed->there, &tarball, NULL, &report), 0);
	import_report_dispose(&report);
	assert_int_equal(index_get_referrers(scratch_index(&bed->there), &repository, &image, &found, NULL), 0);
	assert_true(digest_equal(&found.digest, &list));
	assert_int_equal(store_find_blob(bed->there.store, &layer, &size, NULL), 0);

	options.no_referrers = true;
	make_tarball(&bed->here, &options, &without);
	assert_true(without.data.len < tarball.data.len);
}

static void a_docker_archive_holds_one_platform(void **state)
{
	static const char tags[] = "\"RepoTags\":[\"docker.io/library/alpine:3\"]";
	static const char *const platforms[] = {"linux/amd64"};
	struct bed *bed = *state;
	struct plan_options options = bed_options(both, 1);
	_cleanup_(tarball_end) struct tarball tarball = {0};
	struct import_report report;
	struct err err = {0};
	struct plan *plan;

	bed_image(&bed->here, "library/alpine", "3", "alpine");
	options.format = BUNDLE_DOCKER;
	assert_int_equal(plan_make(bed->here.store, &options, &plan, &err), ERR_INVALID);
	assert_non_null(strstr(err.text, "--platform"));
	options.platforms = (struct walk_platforms){.items = platforms, .count = 1};
	make_tarball(&bed->here, &options, &tarball);
	assert_true(tarball.data.data != NULL);
	/* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): as was just asserted */
	assert_non_null(memmem(tarball.data.data, tarball.data.len, tags, strlen(tags)));
	assert_int_equal(bed_import(&bed->there, &tarball, NULL, &report), 0);
	assert_int_equal(report.image_count, 1);
	assert_int_equal(report.missing_count, 0);
	import_report_dispose(&report);
	assert_int_equal(scratch_totals(&bed->there).blobs, 4); /* config, two layers, a manifest made for them */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(what_is_exported_and_imported_is_the_same),
		bed_test(repeating_an_import_brings_nothing_new),
		bed_test(the_same_images_give_the_same_bytes_in_whatever_order_they_are_named),
		bed_test(a_chosen_platform_comes_with_the_index_unchanged),
		bed_test(a_platform_that_the_image_lacks_is_refused),
		bed_test(what_is_not_held_is_named),
		bed_test(the_next_days_bundle_carries_what_changed_and_no_more),
		bed_test(what_a_receipt_promised_and_is_gone_is_reported_and_the_tag_stays),
		bed_test(what_refers_to_an_image_goes_along),
		bed_test(a_docker_archive_holds_one_platform),
	};

	return cmocka_run_group_tests_name("bundle", tests, NULL, NULL);
}
