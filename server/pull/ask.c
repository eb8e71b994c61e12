/* SPDX-License-Identifier: Apache-2.0 */
#include "server/pull/ask_internal.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "server/pull/missing.h"
#include "server/pull/referrers_list.h"
#include "upstream/url.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Lifetime. */

static void ask_free(struct ask *ask)
{
	free(ask->key);
	free(ask->repository);
	client_login_release(ask->login);
	free(ask->reference);
	free(ask->tag);
	buf_dispose(&ask->result.body);
	free(ask->result.next);
	free((char *)ask->page.last);
	free((char *)ask->page.token);
	referrers_list_free(ask->list);
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
		waiter_forget(ask->state == ASK_ANSWERED ? &ask->kept_waiters : &ask->waiters, waiter);
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

/* The end, on a worker thread. */

static void run_job(struct work_job *job)
{
	struct ask *ask = (struct ask *)((char *)job - offsetof(struct ask, job));
	struct pull *pull = ask->pull;
	struct err err = {0};
	bool last;
	int code;

	pthread_mutex_lock(&pull->lock);
	ask->keeping = true;
	pthread_mutex_unlock(&pull->lock);
	code = ask->whether ? 0 : learn_keep(ask, &err);
	pthread_mutex_lock(&pull->lock);
	if (code)
		ask->keep_err = err;
	ask->kept = true;
	waiter_wake_all(&ask->kept_waiters);
	leave_table(ask);
	last = ask_unref(ask);
	pthread_mutex_unlock(&pull->lock);
	if (last)
		ask_free(ask);
	pull_job_end(pull);
}

/* The answer, on the loop's thread. */

/* "" when it is said to be where larder does not follow: then the listing is not whole. */
static char *next_address(const struct registry_answer *answer)
{
	char *next = answer->link ? url_link_next(answer->base, answer->link) : NULL;

	if (!next && answer->link && (strcasestr(answer->link, "rel=\"next") || strcasestr(answer->link, "rel=next")))
		next = mem_strdup("");
	return next;
}

/* "" for what no type is: of another length than any, or with control characters or bytes beyond ASCII. */
static const char *type_of(const struct registry_answer *answer)
{
	const char *type = answer->content_type ? answer->content_type : "";
	size_t len = 0;

	while (type[len] >= ' ' && type[len] < 0x7f)
		len++;
	return type[len] || len > PULL_MEDIA_TYPE_MAX ? "" : type;
}

static int on_answer(void *arg, const struct registry_answer *answer)
{
	struct ask *ask = arg;
	struct ask_result *result = &ask->result;

	if (answer->offset == 0)
		buf_clear(&result->body); /* the first answer, or one that starts over */
	result->size = answer->size;
	snprintf(result->media_type, sizeof(result->media_type), "%s", type_of(answer));
	memset(&result->digest, 0, sizeof(result->digest));
	if (answer->content_digest)
		digest_parse(answer->content_digest, &result->digest);
	free(result->next);
	result->next = next_address(answer);
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

static void on_patience_ended(struct loop_timer *timer)
{
	struct ask *ask = (struct ask *)((char *)timer - offsetof(struct ask, timer));

	/* One that said when it wants to be asked again is not silent. */
	if (!registry_is_gated(ask->upstream->registry))
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

static void arm_late(struct loop_task *task)
{
	struct ask *ask = (struct ask *)((char *)task - offsetof(struct ask, late));

	if (!ask->over)
		arm_timer(&ask->arm);
	ask_release(ask, NULL);
}

/* A client comes to wait for what prefetch asked. pull->lock is held. */
static void ask_raise(struct ask *ask)
{
	__atomic_store_n(&ask->priority, PACE_CLIENT, __ATOMIC_RELAXED);
	registry_raise(ask->upstream->registry, ask);
	ask->refs++;
	ask->late.run = arm_late;
	loop_post(ask->pull->loop, &ask->late);
}

static void ask_call(struct ask *ask, const struct registry_query *query);

/* A list in several pieces: the next one is asked for, with the patience of the first. */
static bool goes_on(struct ask *ask)
{
	struct registry_query query = {
		.repository = ask->repository,
		.accept = REFERRERS_TYPE,
		.priority = __atomic_load_n(&ask->priority, __ATOMIC_RELAXED),
		.impatient = ask->impatient,
		.login = ask->login,
	};

	if (!ask->list || referrers_list_take(ask->list, &ask->result, &ask->err) != ERR_AGAIN)
		return false;
	query.kind = referrers_list_kind(ask->list);
	query.reference = referrers_list_reference(ask->list);
	buf_clear(&ask->result.body);
	ask_call(ask, &query);
	return true;
}

/* What a client asks for in vain is the client's affair. */
static bool is_worth_a_line(const struct ask *ask)
{
	int code = ask->err.code;

	return code && code != ERR_NOT_FOUND && code != ERR_CANCELLED && !(ask->whether && code == ERR_DENIED);
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
	if (goes_on(ask))
		return;
	ask->over = true;
	if (!ask->err.code && !ask->whether)
		learn_check(ask);
	log_set_request(ask->request);
	if (is_worth_a_line(ask))
		log_warn("upstream %s: %s %s: %s", ask->upstream->name, ask->repository, ask->reference, ask->err.text);
	log_set_request(NULL);
	pthread_mutex_lock(&pull->lock);
	if (ask->err.code == ERR_NOT_FOUND)
		missing_remember(pull, ask->key, &ask->err, ask->upstream->options.missing_ttl_ms);
	ask->state = ASK_ANSWERED;
	ask->answered_ms = clock_ms();
	waiter_wake_all(&ask->waiters);
	/* Whoever asks from now on does not get this failure, but may be luckier. */
	if (ask->err.code)
		leave_table(ask);
	pthread_mutex_unlock(&pull->lock);
	ask->job.run = run_job;
	work_submit(pull->disk, &ask->job);
}

static const struct registry_sink sink = {.on_answer = on_answer, .on_body = on_body, .on_done = on_done};

/* Asking. */

char *ask_key(const struct ask_request *request)
{
	return mem_printf("%s\n%s\n%d%d\n%" PRIx64 "\n%s\n%s", request->upstream->name, request->repository,
			  request->kind, request->head, request->accept_key, request->reference,
			  request->whether ? client_login_key(request->login) : "");
}

static void ask_call(struct ask *ask, const struct registry_query *query)
{
	/* What prefetch asks may wait long for its turn, which says nothing of the upstream. */
	if (query->priority == PACE_CLIENT) {
		ask->arm.run = arm_timer;
		loop_post(ask->pull->loop, &ask->arm);
	}
	registry_call(ask->upstream->registry, query, &sink, ask);
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
	ask->tag = mem_strdup(request->tag);
	ask->accept_key = request->accept_key;
	ask->result.body.max = request->kind == REGISTRY_TAGS ? PULL_TAGS_MAX : PULL_MANIFEST_MAX;
	if (request->kind == REGISTRY_MANIFEST || request->kind == REGISTRY_BLOB || request->kind == REGISTRY_REFERRERS)
		digest_parse(request->reference, &ask->wanted);
	if (request->page)
		ask->page = (struct pull_page){.count = request->page->count,
					       .last = mem_strdup(request->page->last),
					       .token = mem_strdup(request->page->token)};
	if (request->kind == REGISTRY_REFERRERS)
		ask->list = referrers_list_new(&ask->wanted);
	ask->login = client_login_hold(request->login);
	ask->whether = request->whether;
	ask->impatient = request->impatient;
	ask->priority = request->priority;
	strcpy(ask->request, log_request_id());
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
		.priority = request->priority,
		.impatient = request->impatient,
		.login = request->login,
		.registry_only = request->whether,
	};

	ask_call(ask, &query);
}

/* Whether an answer may not be given any more to who comes after it. */
static bool is_old(const struct ask *ask, const struct ask_request *request)
{
	uint64_t age_ms = clock_ms() - ask->answered_ms;
	struct digest digest;
	int64_t freshness_s;

	if (ask->whether || (ask->kind != REGISTRY_REFERRERS && digest_parse(request->reference, &digest) == 0))
		return false;
	if (ask->kind != REGISTRY_MANIFEST)
		return age_ms >= ask->upstream->options.tag_ttl_ms;
	freshness_s = pull_tag_freshness_s(ask->upstream, ask->reference);
	return freshness_s != PULL_FRESH_FOREVER_S && age_ms >= (uint64_t)freshness_s * 1000;
}

/* What else in the table has the answer: a GET of the same, for a HEAD, and whatever turned out to be the manifest
 * whose digest is asked for. pull->lock is held. */
static struct ask *find_kin(struct pull *pull, const struct ask_request *request)
{
	struct ask_request get = *request;
	_cleanup_free_ char *key = NULL;
	struct ask *ask = NULL, *next;
	struct digest wanted;

	if (request->kind != REGISTRY_MANIFEST || request->whether)
		return NULL;
	get.head = false;
	key = ask_key(&get);
	HASH_FIND_STR(pull->asks, key, ask);
	if (ask || digest_parse(request->reference, &wanted))
		return ask;
	HASH_ITER (hh, pull->asks, ask, next)
		if (ask->state == ASK_ANSWERED && ask->kind == REGISTRY_MANIFEST && !ask->head && !ask->whether &&
		    ask->upstream == request->upstream && strcmp(ask->repository, request->repository) == 0 &&
		    digest_equal(&ask->result.digest, &wanted))
			return ask;
	return NULL;
}

/* Whether what is asked already can write the request's tag with what it keeps: it does so under its own Accept, and
 * what find_kin() found may have been asked under another. A tag that is not written so the next HEAD moves.
 * pull->lock is held. */
static bool takes_tag(const struct ask *ask, const struct ask_request *request)
{
	return request->tag && !ask->tag && !ask->keeping && ask->wanted.algorithm &&
	       ask->accept_key == request->accept_key;
}

struct ask *ask_open(struct pull *pull, const struct ask_request *request, enum ask_had *had)
{
	_cleanup_free_ char *key = ask_key(request);
	struct ask *ask;
	struct err missing;
	bool known_missing;

	pthread_mutex_lock(&pull->lock);
	HASH_FIND_STR(pull->asks, key, ask);
	if (!ask)
		ask = find_kin(pull, request);
	*had = ASK_BEGUN;
	if (ask) {
		*had = ask->state == ASK_RUNNING ? ASK_JOINED : is_old(ask, request) ? ASK_OLD : ASK_LATE;
		ask->refs++;
		if (ask->priority == PACE_PREFETCH && request->priority == PACE_CLIENT)
			ask_raise(ask);
		if (takes_tag(ask, request))
			ask->tag = mem_strdup(request->tag);
		pthread_mutex_unlock(&pull->lock);
		return ask;
	}
	if (pull_landings(pull) != request->landings) {
		pthread_mutex_unlock(&pull->lock);
		return NULL;
	}
	known_missing = missing_remembered(pull, key, &missing);
	ask = ask_new(pull, request, take_pointer(key));
	ask->refs = 1;
	if (known_missing) {
		ask->err = missing;
		ask->state = ASK_ANSWERED;
		ask->kept = true;
	} else if (!pull->closing) {
		ask->refs++;
		pull->jobs++;
		HASH_ADD_KEYPTR(hh, pull->asks, ask->key, strlen(ask->key), ask);
		ask_start(ask, request);
	}
	pthread_mutex_unlock(&pull->lock);
	return ask;
}

bool ask_is_head(const struct ask *ask)
{
	return ask->head;
}

enum pull_outcome ask_outcome(enum ask_had had)
{
	return had == ASK_BEGUN ? PULL_MISS : had == ASK_JOINED ? PULL_COLLAPSED : PULL_HIT;
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

int ask_poll_kept(struct ask *ask, struct waiter *waiter, struct err *err)
{
	struct pull *pull = ask->pull;
	int code = 0;

	pthread_mutex_lock(&pull->lock);
	if (ask->kept) {
		code = ask->keep_err.code;
		if (code)
			*err = ask->keep_err;
	} else if (pull->closing) {
		code = err_set(err, ERR_CANCELLED, "larder is shutting down");
	} else {
		waiter_register(&ask->kept_waiters, waiter);
		code = ERR_AGAIN;
	}
	pthread_mutex_unlock(&pull->lock);
	return code;
}

bool ask_outlast(struct ask **ask, struct waiter *waiter)
{
	struct err err; /* whether it could be written, the next look tells */

	if (ask_poll_kept(*ask, waiter, &err) == ERR_AGAIN)
		return false;
	ask_release(take_pointer(*ask), NULL);
	return true;
}

void ask_in_background(struct pull *pull, const struct ask_request *request)
{
	enum ask_had had;

	ask_release(ask_open(pull, request, &had), NULL);
}

void asks_fail_all(struct pull *pull)
{
	struct ask *ask, *next;

	HASH_ITER (hh, pull->asks, ask, next) {
		waiter_wake_all(&ask->waiters);
		waiter_wake_all(&ask->kept_waiters);
	}
}
