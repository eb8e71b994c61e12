/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Docker's archives: manifest.json names a config and layers by their paths. They have no manifest of their own, so one
 * is made, which names the same config and the layers as they are packed here: its digest is no registry's, and the
 * same archive always gives the same one.
 */
#include "server/bundle/import_internal.h"

#include "base/cleanup.h"
#include "store/manifest.h"

#include <inttypes.h>
#include <string.h>

#define OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define OCI_CONFIG   "application/vnd.oci.image.config.v1+json"
#define OCI_LAYER    "application/vnd.oci.image.layer.v1.tar"
#define LINKS_MAX    8 /* that lead to one another */

/* The file behind a path, whatever links stand between. */
static struct import_file *find_file(const struct import *import, const char *path)
{
	struct import_file *file = NULL;

	for (int links = 0; path && links < LINKS_MAX; links++) {
		HASH_FIND_STR(import->files, path, file);
		path = file ? file->link : NULL;
	}
	return path ? NULL : file;
}

static const char *layer_type(const uint8_t *head)
{
	static const uint8_t gzip[] = {0x1f, 0x8b}, zstd[] = {0x28, 0xb5, 0x2f, 0xfd};

	if (memcmp(head, gzip, sizeof(gzip)) == 0)
		return OCI_LAYER "+gzip";
	return memcmp(head, zstd, sizeof(zstd)) == 0 ? OCI_LAYER "+zstd" : OCI_LAYER;
}

static int publish(struct import *import, struct import_file *file, struct err *err)
{
	uint64_t held;
	int code;

	if (!file->stage)
		return 0;
	if (store_find_blob(import->store, &file->digest, &held, NULL) == 0) {
		import->report->blobs_held++;
		import->report->bytes_held += file->size;
		code = 0;
	} else {
		code = stage_publish(file->stage, err);
		if (code == 0)
			import_note_blob(import, &file->digest, file->size);
	}
	stage_close(take_pointer(file->stage));
	return code;
}

/* Appends a file's descriptor, and publishes it. `type` NULL: a layer's, as its bytes tell. */
static int put_file(struct import *import, const json_t *path, const char *type, struct buf *text, struct err *err)
{
	const char *name = json_string_value(path);
	struct import_file *file = name ? find_file(import, name) : NULL;
	char digest[DIGEST_TEXT_MAX];

	if (!file || !file->digest.algorithm)
		return err_set(err, ERR_INVALID, "the archive's manifest.json names %.120s, which it lacks",
			       name ? name : "what is no file");
	buf_printf(text, "{\"mediaType\":\"%s\",\"size\":%" PRIu64 ",\"digest\":\"%s\"}",
		   type ? type : layer_type(file->head), file->size, digest_format(&file->digest, digest));
	return publish(import, file, err);
}

static int make_manifest(struct import *import, const json_t *image, struct walk_item *root, struct err *err)
{
	const json_t *layers = json_object_get(image, "Layers"), *layer;
	_cleanup_(buf_dispose) struct buf text = {.max = MANIFEST_BYTES_MAX};
	uint64_t held;
	size_t i;
	int code;

	buf_append_text(&text, "{\"schemaVersion\":2,\"mediaType\":\"" OCI_MANIFEST "\",\"config\":");
	code = put_file(import, json_object_get(image, "Config"), OCI_CONFIG, &text, err);
	buf_append_text(&text, ",\"layers\":[");
	json_array_foreach(layers, i, layer)
	{
		if (i > 0)
			buf_append_text(&text, ",");
		if (code == 0)
			code = put_file(import, layer, NULL, &text, err);
	}
	if (code)
		return code;
	if (buf_append_text(&text, "]}"))
		return err_set(err, ERR_LIMIT, "the archive's image has too many layers");
	*root = (struct walk_item){.size = text.len, .media_type = OCI_MANIFEST};
	digest_of(DIGEST_SHA256, text.data, text.len, &root->digest);
	if (store_find_blob(import->store, &root->digest, &held, NULL) == 0)
		return 0;
	code = store_put_blob(import->store, &root->digest, text.data, text.len, err);
	if (code == 0)
		import_note_blob(import, &root->digest, text.len);
	return code;
}

static int link_image(struct import *import, const json_t *image, struct err *err)
{
	const json_t *tags = json_object_get(image, "RepoTags"), *tag;
	struct bundle_name name;
	struct walk_item root;
	int code = make_manifest(import, image, &root, err);
	size_t i;

	json_array_foreach(tags, i, tag)
	{
		if (code == 0)
			code = import_name(import, json_string_value(tag), &root.digest, &name, err);
		if (code == 0)
			code = import_link_image(import, &name, &root, err);
	}
	if (code || json_array_size(tags) > 0)
		return code;
	code = import_name(import, NULL, &root.digest, &name, err);
	return code ? code : import_link_image(import, &name, &root, err);
}

int import_link_docker(struct import *import, struct err *err)
{
	const struct buf *text = &import->texts[TEXT_DOCKER].data;
	json_t *images = json_loadb(text->data, text->len, 0, NULL), *image;
	int code = 0;
	size_t i;

	if (!json_is_array(images) || json_array_size(images) == 0)
		code = err_set(err, ERR_INVALID, "the archive's manifest.json is malformed, or empty");
	json_array_foreach(images, i, image) if (code == 0) code = link_image(import, image, err);
	json_decref(images);
	return code;
}
