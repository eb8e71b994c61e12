/* SPDX-License-Identifier: Apache-2.0 */
#include "layer/view_internal.h"

#include "base/buf.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define WHITEOUT      ".wh."
#define WHITEOUT_LEN  4
#define WHITEOUT_META ".wh..wh." /* what AUFS keeps for itself; one of them hides all that is below */
#define OPAQUE        ".wh..wh..opq"

#define KEY_START offsetof(struct view_node, key_parent)
#define KEY_NAME  (offsetof(struct view_node, name) - KEY_START)

/* Nodes. */

struct view_node *view_child(const struct layer_view *view, const struct view_node *directory, const char *name,
			     size_t len)
{
	char key[KEY_NAME + LAYER_PATH_MAX];
	struct view_node *found = NULL;

	if (len > LAYER_PATH_MAX)
		return NULL;
	memcpy(key, &directory, sizeof(directory));
	memcpy(key + KEY_NAME, name, len);
	HASH_FIND(hh, view->nodes, key, KEY_NAME + len, found);
	return found;
}

static struct view_node *node_new(const char *name, size_t len)
{
	struct view_node *node = mem_alloc(sizeof(*node) + len + 1);

	memcpy(node->name, name, len);
	node->node.name = node->name;
	return node;
}

/* A directory that nothing is known of yet; NULL when there are too many. */
static struct view_node *add_child(struct layer_view *view, struct view_node *directory, const char *name, size_t len)
{
	struct view_node *node;

	assert(directory);
	if (view->count == LAYER_NODES_MAX || directory->depth == LAYER_NODE_DEPTH_MAX)
		return NULL;
	node = node_new(name, len);
	node->up = node->key_parent = directory;
	node->node.parent = &directory->node;
	node->depth = directory->depth + 1;
	DL_APPEND(directory->children, node);
	HASH_ADD_KEYPTR(hh, view->nodes, (char *)node + KEY_START, KEY_NAME + len, node);
	view->count++;
	return node;
}

static void remove_leaf(struct layer_view *view, struct view_node *node)
{
	assert(node->up && node->up->children);
	HASH_DEL(view->nodes, node);
	DL_DELETE(node->up->children, node); /* NOLINT(clang-analyzer-core.NullDereference): its list has it */
	free(node);
	view->count--;
}

static struct view_node *first_leaf(struct view_node *node)
{
	while (node->children)
		node = node->children;
	return node;
}

/* Removes a node that has none below, but not when layer `kept` has something there: of that the node becomes a
 * directory that no layer tells of, when this one does not. */
static void remove_but(struct layer_view *view, struct view_node *node, unsigned kept)
{
	if (kept == 0 || node->touched != kept)
		remove_leaf(view, node);
	else if (node->node.layer + 1 != kept)
		node->node.entry = node->node.content = NULL;
}

/* Removes what is below `top`; what has something of layer `kept` stays (0: nothing does). The deepest go first. */
static void prune(struct layer_view *view, struct view_node *top, unsigned kept)
{
	struct view_node *at = first_leaf(top), *next;

	for (; at != top; at = next) {
		next = at->next ? first_leaf(at->next) : at->up;
		remove_but(view, at, kept);
	}
}

struct layer_view *layer_view_new(void)
{
	struct layer_view *view = mem_alloc(sizeof(*view));

	view->root = node_new("", 0);
	return view;
}

void layer_view_free(struct layer_view *view)
{
	if (!view)
		return;
	prune(view, view->root, 0);
	free(view->root);
	free(view);
}

/* Layers. */

/* Of this layer, as are all that it is in. */
static void touch(const struct layer_view *view, struct view_node *node)
{
	for (; node && node->touched != view->layers; node = node->up)
		node->touched = view->layers;
}

/* A part on the way that is missing, or no directory: a directory takes its place. */
static struct view_node *make_directory(void *arg, struct view_node *directory, const char *name, size_t len)
{
	struct layer_view *view = arg;
	struct view_node *node = view_child(view, directory, name, len);

	if (!node)
		node = add_child(view, directory, name, len);
	if (!node)
		return NULL;
	node->node.entry = node->node.content = NULL;
	touch(view, node);
	return node;
}

static bool is_whiteout(const char *name)
{
	return strncmp(name, WHITEOUT, WHITEOUT_LEN) == 0;
}

/* The directory and the last part of a path, which is without slashes and dots behind it: `*name` is "" for the root.
 * A whiteout makes no directories: ERR_NOT_FOUND for one that is not there. */
static int find_place(struct layer_view *view, const char *path, struct view_node **directory,
		      char name[LAYER_PATH_MAX + 1], struct err *err)
{
	struct view_walk walk = {.view = view, .follow_last = true, .arg = view, .steps = &view->steps};
	char head[LAYER_PATH_MAX + 1];
	size_t len = strlen(path), start;
	int code;

	while (len > 0 && (path[len - 1] == '/' || (path[len - 1] == '.' && (len == 1 || path[len - 2] == '/'))))
		len--;
	for (start = len; start > 0 && path[start - 1] != '/'; start--)
		;
	memcpy(head, path, start);
	head[start] = '\0';
	memcpy(name, path + start, len - start);
	name[len - start] = '\0';
	walk.make = is_whiteout(name) ? NULL : make_directory;
	code = view_follow(&walk, view->root, head, directory, err);
	return !code && strcmp(name, "..") == 0 ? ERR_INVALID : code;
}

/* What lower layers have below a node, and with `itself` in its place. */
static void hide_lower(struct layer_view *view, struct view_node *node, bool itself)
{
	if (node->emptied != view->layers)
		prune(view, node, view->layers);
	node->emptied = view->layers;
	if (itself)
		remove_but(view, node, view->layers);
}

static void hide(struct layer_view *view, struct view_node *directory, const char *name)
{
	struct view_node *node;

	if (strcmp(name, OPAQUE) == 0) {
		hide_lower(view, directory, false);
		return;
	}
	if (strncmp(name, WHITEOUT_META, strlen(WHITEOUT_META)) == 0)
		return;
	node = view_child(view, directory, name + WHITEOUT_LEN, strlen(name + WHITEOUT_LEN));
	if (node)
		hide_lower(view, node, true);
}

static void link_hard(struct layer_view *view, struct view_node *node, const struct layer_entry *entry)
{
	struct view_walk walk = {.view = view, .steps = &view->steps};
	struct view_node *target;

	node->node.content = NULL;
	if (view_follow(&walk, view->root, entry->link, &target, NULL) || target == node)
		return;
	node->node.content = target->node.content;
	node->node.content_layer = target->node.content_layer;
}

static void put_entry(struct layer_view *view, struct view_node *node, const struct layer_entry *entry)
{
	if (entry->type != LAYER_DIRECTORY)
		prune(view, node, 0);
	node->node.entry = node->node.content = entry;
	node->node.layer = node->node.content_layer = view->layers - 1;
	if (entry->type == LAYER_HARDLINK)
		link_hard(view, node, entry);
	touch(view, node);
}

static int add_entry(struct layer_view *view, const struct layer_entry *entry, struct err *err)
{
	char name[LAYER_PATH_MAX + 1];
	struct view_node *directory, *node;
	int code = find_place(view, entry->path, &directory, name, err);

	/* Nothing is there to be hidden, or nothing can be put there: the way ends in a circle, or above the root. */
	if (code == ERR_NOT_FOUND || code == ERR_INVALID)
		return 0;
	if (code)
		return code;
	if (is_whiteout(name)) {
		hide(view, directory, name);
		return 0;
	}
	node = name[0] ? view_child(view, directory, name, strlen(name)) : directory;
	if (!node)
		node = add_child(view, directory, name, strlen(name));
	if (!node)
		return err_set(err, ERR_LIMIT, "the image has more than %zu files, or too deep", LAYER_NODES_MAX);
	if (name[0] || entry->type == LAYER_DIRECTORY)
		put_entry(view, node, entry);
	return 0;
}

int layer_view_add(struct layer_view *view, const struct layer_table *table, struct err *err)
{
	int code = 0;

	view->layers++;
	view->steps = 0;
	for (size_t i = 0; i < table->count && !code; i++)
		code = add_entry(view, &table->entries[i], err);
	return code;
}

static int by_name(const struct view_node *a, const struct view_node *b)
{
	return strcmp(a->name, b->name);
}

void layer_view_finish(struct layer_view *view)
{
	struct view_node *node, *next;

	DL_SORT(view->root->children, by_name);
	HASH_ITER (hh, view->nodes, node, next)
		DL_SORT(node->children, by_name);
}
