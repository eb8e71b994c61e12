/* SPDX-License-Identifier: Apache-2.0 */
/* What flight.c (how a flight begins and ends), flight_sink.c (what comes from upstream), flight_read.c (who waits for
 * it) and flight_window.c (one that is not held whole) share. */
#pragma once

#include "base/log.h"
#include "server/pull/flight.h"
#include "store/ingest.h"
#include "upstream/transfer.h"

enum flight_state { FLIGHT_STARTING, FLIGHT_FLYING, FLIGHT_CHECKING, FLIGHT_VERIFIED, FLIGHT_FAILED };

struct flight {
	struct pull *pull;
	struct digest digest;
	UT_hash_handle hh;
	bool aside; /* not in the table, where there is another of this digest, but in pull->aside */
	struct flight *prev, *next;
	unsigned refs; /* the table's, one a reader, one a worker's job; under pull->lock, like `parked` */
	bool parked;   /* verified and could not be published: the last reader takes it out of the table */
	/* FAILED: took its place in the table, and opens the partial once this one is closed. */
	struct flight *successor;

	struct pull_upstream *upstream;
	char *repository;
	struct client_login *login;
	char request[LOG_REQUEST_MAX]; /* whom it was begun for */
	struct work_job open_job, hash_job, room_job, window_job, end_job;
	/* Not 0: the transfer ended since there was no room for so many bytes; it goes on once there is. The loop's,
	 * and then the job's. */
	uint64_t room_wanted;
	struct transfer *transfer; /* while it runs; set before FLYING, then under the lock */
	struct ingest
		*ingest; /* set by the opening job before FLYING; NULL again once a failed flight has left the table */

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t nobody_inside;
	enum flight_state state;
	bool closing; /* larder ends: nobody waits any more */
	bool hashing; /* the hashing job is on its way or running */
	enum pace_priority priority;
	struct flight_reader *readers;
	bool window_full; /* the transfer ends, or has ended, since readers are behind */
	bool paused;      /* it has, and goes on once they are not */
	struct waiter *waiters;
	struct waiter *end_waiters; /* of those who do not read */
	uint64_t verified_ms;
	bool ended;       /* published and linked, or parked, `err` saying why */
	unsigned inside;  /* readers, and the hashing job, that use the ingest without the lock */
	uint64_t size;    /* INGEST_SIZE_UNKNOWN until it is known */
	unsigned version; /* how often what had arrived was thrown away, since the upstream has something else now */
	struct err err;   /* FAILED: why */
};

/* Gives back one of `refs`; the last frees it. No lock is held. */
void flight_unref(struct flight *flight);
/* The loop's or a worker's, once, when nothing runs that could go on: tells all who wait, closes the partial on a
 * worker thread, and leaves the table. */
void flight_fail(struct flight *flight, const struct err *err);
/* Likewise, when all bytes are here: VERIFIED, or CHECKING until a disk thread has hashed what is left; that thread
 * publishes it, and then it leaves the table. */
void flight_complete(struct flight *flight);

/* Asks for what is missing. The opening job's, or that of whoever ended the last transfer; the ingest is open, and no
 * transfer runs. */
void flight_ask_upstream(struct flight *flight);
/* Makes room for a size that is known before the upstream tells, as most are; waits for eviction, on a worker thread. 0
 * also when there is none: then the flight is passed on without being kept. */
int flight_reserve_known(struct flight *flight, struct err *err);

/* Adds a reader at the beginning: false when that is forgotten already, or the flight has failed. */
bool flight_add_reader(struct flight *flight, struct flight_reader *reader);
/* As ingest_write(). ERR_AGAIN: readers are behind, the transfer has to end; ERR_NO_SPACE: there is none. */
int flight_write(struct flight *flight, uint64_t offset, const void *data, size_t len, struct err *err);
/* The transfer ended with this error: true when it was for its readers. */
bool flight_pause(struct flight *flight, const struct err *err);
/* Whether a paused one goes on, is looked at: a reader moved on or left, or the hash did. */
void flight_go_on(struct flight *flight);
/* Has what is here and not hashed yet hashed by a disk thread, while more comes. */
void flight_hash_beside(struct flight *flight);
/* Whoever went inside leaves: the version of the bytes, by now. */
unsigned flight_leave_ingest(struct flight *flight);
