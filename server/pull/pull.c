/* SPDX-License-Identifier: Apache-2.0 */
/* The object as a whole: start and end. */
#include "server/pull/pull_internal.h"

#include "base/buf.h"
#include "server/pull/ask.h"
#include "server/pull/flight.h"
#include "server/pull/missing.h"
#include "server/pull/page_cache.h"
#include "server/pull/sizes.h"

#include <assert.h>
#include <fnmatch.h>
#include <stdlib.h>

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

/* Start and end. */

struct pull *pull_new(const struct pull_options *options)
{
	struct pull *pull = mem_alloc(sizeof(*pull));

	pull->store = options->store;
	pull->index = store_index(options->store);
	pull->work = options->work;
	pull->disk = options->disk;
	pull->loop = options->loop;
	pull->offline = options->offline;
	pull->sizes = sizes_new();
	pull->pages = page_cache_new();
	pthread_mutex_init(&pull->lock, NULL);
	pthread_cond_init(&pull->idle, NULL);
	pthread_cond_init(&pull->landed, NULL);
	pthread_cond_init(&pull->sparse_ended, NULL);
	pull_set_upstreams(pull, options);
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
	landing_wake(pull);
	pthread_cond_broadcast(&pull->sparse_ended);
	pthread_mutex_unlock(&pull->lock);
}

bool pull_is_closing(struct pull *pull)
{
	bool closing;

	pthread_mutex_lock(&pull->lock);
	closing = pull->closing;
	pthread_mutex_unlock(&pull->lock);
	return closing;
}

void pull_hang_up(struct pull *pull)
{
	if (pull)
		upstreams_close(pull);
}

void pull_free(struct pull *pull)
{
	if (!pull)
		return;
	/* Ends what is still asked upstream; what was fetched whole is still published by the worker threads. */
	upstreams_close(pull);
	pthread_mutex_lock(&pull->lock);
	while (pull->jobs > 0)
		pthread_cond_wait(&pull->idle, &pull->lock);
	assert(!pull->flights && !pull->aside && !pull->asks);
	pthread_mutex_unlock(&pull->lock);
	upstreams_dispose(pull);
	missing_free(pull);
	page_cache_free(pull->pages);
	sizes_free(pull->sizes);
	pthread_cond_destroy(&pull->sparse_ended);
	pthread_cond_destroy(&pull->landed);
	pthread_cond_destroy(&pull->idle);
	pthread_mutex_destroy(&pull->lock);
	free(pull);
}
