/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much room the store has, and who has reserved what of it. Everything is counted as blocks on disk, rather too
 * much than too little: blobs from the index's totals, what is reserved, what flights of the past left, the index
 * itself.
 *
 * `mutex` guards all of it; an ingest's own mutex may be taken behind it. It is never held over a disk sync.
 */
#pragma once

#include "base/digest.h"
#include "base/err.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define ROOM_FILE_BYTES   4096 /* what a file takes beside its bytes: a block not filled, its inode */
#define ROOM_HEADROOM_MAX ((uint64_t)256 << 20)
#define ROOM_REMOVING_MAX 64

struct index_repository;
struct ingest;
struct store;

struct room {
	pthread_mutex_t mutex;
	pthread_cond_t freed; /* room was made, a pass ended, or a removal did */
	pthread_cond_t wake;  /* for the evicting thread */
	uint64_t max_size;    /* 0: no limit */
	uint64_t min_free;
	struct ingest *ingests;  /* that are open */
	uint64_t reserved;       /* by them, by stages, and by small writes */
	_Atomic uint64_t staged; /* of that, what stages have written */
	uint64_t leftover;       /* in partial/ and quarantine/, of no open ingest */
	unsigned directories;    /* below blobs/ */
	uint64_t layers;         /* in layers/ */
	uint64_t wanted;         /* by those who wait */
	bool running, stopping, hurry;
	unsigned passes; /* that ended */
	pthread_t thread;
	struct digest removing[ROOM_REMOVING_MAX]; /* blobs whose files go just now */
	unsigned removing_count;
	uint64_t evicted_bytes;

	pthread_mutex_t dear_mutex; /* guards the next two, and is held while it is asked */
	bool (*is_dear)(void *arg, const struct index_repository *repository); /* evict_dear_fn; NULL: nothing is */
	void *dear_arg;
};

void room_init(struct room *room);
void room_dispose(struct room *room);

/*
 * Reserves bytes. When there are too few, waits up to `wait_ms` for eviction. 0; ERR_AGAIN: with no time to wait, and
 * room is being made; ERR_NO_SPACE: there is none, and none can be made.
 */
int room_take(struct store *store, uint64_t bytes, uint64_t wait_ms, struct err *err);
/* 0, or ERR_NO_SPACE when so many bytes could not be had by removing everything; with `margin`, not without being above
 * what the store should hold, which eviction would bring it back to. */
int room_check(struct store *store, uint64_t bytes, bool margin, struct err *err);
void room_give(struct store *store, uint64_t bytes);

/* Counts the bytes of a file that is in partial/ or quarantine/ and belongs to nobody. */
void room_add_leftover(struct store *store, uint64_t bytes);

/* Counts directories below blobs/: they stay when their last blob goes. */
void room_add_directories(struct store *store, unsigned count);

/* By how much the store is above what it may hold; with `margin`, above what it should hold with what is asked for. The
 * mutex is held. */
uint64_t room_excess(struct store *store, bool margin);

/* Whether the digest's file is being removed. */
bool room_is_removing(struct store *store, const struct digest *digest);
/* Waits until it is not. */
void room_await_removal(struct store *store, const struct digest *digest);
