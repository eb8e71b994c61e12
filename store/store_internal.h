/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this room share about the directory tree. Paths are relative to STORE, for the *at() calls. */
#pragma once

#include "store/index.h"
#include "store/room.h"
#include "store/store.h"

#include <stdatomic.h>
#include <sys/types.h>

#define STORE_PATH_MAX       224 /* the longest: "partial/sha512-" hex ".ranges", or a quarantined name */
#define STORE_QUARANTINE_MAX 16  /* files kept in quarantine/, the newest */
#define STORE_DIRECTORY_MODE 0750
#define STORE_ROOM_WAIT_MS   10000  /* for eviction to make room */
#define STORE_PUT_PREFIX     "put." /* temporary files: worth nothing to the next run */
#define STORE_RANGES_SUFFIX  ".ranges"
#define STORE_MARK_SUFFIX    ".mark" /* stands while a blob is published and perhaps not in the index */

struct store {
	char *path;      /* as it was given */
	char *real_path; /* without links or dots */
	int root_fd;
	int lock_fd;
	struct index *index;
	atomic_uint puts; /* numbers the temporary files */
	uint64_t corrupt; /* atomic: blobs that proved damaged since the store was opened */
	struct room room;
	_Atomic(struct scrub *) scrub;  /* NULL: none runs (scrub.c) */
	bool unclean;                   /* the run before this one did not close the store */
	atomic_bool rebuilding;         /* the index was replaced by a run before, and is to be filled (rescue.c) */
	atomic_bool unwritable;         /* it has been said that blobs cannot be kept */
	_Atomic uint64_t spilled_bytes; /* of INGEST_SPILL_MAX */
};

/* "blobs/sha256/ab/hex" */
const char *store_blob_path(const struct digest *digest, char path[STORE_PATH_MAX]);
/* "partial/sha256-hex" and `suffix` */
const char *store_partial_path(const struct digest *digest, const char *suffix, char path[STORE_PATH_MAX]);

int store_sync_directory(struct store *store, const char *path, struct err *err);

/* Makes a file durable, and read-only. After a failure its bytes are not to be published any more: the kernel tells of
 * a write that it lost once, and a second sync would say that all is well. */
int store_sync_file(struct store *store, const char *name, int fd, struct err *err);

/*
 * Renames the file `from`, which was synced, to its place as the digest's blob; the index is not told. When a blob of
 * this size is there already, `from` is removed; one of another size is quarantined first. May be repeated after a
 * failure.
 */
int store_publish_file(struct store *store, const char *from, const struct digest *digest, uint64_t size,
		       struct err *err);

/* Tells the index of a published blob, and waits. Between the two a mark in partial/ stands for it, so that one that a
 * crash kept from the index counts as soon as the store is opened. */
int store_record_blob(struct store *store, const struct digest *digest, uint64_t size, struct err *err);

/* Writes everything, at the file's position: 0, or -1 with errno. */
int store_write_all(int fd, const char *data, size_t len);

/* Renames; EEXIST where the name is taken, whatever the file system knows. Returns as rename() does. */
int store_rename_new(struct store *store, const char *from, const char *to);

/* Tells the index of what was found about a blob, without waiting. */
void store_change_later(struct store *store, enum index_change_kind kind, const struct digest *digest, uint64_t size);

/* Whether the digest's blob is still the file that is open as `fd`: what proved damaged may have been put away, and
 * fetched anew, meanwhile. */
bool store_is_blob(struct store *store, const struct digest *digest, int fd);

/* Moves a file to quarantine/ under a name of its own, and removes the oldest there. 0 also when there is no such file.
 */
int store_quarantine_file(struct store *store, const char *from, const struct digest *digest, struct err *err);

/* Calls `each`, which may block, for what the files in quarantine/ were, maybe more than once, until it returns false.
 */
void store_list_quarantined(struct store *store, bool (*each)(void *arg, const struct digest *digest), void *arg);

/* Say in the log that blobs cannot be kept any more, and that they can again: each once (ingest_spill.c). */
void store_note_unwritable(struct store *store, const char *why);
void store_note_kept(struct store *store);
