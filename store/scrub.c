/* SPDX-License-Identifier: Apache-2.0 */
/* The background pass. Where it stands is in the index, written down now and then. */
#include "store/verify.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "store/index.h"
#include "store/store_internal.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SUSPECTS_MAX   64
#define NOTE_EVERY_MS  10000 /* how much is done again at most after a crash */
#define LOOK_AGAIN_MS  60000 /* after the index could not be read */
#define NICENESS       15
#define IO_PRIORITY    (3 << 13) /* IOPRIO_CLASS_IDLE: only when nobody else wants the disk (ioprio_set(2)) */
#define IO_WHO_PROCESS 1

struct scrub {
	struct store *store;
	struct scrub_options options;
	pthread_t thread;
	/* The thread's own: */
	struct index_scrub at;
	uint64_t noted_ms;

	pthread_mutex_t mutex; /* guards what follows */
	pthread_cond_t wake;
	bool stopping;
	struct digest suspects[SUSPECTS_MAX];
	size_t suspect_count;
};

/* Best effort: where it is not allowed, the rate still holds. */
static void lower_priority(void)
{
	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICENESS);
	(void)syscall(SYS_ioprio_set, IO_WHO_PROCESS, 0, IO_PRIORITY);
}

static bool goes_on(void *arg)
{
	struct scrub *scrub = arg;
	bool stopping;

	pthread_mutex_lock(&scrub->mutex);
	stopping = scrub->stopping;
	pthread_mutex_unlock(&scrub->mutex);
	return !stopping;
}

/* A pass makes way for suspects: the blob that it was in begins anew. */
static bool pass_goes_on(void *arg)
{
	struct scrub *scrub = arg;
	bool disturbed;

	pthread_mutex_lock(&scrub->mutex);
	disturbed = scrub->stopping || scrub->suspect_count > 0;
	pthread_mutex_unlock(&scrub->mutex);
	return !disturbed;
}

static void tell(void *arg, const struct verify_item *item)
{
	struct scrub *scrub = arg;

	if (scrub->options.each)
		scrub->options.each(scrub->options.arg, item);
}

static void note(struct scrub *scrub)
{
	struct index_change change = {.kind = INDEX_PUT_SCRUB, .scrub = scrub->at};

	scrub->noted_ms = clock_ms();
	(void)index_write_later(scrub->store->index, &change, 1);
}

/* Sleeps at most so long. True: there is a suspect, now in *digest. */
static bool await_suspect(struct scrub *scrub, uint64_t ms, struct digest *digest)
{
	struct timespec until = clock_after_ms(ms);
	bool found;
	int code = 0;

	pthread_mutex_lock(&scrub->mutex);
	while (ms > 0 && !scrub->stopping && scrub->suspect_count == 0 && code != ETIMEDOUT)
		code = pthread_cond_timedwait(&scrub->wake, &scrub->mutex, &until);
	found = !scrub->stopping && scrub->suspect_count > 0;
	if (found)
		*digest = scrub->suspects[--scrub->suspect_count];
	pthread_mutex_unlock(&scrub->mutex);
	return found;
}

static bool take_blob(void *arg, const struct digest *digest, const struct index_blob *blob)
{
	(void)blob;
	*(struct digest *)arg = *digest;
	return false;
}

/* The next blob of the pass: 0, ERR_NOT_FOUND at its end, ERR_IO. */
static int next_blob(struct scrub *scrub, struct digest *digest)
{
	const struct digest *after = scrub->at.after.algorithm ? &scrub->at.after : NULL;
	int code;

	digest->algorithm = 0;
	code = index_list_blobs(scrub->store->index, after, take_blob, digest, NULL);
	return code || digest->algorithm ? code : ERR_NOT_FOUND;
}

/* How long until the next pass begins; 0 while one is under way. */
static uint64_t rest_ms(const struct scrub *scrub)
{
	int64_t every_s = (int64_t)(scrub->options.every_ms / 1000), now = clock_wall_s();

	if (!scrub->at.done || now >= scrub->at.began + every_s || now < scrub->at.began)
		return 0;
	return (uint64_t)(scrub->at.began + every_s - now) * 1000;
}

static void begin_pass(struct scrub *scrub)
{
	scrub->at = (struct index_scrub){.began = clock_wall_s()};
	note(scrub);
}

/* What serving found is in quarantine already: it only wants to be told of. */
static void look_at_suspect(struct scrub *scrub, const struct digest *digest, struct verify_options options,
			    struct verify_result *result)
{
	struct verify_item item = {.digest = *digest, .code = ERR_IO, .why = "it could not be read to be served"};

	options.go_on = goes_on;
	if (verify_blob(scrub->store, digest, &options, result, NULL) == ERR_NOT_FOUND)
		tell(scrub, &item);
}

static void *run_scrub(void *arg)
{
	struct scrub *scrub = arg;
	struct verify_pace pace = {0};
	struct verify_options options = {.bytes_per_s = scrub->options.bytes_per_s,
					 .pace = &pace,
					 .each = tell,
					 .go_on = pass_goes_on,
					 .arg = scrub};
	struct verify_result result = {0};
	struct digest digest;
	uint64_t pause_ms = 0;

	lower_priority();
	if (index_get_scrub(scrub->store->index, &scrub->at, NULL))
		begin_pass(scrub);
	while (goes_on(scrub)) {
		int code;

		pause_ms = pause_ms > 0 ? pause_ms : rest_ms(scrub);
		if (await_suspect(scrub, pause_ms, &digest)) {
			look_at_suspect(scrub, &digest, options, &result);
			continue;
		}
		pause_ms = 0;
		if (rest_ms(scrub) > 0)
			continue;
		if (scrub->at.done)
			begin_pass(scrub);
		code = next_blob(scrub, &digest);
		if (code == ERR_IO)
			pause_ms = LOOK_AGAIN_MS;
		if (!code && verify_blob(scrub->store, &digest, &options, &result, NULL) != ERR_CANCELLED)
			scrub->at.after = digest;
		scrub->at.done = code == ERR_NOT_FOUND;
		if (scrub->at.done || clock_ms() - scrub->noted_ms >= NOTE_EVERY_MS)
			note(scrub);
		if (scrub->at.done)
			log_debug("store: all blobs were read once more; %llu of them damaged",
				  (unsigned long long)result.damaged);
	}
	note(scrub);
	return NULL;
}

int scrub_start(struct store *store, const struct scrub_options *options, struct err *err)
{
	struct scrub *scrub = mem_alloc(sizeof(*scrub));
	pthread_condattr_t attributes;
	int code;

	scrub->store = store;
	scrub->options = *options;
	pthread_mutex_init(&scrub->mutex, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&scrub->wake, &attributes);
	pthread_condattr_destroy(&attributes);
	code = pthread_create(&scrub->thread, NULL, run_scrub, scrub);
	if (code) {
		free(scrub);
		return err_set_errno(err, ERR_IO, code, "cannot start the thread that reads the store over");
	}
	atomic_store(&store->scrub, scrub);
	return 0;
}

void scrub_stop(struct store *store)
{
	struct scrub *scrub = atomic_exchange(&store->scrub, NULL);

	if (!scrub)
		return;
	pthread_mutex_lock(&scrub->mutex);
	scrub->stopping = true;
	pthread_cond_signal(&scrub->wake);
	pthread_mutex_unlock(&scrub->mutex);
	pthread_join(scrub->thread, NULL);
	pthread_cond_destroy(&scrub->wake);
	pthread_mutex_destroy(&scrub->mutex);
	free(scrub);
}

void scrub_suspect(struct store *store, const struct digest *digest)
{
	struct scrub *scrub = atomic_load(&store->scrub);

	if (!scrub)
		return;
	pthread_mutex_lock(&scrub->mutex);
	for (size_t i = 0; i < scrub->suspect_count; i++)
		if (digest_equal(&scrub->suspects[i], digest)) {
			pthread_mutex_unlock(&scrub->mutex);
			return;
		}
	if (scrub->suspect_count < SUSPECTS_MAX)
		scrub->suspects[scrub->suspect_count++] = *digest;
	pthread_cond_signal(&scrub->wake);
	pthread_mutex_unlock(&scrub->mutex);
}
