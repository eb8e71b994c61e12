/* SPDX-License-Identifier: Apache-2.0 */
/* The repositories that are held, by the names that every client can pull them by: UPSTREAM/REPOSITORY. */
#include "server/pull/pull_internal.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <stdlib.h>
#include <string.h>

struct naming {
	const struct pull_upstream *upstream;
	bool (*each)(void *arg, const char *name);
	void *arg;
	bool stopped;
};

static bool give(void *arg, const char *repository)
{
	struct naming *naming = arg;
	_cleanup_free_ char *name = NULL;

	if (!pull_upstream_allows(naming->upstream, repository))
		return true;
	name = mem_printf("%s/%s", naming->upstream->name, repository);
	naming->stopped = !naming->each(naming->arg, name);
	return !naming->stopped;
}

/* The names' order: a slash stands behind the upstream's. */
static int compare_upstreams(const void *a, const void *b)
{
	const struct pull_upstream *one = *(const struct pull_upstream *const *)a;
	const struct pull_upstream *other = *(const struct pull_upstream *const *)b;
	_cleanup_free_ char *left = mem_printf("%s/", one->name), *right = mem_printf("%s/", other->name);

	return strcmp(left, right);
}

/* NULL: all of the upstream's names stand before `last`. Else the repository that they begin behind. */
static const char *begin_behind(const struct pull_upstream *upstream, const char *last)
{
	_cleanup_free_ char *prefix = mem_printf("%s/", upstream->name);
	size_t len = strlen(prefix);

	if (strncmp(last, prefix, len) == 0)
		return last + len;
	return strcmp(prefix, last) > 0 ? "" : NULL;
}

int pull_list_repositories(struct pull *pull, const struct pull_upstream *only, const char *last,
			   bool (*each)(void *arg, const char *name), void *arg, struct err *err)
{
	struct naming naming = {.each = each, .arg = arg};
	const struct upstreams *now = upstreams_now(pull);
	const struct pull_upstream **sorted = mem_alloc(now->count * sizeof(*sorted));
	int code = 0;

	for (size_t i = 0; i < now->count; i++)
		sorted[i] = now->items[i];
	qsort(sorted, now->count, sizeof(*sorted), compare_upstreams);
	for (size_t i = 0; i < now->count && !naming.stopped && code == 0; i++) {
		const char *after = begin_behind(sorted[i], last);

		naming.upstream = sorted[i];
		if (after && (!only || only == sorted[i]))
			code = index_list_repositories(pull->index, sorted[i]->name, after, give, &naming, err);
	}
	free(sorted);
	return code;
}
