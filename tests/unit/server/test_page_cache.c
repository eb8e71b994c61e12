/* SPDX-License-Identifier: Apache-2.0 */
#include "server/pull/page_cache.h"

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

static void page_cache_gives_back_what_was_put(void **state)
{
	struct page_cache *cache = page_cache_new();
	struct page *page;

	(void)state;
	assert_null(page_cache_find(cache, "a"));
	page_cache_put(cache, "a", "[1]", 3, "n=1&last=1");
	page_cache_put(cache, "b", "[2]xyz", 3, NULL);
	page = page_cache_find(cache, "a");
	assert_int_equal(page->len, 3);
	assert_string_equal(page->data, "[1]");
	assert_string_equal(page->next, "n=1&last=1");
	page_release(page);
	page = page_cache_find(cache, "b");
	assert_string_equal(page->data, "[2]");
	assert_null(page->next);
	page_release(page);
	page_release(NULL);
	page_cache_put(cache, "c", "x\0y", 3, NULL);
	page = page_cache_find(cache, "c");
	assert_memory_equal(page->data, "x\0y", 4); /* what is a string ends as one */
	page_release(page);
	page_cache_free(cache);
	page_cache_free(NULL);
}

static void page_cache_newer_answer_replaces_the_older_for_those_who_come(void **state)
{
	struct page_cache *cache = page_cache_new();
	struct page *first, *second;

	(void)state;
	page_cache_put(cache, "a", "1", 1, NULL);
	first = page_cache_find(cache, "a");
	page_cache_put(cache, "a", "2", 1, NULL);
	second = page_cache_find(cache, "a");
	assert_string_equal(first->data, "1");
	assert_string_equal(second->data, "2");
	page_cache_free(cache); /* holders keep what they have */
	assert_string_equal(second->data, "2");
	page_release(first);
	page_release(second);
}

static void page_cache_oldest_make_room(void **state)
{
	enum { COUNT = 40 };
	struct page_cache *cache = page_cache_new();
	size_t size = PAGE_CACHE_BYTES_MAX / 16, held = 0;
	_cleanup_free_ char *data = mem_alloc(PAGE_CACHE_BYTES_MAX + 1);
	struct page *page;

	(void)state;
	memset(data, 'x', PAGE_CACHE_BYTES_MAX);
	for (unsigned i = 0; i < COUNT; i++) {
		char key[16];

		snprintf(key, sizeof(key), "%u", i);
		page_cache_put(cache, key, data, size, NULL);
	}
	for (unsigned i = 0; i < COUNT; i++) {
		char key[16];

		snprintf(key, sizeof(key), "%u", i);
		page = page_cache_find(cache, key);
		held += page ? page->len : 0;
		assert_true((page != NULL) == (i >= COUNT - 15));
		page_release(page);
	}
	assert_in_range(held, 1, PAGE_CACHE_BYTES_MAX);
	page_cache_put(cache, "too large", data, PAGE_CACHE_BYTES_MAX, NULL);
	assert_null(page_cache_find(cache, "too large"));
	page = page_cache_find(cache, "39");
	assert_non_null(page);
	page_release(page);
	page_cache_free(cache);
}

static void *put_and_find(void *arg)
{
	for (unsigned i = 0; i < 3000; i++) {
		struct page *page;
		char key[16];

		snprintf(key, sizeof(key), "%u", i % 7);
		page_cache_put(arg, key, key, strlen(key), key);
		page = page_cache_find(arg, key);
		assert_string_equal(page->data, page->next);
		page_release(page);
	}
	return NULL;
}

static void page_cache_may_be_used_by_many_threads(void **state)
{
	struct page_cache *cache = page_cache_new();
	pthread_t threads[4];

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, put_and_find, cache);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	page_cache_free(cache);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(page_cache_gives_back_what_was_put),
		cmocka_unit_test(page_cache_newer_answer_replaces_the_older_for_those_who_come),
		cmocka_unit_test(page_cache_oldest_make_room),
		cmocka_unit_test(page_cache_may_be_used_by_many_threads),
	};
	return cmocka_run_group_tests_name("page_cache", tests, NULL, NULL);
}
