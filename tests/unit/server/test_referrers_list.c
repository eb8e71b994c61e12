/* SPDX-License-Identifier: Apache-2.0 */
#include "server/pull/referrers_list.h"

#include "base/cleanup.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define HEX   "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define INDEX "{\"schemaVersion\":2,\"mediaType\":\"" REFERRERS_TYPE "\",\"manifests\":["

struct talk {
	struct referrers_list *list;
	struct ask_result result;
	struct err err;
};

static struct talk talk_new(void)
{
	struct digest subject;

	assert_int_equal(digest_parse("sha256:" HEX, &subject), 0);
	return (struct talk){.list = referrers_list_new(&subject)};
}

static void talk_end(struct talk *talk)
{
	referrers_list_free(talk->list);
	buf_dispose(&talk->result.body);
}

static int answer(struct talk *talk, const char *type, const char *body, const char *next)
{
	buf_clear(&talk->result.body);
	buf_append_text(&talk->result.body, body);
	snprintf(talk->result.media_type, sizeof(talk->result.media_type), "%s", type);
	talk->result.next = (char *)(uintptr_t)next;
	talk->err = (struct err){0};
	return referrers_list_take(talk->list, &talk->result, &talk->err);
}

static int failure(struct talk *talk, int code)
{
	err_set(&talk->err, code, "as it goes");
	return referrers_list_take(talk->list, &talk->result, &talk->err);
}

static void expect_asked(const struct talk *talk, enum registry_kind kind, const char *reference)
{
	assert_int_equal(referrers_list_kind(talk->list), kind);
	assert_string_equal(referrers_list_reference(talk->list), reference);
}

static void expect_written(struct talk *talk, const char *wanted)
{
	assert_int_equal(referrers_list_write(talk->list, &talk->result.body, &talk->err), 0);
	assert_string_equal(talk->result.body.data, wanted);
}

static void referrers_in_one_page_stay_as_they_came(void **state)
{
	struct talk talk = talk_new();

	(void)state;
	expect_asked(&talk, REGISTRY_REFERRERS, "sha256:" HEX);
	assert_int_equal(answer(&talk, REFERRERS_TYPE, "{ \"manifests\": [ {} ], \"x\": 1 }", NULL), 0);
	assert_false(referrers_list_is_empty(talk.list));
	expect_written(&talk, "{ \"manifests\": [ {} ], \"x\": 1 }");
	talk_end(&talk);
}

static void referrers_of_many_pages_become_one_list(void **state)
{
	struct talk talk = talk_new();

	(void)state;
	assert_int_equal(answer(&talk, REFERRERS_TYPE ";charset=utf-8", INDEX "{\"size\":1}]}", "http://r/x?page=2"),
			 ERR_AGAIN);
	expect_asked(&talk, REGISTRY_REFERRERS, "sha256:" HEX "?page=2");
	assert_int_equal(answer(&talk, REFERRERS_TYPE, INDEX "]}", "http://r/x?page=3&n=1"), ERR_AGAIN);
	expect_asked(&talk, REGISTRY_REFERRERS, "sha256:" HEX "?page=3&n=1");
	assert_int_equal(answer(&talk, REFERRERS_TYPE, "{\"manifests\":[{\"size\":2},{\"size\":3}]}", NULL), 0);
	expect_written(&talk, INDEX "{\"size\":1},{\"size\":2},{\"size\":3}]}");
	talk_end(&talk);
}

static void referrers_without_an_api_are_what_the_tag_says(void **state)
{
	struct talk talk = talk_new();

	(void)state;
	assert_int_equal(failure(&talk, ERR_NOT_FOUND), ERR_AGAIN);
	assert_int_equal(talk.err.code, 0);
	expect_asked(&talk, REGISTRY_MANIFEST, "sha256-" HEX);
	assert_int_equal(answer(&talk, REFERRERS_TYPE, INDEX "{\"size\":1}]}", NULL), 0);
	assert_false(referrers_list_is_empty(talk.list));
	talk_end(&talk);

	talk = talk_new();
	assert_int_equal(answer(&talk, "text/html", "<html>", NULL), ERR_AGAIN);
	expect_asked(&talk, REGISTRY_MANIFEST, "sha256-" HEX);
	assert_int_equal(failure(&talk, ERR_NOT_FOUND), 0);
	assert_int_equal(talk.err.code, 0);
	assert_true(referrers_list_is_empty(talk.list));
	expect_written(&talk, INDEX "]}");
	talk_end(&talk);
}

static void referrers_failure_is_never_an_empty_list(void **state)
{
	static const int codes[] = {ERR_UPSTREAM, ERR_DENIED, ERR_RATE, ERR_CANCELLED, ERR_LIMIT};
	static const char *const bodies[] = {
		"", "{}", "[]", "{\"manifests\":{}}", "{\"manifests\":[1]}", "{\"manifests\":[", "<html>"};
	struct talk talk;

	(void)state;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		talk = talk_new();
		assert_int_equal(failure(&talk, codes[i]), codes[i]);
		talk_end(&talk);
		talk = talk_new();
		assert_int_equal(failure(&talk, ERR_NOT_FOUND), ERR_AGAIN);
		assert_int_equal(failure(&talk, codes[i]), codes[i]);
		talk_end(&talk);
	}
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		talk = talk_new();
		assert_int_equal(answer(&talk, REFERRERS_TYPE, bodies[i], NULL), ERR_UPSTREAM);
		assert_int_equal(talk.err.code, ERR_UPSTREAM);
		talk_end(&talk);
	}
	talk = talk_new();
	assert_int_equal(answer(&talk, REFERRERS_TYPE, INDEX "]}", "http://r/x?page=2"), ERR_AGAIN);
	assert_int_equal(failure(&talk, ERR_NOT_FOUND), ERR_UPSTREAM);
	talk_end(&talk);
}

static void referrers_without_end_are_given_up(void **state)
{
	struct talk talk = talk_new();
	_cleanup_free_ char *large = mem_alloc(PULL_MANIFEST_MAX);

	(void)state;
	for (unsigned i = 1; i < REFERRERS_PAGES_MAX; i++)
		assert_int_equal(answer(&talk, REFERRERS_TYPE, INDEX "]}", "http://r/x?page=2"), ERR_AGAIN);
	assert_int_equal(answer(&talk, REFERRERS_TYPE, INDEX "]}", "http://r/x?page=2"), ERR_LIMIT);
	talk_end(&talk);

	talk = talk_new();
	memset(large, ' ', PULL_MANIFEST_MAX - 1);
	for (size_t i = 0; i < strlen(INDEX "]}"); i++)
		large[i] = (INDEX "]}")[i];
	assert_int_equal(answer(&talk, REFERRERS_TYPE, large, "http://r/x?page=2"), ERR_AGAIN);
	assert_int_equal(answer(&talk, REFERRERS_TYPE, INDEX "]}", NULL), ERR_LIMIT);
	talk_end(&talk);

	talk = talk_new();
	assert_int_equal(answer(&talk, REFERRERS_TYPE, INDEX "]}", ""), ERR_UPSTREAM);
	talk_end(&talk);
}

static void referrers_are_filtered_by_type(void **state)
{
	static const char index[] = INDEX "{\"artifactType\":\"a/b\",\"size\":1},{\"size\":2},"
					  "{\"artifactType\":\"a/b+c\",\"size\":3},{\"artifactType\":7}]}";
	_cleanup_free_ char *one = referrers_filter(index, strlen(index), "a/b+c");
	_cleanup_free_ char *none = referrers_filter(index, strlen(index), "a/c");
	_cleanup_free_ char *null = referrers_filter("{\"manifests\":null}", 18, "a/c");

	(void)state;
	assert_string_equal(one, INDEX "{\"artifactType\":\"a/b+c\",\"size\":3}]}");
	assert_string_equal(none, INDEX "]}");
	assert_string_equal(null, INDEX "]}");
	assert_null(referrers_filter("<html>", 6, "a/b"));
}

static void referrers_tag_fits_a_tag(void **state)
{
	char tag[REFERRERS_TAG_MAX];
	struct digest digest;

	(void)state;
	digest_of(DIGEST_SHA256, "", 0, &digest);
	referrers_tag(&digest, "", tag);
	assert_string_equal(tag, "sha256-" HEX);
	digest_of(DIGEST_SHA512, "", 0, &digest);
	referrers_tag(&digest, "", tag);
	assert_string_equal(tag, "sha512-cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce");
	assert_true(ref_tag_valid(tag, strlen(tag)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(referrers_in_one_page_stay_as_they_came),
		cmocka_unit_test(referrers_of_many_pages_become_one_list),
		cmocka_unit_test(referrers_without_an_api_are_what_the_tag_says),
		cmocka_unit_test(referrers_failure_is_never_an_empty_list),
		cmocka_unit_test(referrers_without_end_are_given_up),
		cmocka_unit_test(referrers_are_filtered_by_type),
		cmocka_unit_test(referrers_tag_fits_a_tag),
	};
	return cmocka_run_group_tests_name("referrers_list", tests, NULL, NULL);
}
