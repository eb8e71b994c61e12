/* SPDX-License-Identifier: Apache-2.0 */
#include "server/pull/sizes.h"

#include "base/buf.h"

#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <uthash.h>

struct known_size {
	struct digest digest;
	uint64_t size;
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

static void take_descriptor(struct sizes *sizes, const json_t *descriptor)
{
	const char *text = json_string_value(json_object_get(descriptor, "digest"));
	const json_t *size = json_object_get(descriptor, "size");
	struct known_size *known;
	struct digest digest;

	if (!text || digest_parse(text, &digest) || !json_is_integer(size) || json_integer_value(size) < 0)
		return;
	pthread_mutex_lock(&sizes->lock);
	HASH_FIND(hh, sizes->known, &digest, sizeof(digest), known);
	if (!known) {
		if (HASH_COUNT(sizes->known) >= SIZES_MAX)
			drop(sizes, sizes->known);
		known = mem_alloc(sizeof(*known));
		known->digest = digest;
		HASH_ADD(hh, sizes->known, digest, sizeof(digest), known);
	}
	known->size = (uint64_t)json_integer_value(size);
	pthread_mutex_unlock(&sizes->lock);
}

void sizes_learn(struct sizes *sizes, const void *manifest, size_t len)
{
	static const char *const lists[] = {"layers", "manifests", "blobs"};
	json_t *document = json_loadb(manifest, len, 0, NULL);
	size_t taken = 0, i;
	json_t *descriptor;

	take_descriptor(sizes, json_object_get(document, "config"));
	take_descriptor(sizes, json_object_get(document, "subject"));
	for (size_t list = 0; list < sizeof(lists) / sizeof(lists[0]); list++)
		json_array_foreach(json_object_get(document, lists[list]), i,
				   descriptor) if (taken++ < SIZES_OF_ONE_MANIFEST_MAX)
			take_descriptor(sizes, descriptor);
	json_decref(document);
}

bool sizes_find(struct sizes *sizes, const struct digest *digest, uint64_t *size)
{
	struct known_size *known;

	pthread_mutex_lock(&sizes->lock);
	HASH_FIND(hh, sizes->known, digest, sizeof(*digest), known);
	if (known)
		*size = known->size;
	pthread_mutex_unlock(&sizes->lock);
	return known != NULL;
}
