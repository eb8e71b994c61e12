/* SPDX-License-Identifier: Apache-2.0 */
/* Pages of tags where the upstream does not do pages: docker's registry before 3.0 answers with all of them, whatever
 * was asked for. Pure functions. */
#pragma once

#include "base/buf.h"
#include "server/pull/pull.h"

#include <jansson.h>

/* Makes the page that was asked for out of a list without a next page, when it is plainly not that page: when it is
 * longer, or begins before it. `document` is the upstream's whole answer, which is changed. True: *body has the page,
 * and *next its next page's query, for the caller to free, or NULL. False: the list is what was asked for. */
bool tags_page_cut(json_t *document, const struct pull_page *page, struct buf *body, char **next);

/* The query by which a page is asked for; the caller frees. */
char *tags_page_query(const struct pull_page *page);
