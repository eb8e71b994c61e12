/* SPDX-License-Identifier: Apache-2.0 */
/* What view.c (layers on one another) and view_list.c (paths and lists) share. */
#pragma once

#include "layer/view.h"

#include <uthash.h>
#include <utlist.h>

struct view_node {
	struct layer_node node; /* first */
	struct view_node *up, *children, *prev, *next;
	unsigned touched; /* the newest layer, from 1 on, that has something here or below … */
	unsigned emptied; /* … and that hides what lower ones have below: done once, however often it is said */
	unsigned depth;
	UT_hash_handle hh;
	/* The key: the parent and the name, one behind the other. */
	struct view_node *key_parent;
	char name[];
};

struct layer_view {
	struct view_node *root;
	struct view_node *nodes; /* a hash of all but the root */
	size_t count;
	size_t steps; /* along paths, in the layer that is being added */
	unsigned layers;
};

struct view_node *view_child(const struct layer_view *view, const struct view_node *directory, const char *name,
			     size_t len);

/* How a path is followed. */
struct view_walk {
	const struct layer_view *view;
	/* Called for a part that is missing, or is no directory and must be one: makes it, or gives NULL. */
	struct view_node *(*make)(void *arg, struct view_node *directory, const char *name, size_t len);
	void *arg;
	bool follow_last;
	unsigned followed;
	size_t *steps; /* counted there, up to LAYER_STEPS_MAX; NULL: they are not */
};

/* The node of `path`, seen from `from`. ERR_NOT_FOUND, ERR_INVALID, ERR_LIMIT. */
int view_follow(struct view_walk *walk, struct view_node *from, const char *path, struct view_node **node,
		struct err *err);
