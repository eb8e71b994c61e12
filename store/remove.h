/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Removing blobs, for eviction and on request. A blob's file goes first, then the index forgets it, a batch in one
 * commit, from the root down: after a crash between the two the index names files that are missing, which lookups and
 * the sweep notice, and never the other way round, and what is left of an image is below roots of its own. On a full
 * disk the index could not be written before a file went. What is being sent stays readable through its descriptor.
 *
 * One remover works at a time; others wait.
 */
#pragma once

#include "base/digest.h"
#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

struct store;

/* Removes the file of a blob, and whatever else is kept of its content beside it: the one place where that goes. Gone
 * already is success. ERR_IO. The index is not told. */
int remove_blob_files(struct store *store, const struct digest *digest, struct err *err);

/* What went is added up; NULL where nobody asks. */
struct removed {
	uint64_t blobs;
	uint64_t bytes;
};

/* Removes blobs, and all that names them. Blocks. ERR_IO, ERR_NO_SPACE. */
int remove_blobs(struct store *store, const struct digest *digests, size_t count, struct removed *removed,
		 struct err *err);

/* Removes a root and all that only it needs. ERR_NOT_FOUND when it is not held. */
int remove_image(struct store *store, const struct digest *root, struct removed *removed, struct err *err);
