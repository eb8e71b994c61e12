/* SPDX-License-Identifier: Apache-2.0 */
#include "server/pull/sizes.h"

#include "base/buf.h"
#include "store/manifest.h"

#include <pthread.h>
#include <stdlib.h>
#include <uthash.h>

struct known_size {
	struct digest digest;
	uint64_t size;
	bool disputed;
	UT_hash_handle hh;
};

struct sizes {
	pthread_mutex_t lock;
	struct known_size *known; /* in the order of learning */
};

struct sizes *sizes_new(void)
{
	struct sizes *sizes = mem_alloc(sizeof(*sizes));

	pthread_mutex_init(&sizes->lock, NULL);
	return sizes;
}

static void drop(struct sizes *sizes, struct known_size *known)
{
	HASH_DEL(sizes->known, known);
	free(known);
}

void sizes_free(struct sizes *sizes)
{
	if (!sizes)
		return;
	while (sizes->known)
		drop(sizes, sizes->known);
	pthread_mutex_destroy(&sizes->lock);
	free(sizes);
}

struct learning {
	struct sizes *sizes;
	size_t taken;
};

static void take_part(void *arg, const struct manifest_part *part)
{
	struct learning *learning = arg;
	struct sizes *sizes = learning->sizes;
	struct known_size *known;

	if (part->size == MANIFEST_SIZE_UNKNOWN || learning->taken++ >= SIZES_OF_ONE_MANIFEST_MAX)
		return;
	pthread_mutex_lock(&sizes->lock);
	HASH_FIND(hh, sizes->known, &part->digest, sizeof(part->digest), known);
	if (!known) {
		if (HASH_COUNT(sizes->known) >= SIZES_MAX)
			drop(sizes, sizes->known);
		known = mem_alloc(sizeof(*known));
		known->digest = part->digest;
		known->size = part->size;
		HASH_ADD(hh, sizes->known, digest, sizeof(known->digest), known);
	}
	known->disputed |= known->size != part->size;
	pthread_mutex_unlock(&sizes->lock);
}

void sizes_learn(struct sizes *sizes, const void *manifest, size_t len)
{
	struct learning learning = {.sizes = sizes};

	manifest_read(manifest, len, take_part, &learning);
}

bool sizes_find(struct sizes *sizes, const struct digest *digest, uint64_t *size)
{
	struct known_size *known;
	bool found;

	pthread_mutex_lock(&sizes->lock);
	HASH_FIND(hh, sizes->known, digest, sizeof(*digest), known);
	found = known && !known->disputed;
	if (found)
		*size = known->size;
	pthread_mutex_unlock(&sizes->lock);
	return found;
}

void sizes_dispute(struct sizes *sizes, const struct digest *digest)
{
	struct known_size *known;

	pthread_mutex_lock(&sizes->lock);
	HASH_FIND(hh, sizes->known, digest, sizeof(*digest), known);
	if (known)
		known->disputed = true;
	pthread_mutex_unlock(&sizes->lock);
}
