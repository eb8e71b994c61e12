/* SPDX-License-Identifier: Apache-2.0 */
#include "server/bundle/walk.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "store/manifest.h"
#include "store/store.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <uthash.h>

struct seen {
	struct digest digest;
	size_t index; /* of its item */
	UT_hash_handle hh;
};

struct walk {
	struct store *store;
	const struct walk_platforms *platforms; /* of the image that is being walked */
	struct walk_item *items;
	size_t count, cap;
	struct seen *seen;
};

struct walk *walk_new(struct store *store)
{
	struct walk *walk = mem_alloc(sizeof(*walk));

	walk->store = store;
	return walk;
}

void walk_free(struct walk *walk)
{
	struct seen *seen, *next;

	if (!walk)
		return;
	HASH_ITER (hh, walk->seen, seen, next) {
		HASH_DEL(walk->seen, seen);
		free(seen);
	}
	free(walk->items);
	free(walk);
}

const struct walk_item *walk_items(const struct walk *walk, size_t *count)
{
	*count = walk->count;
	return walk->items;
}

/* Platforms. */

int walk_platforms_check(const struct walk_platforms *platforms, struct err *err)
{
	for (size_t i = 0; i < platforms->count; i++) {
		if (!manifest_platform_valid(platforms->items[i]))
			return err_set(err, ERR_INVALID,
				       "\"%.64s\" is no platform, such as linux/amd64 or linux/arm/v7",
				       platforms->items[i]);
	}
	return 0;
}

static const char *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

/* What says no platform is for all. */
static bool is_chosen(const struct walk *walk, const char *platform)
{
	return !*platform || manifest_platform_matches(platform, walk->platforms->items, walk->platforms->count);
}

/* Whether it is of a platform that is wanted, as its own config says, as far as that is held. */
static bool is_config_wanted(const struct walk *walk, const char *digest_text)
{
	char platform[MANIFEST_PLATFORM_MAX] = "";
	_cleanup_free_ char *data = NULL;
	struct digest digest;
	size_t len;

	if (digest_parse(digest_text, &digest) == 0)
		data = manifest_load(walk->store, &digest, &len);
	if (data)
		manifest_find_platform(walk->store, data, len, platform);
	return is_chosen(walk, platform);
}

/* What is known of an index while it is walked, by digest: an index that names one manifest over and over is no reason
 * to look for it, or to read it, as often. */
struct listed {
	json_t *first;   /* the descriptor that names it first */
	json_t *configs; /* whether its own config is wanted, once that was looked at */
};

/* By what the index says of a manifest, else by what its own config says. */
static bool is_wanted(const struct walk *walk, const struct listed *listed, const json_t *descriptor)
{
	const char *digest = text_of(descriptor, "digest");
	char platform[MANIFEST_PLATFORM_MAX];
	json_t *wanted;

	if (walk->platforms->count == 0)
		return true;
	if (manifest_read_platform(json_object_get(descriptor, "platform"), platform))
		return is_chosen(walk, platform);
	wanted = json_object_get(listed->configs, digest);
	if (!wanted) {
		wanted = json_boolean(is_config_wanted(walk, digest));
		json_object_set_new(listed->configs, digest, wanted);
	}
	return json_is_true(wanted);
}

/* An image that is no index is of one platform. */
static int check_platform(const struct walk *walk, const json_t *document, const char *data, size_t len,
			  struct err *err)
{
	char platform[MANIFEST_PLATFORM_MAX];

	if (walk->platforms->count == 0 || json_object_get(document, "manifests"))
		return 0;
	manifest_find_platform(walk->store, data, len, platform);
	return is_chosen(walk, platform)
		       ? 0
		       : err_set(err, ERR_NOT_FOUND, "it is of %s, which is none of the platforms that were chosen",
				 platform);
}

/* What BuildKit attests about an image is a manifest beside it, of no platform, that names the image it is about. */
static const char *attests(const json_t *descriptor)
{
	return text_of(json_object_get(descriptor, "annotations"), "vnd.docker.reference.digest");
}

static bool is_attested_wanted(const struct walk *walk, const struct listed *listed, const char *about)
{
	const json_t *descriptor = json_object_get(listed->first, about);

	return descriptor && is_wanted(walk, listed, descriptor);
}

static struct listed list_manifests(const json_t *manifests)
{
	struct listed listed = {json_object(), json_object()};
	json_t *descriptor;
	size_t i;

	json_array_foreach(manifests, i, descriptor)
	{
		const char *digest = text_of(descriptor, "digest");

		if (!json_object_get(listed.first, digest))
			json_object_set(listed.first, digest, descriptor);
	}
	return listed;
}

static void listed_dispose(struct listed *listed)
{
	json_decref(listed->first);
	json_decref(listed->configs);
}

/* Items. */

static struct seen *find_seen(const struct walk *walk, const struct digest *digest)
{
	struct seen *seen;

	HASH_FIND(hh, walk->seen, digest, sizeof(*digest), seen);
	return seen;
}

static int look(struct walk *walk, struct walk_item *item, struct err *err)
{
	char text[DIGEST_TEXT_MAX];
	uint64_t size;
	int code = store_find_blob(walk->store, &item->digest, &size, err);

	if (code == ERR_NOT_FOUND)
		return 0;
	if (code)
		return code;
	if (item->size != UINT64_MAX && item->size != size)
		return err_set(err, ERR_INVALID, "%s is said to have %llu bytes and has %llu",
			       digest_format(&item->digest, text), (unsigned long long)item->size,
			       (unsigned long long)size);
	item->size = size;
	item->held = true;
	return 0;
}

/* Takes an item down that is not there yet. */
static int append(struct walk *walk, const struct walk_item *item, struct err *err)
{
	struct seen *seen;

	if (walk->count == WALK_ITEMS_MAX)
		return err_set(err, ERR_LIMIT, "there are more than %d blobs", WALK_ITEMS_MAX);
	seen = mem_alloc(sizeof(*seen));
	seen->digest = item->digest;
	seen->index = walk->count;
	HASH_ADD(hh, walk->seen, digest, sizeof(seen->digest), seen);
	if (walk->count == walk->cap) {
		walk->cap = walk->cap ? walk->cap * 2 : 64;
		walk->items = mem_realloc(walk->items, walk->cap * sizeof(*walk->items));
	}
	walk->items[walk->count++] = *item;
	return 0;
}

/* Looks at an item and takes it down. ERR_AGAIN when it is there already. */
static int add(struct walk *walk, struct walk_item *item, struct err *err)
{
	int code;

	if (find_seen(walk, &item->digest))
		return ERR_AGAIN;
	code = look(walk, item, err);
	return code ? code : append(walk, item, err);
}

int walk_merge(struct walk *walk, const struct walk *from, struct err *err)
{
	int code = 0;

	for (size_t i = 0; i < from->count && !code; i++)
		if (!find_seen(walk, &from->items[i].digest))
			code = append(walk, &from->items[i], err);
	return code;
}

/* It becomes a header of answers. */
static bool type_valid(const char *type)
{
	for (const char *at = type; *at; at++)
		if (*at <= ' ' || *at >= 0x7f)
			return false;
	return strlen(type) <= WALK_TYPE_MAX;
}

int walk_read_descriptor(const json_t *descriptor, struct walk_item *item, struct err *err)
{
	const json_t *size = json_object_get(descriptor, "size");
	const char *type = text_of(descriptor, "mediaType");

	memset(item, 0, sizeof(*item));
	if (digest_parse(text_of(descriptor, "digest"), &item->digest) || !type_valid(type) || !json_is_integer(size) ||
	    json_integer_value(size) < 0)
		return err_set(err, ERR_INVALID, "there is a malformed descriptor");
	item->size = (uint64_t)json_integer_value(size);
	memcpy(item->media_type, type, strlen(type) + 1);
	return 0;
}

static int walk_manifest(struct walk *walk, const struct walk_item *manifest, struct err *err);

static int walk_descriptor(struct walk *walk, const json_t *descriptor, const struct walk_item *parent,
			   bool is_manifest, bool is_layer, struct err *err)
{
	struct walk_item item;
	int code = walk_read_descriptor(descriptor, &item, err);

	item.is_manifest = is_manifest;
	item.is_layer = is_layer;
	item.optional = is_layer && json_array_size(json_object_get(descriptor, "urls")) > 0;
	item.depth = parent->depth + 1;
	if (code == 0)
		code = add(walk, &item, err);
	if (code)
		return code == ERR_AGAIN ? 0 : code;
	return is_manifest && item.held ? walk_manifest(walk, &item, err) : 0;
}

static int walk_index(struct walk *walk, const json_t *manifests, const struct walk_item *parent, struct err *err)
{
	_cleanup_(listed_dispose) struct listed listed = list_manifests(manifests);
	size_t i, wanted = 0;
	const json_t *descriptor;
	int code = 0;

	json_array_foreach(manifests, i, descriptor)
	{
		const char *about = attests(descriptor);

		if (*about ? walk->platforms->images_alone || !is_attested_wanted(walk, &listed, about)
			   : !is_wanted(walk, &listed, descriptor))
			continue;
		wanted++;
		code = walk_descriptor(walk, descriptor, parent, true, false, err);
		if (code)
			return code;
	}
	if (wanted == 0 && json_array_size(manifests) > 0 && walk->platforms->count > 0)
		return err_set(err, ERR_NOT_FOUND, "it has none of the platforms that were chosen");
	return 0;
}

/* Docker's schema 1 says no sizes. */
static int walk_schema1(struct walk *walk, const json_t *layers, const struct walk_item *parent, struct err *err)
{
	struct walk_item item;
	const json_t *layer;
	int code;
	size_t i;

	json_array_foreach(layers, i, layer)
	{
		item = (struct walk_item){.size = UINT64_MAX, .is_layer = true, .depth = parent->depth + 1};
		if (digest_parse(text_of(layer, "blobSum"), &item.digest))
			return err_set(err, ERR_INVALID, "a manifest has a malformed digest");
		code = add(walk, &item, err);
		if (code && code != ERR_AGAIN)
			return code;
	}
	return 0;
}

static int walk_document(struct walk *walk, const json_t *document, const struct walk_item *manifest, struct err *err)
{
	static const char *const lists[] = {"layers", "blobs"};
	const json_t *config = json_object_get(document, "config"), *descriptor;
	const char *type = text_of(document, "mediaType");
	int code;
	size_t i;

	if (*type && *manifest->media_type && strcmp(type, manifest->media_type) != 0)
		return err_set(err, ERR_INVALID, "a manifest of type %.80s is said to be a %.80s", type,
			       manifest->media_type);
	code = walk_index(walk, json_object_get(document, "manifests"), manifest, err);
	if (code == 0 && json_is_object(config))
		code = walk_descriptor(walk, config, manifest, false, false, err);
	for (size_t list = 0; list < 2; list++)
		json_array_foreach(json_object_get(document, lists[list]), i, descriptor) if (code == 0) code =
			walk_descriptor(walk, descriptor, manifest, false, true, err);
	return code ? code : walk_schema1(walk, json_object_get(document, "fsLayers"), manifest, err);
}

char *walk_read_manifest(struct store *store, const struct digest *digest, size_t *len, struct err *err)
{
	char text[DIGEST_TEXT_MAX], *data = manifest_load(store, digest, len);

	if (!data)
		err_set(err, ERR_IO, "cannot read the manifest %s", digest_format(digest, text));
	return data;
}

static int walk_manifest(struct walk *walk, const struct walk_item *manifest, struct err *err)
{
	_cleanup_free_ char *data = NULL;
	char text[DIGEST_TEXT_MAX];
	json_t *document;
	size_t len;
	int code = 0;

	if (manifest->size > MANIFEST_BYTES_MAX)
		return err_set(err, ERR_INVALID, "%s is too long for a manifest",
			       digest_format(&manifest->digest, text));
	if (manifest->depth > WALK_DEPTH_MAX)
		return err_set(err, ERR_LIMIT, "indexes are nested more than %d deep", WALK_DEPTH_MAX);
	data = walk_read_manifest(walk->store, &manifest->digest, &len, err);
	if (!data)
		return err->code;
	document = json_loadb(data, len, 0, NULL);
	if (json_is_object(document) && manifest->depth == 0)
		code = check_platform(walk, document, data, len, err);
	if (code == 0)
		code = json_is_object(document)
			       ? walk_document(walk, document, manifest, err)
			       : err_set(err, ERR_INVALID, "%s is no manifest", digest_format(&manifest->digest, text));
	json_decref(document);
	return code;
}

int walk_image(struct walk *walk, const struct walk_item *root, const struct walk_platforms *platforms, struct err *err)
{
	struct walk_item item = *root;
	int code;

	walk->platforms = platforms;
	item.is_manifest = true;
	item.depth = 0;
	code = add(walk, &item, err);
	if (code)
		return code == ERR_AGAIN ? 0 : code;
	return item.held ? walk_manifest(walk, &item, err) : 0;
}
