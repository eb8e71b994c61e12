/* SPDX-License-Identifier: Apache-2.0 */
#include "server/pull/flight_internal.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "server/pull/sizes.h"
#include "server/pull/sparse.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define FLIGHT_ROOM_WAIT_MS  10000                /* for eviction to make room */
#define FLIGHT_SAID_SIZE_MAX ((uint64_t)1 << 40)  /* of a blob that no manifest told of */
#define FLIGHT_ROOM_STEP     ((uint64_t)16 << 20) /* what is reserved at once while the size is not known */
#define FLIGHT_UNKNOWN_SIZE_MAX                                                                                        \
	((uint64_t)4 << 30) /* of a blob of which neither manifest nor upstream tells the length */

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
	flight->end_job.run = end_failed;
	work_submit(flight->pull->work, &flight->end_job);
}

static void flight_set_state(struct flight *flight, enum flight_state state)
{
	pthread_mutex_lock(&flight->lock);
	flight->state = state;
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

/* All bytes are here. */
static void flight_complete(struct flight *flight)
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

/* The sink, on the loop's thread. */

/* The server sends the whole from its start: what we hold of another version must not be mixed with it. */
static int check_version(struct flight *flight, const struct registry_answer *answer, struct err *err)
{
	char etag[INGEST_ETAG_MAX + 1];
	uint64_t size = ingest_size(flight->ingest);
	bool other_size =
		size != INGEST_SIZE_UNKNOWN && answer->size != REGISTRY_LENGTH_UNKNOWN && size != answer->size;
	int code;

	ingest_etag(flight->ingest, etag);
	if (answer->offset > 0) {
		if (other_size)
			return err_set(err, ERR_AGAIN, "the upstream names another size than before");
		return 0;
	}
	if (!other_size && (!answer->etag || !etag[0] || strcmp(etag, answer->etag) == 0))
		return 0;
	pthread_mutex_lock(&flight->lock);
	code = ingest_discard(flight->ingest, err);
	flight->version++;
	waiter_wake_all(&flight->waiters);
	pthread_mutex_unlock(&flight->lock);
	return code;
}

/* The manifest that named this blob told its size: another one is a lie, and none leaves no bound. */
static int check_size(struct flight *flight, const struct registry_answer *answer, struct err *err)
{
	uint64_t told;

	if (!sizes_find(flight->pull->sizes, &flight->digest, &told)) {
		/* Room is made for what is said here: nonsense must not empty the cache. */
		if (answer->size != REGISTRY_LENGTH_UNKNOWN && answer->size > FLIGHT_SAID_SIZE_MAX)
			return err_set(err, ERR_UPSTREAM, "the upstream says %" PRIu64 " bytes, more than any blob has",
				       answer->size);
		return 0;
	}
	if (answer->size != REGISTRY_LENGTH_UNKNOWN && answer->size != told)
		return err_set(err, ERR_UPSTREAM, "the upstream says %" PRIu64 " bytes, and the manifest %" PRIu64,
			       answer->size, told);
	return ingest_set_size(flight->ingest, told, err);
}

/* There is no room, and none can be made: the clients get the blob all the same, and it is not kept. */
static int pass_on(struct flight *flight, struct err *err)
{
	struct err why = *err;

	return ingest_spill(flight->ingest, why.text, err);
}

/* Reserves room for so many bytes. When it has to be made first, the transfer ends, and goes on once it is: the loop
 * waits for nobody. */
static int reserve(struct flight *flight, uint64_t size, struct err *err)
{
	int code = ingest_is_spilled(flight->ingest) ? 0 : ingest_reserve(flight->ingest, size, 0, err);

	if (code == ERR_AGAIN)
		flight->room_wanted = size;
	return code == ERR_NO_SPACE ? pass_on(flight, err) : code;
}

/* How much room is asked for when so many bytes are there: all of it when a manifest vouches for the size. What only
 * the upstream says is believed a step at a time, or a lie would empty the cache. */
static uint64_t room_for(struct flight *flight, uint64_t present)
{
	uint64_t size = ingest_size(flight->ingest), told;
	uint64_t step = (present + FLIGHT_ROOM_STEP) / FLIGHT_ROOM_STEP * FLIGHT_ROOM_STEP;

	if (size != INGEST_SIZE_UNKNOWN && (size <= step || sizes_find(flight->pull->sizes, &flight->digest, &told)))
		return size;
	return step;
}

/* What could not be had by throwing away everything is no reason to throw away anything. */
static int reserve_first(struct flight *flight, struct err *err)
{
	int code = 0;

	if (!ingest_is_spilled(flight->ingest))
		code = ingest_check_room(flight->ingest, ingest_size(flight->ingest), err);
	if (code == ERR_NO_SPACE)
		return pass_on(flight, err);
	return reserve(flight, room_for(flight, ingest_present_bytes(flight->ingest)), err);
}

static int on_answer(void *arg, const struct registry_answer *answer)
{
	struct flight *flight = arg;
	struct err err = {0};
	int code = check_version(flight, answer, &err);

	if (code == 0)
		code = check_size(flight, answer, &err);
	if (code == 0 && answer->size != REGISTRY_LENGTH_UNKNOWN)
		code = ingest_set_size(flight->ingest, answer->size, &err);
	if (code == 0 && ingest_size(flight->ingest) != INGEST_SIZE_UNKNOWN)
		code = reserve_first(flight, &err);
	if (code) {
		if (code != ERR_AGAIN)
			log_warn("upstream %s: %s: %s", flight->upstream->name, flight->repository, err.text);
		return code == ERR_INVALID ? ERR_UPSTREAM : code;
	}
	if (answer->etag)
		ingest_set_etag(flight->ingest, answer->etag);
	pthread_mutex_lock(&flight->lock);
	flight->size = ingest_size(flight->ingest);
	flight->state = FLIGHT_FLYING;
	waiter_wake_all(&flight->waiters);
	pthread_mutex_unlock(&flight->lock);
	return 0;
}

static void hash_job(struct work_job *job)
{
	struct flight *flight = (struct flight *)((char *)job - offsetof(struct flight, hash_job));
	struct pull *pull = flight->pull;
	struct err err = {0};

	if (ingest_hash_behind(flight->ingest, &err))
		log_warn("cannot read back a partial: %s", err.text);
	pthread_mutex_lock(&flight->lock);
	flight->hashing = false;
	pthread_mutex_unlock(&flight->lock);
	flight_leave_ingest(flight);
	flight_go_on(flight);
	flight_unref(flight);
	pull_job_end(pull);
}

/* Parts that came out of order are hashed while others come, or all would wait for that at the end. */
static void hash_beside(struct flight *flight)
{
	bool begins;

	if (!ingest_hash_waits(flight->ingest))
		return;
	pthread_mutex_lock(&flight->lock);
	begins = !flight->hashing;
	if (begins) {
		flight->hashing = true;
		flight->inside++;
	}
	pthread_mutex_unlock(&flight->lock);
	if (!begins)
		return;
	pthread_mutex_lock(&flight->pull->lock);
	flight->refs++;
	flight->pull->jobs++;
	pthread_mutex_unlock(&flight->pull->lock);
	flight->hash_job.run = hash_job;
	work_submit(flight->pull->work, &flight->hash_job);
}

static int on_body(void *arg, uint64_t offset, const void *data, size_t len)
{
	struct flight *flight = arg;
	struct err err = {0};
	int code = 0;

	if (ingest_size(flight->ingest) == INGEST_SIZE_UNKNOWN && offset + len > FLIGHT_UNKNOWN_SIZE_MAX)
		code = err_set(&err, ERR_LIMIT, "the upstream tells no length, and does not end");
	else
		code = reserve(flight, room_for(flight, ingest_present_bytes(flight->ingest) + len), &err);
	if (code == 0)
		code = flight_write(flight, offset, data, len, &err);
	if (code == ERR_AGAIN)
		return code;
	if (code) {
		log_warn("cannot go on with a blob of %s/%s: %s", flight->upstream->name, flight->repository, err.text);
		return code == ERR_LIMIT ? ERR_UPSTREAM : code;
	}
	pthread_mutex_lock(&flight->lock);
	waiter_wake_all(&flight->waiters);
	pthread_mutex_unlock(&flight->lock);
	hash_beside(flight);
	return 0;
}

/* Waits for room, on a worker thread, and goes on. */
static void room_job(struct work_job *job)
{
	struct flight *flight = (struct flight *)((char *)job - offsetof(struct flight, room_job));
	struct err err = {0};
	int code = ingest_reserve(flight->ingest, flight->room_wanted, FLIGHT_ROOM_WAIT_MS, &err);

	flight->room_wanted = 0;
	if (code == ERR_NO_SPACE)
		code = pass_on(flight, &err);
	if (code)
		flight_fail(flight, &err);
	else
		flight_ask_upstream(flight);
}

static void on_done(void *arg, const struct err *err)
{
	struct flight *flight = arg;
	uint64_t start, end;
	struct err failed = {0};

	pthread_mutex_lock(&flight->lock);
	flight->transfer = NULL; /* it ends */
	pthread_mutex_unlock(&flight->lock);
	if (err && err->code != ERR_CANCELLED && flight->room_wanted > 0) {
		flight->room_job.run = room_job;
		work_submit(flight->pull->work, &flight->room_job);
		return;
	}
	if (err && flight_pause(flight, err))
		return;
	if (err) {
		flight_fail(flight, err);
		return;
	}
	if (ingest_size(flight->ingest) == INGEST_SIZE_UNKNOWN) {
		/* The server never said how long it is; it ended properly, so this is all. */
		if (ingest_set_size(flight->ingest, ingest_present_from(flight->ingest, 0), &failed)) {
			flight_fail(flight, &failed);
			return;
		}
		pthread_mutex_lock(&flight->lock);
		flight->size = ingest_size(flight->ingest);
		pthread_mutex_unlock(&flight->lock);
	}
	if (ingest_next_gap(flight->ingest, 0, &start, &end)) {
		err_set(&failed, ERR_UPSTREAM, "the upstream ended before all bytes were there");
		flight_fail(flight, &failed);
		return;
	}
	flight_complete(flight);
}

static bool next_gap(void *arg, uint64_t from, uint64_t *start, uint64_t *end)
{
	struct flight *flight = arg;

	return ingest_next_gap(flight->ingest, from, start, end);
}

static const struct transfer_sink transfer_sink = {
	.on_answer = on_answer, .on_body = on_body, .on_done = on_done, .next_gap = next_gap};
static const struct registry_sink head_sink = {.on_answer = on_answer, .on_body = on_body, .on_done = on_done};

/* Start. */

void flight_ask_upstream(struct flight *flight)
{
	char digest[DIGEST_TEXT_MAX], etag[INGEST_ETAG_MAX + 1];
	struct registry_query head = {.kind = REGISTRY_BLOB,
				      .head = true,
				      .repository = flight->repository,
				      .reference = name_of(flight, digest),
				      .login = flight->login};
	struct transfer_query transfer = {.repository = flight->repository, .digest = digest, .login = flight->login};
	uint64_t start, end;

	if (ingest_next_gap(flight->ingest, 0, &start, &end)) {
		ingest_etag(flight->ingest, etag);
		transfer.etag = etag[0] ? etag : NULL;
		transfer.in_order = ingest_is_windowed(flight->ingest);
		transfer.size = ingest_size(flight->ingest) == INGEST_SIZE_UNKNOWN ? 0 : ingest_size(flight->ingest);
		/* Readers of a flight that goes on look at it meanwhile. */
		pthread_mutex_lock(&flight->lock);
		transfer.priority = flight->priority;
		transfer_start(flight->upstream->registry, &transfer, &transfer_sink, flight, &flight->transfer);
		pthread_mutex_unlock(&flight->lock);
	} else {
		/* All there, and not published: a crash came between. The upstream still has to say that this
		 * repository has it. */
		registry_call(flight->upstream->registry, &head, &head_sink, flight);
	}
}

/* Most sizes are known before the upstream tells: room is made here, where it keeps nobody else waiting. */
static int reserve_known(struct flight *flight, struct err *err)
{
	uint64_t size = ingest_size(flight->ingest);
	int code;

	if (size == INGEST_SIZE_UNKNOWN && !sizes_find(flight->pull->sizes, &flight->digest, &size))
		return 0;
	if (ingest_is_spilled(flight->ingest))
		return 0;
	code = ingest_reserve(flight->ingest, size, FLIGHT_ROOM_WAIT_MS, err);
	return code == ERR_NO_SPACE ? pass_on(flight, err) : code;
}

static int open_ingest(struct flight *flight, struct err *err)
{
	struct store *store = flight->pull->store;
	int code = flight->aside ? ingest_open_aside(store, &flight->digest, &flight->ingest, err)
				 : ingest_open(store, &flight->digest, &flight->ingest, err);

	return code ? code : reserve_known(flight, err);
}

static void open_and_ask(struct flight *flight)
{
	struct err err = {0};
	bool left_over;

	if (open_ingest(flight, &err)) {
		flight_fail(flight, &err);
		return;
	}
	pthread_mutex_lock(&flight->lock);
	flight->inside++;
	pthread_mutex_unlock(&flight->lock);
	/* What an earlier run left is hashed beside the transfer. Looked at before that starts: what it brings is
	 * hashed as it comes. */
	left_over = ingest_hash_waits(flight->ingest);
	flight_ask_upstream(flight);
	if (left_over && ingest_hash_behind(flight->ingest, &err))
		log_warn("cannot read back a partial: %s", err.text);
	flight_leave_ingest(flight);
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
