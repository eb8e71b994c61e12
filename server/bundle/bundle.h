/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bundle: the images of a plan as one tar archive, or as a directory. Its bytes are known before the first one is
 * written: the same plan gives the same bytes, the length goes out in front, and reading may begin anywhere. Blobs go
 * from file to file in the kernel, by reflink where the file system can; nothing but the texts is held in memory.
 *
 *   larder-bundle.json  what it carries, and what it leaves out; the first file, so that a reader can judge all others
 *   larder-bundle.sig   the signature over it, where there is a key
 *   oci-layout, index.json, blobs/ALGORITHM/HEX   or, of a docker archive, manifest.json and blobs/
 *
 * One thread at a time. Reads the disk.
 */
#pragma once

#include "server/bundle/plan.h"
#include "server/bundle/sign.h"

#include <sys/types.h>

struct bundle;

/* Takes the plan over, also when it fails. ERR_NOT_FOUND when something is missing in it (the text names the first),
 * ERR_LIMIT, ERR_INVALID. `options` are those that it was made with. */
int bundle_make(struct store *store, struct plan *plan, const struct plan_options *options, struct bundle **out,
		struct err *err);
/* Takes NULL. */
void bundle_free(struct bundle *bundle);

/* What the bundle says of itself: what is to be signed. Borrowed. */
const char *bundle_self(const struct bundle *bundle, size_t *len);
/* Before anything is read. */
void bundle_set_signature(struct bundle *bundle, const uint8_t signature[SIGN_SIGNATURE_BYTES]);

/* Leaves the blobs to a reader that takes them out of the store itself and puts them where they belong, in the order
 * of what the bundle says of itself. Before anything is read. */
void bundle_leave_blobs(struct bundle *bundle);

/* Borrowed, for those who tell what it carries. */
const struct plan *bundle_plan(const struct bundle *bundle);

/* The archive. */
uint64_t bundle_size(struct bundle *bundle);
/* Up to `max` bytes from `position`: the count, 0 at the end, or ERR_IO, ERR_NOT_FOUND (a blob was evicted meanwhile).
 */
ssize_t bundle_read(struct bundle *bundle, uint64_t position, void *data, size_t max, struct err *err);
/* Writes all of it to a file, a pipe or a socket. Blocks. ERR_IO, ERR_NO_SPACE. */
int bundle_write(struct bundle *bundle, int fd, struct err *err);

/* Writes it as a directory, which is created, or must be empty. Blocks. ERR_INVALID, ERR_IO, ERR_NO_SPACE. */
int bundle_write_directory(struct bundle *bundle, const char *path, struct err *err);
