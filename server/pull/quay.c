/* SPDX-License-Identifier: Apache-2.0 */
#include "server/pull/quay.h"

#include "base/buf.h"
#include "server/pull/pull_internal.h"
#include "upstream/quay.h"

#include <stdlib.h>
#include <string.h>

/*
 * The caller has a reference and the listing has one, given back on the loop's thread when it ends. Since it is started
 * and given up by tasks there, both come in that order.
 */
struct pull_quay {
	struct pull *pull;
	struct pull_upstream *upstream;
	char *organisation, *repository, *tag;
	int64_t since_s;
	struct loop_task start, cancel;
	struct quay_listing *listing; /* the loop's: while it runs */
	struct waiter *waiter;        /* the one that poll() may have registered */

	pthread_mutex_t lock; /* guards what follows */
	unsigned refs;
	bool done;
	struct waiter *waiters;
	struct err err;

	char **names; /* the loop's until `done`, then the caller's */
	size_t count, capacity;
};

static void quay_unref(struct pull_quay *quay)
{
	bool last;

	pthread_mutex_lock(&quay->lock);
	last = --quay->refs == 0;
	pthread_mutex_unlock(&quay->lock);
	if (!last)
		return;
	for (size_t i = 0; i < quay->count; i++)
		free(quay->names[i]);
	free(quay->names);
	free(quay->organisation);
	free(quay->repository);
	free(quay->tag);
	pthread_mutex_destroy(&quay->lock);
	free(quay);
}

/* The sink, on the loop's thread. */

static int add_name(struct pull_quay *quay, char *name)
{
	if (quay->count == PULL_QUAY_NAMES_MAX) {
		free(name);
		return ERR_LIMIT;
	}
	if (quay->count == quay->capacity) {
		quay->capacity = quay->capacity ? 2 * quay->capacity : 64;
		quay->names = mem_realloc(quay->names, quay->capacity * sizeof(*quay->names));
	}
	quay->names[quay->count++] = name;
	return 0;
}

static int on_repository(void *arg, const struct quay_repository *repository)
{
	struct pull_quay *quay = arg;

	return add_name(quay, mem_printf("%s/%s", quay->organisation, repository->name));
}

static int on_tag(void *arg, const struct quay_tag *tag)
{
	return add_name(arg, mem_strdup(tag->name));
}

static void on_done(void *arg, const struct err *err)
{
	struct pull_quay *quay = arg;
	struct pull *pull = quay->pull;

	quay->listing = NULL;
	pthread_mutex_lock(&quay->lock);
	quay->done = true;
	if (err)
		quay->err = *err;
	waiter_wake_all(&quay->waiters);
	pthread_mutex_unlock(&quay->lock);
	quay_unref(quay);
	pull_job_end(pull);
}

static const struct quay_sink sink = {.on_repository = on_repository, .on_tag = on_tag, .on_done = on_done};

static void start(struct loop_task *task)
{
	struct pull_quay *quay = (struct pull_quay *)((char *)task - offsetof(struct pull_quay, start));
	struct registry *registry = quay->upstream->registry;

	quay->listing = quay->organisation
				? quay_list_repositories(registry, quay->organisation, quay->since_s, PACE_PREFETCH,
							 &sink, quay)
				: quay_list_tags(registry, quay->repository, quay->tag, PACE_PREFETCH, &sink, quay);
}

static void cancel(struct loop_task *task)
{
	struct pull_quay *quay = (struct pull_quay *)((char *)task - offsetof(struct pull_quay, cancel));

	if (quay->listing)
		quay_cancel(quay->listing);
	quay_unref(quay);
}

/* The interest. */

static struct pull_quay *quay_open(struct pull *pull, struct pull_upstream *upstream)
{
	struct pull_quay *quay = mem_alloc(sizeof(*quay));

	quay->pull = pull;
	quay->upstream = upstream;
	quay->refs = 1;
	quay->start.run = start;
	quay->cancel.run = cancel;
	pthread_mutex_init(&quay->lock, NULL);
	return quay;
}

static struct pull_quay *quay_begin(struct pull_quay *quay)
{
	struct pull *pull = quay->pull;

	pthread_mutex_lock(&pull->lock);
	if (pull->closing) {
		quay->done = true;
		err_set(&quay->err, ERR_CANCELLED, "larder is shutting down");
	} else if (pull->offline) {
		quay->done = true;
		err_set(&quay->err, ERR_OFFLINE, "larder is offline and cannot list what %s has", quay->upstream->name);
	} else {
		pull->jobs++;
		quay->refs++;
		loop_post(pull->loop, &quay->start);
	}
	pthread_mutex_unlock(&pull->lock);
	return quay;
}

struct pull_quay *pull_quay_open_repositories(struct pull *pull, struct pull_upstream *upstream,
					      const char *organisation, int64_t since_s)
{
	struct pull_quay *quay = quay_open(pull, upstream);

	quay->organisation = mem_strdup(organisation);
	quay->since_s = since_s;
	return quay_begin(quay);
}

struct pull_quay *pull_quay_open_tags(struct pull *pull, struct pull_upstream *upstream, const char *repository,
				      const char *tag)
{
	struct pull_quay *quay = quay_open(pull, upstream);

	quay->repository = mem_strdup(repository);
	quay->tag = mem_strdup(tag);
	return quay_begin(quay);
}

int pull_quay_poll(struct pull_quay *quay, struct waiter *waiter, struct err *err)
{
	int code = ERR_AGAIN;

	quay->waiter = waiter;
	pthread_mutex_lock(&quay->lock);
	if (quay->done) {
		code = quay->err.code;
		if (code)
			*err = quay->err;
	} else {
		waiter_register(&quay->waiters, waiter);
	}
	pthread_mutex_unlock(&quay->lock);
	return code;
}

size_t pull_quay_count(const struct pull_quay *quay)
{
	return quay->count;
}

const char *pull_quay_name(const struct pull_quay *quay, size_t nth)
{
	return quay->names[nth];
}

void pull_quay_close(struct pull_quay *quay)
{
	bool gives_up;

	if (!quay)
		return;
	pthread_mutex_lock(&quay->lock);
	if (quay->waiter)
		waiter_forget(&quay->waiters, quay->waiter);
	gives_up = !quay->done;
	pthread_mutex_unlock(&quay->lock);
	if (gives_up)
		loop_post(quay->pull->loop, &quay->cancel); /* with the caller's reference */
	else
		quay_unref(quay);
}
