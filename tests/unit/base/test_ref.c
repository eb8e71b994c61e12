/* SPDX-License-Identifier: Apache-2.0 */
#include "base/ref.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

static void ref_takes_repository_names_of_the_spec(void **state)
{
	(void)state;
	static const char *const right[] = {
		"a",      "alpine", "library/alpine", "a.b_c__d-e---f", "0/1/2",
		"a--b/c", "x__y",   "org/team/app",   "foo.com/bar",
	};
	for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++)
		assert_true(ref_repository_valid(right[i], strlen(right[i])));
}

static void ref_refuses_other_repository_names(void **state)
{
	(void)state;
	static const char *const wrong[] = {
		"",     "/",      "/a",    "a/",  "a//b", "A",      "a/B",   "-a",       "a-",
		"_a",   "a_",     "a___b", ".a",  "a.",   "a..b",   "a._b",  "a-_b",     "a/.",
		"a/..", "../etc", "a b",   "a:b", "a@b",  "a/../b", "a%2fb", "\xc3\xa9",
	};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_false(ref_repository_valid(wrong[i], strlen(wrong[i])));
}

static void ref_looks_at_no_more_than_the_length_it_is_given(void **state)
{
	(void)state;
	assert_true(ref_repository_valid("alpine/manifests", 6));
	assert_false(ref_repository_valid("alpine/manifests", 7));
	assert_false(ref_repository_valid("a\0b", 3));
	assert_true(ref_tag_valid("latest/", 6));
	assert_false(ref_tag_valid("a\0b", 3));
}

static void ref_bounds_the_length_of_names_and_tags(void **state)
{
	(void)state;
	char text[REF_REPOSITORY_MAX + 1];
	memset(text, 'a', sizeof(text));
	assert_true(ref_repository_valid(text, REF_REPOSITORY_MAX));
	assert_false(ref_repository_valid(text, REF_REPOSITORY_MAX + 1));
	assert_true(ref_tag_valid(text, REF_TAG_MAX));
	assert_false(ref_tag_valid(text, REF_TAG_MAX + 1));
}

static void ref_takes_tags_of_the_spec_and_no_others(void **state)
{
	(void)state;
	static const char *const right[] = {"latest", "1.0", "_x", "V1.2-rc.3", "9", "a..b", "sha256-abc"};
	static const char *const wrong[] = {"", ".a", "-a", "a b", "a/b", "a:b", "a@b", "a+b", "\xc3\xa9"};
	for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++)
		assert_true(ref_tag_valid(right[i], strlen(right[i])));
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_false(ref_tag_valid(wrong[i], strlen(wrong[i])));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ref_takes_repository_names_of_the_spec),
		cmocka_unit_test(ref_refuses_other_repository_names),
		cmocka_unit_test(ref_looks_at_no_more_than_the_length_it_is_given),
		cmocka_unit_test(ref_bounds_the_length_of_names_and_tags),
		cmocka_unit_test(ref_takes_tags_of_the_spec_and_no_others),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
