/* SPDX-License-Identifier: Apache-2.0 */
#include "server/pull/flight_internal.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "server/pull/sparse.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

static const char *name_of(const struct flight *flight, char text[DIGEST_TEXT_MAX])
{
	return digest_format(&flight->digest, text);
}

/* Lifetime. */

static void flight_free(struct flight *flight)
{
	assert(!flight->waiters && !flight->end_waiters);
	ingest_close(flight->ingest);
	pthread_cond_destroy(&flight->nobody_inside);
	pthread_mutex_destroy(&flight->lock);
	free(flight->repository);
	client_login_release(flight->login);
	free(flight);
}

/* pull->lock is held. */
static void leave_list(struct flight *flight)
{
	if (flight->aside)
		DL_DELETE(flight->pull->aside, flight);
	else
		HASH_DEL(flight->pull->flights, flight);
}

void flight_unref(struct flight *flight)
{
	struct pull *pull = flight->pull;
	bool last, parked;

	pthread_mutex_lock(&pull->lock);
	parked = flight->parked && flight->refs == 2;
	if (parked) {
		leave_list(flight);
		flight->refs--;
	}
	last = --flight->refs == 0;
	pthread_mutex_unlock(&pull->lock);
	if (last)
		flight_free(flight);
	if (parked)
		pull_job_end(pull);
}

static void leave_table(struct flight *flight)
{
	struct pull *pull = flight->pull;

	pthread_mutex_lock(&pull->lock);
	if (flight->successor)
		work_submit(pull->work, &flight->successor->open_job);
	else
		leave_list(flight);
	pull_note_landing(pull);
	pthread_mutex_unlock(&pull->lock);
	flight_unref(flight);
	pull_job_end(pull);
}

/* Ends. */

static void end_failed(struct work_job *job)
{
	struct flight *flight = (struct flight *)((char *)job - offsetof(struct flight, end_job));

	/* The next flight of this digest goes on with the same partial: ours is closed before that one can start. */
	pthread_mutex_lock(&flight->lock);
	while (flight->inside > 0)
		pthread_cond_wait(&flight->nobody_inside, &flight->lock);
	pthread_mutex_unlock(&flight->lock);
	ingest_close(flight->ingest);
	flight->ingest = NULL;
	leave_table(flight);
}

void flight_fail(struct flight *flight, const struct err *err)
{
	char text[DIGEST_TEXT_MAX];

	log_set_request(flight->request);
	if (err->code != ERR_NOT_FOUND && err->code != ERR_CANCELLED)
		log_warn("upstream %s: %s blob %s: %s", flight->upstream->name, flight->repository,
			 name_of(flight, text), err->text);
	log_set_request(NULL);
	pthread_mutex_lock(&flight->lock);
	flight->err = *err;
	flight->state = FLIGHT_FAILED;
	waiter_wake_all(&flight->waiters);
	waiter_wake_all(&flight->end_waiters);
	pthread_mutex_unlock(&flight->lock);
	if (flight->ingest)
		ingest_stop_hashing(flight->ingest);
	flight->end_job.run = end_failed;
	work_submit(flight->pull->work, &flight->end_job);
}

static void flight_set_state(struct flight *flight, enum flight_state state)
{
	pthread_mutex_lock(&flight->lock);
	flight->state = state;
	if (state == FLIGHT_VERIFIED)
		flight->verified_ms = clock_ms();
	waiter_wake_all(&flight->waiters);
	waiter_wake_all(&flight->end_waiters);
	pthread_mutex_unlock(&flight->lock);
}

/* Whether it is kept is settled. */
static void flight_end(struct flight *flight, const struct err *err)
{
	pthread_mutex_lock(&flight->lock);
	flight->ended = true;
	if (err)
		flight->err = *err;
	waiter_wake_all(&flight->end_waiters);
	pthread_mutex_unlock(&flight->lock);
}

static void write_link(struct flight *flight)
{
	struct index_repository repository = {flight->upstream->name, flight->repository};
	struct index_change link = {.kind = INDEX_PUT_LINK, .repository = repository, .digest = &flight->digest};
	struct index_link known;
	struct err err;

	/* A link that is there may say more: that this is a manifest, and of which type. */
	if (index_get_link(flight->pull->index, &repository, &flight->digest, &known, &err) != ERR_NOT_FOUND)
		return;
	if (index_write(flight->pull->index, &link, 1, &err))
		log_warn("cannot link a blob to %s/%s: %s", flight->upstream->name, flight->repository, err.text);
}

/* Park: readers go on reading, new ones join, and the bytes are asked for again once none is left. */
static void park(struct flight *flight)
{
	pthread_mutex_lock(&flight->pull->lock);
	flight->parked = true;
	flight->refs++; /* for flight_unref(), which takes a parked one out when this is the last beside the table's */
	landing_wake(flight->pull);
	pthread_mutex_unlock(&flight->pull->lock);
	flight_unref(flight);
}

static void end_complete(struct work_job *job)
{
	struct flight *flight = (struct flight *)((char *)job - offsetof(struct flight, end_job));
	char text[DIGEST_TEXT_MAX];
	struct err err = {0};
	int code = 0;

	if (flight->state == FLIGHT_CHECKING) {
		code = ingest_hash_behind(flight->ingest, &err);
		if (code == 0)
			code = ingest_verify(flight->ingest, &err);
		if (code) {
			flight_fail(flight, &err);
			return;
		}
		flight_set_state(flight, FLIGHT_VERIFIED);
	}
	if (ingest_publish(flight->ingest, &err)) {
		/* The store has said so, once for all blobs. */
		log_debug("cannot keep blob %s: %s", name_of(flight, text), err.text);
		flight_end(flight, &err);
		park(flight);
		return;
	}
	write_link(flight);
	flight_end(flight, NULL);
	leave_table(flight);
}

void flight_complete(struct flight *flight)
{
	struct err err = {0};
	int code = ingest_verify(flight->ingest, &err);

	if (code && code != ERR_AGAIN) {
		flight_fail(flight, &err);
		return;
	}
	flight_set_state(flight, code == 0 ? FLIGHT_VERIFIED : FLIGHT_CHECKING);
	flight->end_job.run = end_complete;
	work_submit(flight->pull->disk, &flight->end_job);
}

/* Start. */

static int open_ingest(struct flight *flight, struct err *err)
{
	struct store *store = flight->pull->store;
	int code = flight->aside ? ingest_open_aside(store, &flight->digest, &flight->ingest, err)
				 : ingest_open(store, &flight->digest, &flight->ingest, err);

	return code ? code : flight_reserve_known(flight, err);
}

static void open_and_ask(struct flight *flight)
{
	struct err err = {0};

	if (pull_is_closing(flight->pull))
		err_set(&err, ERR_CANCELLED, "larder is shutting down");
	if (err.code || open_ingest(flight, &err)) {
		flight_fail(flight, &err);
		return;
	}
	/* What an earlier run left is hashed beside the transfer. Looked at before that starts: what it brings is
	 * hashed as it comes. */
	flight_hash_beside(flight);
	flight_ask_upstream(flight);
}

static void open_job(struct work_job *job)
{
	struct flight *flight = (struct flight *)((char *)job - offsetof(struct flight, open_job));
	struct pull *pull = flight->pull;

	open_and_ask(flight);
	flight_unref(flight);
	pull_job_end(pull); /* last: from here on nothing may be left of `pull` */
}

static bool has_failed(struct flight *flight)
{
	bool failed;

	pthread_mutex_lock(&flight->lock);
	failed = flight->state == FLIGHT_FAILED;
	pthread_mutex_unlock(&flight->lock);
	return failed;
}

struct flight *flight_find(struct pull *pull, const struct digest *digest, struct flight_reader *reader)
{
	struct flight *flight;

	HASH_FIND(hh, pull->flights, digest, sizeof(*digest), flight);
	if (!flight || !flight_add_reader(flight, reader))
		return NULL;
	flight->refs++;
	return flight;
}

/* Into the table, in the place of one that failed, and beside one that cannot be joined any more. */
static void enter_table(struct pull *pull, struct flight *flight)
{
	struct flight *other;

	HASH_FIND(hh, pull->flights, &flight->digest, sizeof(flight->digest), other);
	if (other && !has_failed(other)) {
		flight->aside = true;
		DL_APPEND(pull->aside, flight);
	} else if (other) {
		HASH_DEL(pull->flights, other);
		other->successor = flight;
	}
	if (!flight->aside)
		HASH_ADD(hh, pull->flights, digest, sizeof(flight->digest), flight);
	if (flight->aside || (!other && !sparse_precedes(pull, flight)))
		work_submit(pull->work, &flight->open_job);
}

struct flight *flight_start(struct pull *pull, const struct flight_key *key, struct flight_reader *reader)
{
	struct flight *flight = mem_alloc(sizeof(*flight));

	flight->pull = pull;
	flight->digest = *key->digest;
	flight->upstream = key->upstream;
	flight->repository = mem_strdup(key->repository);
	flight->login = client_login_hold(key->login);
	flight->size = INGEST_SIZE_UNKNOWN;
	flight->priority = key->priority;
	strcpy(flight->request, log_request_id());
	flight->refs = 3; /* the table, the opening job, the caller */
	pthread_mutex_init(&flight->lock, NULL);
	pthread_cond_init(&flight->nobody_inside, NULL);
	flight->open_job.run = open_job;
	flight_add_reader(flight, reader);
	enter_table(pull, flight);
	pull->jobs += 2; /* the flight, and its opening job, which may outlive it */
	if (pull->watch)
		pull->watch(pull->watch_arg, key->upstream, key->repository, key->digest);
	return flight;
}

void flight_raise(struct flight *flight)
{
	pthread_mutex_lock(&flight->lock);
	if (flight->priority == PACE_PREFETCH && flight->transfer)
		transfer_raise(flight->transfer);
	flight->priority = PACE_CLIENT;
	pthread_mutex_unlock(&flight->lock);
}

bool flight_is_from(const struct flight *flight, const struct pull_upstream *upstream, const char *repository)
{
	return flight->upstream == upstream && strcmp(flight->repository, repository) == 0;
}
