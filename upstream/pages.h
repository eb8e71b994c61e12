/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A listing that comes in pages: tags and referrers of a repository (OCI distribution-spec, "Listing Tags", "Listing
 * Referrers"), or JSON of an API beside the registry's. One page is asked for after the other, each as a registry call
 * of its own, and handed over whole. The next is where the Link header says (RFC 8288), on the same registry alone, or
 * where the receiver says. Pages and their bytes are bounded, as a server may go on for ever.
 *
 * Loop thread only.
 */
#pragma once

#include "upstream/registry.h"

#define PAGES_MAX           1000
#define PAGES_BYTES_DEFAULT ((size_t)8 << 20)

struct pages;

struct pages_query {
	const char *repository; /* "": an API beside the registry's, asked as nobody */
	const char *path;       /* of the first page, with its query: "/v2/team/app/tags/list?n=1000" */
	const char *accept;     /* NULL: none */
	size_t page_bytes_max;  /* 0: PAGES_BYTES_DEFAULT */
	unsigned pages_max;     /* 0: PAGES_MAX */
	enum pace_priority priority;
};

struct pages_sink {
	/* A whole page, with a NUL behind it. `*next` is the next page's path, or NULL: the receiver may free it and
	 * put another, allocated, in its place. Negative ends the listing with that code, and *err tells why. */
	int (*on_page)(void *arg, const char *data, size_t len, char **next, struct err *err);
	/* Last. `err` is NULL when all pages came; ERR_LIMIT when there were more than may be, or one was too large;
	 * else as registry_sink's. */
	void (*on_done)(void *arg, const struct err *err);
};

/* Strings are copied; `sink` lives until on_done(), and the listing's memory until that returns. */
struct pages *pages_start(struct registry *registry, const struct pages_query *query, const struct pages_sink *sink,
			  void *arg);
/* on_done() follows, with ERR_CANCELLED unless all was told already. Not after on_done(). */
void pages_cancel(struct pages *pages);
