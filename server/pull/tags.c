/* SPDX-License-Identifier: Apache-2.0 */
/* One client's interest in a page of a repository's tags. */
#include "server/pull/ask.h"
#include "server/pull/page_cache.h"
#include "server/pull/tags_page.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define KNOWN_TAGS_MAX 10000 /* in one page made here */

enum tags_state {
	TAGS_LOOK, /* was the same page asked for a moment ago? -> READY, ASK, FAILED */
	TAGS_ASK,  /* the upstream is asked                      -> READY, LOOK, FAILED */
	TAGS_READY,
	TAGS_FAILED,
};

struct pull_tags {
	struct pull *pull;
	struct pull_upstream *upstream;
	char *repository;
	struct client_login *login;
	size_t count;
	char *last;
	char *token;
	char *query; /* what is asked upstream */
	enum pace_priority priority;

	enum tags_state state;
	struct ask *ask;
	enum ask_had had;
	struct waiter *waiter;
	bool have_fallback;
	struct page *page; /* of an earlier answer */

	char *own_data, *own_next; /* made here */
	const char *data;
	size_t len;
	const char *next;
	struct pull_status status;
	struct err err;
};

struct pull_tags *pull_tags_open(struct pull *pull, struct pull_upstream *upstream, const char *repository,
				 const struct pull_page *page)
{
	struct pull_tags *tags = mem_alloc(sizeof(*tags));

	tags->pull = pull;
	tags->upstream = upstream;
	tags->repository = mem_strdup(repository);
	tags->count = page->count;
	tags->last = mem_strdup(page->last);
	tags->token = mem_strdup(page->token);
	tags->query = tags_page_query(page);
	return tags;
}

void pull_tags_login(struct pull_tags *tags, struct client_login *login)
{
	tags->login = client_login_hold(login);
}

void pull_tags_defer(struct pull_tags *tags)
{
	tags->priority = PACE_PREFETCH;
}

static enum tags_state fail(struct pull_tags *tags, const struct err *err)
{
	tags->err = *err;
	return TAGS_FAILED;
}

/* What is known here, for when the upstream cannot be asked. */

struct known {
	json_t *list;
	size_t max;
	bool more;
};

static bool add_tag(void *arg, const char *tag)
{
	struct known *known = arg;

	known->more = json_array_size(known->list) >= known->max;
	if (!known->more)
		json_array_append_new(known->list, json_string(tag));
	return !known->more;
}

static bool is_any(void *arg, const char *tag)
{
	(void)tag;
	*(bool *)arg = true;
	return false;
}

static bool knows_tags(const struct pull_tags *tags)
{
	struct index_repository repository = {tags->upstream->name, tags->repository};
	struct err err;
	bool any = false;

	return index_list_tags(tags->pull->index, &repository, "", is_any, &any, &err) == 0 && any;
}

static void name_next(struct pull_tags *tags, const struct known *known)
{
	struct pull_page page = {.count = tags->count, .token = ""};

	if (!known->more || known->max == 0)
		return;
	page.last = json_string_value(json_array_get(known->list, known->max - 1));
	tags->next = tags->own_next = tags_page_query(&page);
}

/* A page of the tags that are in the index. Where a token begins, only the upstream knows. */
static bool list_known(struct pull_tags *tags)
{
	struct index_repository repository = {tags->upstream->name, tags->repository};
	struct known known = {.max = tags->count < KNOWN_TAGS_MAX ? tags->count : KNOWN_TAGS_MAX};
	json_t *document;
	struct err err;

	if (*tags->token || !knows_tags(tags))
		return false;
	known.list = json_array();
	document = json_pack("{s:s, s:o}", "name", tags->repository, "tags", known.list);
	if (index_list_tags(tags->pull->index, &repository, tags->last, add_tag, &known, &err) == 0) {
		name_next(tags, &known);
		tags->data = tags->own_data = json_dumps(document, JSON_COMPACT);
		tags->len = strlen(tags->data);
		tags->status.age_s = -1;
	}
	json_decref(document);
	return tags->data != NULL;
}

static uint64_t page_age_ms(const struct page *page)
{
	return clock_ms() - page->fetched_ms;
}

static void use_page(struct pull_tags *tags)
{
	tags->data = tags->page->data;
	tags->len = tags->page->len;
	tags->next = tags->page->next;
}

/* The page as the upstream last gave it, if that is not too long ago. */
static bool use_old_page(struct pull_tags *tags)
{
	const struct pull_upstream_options *options = &tags->upstream->options;
	uint64_t age = tags->page ? page_age_ms(tags->page) : 0;
	uint64_t beyond = age > options->tag_ttl_ms ? age - options->tag_ttl_ms : 0;

	if (!tags->page || beyond > options->stale_for_ms)
		return false;
	use_page(tags);
	tags->status.age_s = (int64_t)(age / 1000);
	tags->status.stale_by_s = (int64_t)(beyond / 1000);
	return true;
}

static enum tags_state use_stale(struct pull_tags *tags, const struct err *why)
{
	if (!use_old_page(tags) && !list_known(tags))
		return fail(tags, why);
	tags->status.outcome = PULL_STALE;
	memcpy(tags->status.why, why->text, sizeof(why->text));
	return TAGS_READY;
}

/* LOOK and ASK. */

static enum tags_state look(struct pull_tags *tags)
{
	struct pull_page wanted = {.count = tags->count, .last = tags->last, .token = tags->token};
	struct ask_request request = {.upstream = tags->upstream,
				      .page = &wanted,
				      .kind = REGISTRY_TAGS,
				      .repository = tags->repository,
				      .reference = tags->query,
				      .login = tags->login,
				      .landings = pull_landings(tags->pull)};
	_cleanup_free_ char *key = ask_key(&request);
	struct err why;

	page_release(tags->page);
	tags->page = page_cache_find(tags->pull->pages, key);
	if (tags->page && page_age_ms(tags->page) < tags->upstream->options.tag_ttl_ms) {
		use_page(tags);
		tags->status.outcome = PULL_HIT;
		return TAGS_READY;
	}
	if (tags->pull->offline) {
		err_set(&why, ERR_OFFLINE, "larder is offline and knows no tags of this repository");
		return use_stale(tags, &why);
	}
	tags->have_fallback = tags->page || (!*tags->token && knows_tags(tags));
	if (tags->have_fallback && health_is_ailing(tags->upstream)) {
		err_set(&why, ERR_UPSTREAM, "%s does not answer", tags->upstream->name);
		return use_stale(tags, &why);
	}
	request.impatient = tags->have_fallback && tags->priority == PACE_CLIENT;
	request.priority = tags->priority;
	tags->ask = ask_open(tags->pull, &request, &tags->had);
	tags->status.outcome = ask_outcome(tags->had);
	return tags->ask ? TAGS_ASK : TAGS_LOOK;
}

static enum tags_state wait_for_page(struct pull_tags *tags, struct waiter *waiter)
{
	const struct ask_result *result;
	struct err why = {0};
	bool impatient = tags->have_fallback && tags->priority == PACE_CLIENT;
	int code;

	if (tags->had == ASK_OLD)
		return ask_outlast(&tags->ask, waiter) ? TAGS_LOOK : TAGS_ASK;
	code = ask_poll(tags->ask, waiter, impatient, &result, &why);
	if (code == ERR_AGAIN)
		return TAGS_ASK;
	if (code == ERR_NOT_FOUND || code == ERR_CANCELLED)
		return fail(tags, &why);
	if (code)
		return use_stale(tags, &why);
	tags->data = result->body.data;
	tags->len = result->body.len;
	tags->next = result->next;
	return TAGS_READY;
}

int pull_tags_poll(struct pull_tags *tags, struct waiter *waiter, struct err *err)
{
	tags->waiter = waiter;
	for (;;) {
		switch (tags->state) {
		case TAGS_LOOK:
			tags->state = look(tags);
			break;
		case TAGS_ASK:
			tags->state = wait_for_page(tags, waiter);
			if (tags->state == TAGS_ASK)
				return ERR_AGAIN; /* the waiter was paused */
			break;
		case TAGS_READY:
			return 0;
		case TAGS_FAILED:
			*err = tags->err;
			return err->code;
		}
	}
}

/* Results. */

const char *pull_tags_data(const struct pull_tags *tags, size_t *len)
{
	*len = tags->len;
	return tags->data;
}

const char *pull_tags_next(const struct pull_tags *tags)
{
	return tags->next;
}

const struct pull_status *pull_tags_status(const struct pull_tags *tags)
{
	return &tags->status;
}

void pull_tags_close(struct pull_tags *tags)
{
	if (!tags)
		return;
	ask_release(tags->ask, tags->waiter);
	page_release(tags->page);
	free(tags->own_data);
	free(tags->own_next);
	free(tags->repository);
	client_login_release(tags->login);
	free(tags->last);
	free(tags->token);
	free(tags->query);
	free(tags);
}
