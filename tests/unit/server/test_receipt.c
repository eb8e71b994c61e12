/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/store/scratch.h"

#include "server/bundle/receipt.h"

#define MANY    100000
#define AT_ONCE 1000

static FILE *write_receipt(struct scratch *scratch)
{
	FILE *file = tmpfile();

	assert_non_null(file);
	assert_int_equal(receipt_write(scratch->store, fileno(file), &scratch->err), 0);
	return file;
}

static struct digest numbered(uint8_t algorithm, int number)
{
	struct digest digest;

	digest_of(algorithm, &number, sizeof(number), &digest);
	return digest;
}

/* The index alone is asked. */
static void add_blobs(struct scratch *scratch, uint8_t algorithm, int count)
{
	struct index_change changes[AT_ONCE];
	struct digest digests[AT_ONCE];

	for (int done = 0; done < count;) {
		size_t filled = 0;

		for (; filled < AT_ONCE && done < count; filled++) {
			digests[filled] = numbered(algorithm, done++);
			changes[filled] = (struct index_change){
				.kind = INDEX_PUT_BLOB, .digest = &digests[filled], .blob.size = 1};
		}
		assert_int_equal(index_write(scratch_index(scratch), changes, filled, &scratch->err), 0);
	}
}

static void expect_has(const struct receipt *receipt, uint8_t algorithm, int count)
{
	for (int i = 0; i < 2 * count; i++) {
		struct digest digest = numbered(algorithm, i);

		assert_int_equal(receipt_has(receipt, &digest), i < count);
	}
}

static void a_receipt_of_a_hundred_thousand_blobs_says_them_in_32_bytes_each(void **state)
{
	struct scratch *scratch = *state;
	struct receipt *receipt;
	struct stat found;
	FILE *file;

	add_blobs(scratch, DIGEST_SHA256, MANY);
	add_blobs(scratch, DIGEST_SHA512, 3);
	file = write_receipt(scratch);
	fstat(fileno(file), &found);
	assert_int_equal(found.st_size, 16 + 8 + 8 + MANY * 32 + 3 * 64 + 32);
	assert_int_equal(receipt_open(fileno(file), &receipt, &scratch->err), 0);
	fclose(file);
	assert_int_equal(receipt_count(receipt), MANY + 3);
	expect_has(receipt, DIGEST_SHA256, MANY);
	expect_has(receipt, DIGEST_SHA512, 3);
	receipt_free(receipt);
}

static void an_empty_store_has_a_receipt_too(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = numbered(DIGEST_SHA256, 1);
	struct receipt *receipt;
	FILE *file = write_receipt(scratch);

	assert_int_equal(receipt_open(fileno(file), &receipt, &scratch->err), 0);
	assert_int_equal(receipt_count(receipt), 0);
	assert_false(receipt_has(receipt, &digest));
	receipt_free(receipt);
	fclose(file);
}

static void flip(FILE *file, off_t at)
{
	char byte;

	assert_int_equal(pread(fileno(file), &byte, 1, at), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fileno(file), &byte, 1, at), 1);
}

static void a_receipt_in_which_anything_was_changed_or_is_missing_is_refused(void **state)
{
	struct scratch *scratch = *state;
	struct receipt *receipt;
	struct stat found;
	FILE *file;

	add_blobs(scratch, DIGEST_SHA256, 3);
	file = write_receipt(scratch);
	fstat(fileno(file), &found);
	for (off_t at = 0; at < found.st_size; at++) {
		flip(file, at);
		assert_int_equal(receipt_open(fileno(file), &receipt, &scratch->err), ERR_INVALID);
		flip(file, at);
	}
	for (off_t len = found.st_size - 1; len >= 0; len--) {
		assert_int_equal(ftruncate(fileno(file), len), 0);
		assert_int_equal(receipt_open(fileno(file), &receipt, &scratch->err), ERR_INVALID);
	}
	fclose(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(a_receipt_of_a_hundred_thousand_blobs_says_them_in_32_bytes_each),
		scratch_test(an_empty_store_has_a_receipt_too),
		scratch_test(a_receipt_in_which_anything_was_changed_or_is_missing_is_refused),
	};

	return cmocka_run_group_tests_name("receipt", tests, NULL, NULL);
}
