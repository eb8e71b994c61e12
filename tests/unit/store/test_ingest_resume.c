/* SPDX-License-Identifier: Apache-2.0 */
/* What is left of an ingest when it or larder ends, and how the next one goes on from it. */
#include "tests/unit/store/content.h"

#include <linux/capability.h>
#include <sys/syscall.h>

static bool sync_fails;

/* In place of the C library's. */
int fsync(int fd)
{
	if (!sync_fails)
		return (int)syscall(SYS_fsync, fd);
	errno = EIO;
	return -1;
}

static void ingest_goes_on_after_reopening(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest(content, SIZE);
	struct ingest *ingest = open_ingest(scratch, &digest);
	char etag[INGEST_ETAG_MAX + 1];

	assert_int_equal(ingest_set_size(ingest, SIZE, NULL), 0);
	ingest_set_etag(ingest, "\"abc\"");
	write_part(ingest, 0, 1000);
	write_part(ingest, 5000, 6000);
	ingest_close(ingest);
	scratch_reopen(scratch);
	ingest = open_ingest(scratch, &digest);
	assert_int_equal(ingest_size(ingest), SIZE);
	ingest_etag(ingest, etag);
	assert_string_equal(etag, "\"abc\"");
	assert_int_equal(ingest_present_bytes(ingest), 2000);
	assert_int_equal(ingest_present_from(ingest, 5000), 1000);
	assert_true(ingest_hash_waits(ingest));
	assert_int_equal(ingest_hash_behind(ingest, NULL), 0);
	write_part(ingest, 1000, SIZE);
	assert_int_equal(ingest_hash_behind(ingest, NULL), 0);
	assert_int_equal(ingest_verify(ingest, NULL), 0);
	assert_int_equal(ingest_publish(ingest, NULL), 0);
	ingest_close(ingest);
	assert_content_of(scratch, &digest);
}

static void ingest_half_and_die(struct scratch *scratch)
{
	struct digest digest = scratch_digest(content, SIZE);
	struct ingest *ingest;

	if (scratch_open(scratch) || ingest_open(scratch->store, &digest, &ingest, NULL) ||
	    ingest_set_size(ingest, SIZE, NULL))
		_exit(1);
	for (size_t at = 0; at < SIZE / 2; at += 4096)
		if (ingest_write(ingest, at, content + at, 4096, NULL))
			_exit(2);
	/* Less than a journal's worth more, which the range file does not know yet. */
	if (ingest_write(ingest, SIZE / 2, content + SIZE / 2, 4096, NULL))
		_exit(3);
	kill(getpid(), SIGKILL);
}

static void ingest_goes_on_after_a_kill(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest(content, SIZE);
	struct ingest *ingest;

	assert_true(WIFSIGNALED(scratch_in_child(scratch, ingest_half_and_die)));
	assert_int_equal(scratch_open(scratch), 0);
	ingest = open_ingest(scratch, &digest);
	assert_int_equal(ingest_size(ingest), SIZE);
	assert_int_equal(ingest_present_from(ingest, 0), SIZE / 2);
	write_part(ingest, SIZE / 2, SIZE);
	assert_int_equal(ingest_hash_behind(ingest, NULL), 0);
	assert_int_equal(ingest_verify(ingest, NULL), 0);
	assert_int_equal(ingest_publish(ingest, NULL), 0);
	ingest_close(ingest);
	assert_content_of(scratch, &digest);
}

static void verify_and_die(struct scratch *scratch)
{
	struct digest digest = scratch_digest(content, SIZE);
	struct ingest *ingest;

	if (scratch_open(scratch) || ingest_open(scratch->store, &digest, &ingest, NULL) ||
	    ingest_set_size(ingest, SIZE, NULL) || ingest_write(ingest, 0, content, SIZE, NULL) ||
	    ingest_verify(ingest, NULL))
		_exit(1);
	kill(getpid(), SIGKILL);
}

static void ingest_verified_but_not_published_is_complete_after_a_kill(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest(content, SIZE);
	struct ingest *ingest;
	uint64_t size;

	assert_true(WIFSIGNALED(scratch_in_child(scratch, verify_and_die)));
	assert_int_equal(scratch_open(scratch), 0);
	assert_int_equal(store_find_blob(scratch->store, &digest, &size, NULL), ERR_NOT_FOUND);
	ingest = open_ingest(scratch, &digest);
	assert_int_equal(ingest_present_bytes(ingest), SIZE);
	assert_int_equal(ingest_hash_behind(ingest, NULL), 0);
	assert_int_equal(ingest_verify(ingest, NULL), 0);
	assert_int_equal(ingest_publish(ingest, NULL), 0);
	ingest_close(ingest);
}

/* As larder runs: not even root's files may be opened against their mode. */
static bool forgo_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0}};

	return syscall(SYS_capset, &header, none) == 0;
}

static void publish_without_capabilities(struct scratch *scratch)
{
	struct digest digest = scratch_digest(content, SIZE);
	struct ingest *ingest;

	if (!forgo_capabilities() || scratch_open(scratch) || ingest_open(scratch->store, &digest, &ingest, NULL) ||
	    ingest_hash_behind(ingest, NULL) || ingest_verify(ingest, NULL) || ingest_publish(ingest, NULL))
		_exit(1);
	ingest_close(ingest);
	scratch_close(scratch);
}

static void ingest_goes_on_from_what_was_made_read_only_before_a_kill(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest(content, SIZE);
	char *partial = scratch_partial_path(scratch, &digest, "");

	assert_true(WIFSIGNALED(scratch_in_child(scratch, verify_and_die)));
	assert_int_equal(chmod(partial, 0444), 0);
	assert_int_equal(scratch_in_child(scratch, publish_without_capabilities), 0);
	assert_int_equal(scratch_open(scratch), 0);
	assert_content_of(scratch, &digest);
	free(partial);
}

/* The kernel tells of a write that it lost once: the next sync would say that all is well. */
static void ingest_that_could_not_be_synced_is_not_gone_on_from(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest(content, SIZE);
	struct ingest *ingest = open_ingest(scratch, &digest);
	uint8_t byte;

	assert_int_equal(ingest_set_size(ingest, SIZE, NULL), 0);
	write_part(ingest, 0, SIZE);
	assert_int_equal(ingest_verify(ingest, NULL), 0);
	sync_fails = true;
	assert_int_equal(ingest_publish(ingest, NULL), ERR_IO);
	sync_fails = false;
	assert_int_equal(ingest_publish(ingest, NULL), ERR_IO);
	/* Those who read it have it to its end. */
	assert_int_equal(ingest_read(ingest, SIZE - 1, &byte, 1), 1);
	ingest_close(ingest);
	assert_int_equal(scratch_count_files(scratch, "partial"), 0);
	ingest = open_ingest(scratch, &digest);
	assert_int_equal(ingest_present_bytes(ingest), 0);
	ingest_close(ingest);
}

static void ingest_starts_over_without_a_good_range_file(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest(content, SIZE);
	char *path = scratch_partial_path(scratch, &digest, ".ranges");
	char *partial = scratch_partial_path(scratch, &digest, "");
	struct stat file;
	struct ingest *ingest;
	char byte;

	leave_partial(scratch, &digest);
	assert_int_equal(stat(path, &file), 0);
	for (off_t at = 0; at <= file.st_size; at++) {
		int fd = open(path, O_RDWR | O_CLOEXEC);

		assert_true(fd >= 0);
		if (at == file.st_size) {
			assert_int_equal(ftruncate(fd, at - 1), 0);
		} else {
			assert_int_equal(pread(fd, &byte, 1, at), 1);
			byte ^= 0x10;
			assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		}
		close(fd);
		ingest = open_ingest(scratch, &digest);
		assert_int_equal(ingest_present_bytes(ingest), 0);
		assert_int_equal(ingest_size(ingest), INGEST_SIZE_UNKNOWN);
		ingest_close(ingest);
		assert_false(scratch_exists(partial));
		leave_partial(scratch, &digest);
	}
	assert_int_equal(unlink(path), 0);
	ingest = open_ingest(scratch, &digest);
	assert_int_equal(ingest_present_bytes(ingest), 0);
	ingest_close(ingest);
	free(path);
	free(partial);
}

static void ingest_cuts_ranges_that_the_file_does_not_have(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest(content, SIZE);
	char *partial = scratch_partial_path(scratch, &digest, "");
	struct ingest *ingest;

	leave_partial(scratch, &digest);
	assert_int_equal(truncate(partial, 200001), 0);
	ingest = open_ingest(scratch, &digest);
	assert_int_equal(ingest_present_bytes(ingest), 100001);
	assert_int_equal(ingest_present_from(ingest, 200000), 1);
	ingest_close(ingest);
	assert_int_equal(unlink(partial), 0);
	ingest = open_ingest(scratch, &digest);
	assert_int_equal(ingest_present_bytes(ingest), 0);
	ingest_close(ingest);
	free(partial);
}

static void ingest_that_is_given_up_is_not_hashed(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest(content, SIZE);
	struct ingest *ingest;

	leave_partial(scratch, &digest);
	ingest = open_ingest(scratch, &digest);
	assert_true(ingest_hash_waits(ingest));
	ingest_stop_hashing(ingest);
	assert_int_equal(ingest_hash_behind(ingest, NULL), 0);
	assert_true(ingest_hash_waits(ingest));
	ingest_close(ingest);
	/* Nothing is lost by it. */
	ingest = open_ingest(scratch, &digest);
	assert_int_equal(ingest_hash_behind(ingest, NULL), 0);
	assert_false(ingest_hash_waits(ingest));
	ingest_close(ingest);
}

static void ingest_never_publishes_bytes_that_changed_on_disk(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest(content, SIZE);
	char *partial = scratch_partial_path(scratch, &digest, "");
	struct ingest *ingest;
	int fd;

	leave_partial(scratch, &digest);
	fd = open(partial, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "\0\0\0\0", 4, 5000), 4);
	close(fd);
	ingest = open_ingest(scratch, &digest);
	write_part(ingest, 0, SIZE);
	assert_int_equal(ingest_hash_behind(ingest, NULL), 0);
	assert_int_equal(ingest_verify(ingest, NULL), ERR_DIGEST);
	ingest_close(ingest);
	free(partial);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(ingest_goes_on_after_reopening),
		scratch_test(ingest_goes_on_after_a_kill),
		scratch_test(ingest_verified_but_not_published_is_complete_after_a_kill),
		scratch_test(ingest_goes_on_from_what_was_made_read_only_before_a_kill),
		scratch_test(ingest_that_could_not_be_synced_is_not_gone_on_from),
		scratch_test(ingest_starts_over_without_a_good_range_file),
		scratch_test(ingest_cuts_ranges_that_the_file_does_not_have),
		scratch_test(ingest_that_is_given_up_is_not_hashed),
		scratch_test(ingest_never_publishes_bytes_that_changed_on_disk),
	};

	return cmocka_run_group_tests(tests, make_content, NULL);
}
