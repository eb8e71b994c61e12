/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Forgetting on request: a tag, a repository, a blob; the next pull fetches anew. With a tag goes the image that it
 * meant, and with a repository all its images, unless something else still names them or needs a part. What is pinned,
 * or lies below what is, is refused unless `force` is given; pins themselves stay and hold again what comes.
 *
 * Any thread. Blocks. What is being sent stays readable to its end.
 */
#pragma once

#include "store/index.h"

struct store;

struct forgotten {
	uint64_t bytes; /* freed */
	uint64_t tags;  /* names that went, of tags … */
	uint64_t blobs; /* … and how many blobs */
};

/* ERR_NOT_FOUND: nothing such is known. ERR_BUSY: a pin keeps it (its name is in the text). ERR_IO, ERR_NO_SPACE. */
int forget_tag(struct store *store, const struct index_repository *repository, const char *tag, bool force,
	       struct forgotten *forgotten, struct err *err);
/* A repository's link to a manifest or blob by digest; with it the content, where nothing else names or needs it. */
int forget_in_repository(struct store *store, const struct index_repository *repository, const struct digest *digest,
			 bool force, struct forgotten *forgotten, struct err *err);
int forget_repository(struct store *store, const struct index_repository *repository, bool force,
		      struct forgotten *forgotten, struct err *err);
/* In all repositories, whoever needs it. A manifest goes with all that only it needs. */
int forget_digest(struct store *store, const struct digest *digest, bool force, struct forgotten *forgotten,
		  struct err *err);
