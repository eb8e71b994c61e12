/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers are indexed as they stream in, by one thread that reads along as one more reader of the flight, and has the
 * work done aside. It takes one blob after another, and leaves out what comes too thick: that is indexed when somebody
 * looks into it. What is no layer shows within its first bytes.
 */
#include "server/files/aside.h"
#include "server/files/files_internal.h"

#include "base/buf.h"

#include <stdlib.h>
#include <string.h>

#define WAITING_MAX 256 /* blobs that wait for their turn */

struct wish {
	struct wish *next;
	struct pull_upstream *upstream;
	struct digest digest;
	char repository[];
};

struct filling {
	struct files *files;
	struct aside *aside;
	pthread_t thread;

	pthread_mutex_t lock; /* guards what follows; taken behind pull's */
	pthread_cond_t wake;
	struct wish *first, **end;
	unsigned waiting;
	bool stopping;
};

/* Under pull's lock. */
static void note_flight(void *arg, struct pull_upstream *upstream, const char *repository, const struct digest *digest)
{
	struct filling *filling = arg;
	struct wish *wish = mem_alloc(sizeof(*wish) + strlen(repository) + 1);

	wish->upstream = upstream;
	wish->digest = *digest;
	strcpy(wish->repository, repository);
	pthread_mutex_lock(&filling->lock);
	if (filling->waiting < WAITING_MAX && !filling->stopping) {
		*filling->end = wish;
		filling->end = &wish->next;
		filling->waiting++;
		wish = NULL;
		pthread_cond_signal(&filling->wake);
	}
	pthread_mutex_unlock(&filling->lock);
	free(wish);
}

static struct wish *next_wish(struct filling *filling)
{
	struct wish *wish;

	pthread_mutex_lock(&filling->lock);
	while (!filling->first && !filling->stopping)
		pthread_cond_wait(&filling->wake, &filling->lock);
	wish = filling->stopping ? NULL : filling->first;
	if (wish) {
		filling->first = wish->next;
		if (!filling->first)
			filling->end = &filling->first;
		filling->waiting--;
	}
	pthread_mutex_unlock(&filling->lock);
	return wish;
}

static void *run(void *arg)
{
	struct filling *filling = arg;
	struct layer_index *index;
	struct wish *wish;
	struct err err;

	while ((wish = next_wish(filling))) {
		/* What went wrong is told to whoever looks into the layer. */
		if (files_get_index(filling->files, wish->upstream, wish->repository, &wish->digest, filling->aside,
				    &index, &err) == 0)
			layer_index_free(index);
		free(wish);
	}
	return NULL;
}

struct filling *filling_start(struct files *files)
{
	struct filling *filling = mem_alloc(sizeof(*filling));

	filling->files = files;
	filling->aside = aside_start();
	filling->end = &filling->first;
	pthread_mutex_init(&filling->lock, NULL);
	pthread_cond_init(&filling->wake, NULL);
	if (pthread_create(&filling->thread, NULL, run, filling))
		abort(); /* as good as no memory */
	pull_watch(files->pull, note_flight, filling);
	return filling;
}

void filling_stop(struct filling *filling)
{
	struct wish *wish;

	if (!filling)
		return;
	pull_watch(filling->files->pull, NULL, NULL);
	pthread_mutex_lock(&filling->lock);
	filling->stopping = true;
	pthread_cond_signal(&filling->wake);
	pthread_mutex_unlock(&filling->lock);
	pthread_join(filling->thread, NULL);
	aside_stop(filling->aside);
	while ((wish = filling->first)) {
		filling->first = wish->next;
		free(wish);
	}
	pthread_cond_destroy(&filling->wake);
	pthread_mutex_destroy(&filling->lock);
	free(filling);
}
