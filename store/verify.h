/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Re-hashing what is stored. A blob whose content is not its digest's any more, or cannot be read, goes to quarantine,
 * and the index forgets that it is held, but not who wants it: the next pull fetches it, and whoever is told may do so
 * at once (server/pull/heal.h). What is read is read from the disk and leaves the page cache as it is, where the file
 * system can do that.
 *
 * On request over everything, or in the background, a little at a time: one pass over all blobs every now and then, by
 * a thread of low priority, from where the last one was when larder ended.
 */
#pragma once

#include "base/digest.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct store;

/* What was found, borrowed during the call. */
struct verify_item {
	struct digest digest;
	uint64_t size;
	int code; /* ERR_DIGEST: damaged; ERR_IO: unreadable; both are in quarantine, or could not be put there */
	const char *why; /* in words */
};

/* When the next byte is due. Zeroed at first. */
struct verify_pace {
	double due_ms;
};

struct verify_options {
	uint64_t bytes_per_s;     /* 0: as fast as it goes */
	struct verify_pace *pace; /* so that several calls keep to the rate together; NULL: this one by itself */
	void (*each)(void *arg, const struct verify_item *item); /* NULL: nobody asks. May block */
	/* Asked between blobs and now and then within one; false: end early. NULL: go on. */
	bool (*go_on)(void *arg);
	void *arg;
};

struct verify_result {
	uint64_t blobs, bytes; /* that were read; each may be looked at while it runs (count_read()) */
	uint64_t damaged;      /* of these blobs */
};

/* Goes over all blobs once. Blocks. ERR_IO (the index), ERR_CANCELLED when go_on() said so. What is damaged is no
 * error. */
int verify_run(struct store *store, const struct verify_options *options, struct verify_result *result,
	       struct err *err);

/* One blob. 0: it is right. ERR_NOT_FOUND: it is not held (any more). ERR_DIGEST, ERR_IO: it is in quarantine now.
 * ERR_CANCELLED. Blocks. */
int verify_blob(struct store *store, const struct digest *digest, const struct verify_options *options,
		struct verify_result *result, struct err *err);

/* Calls `each`, which may block, for every digest that a repository names and that is not held: what an earlier look
 * found damaged. Since a name alone is also what HEAD leaves behind, either a manifest that is held references it, or
 * it is in quarantine, as an image's own manifest would be. Until it returns false. Blocks. */
int verify_list_lost(struct store *store, bool (*each)(void *arg, const struct digest *digest), void *arg,
		     struct err *err);

/* In the background. */

struct scrub_options {
	uint64_t bytes_per_s; /* not 0 */
	uint64_t every_ms;    /* from the beginning of one pass to that of the next */
	/* Told of each blob that was quarantined, on the scrub's thread; it may block, but must come back soon once
	 * scrub_stop() was called. NULL: nobody is. */
	void (*each)(void *arg, const struct verify_item *item);
	void *arg;
};

/* Starts the thread. Errors are the system's. */
int scrub_start(struct store *store, const struct scrub_options *options, struct err *err);
/* Ends it; store_close() does it too. Not running is success. */
void scrub_stop(struct store *store);
/* Asks for one blob to be looked at soon, since serving it went wrong; one that is held no more is told of as it is.
 * Any thread; does not block. */
void scrub_suspect(struct store *store, const struct digest *digest);
