/* SPDX-License-Identifier: Apache-2.0 */
#include "server/pull/page_cache.h"

#include "base/buf.h"
#include "base/clock.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#define ENTRY_BYTES 512 /* what an entry costs beside its texts, about */

struct entry {
	struct page page; /* first: holders have this */
	char *key;
	unsigned refs; /* atomic: the table's, one a holder */
	size_t bytes;
	UT_hash_handle hh;
};

struct page_cache {
	pthread_mutex_t lock;
	struct entry *entries; /* in the order of insertion: the head is the oldest */
	size_t bytes;
};

struct page_cache *page_cache_new(void)
{
	struct page_cache *cache = mem_alloc(sizeof(*cache));

	pthread_mutex_init(&cache->lock, NULL);
	return cache;
}

void page_release(struct page *page)
{
	struct entry *entry = (struct entry *)page;

	if (!entry || __atomic_sub_fetch(&entry->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	free(entry->key);
	free(entry->page.data);
	free(entry->page.next);
	free(entry);
}

/* The lock is held. */
static void drop(struct page_cache *cache, struct entry *entry)
{
	HASH_DEL(cache->entries, entry);
	cache->bytes -= entry->bytes;
	page_release(&entry->page);
}

void page_cache_free(struct page_cache *cache)
{
	if (!cache)
		return;
	while (cache->entries)
		drop(cache, cache->entries);
	pthread_mutex_destroy(&cache->lock);
	free(cache);
}

void page_cache_put(struct page_cache *cache, const char *key, const void *data, size_t len, const char *next)
{
	struct entry *entry, *old;
	size_t bytes = ENTRY_BYTES + strlen(key) + len + (next ? strlen(next) : 0);

	if (bytes > PAGE_CACHE_BYTES_MAX)
		return;
	entry = mem_alloc(sizeof(*entry));
	entry->page.data = mem_copy(data, len);
	entry->page.len = len;
	entry->page.next = mem_strdup(next);
	entry->page.fetched_ms = clock_ms();
	entry->key = mem_strdup(key);
	entry->refs = 1;
	entry->bytes = bytes;
	pthread_mutex_lock(&cache->lock);
	HASH_FIND_STR(cache->entries, key, old);
	if (old)
		drop(cache, old);
	while (cache->bytes + bytes > PAGE_CACHE_BYTES_MAX)
		drop(cache, cache->entries);
	HASH_ADD_KEYPTR(hh, cache->entries, entry->key, strlen(entry->key), entry);
	cache->bytes += bytes;
	pthread_mutex_unlock(&cache->lock);
}

struct page *page_cache_find(struct page_cache *cache, const char *key)
{
	struct entry *entry;

	pthread_mutex_lock(&cache->lock);
	HASH_FIND_STR(cache->entries, key, entry);
	if (entry)
		__atomic_add_fetch(&entry->refs, 1, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&cache->lock);
	return entry ? &entry->page : NULL;
}
