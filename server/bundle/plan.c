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
	free(plan->companions);
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
	if (!name->digest.algorithm) {
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
	for (size_t i = 0; i < plan->image_count && !code; i++) {
		const struct plan_image *image = &plan->images[i], *last = kept ? &plan->images[kept - 1] : NULL;

		if (!last || strcmp(last->text, image->text) != 0)
			plan->images[kept++] = *image;
		else if (!digest_equal(&last->root.digest, &image->root.digest))
			code = err_set(err, ERR_INVALID, "%s is asked for with two digests", image->text);
	}
	plan->image_count = kept;
	return code;
}

/* Companions. */

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

static bool is_whole(struct store *store, const struct walk_item *root)
{
	_cleanup_(free_walk) struct walk *walk = walk_new(store);
	struct err err = {0};
	bool whole = walk_image(walk, root, &every_platform, &err) == 0;
	size_t count;
	const struct walk_item *items = walk_items(walk, &count);

	for (size_t i = 0; i < count; i++)
		whole = whole && (items[i].held || items[i].optional);
	return whole;
}

static bool is_planned(const struct plan *plan, const struct plan_companion *companion)
{
	for (size_t i = 0; i < plan->companion_count; i++) {
		const struct plan_companion *other = &plan->companions[i];

		if (digest_equal(&other->subject, &companion->subject) && strcmp(other->tag, companion->tag) == 0 &&
		    strcmp(other->image->name.repository, companion->image->name.repository) == 0 &&
		    strcmp(other->image->name.upstream, companion->image->name.upstream) == 0)
			return true;
	}
	return false;
}

/* `needed`: without it the image is not whole. */
static int add_companion(struct store *store, struct plan *plan, struct walk *walk, struct plan_companion companion,
			 const struct index_tag *found, bool needed, struct err *err)
{
	struct walk_item root = {.digest = found->digest, .size = UINT64_MAX};

	memcpy(root.media_type, found->media_type, sizeof(found->media_type));
	if (!needed && !is_whole(store, &root))
		return 0;
	companion.digest = found->digest;
	if (!is_planned(plan, &companion)) {
		if ((plan->companion_count & (plan->companion_count + 1)) == 0)
			plan->companions = mem_realloc(plan->companions,
						       (plan->companion_count + 1) * 2 * sizeof(*plan->companions));
		plan->companions[plan->companion_count++] = companion;
	}
	return walk_image(walk, &root, &every_platform, err);
}

/*
 * What belongs to the image itself is fetched with it, and is missing if it is not there. What belongs to one platform,
 * or to a companion, is known since a client asked for it, and may have left it at that: it goes along when it is held.
 */
static int add_companions(struct store *store, struct plan *plan, struct walk *walk, struct plan_companion companion,
			  struct err *err)
{
	struct index_repository repository = {companion.image->name.upstream, companion.image->name.repository};
	bool of_image = digest_equal(&companion.subject, &companion.image->root.digest);
	struct index *index = store_index(store);
	struct index_tag found;
	int code = index_get_referrers(index, &repository, &companion.subject, &found, err);

	if (code == 0 && has_entries(store, &found.digest))
		code = add_companion(store, plan, walk, companion, &found, of_image, err);
	for (size_t i = 0; i < REFERRERS_SUFFIXES && (code == 0 || code == ERR_NOT_FOUND); i++) {
		/* The tag in place of a list is not asked for where there is an API. */
		bool needed = of_image && *referrers_suffixes[i];

		referrers_tag(&companion.subject, referrers_suffixes[i], companion.tag);
		code = index_get_tag_any(index, &repository, companion.tag, any_type, NULL, &found, err);
		if (code == 0)
			code = add_companion(store, plan, walk, companion, &found, needed, err);
	}
	return code == ERR_NOT_FOUND ? 0 : code;
}

/* Of each manifest of the image; what belongs to a companion goes along too, as its manifest is one more. */
static int find_companions(struct store *store, struct plan *plan, struct walk *walk, const struct plan_image *image,
			   struct err *err)
{
	int code = 0;

	for (size_t i = 0; !code; i++) {
		size_t count;
		const struct walk_item *items = walk_items(walk, &count);

		if (i >= count)
			break;
		if (items[i].is_manifest)
			code = add_companions(store, plan, walk,
					      (struct plan_companion){.image = image, .subject = items[i].digest}, err);
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
static int find_manifest(const struct walk *walk, struct plan_image *image, struct err *err)
{
	size_t count, manifests = 0;
	const struct walk_item *items = walk_items(walk, &count);

	for (size_t i = 0; i < count; i++) {
		if (!items[i].is_manifest || is_index(walk, i))
			continue;
		manifests++;
		image->manifest = items[i].digest;
	}
	if (manifests != 1)
		return err_set(err, ERR_INVALID,
			       "%zu platforms, and a docker archive holds one: choose with --platform", manifests);
	return 0;
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

static int plan_image(struct store *store, const struct plan_options *options, struct plan *plan,
		      struct plan_image *image, struct err *err)
{
	_cleanup_(free_walk) struct walk *walk = walk_new(store);
	struct walk_platforms platforms = options->platforms;
	int code;

	platforms.images_alone = options->format == BUNDLE_DOCKER;
	code = walk_image(walk, &image->root, &platforms, err);
	if (code == 0 && options->format == BUNDLE_DOCKER)
		code = find_manifest(walk, image, err);
	else if (code == 0 && !options->no_referrers)
		code = find_companions(store, plan, walk, image, err);
	return code ? code : walk_merge(plan->walk, walk, err);
}

static int plan_images(struct store *store, const struct plan_options *options, struct plan *plan, struct err *err)
{
	struct err why = {0};

	for (size_t i = 0; i < plan->image_count; i++)
		if (plan_image(store, options, plan, &plan->images[i], &why))
			return err_set(err, why.code, "%s: %s", plan->images[i].text, why.text);
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
		code = plan_images(store, options, plan, err);
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
