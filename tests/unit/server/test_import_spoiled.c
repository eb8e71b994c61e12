/* SPDX-License-Identifier: Apache-2.0 */
/* A good bundle, cut at each block and spoiled at random: whatever is made of it, the store is sound, no blob is
 * another than its digest says, and a tag means an image that is whole. */
#include "tests/unit/server/bundle_bed.h"

#include "base/clock.h"
#include "store/remove.h"

#define SPOILED 150

static const char *const references[] = {"alpine:3", "busybox:1"};

struct digests {
	struct digest list[64];
	size_t count;
};

static bool take_digest(void *arg, const struct digest *digest, const struct index_blob *blob)
{
	struct digests *digests = arg;

	(void)blob;
	assert_true(digests->count < 64);
	digests->list[digests->count++] = *digest;
	return true;
}

static void empty(struct scratch *scratch)
{
	struct digests digests = {.count = 0};

	assert_int_equal(index_list_blobs(scratch_index(scratch), NULL, take_digest, &digests, NULL), 0);
	assert_int_equal(remove_blobs(scratch->store, digests.list, digests.count, NULL, &scratch->err), 0);
	assert_int_equal(scratch_totals(scratch).blobs, 0);
}

/* What has a tag is there, and all of it. */
static void expect_whole_images(struct scratch *scratch)
{
	for (size_t i = 0; i < 2; i++) {
		struct plan_options options = bed_options(&references[i], 1);
		struct plan *plan = NULL;
		struct err err = {0};
		uint64_t bytes;
		int code = plan_make(scratch->store, &options, &plan, &err);

		if (code == ERR_NOT_FOUND)
			continue;
		assert_int_equal(code, 0);
		assert_int_equal(plan_count(plan, PLAN_MISSING, &bytes), 0);
		plan_free(plan);
	}
}

/* Imports it into an empty store. */
static void expect_sound_import(struct scratch *scratch, struct tarball *tarball)
{
	struct import_report report;
	int code;

	empty(scratch);
	code = bed_import(scratch, tarball, NULL, &report);
	import_report_dispose(&report);
	bed_expect_sound(scratch);
	expect_whole_images(scratch);
	assert_true(code == 0 || scratch->err.text[0]);
	if (code == ERR_NO_SPACE || code == ERR_INVALID || code == ERR_DIGEST || code == ERR_LIMIT ||
	    code == ERR_DENIED)
		assert_int_equal(scratch_totals(scratch).blobs, 0);
	else
		assert_true(code == 0 || code == ERR_UPSTREAM);
}

static void make_bundle(struct bed *bed, struct tarball *tarball)
{
	struct plan_options options = bed_options(references, 2);
	struct bundle *bundle;

	bed_image(&bed->here, "library/alpine", "3", "alpine");
	bed_image(&bed->here, "library/busybox", "1", "busybox");
	bundle = bed_bundle(&bed->here, &options);
	tarball_of(tarball, bundle);
	bundle_free(bundle);
}

static void cut_at_any_block_it_leaves_a_sound_store(void **state)
{
	struct bed *bed = *state;
	_cleanup_(tarball_end) struct tarball tarball = {0};
	size_t whole;

	make_bundle(bed, &tarball);
	whole = tarball.data.len;
	for (tarball.data.len = 0; tarball.data.len < whole; tarball.data.len += TAR_BLOCK)
		expect_sound_import(&bed->there, &tarball);
}

/* One thing that may happen to a stretch of bytes. */
static void spoil(struct buf *data, unsigned *seed)
{
	size_t blocks = data->len / TAR_BLOCK, from = (size_t)rand_r(seed) % blocks, to = (size_t)rand_r(seed) % blocks;
	char *a = data->data + from * TAR_BLOCK, *b = data->data + to * TAR_BLOCK;

	switch (rand_r(seed) % 6) {
	case 0:
		data->data[(size_t)rand_r(seed) % data->len] ^= (char)(1 << rand_r(seed) % 8);
		break;
	case 1:
		data->data[(size_t)rand_r(seed) % data->len] = (char)('0' + rand_r(seed) % 10);
		break;
	case 2:
		memmove(a, b, TAR_BLOCK);
		break;
	case 3:
		memset(a, 0, TAR_BLOCK);
		break;
	case 4: /* a block less */
		memmove(a, a + TAR_BLOCK, data->len - (from + 1) * TAR_BLOCK);
		data->len -= TAR_BLOCK;
		break;
	case 5: { /* two blocks change places */
		char kept[TAR_BLOCK];

		memcpy(kept, a, TAR_BLOCK);
		memmove(a, b, TAR_BLOCK);
		memcpy(b, kept, TAR_BLOCK);
		break;
	}
	}
}

static void spoil_and_import(struct bed *bed, const struct tarball *good, unsigned seed)
{
	print_message("seed %u\n", seed);
	for (int i = 0; i < SPOILED; i++) {
		_cleanup_(tarball_end) struct tarball spoiled = {0};
		int times = 1 + rand_r(&seed) % 3;

		buf_append(&spoiled.data, good->data.data, good->data.len);
		while (times-- > 0)
			spoil(&spoiled.data, &seed);
		expect_sound_import(&bed->there, &spoiled);
	}
}

static void a_bundle_that_is_spoiled_at_random_leaves_a_sound_store(void **state)
{
	struct bed *bed = *state;
	_cleanup_(tarball_end) struct tarball tarball = {0};

	make_bundle(bed, &tarball);
	spoil_and_import(bed, &tarball, (unsigned)clock_wall_ms());
}

/* It does not say of itself what belongs to it. */
static void a_layout_that_is_spoiled_at_random_leaves_a_sound_store(void **state)
{
	_cleanup_(tarball_end) struct tarball tarball = {0};

	tarball_add_layout(&tarball, "a layer", 7);
	tarball_pad(&tarball, TAR_END);
	spoil_and_import(*state, &tarball, (unsigned)clock_wall_ms());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(cut_at_any_block_it_leaves_a_sound_store),
		bed_test(a_bundle_that_is_spoiled_at_random_leaves_a_sound_store),
		bed_test(a_layout_that_is_spoiled_at_random_leaves_a_sound_store),
	};

	return cmocka_run_group_tests_name("import_spoiled", tests, NULL, NULL);
}
