/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store: bytes on disk, facts about them in an index.
 *
 *   STORE/VERSION              format number
 *   STORE/lock                 held (flock) while a larder has the store open
 *   STORE/index/               LMDB, see index.h
 *   STORE/blobs/sha256/ab/hex  published blobs: read-only, named by their digest, complete and verified
 *   STORE/layers/sha256-hex    what is in a layer, see layer_file.h
 *   STORE/partial/sha256-hex   what flights have so far, see ingest.h
 *   STORE/quarantine/          what failed its digest
 *
 * A blob's life: an ingest writes its partial, the hash follows the contiguous prefix, one rename after fsync publishes
 * it, and then the index learns of it. A crash between the two leaves a published file that the index does not know:
 * store_find_blob() notices and mends that. Nothing here touches the network, and nothing here knows who asks.
 *
 * All functions may be called from any thread. Those that can block on the disk for long say so.
 */
#pragma once

#include "base/digest.h"
#include "base/err.h"

#include <stdint.h>

#define STORE_FORMAT_VERSION 2

struct store;
struct index;

struct store_options {
	const char *path; /* created with mode 0750 when absent */
};

/* Makes the store's directory, and what is missing above it, as store_open() does. ERR_IO, ERR_NO_SPACE. */
int store_make_directory(const char *path, struct err *err);

/*
 * Opens the store and takes its lock. Blocks. Errors, with a text that says what to do: ERR_BUSY (another process holds
 * it), ERR_UNSUPPORTED (a newer format), ERR_INVALID (VERSION is no number), ERR_NO_SPACE, ERR_IO (permission, a file
 * where a directory should be, a damaged index).
 */
int store_open(const struct store_options *options, struct store **store, struct err *err);

/* Commits what is pending and gives the lock back. All ingests and descriptors must be closed. Takes NULL. */
void store_close(struct store *store);

/* Where it is, without links or dots. Borrowed, lives as long as the store. */
const char *store_path(const struct store *store);

/* Whether files can be written: 0, ERR_NO_SPACE or ERR_IO. Leaves nothing behind. */
int store_probe(struct store *store, struct err *err);

/* What the file system has left for us. ERR_IO. */
int store_free_bytes(struct store *store, uint64_t *bytes, struct err *err);

/* How many blobs, stored or arriving whole, proved damaged since the store was opened. */
uint64_t store_corrupt_count(const struct store *store);

/* The facts. Borrowed, lives as long as the store. */
struct index *store_index(struct store *store);

/*
 * Opens a published blob for reading: its descriptor (the caller closes it) and size.
 * ERR_NOT_FOUND when it is not published; ERR_IO when the disk fails, or when the file's size is not what was published
 * (the file is then moved to quarantine, so that the next call says ERR_NOT_FOUND and it is fetched anew).
 */
int store_open_blob(struct store *store, const struct digest *digest, int *fd, uint64_t *size, struct err *err);

/* Its size alone, without opening it. 0, ERR_NOT_FOUND or ERR_IO, as above. */
int store_find_blob(struct store *store, const struct digest *digest, uint64_t *size, struct err *err);

/* Publishes small bytes (a manifest) that the caller has verified. Blocks (fsync). Already there is success. */
int store_put_blob(struct store *store, const struct digest *digest, const void *data, size_t len, struct err *err);

/* A file of nobody's that is gone when its descriptor is closed (by the caller). ERR_IO, ERR_NO_SPACE. */
int store_open_scratch(struct store *store, int *out, struct err *err);

/*
 * Serving a published blob broke off at these bytes of it: reads them, not more. ERR_IO: they cannot be read, or the
 * file is not as long as it was; it is in quarantine then, and is healed as what the scrub finds (verify.h). 0: they
 * can. ERR_NOT_FOUND: it has gone. Blocks for the reading.
 */
int store_doubt_blob(struct store *store, const struct digest *digest, uint64_t offset, uint64_t len, struct err *err);

/* Moves a published blob that proved damaged out of the way and makes the index forget it. Blocks. */
int store_quarantine_blob(struct store *store, const struct digest *digest, const char *reason, struct err *err);
