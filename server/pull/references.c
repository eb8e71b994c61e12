/* SPDX-License-Identifier: Apache-2.0 */
#include "server/pull/references.h"

#include "base/buf.h"

#include <jansson.h>

struct list {
	struct reference *items;
	size_t count, cap;
};

static void take(struct list *list, const json_t *descriptor, const char *key, bool is_manifest)
{
	const char *text = json_string_value(json_object_get(descriptor, key));
	struct digest digest;

	if (!text || digest_parse(text, &digest) || list->count == REFERENCES_MAX)
		return;
	if (list->count == list->cap) {
		list->cap = list->cap ? list->cap * 2 : 16;
		list->items = mem_realloc(list->items, list->cap * sizeof(*list->items));
	}
	list->items[list->count++] = (struct reference){digest, is_manifest};
}

static void take_all(struct list *list, const json_t *array, const char *key, bool is_manifest)
{
	for (size_t i = 0; i < json_array_size(array); i++)
		take(list, json_array_get(array, i), key, is_manifest);
}

size_t references_read(const void *manifest, size_t len, struct reference **references)
{
	json_t *document = json_loadb(manifest, len, 0, NULL);
	struct list list = {0};

	take(&list, json_object_get(document, "config"), "digest", false);
	take_all(&list, json_object_get(document, "layers"), "digest", false);
	take_all(&list, json_object_get(document, "manifests"), "digest", true);
	take_all(&list, json_object_get(document, "blobs"), "digest", false);
	take_all(&list, json_object_get(document, "fsLayers"), "blobSum", false);
	json_decref(document);
	*references = list.items;
	return list.count;
}
