/* SPDX-License-Identifier: Apache-2.0 */
/* A run: one thread finds out what is meant, some others fetch it. */
#include "server/prefetch/prefetch_internal.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <stdlib.h>
#include <string.h>

#define STACK_BYTES ((size_t)512 << 10)

/* What is shared. */

char *image_name(const struct image *image)
{
	struct digest digest;

	return mem_printf("%s/%s%s%s", pull_upstream_name(image->upstream), image->repository,
			  digest_parse(image->reference, &digest) ? ":" : "@", image->reference);
}

void run_add_image(struct run *run, struct pull_upstream *upstream, const char *repository, const char *reference)
{
	_cleanup_free_ char *key = mem_printf("%s %s %s", pull_upstream_name(upstream), repository, reference);
	struct image *image;

	pthread_mutex_lock(&run->lock);
	HASH_FIND_STR(run->by_key, key, image);
	if (!image && run->count < PREFETCH_IMAGES_MAX) {
		image = mem_alloc(sizeof(*image));
		image->upstream = upstream;
		image->repository = mem_strdup(repository);
		image->reference = mem_strdup(reference);
		image->key = take_pointer(key);
		image->turn.number = run->count;
		image->open = 1;
		HASH_ADD_KEYPTR(hh, run->by_key, image->key, strlen(image->key), image);
		if (run->count == run->capacity) {
			run->capacity = run->capacity ? 2 * run->capacity : 64;
			run->images = mem_realloc(run->images, run->capacity * sizeof(*run->images));
		}
		run->images[run->count++] = image;
		job_add(run->job, JOB_IMAGES_TOTAL, 1);
		pthread_cond_signal(&run->more);
	}
	pthread_mutex_unlock(&run->lock);
}

/* run->lock is held. */
static void wake_batons(struct run *run)
{
	for (size_t i = 0; i < run->baton_count; i++)
		baton_wake(run->batons[i]);
}

bool run_enter(struct run *run, struct image *image)
{
	bool enters;

	pthread_mutex_lock(&run->lock);
	enters = turns_enter(&run->turns, &image->turn);
	if (enters)
		wake_batons(run); /* the next may have room too */
	pthread_mutex_unlock(&run->lock);
	return enters;
}

void run_leave(struct run *run, struct image *image)
{
	pthread_mutex_lock(&run->lock);
	turns_leave(&run->turns, &image->turn);
	wake_batons(run);
	pthread_mutex_unlock(&run->lock);
}

bool run_meet(struct run *run, const struct digest *digest)
{
	struct met *met;
	bool first;

	pthread_mutex_lock(&run->lock);
	HASH_FIND(hh, run->met, digest, sizeof(*digest), met);
	first = met == NULL;
	if (first) {
		met = mem_alloc(sizeof(*met));
		met->digest = *digest;
		HASH_ADD(hh, run->met, digest, sizeof(met->digest), met);
	}
	pthread_mutex_unlock(&run->lock);
	return first;
}

/* Threads. */

struct worker {
	struct run *run;
	struct baton baton;
	pthread_t thread;
};

/* The next image, once there is one; NULL: there are no more. */
static struct image *next_image(struct run *run)
{
	struct image *image = NULL;

	pthread_mutex_lock(&run->lock);
	while (run->taken == run->count && !run->resolved && !job_is_stopping(run->job))
		pthread_cond_wait(&run->more, &run->lock);
	if (run->taken < run->count && !job_is_stopping(run->job))
		image = run->images[run->taken++];
	if (image)
		turns_enter(&run->turns, &image->turn); /* from here on it waits, if it is not inside */
	pthread_mutex_unlock(&run->lock);
	return image;
}

static void *worker_main(void *arg)
{
	struct worker *worker = arg;
	struct image *image;

	pthread_setname_np(pthread_self(), "prefetch");
	while ((image = next_image(worker->run)))
		image_fetch(worker->run, &worker->baton, image);
	return NULL;
}

/* The job is to end: whoever waits looks at that. */
static void wake_all(void *arg)
{
	struct run *run = arg;

	pthread_mutex_lock(&run->lock);
	pthread_cond_broadcast(&run->more);
	pthread_cond_broadcast(&run->settler.room);
	wake_batons(run);
	pthread_mutex_unlock(&run->lock);
}

static void resolve_all(struct run *run, struct baton *baton, const json_t *request)
{
	json_t *item;
	bool full;
	struct err err;
	size_t i;

	json_array_foreach(json_object_get(request, "images"), i, item)
	{
		if (!job_is_stopping(run->job))
			resolve_reference(run, baton, json_string_value(item));
	}
	pthread_mutex_lock(&run->lock);
	run->resolved = true;
	full = run->count == PREFETCH_IMAGES_MAX;
	pthread_cond_broadcast(&run->more);
	pthread_mutex_unlock(&run->lock);
	if (full) {
		err_set(&err, ERR_LIMIT, "there are more images than one job takes");
		job_fail(run->job, "", &err);
	}
}

/* A run's threads: workers, and the one that settles. */
struct crew {
	struct worker *workers;
	unsigned count, started;
	pthread_t settler;
	bool settles;
};

static void crew_start(struct crew *crew, struct run *run)
{
	pthread_attr_t attributes;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	crew->settles = pthread_create(&crew->settler, &attributes, settler_main, run) == 0;
	while (crew->settles && crew->started < crew->count &&
	       pthread_create(&crew->workers[crew->started].thread, &attributes, worker_main,
			      &crew->workers[crew->started]) == 0)
		crew->started++;
	pthread_attr_destroy(&attributes);
}

/* Waits until all is done. */
static void crew_end(struct crew *crew, struct run *run)
{
	for (unsigned i = 0; i < crew->started; i++)
		pthread_join(crew->workers[i].thread, NULL);
	if (!crew->settles)
		return;
	settler_end(run);
	pthread_join(crew->settler, NULL);
}

static int run_threads(struct run *run, const json_t *request, struct err *err)
{
	/* As many again find out what theirs consist of, while the first are being fetched. */
	struct crew crew = {.count = 2 * run->wanted.images_at_once};
	struct baton resolver;

	crew.workers = mem_alloc(crew.count * sizeof(*crew.workers));
	run->batons = mem_alloc((crew.count + 2) * sizeof(*run->batons));
	baton_init(&resolver);
	baton_init(&run->settler.baton);
	run->batons[run->baton_count++] = &resolver;
	run->batons[run->baton_count++] = &run->settler.baton;
	for (unsigned i = 0; i < crew.count; i++) {
		crew.workers[i].run = run;
		baton_init(&crew.workers[i].baton);
		run->batons[run->baton_count++] = &crew.workers[i].baton;
	}
	job_on_stop(run->job, wake_all, run);
	crew_start(&crew, run);
	if (crew.started > 0)
		resolve_all(run, &resolver, request);
	crew_end(&crew, run);
	job_on_stop(run->job, NULL, NULL);
	for (size_t i = 0; i < run->baton_count; i++)
		baton_dispose(run->batons[i]);
	free(run->batons);
	free(crew.workers);
	return crew.started ? 0 : err_set(err, ERR_IO, "no thread can be started");
}

static void run_dispose(struct run *run)
{
	struct met *met, *next;

	HASH_CLEAR(hh, run->by_key);
	for (size_t i = 0; i < run->count; i++) {
		free(run->images[i]->repository);
		free(run->images[i]->reference);
		free(run->images[i]->key);
		free(run->images[i]);
	}
	free(run->images);
	HASH_ITER (hh, run->met, met, next) {
		HASH_DEL(run->met, met);
		free(met);
	}
	json_decref(run->plan);
	pthread_cond_destroy(&run->settler.room);
	pthread_cond_destroy(&run->more);
	pthread_mutex_destroy(&run->lock);
}

int prefetch_run(void *arg, struct job *job, const json_t *request, struct err *err)
{
	const struct prefetch *prefetch = arg;
	struct run run = {.pull = prefetch->pull, .store = prefetch->store, .job = job};
	int code = wanted_read(request, &run.wanted, err);

	pthread_mutex_init(&run.lock, NULL);
	pthread_cond_init(&run.more, NULL);
	pthread_cond_init(&run.settler.room, NULL);
	run.turns.max = run.wanted.images_at_once;
	run.plan = json_array();
	if (code == 0)
		code = run_threads(&run, request, err);
	if (code == 0 && run.wanted.dry_run)
		job_set_result(job, json_pack("{s:O}", "plan", run.plan));
	run_dispose(&run);
	return code;
}

int prefetch_check(const struct prefetch *prefetch, const json_t *request, struct err *err)
{
	const json_t *images = json_object_get(request, "images"), *item;
	struct wanted wanted;
	struct err why = {0};
	size_t i;
	int code = wanted_read(request, &wanted, err);

	if (code)
		return code;
	if (json_array_size(images) == 0 || json_array_size(images) > PREFETCH_SPECS_MAX)
		return err_set(err, ERR_INVALID, "images is a list of 1 to %d references", PREFETCH_SPECS_MAX);
	json_array_foreach(images, i, item)
	{
		const char *text = json_string_value(item);

		if (!text)
			return err_set(err, ERR_INVALID, "images[%zu] is no text", i);
		if (resolve_check(prefetch->pull, text, &why))
			return err_set(err, ERR_INVALID, "'%.100s': %s", text, why.text);
	}
	return 0;
}
