/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that makes room, and how it chooses. The sweep is sweep.c's. */
#include "store/evict.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "store/evict_internal.h"
#include "store/index.h"
#include "store/ingest_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <uthash.h>

#define IMAGE_BLOBS_MAX 4096  /* taken at once; what is left of a larger image is below roots of its own */
#define CHILDREN_MAX    16384 /* of one manifest that are looked at */
#define IDLE_S          10    /* between looks at the file system, which others fill too */
#define SWEEP_PAUSE_NS  2000000L

/* Images. */

struct victim {
	struct digest digest;
	UT_hash_handle hh;
};

struct image {
	struct victim *victims; /* a hash that keeps the order: parents before children */
};

struct child {
	struct digest digest;
	bool is_manifest;
};

struct children {
	struct child *items;
	size_t count, cap;
};

static void image_dispose(struct image *image)
{
	struct victim *victim, *next;

	HASH_ITER (hh, image->victims, victim, next) {
		HASH_DEL(image->victims, victim);
		free(victim);
	}
}

static bool image_has(const struct image *image, const struct digest *digest)
{
	struct victim *found;

	HASH_FIND(hh, image->victims, digest, sizeof(*digest), found);
	return found != NULL;
}

static void image_add(struct image *image, const struct digest *digest)
{
	struct victim *victim = mem_alloc(sizeof(*victim));

	victim->digest = *digest;
	HASH_ADD(hh, image->victims, digest, sizeof(victim->digest), victim);
}

static bool collect_child(void *arg, const struct digest *digest, bool is_manifest)
{
	struct children *children = arg;

	if (children->count == children->cap) {
		children->cap = children->cap ? children->cap * 2 : 64;
		children->items = mem_realloc(children->items, children->cap * sizeof(*children->items));
	}
	children->items[children->count++] = (struct child){*digest, is_manifest};
	return children->count < CHILDREN_MAX;
}

struct needed {
	const struct image *image;
	bool by_others;
};

static bool look_at_parent(void *arg, const struct digest *parent, bool is_manifest)
{
	struct needed *needed = arg;

	(void)is_manifest;
	needed->by_others = !image_has(needed->image, parent);
	return !needed->by_others;
}

/* Whether a child goes with the image: it is held, nothing else references it, and no tag means it. */
static bool goes_along(struct store *store, const struct image *image, const struct child *child)
{
	struct needed needed = {.image = image};
	struct index_blob blob;

	return !image_has(image, &child->digest) && index_get_blob(store->index, &child->digest, &blob, NULL) == 0 &&
	       index_list_parents(store->index, &child->digest, look_at_parent, &needed, NULL) == 0 &&
	       !needed.by_others &&
	       (!child->is_manifest || index_find_tag_of(store->index, &child->digest, NULL) == ERR_NOT_FOUND);
}

/* The root and all that only it needs. A child of two manifests is looked at with each, and goes with the later. */
static void image_collect(struct store *store, const struct digest *root, struct image *image)
{
	image_add(image, root);
	for (struct victim *at = image->victims; at; at = at->hh.next) {
		struct children children = {0};

		(void)index_list_children(store->index, &at->digest, collect_child, &children, NULL);
		for (size_t i = 0; i < children.count && HASH_COUNT(image->victims) < IMAGE_BLOBS_MAX; i++)
			if (goes_along(store, image, &children.items[i]))
				image_add(image, &children.items[i].digest);
		free(children.items);
	}
}

/* Removing. */

static int remove_files(struct store *store, const struct digest *digests, unsigned *count, struct err *err)
{
	char path[STORE_PATH_MAX];

	for (unsigned i = 0; i < *count; i++) {
		if (unlinkat(store->root_fd, store_blob_path(&digests[i], path), 0) < 0 && errno != ENOENT) {
			*count = i;
			return err_set_errno(err, ERR_IO, errno, "cannot remove %s/%s", store->path, path);
		}
	}
	return 0;
}

static uint64_t bytes_of(struct store *store, const struct digest *digests, unsigned count)
{
	struct index_blob blob;
	uint64_t bytes = 0;

	for (unsigned i = 0; i < count; i++)
		if (index_get_blob(store->index, &digests[i], &blob, NULL) == 0)
			bytes += blob.size;
	return bytes;
}

static int remove_batch(struct store *store, const struct digest *digests, unsigned count, struct err *err)
{
	struct index_change changes[ROOM_REMOVING_MAX];
	struct room *room = &store->room;
	unsigned gone = count;
	int code, forgotten = 0;

	pthread_mutex_lock(&room->mutex);
	while (room->removing_count > 0)
		pthread_cond_wait(&room->freed, &room->mutex);
	memcpy(room->removing, digests, count * sizeof(*digests));
	room->removing_count = count;
	pthread_mutex_unlock(&room->mutex);

	code = remove_files(store, digests, &gone, err);
	for (unsigned i = 0; i < gone; i++)
		changes[i] = (struct index_change){.kind = INDEX_FORGET_BLOB, .digest = &digests[i]};
	if (gone > 0)
		forgotten = index_write(store->index, changes, gone, code ? NULL : err);

	pthread_mutex_lock(&room->mutex);
	room->removing_count = 0;
	pthread_cond_broadcast(&room->freed);
	pthread_mutex_unlock(&room->mutex);
	return code ? code : forgotten;
}

int evict_blobs(struct store *store, const struct digest *digests, size_t count, struct err *err)
{
	int code = 0;

	for (size_t done = 0; done < count && !code; done += ROOM_REMOVING_MAX)
		code = remove_batch(store, digests + done,
				    count - done < ROOM_REMOVING_MAX ? (unsigned)(count - done) : ROOM_REMOVING_MAX,
				    err);
	return code;
}

static int evict_batch(struct store *store, const struct digest *digests, unsigned count, struct err *err)
{
	uint64_t bytes = bytes_of(store, digests, count);
	int code = remove_batch(store, digests, count, err);

	if (code == 0) {
		pthread_mutex_lock(&store->room.mutex);
		store->room.evicted_bytes += bytes;
		pthread_mutex_unlock(&store->room.mutex);
	}
	return code;
}

int evict_image(struct store *store, const struct digest *root, struct err *err)
{
	_cleanup_(image_dispose) struct image image = {0};
	struct digest batch[ROOM_REMOVING_MAX];
	unsigned count = 0;
	int code = 0;

	image_collect(store, root, &image);
	for (struct victim *at = image.victims; at && !code; at = at->hh.next) {
		batch[count++] = at->digest;
		if (count < ROOM_REMOVING_MAX && at->hh.next)
			continue;
		code = evict_batch(store, batch, count, err);
		count = 0;
	}
	return code;
}

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

/* A pass. */

static uint64_t excess(struct store *store)
{
	uint64_t bytes;

	pthread_mutex_lock(&store->room.mutex);
	bytes = room_excess(store);
	pthread_mutex_unlock(&store->room.mutex);
	return bytes;
}

static void make_room_of_leftovers(struct store *store)
{
	static const char *const directories[] = {"quarantine", "partial"};

	for (size_t i = 0; i < sizeof(directories) / sizeof(*directories); i++)
		while (remove_leftover(store, directories[i], excess(store) > 0))
			;
}

static bool take_first(void *arg, const struct index_root *root)
{
	struct index_root *first = arg;

	*first = *root;
	return false;
}

static bool is_stopping(struct store *store)
{
	bool stopping;

	pthread_mutex_lock(&store->room.mutex);
	stopping = store->room.stopping;
	pthread_mutex_unlock(&store->room.mutex);
	return stopping;
}

void evict_pass(struct store *store, const struct evict_options *options)
{
	struct index_root root = {0}, kept = {0};
	unsigned images = 0;
	struct err err = {0};
	uint64_t before = evict_total_bytes(store);

	make_room_of_leftovers(store);
	while (excess(store) > 0 && !is_stopping(store)) {
		root.digest.algorithm = 0;
		if (index_list_roots(store->index, kept.digest.algorithm ? &kept : NULL, take_first, &root, &err) ||
		    root.digest.algorithm == 0)
			break;
		if (options->is_kept && options->is_kept(options->arg, &root.digest)) {
			kept = root;
			continue;
		}
		if (evict_image(store, &root.digest, &err)) {
			log_error("store: cannot make room: %s", err.text);
			break;
		}
		images++;
	}
	if (images > 0)
		log_debug("store: removed %u least recently used images, %llu bytes", images,
			  (unsigned long long)(evict_total_bytes(store) - before));
	pthread_mutex_lock(&store->room.mutex);
	store->room.passes++;
	pthread_cond_broadcast(&store->room.freed);
	pthread_mutex_unlock(&store->room.mutex);
}

/* The thread. */

struct keeper {
	struct store *store;
	struct evict_options options;
};

/* Until there is something to do; a sweep goes on after a breath. */
static void await_work(struct room *room, bool sweeping)
{
	struct timespec until;
	int code = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += SWEEP_PAUSE_NS;
	if (!sweeping || until.tv_nsec >= 1000000000L) {
		until.tv_sec += sweeping ? 1 : IDLE_S;
		until.tv_nsec %= 1000000000L;
	}
	pthread_mutex_lock(&room->mutex);
	while (!room->hurry && !room->stopping && code != ETIMEDOUT)
		code = pthread_cond_timedwait(&room->wake, &room->mutex, &until);
	room->hurry = false;
	pthread_mutex_unlock(&room->mutex);
}

static void *run_keeper(void *arg)
{
	struct keeper *keeper = arg;
	struct store *store = keeper->store;
	struct sweep sweep = {0};
	bool sweeping = true;

	while (!is_stopping(store)) {
		evict_pass(store, &keeper->options);
		sweeping = sweeping && sweep_step(store, &sweep);
		await_work(&store->room, sweeping);
	}
	free(keeper);
	return NULL;
}

int evict_start(struct store *store, const struct evict_options *options, struct err *err)
{
	struct keeper *keeper = mem_alloc(sizeof(*keeper));
	struct room *room = &store->room;
	int code;

	*keeper = (struct keeper){.store = store, .options = *options};
	pthread_mutex_lock(&room->mutex);
	room->max_size = options->max_size;
	room->min_free = options->min_free;
	code = pthread_create(&room->thread, NULL, run_keeper, keeper);
	room->running = code == 0;
	pthread_mutex_unlock(&room->mutex);
	if (code) {
		free(keeper);
		return err_set_errno(err, ERR_IO, code, "cannot start the thread that keeps the store within limits");
	}
	return 0;
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
