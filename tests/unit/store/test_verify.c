/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/store/shelf.h"

#include "base/clock.h"
#include "store/verify.h"

#include <time.h>

#define MANY 100

/* Turns over one bit in the middle of a stored blob. */
static void damage(const struct scratch *scratch, const struct digest *digest)
{
	char *path = scratch_blob_path(scratch, digest), byte;
	struct stat file;
	int fd;

	assert_int_equal(chmod(path, 0644), 0);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &file), 0);
	assert_int_equal(pread(fd, &byte, 1, file.st_size / 2), 1);
	byte = (char)(byte ^ 4);
	assert_int_equal(pwrite(fd, &byte, 1, file.st_size / 2), 1);
	close(fd);
	free(path);
}

static struct digest put(const struct scratch *scratch, int number)
{
	char *data = mem_alloc(10000 + (size_t)number);
	struct digest digest;

	memset(data, number, 10000 + (size_t)number);
	digest = scratch_digest(data, 10000 + (size_t)number);
	assert_int_equal(store_put_blob(scratch->store, &digest, data, 10000 + (size_t)number, NULL), 0);
	free(data);
	return digest;
}

struct told {
	size_t count;
	struct digest digests[MANY];
};

static void take(void *arg, const struct verify_item *item)
{
	struct told *told = arg;

	assert_int_equal(item->code, ERR_DIGEST);
	assert_non_null(strstr(item->why, "digest"));
	told->digests[told->count] = item->digest;
	__atomic_add_fetch(&told->count, 1, __ATOMIC_RELEASE);
}

static void every_flipped_byte_is_found_and_put_away(void **state)
{
	struct scratch *scratch = *state;
	struct told told = {0};
	struct verify_options options = {.each = take, .arg = &told};
	struct verify_result result;
	struct digest digests[MANY + 20];
	uint64_t bytes = 0, size;

	for (int i = 0; i < MANY + 20; i++) {
		digests[i] = put(scratch, i);
		bytes += 10000 + (uint64_t)i;
		if (i < MANY)
			damage(scratch, &digests[i]);
	}
	assert_int_equal(verify_run(scratch->store, &options, &result, &scratch->err), 0);
	assert_int_equal(result.damaged, MANY);
	assert_int_equal(result.blobs, 20);
	assert_int_equal(result.bytes, bytes);
	assert_int_equal(told.count, MANY);
	assert_int_equal(store_corrupt_count(scratch->store), MANY);
	scratch_settle(scratch);
	for (int i = 0; i < MANY + 20; i++)
		assert_int_equal(store_find_blob(scratch->store, &digests[i], &size, NULL),
				 i < MANY ? ERR_NOT_FOUND : 0);
	assert_int_equal(scratch_count_files(scratch, "quarantine"), 16);
	assert_int_equal(verify_run(scratch->store, &options, &result, &scratch->err), 0);
	assert_int_equal(result.damaged, 0);
}

static void file_of_another_size_and_one_that_cannot_be_read_are_put_away_too(void **state)
{
	struct scratch *scratch = *state;
	struct verify_options options = {0};
	struct verify_result result;
	struct digest shorter = put(scratch, 1), unreadable = put(scratch, 2);
	char *path = scratch_blob_path(scratch, &shorter), *other = scratch_blob_path(scratch, &unreadable);
	uint64_t size;

	assert_int_equal(truncate(path, 10), 0);
	/* What is no file cannot be read. */
	assert_int_equal(unlink(other), 0);
	assert_int_equal(mkdir(other, 0755), 0);
	assert_int_equal(verify_run(scratch->store, &options, &result, &scratch->err), 0);
	assert_int_equal(result.damaged, 2);
	assert_int_equal(store_find_blob(scratch->store, &shorter, &size, NULL), ERR_NOT_FOUND);
	assert_int_equal(store_find_blob(scratch->store, &unreadable, &size, NULL), ERR_NOT_FOUND);
	free(path);
	free(other);
}

static bool once(void *arg)
{
	return --*(int *)arg >= 0;
}

static void verification_keeps_to_its_rate_and_ends_early_when_told(void **state)
{
	struct scratch *scratch = *state;
	int asked = 3;
	struct verify_options options = {.go_on = once, .arg = &asked};
	struct verify_options slow = {.bytes_per_s = 200000};
	struct verify_result result;
	uint64_t began;

	for (int i = 0; i < 2; i++)
		put(scratch, i);
	assert_int_equal(verify_run(scratch->store, &options, &result, &scratch->err), ERR_CANCELLED);
	began = clock_ms();
	/* Two blobs of 10,000 bytes, and 16 KiB for opening each. */
	assert_int_equal(verify_run(scratch->store, &slow, &result, &scratch->err), 0);
	assert_true(clock_ms() - began >= 200);
}

static void await(const struct told *told, size_t count)
{
	for (int i = 0; i < 1000 && __atomic_load_n(&told->count, __ATOMIC_ACQUIRE) < count; i++)
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	assert_int_equal(told->count, count);
}

static bool pass_is_done(const struct scratch *scratch)
{
	struct index_scrub at;

	return index_get_scrub(scratch_index(scratch), &at, NULL) == 0 && at.done;
}

static void await_pass(const struct scratch *scratch)
{
	for (int i = 0; i < 1000 && !pass_is_done(scratch); i++)
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	assert_true(pass_is_done(scratch));
}

static void scrub_finds_damage_and_rests_until_the_next_pass(void **state)
{
	struct scratch *scratch = *state;
	struct told told = {0};
	struct scrub_options options = {
		.bytes_per_s = 1 << 30, .every_ms = UINT64_C(3600000), .each = take, .arg = &told};
	struct digest early = put(scratch, 1), late = put(scratch, 2);

	damage(scratch, &early);
	assert_int_equal(scrub_start(scratch->store, &options, &scratch->err), 0);
	await(&told, 1);
	assert_true(digest_equal(&told.digests[0], &early));
	await_pass(scratch);
	/* Not before an hour has passed, unless it was noticed otherwise. */
	damage(scratch, &late);
	scrub_suspect(scratch->store, &late);
	await(&told, 2);
	scrub_stop(scratch->store);
	scrub_stop(scratch->store);
	scrub_suspect(scratch->store, &late);
}

/* The mark of a pass that was broken off, as a run before left it. */
static void scrub_goes_on_where_it_was(void **state)
{
	struct scratch *scratch = *state;
	struct told told = {0};
	struct scrub_options options = {
		.bytes_per_s = 1 << 30, .every_ms = UINT64_C(3600000), .each = take, .arg = &told};
	struct index_change mark = {.kind = INDEX_PUT_SCRUB, .scrub = {.began = clock_wall_s()}};
	struct digest digests[20], before = {0};

	for (int i = 0; i < 20; i++) {
		digests[i] = put(scratch, i);
		damage(scratch, &digests[i]);
		if (i < 10 && memcmp(&digests[i], &before, sizeof(before)) > 0)
			before = digests[i];
	}
	mark.scrub.after = before;
	assert_int_equal(index_write(scratch_index(scratch), &mark, 1, NULL), 0);
	scratch_reopen(scratch);
	assert_int_equal(scrub_start(scratch->store, &options, &scratch->err), 0);
	await_pass(scratch);
	scrub_stop(scratch->store);
	for (int i = 0; i < 20; i++) {
		bool behind = memcmp(&digests[i], &before, sizeof(before)) > 0, found = false;

		for (size_t k = 0; k < told.count; k++)
			found = found || digest_equal(&told.digests[k], &digests[i]);
		assert_int_equal(found, behind);
	}
}

static void damaged_manifest_is_noticed_as_it_is_read(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = shelf_put_image(scratch, &shelf_app, "one", "linux/amd64", "base");
	size_t len;

	damage(scratch, &digest);
	assert_null(manifest_load(scratch->store, &digest, &len));
	assert_int_equal(store_corrupt_count(scratch->store), 1);
	assert_false(shelf_holds(scratch, &digest));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(every_flipped_byte_is_found_and_put_away),
		scratch_test(file_of_another_size_and_one_that_cannot_be_read_are_put_away_too),
		scratch_test(verification_keeps_to_its_rate_and_ends_early_when_told),
		scratch_test(scrub_finds_damage_and_rests_until_the_next_pass),
		scratch_test(scrub_goes_on_where_it_was),
		scratch_test(damaged_manifest_is_noticed_as_it_is_read),
	};

	return cmocka_run_group_tests_name("verify", tests, NULL, NULL);
}
