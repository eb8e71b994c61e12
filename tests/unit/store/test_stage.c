/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/store/scratch.h"

#include "store/evict.h"
#include "store/remove.h"
#include "store/stage.h"

#include <sys/statvfs.h>

#define DISK_FREE ((uint64_t)100 << 20)

/* A file system that has so much room, but for what the test writes; read by the evictor too, atomic. */
static uint64_t disk_used;

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): the library's are reserved */
int fstatvfs(int fd, struct statvfs *disk)
{
	(void)fd;
	*disk = (struct statvfs){.f_frsize = 1, .f_bavail = DISK_FREE - __atomic_load_n(&disk_used, __ATOMIC_RELAXED)};
	return 0;
}

static struct stage *stage_of(struct scratch *scratch, const char *content)
{
	struct stage *stage;

	assert_int_equal(stage_open(scratch->store, DIGEST_SHA256, strlen(content), &stage, &scratch->err), 0);
	assert_int_equal(stage_write(stage, content, strlen(content), &scratch->err), 0);
	assert_int_equal(stage_finish(stage, &scratch->err), 0);
	return stage;
}

static void a_staged_blob_is_published_under_the_digest_that_it_has(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest("layer", 5);
	struct stage *stage = stage_of(scratch, "layer");
	uint64_t size;

	assert_true(digest_equal(stage_digest(stage), &digest));
	assert_int_equal(store_find_blob(scratch->store, &digest, &size, NULL), ERR_NOT_FOUND);
	assert_int_equal(stage_publish(stage, &scratch->err), 0);
	assert_int_equal(stage_publish(stage, &scratch->err), 0);
	stage_close(stage);
	assert_int_equal(store_find_blob(scratch->store, &digest, &size, NULL), 0);
	assert_int_equal(size, 5);
	assert_int_equal(scratch_totals(scratch).blobs, 1);
	assert_int_equal(scratch_count_files(scratch, "partial"), 0);
}

static void one_that_is_not_published_leaves_nothing(void **state)
{
	struct scratch *scratch = *state;

	stage_close(stage_of(scratch, "junk"));
	assert_int_equal(scratch_count_files(scratch, "partial"), 0);
	assert_int_equal(scratch_totals(scratch).blobs, 0);
}

static void the_same_blob_may_be_staged_twice(void **state)
{
	struct scratch *scratch = *state;
	struct stage *one = stage_of(scratch, "same"), *other = stage_of(scratch, "same");

	assert_int_equal(stage_publish(one, &scratch->err), 0);
	assert_int_equal(stage_publish(other, &scratch->err), 0);
	stage_close(one);
	stage_close(other);
	assert_int_equal(scratch_totals(scratch).blobs, 1);
	assert_int_equal(scratch_count_files(scratch, "partial"), 0);
}

static void it_refuses_more_and_fewer_bytes_than_were_said(void **state)
{
	struct scratch *scratch = *state;
	struct stage *stage;

	assert_int_equal(stage_open(scratch->store, DIGEST_SHA256, 4, &stage, &scratch->err), 0);
	assert_int_equal(stage_write(stage, "12345", 5, &scratch->err), ERR_LIMIT);
	assert_int_equal(stage_write(stage, "123", 3, &scratch->err), 0);
	assert_int_equal(stage_finish(stage, &scratch->err), ERR_INVALID);
	stage_close(stage);
	assert_int_equal(scratch_count_files(scratch, "partial"), 0);
}

static void it_refuses_a_size_that_the_store_has_no_room_for(void **state)
{
	struct scratch *scratch = *state;
	struct evict_options options = {.max_size = 1 << 20};
	struct stage *stage;

	assert_int_equal(evict_start(scratch->store, &options, &scratch->err), 0);
	assert_int_equal(stage_open(scratch->store, DIGEST_SHA256, 1 << 30, &stage, &scratch->err), ERR_NO_SPACE);
	assert_int_equal(stage_open(scratch->store, DIGEST_SHA256, UINT64_MAX, &stage, &scratch->err), ERR_LIMIT);
	assert_int_equal(scratch_count_files(scratch, "partial"), 0);
}

static int open_for(struct scratch *scratch, uint64_t size, struct stage **stage)
{
	return stage_open(scratch->store, DIGEST_SHA256, size, stage, &scratch->err);
}

static void what_is_staged_counts_once_against_min_free(void **state)
{
	enum { WRITTEN = 30 << 20, REST = 15 << 20, TOO_MUCH = 25 << 20 };
	struct scratch *scratch = *state;
	struct evict_options options = {.min_free = DISK_FREE / 2};
	_cleanup_free_ char *content = mem_alloc(WRITTEN);
	struct stage *staged, *other;

	assert_int_equal(evict_start(scratch->store, &options, &scratch->err), 0);
	assert_int_equal(open_for(scratch, WRITTEN, &staged), 0);
	assert_int_equal(open_for(scratch, TOO_MUCH, &other), ERR_NO_SPACE);
	assert_int_equal(stage_write(staged, content, WRITTEN, &scratch->err), 0);
	__atomic_store_n(&disk_used, WRITTEN, __ATOMIC_RELAXED);
	assert_int_equal(open_for(scratch, TOO_MUCH, &other), ERR_NO_SPACE);
	assert_int_equal(open_for(scratch, REST, &other), 0);
	stage_close(other);
	/* With it goes what it had written: the next has written nothing. */
	stage_close(staged);
	__atomic_store_n(&disk_used, 0, __ATOMIC_RELAXED);
	assert_int_equal(open_for(scratch, WRITTEN, &staged), 0);
	assert_int_equal(open_for(scratch, TOO_MUCH, &other), ERR_NO_SPACE);
	/* Likewise what was published, which the file system has from there on. */
	assert_int_equal(stage_write(staged, content, WRITTEN, &scratch->err), 0);
	__atomic_store_n(&disk_used, WRITTEN, __ATOMIC_RELAXED);
	assert_int_equal(stage_finish(staged, &scratch->err), 0);
	assert_int_equal(stage_publish(staged, &scratch->err), 0);
	stage_close(staged);
	assert_int_equal(open_for(scratch, REST, &staged), 0);
	assert_int_equal(open_for(scratch, REST / 2, &other), ERR_NO_SPACE);
	stage_close(staged);
	__atomic_store_n(&disk_used, 0, __ATOMIC_RELAXED);
}

static void what_a_killed_process_staged_is_gone_when_the_store_is_opened(void **state)
{
	struct scratch *scratch = *state;
	struct stage *stage = stage_of(scratch, "lost");
	char *path = scratch_path(scratch, "partial/put.4711");

	stage_close(stage);
	scratch_write_file(path, "lost", 4);
	scratch_reopen(scratch);
	assert_false(scratch_exists(path));
	free(path);
}

static void removed_blobs_are_gone_with_what_named_them(void **state)
{
	struct scratch *scratch = *state;
	struct stage *stage = stage_of(scratch, "gone");
	struct digest digest = *stage_digest(stage);
	struct index_repository repository = {"docker.io", "library/x"};
	struct index_change link = {.kind = INDEX_PUT_LINK, .repository = repository, .digest = &digest};
	struct index_link found;
	uint64_t size;

	assert_int_equal(stage_publish(stage, &scratch->err), 0);
	stage_close(stage);
	assert_int_equal(index_write(scratch_index(scratch), &link, 1, &scratch->err), 0);
	assert_int_equal(remove_blobs(scratch->store, &digest, 1, NULL, &scratch->err), 0);
	assert_int_equal(store_find_blob(scratch->store, &digest, &size, NULL), ERR_NOT_FOUND);
	assert_int_equal(index_get_link(scratch_index(scratch), &repository, &digest, &found, NULL), ERR_NOT_FOUND);
	assert_int_equal(evict_total_bytes(scratch->store), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(a_staged_blob_is_published_under_the_digest_that_it_has),
		scratch_test(one_that_is_not_published_leaves_nothing),
		scratch_test(the_same_blob_may_be_staged_twice),
		scratch_test(it_refuses_more_and_fewer_bytes_than_were_said),
		scratch_test(it_refuses_a_size_that_the_store_has_no_room_for),
		scratch_test(what_is_staged_counts_once_against_min_free),
		scratch_test(what_a_killed_process_staged_is_gone_when_the_store_is_opened),
		scratch_test(removed_blobs_are_gone_with_what_named_them),
	};

	return cmocka_run_group_tests_name("stage", tests, NULL, NULL);
}
