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

#define HEX "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static void ref_parse_takes_references_apart(void **state)
{
	(void)state;
	static const struct {
		const char *text, *name, *tag, *digest, *reference;
		size_t host_len;
	} right[] = {
		{"alpine", "alpine", "", "", "latest", 0},
		{"alpine:3.20", "alpine", "3.20", "", "3.20", 0},
		{"library/alpine", "library/alpine", "", "", "latest", 0},
		{"docker.io/library/alpine:3.20", "docker.io/library/alpine", "3.20", "", "3.20", 9},
		{"localhost/app", "localhost/app", "", "", "latest", 9},
		{"registry:5000/app", "registry:5000/app", "", "", "latest", 13},
		{"registry:5000/app:1", "registry:5000/app", "1", "", "1", 13},
		{"[::1]:5000/app:1", "[::1]:5000/app", "1", "", "1", 10},
		{"alpine@sha256:" HEX, "alpine", "", "sha256:" HEX, "sha256:" HEX, 0},
		{"quay.io/a/b:1@sha256:" HEX, "quay.io/a/b", "1", "sha256:" HEX, "sha256:" HEX, 7},
	};
	for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
		struct err err = {0};
		struct ref ref;
		if (ref_parse(right[i].text, &ref, &err))
			fail_msg("%s: %s", right[i].text, err.text);
		assert_string_equal(ref.name, right[i].name);
		assert_string_equal(ref.tag, right[i].tag);
		assert_string_equal(ref.digest, right[i].digest);
		assert_string_equal(ref_reference(&ref), right[i].reference);
		assert_int_equal(ref.host_len, right[i].host_len);
	}
}

static void ref_parse_refuses_what_names_nothing(void **state)
{
	(void)state;
	static const char *const wrong[] = {
		"",
		":",
		"@",
		":tag",
		"alpine:",
		"alpine@",
		"alpine@sha256:abc",
		"Alpine",
		"a//b",
		"/a",
		"a/",
		"a:b:c",
		"quay.io/",
		"quay.io/:1",
		".b/c",
		"a:/b",
		"a.b\n/c",
		"a.b/C",
		"a b",
		"a@sha256:" HEX "0",
		("a@b@sha256:" HEX),
		"-a.b/c",
		"1:2:3/a",
		"a:../etc",
		"a/../b",
		"a?n=1",
		"a#b",
	};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct err err = {0};
		struct ref ref;
		if (ref_parse(wrong[i], &ref, &err) != ERR_INVALID)
			fail_msg("'%s' was taken", wrong[i]);
		assert_true(err.text[0] != '\0');
	}
	char text[REF_NAME_MAX + 200];
	struct ref ref;
	memset(text, 'a', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(ref_parse(text, &ref, NULL), ERR_INVALID);
	text[4] = '.';
	text[REF_UPSTREAM_MAX + 5] = '/';
	assert_int_equal(ref_parse(text, &ref, NULL), ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ref_takes_repository_names_of_the_spec),
		cmocka_unit_test(ref_refuses_other_repository_names),
		cmocka_unit_test(ref_looks_at_no_more_than_the_length_it_is_given),
		cmocka_unit_test(ref_bounds_the_length_of_names_and_tags),
		cmocka_unit_test(ref_takes_tags_of_the_spec_and_no_others),
		cmocka_unit_test(ref_parse_takes_references_apart),
		cmocka_unit_test(ref_parse_refuses_what_names_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
