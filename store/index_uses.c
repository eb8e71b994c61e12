/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Last uses, gathered. A blob that is served all the time would otherwise be a change of the index each time: here it
 * is one entry of a table, and one change every INDEX_USES_MS, which the writer makes. Under the index's mutex.
 */
#include "store/index_internal.h"

#include "base/buf.h"
#include "base/clock.h"

#include <stdlib.h>
#include <uthash.h>

#define INDEX_USES_GROUP 64

struct index_use {
	struct digest digest;
	int64_t last_use;
	UT_hash_handle hh;
};

static bool is_due(const struct timespec *time)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > time->tv_sec || (now.tv_sec == time->tv_sec && now.tv_nsec >= time->tv_nsec);
}

void index_use_blob(struct index *index, const struct digest *digest)
{
	int64_t now = clock_wall_s();
	struct index_use *use;

	pthread_mutex_lock(&index->mutex);
	HASH_FIND(hh, index->uses, digest, sizeof(*digest), use);
	if (!use) {
		bool first = !index->uses;

		use = mem_alloc(sizeof(*use));
		use->digest = *digest;
		HASH_ADD(hh, index->uses, digest, sizeof(use->digest), use);
		if (first || HASH_COUNT(index->uses) == INDEX_USES_MAX) {
			index->uses_due = clock_after_ms(first ? INDEX_USES_MS : 0);
			pthread_cond_signal(&index->wake);
		}
	}
	use->last_use = now;
	pthread_mutex_unlock(&index->mutex);
}

/* One group of the first few: nothing says that they belong together. */
static struct index_group *take_some(struct index *index)
{
	struct index_change changes[INDEX_USES_GROUP] = {0};
	struct index_use *use, *next, *taken[INDEX_USES_GROUP];
	struct index_group *group;
	size_t count = 0;

	HASH_ITER (hh, index->uses, use, next) {
		if (count == INDEX_USES_GROUP)
			break;
		HASH_DEL(index->uses, use);
		changes[count] = (struct index_change){
			.kind = INDEX_USE_BLOB, .digest = &use->digest, .blob.last_use = use->last_use};
		taken[count++] = use;
	}
	group = index_group_new(changes, count);
	while (count > 0)
		free(taken[--count]);
	return group;
}

struct index_group *index_take_uses(struct index *index, bool all)
{
	struct index_group *groups = NULL;

	if (!index->uses || (!all && !is_due(&index->uses_due)))
		return NULL;
	while (index->uses) {
		struct index_group *group = take_some(index);

		group->next = groups;
		groups = group;
	}
	return groups;
}

uint64_t index_generation(const struct index *index)
{
	return atomic_load_explicit(&index->generation, memory_order_acquire);
}
