/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an image's layers show together, lowest first (OCI image-spec, layer.md, "Applying Changesets"): whiteouts and
 * opaque directories hide what is below their own layer, wherever in the tar they stand; a directory over a directory
 * keeps what is in it, anything else replaces; a hard link is another name of the file it names. Paths are led through
 * symbolic links on the way to their last part, never beyond the root. The tables are borrowed for the view's life.
 *
 * Built by one thread; once finished, any may look.
 */
#pragma once

#include "layer/table.h"

#include <stdbool.h>

#define LAYER_NODES_MAX      ((size_t)1 << 20)
#define LAYER_NODE_DEPTH_MAX 4096
#define LAYER_FOLLOW_MAX     40                /* symbolic links on one path, as Linux has it … */
#define LAYER_STEPS_MAX      ((size_t)1 << 26) /* … and parts of all paths of a layer, with those that links lead to */

struct layer_node {
	const struct layer_node *parent; /* NULL: the root */
	const struct layer_entry *entry; /* NULL: a directory that no layer tells of */
	unsigned layer;                  /* whose entry that is, from 0 on */
	/* What is there: the entry, or what it is a hard link to. NULL: that is missing, or a directory as above. */
	const struct layer_entry *content;
	unsigned content_layer;
	const char *name; /* "" of the root */
};

struct layer_view;

struct layer_view *layer_view_new(void);
/* Takes NULL. */
void layer_view_free(struct layer_view *view);

/* Puts the next layer on top. ERR_LIMIT. */
int layer_view_add(struct layer_view *view, const struct layer_table *table, struct err *err);
/* No more are to come: brings names into order. */
void layer_view_finish(struct layer_view *view);

/* What it takes of memory, about, besides the tables. */
size_t layer_view_memory(const struct layer_view *view);

const struct layer_node *layer_view_root(const struct layer_view *view);
enum layer_type layer_node_type(const struct layer_node *node);

/* The node of a path, which may begin with a slash; with `follow`, what a symbolic link at its end leads to.
 * ERR_NOT_FOUND; ERR_INVALID: symbolic links lead in circles. */
int layer_view_find(const struct layer_view *view, const char *path, bool follow, const struct layer_node **node,
		    struct err *err);

/* The next node below `top`, parents before children and names in byte order; NULL when `node` was the last. Begin with
 * `top` itself. With `inside` false, what is below `node` is left out. */
const struct layer_node *layer_node_next(const struct layer_node *top, const struct layer_node *node, bool inside);
/* "usr/bin/env"; "" of the root. The caller frees. */
char *layer_node_path(const struct layer_node *node);
