/* SPDX-License-Identifier: Apache-2.0 */
#include "server/pull/ask.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "server/pull/sizes.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MISSING_MAX 4096

struct ask {
	struct pull *pull;
	char *key;
	UT_hash_handle hh;
	unsigned refs; /* the table's, and one a client */
	enum { ASK_RUNNING, ASK_ANSWERED } state;
	struct waiter *waiters;

	struct pull_upstream *upstream;
	enum registry_kind kind;
	bool head;
	char *repository, *reference;
	uint64_t accept_key;
	struct digest wanted; /* when the reference is a digest */

	struct ask_result result;
	struct err err;
	struct work_job job; /* writes what was learnt */
	bool left;           /* the table already */

	struct loop_task arm;    /* sets the timer; posted before the call */
	struct loop_timer timer; /* patience ends */
	bool overdue;            /* it has ended; under pull->lock */
};

struct missing {
	char *key;
	UT_hash_handle hh;
	uint64_t until_ms;
};

/* What upstream did not have a moment ago. pull->lock is held. */

static void missing_drop(struct pull *pull, struct missing *missing)
{
	HASH_DEL(pull->missing, missing);
	free(missing->key);
	free(missing);
}

static bool missing_remembered(struct pull *pull, const char *key)
{
	struct missing *missing;

	HASH_FIND_STR(pull->missing, key, missing);
	if (!missing)
		return false;
	if (clock_ms() < missing->until_ms)
		return true;
	missing_drop(pull, missing);
	return false;
}

static void missing_remember(struct pull *pull, const char *key, uint64_t ttl_ms)
{
	struct missing *missing;

	if (ttl_ms == 0 || missing_remembered(pull, key))
		return;
	/* The table keeps the order of insertion: its head is the oldest. */
	if (HASH_COUNT(pull->missing) >= MISSING_MAX)
		missing_drop(pull, pull->missing);
	missing = mem_alloc(sizeof(*missing));
	missing->key = mem_strdup(key);
	missing->until_ms = clock_ms() + ttl_ms;
	HASH_ADD_KEYPTR(hh, pull->missing, missing->key, strlen(missing->key), missing);
}

void missing_free(struct pull *pull)
{
	while (pull->missing)
		missing_drop(pull, pull->missing);
}

/* Lifetime. */

static void ask_free(struct ask *ask)
{
	free(ask->key);
	free(ask->repository);
	free(ask->reference);
	buf_dispose(&ask->result.body);
	free(ask->result.link);
	free(ask);
}

/* pull->lock is held; true when the caller is to free it after giving the lock back. */
static bool ask_unref(struct ask *ask)
{
	assert(ask->refs > 0);
	return --ask->refs == 0;
}

void ask_release(struct ask *ask, struct waiter *waiter)
{
	struct pull *pull;
	bool last;

	if (!ask)
		return;
	pull = ask->pull;
	pthread_mutex_lock(&pull->lock);
	if (waiter)
		waiter_forget(&ask->waiters, waiter);
	last = ask_unref(ask);
	pthread_mutex_unlock(&pull->lock);
	if (last)
		ask_free(ask);
}

/* pull->lock is held. */
static void leave_table(struct ask *ask)
{
	if (ask->left)
		return;
	ask->left = true;
	HASH_DEL(ask->pull->asks, ask);
	pull_note_landing(ask->pull);
}

/* Writing down what was learnt, on a worker thread. */

/* A HEAD says that the tag has moved to a manifest that is not held yet. Until it is, the tag keeps its old meaning
 * here: should the fetch be refused (registries count GETs, and not HEADs), there is something to fall back on. */
static bool forgets_what_is_held(struct ask *ask, const struct index_repository *repository)
{
	struct index_tag known;
	struct err err;
	uint64_t size;

	if (ask->wanted.algorithm ||
	    index_get_tag(ask->pull->index, repository, ask->reference, ask->accept_key, &known, &err))
		return false;
	return !digest_equal(&known.digest, &ask->result.digest) &&
	       store_find_blob(ask->pull->store, &known.digest, &size, &err) == 0 &&
	       store_find_blob(ask->pull->store, &ask->result.digest, &size, &err) != 0;
}

static void learn_manifest(struct ask *ask)
{
	const struct ask_result *result = &ask->result;
	struct index_repository repository = {.upstream = ask->upstream->name, .repository = ask->repository};
	struct index_tag tag = {.digest = result->digest, .size = result->size, .accept = ask->accept_key};
	struct index_change changes[2] = {
		{.kind = INDEX_PUT_LINK, .repository = repository, .digest = &result->digest}};
	size_t count = 1;
	struct err err = {0};

	if (result->digest.algorithm == 0 || (ask->head && forgets_what_is_held(ask, &repository)))
		return;
	if (!ask->head && store_put_blob(ask->pull->store, &result->digest, result->body.data ? result->body.data : "",
					 result->body.len, &err)) {
		log_warn("cannot keep manifest %s/%s %s: %s", ask->upstream->name, ask->repository, ask->reference,
			 err.text);
		return;
	}
	memcpy(changes[0].link.media_type, result->media_type, sizeof(result->media_type));
	if (ask->wanted.algorithm == 0) {
		tag.checked = clock_wall_s();
		tag.fetched = tag.checked;
		memcpy(tag.media_type, result->media_type, sizeof(result->media_type));
		changes[count++] = (struct index_change){
			.kind = INDEX_PUT_TAG, .repository = repository, .tag = ask->reference, .tag_record = &tag};
	}
	if (index_write(ask->pull->index, changes, count, &err))
		log_warn("cannot keep what %s/%s %s means: %s", ask->upstream->name, ask->repository, ask->reference,
			 err.text);
}

static void learn(struct ask *ask)
{
	struct index_change change = {.repository = {ask->upstream->name, ask->repository}};
	struct err err;

	if (ask->err.code == ERR_NOT_FOUND && ask->kind == REGISTRY_MANIFEST && ask->wanted.algorithm == 0) {
		change.kind = INDEX_DELETE_TAG;
		change.tag = ask->reference;
		index_write(ask->pull->index, &change, 1, &err);
	} else if (ask->err.code == 0 && ask->kind == REGISTRY_MANIFEST) {
		learn_manifest(ask);
	} else if (ask->err.code == 0 && ask->kind == REGISTRY_BLOB) {
		change.kind = INDEX_PUT_LINK;
		change.digest = &ask->wanted;
		index_write(ask->pull->index, &change, 1, &err);
	}
}

static void run_job(struct work_job *job)
{
	struct ask *ask = (struct ask *)((char *)job - offsetof(struct ask, job));
	struct pull *pull = ask->pull;
	bool last;

	learn(ask);
	pthread_mutex_lock(&pull->lock);
	leave_table(ask);
	last = ask_unref(ask);
	pthread_mutex_unlock(&pull->lock);
	if (last)
		ask_free(ask);
	pull_job_end(pull);
}

/* The answer, on the loop's thread. */

static int on_answer(void *arg, const struct registry_answer *answer)
{
	struct ask *ask = arg;
	struct ask_result *result = &ask->result;

	if (answer->offset == 0)
		buf_clear(&result->body); /* the first answer, or one that starts over */
	result->size = answer->size;
	snprintf(result->media_type, sizeof(result->media_type), "%s",
		 answer->content_type ? answer->content_type : "");
	memset(&result->digest, 0, sizeof(result->digest));
	if (answer->content_digest)
		digest_parse(answer->content_digest, &result->digest);
	free(result->link);
	result->link = mem_strdup(answer->link);
	if (!ask->head && answer->size != REGISTRY_LENGTH_UNKNOWN && answer->size > result->body.max)
		return err_set(&ask->err, ERR_LIMIT,
			       "the upstream's answer is larger than larder takes: %" PRIu64 " bytes", answer->size);
	return 0;
}

static int on_body(void *arg, uint64_t offset, const void *data, size_t len)
{
	struct ask *ask = arg;

	assert(offset == ask->result.body.len);
	if (buf_append(&ask->result.body, data, len))
		return err_set(&ask->err, ERR_LIMIT,
			       "the upstream's answer is larger than larder takes: over %zu bytes",
			       ask->result.body.max);
	return 0;
}

/* Hashing decides what a manifest is, never the header that came with it; the header only says with which algorithm a
 * tag's is named. */
static void check_manifest(struct ask *ask)
{
	struct ask_result *result = &ask->result;
	const char *data = result->body.data ? result->body.data : "";
	uint8_t algorithm = ask->wanted.algorithm ? ask->wanted.algorithm : result->digest.algorithm;
	struct digest digest;

	if (ask->head)
		return;
	digest_of(algorithm ? algorithm : DIGEST_SHA256, data, result->body.len, &digest);
	if (ask->wanted.algorithm && !digest_equal(&digest, &ask->wanted)) {
		err_set(&ask->err, ERR_DIGEST, "the upstream's bytes of manifest %s do not match this digest",
			ask->reference);
		return;
	}
	result->digest = digest;
	result->size = result->body.len;
	sizes_learn(ask->pull->sizes, data, result->body.len);
}

static void on_patience_ended(struct loop_timer *timer)
{
	struct ask *ask = (struct ask *)((char *)timer - offsetof(struct ask, timer));

	health_note_silence(ask->upstream);
	pthread_mutex_lock(&ask->pull->lock);
	ask->overdue = true;
	waiter_wake_all(&ask->waiters);
	pthread_mutex_unlock(&ask->pull->lock);
}

static void arm_timer(struct loop_task *task)
{
	struct ask *ask = (struct ask *)((char *)task - offsetof(struct ask, arm));

	ask->timer.run = on_patience_ended;
	loop_timer_set(ask->pull->loop, &ask->timer, HEALTH_PATIENCE_MS);
}

static void on_done(void *arg, const struct err *err)
{
	struct ask *ask = arg;
	struct pull *pull = ask->pull;

	loop_timer_clear(pull->loop, &ask->timer);
	if (!err || (err->code != ERR_UPSTREAM && err->code != ERR_CANCELLED))
		health_note_answer(ask->upstream);

	if (err && !ask->err.code)
		ask->err = *err;
	if (!err && ask->kind == REGISTRY_MANIFEST)
		check_manifest(ask);
	if (ask->err.code && ask->err.code != ERR_NOT_FOUND && ask->err.code != ERR_CANCELLED)
		log_warn("upstream %s: %s %s: %s", ask->upstream->name, ask->repository, ask->reference, ask->err.text);
	pthread_mutex_lock(&pull->lock);
	if (ask->err.code == ERR_NOT_FOUND)
		missing_remember(pull, ask->key, ask->upstream->options.missing_ttl_ms);
	ask->state = ASK_ANSWERED;
	waiter_wake_all(&ask->waiters);
	/* Whoever asks from now on does not get this failure, but may be luckier. */
	if (ask->err.code)
		leave_table(ask);
	pthread_mutex_unlock(&pull->lock);
	ask->job.run = run_job;
	work_submit(pull->work, &ask->job);
}

static const struct registry_sink sink = {.on_answer = on_answer, .on_body = on_body, .on_done = on_done};

/* Asking. */

static char *key_make(const struct ask_request *request)
{
	return mem_printf("%s\n%s\n%d%d\n%" PRIx64 "\n%s", request->upstream->name, request->repository, request->kind,
			  request->head, request->accept_key, request->reference);
}

static struct ask *ask_new(struct pull *pull, const struct ask_request *request, char *key)
{
	struct ask *ask = mem_alloc(sizeof(*ask));

	ask->pull = pull;
	ask->key = key;
	ask->upstream = request->upstream;
	ask->kind = request->kind;
	ask->head = request->head;
	ask->repository = mem_strdup(request->repository);
	ask->reference = mem_strdup(request->reference);
	ask->accept_key = request->accept_key;
	ask->result.body.max = request->kind == REGISTRY_TAGS ? PULL_TAGS_MAX : PULL_MANIFEST_MAX;
	if (request->kind != REGISTRY_TAGS)
		digest_parse(request->reference, &ask->wanted);
	return ask;
}

static void ask_start(struct ask *ask, const struct ask_request *request)
{
	struct registry_query query = {
		.kind = request->kind,
		.head = request->head,
		.repository = request->repository,
		.reference = request->reference,
		.accept = request->accept,
		.priority = PACE_CLIENT,
		.impatient = request->impatient,
	};

	ask->arm.run = arm_timer;
	loop_post(ask->pull->loop, &ask->arm);
	registry_call(request->upstream->registry, &query, &sink, ask);
}

struct ask *ask_open(struct pull *pull, const struct ask_request *request, bool *joined)
{
	_cleanup_free_ char *key = key_make(request);
	struct ask *ask;
	bool known_missing;

	pthread_mutex_lock(&pull->lock);
	HASH_FIND_STR(pull->asks, key, ask);
	*joined = ask != NULL;
	if (ask) {
		ask->refs++;
		pthread_mutex_unlock(&pull->lock);
		return ask;
	}
	if (pull_landings(pull) != request->landings) {
		pthread_mutex_unlock(&pull->lock);
		return NULL;
	}
	known_missing = missing_remembered(pull, key);
	ask = ask_new(pull, request, take_pointer(key));
	ask->refs = 1;
	if (known_missing) {
		err_set(&ask->err, ERR_NOT_FOUND, "%s did not have it a moment ago", request->upstream->name);
		ask->state = ASK_ANSWERED;
	} else if (!pull->closing) {
		ask->refs++;
		pull->jobs++;
		HASH_ADD_KEYPTR(hh, pull->asks, ask->key, strlen(ask->key), ask);
		ask_start(ask, request);
	}
	pthread_mutex_unlock(&pull->lock);
	return ask;
}

int ask_poll(struct ask *ask, struct waiter *waiter, bool impatient, const struct ask_result **result, struct err *err)
{
	struct pull *pull = ask->pull;
	int code = 0;

	pthread_mutex_lock(&pull->lock);
	if (ask->state == ASK_ANSWERED) {
		code = ask->err.code;
		if (code)
			*err = ask->err;
	} else if (pull->closing) {
		code = err_set(err, ERR_CANCELLED, "larder is shutting down");
	} else if (impatient && ask->overdue) {
		code = err_set(err, ERR_UPSTREAM, "%s does not answer", ask->upstream->name);
	} else {
		waiter_register(&ask->waiters, waiter);
		code = ERR_AGAIN;
	}
	pthread_mutex_unlock(&pull->lock);
	*result = &ask->result;
	return code;
}

void ask_in_background(struct pull *pull, const struct ask_request *request)
{
	bool joined;

	ask_release(ask_open(pull, request, &joined), NULL);
}

void asks_fail_all(struct pull *pull)
{
	struct ask *ask, *next;

	HASH_ITER (hh, pull->asks, ask, next)
		waiter_wake_all(&ask->waiters);
}
