/* SPDX-License-Identifier: Apache-2.0 */
#include "layer/view_internal.h"

#include "base/buf.h"

#include <string.h>

#define NAME_BYTES 32 /* of most names, with what the allocator and the hash add */

static struct view_node *own(const struct layer_node *node)
{
	return (struct view_node *)(uintptr_t)node;
}

enum layer_type layer_node_type(const struct layer_node *node)
{
	const struct layer_entry *entry = node->content ? node->content : node->entry;

	return entry ? entry->type : LAYER_DIRECTORY;
}

size_t layer_view_memory(const struct layer_view *view)
{
	return view->count * (sizeof(struct view_node) + NAME_BYTES);
}

const struct layer_node *layer_view_root(const struct layer_view *view)
{
	return &view->root->node;
}

/* One part of a path. */
static int step(struct view_walk *walk, struct view_node **at, const char *name, size_t len, bool last, struct err *err)
{
	struct view_node *next;

	if (walk->steps && ++*walk->steps > LAYER_STEPS_MAX)
		return err_set(err, ERR_LIMIT, "the layer's paths lead through too many symbolic links");
	if (len == 0 || (len == 1 && name[0] == '.'))
		return 0;
	if (len == 2 && memcmp(name, "..", 2) == 0) {
		*at = (*at)->up ? (*at)->up : *at;
		return 0;
	}
	next = view_child(walk->view, *at, name, len);
	if (next && layer_node_type(&next->node) == LAYER_SYMLINK && (!last || walk->follow_last)) {
		const char *target = next->node.content->link;
		bool follow_last = walk->follow_last;
		int code;

		if (++walk->followed > LAYER_FOLLOW_MAX)
			return err_set(err, ERR_INVALID, "symbolic links lead in circles");
		walk->follow_last = true;
		code = view_follow(walk, target[0] == '/' ? walk->view->root : *at, target, &next, err);
		walk->follow_last = follow_last;
		if (code)
			return code;
	}
	if (walk->make && (!next || (!last && layer_node_type(&next->node) != LAYER_DIRECTORY)))
		next = walk->make(walk->arg, *at, name, len);
	if (!next)
		return err_set(err, walk->make ? ERR_LIMIT : ERR_NOT_FOUND,
			       walk->make ? "the image has too many files, or too deep" : "there is no such file");
	*at = next;
	return 0;
}

int view_follow(struct view_walk *walk, struct view_node *from, const char *path, struct view_node **node,
		struct err *err)
{
	struct view_node *at = from;
	int code = 0;

	while (*path && !code) {
		size_t len = strcspn(path, "/"), slashes = strspn(path + len, "/");

		code = step(walk, &at, path, len, path[len + slashes] == '\0', err);
		path += len + slashes;
	}
	*node = at;
	return code;
}

int layer_view_find(const struct layer_view *view, const char *path, bool follow, const struct layer_node **node,
		    struct err *err)
{
	struct view_walk walk = {.view = view, .follow_last = follow};
	struct view_node *found = NULL;
	int code = view_follow(&walk, view->root, path, &found, err);

	*node = code ? NULL : &found->node;
	return code;
}

const struct layer_node *layer_node_next(const struct layer_node *top, const struct layer_node *node, bool inside)
{
	const struct view_node *at = own(node);

	if (inside && at->children)
		return &at->children->node;
	while (&at->node != top && !at->next)
		at = at->up;
	return &at->node == top ? NULL : &at->next->node;
}

char *layer_node_path(const struct layer_node *node)
{
	size_t len = 0;
	char *path;

	for (const struct layer_node *at = node; at->parent; at = at->parent)
		len += strlen(at->name) + 1;
	path = mem_alloc(len + 1);
	for (const struct layer_node *at = node; at->parent; at = at->parent) {
		size_t part = strlen(at->name);

		len -= part + 1;
		memcpy(path + len, at->name, part);
		path[len + part] = at == node ? '\0' : '/';
	}
	return path;
}
