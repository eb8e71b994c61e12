/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bundle: the images of a plan as one tar archive. Its bytes are known before the first one is read: the same plan
 * gives the same bytes, the length goes out in front, and reading may begin anywhere. Nothing but the texts is held in
 * memory. Who receives it may sign it, or make a directory of it.
 *
 *   larder-bundle.json  what it carries, and what it leaves out; the first file, so that a reader can judge all others
 *   larder-bundle.sig   the signature over it, where the receiver has put one
 *   oci-layout, index.json, blobs/ALGORITHM/HEX   or, of a docker archive, manifest.json and blobs/
 *
 * One thread at a time. Reads the disk.
 */
#pragma once

#include "server/bundle/plan.h"

#include <sys/types.h>

struct bundle;

/* Takes the plan over, also when it fails. ERR_NOT_FOUND when something is missing in it (the text names the first),
 * ERR_LIMIT, ERR_INVALID. `options` are those that it was made with. */
int bundle_make(struct store *store, struct plan *plan, const struct plan_options *options, struct bundle **out,
		struct err *err);
/* Takes NULL. */
void bundle_free(struct bundle *bundle);

/* Leaves the blobs to a reader that takes them out of the store itself and puts them where they belong, in the order
 * of what the bundle says of itself. Before anything is read. */
void bundle_leave_blobs(struct bundle *bundle);

/* The archive. */
uint64_t bundle_size(struct bundle *bundle);
/* Up to `max` bytes from `position`: the count, 0 at the end, or ERR_IO, ERR_NOT_FOUND (a blob was evicted meanwhile).
 */
ssize_t bundle_read(struct bundle *bundle, uint64_t position, void *data, size_t max, struct err *err);
