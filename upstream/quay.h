/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Quay's own API, as far as listing an organisation needs it: its public repositories with the day they last changed,
 * and their tags, which the registry API tells without a time. Answers are a stranger's JSON: types are checked, and
 * pages, their bytes and the names in them are bounded.
 *
 * Loop thread only. Each listing ends with exactly one on_done().
 */
#pragma once

#include "upstream/registry.h"

#include <stdint.h>

#define QUAY_PAGE_BYTES_MAX ((size_t)4 << 20)
#define QUAY_NEXT_MAX       4096 /* of the text that stands for the next page */

struct quay_listing;

struct quay_repository {
	const char *name;        /* without the organisation */
	int64_t last_modified_s; /* since 1970; 0 when it never was, or the server does not say */
};

struct quay_tag {
	const char *name;
	const char *digest; /* of its manifest; NULL when the server does not say */
	int64_t start_s;    /* when the tag came to mean it */
};

struct quay_sink {
	/* One or the other, for each; what is handed over is borrowed. Negative ends the listing with that code. */
	int (*on_repository)(void *arg, const struct quay_repository *repository);
	int (*on_tag)(void *arg, const struct quay_tag *tag);
	/* Last. `err` is NULL when everything was listed; ERR_NOT_FOUND where there is no such organisation, repository
	 * or tag; ERR_UPSTREAM for an answer that makes no sense; else as registry_sink's. */
	void (*on_done)(void *arg, const struct err *err);
};

/* The image repositories of an organisation that changed at `since_s` or later (0: all). */
struct quay_listing *quay_list_repositories(struct registry *registry, const char *organisation, int64_t since_s,
					    enum pace_priority priority, const struct quay_sink *sink, void *arg);
/* The tags of "ORGANISATION/NAME" that are there now; with `tag`, that one alone. */
struct quay_listing *quay_list_tags(struct registry *registry, const char *repository, const char *tag,
				    enum pace_priority priority, const struct quay_sink *sink, void *arg);
/* on_done() follows, as with pages_cancel(). Not after on_done(). */
void quay_cancel(struct quay_listing *listing);
