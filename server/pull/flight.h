/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A flight: the one transfer of one blob, however many clients have it. It owns an ingest of the store and a call to
 * the upstream, and joins them: bytes that arrive are written and hashed, then the readers are woken.
 *
 * States:
 *   STARTING   a worker thread opens the partial                      -> FLYING, FAILED
 *   FLYING     bytes arrive; the size is known once the upstream told -> CHECKING, FAILED
 *   CHECKING   all bytes are there, the hash catches up               -> VERIFIED, FAILED
 *   VERIFIED   the digest is right: the last byte may go out; a worker thread publishes it
 *   FAILED     `err` says why; what arrived stays in partial/ for the next flight, unless it proved wrong
 * In the last two it leaves the table once the worker thread is done, a failed one also when the next takes its place;
 * readers that still have it finish from its descriptor.
 *
 * Locks: the table and `refs` are under pull->lock; all else that threads share is under the flight's own lock, and a
 * reader looks for bytes and registers its waiter under that one lock, so no wake-up is lost. Order: pull->lock, then a
 * flight's. Threads: the upstream loop runs the sink; worker threads open, hash behind and publish; HTTP threads read.
 * A client that leaves does not end a flight that is kept. At shutdown flights_fail_all() wakes every reader, and from
 * then on none waits.
 */
#pragma once

#include "server/pull/look.h"
#include "server/pull/pull_internal.h"

struct flight_key {
	struct pull_upstream *upstream;
	const char *repository;
	const struct digest *digest;
	enum pace_priority priority;
	struct client_login *login; /* whose credentials it is fetched with; NULL: larder's own */
};

/* One who reads a flight, kept by the caller from flight_find() or flight_start() to flight_release(): a flight that is
 * not held whole goes on as its readers do. */
struct flight_reader {
	struct flight_reader *prev, *next;
	uint64_t offset; /* of what it reads next */
	bool bystander;  /* it reads along as long as the blob is kept, and is not waited for else */
};

/* pull->lock is held: the running flight of a digest, with a reference for the caller; NULL when there is none, or it
 * has failed, or has gone too far for who comes to read it now: then whoever comes may start another. `reader` is NULL
 * for who does not read. */
struct flight *flight_find(struct pull *pull, const struct digest *digest, struct flight_reader *reader);
/* pull->lock is held: starts one, with a reference for the caller. flight_find() must have said that there is none. */
struct flight *flight_start(struct pull *pull, const struct flight_key *key, struct flight_reader *reader);
/* A client has come to wait for what prefetch began. The caller has a reference. */
void flight_raise(struct flight *flight);
/* Whether it is fetched from this repository, so that who may read there may read it. */
bool flight_is_from(const struct flight *flight, const struct pull_upstream *upstream, const char *repository);

/* 0: the size is known, and which version of the bytes it is of. ERR_AGAIN: the waiter was paused. Else why the flight
 * failed. */
int flight_poll(struct flight *flight, struct waiter *waiter, uint64_t *size, unsigned *version, struct err *err);
/* For who does not read: 0 once its digest proved right, with its size. ERR_AGAIN: the waiter was paused. Else why not.
 */
int flight_poll_fetched(struct flight *flight, struct waiter *waiter, uint64_t *size, struct err *err);
/* Likewise: 0 once it is published and linked. */
int flight_poll_end(struct flight *flight, struct waiter *waiter, uint64_t *size, struct err *err);
/* False: the disk takes no more, and what arrives is passed on without being kept. May turn out only later. */
bool flight_is_kept(struct flight *flight);
/* Whether it is all here and right, and on its way into the store: nothing more is asked of the upstream. */
bool flight_is_landing(struct flight *flight);
/* How many bytes are there. */
uint64_t flight_arrived(struct flight *flight);
/* As pull_blob_read() and pull_blob_send(); ERR_UPSTREAM when the bytes are not any more of the version that
 * flight_poll() told. */
ssize_t flight_read(struct flight *flight, struct flight_reader *reader, unsigned version, uint64_t offset, void *data,
		    size_t max, struct waiter *waiter);
ssize_t flight_send(struct flight *flight, struct flight_reader *reader, unsigned version, uint64_t offset, int socket,
		    size_t max, struct waiter *waiter);
/* Gives a reference back; `reader` and `waiter` (may be NULL) are forgotten. */
void flight_release(struct flight *flight, struct flight_reader *reader, struct waiter *waiter);

/* pull->lock is held: what runs, and has neither failed nor been published. */
void flights_list(struct pull *pull, void (*each)(void *arg, const struct pull_flight *flight), void *arg);

/* pull->lock is held. */
void flights_fail_all(struct pull *pull);
