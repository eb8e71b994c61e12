/* SPDX-License-Identifier: Apache-2.0 */
/* One client's interest in one blob. */
#include "server/pull/ask.h"
#include "server/pull/flight.h"
#include "server/pull/missing.h"
#include "server/pull/sizes.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "store/verify.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum blob_state {
	BLOB_LOOK,   /* what is held or flies?                   -> READY, PROBE, FLIGHT, FAILED */
	BLOB_PROBE,  /* the upstream is asked for its head       -> LOOK (it belongs here), READY (HEAD), FLIGHT (a HEAD
			that told no length), FAILED */
	BLOB_FLIGHT, /* waits for the flight to tell the size    -> READY, FAILED; ahead: to be over -> FETCHED, FAILED
		      */
	BLOB_FETCHED, /* ahead: waits until it is published       -> READY, FAILED */
	BLOB_READY,
	BLOB_FAILED,
};

struct pull_blob {
	struct pull *pull;
	struct pull_upstream *upstream;
	char *repository;
	struct client_login *login;
	struct digest digest;
	bool head;
	bool ahead;   /* nobody reads it */
	bool present; /* only what is held, or flies */

	enum blob_state state;
	unsigned landings; /* before the last look into the store */
	struct ask *ask;
	struct flight *flight;
	struct flight_reader reader;
	unsigned version;      /* of the flight's bytes */
	struct waiter *waiter; /* the one that poll() or read() may have registered */
	int fd;
	uint64_t size;
	struct pull_status status;
	struct err err;
};

struct pull_blob *pull_blob_open(struct pull *pull, struct pull_upstream *upstream, const char *repository,
				 const struct digest *digest, bool head)
{
	struct pull_blob *blob = mem_alloc(sizeof(*blob));

	blob->pull = pull;
	blob->upstream = upstream;
	blob->repository = mem_strdup(repository);
	blob->digest = *digest;
	blob->head = head;
	blob->fd = -1;
	return blob;
}

struct pull_blob *pull_blob_open_ahead(struct pull *pull, struct pull_upstream *upstream, const char *repository,
				       const struct digest *digest)
{
	struct pull_blob *blob = pull_blob_open(pull, upstream, repository, digest, false);

	blob->ahead = true;
	return blob;
}

struct pull_blob *pull_blob_open_present(struct pull *pull, struct pull_upstream *upstream, const char *repository,
					 const struct digest *digest)
{
	struct pull_blob *blob = pull_blob_open(pull, upstream, repository, digest, false);

	blob->present = true;
	blob->reader.bystander = true;
	return blob;
}

void pull_blob_login(struct pull_blob *blob, struct client_login *login)
{
	blob->login = client_login_hold(login);
}

static enum pace_priority priority_of(const struct pull_blob *blob)
{
	return blob->ahead ? PACE_PREFETCH : PACE_CLIENT;
}

static enum blob_state fail(struct pull_blob *blob, int code, const char *why)
{
	err_set(&blob->err, code, "%s", why);
	return BLOB_FAILED;
}

/* LOOK. */

static bool is_linked(struct pull_blob *blob)
{
	struct index_repository repository = {blob->upstream->name, blob->repository};
	struct index_link link;
	struct err err;

	return index_get_link(blob->pull->index, &repository, &blob->digest, &link, &err) == 0;
}

static struct ask_request ask_about(const struct pull_blob *blob, bool head, char reference[DIGEST_TEXT_MAX])
{
	return (struct ask_request){
		.upstream = blob->upstream,
		.kind = REGISTRY_BLOB,
		.head = head,
		.repository = blob->repository,
		.reference = digest_format(&blob->digest, reference),
		.landings = blob->landings,
		.priority = priority_of(blob),
		.login = blob->login,
	};
}

static enum blob_state start_probe(struct pull_blob *blob)
{
	char reference[DIGEST_TEXT_MAX];
	struct ask_request request = ask_about(blob, true, reference);
	enum ask_had had;

	blob->ask = ask_open(blob->pull, &request, &had);
	return blob->ask ? BLOB_PROBE : BLOB_LOOK;
}

static enum blob_state open_stored(struct pull_blob *blob)
{
	int code = blob->head || blob->ahead
			   ? store_find_blob(blob->pull->store, &blob->digest, &blob->size, &blob->err)
			   : store_open_blob(blob->pull->store, &blob->digest, &blob->fd, &blob->size, &blob->err);

	if (code == 0) {
		blob->status.outcome = PULL_HIT;
		index_use_blob(blob->pull->index, &blob->digest);
		return BLOB_READY;
	}
	if (code == ERR_IO)
		scrub_suspect(blob->pull->store, &blob->digest); /* nobody may come to fetch it again */
	return BLOB_LOOK;                                        /* not there, or not any more */
}

/* By which a 404 of a GET is remembered. */
static char *get_key(const struct pull_blob *blob)
{
	char reference[DIGEST_TEXT_MAX];
	struct ask_request request = ask_about(blob, false, reference);

	return ask_key(&request);
}

/* What flies, or now does. A flight for another repository, or what is held of one, serves this one only after the
 * upstream confirmed that it has the blob too. This repository's own flight is asked for first: between publishing and
 * linking, what it fetched looks like another's. */
static enum blob_state join_or_start(struct pull_blob *blob, bool linked)
{
	struct flight_key key = {blob->upstream, blob->repository, &blob->digest, priority_of(blob), blob->login};
	_cleanup_free_ char *question = get_key(blob);
	struct pull *pull = blob->pull;
	struct flight_reader *reader = blob->ahead ? NULL : &blob->reader;
	struct flight *foreign = NULL;
	uint64_t size;
	struct err err;
	bool held = !linked && store_find_blob(pull->store, &blob->digest, &size, &err) == 0;
	bool again = false, missing = false, closing;

	pthread_mutex_lock(&pull->lock);
	closing = pull->closing;
	blob->flight = flight_find(pull, &blob->digest, reader);
	if (blob->flight) {
		blob->status.outcome = flight_is_landing(blob->flight) ? PULL_HIT : PULL_COLLAPSED;
		if (!blob->ahead && !blob->present)
			flight_raise(blob->flight);
		if (!linked && !flight_is_from(blob->flight, blob->upstream, blob->repository)) {
			foreign = blob->flight;
			blob->flight = NULL;
		}
	} else if (pull_landings(pull) != blob->landings) {
		again = true;
	} else if (!held && !blob->head && !blob->present && !pull->offline && !closing) {
		blob->status.outcome = PULL_MISS;
		missing = missing_remembered(pull, question, &blob->err);
		if (!missing)
			blob->flight = flight_start(pull, &key, reader);
	}
	pthread_mutex_unlock(&pull->lock);

	if (foreign)
		flight_release(foreign, reader, NULL);
	if (blob->flight)
		return BLOB_FLIGHT;
	if (again)
		return BLOB_LOOK;
	if (blob->present)
		return fail(blob, ERR_NOT_FOUND, "this blob is not held");
	if (missing)
		return BLOB_FAILED;
	if (pull->offline)
		return fail(blob, ERR_OFFLINE, "larder is offline and does not hold this blob");
	if (closing)
		return fail(blob, ERR_CANCELLED, "larder is shutting down");
	return start_probe(blob);
}

static enum blob_state look_once(struct pull_blob *blob)
{
	bool linked = is_linked(blob);

	if (linked && open_stored(blob) == BLOB_READY)
		return BLOB_READY;
	return join_or_start(blob, linked);
}

static enum blob_state look(struct pull_blob *blob)
{
	enum blob_state next;

	do {
		blob->landings = pull_landings(blob->pull);
		next = look_once(blob);
	} while (next == BLOB_LOOK);
	return next;
}

/* PROBE and FLIGHT. */

static enum blob_state probe(struct pull_blob *blob, struct waiter *waiter)
{
	const struct ask_result *result;
	int code = ask_poll(blob->ask, waiter, false, &result, &blob->err);
	uint64_t size;
	struct err err;

	if (code == ERR_AGAIN)
		return BLOB_PROBE;
	if (code)
		return BLOB_FAILED;
	blob->size = result->size;
	if (blob->head) {
		bool held = store_find_blob(blob->pull->store, &blob->digest, &size, &err) == 0;

		blob->status.outcome = held ? PULL_HIT : PULL_PASSED;
		if (held)
			blob->size = size;
		if (blob->size != REGISTRY_LENGTH_UNKNOWN || sizes_find(blob->pull->sizes, &blob->digest, &blob->size))
			return BLOB_READY;
		blob->head = false; /* only its bytes tell how long it is */
	}
	/* The link is being written: what is held or flies may be had from here on. */
	ask_release(blob->ask, NULL);
	blob->ask = NULL;
	blob->landings = pull_landings(blob->pull);
	if (open_stored(blob) == BLOB_READY)
		return BLOB_READY;
	return join_or_start(blob, true);
}

static void remember_missing(struct pull_blob *blob)
{
	_cleanup_free_ char *question = get_key(blob);

	pthread_mutex_lock(&blob->pull->lock);
	missing_remember(blob->pull, question, &blob->err, blob->upstream->options.missing_ttl_ms);
	pthread_mutex_unlock(&blob->pull->lock);
}

static enum blob_state wait_for_flight(struct pull_blob *blob, struct waiter *waiter)
{
	int code = blob->ahead ? flight_poll_fetched(blob->flight, waiter, &blob->size, &blob->err)
			       : flight_poll(blob->flight, waiter, &blob->size, &blob->version, &blob->err);

	if (code == ERR_AGAIN)
		return BLOB_FLIGHT;
	if (code == ERR_NOT_FOUND && flight_is_from(blob->flight, blob->upstream, blob->repository))
		remember_missing(blob);
	if (code == 0 && blob->status.outcome == PULL_MISS && !flight_is_kept(blob->flight))
		blob->status.outcome = PULL_PASSED;
	if (code)
		return BLOB_FAILED;
	return blob->ahead ? BLOB_FETCHED : BLOB_READY;
}

static enum blob_state wait_for_end(struct pull_blob *blob, struct waiter *waiter)
{
	int code = flight_poll_end(blob->flight, waiter, &blob->size, &blob->err);

	if (code == ERR_AGAIN)
		return BLOB_FETCHED;
	return code ? BLOB_FAILED : BLOB_READY;
}

/* Until it is in this state, or a later one. */
static int poll_until(struct pull_blob *blob, enum blob_state wanted, struct waiter *waiter, struct err *err)
{
	blob->waiter = waiter;
	for (;;) {
		enum blob_state before = blob->state;

		if (before == BLOB_FAILED) {
			*err = blob->err;
			return err->code;
		}
		if (before >= wanted) {
			blob->waiter = NULL; /* it is on no list, and may be gone by the time that this is closed */
			return 0;
		}
		switch (before) {
		case BLOB_LOOK:
			blob->state = look(blob);
			break;
		case BLOB_PROBE:
			blob->state = probe(blob, waiter);
			break;
		case BLOB_FLIGHT:
			blob->state = wait_for_flight(blob, waiter);
			break;
		case BLOB_FETCHED:
			blob->state = wait_for_end(blob, waiter);
			break;
		default:
			break;
		}
		if (blob->state == before)
			return ERR_AGAIN; /* the waiter was paused */
	}
}

int pull_blob_poll(struct pull_blob *blob, struct waiter *waiter, struct err *err)
{
	return poll_until(blob, BLOB_READY, waiter, err);
}

int pull_blob_poll_fetched(struct pull_blob *blob, struct waiter *waiter, struct err *err)
{
	return poll_until(blob, BLOB_FETCHED, waiter, err);
}

/* Results. */

uint64_t pull_blob_arrived(const struct pull_blob *blob)
{
	return blob->flight ? flight_arrived(blob->flight) : 0;
}

uint64_t pull_blob_size(const struct pull_blob *blob)
{
	return blob->size;
}

const struct pull_status *pull_blob_status(const struct pull_blob *blob)
{
	return &blob->status;
}

int pull_blob_take_fd(struct pull_blob *blob)
{
	int fd = blob->fd;

	blob->fd = -1;
	return fd;
}

ssize_t pull_blob_read(struct pull_blob *blob, uint64_t offset, void *data, size_t max, struct waiter *waiter)
{
	blob->waiter = waiter;
	/* What is passed on without being kept goes on as its readers do: this one is not worth waiting for. */
	if (blob->present && !flight_is_kept(blob->flight))
		return ERR_NO_SPACE;
	return flight_read(blob->flight, &blob->reader, blob->version, offset, data, max, waiter);
}

ssize_t pull_blob_send(struct pull_blob *blob, uint64_t offset, int socket, size_t max, struct waiter *waiter)
{
	blob->waiter = waiter;
	return flight_send(blob->flight, &blob->reader, blob->version, offset, socket, max, waiter);
}

void pull_blob_doubt(const struct pull_blob *blob, uint64_t offset, uint64_t len)
{
	struct err err; /* the store says it */

	(void)store_doubt_blob(blob->pull->store, &blob->digest, offset, len, &err);
}

void pull_blob_close(struct pull_blob *blob)
{
	if (!blob)
		return;
	ask_release(blob->ask, blob->waiter);
	if (blob->flight)
		flight_release(blob->flight, blob->ahead ? NULL : &blob->reader, blob->ask ? NULL : blob->waiter);
	if (blob->fd >= 0)
		close(blob->fd);
	free(blob->repository);
	client_login_release(blob->login);
	free(blob);
}
