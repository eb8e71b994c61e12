/* SPDX-License-Identifier: Apache-2.0 */
#include "scratch.h"

#define MANIFEST "application/vnd.oci.image.manifest.v1+json"

static void put_link(struct scratch *scratch, const char *upstream, const char *name)
{
	struct digest digest = scratch_digest(name, strlen(name));
	struct index_change change = {.kind = INDEX_PUT_LINK, .repository = {upstream, name}, .digest = &digest};

	assert_int_equal(index_write(scratch_index(scratch), &change, 1, &scratch->err), 0);
}

static void drop_link(struct scratch *scratch, const char *upstream, const char *name)
{
	struct digest digest = scratch_digest(name, strlen(name));
	struct index_change change = {.kind = INDEX_DELETE_LINK, .repository = {upstream, name}, .digest = &digest};

	assert_int_equal(index_write(scratch_index(scratch), &change, 1, &scratch->err), 0);
}

struct names {
	struct buf text;
	size_t left;
};

static bool take_name(void *arg, const char *name)
{
	struct names *names = arg;

	buf_printf(&names->text, "%s\n", name);
	return --names->left > 0;
}

static void expect_names(struct scratch *scratch, const char *upstream, const char *after, size_t count,
			 const char *wanted)
{
	struct names names = {.left = count};

	buf_append_text(&names.text, "");
	assert_int_equal(
		index_list_repositories(scratch_index(scratch), upstream, after, take_name, &names, &scratch->err), 0);
	assert_string_equal(names.text.data ? names.text.data : "", wanted);
	buf_dispose(&names.text);
}

static void index_lists_an_upstreams_repositories_in_order(void **state)
{
	struct scratch *scratch = *state;

	expect_names(scratch, "docker.io", "", 100, "");
	put_link(scratch, "docker.io", "library/redis");
	put_link(scratch, "docker.io", "library/alpine");
	put_link(scratch, "docker.io", "library/alpine-git");
	put_link(scratch, "docker.io", "library");
	put_link(scratch, "docker.io", "a");
	put_link(scratch, "docker.i", "before");
	put_link(scratch, "docker.iox", "behind");
	expect_names(scratch, "docker.io", "", 100, "a\nlibrary\nlibrary/alpine\nlibrary/alpine-git\nlibrary/redis\n");
	expect_names(scratch, "docker.io", "", 2, "a\nlibrary\n");
	expect_names(scratch, "docker.io", "library", 2, "library/alpine\nlibrary/alpine-git\n");
	expect_names(scratch, "docker.io", "library/alpine", 1, "library/alpine-git\n");
	expect_names(scratch, "docker.io", "library/b", 9, "library/redis\n");
	expect_names(scratch, "docker.io", "library/redis", 9, "");
	expect_names(scratch, "docker.io", "zzz", 9, "");
	expect_names(scratch, "docker.iox", "", 9, "behind\n");
	expect_names(scratch, "quay.io", "", 9, "");
}

static void index_lists_only_repositories_that_have_something(void **state)
{
	struct scratch *scratch = *state;
	struct index_tag tag = {.digest = scratch_digest("x", 1), .media_type = MANIFEST};
	struct index_change put = {
		.kind = INDEX_PUT_TAG, .repository = {"quay.io", "by/tag"}, .tag = "1", .tag_record = &tag};
	struct index_change drop = {.kind = INDEX_DELETE_TAG, .repository = {"quay.io", "by/tag"}, .tag = "1"};

	put_link(scratch, "quay.io", "by/link");
	assert_int_equal(index_write(scratch_index(scratch), &put, 1, &scratch->err), 0);
	expect_names(scratch, "quay.io", "", 9, "by/link\nby/tag\n");
	drop_link(scratch, "quay.io", "by/link");
	expect_names(scratch, "quay.io", "", 9, "by/tag\n");
	assert_int_equal(index_write(scratch_index(scratch), &drop, 1, &scratch->err), 0);
	expect_names(scratch, "quay.io", "", 9, "");
}

/* Names that no key has room for are listed in their place among the others. */
static void index_lists_long_names_in_their_place(void **state)
{
	struct scratch *scratch = *state;
	char upstream[REF_UPSTREAM_MAX + 1], b[REF_REPOSITORY_MAX + 1], d[REF_REPOSITORY_MAX + 1];
	char c[260], all[2048], rest[2048];

	memset(upstream, 'u', REF_UPSTREAM_MAX);
	upstream[REF_UPSTREAM_MAX] = '\0';
	memset(b, 'b', REF_REPOSITORY_MAX);
	memset(d, 'd', REF_REPOSITORY_MAX - 1);
	b[REF_REPOSITORY_MAX] = d[REF_REPOSITORY_MAX - 1] = '\0';
	memset(c, 'c', sizeof(c) - 1); /* just too long beside this upstream */
	c[sizeof(c) - 1] = '\0';
	put_link(scratch, upstream, d);
	put_link(scratch, upstream, "a");
	put_link(scratch, upstream, "cc");
	put_link(scratch, upstream, b);
	put_link(scratch, upstream, c);
	put_link(scratch, upstream, "e");
	put_link(scratch, "other", b);
	snprintf(all, sizeof(all), "a\n%s\ncc\n%s\n%s\ne\n", b, c, d);
	expect_names(scratch, upstream, "", 100, all);
	snprintf(rest, sizeof(rest), "%s\n%s\n", c, d);
	expect_names(scratch, upstream, "cc", 2, rest);
	snprintf(rest, sizeof(rest), "%s\ne\n", d);
	expect_names(scratch, upstream, c, 100, rest);
	expect_names(scratch, upstream, d, 100, "e\n");
	snprintf(rest, sizeof(rest), "%s\n", b);
	b[REF_REPOSITORY_MAX - 1] = 'a'; /* behind a name that is not there */
	expect_names(scratch, upstream, b, 1, rest);
}

static void index_keeps_lists_of_referrers(void **state)
{
	static const struct index_repository alpine = {"docker.io", "library/alpine"},
					     other = {"quay.io", "library/alpine"};
	struct scratch *scratch = *state;
	struct digest subject = scratch_digest("subject", 7), list = scratch_digest("list", 4), wide;
	struct index_tag record = {.digest = list, .size = 77, .fetched = 5, .checked = 6, .media_type = MANIFEST},
			 found;
	struct index_change change = {
		.kind = INDEX_PUT_REFERRERS, .repository = alpine, .digest = &subject, .tag_record = &record};
	struct index_change bad = change;

	assert_int_equal(index_get_referrers(scratch_index(scratch), &alpine, &subject, &found, NULL), ERR_NOT_FOUND);
	assert_int_equal(index_write(scratch_index(scratch), &change, 1, &scratch->err), 0);
	scratch_reopen(scratch);
	assert_int_equal(index_get_referrers(scratch_index(scratch), &alpine, &subject, &found, NULL), 0);
	assert_true(digest_equal(&found.digest, &list));
	assert_int_equal(found.size, 77);
	assert_int_equal(found.fetched, 5);
	assert_int_equal(found.checked, 6);
	assert_string_equal(found.media_type, MANIFEST);
	assert_int_equal(index_get_referrers(scratch_index(scratch), &other, &subject, &found, NULL), ERR_NOT_FOUND);
	assert_int_equal(index_get_referrers(scratch_index(scratch), &alpine, &list, &found, NULL), ERR_NOT_FOUND);
	/* They are no tags, and make no repository one that has something. */
	expect_names(scratch, "docker.io", "", 9, "");

	digest_of(DIGEST_SHA512, "subject", 7, &wide);
	change.digest = &wide;
	record.checked = 8;
	assert_int_equal(index_write(scratch_index(scratch), &change, 1, &scratch->err), 0);
	assert_int_equal(index_get_referrers(scratch_index(scratch), &alpine, &wide, &found, NULL), 0);
	assert_int_equal(found.checked, 8);
	record.digest.algorithm = 9;
	assert_int_equal(index_write(scratch_index(scratch), &bad, 1, &scratch->err), ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(index_lists_an_upstreams_repositories_in_order),
		scratch_test(index_lists_only_repositories_that_have_something),
		scratch_test(index_lists_long_names_in_their_place),
		scratch_test(index_keeps_lists_of_referrers),
	};
	return cmocka_run_group_tests_name("index_list", tests, NULL, NULL);
}
