/* SPDX-License-Identifier: Apache-2.0 */
#include "base/digest.h"
#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#define EMPTY_SHA256 "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define ABC_SHA256   "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define ABC_SHA512                                                                                                     \
	"sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"                                      \
	"2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"

static void digest_computes_the_published_values(void **state)
{
	(void)state;
	char text[DIGEST_TEXT_MAX];
	struct digest digest;
	digest_of(DIGEST_SHA256, "", 0, &digest);
	assert_string_equal(digest_format(&digest, text), EMPTY_SHA256);
	digest_of(DIGEST_SHA256, "abc", 3, &digest);
	assert_string_equal(digest_format(&digest, text), ABC_SHA256);
	assert_string_equal(digest_hex(&digest, text), &ABC_SHA256[7]);
	digest_of(DIGEST_SHA512, "abc", 3, &digest);
	assert_string_equal(digest_format(&digest, text), ABC_SHA512);
	assert_int_equal(strlen(text) + 1, DIGEST_TEXT_MAX);
}

static void digest_is_the_same_however_the_bytes_are_cut(void **state)
{
	(void)state;
	char data[1000];
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 7);
	struct digest whole;
	digest_of(DIGEST_SHA256, data, sizeof(data), &whole);
	for (size_t step = 1; step < sizeof(data); step += 37) {
		struct hasher *hasher = hasher_new(DIGEST_SHA256);
		for (size_t at = 0; at < sizeof(data); at += step)
			hasher_update(hasher, data + at, sizeof(data) - at < step ? sizeof(data) - at : step);
		hasher_update(hasher, NULL, 0);
		struct digest parts;
		hasher_finish(hasher, &parts);
		assert_true(digest_equal(&whole, &parts));
	}
}

static void digest_reads_back_what_it_prints(void **state)
{
	(void)state;
	static const char *const texts[] = {EMPTY_SHA256, ABC_SHA256, ABC_SHA512};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct digest digest;
		char text[DIGEST_TEXT_MAX];
		memset(&digest, 0xa5, sizeof(digest));
		assert_int_equal(digest_parse(texts[i], &digest), 0);
		assert_string_equal(digest_format(&digest, text), texts[i]);
		for (size_t at = digest_length(&digest); at < DIGEST_BYTES_MAX; at++)
			assert_int_equal(digest.bytes[at], 0);
	}
}

static void digest_refuses_what_is_malformed_and_touches_nothing(void **state)
{
	(void)state;
	static const char *const wrong[] = {
		"",
		":",
		"sha256",
		"sha256:",
		"sha256:abc",
		EMPTY_SHA256 "0",
		EMPTY_SHA256 " ",
		"sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
		"sha256:g3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"SHA256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"sha512:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"sha25:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"md5:d41d8cd98f00b204e9800998ecf8427e",
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
	};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct digest digest = {.algorithm = 77};
		assert_int_equal(digest_parse(wrong[i], &digest), ERR_INVALID);
		assert_int_equal(digest.algorithm, 77);
	}
}

static void digest_tells_algorithms_apart(void **state)
{
	(void)state;
	struct digest a = {.algorithm = DIGEST_SHA256};
	struct digest b = {.algorithm = DIGEST_SHA512};
	struct digest none = {0};
	char text[DIGEST_TEXT_MAX];
	assert_false(digest_equal(&a, &b));
	assert_true(digest_equal(&a, &a));
	assert_string_equal(digest_algorithm_name(DIGEST_SHA512), "sha512");
	assert_null(digest_algorithm_name(0));
	assert_null(digest_algorithm_name(3));
	assert_int_equal(digest_length(&none), 0);
	assert_string_equal(digest_format(&none, text), "");
	hasher_free(NULL);
	hasher_free(hasher_new(DIGEST_SHA256));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(digest_computes_the_published_values),
		cmocka_unit_test(digest_is_the_same_however_the_bytes_are_cut),
		cmocka_unit_test(digest_reads_back_what_it_prints),
		cmocka_unit_test(digest_refuses_what_is_malformed_and_touches_nothing),
		cmocka_unit_test(digest_tells_algorithms_apart),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
