/* SPDX-License-Identifier: Apache-2.0 */
/* What a flight asks the upstream for, and what it does with what comes, on the loop's thread: nothing here waits. What
 * has to (room that must be made first, hashing behind) is a worker thread's job, and the loop goes on. */
#include "server/pull/flight_internal.h"

#include "base/log.h"
#include "server/pull/sizes.h"

#include <inttypes.h>
#include <string.h>

#define FLIGHT_ROOM_WAIT_MS  10000                /* for eviction to make room */
#define FLIGHT_SAID_SIZE_MAX ((uint64_t)1 << 40)  /* of a blob that no manifest told of */
#define FLIGHT_ROOM_STEP     ((uint64_t)16 << 20) /* what is reserved at once while the size is not known */
#define FLIGHT_UNKNOWN_SIZE_MAX                                                                                        \
	((uint64_t)4 << 30) /* of a blob of which neither manifest nor upstream tells the length */

/* The server sends the whole from its start. Another length is another thing than what we hold of it, and must not be
 * mixed with it. Another ETag may be: but clients that had some of it are better served by going on, as it is the
 * digest that decides, and servers side by side have their own ETags for the same. Nothing is mixed with what is all
 * there. */
static int check_version(struct flight *flight, const struct registry_answer *answer, struct err *err)
{
	char etag[INGEST_ETAG_MAX + 1];
	uint64_t size = ingest_size(flight->ingest), start, end;
	bool other_size =
		size != INGEST_SIZE_UNKNOWN && answer->size != REGISTRY_LENGTH_UNKNOWN && size != answer->size;
	bool other_etag;
	int code = 0;

	ingest_etag(flight->ingest, etag);
	if (answer->offset > 0) {
		if (other_size)
			return err_set(err, ERR_AGAIN, "the upstream names another size than before");
		return 0;
	}
	other_etag = answer->etag && etag[0] && strcmp(etag, answer->etag) != 0 &&
		     ingest_next_gap(flight->ingest, 0, &start, &end);
	pthread_mutex_lock(&flight->lock);
	if (other_size || (other_etag && flight->state != FLIGHT_FLYING)) {
		code = ingest_discard(flight->ingest, err);
		flight->version++;
		waiter_wake_all(&flight->waiters);
	}
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
	if (answer->size != REGISTRY_LENGTH_UNKNOWN && answer->size != told) {
		/* Or the manifest is the lie, and another repository's: the next who asks is not refused for it. */
		sizes_dispute(flight->pull->sizes, &flight->digest);
		return err_set(err, ERR_UPSTREAM, "the upstream says %" PRIu64 " bytes, and the manifest %" PRIu64,
			       answer->size, told);
	}
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

int flight_reserve_known(struct flight *flight, struct err *err)
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
	flight_go_on(flight); /* one that is not held whole goes no further than its hash */
	flight_unref(flight);
	pull_job_end(pull);
}

/* Parts that came out of order are hashed while others come, or all would wait for that at the end. On a disk thread:
 * what an earlier run left may be much, and the few worker threads open what others ask for. */
void flight_hash_beside(struct flight *flight)
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
	work_submit(flight->pull->disk, &flight->hash_job);
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
	flight_hash_beside(flight);
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

void flight_ask_upstream(struct flight *flight)
{
	char digest[DIGEST_TEXT_MAX], etag[INGEST_ETAG_MAX + 1];
	struct registry_query head = {.kind = REGISTRY_BLOB,
				      .head = true,
				      .repository = flight->repository,
				      .reference = digest_format(&flight->digest, digest),
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
