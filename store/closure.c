/* SPDX-License-Identifier: Apache-2.0 */
#include "store/closure.h"

#include "base/buf.h"
#include "store/index.h"
#include "store/store_internal.h"

#include <stdlib.h>

#define CHILDREN_MAX 16384 /* of one manifest that are looked at */

struct child {
	struct digest digest;
	bool is_manifest;
};

struct children {
	struct child *items;
	size_t count, cap;
};

void closure_dispose(struct closure *closure)
{
	struct closure_member *member, *next;

	HASH_ITER (hh, closure->members, member, next) {
		HASH_DEL(closure->members, member);
		free(member);
	}
}

bool closure_has(const struct closure *closure, const struct digest *digest)
{
	struct closure_member *found;

	HASH_FIND(hh, closure->members, digest, sizeof(*digest), found);
	return found != NULL;
}

size_t closure_count(const struct closure *closure)
{
	return HASH_COUNT(closure->members);
}

static struct closure_member *add(struct closure *closure, const struct digest *digest, uint64_t size)
{
	struct closure_member *member = mem_alloc(sizeof(*member));

	member->digest = *digest;
	member->size = size;
	HASH_ADD(hh, closure->members, digest, sizeof(member->digest), member);
	return member;
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
	const struct closure *closure;
	bool by_others;
};

static bool look_at_parent(void *arg, const struct digest *parent, bool is_manifest)
{
	struct needed *needed = arg;

	(void)is_manifest;
	needed->by_others = !closure_has(needed->closure, parent);
	return !needed->by_others;
}

static bool take_any(void *arg, const char *name)
{
	(void)name;
	*(bool *)arg = true;
	return false;
}

/* A manifest that a tag means, or that is pinned by its digest. In doubt it is. */
static bool is_named(struct store *store, const struct digest *digest)
{
	bool pinned = false;

	return index_find_tag_of(store->index, digest, NULL) != ERR_NOT_FOUND ||
	       index_list_pins_of(store->index, digest, take_any, &pinned, NULL) || pinned;
}

static bool goes_along(struct store *store, const struct closure *closure, const struct child *child)
{
	struct needed needed = {.closure = closure};

	return index_list_parents(store->index, &child->digest, look_at_parent, &needed, NULL) == 0 &&
	       !needed.by_others && !(child->is_manifest && is_named(store, &child->digest));
}

/* A child of two manifests is looked at with each, and goes with the later. */
static uint64_t extend(struct closure *closure, struct store *store, const struct digest *root, bool all)
{
	struct index_blob blob;
	size_t begin = closure_count(closure);
	uint64_t bytes;

	if (closure_has(closure, root) || index_get_blob(store->index, root, &blob, NULL))
		return 0;
	bytes = blob.size;
	for (struct closure_member *at = add(closure, root, blob.size); at; at = at->hh.next) {
		struct children children = {0};

		(void)index_list_children(store->index, &at->digest, collect_child, &children, NULL);
		for (size_t i = 0; i < children.count && closure_count(closure) - begin < CLOSURE_MAX; i++) {
			const struct child *child = &children.items[i];

			if (closure_has(closure, &child->digest) ||
			    index_get_blob(store->index, &child->digest, &blob, NULL) ||
			    (!all && !goes_along(store, closure, child)))
				continue;
			add(closure, &child->digest, blob.size);
			bytes += blob.size;
		}
		free(children.items);
	}
	return bytes;
}

uint64_t closure_add(struct closure *closure, struct store *store, const struct digest *root)
{
	return extend(closure, store, root, false);
}

uint64_t closure_add_all(struct closure *closure, struct store *store, const struct digest *root)
{
	return extend(closure, store, root, true);
}
