/* SPDX-License-Identifier: Apache-2.0 */
#include "server/pull/pages.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void pages_gives_back_what_was_put(void **state)
{
	struct pages *pages = pages_new();
	struct page *page;

	(void)state;
	assert_null(pages_find(pages, "a"));
	pages_put(pages, "a", "[1]", 3, "n=1&last=1");
	pages_put(pages, "b", "[2]xyz", 3, NULL);
	page = pages_find(pages, "a");
	assert_int_equal(page->len, 3);
	assert_string_equal(page->data, "[1]");
	assert_string_equal(page->next, "n=1&last=1");
	page_release(page);
	page = pages_find(pages, "b");
	assert_string_equal(page->data, "[2]");
	assert_null(page->next);
	page_release(page);
	page_release(NULL);
	pages_free(pages);
	pages_free(NULL);
}

static void pages_newer_answer_replaces_the_older_for_those_who_come(void **state)
{
	struct pages *pages = pages_new();
	struct page *first, *second;

	(void)state;
	pages_put(pages, "a", "1", 1, NULL);
	first = pages_find(pages, "a");
	pages_put(pages, "a", "2", 1, NULL);
	second = pages_find(pages, "a");
	assert_string_equal(first->data, "1");
	assert_string_equal(second->data, "2");
	pages_free(pages); /* holders keep what they have */
	assert_string_equal(second->data, "2");
	page_release(first);
	page_release(second);
}

static void pages_oldest_make_room(void **state)
{
	enum { COUNT = 40 };
	struct pages *pages = pages_new();
	size_t size = PAGES_BYTES_MAX / 16, held = 0;
	_cleanup_free_ char *data = mem_alloc(PAGES_BYTES_MAX + 1);
	struct page *page;

	(void)state;
	memset(data, 'x', PAGES_BYTES_MAX);
	for (unsigned i = 0; i < COUNT; i++) {
		char key[16];

		snprintf(key, sizeof(key), "%u", i);
		pages_put(pages, key, data, size, NULL);
	}
	for (unsigned i = 0; i < COUNT; i++) {
		char key[16];

		snprintf(key, sizeof(key), "%u", i);
		page = pages_find(pages, key);
		held += page ? page->len : 0;
		assert_true((page != NULL) == (i >= COUNT - 15));
		page_release(page);
	}
	assert_in_range(held, 1, PAGES_BYTES_MAX);
	pages_put(pages, "too large", data, PAGES_BYTES_MAX, NULL);
	assert_null(pages_find(pages, "too large"));
	page = pages_find(pages, "39");
	assert_non_null(page);
	page_release(page);
	pages_free(pages);
}

static void *put_and_find(void *arg)
{
	for (unsigned i = 0; i < 3000; i++) {
		struct page *page;
		char key[16];

		snprintf(key, sizeof(key), "%u", i % 7);
		pages_put(arg, key, key, strlen(key), key);
		page = pages_find(arg, key);
		assert_string_equal(page->data, page->next);
		page_release(page);
	}
	return NULL;
}

static void pages_may_be_used_by_many_threads(void **state)
{
	struct pages *pages = pages_new();
	pthread_t threads[4];

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, put_and_find, pages);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	pages_free(pages);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_gives_back_what_was_put),
		cmocka_unit_test(pages_newer_answer_replaces_the_older_for_those_who_come),
		cmocka_unit_test(pages_oldest_make_room),
		cmocka_unit_test(pages_may_be_used_by_many_threads),
	};
	return cmocka_run_group_tests_name("pages", tests, NULL, NULL);
}
