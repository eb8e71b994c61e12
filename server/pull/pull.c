/* SPDX-License-Identifier: Apache-2.0 */
/* The object as a whole: upstreams by name, start and end. */
#include "server/pull/pull_internal.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "server/pull/ask.h"
#include "server/pull/flight.h"
#include "server/pull/missing.h"
#include "server/pull/page_cache.h"
#include "server/pull/sizes.h"

#include <assert.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

unsigned pull_landings(const struct pull *pull)
{
	return __atomic_load_n(&pull->landings, __ATOMIC_ACQUIRE);
}

void pull_note_landing(struct pull *pull)
{
	__atomic_add_fetch(&pull->landings, 1, __ATOMIC_RELEASE);
}

void pull_job_begin(struct pull *pull)
{
	pthread_mutex_lock(&pull->lock);
	pull->jobs++;
	pthread_mutex_unlock(&pull->lock);
}

void pull_job_end(struct pull *pull)
{
	pthread_mutex_lock(&pull->lock);
	assert(pull->jobs > 0);
	if (--pull->jobs == 0)
		pthread_cond_broadcast(&pull->idle);
	pthread_mutex_unlock(&pull->lock);
}

bool pull_glob_matches(const char *const *globs, size_t count, const char *text)
{
	for (size_t i = 0; i < count; i++)
		if (fnmatch(globs[i], text, 0) == 0)
			return true;
	return false;
}

/* Upstreams. */

static const char *const *list_copy(const char *const *items, size_t count)
{
	char **copy = count ? mem_alloc(count * sizeof(*copy)) : NULL;

	for (size_t i = 0; i < count; i++)
		copy[i] = mem_strdup(items[i]);
	return (const char *const *)copy;
}

static void list_free(const char *const *items, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free((void *)(uintptr_t)items[i]);
	free((void *)(uintptr_t)items);
}

static void upstream_init(struct pull *pull, struct pull_upstream *upstream,
			  const struct pull_upstream_options *options)
{
	upstream->pull = pull;
	upstream->name = mem_strdup(options->registry.name);
	upstream->options = *options;
	upstream->options.registry = (struct registry_options){0}; /* its strings are the caller's */
	upstream->options.aliases = list_copy(options->aliases, options->alias_count);
	upstream->options.immutable_tags = list_copy(options->immutable_tags, options->immutable_tag_count);
	upstream->options.allow = list_copy(options->allow, options->allow_count);
	upstream->options.deny = list_copy(options->deny, options->deny_count);
	upstream->registry = registry_new(pull->loop, &options->registry);
}

static void upstream_dispose(struct pull_upstream *upstream)
{
	registry_free(upstream->registry);
	list_free(upstream->options.aliases, upstream->options.alias_count);
	list_free(upstream->options.immutable_tags, upstream->options.immutable_tag_count);
	list_free(upstream->options.allow, upstream->options.allow_count);
	list_free(upstream->options.deny, upstream->options.deny_count);
	free(upstream->name);
}

static bool name_is(const char *candidate, const char *name, size_t len)
{
	return strlen(candidate) == len && strncasecmp(candidate, name, len) == 0;
}

struct pull_upstream *pull_find_upstream(struct pull *pull, const char *name, size_t len)
{
	for (size_t i = 0; i < pull->upstream_count; i++) {
		struct pull_upstream *upstream = &pull->upstreams[i];

		if (name_is(upstream->name, name, len))
			return upstream;
		for (size_t k = 0; k < upstream->options.alias_count; k++)
			if (name_is(upstream->options.aliases[k], name, len))
				return upstream;
	}
	return NULL;
}

struct pull_upstream *pull_default_upstream(struct pull *pull)
{
	return pull->default_upstream;
}

const char *pull_upstream_name(const struct pull_upstream *upstream)
{
	return upstream->name;
}

bool pull_upstream_allows(const struct pull_upstream *upstream, const char *repository)
{
	const struct pull_upstream_options *options = &upstream->options;

	if (pull_glob_matches(options->deny, options->deny_count, repository))
		return false;
	return options->allow_count == 0 || pull_glob_matches(options->allow, options->allow_count, repository);
}

/* Start and end. */

struct pull *pull_new(const struct pull_options *options)
{
	struct pull *pull = mem_alloc(sizeof(*pull));

	pull->store = options->store;
	pull->index = store_index(options->store);
	pull->work = options->work;
	pull->loop = options->loop;
	pull->offline = options->offline;
	pull->sizes = sizes_new();
	pull->pages = page_cache_new();
	pthread_mutex_init(&pull->lock, NULL);
	pthread_cond_init(&pull->idle, NULL);
	pthread_cond_init(&pull->sparse_ended, NULL);
	pull->upstream_count = options->upstream_count;
	pull->upstreams = mem_alloc(pull->upstream_count * sizeof(*pull->upstreams));
	for (size_t i = 0; i < pull->upstream_count; i++)
		upstream_init(pull, &pull->upstreams[i], &options->upstreams[i]);
	pull->default_upstream = pull_find_upstream(pull, options->default_upstream, strlen(options->default_upstream));
	assert(pull->default_upstream); /* the configuration was checked */
	return pull;
}

void pull_watch(struct pull *pull, pull_watch_fn *watch, void *arg)
{
	pthread_mutex_lock(&pull->lock);
	pull->watch = watch;
	pull->watch_arg = arg;
	pthread_mutex_unlock(&pull->lock);
}

void pull_close(struct pull *pull)
{
	pthread_mutex_lock(&pull->lock);
	pull->closing = true;
	asks_fail_all(pull);
	flights_fail_all(pull);
	pthread_cond_broadcast(&pull->sparse_ended);
	pthread_mutex_unlock(&pull->lock);
}

void pull_free(struct pull *pull)
{
	if (!pull)
		return;
	/* Ends what is still asked upstream; what was fetched whole is still published by the worker threads. */
	for (size_t i = 0; i < pull->upstream_count; i++)
		registry_close(pull->upstreams[i].registry);
	for (size_t i = 0; i < pull->upstream_count; i++)
		health_stop(&pull->upstreams[i]);
	pthread_mutex_lock(&pull->lock);
	while (pull->jobs > 0)
		pthread_cond_wait(&pull->idle, &pull->lock);
	assert(!pull->flights && !pull->aside && !pull->asks);
	pthread_mutex_unlock(&pull->lock);
	for (size_t i = 0; i < pull->upstream_count; i++)
		upstream_dispose(&pull->upstreams[i]);
	missing_free(pull);
	page_cache_free(pull->pages);
	sizes_free(pull->sizes);
	pthread_cond_destroy(&pull->sparse_ended);
	pthread_cond_destroy(&pull->idle);
	pthread_mutex_destroy(&pull->lock);
	free(pull->upstreams);
	free(pull);
}
