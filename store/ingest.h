/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing one blob: partial -> verify -> publish. An ingest owns `partial/<algorithm>-<hex>` and the set of byte ranges
 * present in it. The file is sparse: ranges may arrive in any order. What is present is written to a small file beside
 * it
 * (`….ranges`, checksummed, at most every INGEST_JOURNAL_BYTES), so that a transfer goes on after a restart or kill -9
 * from where it was; should that file promise bytes that a power cut took, the digest says so, and nothing is
 * published.
 *
 * The hash follows the contiguous prefix: a write at the hash position is hashed from the caller's memory; what lies
 * behind a gap that closes is hashed from the file by ingest_hash_behind(), which blocks and belongs on a work thread.
 *
 * On a disk that is full, fails or is read-only the bytes go to memory, bounded, so that readers get them all the same;
 * nothing is published then (ingest_spill()). What is too large to be held whole has a window there: what all readers
 * have passed is forgotten, and writes beyond the window are refused until it is.
 *
 * States: WRITING -> (all present and hashed) -> VERIFIED -> PUBLISHED, or FAILED from any. One owner opens and closes
 * it; between, reads may run on any thread beside the one writer.
 */
#pragma once

#include "base/digest.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct store;
struct ingest;

#define INGEST_JOURNAL_BYTES ((uint64_t)256 << 10)
#define INGEST_RANGES_MAX                                                                                              \
	1024 /* separate ranges of one partial; a write that would make more is refused with ERR_LIMIT */
#define INGEST_ETAG_MAX     255
#define INGEST_SPILL_MAX    ((uint64_t)256 << 20)  /* bytes in memory, of all ingests of a store */
#define INGEST_WHOLE_MAX    (INGEST_SPILL_MAX / 2) /* of those, for blobs that are held whole */
#define INGEST_WINDOW       ((uint64_t)16 << 20)   /* of each that is not */
#define INGEST_SIZE_UNKNOWN UINT64_MAX

/*
 * Opens the partial of `digest`, taking up what an earlier run left. There must be no other ingest of this digest.
 * Blocks shortly. ERR_NO_SPACE, ERR_IO.
 */
int ingest_open(struct store *store, const struct digest *digest, struct ingest **ingest, struct err *err);

/* Opens a second ingest of a digest, beside another or not: without a partial, with a window in memory from the start.
 * It is never published. ERR_NO_SPACE. */
int ingest_open_aside(struct store *store, const struct digest *digest, struct ingest **ingest, struct err *err);

/* Closes it. Unpublished bytes stay in partial/ for the next time, unless ingest_discard() was called. No
 * other call on it may be running. Takes NULL. */
void ingest_close(struct ingest *ingest);

/* Forgets every byte, the size and the etag: the partial is truncated and hashing starts over (bytes of another
 * version, or a wrong digest). Not beside a write, nor after publishing. */
int ingest_discard(struct ingest *ingest, struct err *err);

/* The blob's whole size, INGEST_SIZE_UNKNOWN until ingest_set_size() or a taken-up partial told it. */
uint64_t ingest_size(struct ingest *ingest);
/* Sets the size. ERR_INVALID when it is known and differs, or when bytes beyond it are present. */
int ingest_set_size(struct ingest *ingest, uint64_t size, struct err *err);

/*
 * Reserves the room for a blob of `size` bytes, the first or a larger one; given back when the blob is published or the
 * ingest is closed. Waits up to `wait_ms` for room to be made. 0; ERR_AGAIN: no time to wait was given, and room is
 * being made; ERR_NO_SPACE. One thread at a time.
 */
int ingest_reserve(struct ingest *ingest, uint64_t size, uint64_t wait_ms, struct err *err);
/* Whether that could be had at all: 0, or ERR_NO_SPACE. Nothing is reserved, and no room is made. */
int ingest_check_room(struct ingest *ingest, uint64_t size, struct err *err);

/*
 * From here on bytes go to memory instead of the disk, and the blob will not be published: for a disk that takes no
 * more. Happens by itself when a write fails. The rest of the blob has its place in memory where INGEST_WHOLE_MAX for
 * all allows it, else a window. 0, or ERR_NO_SPACE when what all ingests hold in memory would pass INGEST_SPILL_MAX;
 * `why` becomes the text of the error, and of one line in the log for all until a blob is kept again. The writer's
 * thread, or when there is no writer.
 */
int ingest_spill(struct ingest *ingest, const char *why, struct err *err);
bool ingest_is_spilled(struct ingest *ingest);
/* Whether there is only a window: it is to be written in order, and read as it moves on. */
bool ingest_is_windowed(struct ingest *ingest);
/* Moves the window up to `offset`: what lies before it, and was hashed, is forgotten. The writer's thread. */
void ingest_forget(struct ingest *ingest, uint64_t offset);
/* Before this, what was in memory has been forgotten; 0: nothing has. */
uint64_t ingest_forgotten(struct ingest *ingest);
/* Up to where bytes may be written now, should all before `offset` be forgotten. */
uint64_t ingest_window_end(struct ingest *ingest, uint64_t offset);

/* Whether the blob will be published, as far as is known by now: false also while the disk has not taken any since one
 * was spilled. */
bool ingest_is_kept(struct ingest *ingest);

/* The validator (a strong ETag as sent, with its quotes) under which the present bytes were fetched, "" when none.
 * Survives restarts. */
void ingest_etag(struct ingest *ingest, char etag[INGEST_ETAG_MAX + 1]);
void ingest_set_etag(struct ingest *ingest, const char *etag);

/*
 * Writes bytes at `offset`. Bytes already present are skipped (the first to come stay). ERR_LIMIT beyond the size or
 * with too many ranges; ERR_AGAIN beyond the window; ERR_NO_SPACE; ERR_IO. A failed write leaves what was present
 * before. One thread at a time.
 */
int ingest_write(struct ingest *ingest, uint64_t offset, const void *data, size_t len, struct err *err);

/* How many bytes are present from `offset` on, without a gap. */
uint64_t ingest_present_from(struct ingest *ingest, uint64_t offset);

/* The first gap at or behind `from`: true and [*start, *end) when there is one; *end is ingest_size() for the last
 * (which may be unknown: UINT64_MAX). False when everything from there on is present. */
bool ingest_next_gap(struct ingest *ingest, uint64_t from, uint64_t *start, uint64_t *end);

/* How many bytes are present in all. */
uint64_t ingest_present_bytes(struct ingest *ingest);

/* Reads present bytes: the count (short at the end of what is present), or ERR_IO, also for what was forgotten. The
 * file stays readable after publishing. */
ssize_t ingest_read(struct ingest *ingest, uint64_t offset, void *data, size_t len);

/* Sends present bytes on a socket that does not block, straight from the file: the count (short at the end of what is
 * present), ERR_BUSY when the socket takes none now, or ERR_IO. */
ssize_t ingest_send(struct ingest *ingest, uint64_t offset, int socket, size_t len);

/* True when bytes behind the hash position are present that no write will hash: call ingest_hash_behind(). */
bool ingest_hash_waits(struct ingest *ingest);
/* Hashes from the file up to the end of the contiguous prefix. Blocks. ERR_IO. May run beside writes and reads. */
int ingest_hash_behind(struct ingest *ingest, struct err *err);
/* Ends ingest_hash_behind() at once, and lets none begin: the ingest will not be published. */
void ingest_stop_hashing(struct ingest *ingest);

/* 0 when every byte is present, hashed, and the digest is right; ERR_AGAIN when bytes or hashing are missing;
 * ERR_DIGEST when it is wrong (the partial has then been moved to quarantine/; ingest_discard() makes the ingest usable
 * again). */
int ingest_verify(struct ingest *ingest, struct err *err);

/*
 * fsync, rename, index. Blocks. Needs a successful ingest_verify(). "Already there" is success. After a failure
 * the partial is kept and the call may be repeated; but one that could not be synced is removed at the end, and never
 * gone on from: its bytes may be in memory alone.
 */
int ingest_publish(struct ingest *ingest, struct err *err);
