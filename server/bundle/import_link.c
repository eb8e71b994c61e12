/* SPDX-License-Identifier: Apache-2.0 */
#include "server/bundle/import_internal.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "server/bundle/describe.h"
#include "server/pull/accept.h"
#include "server/pull/referrers_list.h"
#include "store/index.h"
#include "store/manifest.h"

#include <string.h>

#define CHANGES_AT_ONCE 64 /* in one commit */

static const struct walk_platforms every_platform = {0};

static void free_walk(struct walk **walk)
{
	walk_free(*walk);
}

/* Names. */

/* A name that is more than a tag. */
static bool says_repository(const char *text)
{
	return text && strpbrk(text, "/:@");
}

/* What the archive calls it, as far as that goes: a whole name, or a tag alone. */
static int read_said(const char *text, struct ref *said, struct err *err)
{
	memset(said, 0, sizeof(*said));
	if (says_repository(text))
		return ref_parse(text, said, err);
	if (text && ref_tag_valid(text, strlen(text)))
		memcpy(said->tag, text, strlen(text) + 1);
	return 0;
}

static int name_as(const struct import *import, const struct ref *said, struct bundle_name *name, struct err *err)
{
	const char *as = import->options->as;
	struct ref ref;
	int code = bundle_name_parse(&import->options->locator, as, name, err);

	if (code == 0)
		code = ref_parse(as, &ref, err);
	/* Without a tag, it says the repository alone. */
	if (code == 0 && !ref.tag[0])
		memcpy(name->tag, said->tag, sizeof(said->tag));
	return code;
}

int import_name(const struct import *import, const char *text, const struct digest *digest, struct bundle_name *name,
		struct err *err)
{
	struct ref said;
	int code = read_said(text, &said, err);

	if (code)
		return code;
	if (!import->options->as && !says_repository(text))
		return err_set(err, ERR_INVALID, "the image %.80s does not say its repository: give it with --as",
			       text ? text : "without a name");
	code = import->options->as ? name_as(import, &said, name, err)
				   : bundle_name_parse(&import->options->locator, text, name, err);
	if (code)
		return code;
	if (name->digest.algorithm && !digest_equal(&name->digest, digest))
		return err_set(err, ERR_INVALID, "the archive's image has another digest than its name says");
	name->digest = *digest;
	return 0;
}

/* Changes of the index, gathered. */

struct batch {
	struct import *import;
	struct index_repository repository;
	struct index_change changes[CHANGES_AT_ONCE];
	struct digest digests[CHANGES_AT_ONCE]; /* what the changes point to */
	size_t count;
};

static int flush(struct batch *batch, struct err *err)
{
	int code = batch->count ? index_write(store_index(batch->import->store), batch->changes, batch->count, err) : 0;

	batch->count = 0;
	return code;
}

static int add_change(struct batch *batch, struct index_change change, struct err *err)
{
	batch->digests[batch->count] = *change.digest;
	change.digest = &batch->digests[batch->count];
	change.repository = batch->repository;
	batch->changes[batch->count++] = change;
	return batch->count == CHANGES_AT_ONCE ? flush(batch, err) : 0;
}

/* What a manifest names is kept with it. */
static int record_manifest(struct import *import, const struct digest *manifest, struct err *err)
{
	size_t len;
	_cleanup_free_ char *data = walk_read_manifest(import->store, manifest, &len, err);

	return data ? manifest_record(import->store, manifest, data, len, err) : err->code;
}

static int link_items(struct batch *batch, const struct walk *walk, struct err *err)
{
	size_t count;
	const struct walk_item *items = walk_items(walk, &count);
	int code = 0;

	for (size_t i = 0; i < count && !code; i++) {
		struct index_change link = {.kind = INDEX_PUT_LINK, .digest = &items[i].digest};

		if (!items[i].held)
			continue;
		if (items[i].is_manifest)
			memcpy(link.link.media_type, items[i].media_type, sizeof(items[i].media_type));
		if (items[i].is_manifest)
			code = record_manifest(batch->import, &items[i].digest, err);
		if (code == 0)
			code = add_change(batch, link, err);
	}
	return code ? code : flush(batch, err);
}

/* What is missing. */

/* A platform that was not chosen is no loss, where another one was. */
static bool is_unchosen(const struct import *import, const struct walk_item *items, size_t count, size_t at)
{
	uint64_t size;

	if (!items[at].is_manifest || items[at].depth == 0)
		return false;
	if (import->self)
		return import_promised(import, &items[at].digest, &size) == PROMISE_NONE;
	for (size_t i = 0; i < count; i++)
		if (items[i].is_manifest && items[i].held && items[i].depth > 0)
			return true;
	return false;
}

static void note_missing(struct import_report *report, size_t image, const struct digest *digest, bool promised)
{
	size_t count = report->missing_count;

	if ((count & (count + 1)) == 0)
		report->missing = mem_realloc(report->missing, (count + 1) * 2 * sizeof(*report->missing));
	report->missing[report->missing_count++] =
		(struct import_missing){.image = image, .digest = *digest, .promised = promised};
	report->images[image].missing++;
}

static void find_missing(struct import *import, size_t image, const struct walk *walk)
{
	size_t count;
	const struct walk_item *items = walk_items(walk, &count);
	uint64_t size;

	for (size_t i = 0; i < count; i++)
		if (!items[i].held && !items[i].optional && !is_unchosen(import, items, count, i))
			note_missing(import->report, image, &items[i].digest,
				     import_promised(import, &items[i].digest, &size) == PROMISE_LEFT_OUT);
}

/* Images. */

static int check_items(struct import *import, const struct walk *walk, struct err *err)
{
	size_t count;
	const struct walk_item *items = walk_items(walk, &count);

	for (size_t i = 0; i < count; i++)
		if (items[i].held && items[i].is_manifest && !items[i].media_type[0])
			return err_set(err, ERR_INVALID, "a manifest does not say its type");
	import->walked += count;
	if (import->walked > IMPORT_ITEMS_MAX || import->report->image_count == IMPORT_NAMES_MAX)
		return err_set(err, ERR_LIMIT, "the archive has more than %d images, or %d parts of them",
			       IMPORT_NAMES_MAX, IMPORT_ITEMS_MAX);
	return 0;
}

static size_t add_image(struct import *import, const struct bundle_name *name, const struct digest *digest)
{
	struct import_report *report = import->report;
	size_t count = report->image_count;

	if ((count & (count + 1)) == 0)
		report->images = mem_realloc(report->images, (count + 1) * 2 * sizeof(*report->images));
	report->images[count] = (struct import_image){.digest = *digest};
	bundle_name_format(name, report->images[count].text);
	return report->image_count++;
}

/* Under what a client that takes everything would ask for; a client that asks for less is served from it too. What the
 * tag meant to others before is forgotten. */
static int put_tag(struct batch *batch, const struct bundle_name *name, const struct walk_item *root, struct err *err)
{
	struct index_tag tag = {.digest = root->digest, .size = root->size, .fetched = clock_wall_s()};
	struct index_change changes[] = {
		{.kind = INDEX_DELETE_TAG, .repository = batch->repository, .tag = name->tag},
		{.kind = INDEX_PUT_TAG, .repository = batch->repository, .tag = name->tag, .tag_record = &tag},
	};
	struct accept accept;

	accept_parse(NULL, &accept);
	tag.accept = accept.key;
	tag.checked = tag.fetched;
	memcpy(tag.media_type, root->media_type, sizeof(root->media_type));
	return index_write(store_index(batch->import->store), changes, 2, err);
}

int import_link_image(struct import *import, const struct bundle_name *name, const struct walk_item *root,
		      struct err *err)
{
	struct batch batch = {.import = import, .repository = {name->upstream, name->repository}};
	_cleanup_(free_walk) struct walk *walk = walk_new(import->store);
	int code = walk_image(walk, root, &every_platform, err);
	size_t image, count;

	if (code == 0)
		code = check_items(import, walk, err);
	if (code)
		return code;
	image = add_image(import, name, &root->digest);
	find_missing(import, image, walk);
	if (import->judging)
		return 0;
	code = link_items(&batch, walk, err);
	if (code == 0 && name->tag[0] && import->report->images[image].missing == 0)
		code = put_tag(&batch, name, walk_items(walk, &count), err);
	return code;
}

/* Layouts. */

static const char *annotation(const json_t *descriptor, const char *name)
{
	return json_string_value(json_object_get(json_object_get(descriptor, "annotations"), name));
}

static int link_descriptor(struct import *import, const json_t *descriptor, struct err *err)
{
	const char *text = annotation(descriptor, ANNOTATION_NAME);
	struct bundle_name name;
	struct walk_item root;
	int code = walk_read_descriptor(descriptor, &root, err);

	if (code == 0)
		code = import_name(import, text ? text : annotation(descriptor, ANNOTATION_REF), &root.digest, &name,
				   err);
	return code ? code : import_link_image(import, &name, &root, err);
}

/* Links what goes along with an image, in the repository where that is. It is told of only when it is not whole. */
static int link_companion(struct import *import, const json_t *entry, const char *tag, const struct walk_item *root,
			  struct bundle_name *name, struct err *err)
{
	const char *repository = json_string_value(json_object_get(entry, "repository"));
	const char *as = import->options->as;
	struct import_report *report = import->report;
	int code;

	if (!repository || (*tag && !ref_tag_valid(tag, strlen(tag))))
		return err_set(err, ERR_INVALID, "the bundle's list of referrers, or of tags, is malformed");
	code = bundle_name_parse(&import->options->locator, as ? as : repository, name, err);
	if (code)
		return code;
	strcpy(name->tag, tag);
	name->digest = root->digest;
	code = import_link_image(import, name, root, err);
	if (code == 0 && report->images[report->image_count - 1].missing == 0)
		report->image_count--;
	return code;
}

static int link_tag(struct import *import, const json_t *entry, struct err *err)
{
	const char *tag = json_string_value(json_object_get(entry, "tag"));
	struct bundle_name name;
	struct walk_item root;
	int code = walk_read_descriptor(entry, &root, err);

	return code ? code : link_companion(import, entry, tag ? tag : "", &root, &name, err);
}

/* What refers to an image of the bundle, as the far side's upstream told it. */
static int link_referrers(struct import *import, const json_t *entry, struct err *err)
{
	const char *subject_text = json_string_value(json_object_get(entry, "subject"));
	const char *list_text = json_string_value(json_object_get(entry, "list"));
	struct index_tag list = {.fetched = clock_wall_s()};
	struct walk_item root = {.size = UINT64_MAX};
	struct bundle_name name;
	struct digest subject;
	struct index_change change = {.kind = INDEX_PUT_REFERRERS, .digest = &subject, .tag_record = &list};
	int code;

	if (!subject_text || !list_text || digest_parse(subject_text, &subject) ||
	    digest_parse(list_text, &root.digest))
		return err_set(err, ERR_INVALID, "the bundle's list of referrers is malformed");
	strcpy(root.media_type, REFERRERS_TYPE);
	code = link_companion(import, entry, "", &root, &name, err);
	if (code || import->judging || store_find_blob(import->store, &root.digest, &list.size, NULL))
		return code;
	list.digest = root.digest;
	list.checked = list.fetched;
	strcpy(list.media_type, root.media_type);
	change.repository = (struct index_repository){name.upstream, name.repository};
	return index_write(store_index(import->store), &change, 1, err);
}

static int check_layout(struct import *import, struct err *err)
{
	const struct buf *text = &import->texts[TEXT_LAYOUT].data;
	json_t *layout = text->data ? json_loadb(text->data, text->len, 0, NULL) : NULL;
	const char *version = json_string_value(json_object_get(layout, "imageLayoutVersion"));
	bool good = version && strcmp(version, "1.0.0") == 0;

	json_decref(layout);
	return good ? 0 : err_set(err, ERR_INVALID, "the archive has no " LAYOUT_FILE " of version 1.0.0");
}

int import_link_layout(struct import *import, struct err *err)
{
	const struct buf *text = &import->texts[TEXT_INDEX].data;
	json_t *index = text->data ? json_loadb(text->data, text->len, 0, NULL) : NULL;
	const json_t *manifests = json_object_get(index, "manifests"), *entry;
	int code = check_layout(import, err);
	size_t i;

	if (code == 0 && !json_is_array(manifests))
		code = err_set(err, ERR_INVALID, "the archive has no " LAYOUT_INDEX ", or it is malformed");
	json_array_foreach(manifests, i, entry) if (code == 0) code = link_descriptor(import, entry, err);
	json_array_foreach(json_object_get(import->self, "referrers"), i, entry) if (code == 0) code =
		link_referrers(import, entry, err);
	json_array_foreach(json_object_get(import->self, "tags"), i, entry) if (code == 0) code =
		link_tag(import, entry, err);
	json_decref(index);
	return code;
}
