/* SPDX-License-Identifier: Apache-2.0 */
#include "scratch.h"

static const char text[] = "{\"schemaVersion\":2}";
#define TEXT_LEN (sizeof(text) - 1)

static void blob_put_is_found_and_read_back(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest(text, TEXT_LEN);
	char *path = scratch_blob_path(scratch, &digest);
	char back[64];
	struct stat found;
	uint64_t size = 0;
	int fd = -1;

	assert_int_equal(store_find_blob(scratch->store, &digest, &size, NULL), ERR_NOT_FOUND);
	assert_int_equal(store_open_blob(scratch->store, &digest, &fd, &size, NULL), ERR_NOT_FOUND);
	assert_int_equal(store_put_blob(scratch->store, &digest, text, TEXT_LEN, NULL), 0);
	assert_int_equal(store_find_blob(scratch->store, &digest, &size, NULL), 0);
	assert_int_equal(size, TEXT_LEN);
	assert_int_equal(store_open_blob(scratch->store, &digest, &fd, &size, NULL), 0);
	assert_int_equal(size, TEXT_LEN);
	assert_int_equal(read(fd, back, sizeof(back)), TEXT_LEN);
	assert_memory_equal(back, text, TEXT_LEN);
	close(fd);
	assert_int_equal(stat(path, &found), 0);
	assert_int_equal(found.st_mode & 07777, 0444);
	assert_int_equal(scratch_totals(scratch).blobs, 1);
	assert_int_equal(scratch_totals(scratch).bytes, TEXT_LEN);
	assert_int_equal(scratch_count_files(scratch, "partial"), 0);
	free(path);
}

static void blob_put_twice_is_success_and_counted_once(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest(text, TEXT_LEN);

	assert_int_equal(store_put_blob(scratch->store, &digest, text, TEXT_LEN, NULL), 0);
	assert_int_equal(store_put_blob(scratch->store, &digest, text, TEXT_LEN, NULL), 0);
	assert_int_equal(scratch_totals(scratch).blobs, 1);
	assert_int_equal(scratch_count_files(scratch, "partial"), 0);
}

static void blob_of_sha512_and_of_no_bytes_are_kept(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest;
	uint64_t size = 1;

	digest_of(DIGEST_SHA512, "", 0, &digest);
	assert_int_equal(store_put_blob(scratch->store, &digest, "", 0, NULL), 0);
	assert_int_equal(store_find_blob(scratch->store, &digest, &size, NULL), 0);
	assert_int_equal(size, 0);
}

static void blob_survives_reopening(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest(text, TEXT_LEN);
	uint64_t size;

	assert_int_equal(store_put_blob(scratch->store, &digest, text, TEXT_LEN, NULL), 0);
	scratch_reopen(scratch);
	assert_int_equal(store_find_blob(scratch->store, &digest, &size, NULL), 0);
	assert_int_equal(scratch_totals(scratch).blobs, 1);
}

static void put_and_die(struct scratch *scratch)
{
	struct digest digest = scratch_digest(text, TEXT_LEN);

	if (scratch_open(scratch) == 0 && store_put_blob(scratch->store, &digest, text, TEXT_LEN, NULL) == 0)
		kill(getpid(), SIGKILL);
}

static void blob_survives_a_kill(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest(text, TEXT_LEN);
	struct index_blob known;

	assert_true(WIFSIGNALED(scratch_in_child(scratch, put_and_die)));
	assert_int_equal(scratch_open(scratch), 0);
	assert_int_equal(index_get_blob(scratch_index(scratch), &digest, &known, NULL), 0);
	assert_int_equal(known.size, TEXT_LEN);
	assert_true(known.last_use > 0);
}

/* As a crash between the rename and the commit leaves it. */
static void make_unknown(struct scratch *scratch, const struct digest *digest)
{
	struct index_change change = {.kind = INDEX_DELETE_BLOB, .digest = digest};

	assert_int_equal(store_put_blob(scratch->store, digest, text, TEXT_LEN, NULL), 0);
	assert_int_equal(index_write(scratch_index(scratch), &change, 1, NULL), 0);
	assert_int_equal(scratch_totals(scratch).blobs, 0);
}

static void blob_that_the_index_does_not_know_is_adopted(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest(text, TEXT_LEN);
	struct index_blob known;
	uint64_t size;
	int fd;

	make_unknown(scratch, &digest);
	assert_int_equal(store_find_blob(scratch->store, &digest, &size, NULL), 0);
	assert_int_equal(size, TEXT_LEN);
	scratch_settle(scratch);
	assert_int_equal(index_get_blob(scratch_index(scratch), &digest, &known, NULL), 0);
	assert_int_equal(known.size, TEXT_LEN);
	assert_int_equal(scratch_totals(scratch).bytes, TEXT_LEN);

	make_unknown(scratch, &digest);
	assert_int_equal(store_open_blob(scratch->store, &digest, &fd, &size, NULL), 0);
	close(fd);
	scratch_settle(scratch);
	assert_int_equal(scratch_totals(scratch).blobs, 1);
}

static void blob_whose_file_is_gone_is_forgotten(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest(text, TEXT_LEN);
	char *path = scratch_blob_path(scratch, &digest);
	struct index_blob known;
	uint64_t size;
	int fd;

	assert_int_equal(store_put_blob(scratch->store, &digest, text, TEXT_LEN, NULL), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(store_open_blob(scratch->store, &digest, &fd, &size, &scratch->err), ERR_NOT_FOUND);
	scratch_settle(scratch);
	assert_int_equal(index_get_blob(scratch_index(scratch), &digest, &known, NULL), ERR_NOT_FOUND);
	assert_int_equal(scratch_totals(scratch).bytes, 0);
	assert_int_equal(store_put_blob(scratch->store, &digest, text, TEXT_LEN, NULL), 0);
	assert_true(scratch_exists(path));
	free(path);
}

static void blob_of_another_size_is_quarantined_and_may_come_again(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest(text, TEXT_LEN);
	char *path = scratch_blob_path(scratch, &digest);
	uint64_t size;
	int fd;

	assert_int_equal(store_put_blob(scratch->store, &digest, text, TEXT_LEN, NULL), 0);
	assert_int_equal(truncate(path, 3), 0);
	assert_int_equal(store_open_blob(scratch->store, &digest, &fd, &size, &scratch->err), ERR_IO);
	assert_non_null(strstr(scratch->err.text, "quarantine"));
	assert_int_equal(store_open_blob(scratch->store, &digest, &fd, &size, NULL), ERR_NOT_FOUND);
	assert_int_equal(scratch_count_files(scratch, "quarantine"), 1);
	scratch_settle(scratch);
	assert_int_equal(scratch_totals(scratch).blobs, 0);
	assert_int_equal(store_put_blob(scratch->store, &digest, text, TEXT_LEN, NULL), 0);

	assert_int_equal(truncate(path, 3), 0);
	assert_int_equal(store_find_blob(scratch->store, &digest, &size, NULL), ERR_IO);
	assert_int_equal(store_find_blob(scratch->store, &digest, &size, NULL), ERR_NOT_FOUND);
	free(path);
}

static void blob_put_replaces_an_unknown_file_of_another_size(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest(text, TEXT_LEN);
	char *path = scratch_blob_path(scratch, &digest);
	struct stat found;

	make_unknown(scratch, &digest);
	assert_int_equal(truncate(path, 3), 0);
	assert_int_equal(store_put_blob(scratch->store, &digest, text, TEXT_LEN, NULL), 0);
	assert_int_equal(stat(path, &found), 0);
	assert_int_equal(found.st_size, TEXT_LEN);
	assert_int_equal(scratch_count_files(scratch, "quarantine"), 1);
	free(path);
}

static void blob_that_is_a_link_is_not_followed(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest(text, TEXT_LEN);
	char *path = scratch_blob_path(scratch, &digest);
	uint64_t size;
	int fd;

	make_unknown(scratch, &digest);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	assert_int_equal(store_open_blob(scratch->store, &digest, &fd, &size, NULL), ERR_IO);
	free(path);
}

static void blob_quarantined_is_gone_from_disk_and_index(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest(text, TEXT_LEN);
	uint64_t size;

	assert_int_equal(store_put_blob(scratch->store, &digest, text, TEXT_LEN, NULL), 0);
	assert_int_equal(store_quarantine_blob(scratch->store, &digest, "a test says so", NULL), 0);
	assert_int_equal(scratch_totals(scratch).blobs, 0);
	assert_int_equal(store_find_blob(scratch->store, &digest, &size, NULL), ERR_NOT_FOUND);
	assert_int_equal(scratch_count_files(scratch, "quarantine"), 1);
	assert_int_equal(store_quarantine_blob(scratch->store, &digest, "once more", NULL), 0);
}

static void quarantine_keeps_the_sixteen_newest(void **state)
{
	struct scratch *scratch = *state;
	char *old = scratch_path(scratch, "quarantine/sha256-00.1000000");
	char *foreign = scratch_path(scratch, "quarantine/notes");

	scratch_write_file(old, "x", 1);
	scratch_write_file(foreign, "x", 1);
	for (int i = 0; i < 20; i++) {
		struct digest digest = scratch_digest(&i, sizeof(i));

		assert_int_equal(store_put_blob(scratch->store, &digest, &i, sizeof(i), NULL), 0);
		assert_int_equal(store_quarantine_blob(scratch->store, &digest, "a test says so", NULL), 0);
	}
	assert_int_equal(scratch_count_files(scratch, "quarantine"), 16 + 1);
	assert_false(scratch_exists(old));
	assert_true(scratch_exists(foreign));
	free(old);
	free(foreign);
}

static void blob_put_says_what_failed_when_a_directory_cannot_be_made(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest(text, TEXT_LEN);
	char *in_the_way = scratch_path(scratch, "blobs/sha256");

	scratch_write_file(in_the_way, "x", 1);
	assert_int_equal(store_put_blob(scratch->store, &digest, text, TEXT_LEN, &scratch->err), ERR_IO);
	assert_non_null(strstr(scratch->err.text, "blobs/sha256"));
	assert_int_equal(scratch_count_files(scratch, "partial"), 0);
	free(in_the_way);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(blob_put_is_found_and_read_back),
		scratch_test(blob_put_twice_is_success_and_counted_once),
		scratch_test(blob_of_sha512_and_of_no_bytes_are_kept),
		scratch_test(blob_survives_reopening),
		scratch_test(blob_survives_a_kill),
		scratch_test(blob_that_the_index_does_not_know_is_adopted),
		scratch_test(blob_whose_file_is_gone_is_forgotten),
		scratch_test(blob_of_another_size_is_quarantined_and_may_come_again),
		scratch_test(blob_put_replaces_an_unknown_file_of_another_size),
		scratch_test(blob_that_is_a_link_is_not_followed),
		scratch_test(blob_quarantined_is_gone_from_disk_and_index),
		scratch_test(quarantine_keeps_the_sixteen_newest),
		scratch_test(blob_put_says_what_failed_when_a_directory_cannot_be_made),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
