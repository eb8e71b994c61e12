/* SPDX-License-Identifier: Apache-2.0 */
#include "store/room.h"

#include "base/clock.h"
#include "store/index.h"
#include "store/ingest_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

#define OTHER_FILES 8 /* the store's own: VERSION, lock, the upper directories */

/* What counts at one moment. */
struct measure {
	uint64_t used;      /* of max_size */
	uint64_t evictable; /* of that, at most */
	uint64_t free;      /* on the file system, once all that is reserved was written */
	bool free_known;
};

void room_init(struct room *room)
{
	pthread_condattr_t attributes;

	pthread_mutex_init(&room->mutex, NULL);
	pthread_mutex_init(&room->dear_mutex, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&room->freed, &attributes);
	pthread_cond_init(&room->wake, &attributes);
	pthread_condattr_destroy(&attributes);
}

void room_dispose(struct room *room)
{
	pthread_cond_destroy(&room->wake);
	pthread_cond_destroy(&room->freed);
	pthread_mutex_destroy(&room->dear_mutex);
	pthread_mutex_destroy(&room->mutex);
}

static bool has_limits(const struct room *room)
{
	return room->max_size > 0 || room->min_free > 0;
}

static uint64_t headroom(uint64_t limit)
{
	return limit / 16 < ROOM_HEADROOM_MAX ? limit / 16 : ROOM_HEADROOM_MAX;
}

static uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* What is reserved and not written yet. */
static uint64_t unwritten(struct store *store)
{
	uint64_t bytes = store->room.reserved;

	for (struct ingest *ingest = store->room.ingests; ingest; ingest = ingest->next) {
		/* One that has nothing reserved is still being opened, or was published. */
		uint64_t present = ingest->reserved > 0 ? ingest_present_bytes(ingest) : 0;

		bytes -= present < ingest->reserved ? present : ingest->reserved;
	}
	return minus(bytes, atomic_load(&store->room.staged));
}

static uint64_t index_bytes(struct store *store)
{
	struct stat found;

	if (fstatat(store->root_fd, "index/data.mdb", &found, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	return (uint64_t)found.st_blocks * 512;
}

static void take_measure(struct store *store, struct measure *measure)
{
	struct room *room = &store->room;
	struct index_totals totals = {0};
	struct statvfs disk;

	(void)index_get_totals(store->index, &totals, NULL);
	measure->evictable = totals.bytes + totals.blobs * ROOM_FILE_BYTES + room->leftover + room->layers;
	measure->used = measure->evictable + room->reserved + index_bytes(store) +
			(room->directories + OTHER_FILES) * ROOM_FILE_BYTES;
	measure->free = 0;
	measure->free_known = room->min_free > 0 && fstatvfs(store->root_fd, &disk) == 0;
	if (measure->free_known)
		measure->free = minus((uint64_t)disk.f_bavail * disk.f_frsize, unwritten(store));
}

static uint64_t excess_of(const struct room *room, const struct measure *measure, uint64_t wanted, bool margin)
{
	uint64_t above = 0, below = 0;

	if (room->max_size > 0)
		above = minus(measure->used + wanted + (margin ? headroom(room->max_size) : 0), room->max_size);
	if (measure->free_known)
		below = minus(room->min_free + wanted + (margin ? headroom(room->min_free) : 0), measure->free);
	return above > below ? above : below;
}

uint64_t room_excess(struct store *store, bool margin)
{
	struct measure measure;

	if (!has_limits(&store->room))
		return 0;
	take_measure(store, &measure);
	return excess_of(&store->room, &measure, margin ? store->room.wanted : 0, margin);
}

static void hurry(struct room *room)
{
	room->hurry = true;
	pthread_cond_signal(&room->wake);
}

static int no_space(struct store *store, uint64_t bytes, const struct measure *measure, struct err *err)
{
	return err_set(err, ERR_NO_SPACE,
		       "the store %s has no room for %llu bytes, and none can be made (%llu used, max_size %llu, "
		       "min_free %llu)",
		       store->path, (unsigned long long)bytes, (unsigned long long)measure->used,
		       (unsigned long long)store->room.max_size, (unsigned long long)store->room.min_free);
}

/* Waits until the bytes fit. The mutex is held. */
static int await_room(struct store *store, uint64_t bytes, uint64_t wait_ms, struct measure *measure, struct err *err)
{
	struct room *room = &store->room;
	struct timespec until = clock_after_ms(wait_ms);
	unsigned first_pass = room->passes;
	uint64_t excess;
	int code = 0;

	room->wanted += bytes;
	while ((excess = excess_of(room, measure, bytes, false)) > 0) {
		/* The pass that runs may have begun before us; the one behind it has done what can be done. */
		if (!room->running || room->stopping || code == ETIMEDOUT || room->passes - first_pass >= 2)
			break;
		hurry(room);
		code = pthread_cond_timedwait(&room->freed, &room->mutex, &until);
		take_measure(store, measure);
	}
	room->wanted -= bytes;
	return excess > 0 ? no_space(store, bytes, measure, err) : 0;
}

/* What cannot be had by throwing away everything is no reason to throw away anything. The mutex is held. */
static int check_possible(struct store *store, uint64_t bytes, bool margin, struct measure *measure, struct err *err)
{
	take_measure(store, measure);
	return excess_of(&store->room, measure, bytes, margin) > measure->evictable
		       ? no_space(store, bytes, measure, err)
		       : 0;
}

int room_take(struct store *store, uint64_t bytes, uint64_t wait_ms, struct err *err)
{
	struct room *room = &store->room;
	struct measure measure = {0};
	int code = 0;

	pthread_mutex_lock(&room->mutex);
	if (has_limits(room)) {
		code = check_possible(store, bytes, false, &measure, err);
		if (!code && excess_of(room, &measure, bytes, false) > 0 && wait_ms == 0)
			code = room->running ? err_set(err, ERR_AGAIN, "room is being made")
					     : no_space(store, bytes, &measure, err);
		else if (!code)
			code = await_room(store, bytes, wait_ms, &measure, err);
		/* Ahead of the next who comes. */
		if (code == ERR_AGAIN || excess_of(room, &measure, bytes, true) > 0)
			hurry(room);
	}
	if (code == 0)
		room->reserved += bytes;
	pthread_mutex_unlock(&room->mutex);
	return code;
}

int room_check(struct store *store, uint64_t bytes, bool margin, struct err *err)
{
	struct room *room = &store->room;
	struct measure measure = {0};
	int code = 0;

	pthread_mutex_lock(&room->mutex);
	if (has_limits(room))
		code = check_possible(store, bytes, margin, &measure, err);
	pthread_mutex_unlock(&room->mutex);
	return code;
}

void room_give(struct store *store, uint64_t bytes)
{
	pthread_mutex_lock(&store->room.mutex);
	assert(store->room.reserved >= bytes);
	store->room.reserved -= bytes;
	if (bytes > 0)
		pthread_cond_broadcast(&store->room.freed);
	pthread_mutex_unlock(&store->room.mutex);
}

void room_add_leftover(struct store *store, uint64_t bytes)
{
	pthread_mutex_lock(&store->room.mutex);
	store->room.leftover += bytes;
	pthread_mutex_unlock(&store->room.mutex);
}

void room_add_directories(struct store *store, unsigned count)
{
	pthread_mutex_lock(&store->room.mutex);
	store->room.directories += count;
	pthread_mutex_unlock(&store->room.mutex);
}

static bool is_removing(const struct room *room, const struct digest *digest)
{
	for (unsigned i = 0; i < room->removing_count; i++)
		if (digest_equal(&room->removing[i], digest))
			return true;
	return false;
}

bool room_is_removing(struct store *store, const struct digest *digest)
{
	bool removing;

	pthread_mutex_lock(&store->room.mutex);
	removing = is_removing(&store->room, digest);
	pthread_mutex_unlock(&store->room.mutex);
	return removing;
}

void room_await_removal(struct store *store, const struct digest *digest)
{
	pthread_mutex_lock(&store->room.mutex);
	while (is_removing(&store->room, digest))
		pthread_cond_wait(&store->room.freed, &store->room.mutex);
	pthread_mutex_unlock(&store->room.mutex);
}
