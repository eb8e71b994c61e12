/* SPDX-License-Identifier: Apache-2.0 */
/* What flight.c (how a flight goes) and flight_read.c (who waits for it) share. */
#pragma once

#include "server/pull/flight.h"
#include "store/ingest.h"
#include "upstream/transfer.h"

enum flight_state { FLIGHT_STARTING, FLIGHT_FLYING, FLIGHT_CHECKING, FLIGHT_VERIFIED, FLIGHT_FAILED };

struct flight {
	struct pull *pull;
	struct digest digest;
	UT_hash_handle hh;
	unsigned refs; /* the table's, one a reader, one a worker's job; under pull->lock, like `parked` */
	bool parked;   /* verified and could not be published: the last reader takes it out of the table */
	/* FAILED: took its place in the table, and opens the partial once this one is closed. */
	struct flight *successor;

	struct pull_upstream *upstream;
	char *repository;
	struct work_job open_job, hash_job, room_job, end_job;
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
	struct waiter *waiters;
	struct waiter *end_waiters; /* of those who do not read */
	bool ended;                 /* published and linked, or parked, `err` saying why */
	unsigned inside;            /* readers, and the opening job, that use the ingest without the lock */
	uint64_t size;              /* INGEST_SIZE_UNKNOWN until it is known */
	unsigned version; /* how often what had arrived was thrown away, since the upstream has something else now */
	struct err err;   /* FAILED: why */
};

void flight_unref(struct flight *flight);
/* Whoever went inside leaves: the version of the bytes, by now. */
unsigned flight_leave_ingest(struct flight *flight);
