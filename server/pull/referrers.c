/* SPDX-License-Identifier: Apache-2.0 */
/* One client's interest in what refers to a manifest. */
#include "server/pull/page_cache.h"
#include "server/pull/referrers_list.h"

#include "base/cleanup.h"
#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

enum referrers_state {
	REFERRERS_LOOK, /* is a list known, and fresh? -> READY, ASK, FAILED */
	REFERRERS_ASK,  /* the upstream is asked       -> READY, LOOK, FAILED */
	REFERRERS_READY,
	REFERRERS_FAILED,
};

struct pull_referrers {
	struct pull *pull;
	struct pull_upstream *upstream;
	char *repository;
	struct client_login *login;
	struct digest subject;
	char *artifact_type;
	enum pace_priority priority;

	enum referrers_state state;
	struct ask *ask;
	enum ask_had had;
	struct waiter *waiter;
	struct index_tag known; /* the list that is held; without a digest: none */
	struct page *page;      /* an empty one of a manifest that is not held */

	char *stored, *filtered;
	const char *data;
	size_t len;
	struct pull_status status;
	struct err err;
};

struct pull_referrers *pull_referrers_open(struct pull *pull, struct pull_upstream *upstream, const char *repository,
					   const struct digest *subject, const char *artifact_type)
{
	struct pull_referrers *referrers = mem_alloc(sizeof(*referrers));

	referrers->pull = pull;
	referrers->upstream = upstream;
	referrers->repository = mem_strdup(repository);
	referrers->subject = *subject;
	referrers->artifact_type = mem_strdup(artifact_type);
	return referrers;
}

void pull_referrers_login(struct pull_referrers *referrers, struct client_login *login)
{
	referrers->login = client_login_hold(login);
}

void pull_referrers_defer(struct pull_referrers *referrers)
{
	referrers->priority = PACE_PREFETCH;
}

/* So that nobody waits long; prefetch has the time. */
static bool has_fallback(const struct pull_referrers *referrers)
{
	return (referrers->page || referrers->known.digest.algorithm) && referrers->priority == PACE_CLIENT;
}

static enum referrers_state fail(struct pull_referrers *referrers, const struct err *err)
{
	referrers->err = *err;
	return REFERRERS_FAILED;
}

static enum referrers_state use_data(struct pull_referrers *referrers, const char *data, size_t len)
{
	struct err err;

	referrers->data = data;
	referrers->len = len;
	if (!referrers->artifact_type)
		return REFERRERS_READY;
	referrers->filtered = referrers_filter(data, len, referrers->artifact_type);
	if (!referrers->filtered) {
		err_set(&err, ERR_IO, "the list of referrers that is held is none");
		return fail(referrers, &err);
	}
	referrers->data = referrers->filtered;
	referrers->len = strlen(referrers->filtered);
	return REFERRERS_READY;
}

/* What is held. */

static bool is_index(void *arg, const char *media_type)
{
	(void)arg;
	return strcmp(media_type, REFERRERS_TYPE) == 0;
}

/* The list as it was told last; else what the tag that stands for it meant, when somebody asked for that. */
static void look_into_index(struct pull_referrers *referrers, bool tag_too)
{
	struct index_repository repository = {referrers->upstream->name, referrers->repository};
	struct index *index = referrers->pull->index;
	char tag[REFERRERS_TAG_MAX];
	struct err err;

	if (index_get_referrers(index, &repository, &referrers->subject, &referrers->known, &err) == 0)
		return;
	memset(&referrers->known, 0, sizeof(referrers->known));
	referrers_tag(&referrers->subject, "", tag);
	if (tag_too && index_get_tag_any(index, &repository, tag, is_index, NULL, &referrers->known, &err))
		memset(&referrers->known, 0, sizeof(referrers->known));
}

static bool read_known(struct pull_referrers *referrers)
{
	if (referrers->known.digest.algorithm == 0)
		return false;
	referrers->stored = manifest_load(referrers->pull->store, &referrers->known.digest, &referrers->len);
	if (referrers->stored)
		index_use_blob(referrers->pull->index, &referrers->known.digest);
	return referrers->stored != NULL;
}

static uint64_t known_age_ms(const struct pull_referrers *referrers)
{
	int64_t age = clock_wall_s() - referrers->known.checked;

	return age > 0 ? (uint64_t)age * 1000 : 0;
}

static enum referrers_state use_stale(struct pull_referrers *referrers, const struct err *why)
{
	const struct pull_upstream_options *options = &referrers->upstream->options;
	struct pull_status *status = &referrers->status;
	uint64_t age, beyond;
	bool held;

	look_into_index(referrers, true);
	held = read_known(referrers);
	if (!held && !referrers->page)
		return fail(referrers, why);
	age = held ? known_age_ms(referrers) : clock_ms() - referrers->page->fetched_ms;
	beyond = age > options->tag_ttl_ms ? age - options->tag_ttl_ms : 0;
	if (beyond > options->stale_for_ms)
		return fail(referrers, why);
	status->outcome = PULL_STALE;
	status->age_s = (int64_t)(age / 1000);
	status->stale_by_s = (int64_t)(beyond / 1000);
	memcpy(status->why, why->text, sizeof(why->text));
	return held ? use_data(referrers, referrers->stored, referrers->len)
		    : use_data(referrers, referrers->page->data, referrers->page->len);
}

/* LOOK. */

static bool use_fresh(struct pull_referrers *referrers)
{
	uint64_t ttl = referrers->upstream->options.tag_ttl_ms;

	referrers->status.outcome = PULL_HIT;
	if (referrers->known.digest.algorithm && known_age_ms(referrers) < ttl && read_known(referrers)) {
		referrers->state = use_data(referrers, referrers->stored, referrers->len);
		return true;
	}
	if (referrers->page && clock_ms() - referrers->page->fetched_ms < ttl) {
		referrers->state = use_data(referrers, referrers->page->data, referrers->page->len);
		return true;
	}
	return false;
}

static enum referrers_state look(struct pull_referrers *referrers)
{
	char subject[DIGEST_TEXT_MAX];
	struct ask_request request = {
		.upstream = referrers->upstream,
		.kind = REGISTRY_REFERRERS,
		.repository = referrers->repository,
		.reference = digest_format(&referrers->subject, subject),
		.accept = REFERRERS_TYPE,
		.login = referrers->login,
		.landings = pull_landings(referrers->pull),
	};
	_cleanup_free_ char *key = ask_key(&request);
	struct err why;

	page_release(referrers->page);
	referrers->page = page_cache_find(referrers->pull->pages, key);
	look_into_index(referrers, false);
	if (use_fresh(referrers))
		return referrers->state;
	if (referrers->pull->offline) {
		err_set(&why, ERR_OFFLINE, "larder is offline and does not hold the list of what refers to this");
		return use_stale(referrers, &why);
	}
	request.priority = referrers->priority;
	request.impatient = has_fallback(referrers);
	if (has_fallback(referrers) && health_is_ailing(referrers->upstream)) {
		err_set(&why, ERR_UPSTREAM, "%s does not answer", referrers->upstream->name);
		return use_stale(referrers, &why);
	}
	referrers->ask = ask_open(referrers->pull, &request, &referrers->had);
	referrers->status.outcome = ask_outcome(referrers->had);
	return referrers->ask ? REFERRERS_ASK : REFERRERS_LOOK;
}

/* ASK. */

static enum referrers_state wait_for_list(struct pull_referrers *referrers, struct waiter *waiter)
{
	bool impatient = has_fallback(referrers);
	const struct ask_result *result;
	struct err why = {0};
	int code;

	if (referrers->had == ASK_OLD)
		return ask_outlast(&referrers->ask, waiter) ? REFERRERS_LOOK : REFERRERS_ASK;
	code = ask_poll(referrers->ask, waiter, impatient, &result, &why);
	if (code == ERR_AGAIN)
		return REFERRERS_ASK;
	if (code == ERR_CANCELLED)
		return fail(referrers, &why);
	if (code)
		return use_stale(referrers, &why);
	return use_data(referrers, result->body.data, result->body.len);
}

int pull_referrers_poll(struct pull_referrers *referrers, struct waiter *waiter, struct err *err)
{
	referrers->waiter = waiter;
	for (;;) {
		switch (referrers->state) {
		case REFERRERS_LOOK:
			referrers->state = look(referrers);
			break;
		case REFERRERS_ASK:
			referrers->state = wait_for_list(referrers, waiter);
			if (referrers->state == REFERRERS_ASK)
				return ERR_AGAIN; /* the waiter was paused */
			break;
		case REFERRERS_READY:
			return 0;
		case REFERRERS_FAILED:
			*err = referrers->err;
			return err->code;
		}
	}
}

/* Results. */

const char *pull_referrers_data(const struct pull_referrers *referrers, size_t *len)
{
	*len = referrers->len;
	return referrers->data;
}

const struct pull_status *pull_referrers_status(const struct pull_referrers *referrers)
{
	return &referrers->status;
}

void pull_referrers_close(struct pull_referrers *referrers)
{
	if (!referrers)
		return;
	ask_release(referrers->ask, referrers->waiter);
	page_release(referrers->page);
	free(referrers->stored);
	free(referrers->filtered);
	free(referrers->repository);
	client_login_release(referrers->login);
	free(referrers->artifact_type);
	free(referrers);
}
