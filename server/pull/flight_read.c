/* SPDX-License-Identifier: Apache-2.0 */
/* A flight's readers, and those who only wait for its end. */
#include "server/pull/flight_internal.h"

#include <utlist.h>

static bool is_end_waiter(const struct flight *flight, const struct waiter *waiter)
{
	const struct waiter *at;

	DL_FOREACH (flight->end_waiters, at)
		if (at == waiter)
			return true;
	return false;
}

void flight_release(struct flight *flight, struct flight_reader *reader, struct waiter *waiter)
{
	pthread_mutex_lock(&flight->lock);
	if (waiter)
		waiter_forget(waiter->listed && is_end_waiter(flight, waiter) ? &flight->end_waiters : &flight->waiters,
			      waiter);
	if (reader)
		DL_DELETE(flight->readers, reader);
	pthread_mutex_unlock(&flight->lock);
	flight_go_on(flight);
	flight_unref(flight);
}

unsigned flight_leave_ingest(struct flight *flight)
{
	unsigned version;

	pthread_mutex_lock(&flight->lock);
	if (--flight->inside == 0)
		pthread_cond_signal(&flight->nobody_inside);
	version = flight->version;
	pthread_mutex_unlock(&flight->lock);
	return version;
}

/* The flight's lock is held, and is given back. */
static int wait_in(struct waiter **list, struct flight *flight, struct waiter *waiter, struct err *err)
{
	int code = ERR_AGAIN;

	if (flight->state == FLIGHT_FAILED) {
		*err = flight->err;
		code = err->code;
	} else if (flight->closing) {
		code = err_set(err, ERR_CANCELLED, "larder is shutting down");
	} else {
		waiter_register(list, waiter);
	}
	pthread_mutex_unlock(&flight->lock);
	return code;
}

static int wait_here(struct flight *flight, struct waiter *waiter, struct err *err)
{
	return wait_in(&flight->waiters, flight, waiter, err);
}

bool flight_is_kept(struct flight *flight)
{
	bool kept;

	pthread_mutex_lock(&flight->lock);
	kept = flight->state == FLIGHT_FAILED || ingest_is_kept(flight->ingest);
	pthread_mutex_unlock(&flight->lock);
	return kept;
}

bool flight_is_landing(struct flight *flight)
{
	bool landing;

	pthread_mutex_lock(&flight->lock);
	landing = flight->state == FLIGHT_VERIFIED && ingest_is_kept(flight->ingest);
	pthread_mutex_unlock(&flight->lock);
	return landing;
}

int flight_poll_fetched(struct flight *flight, struct waiter *waiter, uint64_t *size, struct err *err)
{
	pthread_mutex_lock(&flight->lock);
	if (flight->state != FLIGHT_VERIFIED)
		return wait_in(&flight->end_waiters, flight, waiter, err);
	*size = flight->size;
	pthread_mutex_unlock(&flight->lock);
	return 0;
}

int flight_poll_end(struct flight *flight, struct waiter *waiter, uint64_t *size, struct err *err)
{
	int code;

	pthread_mutex_lock(&flight->lock);
	if (!flight->ended)
		return wait_in(&flight->end_waiters, flight, waiter, err);
	*size = flight->size;
	code = flight->err.code;
	if (code)
		*err = flight->err;
	pthread_mutex_unlock(&flight->lock);
	return code;
}

uint64_t flight_arrived(struct flight *flight)
{
	uint64_t arrived = 0;

	pthread_mutex_lock(&flight->lock);
	if (flight->state != FLIGHT_FAILED && flight->state != FLIGHT_STARTING)
		arrived = ingest_present_bytes(flight->ingest);
	pthread_mutex_unlock(&flight->lock);
	return arrived;
}

int flight_poll(struct flight *flight, struct waiter *waiter, uint64_t *size, unsigned *version, struct err *err)
{
	pthread_mutex_lock(&flight->lock);
	/* A wrong digest cuts the connection, however early it is noticed: the same answer whether this client was
	 * woken before or after. An empty blob has no last byte to hold back: its answer waits. */
	if ((flight->state == FLIGHT_FAILED && flight->err.code != ERR_DIGEST) || flight->state == FLIGHT_STARTING ||
	    flight->size == INGEST_SIZE_UNKNOWN || (flight->size == 0 && flight->state != FLIGHT_VERIFIED))
		return wait_here(flight, waiter, err);
	*size = flight->size;
	*version = flight->version;
	pthread_mutex_unlock(&flight->lock);
	return 0;
}

/* How much may be read at `offset`: the last byte stays here until the digest proved right. The lock is held. */
static uint64_t readable_from(struct flight *flight, uint64_t offset)
{
	uint64_t limit = flight->state == FLIGHT_VERIFIED ? flight->size : flight->size - 1;
	uint64_t present = ingest_present_from(flight->ingest, offset);

	if (flight->size == 0 || offset >= limit)
		return 0;
	return present < limit - offset ? present : limit - offset;
}

/* Whether a reader stands before a gap that the bytes from the start will not fill at once. The lock is held. */
static bool is_ahead(struct flight *flight, uint64_t offset)
{
	return offset > ingest_present_from(flight->ingest, 0) + TRANSFER_SEGMENT_MIN &&
	       ingest_present_from(flight->ingest, offset) == 0;
}

/* Goes inside when there is something at `offset`: how much of `max`; else an error, ERR_AGAIN after pausing the
 * waiter. */
static ssize_t enter(struct flight *flight, struct flight_reader *reader, unsigned version, uint64_t offset, size_t max,
		     struct waiter *waiter)
{
	uint64_t readable;
	struct err err;
	ssize_t result;
	bool paused;

	pthread_mutex_lock(&flight->lock);
	if (flight->version != version) {
		/* What this reader has is of another version: the right rest would make a wrong whole. */
		pthread_mutex_unlock(&flight->lock);
		return ERR_UPSTREAM;
	}
	reader->offset = offset;
	paused = flight->paused;
	readable = flight->state == FLIGHT_FAILED ? 0 : readable_from(flight, offset);
	if (readable == 0 && flight->transfer && is_ahead(flight, offset))
		transfer_want(flight->transfer, offset);
	if (readable == 0) {
		result = wait_here(flight, waiter, &err);
	} else {
		flight->inside++;
		pthread_mutex_unlock(&flight->lock);
		result = (ssize_t)(readable < max ? readable : max);
	}
	/* It has moved on. */
	if (paused)
		flight_go_on(flight);
	return result;
}

ssize_t flight_read(struct flight *flight, struct flight_reader *reader, unsigned version, uint64_t offset, void *data,
		    size_t max, struct waiter *waiter)
{
	ssize_t got = enter(flight, reader, version, offset, max, waiter);

	if (got <= 0)
		return got;
	got = ingest_read(flight->ingest, offset, data, (size_t)got);
	return flight_leave_ingest(flight) == version ? got : ERR_UPSTREAM;
}

ssize_t flight_send(struct flight *flight, struct flight_reader *reader, unsigned version, uint64_t offset, int socket,
		    size_t max, struct waiter *waiter)
{
	ssize_t sent = enter(flight, reader, version, offset, max, waiter);

	if (sent <= 0)
		return sent;
	sent = ingest_send(flight->ingest, offset, socket, (size_t)sent);
	return flight_leave_ingest(flight) == version ? sent : ERR_UPSTREAM;
}

/* All of them. */

static void list_one(struct flight *flight, void (*each)(void *arg, const struct pull_flight *flight), void *arg)
{
	struct pull_flight seen = {
		.upstream = flight->upstream->name, .repository = flight->repository, .digest = flight->digest};
	bool runs;

	pthread_mutex_lock(&flight->lock);
	runs = flight->state != FLIGHT_FAILED;
	seen.size = flight->size == INGEST_SIZE_UNKNOWN ? PULL_SIZE_UNKNOWN : flight->size;
	if (runs && flight->state != FLIGHT_STARTING)
		seen.held = ingest_present_bytes(flight->ingest);
	pthread_mutex_unlock(&flight->lock);
	if (runs)
		each(arg, &seen);
}

void flights_list(struct pull *pull, void (*each)(void *arg, const struct pull_flight *flight), void *arg)
{
	struct flight *flight, *next;

	HASH_ITER (hh, pull->flights, flight, next)
		list_one(flight, each, arg);
	DL_FOREACH (pull->aside, flight)
		list_one(flight, each, arg);
}

static void fail_one(struct flight *flight)
{
	pthread_mutex_lock(&flight->lock);
	flight->closing = true;
	waiter_wake_all(&flight->waiters);
	waiter_wake_all(&flight->end_waiters);
	pthread_mutex_unlock(&flight->lock);
}

void flights_fail_all(struct pull *pull)
{
	struct flight *flight, *next;

	HASH_ITER (hh, pull->flights, flight, next)
		fail_one(flight);
	DL_FOREACH (pull->aside, flight)
		fail_one(flight);
}
