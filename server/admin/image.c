/* SPDX-License-Identifier: Apache-2.0 */
/* An image as a whole: its config, its history, and what each layer adds in size. */
#include "server/admin/files.h"

#include "base/cleanup.h"
#include "server/pull/pull.h"
#include "store/layer_file.h"
#include "store/store.h"

#include <string.h>

/* What made the next layer, of those steps of the history that made one. */
static const char *next_step(const json_t *history, size_t *at)
{
	while (*at < json_array_size(history)) {
		const json_t *step = json_array_get(history, (*at)++);
		const char *made = json_string_value(json_object_get(step, "created_by"));

		if (!json_is_true(json_object_get(step, "empty_layer")))
			return made ? made : "";
	}
	return "";
}

static json_t *describe_layers(struct admin_visit *visit, const struct files_image *image, const json_t *config)
{
	const json_t *history = json_object_get(config, "history");
	struct store *store = visit->admin->store;
	json_t *layers = json_array();
	size_t step = 0;

	for (size_t i = 0; i < image->layer_count; i++) {
		const struct files_layer *layer = &image->layers[i];
		char digest[DIGEST_TEXT_MAX];
		uint64_t held;

		json_array_append_new(layers, json_pack("{s:s, s:o, s:o, s:o, s:b, s:b}", "digest",
							digest_format(&layer->digest, digest), "media_type",
							admin_words(layer->media_type), "size",
							layer->size == MANIFEST_SIZE_UNKNOWN
								? json_null()
								: json_integer((json_int_t)layer->size),
							"created_by", admin_words(next_step(history, &step)), "held",
							store_find_blob(store, &layer->digest, &held, NULL) == 0,
							"indexed", layer_file_exists(store, &layer->digest)));
	}
	return layers;
}

void admin_image(struct admin_visit *visit)
{
	_cleanup_(files_close_imagep) struct files_image *image = files_visit_open(visit, "ref", false);
	char manifest[DIGEST_TEXT_MAX], config_digest[DIGEST_TEXT_MAX] = "";
	_cleanup_free_ char *text = NULL;
	struct err err = {0};
	json_t *config, *layers;
	size_t len;

	if (!image)
		return;
	if (files_read_config(image, &text, &len, &err) && err.code != ERR_NOT_FOUND) {
		admin_reply_unfit(visit, &err);
		return;
	}
	config = text ? json_loadb(text, len, 0, NULL) : NULL;
	layers = describe_layers(visit, image, config);
	if (image->config.algorithm)
		digest_format(&image->config, config_digest);
	admin_reply_json(
		visit, 200,
		json_pack("{s:s, s:s, s:s, s:o, s:o, s:s, s:o, s:o}", "upstream", pull_upstream_name(image->upstream),
			  "repository", image->repository, "manifest", digest_format(&image->manifest, manifest),
			  "media_type", admin_words(image->media_type), "platform", admin_words(image->platform),
			  "config_digest", config_digest, "config", config ? config : json_null(), "layers", layers));
}
