/* SPDX-License-Identifier: Apache-2.0 */
/* Last uses, gathered, and the number that says whether lookups may find something else. */
#include "scratch.h"

#include "base/clock.h"

static const struct index_repository alpine = {"docker.io", "library/alpine"};

static void put_blob(struct scratch *scratch, const struct digest *digest)
{
	struct index_change put = {.kind = INDEX_PUT_BLOB, .digest = digest, .blob = {.size = 10, .last_use = 1}};

	assert_int_equal(index_write(scratch_index(scratch), &put, 1, &scratch->err), 0);
}

static int64_t last_use(struct scratch *scratch, const struct digest *digest)
{
	struct index_blob blob = {0};

	assert_int_equal(index_get_blob(scratch_index(scratch), digest, &blob, &scratch->err), 0);
	return blob.last_use;
}

static void index_gathers_uses_and_writes_them_when_asked(void **state)
{
	struct scratch *scratch = *state;
	struct digest first = scratch_digest("1", 1), second = scratch_digest("2", 1), unknown = scratch_digest("3", 1);
	int64_t before = clock_wall_s();

	put_blob(scratch, &first);
	put_blob(scratch, &second);
	for (unsigned i = 0; i < 1000; i++)
		index_use_blob(scratch_index(scratch), &first);
	index_use_blob(scratch_index(scratch), &unknown);
	assert_int_equal(index_write_uses(scratch_index(scratch), &scratch->err), 0);
	assert_true(last_use(scratch, &first) >= before);
	assert_int_equal(last_use(scratch, &second), 1);
	assert_int_equal(scratch_totals(scratch).blobs, 2);
	assert_int_equal(index_write_uses(scratch_index(scratch), &scratch->err), 0);
}

static void index_writes_uses_by_itself_and_before_closing(void **state)
{
	struct scratch *scratch = *state;
	struct digest first = scratch_digest("1", 1), second = scratch_digest("2", 1);
	uint64_t deadline = clock_ms() + 30000;

	put_blob(scratch, &first);
	put_blob(scratch, &second);
	index_use_blob(scratch_index(scratch), &first);
	while (last_use(scratch, &first) == 1) {
		assert_true(clock_ms() < deadline);
		usleep(10000);
	}
	index_use_blob(scratch_index(scratch), &second);
	scratch_reopen(scratch);
	assert_true(last_use(scratch, &second) > 1);
}

static void index_writes_more_uses_than_it_gathers_at_once(void **state)
{
	struct scratch *scratch = *state;
	uint64_t deadline = clock_ms() + 30000;
	struct digest first = scratch_digest("first", 5), digest;

	put_blob(scratch, &first);
	index_use_blob(scratch_index(scratch), &first);
	for (unsigned i = 0; i < INDEX_USES_MAX + 10; i++) {
		digest = scratch_digest(&i, sizeof(i));
		index_use_blob(scratch_index(scratch), &digest);
	}
	while (last_use(scratch, &first) == 1) {
		assert_true(clock_ms() < deadline);
		usleep(1000);
	}
	assert_int_equal(index_write_uses(scratch_index(scratch), &scratch->err), 0);
}

static void index_changes_its_generation_with_all_but_uses(void **state)
{
	struct scratch *scratch = *state;
	struct index *index = scratch_index(scratch);
	struct digest digest = scratch_digest("1", 1), child = scratch_digest("2", 1);
	struct index_tag tag = {.digest = digest, .size = 10, .checked = 1, .media_type = "a/b"};
	const struct index_change changes[] = {
		{.kind = INDEX_PUT_BLOB, .digest = &digest, .blob.size = 10},
		{.kind = INDEX_PUT_LINK, .repository = alpine, .digest = &digest},
		{.kind = INDEX_PUT_TAG, .repository = alpine, .tag = "1", .tag_record = &tag},
		{.kind = INDEX_PUT_REFERRERS, .repository = alpine, .digest = &child, .tag_record = &tag},
		{.kind = INDEX_PUT_REFERENCE, .digest = &digest, .child = &child},
		{.kind = INDEX_DELETE_TAG, .repository = alpine, .tag = "1"},
		{.kind = INDEX_DELETE_LINK, .repository = alpine, .digest = &digest},
		{.kind = INDEX_DELETE_BLOB, .digest = &digest},
		{.kind = INDEX_FORGET_BLOB, .digest = &digest},
	};
	struct index_change use = {.kind = INDEX_USE_BLOB, .digest = &digest, .blob.last_use = 9};

	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		uint64_t before = index_generation(index);

		assert_int_equal(index_write(index, &changes[i], 1, &scratch->err), 0);
		assert_true(index_generation(index) != before);
		before = index_generation(index);
		assert_int_equal(index_write(index, &use, 1, &scratch->err), 0);
		assert_true(index_generation(index) == before);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(index_gathers_uses_and_writes_them_when_asked),
		scratch_test(index_writes_uses_by_itself_and_before_closing),
		scratch_test(index_writes_more_uses_than_it_gathers_at_once),
		scratch_test(index_changes_its_generation_with_all_but_uses),
	};
	return cmocka_run_group_tests_name("index_uses", tests, NULL, NULL);
}
