/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that makes room, and how it chooses. The sweep is sweep.c's. */
#include "store/evict.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "store/choose.h"
#include "store/evict_internal.h"
#include "store/index.h"
#include "store/ingest_internal.h"
#include "store/remove.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define IDLE_MS        10000 /* between looks at the file system, which others fill too */
#define SWEEP_PAUSE_MS 10
#define NAMES_EVERY_MS (24ULL * 3600 * 1000)

/* What flights of the past left, and what was quarantined. */

static bool has_ingest(struct store *store, const char *name)
{
	char path[STORE_PATH_MAX];

	for (struct ingest *ingest = store->room.ingests; ingest; ingest = ingest->next) {
		const char *partial = strchr(store_partial_path(&ingest->digest, "", path), '/') + 1;
		size_t len = strlen(partial);

		if (strncmp(name, partial, len) == 0 && (name[len] == '\0' || name[len] == '.'))
			return true;
	}
	return false;
}

struct leftover {
	char path[STORE_PATH_MAX]; /* the oldest; "" when there is none */
	int64_t when;
	uint64_t bytes; /* of all */
};

/* The mutex is held: an ingest that opens now waits, or is seen. */
static void look_at_leftovers(struct store *store, const char *directory_name, struct leftover *found)
{
	int fd = openat(store->root_fd, directory_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	struct stat file;

	if (!directory && fd >= 0)
		close(fd);
	while (directory && (entry = readdir(directory))) {
		if (fstatat(fd, entry->d_name, &file, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(file.st_mode) ||
		    strncmp(entry->d_name, STORE_PUT_PREFIX, strlen(STORE_PUT_PREFIX)) == 0 ||
		    has_ingest(store, entry->d_name))
			continue;
		found->bytes += (uint64_t)file.st_blocks * 512;
		if (found->path[0] && file.st_mtime >= found->when)
			continue;
		found->when = file.st_mtime;
		snprintf(found->path, sizeof(found->path), "%s/%.200s", directory_name, entry->d_name);
	}
	if (directory)
		closedir(directory);
}

/* Removes the oldest leftover when it is too old, or when there is need. True when one was removed. */
static bool remove_leftover(struct store *store, const char *directory, bool need)
{
	char aside[STORE_PATH_MAX];
	struct room *room = &store->room;
	struct leftover all = {0}, here = {0};
	bool removed;

	snprintf(aside, sizeof(aside), "partial/" STORE_PUT_PREFIX "old.%u", atomic_fetch_add(&store->puts, 1));
	pthread_mutex_lock(&room->mutex);
	look_at_leftovers(store, strcmp(directory, "partial") == 0 ? "quarantine" : "partial", &all);
	look_at_leftovers(store, directory, &here);
	room->leftover = all.bytes + here.bytes;
	/* Put aside under the mutex, which is quick, and freed without it. */
	removed = here.path[0] && (need || here.when < clock_wall_s() - EVICT_PARTIAL_AGE_S) &&
		  renameat(store->root_fd, here.path, store->root_fd, aside) == 0;
	pthread_mutex_unlock(&room->mutex);
	if (!removed || unlinkat(store->root_fd, aside, 0) < 0)
		return false;
	log_debug("store: removed %s", here.path);
	return true;
}

uint64_t evict_excess(struct store *store, bool margin)
{
	uint64_t bytes;

	pthread_mutex_lock(&store->room.mutex);
	bytes = room_excess(store, margin);
	pthread_mutex_unlock(&store->room.mutex);
	return bytes;
}

static uint64_t leftover_bytes(struct store *store)
{
	uint64_t bytes;

	pthread_mutex_lock(&store->room.mutex);
	bytes = store->room.leftover;
	pthread_mutex_unlock(&store->room.mutex);
	return bytes;
}

uint64_t evict_leftovers(struct store *store, bool margin)
{
	static const char *const directories[] = {"quarantine", "partial"};
	uint64_t before = 0, after;

	for (size_t i = 0; i < sizeof(directories) / sizeof(*directories); i++)
		do {
			after = leftover_bytes(store);
			before = after > before ? after : before;
		} while (remove_leftover(store, directories[i], evict_excess(store, margin) > 0));
	after = leftover_bytes(store);
	return before > after ? before - after : 0;
}

/* A pass. */

bool evict_is_stopping(struct store *store)
{
	bool stopping;

	pthread_mutex_lock(&store->room.mutex);
	stopping = store->room.stopping;
	pthread_mutex_unlock(&store->room.mutex);
	return stopping;
}

static void add_evicted(struct store *store, uint64_t bytes)
{
	pthread_mutex_lock(&store->room.mutex);
	store->room.evicted_bytes += bytes;
	pthread_mutex_unlock(&store->room.mutex);
}

void evict_pass(struct store *store)
{
	struct chooser chooser = {.store = store};
	struct removed all = {0};
	unsigned images = 0;
	struct choice choice;
	struct err err = {0};
	int code = 0;

	evict_leftovers(store, true);
	/* Who was used last is decided by what the index says. */
	if (evict_excess(store, true) > 0)
		(void)index_write_uses(store->index, &err);
	while (!code && evict_excess(store, true) > 0 && !evict_is_stopping(store) &&
	       !(code = choose_next(&chooser, &choice, &err))) {
		struct removed removed = {0};

		code = remove_image(store, &choice.root.digest, &removed, &err);
		if (code == ERR_NOT_FOUND) {
			choose_pass_over(&chooser, &choice); /* somebody else removed it */
			code = 0;
			continue;
		}
		add_evicted(store, removed.bytes);
		all.bytes += removed.bytes;
		images++;
	}
	if (code && code != ERR_NOT_FOUND)
		log_error("store: cannot make room: %s", err.text);
	if (images > 0)
		log_debug("store: removed %u least recently used images, %llu bytes", images,
			  (unsigned long long)all.bytes);
	pthread_mutex_lock(&store->room.mutex);
	store->room.passes++;
	pthread_cond_broadcast(&store->room.freed);
	pthread_mutex_unlock(&store->room.mutex);
}

/* The thread. */

/* Until there is something to do; a sweep goes on after a breath. */
static void await_work(struct room *room, bool sweeping)
{
	struct timespec until = clock_after_ms(sweeping ? SWEEP_PAUSE_MS : IDLE_MS);
	int code = 0;

	pthread_mutex_lock(&room->mutex);
	while (!room->hurry && !room->stopping && code != ETIMEDOUT)
		code = pthread_cond_timedwait(&room->wake, &room->mutex, &until);
	room->hurry = false;
	pthread_mutex_unlock(&room->mutex);
}

static void *run_keeper(void *arg)
{
	struct store *store = arg;
	struct sweep sweep = {0};
	struct digest named = {0};
	uint64_t names_due = 0; /* when clock_ms() says so */
	bool sweeping = true;

	while (!evict_is_stopping(store)) {
		/* First of all: what is pinned must not go meanwhile. */
		if (index_old(store->index) || atomic_load(&store->rebuilding))
			rescue_index(store);
		evict_pass(store);
		sweeping = sweeping && sweep_step(store, &sweep);
		if (!sweeping && clock_ms() >= names_due && !sweep_names(store, &named))
			names_due = clock_ms() + NAMES_EVERY_MS;
		await_work(&store->room, sweeping || clock_ms() >= names_due);
	}
	return NULL;
}

void evict_set_limits(struct store *store, const struct evict_options *options)
{
	pthread_mutex_lock(&store->room.mutex);
	store->room.max_size = options->max_size;
	store->room.min_free = options->min_free;
	store->room.hurry = true;
	pthread_cond_signal(&store->room.wake);
	pthread_mutex_unlock(&store->room.mutex);
}

void evict_set_dear(struct store *store, evict_dear_fn *is_dear, void *arg)
{
	pthread_mutex_lock(&store->room.dear_mutex);
	store->room.is_dear = is_dear;
	store->room.dear_arg = arg;
	pthread_mutex_unlock(&store->room.dear_mutex);
}

int evict_start(struct store *store, const struct evict_options *options, struct err *err)
{
	struct room *room = &store->room;
	int code;

	evict_set_limits(store, options);
	pthread_mutex_lock(&room->mutex);
	code = pthread_create(&room->thread, NULL, run_keeper, store);
	room->running = code == 0;
	pthread_mutex_unlock(&room->mutex);
	return code ? err_set_errno(err, ERR_IO, code, "cannot start the thread that keeps the store within limits")
		    : 0;
}

void evict_stop(struct store *store)
{
	struct room *room = &store->room;
	bool running;

	pthread_mutex_lock(&room->mutex);
	running = room->running;
	room->stopping = true;
	pthread_cond_signal(&room->wake);
	pthread_cond_broadcast(&room->freed);
	pthread_mutex_unlock(&room->mutex);
	if (running)
		pthread_join(room->thread, NULL);
}

uint64_t evict_total_bytes(struct store *store)
{
	uint64_t bytes;

	pthread_mutex_lock(&store->room.mutex);
	bytes = store->room.evicted_bytes;
	pthread_mutex_unlock(&store->room.mutex);
	return bytes;
}
