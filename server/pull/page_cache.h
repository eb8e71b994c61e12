/* SPDX-License-Identifier: Apache-2.0 */
/* Pages of listings as upstreams gave them, each under the key of the ask that fetched it. In memory alone, gone with
 * the process, and bounded: the oldest make room. Any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define PAGE_CACHE_BYTES_MAX ((size_t)16 << 20)

struct page_cache;

/* Never changes once it is made; belongs to all who hold a reference. */
struct page {
	char *data;
	size_t len;
	char *next;          /* the next page's query; NULL: this is the last */
	uint64_t fetched_ms; /* clock_ms() */
};

struct page_cache *page_cache_new(void);
void page_cache_free(struct page_cache *cache);

/* Copies what is given. A page that is larger than all room is not kept. */
void page_cache_put(struct page_cache *cache, const char *key, const void *data, size_t len, const char *next);
/* A reference, to be given back; NULL when it is not there. */
struct page *page_cache_find(struct page_cache *cache, const char *key);
/* Takes NULL. */
void page_release(struct page *page);
