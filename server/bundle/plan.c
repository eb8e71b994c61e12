/* SPDX-License-Identifier: Apache-2.0 */
#include "server/bundle/plan.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "server/bundle/receipt.h"
#include "store/index.h"
#include "store/store.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const struct walk_platforms every_platform = {0};

static void free_walk(struct walk **walk)
{
	walk_free(*walk);
}

void plan_free(struct plan *plan)
{
	if (!plan)
		return;
	walk_free(plan->walk);
	free(plan->images);
	free(plan->states);
	free(plan->referrers);
	free(plan);
}

size_t plan_count(const struct plan *plan, enum plan_state state, uint64_t *bytes)
{
	size_t count = 0;

	*bytes = 0;
	for (size_t i = 0; i < plan->item_count; i++) {
		if (plan->states[i] != state)
			continue;
		count++;
		*bytes += plan->items[i].size == UINT64_MAX ? 0 : plan->items[i].size;
	}
	return count;
}

/* Images. */

static bool any_type(void *arg, const char *media_type)
{
	(void)arg;
	(void)media_type;
	return true;
}

int plan_find_root(struct store *store, const struct bundle_name *name, struct walk_item *root, struct err *err)
{
	struct index_repository repository = {name->upstream, name->repository};
	struct index *index = store_index(store);
	char text[BUNDLE_NAME_TEXT_MAX];
	struct index_link link = {0};
	struct index_tag tag;
	int code;

	*root = (struct walk_item){.digest = name->digest, .size = UINT64_MAX, .is_manifest = true};
	if (name->tag[0]) {
		code = index_get_tag_any(index, &repository, name->tag, any_type, NULL, &tag, err);
		if (code == ERR_NOT_FOUND)
			return err_set(err, code, "%s is not held", bundle_name_format(name, text));
		if (code)
			return code;
		root->digest = tag.digest;
		root->size = tag.size;
		memcpy(root->media_type, tag.media_type, sizeof(tag.media_type));
		return 0;
	}
	code = index_get_link(index, &repository, &root->digest, &link, err);
	if (code == ERR_NOT_FOUND || (code == 0 && !link.media_type[0]))
		return err_set(err, ERR_NOT_FOUND, "%s is not held", bundle_name_format(name, text));
	memcpy(root->media_type, link.media_type, sizeof(link.media_type));
	return code;
}

static int compare_images(const void *a, const void *b)
{
	return strcmp(((const struct plan_image *)a)->text, ((const struct plan_image *)b)->text);
}

/* Sorted, so that a bundle's bytes do not depend on the order in which its images were named. */
static int find_images(struct store *store, const struct plan_options *options, struct plan *plan, struct err *err)
{
	size_t kept = 0;
	int code = 0;

	plan->images = mem_alloc((options->reference_count + 1) * sizeof(*plan->images));
	for (size_t i = 0; i < options->reference_count && !code; i++) {
		struct plan_image *image = &plan->images[plan->image_count++];

		code = bundle_name_parse(&options->locator, options->references[i], &image->name, err);
		if (code)
			return code;
		bundle_name_format(&image->name, image->text);
		code = plan_find_root(store, &image->name, &image->root, err);
	}
	qsort(plan->images, plan->image_count, sizeof(*plan->images), compare_images);
	for (size_t i = 0; i < plan->image_count; i++)
		if (kept == 0 || strcmp(plan->images[kept - 1].text, plan->images[i].text) != 0)
			plan->images[kept++] = plan->images[i];
	plan->image_count = kept;
	return code;
}

/* Referrers. */

/* Whether anything refers to the manifest, as far as is known here. */
static bool has_entries(struct store *store, const struct digest *list)
{
	struct err err = {0};
	size_t len;
	_cleanup_free_ char *data = walk_read_manifest(store, list, &len, &err);
	json_t *document = data ? json_loadb(data, len, 0, NULL) : NULL;
	bool found = json_array_size(json_object_get(document, "manifests")) > 0;

	json_decref(document);
	return found;
}

static int add_referrers(struct store *store, struct plan *plan, const struct plan_image *image,
			 const struct digest *subject, struct err *err)
{
	struct index_repository repository = {image->name.upstream, image->name.repository};
	struct walk_item root = {.size = UINT64_MAX};
	struct index_tag list;
	int code = index_get_referrers(store_index(store), &repository, subject, &list, err);

	if (code == ERR_NOT_FOUND || (code == 0 && !has_entries(store, &list.digest)))
		return 0;
	if (code)
		return code;
	if ((plan->referrers_count & (plan->referrers_count + 1)) == 0)
		plan->referrers =
			mem_realloc(plan->referrers, (plan->referrers_count + 1) * 2 * sizeof(*plan->referrers));
	plan->referrers[plan->referrers_count++] =
		(struct plan_referrers){.image = image, .subject = *subject, .list = list.digest};
	root.digest = list.digest;
	memcpy(root.media_type, list.media_type, sizeof(list.media_type));
	return walk_image(plan->walk, &root, &every_platform, err);
}

/* Of each manifest of the image; what refers to a referrer goes along too, as its manifest is one more. */
static int find_referrers(struct store *store, struct plan *plan, const struct plan_image *image, size_t first,
			  struct err *err)
{
	int code = 0;

	for (size_t i = first; !code; i++) {
		size_t count;
		const struct walk_item *items = walk_items(plan->walk, &count);
		struct digest subject;

		if (i >= count)
			break;
		subject = items[i].digest;
		if (items[i].is_manifest)
			code = add_referrers(store, plan, image, &subject, err);
	}
	return code;
}

/* Planning. */

static bool is_index(const struct walk *walk, size_t at)
{
	size_t count;
	const struct walk_item *items = walk_items(walk, &count);

	return at + 1 < count && items[at].is_manifest && items[at + 1].is_manifest &&
	       items[at + 1].depth == items[at].depth + 1;
}

/* The format knows no indexes: of each image there must be one manifest left. */
static int find_manifest(struct store *store, const struct walk_platforms *platforms, struct plan_image *image,
			 struct err *err)
{
	_cleanup_(free_walk) struct walk *walk = walk_new(store);
	int code = walk_image(walk, &image->root, platforms, err);
	size_t count, manifests = 0;
	const struct walk_item *items = walk_items(walk, &count);

	for (size_t i = 0; i < count; i++) {
		if (!items[i].is_manifest || is_index(walk, i))
			continue;
		manifests++;
		image->manifest = items[i].digest;
	}
	if (code == 0 && manifests != 1)
		return err_set(err, ERR_INVALID,
			       "%zu platforms, and a docker archive holds one: choose with --platform", manifests);
	return code;
}

static enum plan_state judge(const struct walk_item *item, const struct plan_options *options)
{
	if (options->format == BUNDLE_DOCKER && item->is_manifest && item->held)
		return PLAN_SKIPPED;
	if (options->have && receipt_has(options->have, &item->digest))
		return PLAN_LEFT_OUT;
	if (item->held)
		return PLAN_CARRIED;
	return item->optional ? PLAN_SKIPPED : PLAN_MISSING;
}

static int walk_images(struct store *store, const struct plan_options *options, struct plan *plan, struct err *err)
{
	struct walk_platforms platforms = options->platforms;
	struct err why = {0};

	platforms.images_alone = options->format == BUNDLE_DOCKER;
	for (size_t i = 0; i < plan->image_count; i++) {
		struct plan_image *image = &plan->images[i];
		size_t first;
		int code;

		(void)walk_items(plan->walk, &first);
		code = walk_image(plan->walk, &image->root, &platforms, &why);
		if (code == 0 && options->format == BUNDLE_DOCKER)
			code = find_manifest(store, &platforms, image, &why);
		else if (code == 0 && !options->no_referrers)
			code = find_referrers(store, plan, image, first, &why);
		if (code)
			return err_set(err, code, "%s: %s", image->text, why.text);
	}
	return 0;
}

int plan_make(struct store *store, const struct plan_options *options, struct plan **out, struct err *err)
{
	struct plan *plan = mem_alloc(sizeof(*plan));
	int code = walk_platforms_check(&options->platforms, err);

	plan->walk = walk_new(store);
	if (code == 0 && options->have && options->format == BUNDLE_DOCKER)
		code = err_set(err, ERR_INVALID, "a docker archive is whole: nothing can be left out of it");
	if (code == 0)
		code = find_images(store, options, plan, err);
	if (code == 0)
		code = walk_images(store, options, plan, err);
	if (code) {
		plan_free(plan);
		return code;
	}
	plan->items = walk_items(plan->walk, &plan->item_count);
	plan->states = mem_alloc((plan->item_count + 1) * sizeof(*plan->states));
	for (size_t i = 0; i < plan->item_count; i++)
		plan->states[i] = judge(&plan->items[i], options);
	*out = plan;
	return 0;
}
