/* SPDX-License-Identifier: Apache-2.0 */
#include "server/pull/sparse.h"

#include "base/buf.h"
#include "server/pull/flight_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define ROOM_WAIT_MS 10000 /* for eviction to make room */

/* A read that runs; in the table under pull->lock. */
struct sparse {
	struct digest digest;
	UT_hash_handle hh;
	struct flight *successor;

	struct ingest *ingest;
	uint64_t size;
	uint64_t wanted, end; /* of the call that is out: the next byte, and the first that is not its own */
	pthread_mutex_t lock;
	pthread_cond_t done;
	bool ended; /* the call has; under the lock, like its error */
	struct err err;
};

bool sparse_precedes(struct pull *pull, struct flight *flight)
{
	struct sparse *sparse;

	HASH_FIND(hh, pull->sparse, &flight->digest, sizeof(flight->digest), sparse);
	if (sparse)
		sparse->successor = flight;
	return sparse != NULL;
}

/* Waits for its turn, and enters the table. */
static int enter(struct pull *pull, struct sparse *sparse, struct err *err)
{
	struct sparse *before;
	struct flight *flight;
	int code = 0;

	pthread_mutex_lock(&pull->lock);
	for (;;) {
		HASH_FIND(hh, pull->flights, &sparse->digest, sizeof(sparse->digest), flight);
		HASH_FIND(hh, pull->sparse, &sparse->digest, sizeof(sparse->digest), before);
		if (flight || pull->closing || pull->offline || !before)
			break;
		pthread_cond_wait(&pull->sparse_ended, &pull->lock);
	}
	if (pull->closing)
		code = err_set(err, ERR_CANCELLED, "larder is shutting down");
	else if (flight)
		code = err_set(err, ERR_BUSY, "the blob is in flight");
	else if (pull->offline)
		code = err_set(err, ERR_OFFLINE, "larder is offline and does not hold this blob");
	if (!code) {
		HASH_ADD(hh, pull->sparse, digest, sizeof(sparse->digest), sparse);
		pull->jobs++;
	}
	pthread_mutex_unlock(&pull->lock);
	return code;
}

/* The partial is closed. */
static void leave(struct pull *pull, struct sparse *sparse)
{
	pthread_mutex_lock(&pull->lock);
	HASH_DEL(pull->sparse, sparse);
	if (sparse->successor)
		work_submit(pull->work, &sparse->successor->open_job);
	pthread_cond_broadcast(&pull->sparse_ended);
	pthread_mutex_unlock(&pull->lock);
	pull_job_end(pull);
}

/* The sink, on the loop's thread. */

static int on_answer(void *arg, const struct registry_answer *answer)
{
	struct sparse *sparse = arg;
	char etag[INGEST_ETAG_MAX + 1];

	/* The whole instead of a part: no ranges, or another version than the partial is of. */
	if (answer->offset != sparse->wanted ||
	    (answer->size != REGISTRY_LENGTH_UNKNOWN && answer->size != sparse->size))
		return ERR_UNSUPPORTED;
	ingest_etag(sparse->ingest, etag);
	if (answer->etag && !etag[0])
		ingest_set_etag(sparse->ingest, answer->etag);
	return 0;
}

static int on_body(void *arg, uint64_t offset, const void *data, size_t len)
{
	struct sparse *sparse = arg;
	size_t part = len < sparse->end - offset ? len : (size_t)(sparse->end - offset);
	struct err err;
	int code = ingest_write(sparse->ingest, offset, data, part, &err);

	sparse->wanted = offset + part;
	if (code == ERR_AGAIN)
		code = ERR_NO_SPACE; /* the disk takes no more, nor does what memory is given instead */
	if (code == 0 && part < len)
		code = ERR_UNSUPPORTED; /* the whole instead of a part, for which no room was reserved */
	return code == ERR_LIMIT ? ERR_UNSUPPORTED : code;
}

static void on_done(void *arg, const struct err *err)
{
	struct sparse *sparse = arg;

	pthread_mutex_lock(&sparse->lock);
	if (err)
		sparse->err = *err;
	sparse->ended = true;
	pthread_cond_signal(&sparse->done);
	pthread_mutex_unlock(&sparse->lock);
}

static const struct registry_sink sink = {.on_answer = on_answer, .on_body = on_body, .on_done = on_done};

/* Fetches one gap, and waits for it. */
static int fetch(struct sparse *sparse, const struct sparse_query *query, uint64_t start, uint64_t end, struct err *err)
{
	char digest[DIGEST_TEXT_MAX], etag[INGEST_ETAG_MAX + 1];
	struct registry_query call = {.kind = REGISTRY_BLOB,
				      .repository = query->repository,
				      .reference = digest_format(query->digest, digest),
				      .offset = start,
				      .end = end};

	ingest_etag(sparse->ingest, etag);
	call.etag = etag[0] ? etag : NULL;
	sparse->wanted = start;
	sparse->end = end;
	sparse->ended = false;
	sparse->err = (struct err){0};
	registry_call(query->upstream->registry, &call, &sink, sparse);
	pthread_mutex_lock(&sparse->lock);
	while (!sparse->ended)
		pthread_cond_wait(&sparse->done, &sparse->lock);
	pthread_mutex_unlock(&sparse->lock);
	if (!sparse->err.code && sparse->wanted == start) /* the next answer would be the same */
		err_set(&sparse->err, ERR_UNSUPPORTED, "the upstream answered without a byte of the part");
	if (sparse->err.code)
		*err = sparse->err;
	return sparse->err.code;
}

static int fetch_gaps(struct sparse *sparse, const struct sparse_query *query, struct err *err)
{
	uint64_t end = query->offset + query->len, start, gap_end;
	int code = 0;

	while (!code && ingest_next_gap(sparse->ingest, query->offset, &start, &gap_end) && start < end)
		code = fetch(sparse, query, start, gap_end < end ? gap_end : end, err);
	return code;
}

static int read_part(struct pull *pull, struct sparse *sparse, const struct sparse_query *query, uint8_t *data,
		     struct err *err)
{
	size_t done = 0;
	int code = ingest_open(pull->store, query->digest, &sparse->ingest, err);

	if (code)
		return code;
	code = ingest_set_size(sparse->ingest, query->size, err);
	if (code)
		return err_set(err, ERR_UNSUPPORTED, "what is there of the blob is of another size");
	code = ingest_reserve(sparse->ingest, ingest_present_bytes(sparse->ingest) + query->len, ROOM_WAIT_MS, err);
	if (!code)
		code = fetch_gaps(sparse, query, err);
	while (!code && done < query->len) {
		ssize_t got = ingest_read(sparse->ingest, query->offset + done, data + done, query->len - done);

		if (got <= 0)
			code = err_set(err, ERR_IO, "cannot read back what was fetched of a blob");
		else
			done += (size_t)got;
	}
	return code;
}

int pull_read_sparse(struct pull *pull, const struct sparse_query *query, void *data, struct err *err)
{
	struct sparse *sparse = mem_alloc(sizeof(*sparse));
	int code;

	assert(query->offset < query->size && query->len <= query->size - query->offset);
	sparse->digest = *query->digest;
	sparse->size = query->size;
	pthread_mutex_init(&sparse->lock, NULL);
	pthread_cond_init(&sparse->done, NULL);
	code = enter(pull, sparse, err);
	if (!code) {
		code = read_part(pull, sparse, query, data, err);
		ingest_close(sparse->ingest);
		leave(pull, sparse);
	}
	pthread_cond_destroy(&sparse->done);
	pthread_mutex_destroy(&sparse->lock);
	free(sparse);
	return code;
}
