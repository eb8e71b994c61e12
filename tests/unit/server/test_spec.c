/* SPDX-License-Identifier: Apache-2.0 */
#include "server/prefetch/spec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct spec parse(const char *text)
{
	struct spec spec;
	struct err err = {0};

	if (spec_parse(text, &spec, &err))
		fail_msg("%s: %s", text, err.text);
	return spec;
}

static void refuses(const char *text, const char *part)
{
	struct spec spec;
	struct err err = {0};

	assert_int_equal(spec_parse(text, &spec, &err), ERR_INVALID);
	if (!strstr(err.text, part))
		fail_msg("%s: \"%s\" is not in \"%s\"", text, part, err.text);
}

/* The chosen tags with spaces between. */
static const char *choose(const char *text, const char *const *given)
{
	static char chosen[1024];
	const char *tags[64];
	struct spec spec = parse(text);
	size_t count = 0;

	while (given[count]) {
		tags[count] = given[count];
		count++;
	}
	count = spec_choose(&spec, tags, count);
	chosen[0] = '\0';
	for (size_t i = 0; i < count; i++) {
		strcat(chosen, i ? " " : "");
		strcat(chosen, tags[i]);
	}
	return chosen;
}

static bool in_range(const char *range_text, const char *version_text)
{
	struct semver_range range;
	struct semver version;
	struct err err = {0};

	if (semver_range_parse(range_text, &range, &err))
		fail_msg("%s: %s", range_text, err.text);
	assert_int_equal(semver_parse(version_text, &version), 0);
	return semver_range_has(&range, &version);
}

static void plain_references_are_images(void **state)
{
	struct spec spec = parse("alpine");

	(void)state;
	assert_int_equal(spec.kind, SPEC_IMAGE);
	assert_string_equal(ref_reference(&spec.ref), "latest");
	spec = parse("registry.test:5000/team/app:v1");
	assert_int_equal(spec.kind, SPEC_IMAGE);
	assert_string_equal(spec.ref.tag, "v1");
	spec = parse("app@sha256:0123456789012345678901234567890123456789012345678901234567890123");
	assert_int_equal(spec.kind, SPEC_IMAGE);
}

static void glob_in_the_tag_means_tags(void **state)
{
	static const char *const tags[] = {"1.0", "1.1", "2.0", "1.10", "latest", NULL};
	struct spec spec = parse("ghcr.io/org/app:1.*");

	(void)state;
	assert_int_equal(spec.kind, SPEC_TAGS);
	assert_string_equal(spec.ref.name, "ghcr.io/org/app");
	assert_string_equal(choose("ghcr.io/org/app:1.*", tags), "1.10 1.1 1.0");
	assert_string_equal(choose("ghcr.io/org/app:1.?", tags), "1.1 1.0");
	assert_string_equal(choose("ghcr.io/org/app:[12].0", tags), "2.0 1.0");
	assert_string_equal(choose("registry.test:5000/app:l*", tags), "latest");
}

static void options_narrow_the_tags(void **state)
{
	static const char *const tags[] = {"1.0.0", "v1.2.0",    "1.2.1-rc1", "1.9.3",
					   "2.0.0", "2.0.0-rc1", "nightly",   NULL};

	(void)state;
	assert_string_equal(choose("app?semver=>=1.2 <2", tags), "1.9.3 v1.2.0");
	assert_string_equal(choose("app:*?semver=%3E%3D1.2%20%3C2", tags), "1.9.3 v1.2.0");
	assert_string_equal(choose("app:*?latest=2", tags), "2.0.0 2.0.0-rc1");
	assert_string_equal(choose("app:*?latest=2&exclude=*-rc*", tags), "2.0.0 1.9.3");
	assert_string_equal(choose("app:*?exclude=*-rc*&exclude=1.*&exclude=v*", tags), "2.0.0 nightly");
	assert_string_equal(choose("app:*?semver=^1&latest=1", tags), "1.9.3");
	assert_string_equal(choose("app?semver=^3", tags), "");
}

static void organisation_is_read_with_its_glob_and_day(void **state)
{
	struct spec spec = parse("quay://biocontainers/sam*:1.*?since=2024-02-29&latest=1");

	(void)state;
	assert_int_equal(spec.kind, SPEC_QUAY);
	assert_string_equal(spec.upstream, "quay.io");
	assert_string_equal(spec.organisation, "biocontainers");
	assert_string_equal(spec.tags, "1.*");
	assert_true(spec.tags_by_glob);
	assert_int_equal(spec.since_s, 1709164800);
	assert_int_equal(spec.latest, 1);
	assert_true(spec_takes_repository(&spec, "biocontainers/samtools"));
	assert_false(spec_takes_repository(&spec, "biocontainers/bcftools"));
	spec = parse("quay://registry.local:5000/org/*:v1");
	assert_string_equal(spec.upstream, "registry.local:5000");
	assert_string_equal(spec.organisation, "org");
	assert_string_equal(spec.tags, "v1");
	assert_false(spec.tags_by_glob);
	spec = parse("quay://org/*");
	assert_string_equal(spec.tags, "latest");
	spec = parse("quay://org/*?latest=2");
	assert_string_equal(spec.tags, "*");
}

static void nonsense_is_refused_with_its_reason(void **state)
{
	char *long_text = test_malloc(SPEC_TEXT_MAX + 2);

	(void)state;
	memset(long_text, 'a', SPEC_TEXT_MAX + 1);
	long_text[SPEC_TEXT_MAX + 1] = '\0';
	refuses("", "repository");
	refuses("UPPER/case", "malformed");
	refuses("app:1.2?latest=3", "'1.2' is one tag");
	refuses("app:*?latest=0", "latest is a number");
	refuses("app:*?latest=-1", "latest is a number");
	refuses("app:*?newest=1", "'newest'");
	refuses("app:*?since=2024-01-01", "since with quay://");
	refuses("app:*?semver=", "empty");
	refuses("app:*?semver=one", "'one' is not a version");
	refuses("app:*?semver=>=1 | <2", "single '|'");
	refuses("app:*?exclude=", "exclude is empty");
	refuses("app:*?exclude=%zz", "escape");
	refuses("app:*?latest=1&more", "'more'");
	refuses("app@sha256:0123?latest=1", "a digest is one image");
	refuses("quay://org", "quay://ORG/GLOB:TAG");
	refuses("quay:///x:1", "quay://ORG/GLOB:TAG");
	refuses("quay://org/*:1?since=2024-02-30", "no day");
	refuses("quay://org/*:1?since=yesterday", "YYYY-MM-DD");
	refuses(long_text, "longer");
	test_free(long_text);
}

static void ranges_of_versions_mean_what_npm_says(void **state)
{
	static const struct {
		const char *range, *inside, *outside;
	} cases[] = {
		{">=1.2 <2", "1.2.0", "2.0.0"}, {">=1.2,<2", "1.99.0", "1.1.9"},
		{">1.2", "1.3.0", "1.2.9"},     {"<=1.2", "1.2.9", "1.3.0"},
		{"1.2", "1.2.7", "1.3.0"},      {"1.2.x", "1.2.7", "1.3.0"},
		{"1.*", "1.9", "2.0"},          {"=1.2.3", "1.2.3", "1.2.4"},
		{"^1.2.3", "1.9.0", "2.0.0"},   {"^0.2.3", "0.2.9", "0.3.0"},
		{"^0.0.3", "0.0.3", "0.0.4"},   {"~1.2.3", "1.2.9", "1.3.0"},
		{"~1", "1.9.0", "2.0.0"},       {"^1 || ^3", "3.4.5", "2.0.0"},
		{"*", "17.0.0", "17.0.0-rc1"},  {">=2.0.0-rc1", "2.0.0-rc2", "2.1.0-rc1"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (!in_range(cases[i].range, cases[i].inside))
			fail_msg("%s is not in %s", cases[i].inside, cases[i].range);
		if (in_range(cases[i].range, cases[i].outside))
			fail_msg("%s is in %s", cases[i].outside, cases[i].range);
	}
}

static void versions_are_ordered_by_precedence(void **state)
{
	static const char *const rising[] = {"1.0.0-alpha",
					     "1.0.0-alpha.1",
					     "1.0.0-alpha.beta",
					     "1.0.0-beta",
					     "1.0.0-beta.2",
					     "1.0.0-beta.11",
					     "1.0.0-rc.1",
					     "1",
					     "1.0",
					     "1.0.0",
					     "1.0.1",
					     "1.10.0",
					     "v2"};

	(void)state;
	for (size_t i = 1; i < sizeof(rising) / sizeof(rising[0]); i++) {
		struct semver a, b;

		assert_int_equal(semver_parse(rising[i - 1], &a), 0);
		assert_int_equal(semver_parse(rising[i], &b), 0);
		if (semver_compare(&a, &b) >= 0 || semver_compare(&b, &a) <= 0)
			fail_msg("%s is not below %s", rising[i - 1], rising[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_references_are_images),
		cmocka_unit_test(glob_in_the_tag_means_tags),
		cmocka_unit_test(options_narrow_the_tags),
		cmocka_unit_test(organisation_is_read_with_its_glob_and_day),
		cmocka_unit_test(nonsense_is_refused_with_its_reason),
		cmocka_unit_test(ranges_of_versions_mean_what_npm_says),
		cmocka_unit_test(versions_are_ordered_by_precedence),
	};
	return cmocka_run_group_tests_name("spec", tests, NULL, NULL);
}
