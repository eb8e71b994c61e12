/* SPDX-License-Identifier: Apache-2.0 */
/* What ingest.c (bytes, hash, states) and ingest_file.c (open, close, the range file) share. */
#pragma once

#include "store/ingest.h"
#include "store/ranges.h"
#include "store/store_internal.h"

#include <pthread.h>

enum ingest_state {
	INGEST_WRITING,   /* bytes arrive and are hashed */
	INGEST_VERIFIED,  /* complete, and the digest is right */
	INGEST_PUBLISHED, /* renamed, and the index knows */
	INGEST_FAILED,    /* the digest was wrong; the partial is in quarantine */
};

/*
 * `mutex` guards the state, and is never held over disk I/O but a discard's. The hash has one owner at a time, who
 * holds `hashing` and works without the mutex: the writer for what it has just written, or ingest_hash_behind().
 */
struct ingest {
	struct store *store;
	struct digest digest;
	struct ingest *next; /* in the store's room; under its mutex, as is the next */
	uint64_t reserved;
	int fd; /* the number stays the same all the ingest's life; ingest_discard() may put another file behind it */

	pthread_mutex_t mutex;
	pthread_cond_t hash_free; /* `hashing` became false */
	enum ingest_state state;
	uint64_t size;
	char etag[INGEST_ETAG_MAX + 1];
	struct ranges ranges;
	struct hasher *hasher;
	uint64_t hashed;           /* the hash position */
	bool hashing;              /* somebody owns the hash */
	bool hash_stopped;         /* nobody needs it any more */
	unsigned generation;       /* how many times everything was discarded: tells a hash owner to let go */
	bool spilled;              /* the disk takes no more: what comes goes to memory; set once, by the writer */
	bool windowed;             /* spilled: memory holds no more than INGEST_WINDOW behind `forgotten` */
	bool aside;                /* the partial is another's */
	uint64_t forgotten;        /* what memory held before this is gone */
	int memory_fd;             /* a memfd with bytes at their offsets, as in the partial; -1: none */
	uint64_t memory_reserved;  /* of INGEST_SPILL_MAX */
	struct ranges disk_ranges; /* spilled: which are in the partial; the others are in memory */
	bool lost;                 /* the partial could not be synced: what is on disk of it is not known */
	bool renamed;              /* the partial has its blob's name, or one was there already */

	pthread_mutex_t journal_mutex; /* taken before `mutex`: keeps range files from overtaking one another */
	int journal_fd;                /* -1 until first written */
	uint64_t journal_due;          /* bytes written since the last time */
};

/* One of its numbers, as it is now. */
static inline uint64_t ingest_read_number(struct ingest *ingest, const uint64_t *number)
{
	uint64_t value;

	pthread_mutex_lock(&ingest->mutex);
	value = *number;
	pthread_mutex_unlock(&ingest->mutex);
	return value;
}

/* Writes the range file. Its failure costs at most bytes that are fetched again, so it is only logged. */
void ingest_write_journal(struct ingest *ingest);
/* Removes it. */
void ingest_remove_journal(struct ingest *ingest);
/* Gives what is reserved back. */
void ingest_give_room(struct ingest *ingest);
/* What the partial holds. `mutex` is held. */
static inline const struct ranges *ingest_disk_ranges(const struct ingest *ingest)
{
	return ingest->spilled ? &ingest->disk_ranges : &ingest->ranges;
}

/* ingest_spill.c: reads present bytes from where they are: the count, 0 at the end, -1 with errno. */
ssize_t ingest_read_at(struct ingest *ingest, uint64_t offset, void *data, size_t len);
/* Where present bytes are: the descriptor, and how many of `len` are there. */
int ingest_place(struct ingest *ingest, uint64_t offset, size_t *len);
/* Writes to where bytes go now; goes over to memory when the disk refuses. */
int ingest_write_at(struct ingest *ingest, uint64_t offset, const uint8_t *data, size_t len, struct err *err);
/* The memory's content is not wanted any more, or the memory itself. */
void ingest_clear_memory(struct ingest *ingest);
void ingest_close_memory(struct ingest *ingest);
/* Whether a disk that says so is worth going on without. */
bool ingest_is_disk_error(int errno_value);
