/* SPDX-License-Identifier: Apache-2.0 */
#include "server/bundle/describe.h"

#include "base/cleanup.h"
#include "server/bundle/receipt.h"
#include "store/store.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *describe_blob_path(const struct digest *digest, char path[DESCRIBE_PATH_MAX])
{
	char hex[DIGEST_TEXT_MAX];

	snprintf(path, DESCRIBE_PATH_MAX, "blobs/%s/%s", digest_algorithm_name(digest->algorithm),
		 digest_hex(digest, hex));
	return path;
}

static void put_descriptor(struct buf *text, const struct walk_item *item)
{
	char digest[DIGEST_TEXT_MAX];

	buf_append_text(text, "\"mediaType\":\"");
	buf_append_json(text, item->media_type);
	buf_printf(text, "\",\"digest\":\"%s\",\"size\":%" PRIu64, digest_format(&item->digest, digest), item->size);
}

/* A root as the walk found it, which knows its size. */
static void put_root(struct buf *text, const struct plan *plan, const struct digest *root)
{
	for (size_t i = 0; i < plan->item_count; i++)
		if (digest_equal(&plan->items[i].digest, root)) {
			put_descriptor(text, &plan->items[i]);
			return;
		}
	abort(); /* what is planned was walked over */
}

void describe_index(const struct plan *plan, struct buf *text)
{
	buf_append_text(text, "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\","
			      "\"manifests\":[");
	for (size_t i = 0; i < plan->image_count; i++) {
		buf_append_text(text, i ? ",{" : "{");
		put_root(text, plan, &plan->images[i].root.digest);
		buf_printf(text, ",\"annotations\":{\"" ANNOTATION_NAME "\":\"%s\",\"" ANNOTATION_REF "\":\"%s\"}}",
			   plan->images[i].text, plan->images[i].text);
	}
	buf_append_text(text, "]}");
}

static int put_path(struct buf *text, const json_t *descriptor)
{
	char path[DESCRIBE_PATH_MAX];
	struct digest digest;
	const char *named = json_string_value(json_object_get(descriptor, "digest"));

	if (!named || digest_parse(named, &digest))
		return ERR_INVALID;
	return buf_printf(text, "\"%s\"", describe_blob_path(&digest, path));
}

static int put_docker_image(struct store *store, const struct plan_image *image, struct buf *text, struct err *err)
{
	size_t len, i;
	_cleanup_free_ char *data = walk_read_manifest(store, &image->manifest, &len, err);
	json_t *document = data ? json_loadb(data, len, 0, NULL) : NULL;
	const json_t *layers = json_object_get(document, "layers"), *layer;
	int code;

	if (!data)
		return err->code;
	buf_append_text(text, "{\"Config\":");
	code = put_path(text, json_object_get(document, "config"));
	/* What has no tag is loaded without a name. */
	if (image->name.tag[0])
		buf_printf(text, ",\"RepoTags\":[\"%s\"],\"Layers\":[", image->text);
	else
		buf_append_text(text, ",\"RepoTags\":null,\"Layers\":[");
	json_array_foreach(layers, i, layer)
	{
		if (i > 0)
			buf_append_text(text, ",");
		if (code == 0)
			code = put_path(text, layer);
	}
	buf_append_text(text, "]}");
	json_decref(document);
	return code ? err_set(err, ERR_INVALID, "%s is no image that docker could load", image->text) : 0;
}

int describe_docker(struct store *store, const struct plan *plan, struct buf *text, struct err *err)
{
	int code = 0;

	buf_append_text(text, "[");
	for (size_t i = 0; i < plan->image_count && !code; i++) {
		buf_append_text(text, i ? "," : "");
		code = put_docker_image(store, &plan->images[i], text, err);
	}
	buf_append_text(text, "]");
	return code;
}

/* What the bundle says of itself. */

static void put_images(struct buf *text, const struct plan *plan)
{
	buf_append_text(text, "\"images\":[");
	for (size_t i = 0; i < plan->image_count; i++) {
		buf_printf(text, "%s\n{\"name\":\"%s\",", i ? "," : "", plan->images[i].text);
		put_root(text, plan, &plan->images[i].root.digest);
		buf_append_text(text, "}");
	}
	buf_append_text(text, "],\n");
}

static void put_platforms(struct buf *text, const struct walk_platforms *platforms)
{
	buf_append_text(text, "\"platforms\":[");
	for (size_t i = 0; i < platforms->count; i++) {
		buf_append_text(text, i ? ",\"" : "\"");
		buf_append_json(text, platforms->items[i]);
		buf_append_text(text, "\"");
	}
	buf_append_text(text, "],\n");
}

static void put_referrers(struct buf *text, const struct plan *plan)
{
	char subject[DIGEST_TEXT_MAX], list[DIGEST_TEXT_MAX];
	const char *comma = "";

	buf_append_text(text, "\"referrers\":[");
	for (size_t i = 0; i < plan->companion_count; i++) {
		const struct plan_companion *companion = &plan->companions[i];

		if (companion->tag[0])
			continue;
		buf_printf(text, "%s\n{\"repository\":\"%s/%s\",\"subject\":\"%s\",\"list\":\"%s\"}", comma,
			   companion->image->name.upstream, companion->image->name.repository,
			   digest_format(&companion->subject, subject), digest_format(&companion->digest, list));
		comma = ",";
	}
	buf_append_text(text, "],\n");
}

static void put_tags(struct buf *text, const struct plan *plan)
{
	const char *comma = "";

	buf_append_text(text, "\"tags\":[");
	for (size_t i = 0; i < plan->companion_count; i++) {
		const struct plan_companion *companion = &plan->companions[i];

		if (!companion->tag[0])
			continue;
		buf_printf(text, "%s\n{\"repository\":\"%s/%s\",\"tag\":\"%s\",", comma,
			   companion->image->name.upstream, companion->image->name.repository, companion->tag);
		put_root(text, plan, &companion->digest);
		buf_append_text(text, "}");
		comma = ",";
	}
	buf_append_text(text, "],\n");
}

static void put_blobs(struct buf *text, const struct plan *plan, const char *name, enum plan_state state)
{
	char digest[DIGEST_TEXT_MAX];
	const char *comma = "";

	buf_printf(text, "\"%s\":[", name);
	for (size_t i = 0; i < plan->item_count; i++) {
		const struct walk_item *item = &plan->items[i];

		if (plan->states[i] != state)
			continue;
		buf_printf(text, "%s\n{\"digest\":\"%s\"", comma, digest_format(&item->digest, digest));
		if (item->size != UINT64_MAX)
			buf_printf(text, ",\"size\":%" PRIu64, item->size);
		buf_append_text(text, "}");
		comma = ",";
	}
	buf_append_text(text, "],\n");
}

static void put_files(struct buf *text, const struct described_file *files, size_t count)
{
	char digest_text[DIGEST_TEXT_MAX];
	struct digest digest;

	buf_append_text(text, "\"files\":[");
	for (size_t i = 0; i < count; i++) {
		digest_of(DIGEST_SHA256, files[i].text->data, files[i].text->len, &digest);
		buf_printf(text, "%s\n{\"path\":\"%s\",\"size\":%zu,\"digest\":\"%s\"}", i ? "," : "", files[i].path,
			   files[i].text->len, digest_format(&digest, digest_text));
	}
	buf_append_text(text, "],\n");
}

int describe_self(const struct plan *plan, const struct plan_options *options, const struct described_file *files,
		  size_t file_count, struct buf *text, struct err *err)
{
	char digest[DIGEST_TEXT_MAX];

	text->max = BUNDLE_SELF_MAX;
	buf_printf(text, "{\"larderBundle\":%d,\n\"format\":\"%s\",\n", BUNDLE_VERSION,
		   options->format == BUNDLE_DOCKER ? "docker-archive" : "oci");
	put_images(text, plan);
	put_platforms(text, &options->platforms);
	put_referrers(text, plan);
	put_tags(text, plan);
	put_files(text, files, file_count);
	put_blobs(text, plan, "blobs", PLAN_CARRIED);
	put_blobs(text, plan, "leftOut", PLAN_LEFT_OUT);
	if (options->have)
		buf_printf(text, "\"receipt\":\"%s\"}\n", digest_format(receipt_digest(options->have), digest));
	else
		buf_append_text(text, "\"receipt\":null}\n");
	/* What does not fit is not appended: then the end is missing, too. */
	if (text->len == 0 || text->data[text->len - 1] != '\n' || text->len + 512 > text->max)
		return err_set(err, ERR_LIMIT, "there are too many blobs for one bundle");
	return 0;
}
