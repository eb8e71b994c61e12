/* SPDX-License-Identifier: Apache-2.0 */
/* What a manifest names, read from what strangers wrote: types are checked, and how much there may be. */
#include "server/prefetch/prefetch_internal.h"

#include "base/buf.h"
#include "store/manifest.h"

#include <stdlib.h>
#include <string.h>

#define REFERENCE_DIGEST "vnd.docker.reference.digest" /* of an attestation: the manifest that it is about */

int parts_add(struct parts *parts, const struct part *part, struct err *err)
{
	if (parts->count == PARTS_MAX)
		return err_set(err, ERR_LIMIT, "it has more than %d parts", PARTS_MAX);
	if (part->depth > PARTS_DEPTH_MAX)
		return err_set(err, ERR_LIMIT, "indexes lie in it more than %d deep", PARTS_DEPTH_MAX);
	if (parts->count == parts->capacity) {
		parts->capacity = parts->capacity ? 2 * parts->capacity : 16;
		parts->list = mem_realloc(parts->list, parts->capacity * sizeof(*parts->list));
	}
	parts->list[parts->count++] = *part;
	return 0;
}

static enum part_class class_of(const struct part *part)
{
	static const enum part_class classes[] = {[PART_MANIFEST] = PARTS_SMALL,
						  [PART_CONFIG] = PARTS_SMALL,
						  [PART_LAYER] = PARTS_LAYERS,
						  [PART_REFERRERS] = PARTS_COMPANIONS,
						  [PART_SIGNATURE] = PARTS_COMPANIONS};

	return classes[part->kind];
}

const struct part *parts_next(struct parts *parts, enum part_class class)
{
	size_t *next = &parts->next[class];

	while (*next < parts->count) {
		const struct part *part = &parts->list[(*next)++];

		if (class_of(part) == class)
			return part;
	}
	return NULL;
}

void parts_dispose(struct parts *parts)
{
	for (size_t i = 0; i < parts->count; i++) {
		free(parts->list[i].reference);
		free(parts->list[i].manifest);
	}
	free(parts->list);
}

static int nonsense(struct err *err, const char *what)
{
	return err_set(err, ERR_UPSTREAM, "its manifest makes no sense: %s", what);
}

static int read_descriptor(const json_t *descriptor, struct part *part, struct err *err)
{
	const char *digest = json_string_value(json_object_get(descriptor, "digest"));
	json_int_t size = json_integer_value(json_object_get(descriptor, "size"));

	if (!digest || digest_parse(digest, &part->digest))
		return nonsense(err, "a part without a digest");
	part->size = size > 0 ? (uint64_t)size : 0;
	return 0;
}

static int add_descriptor(struct parts *parts, const json_t *descriptor, struct part part, struct err *err)
{
	int code = read_descriptor(descriptor, &part, err);

	return code ? code : parts_add(parts, &part, err);
}

/* Layers that may not be distributed lie elsewhere, and clients fetch them there. */
static bool is_foreign(const json_t *layer)
{
	return json_array_size(json_object_get(layer, "urls")) > 0;
}

static int read_layers(struct parts *parts, const json_t *manifest, unsigned depth, struct err *err)
{
	/* An artifact manifest has blobs, and docker's first schema layers without sizes. */
	json_t *layers = json_object_get(manifest, "layers"), *blobs = json_object_get(manifest, "blobs");
	json_t *old = json_object_get(manifest, "fsLayers"), *layer;
	size_t i;
	int code = 0;

	if (!layers && !blobs && !old && !json_object_get(manifest, "config"))
		return nonsense(err, "it is neither an image nor an index");
	json_array_foreach(layers ? layers : blobs, i, layer)
	{
		if (code == 0 && !is_foreign(layer))
			code = add_descriptor(parts, layer, (struct part){.kind = PART_LAYER, .depth = depth}, err);
	}
	json_array_foreach(old, i, layer)
	{
		const char *sum = json_string_value(json_object_get(layer, "blobSum"));
		struct part part = {.kind = PART_LAYER, .depth = depth};

		if (code == 0 && (!sum || digest_parse(sum, &part.digest)))
			code = nonsense(err, "a layer without a digest");
		if (code == 0)
			code = parts_add(parts, &part, err);
	}
	return code;
}

/* The layers of an image that may be for another platform wait until its config says. A dry run reads no config. */
static int read_image(struct parts *parts, const struct wanted *wanted, const json_t *manifest, const void *data,
		      size_t len, const struct part *of, struct err *err)
{
	const json_t *config = json_object_get(manifest, "config");
	struct part part = {.kind = PART_CONFIG, .depth = of->depth};
	bool waits = !of->judged && wanted->platform_count > 0 && !wanted->dry_run && json_is_object(config);
	int code = 0;

	if (waits) {
		part.manifest = mem_copy(data, len);
		part.manifest_len = len;
	}
	if (json_is_object(config))
		code = add_descriptor(parts, config, part, err);
	if (code)
		free(part.manifest);
	return code || waits ? code : read_layers(parts, manifest, of->depth, err);
}

int parts_read_rest(struct parts *parts, const struct part *config, struct err *err)
{
	json_t *manifest = json_loadb(config->manifest, config->manifest_len, 0, NULL);
	int code = read_layers(parts, manifest, config->depth, err);

	json_decref(manifest);
	return code;
}

/* Indexes. */

static bool is_wanted(const struct wanted *wanted, const json_t *descriptor, bool *told)
{
	char platform[MANIFEST_PLATFORM_MAX];

	*told = manifest_read_platform(json_object_get(descriptor, "platform"), platform);
	return wanted_has_platform(wanted, platform);
}

static bool is_attestation(const json_t *descriptor)
{
	return json_object_get(json_object_get(descriptor, "annotations"), REFERENCE_DIGEST) != NULL;
}

/* Whether an attestation is about a manifest of the index that is wanted. */
static bool is_about_wanted(const struct wanted *wanted, const json_t *list, const json_t *attestation)
{
	const char *subject =
		json_string_value(json_object_get(json_object_get(attestation, "annotations"), REFERENCE_DIGEST));
	json_t *descriptor;
	bool told;
	size_t i;

	json_array_foreach(list, i, descriptor)
	{
		const char *digest = json_string_value(json_object_get(descriptor, "digest"));

		if (subject && digest && strcmp(subject, digest) == 0)
			return is_wanted(wanted, descriptor, &told);
	}
	return false;
}

static int read_index(struct parts *parts, const struct wanted *wanted, const json_t *list, unsigned depth,
		      struct err *err)
{
	json_t *descriptor;
	bool any = json_array_size(list) == 0;
	size_t i;
	int code = 0;

	json_array_foreach(list, i, descriptor)
	{
		bool attests = is_attestation(descriptor), told;
		bool takes = is_wanted(wanted, descriptor, &told);

		if (attests)
			takes = wanted->referrers && is_about_wanted(wanted, list, descriptor);
		any |= takes && !attests;
		if (code == 0 && takes)
			code = add_descriptor(parts, descriptor,
					      (struct part){.kind = PART_MANIFEST,
							    .depth = depth + 1,
							    .platform = depth == 0 && !attests,
							    .judged = told || attests},
					      err);
	}
	if (code == 0 && !any)
		return err_set(err, ERR_NOT_FOUND, "its index has none of the platforms asked for");
	return code;
}

int parts_read_manifest(struct parts *parts, const struct wanted *wanted, const void *data, size_t len,
			const struct part *of, struct err *err)
{
	json_t *manifest = json_loadb(data, len, 0, NULL);
	json_t *list = json_object_get(manifest, "manifests");
	int code;

	if (!json_is_object(manifest))
		code = nonsense(err, "no JSON object");
	else if (json_is_array(list))
		code = read_index(parts, wanted, list, of->depth, err);
	else
		code = read_image(parts, wanted, manifest, data, len, of, err);
	json_decref(manifest);
	return code;
}

int parts_read_referrers(struct parts *parts, const void *data, size_t len, unsigned depth, struct err *err)
{
	json_t *index = json_loadb(data, len, 0, NULL), *descriptor;
	size_t i;
	int code = 0;

	json_array_foreach(json_object_get(index, "manifests"), i, descriptor)
	{
		if (code == 0)
			code = add_descriptor(parts, descriptor,
					      (struct part){.kind = PART_MANIFEST, .depth = depth + 1, .judged = true},
					      err);
	}
	json_decref(index);
	return code;
}
