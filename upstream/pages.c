/* SPDX-License-Identifier: Apache-2.0 */
#include "upstream/pages.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "upstream/url.h"

#include <stdlib.h>
#include <string.h>

struct pages {
	struct registry *registry;
	const struct pages_sink *sink;
	void *arg;
	struct pages_query query;
	char *repository, *path, *accept;
	unsigned count; /* pages that came */
	struct registry_call *call;
	struct buf body;
	char *next;  /* what the Link header of the page under way said */
	bool astray; /* it led to where larder does not follow: the listing is not whole */
	bool cancelled;
};

static void pages_end(struct pages *pages, const struct err *err)
{
	pages->sink->on_done(pages->arg, err);
	buf_dispose(&pages->body);
	free(pages->repository);
	free(pages->path);
	free(pages->accept);
	free(pages->next);
	free(pages);
}

/* The next page's path below the registry's base, which may have one of its own; NULL when the link leads out of it. */
static char *next_path(const char *base, const char *path, const char *link)
{
	_cleanup_free_ char *page = mem_printf("%s%s", base, path);
	_cleanup_free_ char *target = url_link_next(page, link);
	struct url from, to;
	size_t len;

	if (!target || url_parse(base, &from) || url_parse(target, &to))
		return NULL;
	len = strlen(from.path);
	return strncmp(to.path, from.path, len) == 0 && to.path[len] == '/' ? mem_strdup(to.path + len) : NULL;
}

static int on_answer(void *arg, const struct registry_answer *answer)
{
	struct pages *pages = arg;

	buf_clear(&pages->body);
	free(pages->next);
	pages->next = answer->link ? next_path(answer->base, pages->path, answer->link) : NULL;
	pages->astray = answer->link && !pages->next && strcasestr(answer->link, "next");
	return answer->offset == 0 ? 0 : ERR_UPSTREAM;
}

static int on_body(void *arg, uint64_t offset, const void *data, size_t len)
{
	struct pages *pages = arg;

	(void)offset;
	return buf_append(&pages->body, data, len);
}

static void ask(struct pages *pages);

/* 0: there is another page. */
static int turn_page(struct pages *pages, bool *more, struct err *err)
{
	char *next = take_pointer(pages->next);
	int code =
		pages->sink->on_page(pages->arg, pages->body.data ? pages->body.data : "", pages->body.len, &next, err);

	*more = code == 0 && next;
	if (code == 0 && pages->cancelled)
		code = err_set(err, ERR_CANCELLED, "given up");
	if (code == 0 && pages->astray && !next)
		code = err_set(err, ERR_UPSTREAM, "%s: the next page of the listing is said to be elsewhere",
			       registry_name(pages->registry));
	if (code == 0 && next && strcmp(next, pages->path) == 0)
		code = err_set(err, ERR_UPSTREAM, "%s: a page of the listing names itself as the next",
			       registry_name(pages->registry));
	if (code == 0 && next && ++pages->count >= pages->query.pages_max)
		code = err_set(err, ERR_LIMIT, "%s: the listing has more than %u pages", registry_name(pages->registry),
			       pages->query.pages_max);
	free(pages->path);
	pages->path = next;
	return code;
}

static void on_done(void *arg, const struct err *err)
{
	struct pages *pages = arg;
	struct err why = {0};
	bool more = false;

	pages->call = NULL;
	if (err && err->code == ERR_LIMIT) {
		err_set(&why, ERR_LIMIT, "%s: a page of the listing is larger than %zu bytes",
			registry_name(pages->registry), pages->body.max);
		pages_end(pages, &why);
	} else if (err) {
		pages_end(pages, err);
	} else if (turn_page(pages, &more, &why) || !more) {
		pages_end(pages, why.code ? &why : NULL);
	} else {
		ask(pages);
	}
}

static const struct registry_sink call_sink = {.on_answer = on_answer, .on_body = on_body, .on_done = on_done};

static void ask(struct pages *pages)
{
	const struct registry_query query = {
		.kind = REGISTRY_RAW,
		.repository = pages->repository,
		.reference = pages->path,
		.accept = pages->accept,
		.priority = pages->query.priority,
	};

	pages->call = registry_call(pages->registry, &query, &call_sink, pages);
}

struct pages *pages_start(struct registry *registry, const struct pages_query *query, const struct pages_sink *sink,
			  void *arg)
{
	struct pages *pages = mem_alloc(sizeof(*pages));

	pages->registry = registry;
	pages->sink = sink;
	pages->arg = arg;
	pages->query = *query;
	pages->repository = mem_strdup(query->repository);
	pages->path = mem_strdup(query->path);
	pages->accept = mem_strdup(query->accept);
	pages->body.max = query->page_bytes_max ? query->page_bytes_max : PAGES_BYTES_DEFAULT;
	if (pages->query.pages_max == 0)
		pages->query.pages_max = PAGES_MAX;
	ask(pages);
	return pages;
}

void pages_cancel(struct pages *pages)
{
	/* The call may end by itself before it is told: then no other follows. */
	pages->cancelled = true;
	if (pages->call)
		registry_call_cancel(pages->call);
}
