/* SPDX-License-Identifier: Apache-2.0 */
/* Paging of listings (distribution-spec, "Listing Tags"): what the client asks for, and where it goes on. */
#pragma once

#include "server/registry/visit.h"

#define PAGE_TEXT_MAX 512

struct page_request {
	struct pull_page page; /* its texts are below */
	char last[PAGE_TEXT_MAX];
	char token[PAGE_TEXT_MAX];
};

/* Reads n, last and next_page out of the request's query; nothing else of it goes upstream. False: the client was
 * answered that they are malformed. */
bool page_read(struct visit *visit, struct page_request *request);

/* Adds the Link to the page with this query, at `path`, which is ours and needs no escaping. The request's `ns` goes
 * along: it decides which registry the path means. */
void page_link(struct visit *visit, const char *path, const char *query);
