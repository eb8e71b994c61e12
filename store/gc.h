/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cleaning up on request: files that nobody knows or wants, blobs that nothing names, then, where the store is above
 * its limits (evict_set_limits()), the least recently used images, as eviction would, and names of what is not held.
 * Says what goes and why; as a dry run it only says.
 */
#pragma once

#include "base/digest.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store;

#define GC_ORPHAN_AGE_S (24 * 3600) /* what nothing names goes when it was not used for so long */

enum gc_reason {
	GC_ORPHAN,              /* nothing names it */
	GC_LEAST_RECENTLY_USED, /* and the store is above its limits */
	GC_FETCHED_AGAIN,       /* it could be, which older ones of about its age could not (choose.h); likewise */
};

/* What goes, borrowed during the call. */
struct gc_item {
	enum gc_reason reason;
	struct digest digest;
	const char *name; /* "docker.io/library/alpine:3.20", or without a tag when it has none; "" for an orphan */
	uint64_t bytes;   /* with all that goes along … */
	uint64_t blobs;   /* … and how many that are */
	int64_t last_use; /* wall seconds */
};

struct gc_options {
	bool dry_run;
	void (*each)(void *arg, const struct gc_item *item); /* NULL: nobody asks. May block */
	/* Asked now and then; false: end early. NULL: go on. */
	bool (*go_on)(void *arg);
	void *arg;
};

struct gc_result {
	uint64_t images; /* that went, or would, as the next two */
	uint64_t blobs;
	uint64_t bytes;
	uint64_t leftover_bytes; /* of partials and quarantined files */
	uint64_t adopted;        /* files that the index did not know, and does now */
	uint64_t forgotten;      /* blobs that had no file */
	uint64_t excess;         /* by how much the store is above its limits after that */
};

/* Blocks. Any thread. ERR_IO, ERR_NO_SPACE; ERR_CANCELLED when go_on() said so. */
int gc_run(struct store *store, const struct gc_options *options, struct gc_result *result, struct err *err);

const char *gc_reason_text(enum gc_reason reason);
