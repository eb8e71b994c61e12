/* SPDX-License-Identifier: Apache-2.0 */
#include "server/pull/pages.h"

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

struct pages {
	pthread_mutex_t lock;
	struct entry *entries; /* in the order of insertion: the head is the oldest */
	size_t bytes;
};

struct pages *pages_new(void)
{
	struct pages *pages = mem_alloc(sizeof(*pages));

	pthread_mutex_init(&pages->lock, NULL);
	return pages;
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
static void drop(struct pages *pages, struct entry *entry)
{
	HASH_DEL(pages->entries, entry);
	pages->bytes -= entry->bytes;
	page_release(&entry->page);
}

void pages_free(struct pages *pages)
{
	if (!pages)
		return;
	while (pages->entries)
		drop(pages, pages->entries);
	pthread_mutex_destroy(&pages->lock);
	free(pages);
}

void pages_put(struct pages *pages, const char *key, const void *data, size_t len, const char *next)
{
	struct entry *entry, *old;
	size_t bytes = ENTRY_BYTES + strlen(key) + len + (next ? strlen(next) : 0);

	if (bytes > PAGES_BYTES_MAX)
		return;
	entry = mem_alloc(sizeof(*entry));
	entry->page.data = mem_strndup(data, len);
	entry->page.len = len;
	entry->page.next = mem_strdup(next);
	entry->page.fetched_ms = clock_ms();
	entry->key = mem_strdup(key);
	entry->refs = 1;
	entry->bytes = bytes;
	pthread_mutex_lock(&pages->lock);
	HASH_FIND_STR(pages->entries, key, old);
	if (old)
		drop(pages, old);
	while (pages->bytes + bytes > PAGES_BYTES_MAX)
		drop(pages, pages->entries);
	HASH_ADD_KEYPTR(hh, pages->entries, entry->key, strlen(entry->key), entry);
	pages->bytes += bytes;
	pthread_mutex_unlock(&pages->lock);
}

struct page *pages_find(struct pages *pages, const char *key)
{
	struct entry *entry;

	pthread_mutex_lock(&pages->lock);
	HASH_FIND_STR(pages->entries, key, entry);
	if (entry)
		__atomic_add_fetch(&entry->refs, 1, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&pages->lock);
	return entry ? &entry->page : NULL;
}
