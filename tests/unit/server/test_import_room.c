/* SPDX-License-Identifier: Apache-2.0 */
/* Archives that are larger than the store may be: nothing of them stays, and nothing that was cached goes for a bundle.
 */
#include "tests/unit/server/bundle_bed.h"

#include "store/evict.h"

#include <assert.h>

#define LARGE_BYTES ((size_t)3 << 20)   /* of three blobs of the archive … */
#define TOO_SMALL   ((uint64_t)8 << 20) /* … where a store may hold so much, or … */
#define LARGE       ((uint64_t)64 << 20)

static const char *const reference = "alpine:3";

/* An image whose config and layers are large. */
static void make_bundle(struct bed *bed, struct tarball *tarball)
{
	struct plan_options options = bed_options(&reference, 1);
	_cleanup_free_ char *layer = mem_alloc(LARGE_BYTES + 1);
	struct bundle *bundle;

	memset(layer, 'x', LARGE_BYTES);
	layer[LARGE_BYTES] = '\0';
	bed_image(&bed->here, "library/alpine", "3", layer);
	bundle = bed_bundle(&bed->here, &options);
	tarball_of(tarball, bundle);
	bundle_free(bundle);
}

/* Takes out its first file, in which it speaks of itself: a layout as any tool writes it. */
static void make_foreign(struct tarball *tarball)
{
	char *data = tarball->data.data;
	size_t size, first;

	assert(data);
	size = strtoul(data + 124, NULL, 8);
	first = TAR_BLOCK + size + tar_padding(size);
	memmove(data, data + first, tarball->data.len - first);
	tarball->data.len -= first;
}

static void expect_too_large(struct bed *bed, struct tarball *tarball, unsigned blobs_before)
{
	struct scratch *there = &bed->there;
	struct evict_options limits = {.max_size = TOO_SMALL};
	struct import_report report;
	uint64_t held;

	bed_image(there, "library/busybox", "1", "busybox");
	held = scratch_totals(there).blobs;
	assert_int_equal(evict_start(there->store, &limits, &there->err), 0);
	assert_int_equal(bed_import(there, tarball, NULL, &report), ERR_NO_SPACE);
	assert_int_equal(report.blobs_new, blobs_before);
	import_report_dispose(&report);
	assert_int_equal(scratch_totals(there).blobs, held);
	assert_int_equal(scratch_count_files(there, "partial"), 0);
	assert_int_equal(evict_total_bytes(there->store), 0);

	limits.max_size = LARGE;
	evict_set_limits(there->store, &limits);
	assert_int_equal(bed_import(there, tarball, NULL, &report), 0);
	assert_int_equal(report.image_count, 1);
	assert_int_equal(report.missing_count, 0);
	import_report_dispose(&report);
	bed_expect_sound(there);
}

static void a_bundle_that_is_too_large_is_refused_before_its_first_blob(void **state)
{
	_cleanup_(tarball_end) struct tarball tarball = {0};

	make_bundle(*state, &tarball);
	expect_too_large(*state, &tarball, 0);
}

static void an_archive_that_turns_out_to_be_too_large_leaves_nothing(void **state)
{
	_cleanup_(tarball_end) struct tarball tarball = {0};

	make_bundle(*state, &tarball);
	make_foreign(&tarball);
	expect_too_large(*state, &tarball, 5);
}

/* Its layers wait, each with its room, until manifest.json says what they are: that is not counted twice. */
static void an_archive_of_docker_may_fill_most_of_the_store(void **state)
{
	static const char *const layers[] = {"a/layer.tar", "b/layer.tar", "c/layer.tar"};
	struct evict_options limits = {.max_size = 3 * LARGE_BYTES + TOO_SMALL / 2};
	_cleanup_(tarball_end) struct tarball tarball = {0};
	_cleanup_free_ char *layer = mem_alloc(LARGE_BYTES + 1);
	struct scratch *there = &((struct bed *)*state)->there;
	struct import_report report;

	for (unsigned i = 0; i < 3; i++) {
		memset(layer, 'a' + (int)i, LARGE_BYTES);
		tarball_add(&tarball, layers[i], layer);
	}
	tarball_add(&tarball, "c.json", "{}");
	tarball_add(&tarball, "manifest.json",
		    "[{\"Config\":\"c.json\",\"RepoTags\":[\"alpine:3\"],"
		    "\"Layers\":[\"a/layer.tar\",\"b/layer.tar\",\"c/layer.tar\"]}]");
	tarball_pad(&tarball, TAR_END);
	assert_int_equal(evict_start(there->store, &limits, &there->err), 0);
	if (bed_import(there, &tarball, NULL, &report))
		fail_msg("%s", there->err.text);
	assert_int_equal(report.image_count, 1);
	assert_int_equal(report.missing_count, 0);
	import_report_dispose(&report);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(a_bundle_that_is_too_large_is_refused_before_its_first_blob),
		bed_test(an_archive_of_docker_may_fill_most_of_the_store),
		bed_test(an_archive_that_turns_out_to_be_too_large_leaves_nothing),
	};

	return cmocka_run_group_tests_name("import room", tests, NULL, NULL);
}
