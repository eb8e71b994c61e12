/* SPDX-License-Identifier: Apache-2.0 */
/* From references to images: globs are looked up in lists of tags, organisations in Quay's. */
#include "server/prefetch/prefetch_internal.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "server/http/http.h"
#include "server/prefetch/spec.h"
#include "server/pull/permit.h"
#include "server/pull/quay.h"
#include "server/registry/route.h"

#include <stdlib.h>
#include <string.h>

#define TAGS_PAGE     1000 /* asked for at once; a registry may give fewer */
#define TAGS_MAX      100000
#define PAGES_MAX     1000 /* of one list */
#define LISTS_AT_ONCE 32   /* of an organisation's repositories; the upstream's pace decides how many are out */
#define LOOK_AGAIN_MS 1000

/* Upstreams. */

static int find_route(struct pull *pull, const struct spec *spec, struct route *route, struct err *err)
{
	int code = 0;

	if (spec->kind != SPEC_QUAY) {
		code = route_find(pull, &spec->ref, NULL, route, err);
	} else {
		route->upstream = pull_find_upstream(pull, spec->upstream, strlen(spec->upstream));
		if (!route->upstream)
			code = err_set(err, ERR_NOT_FOUND, "no upstream %.100s is configured", spec->upstream);
	}
	if (code == 0 && !pull_upstream_serves_larder(route->upstream))
		code = err_set(
			err, ERR_DENIED,
			"%s lets its clients' credentials decide (auth: client): to prefetch from it, larder needs a "
			"username of its own",
			pull_upstream_name(route->upstream));
	return code;
}

int resolve_check(struct pull *pull, const char *text, struct err *err)
{
	struct spec spec;
	struct route route;
	int code = spec_parse(text, &spec, err);

	return code ? code : find_route(pull, &spec, &route, err);
}

/* Lists of names. */

struct names {
	char **list;
	size_t count, capacity;
};

static int names_add(struct names *names, const char *name, struct err *err)
{
	if (names->count == TAGS_MAX)
		return err_set(err, ERR_LIMIT, "there are more than %d tags", TAGS_MAX);
	if (names->count == names->capacity) {
		names->capacity = names->capacity ? 2 * names->capacity : 64;
		names->list = mem_realloc(names->list, names->capacity * sizeof(*names->list));
	}
	names->list[names->count++] = mem_strdup(name);
	return 0;
}

static void names_dispose(struct names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->list[i]);
	free(names->list);
}

/* Waits until an interest has its answer. */
static int await(struct run *run, struct baton *baton, struct call *call,
		 int (*poll)(void *interest, struct waiter *waiter, struct err *err), void *interest, struct err *err)
{
	for (;;) {
		int code;

		if (job_is_stopping(run->job))
			return err_set(err, ERR_CANCELLED, "cancelled");
		if (!call_take(call)) {
			baton_wait(baton, LOOK_AGAIN_MS);
			continue;
		}
		code = poll(interest, &call->waiter, err);
		if (code != ERR_AGAIN)
			return code;
	}
}

static int poll_tags(void *interest, struct waiter *waiter, struct err *err)
{
	return pull_tags_poll(interest, waiter, err);
}

static int poll_quay(void *interest, struct waiter *waiter, struct err *err)
{
	return pull_quay_poll(interest, waiter, err);
}

/* One page; where the next begins is put into `page`. False: it was the last. */
static int read_page(const struct pull_tags *tags, struct names *names, struct pull_page *page, char *last, char *token,
		     bool *more, struct err *err)
{
	const char *next = pull_tags_next(tags);
	json_t *document, *item;
	size_t len, i;
	const char *data = pull_tags_data(tags, &len);
	int code = 0;

	document = json_loadb(data ? data : "", len, 0, NULL);
	if (!json_is_object(document))
		code = err_set(err, ERR_UPSTREAM, "the upstream's list of tags makes no sense");
	json_array_foreach(json_object_get(document, "tags"), i, item)
	{
		const char *tag = json_string_value(item);

		if (code == 0 && tag && ref_tag_valid(tag, strlen(tag)))
			code = names_add(names, tag, err);
	}
	json_decref(document);
	*more = next && (http_query_value(next, "last", last, PULL_PAGE_QUERY_MAX) == 0 ||
			 http_query_value(next, "next_page", token, PULL_PAGE_QUERY_MAX) == 0);
	page->last = last;
	page->token = token;
	return code;
}

static int list_tags(struct run *run, struct baton *baton, const struct route *route, struct names *names,
		     struct err *err)
{
	char last[PULL_PAGE_QUERY_MAX] = "", token[PULL_PAGE_QUERY_MAX] = "";
	struct pull_page page = {.count = TAGS_PAGE, .last = last, .token = token};
	bool more = true;
	int code = 0;

	for (unsigned pages = 0; code == 0 && more; pages++) {
		struct pull_tags *tags = pull_tags_open(run->pull, route->upstream, route->repository, &page);
		char asked_last[PULL_PAGE_QUERY_MAX], asked_token[PULL_PAGE_QUERY_MAX];
		struct call call;

		strcpy(asked_last, last);
		strcpy(asked_token, token);
		last[0] = token[0] = '\0';
		call_init(&call, baton);
		pull_tags_defer(tags);
		code = await(run, baton, &call, poll_tags, tags, err);
		if (code == 0)
			code = read_page(tags, names, &page, last, token, &more, err);
		if (code == 0 && more && strcmp(last, asked_last) == 0 && strcmp(token, asked_token) == 0)
			code = err_set(err, ERR_UPSTREAM, "the upstream's list of tags does not go on behind %.100s",
				       last[0] ? last : token);
		if (code == 0 && more && pages + 1 == PAGES_MAX)
			code = err_set(err, ERR_LIMIT, "the upstream's list of tags has more than %d pages", PAGES_MAX);
		pull_tags_close(tags);
	}
	return code;
}

/* Choosing. */

/* How many images that are. */
static size_t add_chosen(struct run *run, const struct spec *spec, struct pull_upstream *upstream,
			 const char *repository, const char **tags, size_t count)
{
	size_t chosen = spec_choose(spec, tags, count);

	for (size_t i = 0; i < chosen; i++)
		run_add_image(run, upstream, repository, tags[i]);
	return chosen;
}

static int resolve_tags(struct run *run, struct baton *baton, const struct spec *spec, const struct route *route,
			struct err *err)
{
	_cleanup_(names_dispose) struct names names = {0};
	int code = list_tags(run, baton, route, &names, err);

	if (code == 0 &&
	    add_chosen(run, spec, route->upstream, route->repository, (const char **)names.list, names.count) == 0)
		code = err_set(err, ERR_NOT_FOUND, "none of the repository's %zu tags is meant", names.count);
	return code;
}

/* An organisation: its repositories in one list, then their tags side by side. */

struct tag_list {
	struct call call; /* first */
	struct pull_quay *quay;
	const char *repository;
};

/* Its repository's tags are there, or cannot be had. */
static size_t take_list(struct run *run, const struct spec *spec, struct pull_upstream *upstream,
			const struct tag_list *list, int code, const struct err *err)
{
	size_t count = code ? 0 : pull_quay_count(list->quay), added;
	const char **tags = mem_alloc((count + 1) * sizeof(*tags));
	_cleanup_free_ char *name = mem_printf("%s/%s", pull_upstream_name(upstream), list->repository);

	for (size_t i = 0; i < count; i++)
		tags[i] = pull_quay_name(list->quay, i);
	added = add_chosen(run, spec, upstream, list->repository, tags, count);
	free(tags);
	/* That one of many has no such tag is what the glob is for. */
	if (code && code != ERR_NOT_FOUND && code != ERR_CANCELLED)
		job_fail(run->job, name, err);
	return added;
}

static void open_list(struct run *run, struct baton *baton, const struct spec *spec, struct pull_upstream *upstream,
		      struct tag_list *list, const char *repository)
{
	call_init(&list->call, baton);
	list->repository = repository;
	list->quay = pull_quay_open_tags(run->pull, upstream, repository, spec->tags_by_glob ? NULL : spec->tags);
}

static size_t list_side_by_side(struct run *run, struct baton *baton, const struct spec *spec,
				struct pull_upstream *upstream, const char *const *repositories, size_t count)
{
	struct tag_list lists[LISTS_AT_ONCE] = {0};
	size_t next = 0, open = 0, added = 0;

	while ((next < count || open > 0) && !job_is_stopping(run->job)) {
		bool moved = false;

		for (size_t i = 0; i < LISTS_AT_ONCE; i++) {
			struct tag_list *list = &lists[i];
			struct err err = {0};
			int code;

			if (!list->quay && next < count) {
				open_list(run, baton, spec, upstream, list, repositories[next++]);
				open++;
			}
			if (!list->quay || !call_take(&list->call))
				continue;
			code = pull_quay_poll(list->quay, &list->call.waiter, &err);
			if (code == ERR_AGAIN)
				continue;
			added += take_list(run, spec, upstream, list, code, &err);
			pull_quay_close(list->quay);
			list->quay = NULL;
			open--;
			moved = true;
		}
		if (!moved)
			baton_wait(baton, LOOK_AGAIN_MS);
	}
	for (size_t i = 0; i < LISTS_AT_ONCE; i++)
		pull_quay_close(lists[i].quay);
	return added;
}

static int resolve_organisation(struct run *run, struct baton *baton, const struct spec *spec,
				struct pull_upstream *upstream, struct err *err)
{
	struct pull_quay *quay = pull_quay_open_repositories(run->pull, upstream, spec->organisation, spec->since_s);
	const char **meant = NULL;
	size_t count = 0;
	struct call call;
	int code;

	call_init(&call, baton);
	code = await(run, baton, &call, poll_quay, quay, err);
	if (code == 0) {
		meant = mem_alloc((pull_quay_count(quay) + 1) * sizeof(*meant));
		for (size_t i = 0; i < pull_quay_count(quay); i++)
			if (spec_takes_repository(spec, pull_quay_name(quay, i)) &&
			    pull_upstream_allows(upstream, pull_quay_name(quay, i)))
				meant[count++] = pull_quay_name(quay, i);
		if (list_side_by_side(run, baton, spec, upstream, meant, count) == 0 && !job_is_stopping(run->job))
			code = err_set(err, ERR_NOT_FOUND,
				       "of the organisation's repositories %zu are meant, and none has such a tag",
				       count);
	}
	free(meant);
	pull_quay_close(quay);
	return code;
}

void resolve_reference(struct run *run, struct baton *baton, const char *text)
{
	struct spec *spec = mem_alloc(sizeof(*spec));
	struct err err = {0};
	struct route route;
	int code = spec_parse(text, spec, &err);

	if (code == 0)
		code = find_route(run->pull, spec, &route, &err);
	if (code == 0 && spec->kind == SPEC_IMAGE)
		run_add_image(run, route.upstream, route.repository, route.reference);
	else if (code == 0 && spec->kind == SPEC_TAGS)
		code = resolve_tags(run, baton, spec, &route, &err);
	else if (code == 0)
		code = resolve_organisation(run, baton, spec, route.upstream, &err);
	if (code && !job_is_stopping(run->job))
		job_fail(run->job, text, &err);
	free(spec);
}
