/* SPDX-License-Identifier: Apache-2.0 */
#include "store/images.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "store/closure.h"
#include "store/manifest.h"
#include "store/pins.h"
#include "store/store_internal.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AHEAD_MAX    64   /* names read at once */
#define PLATFORM_MAX 4096 /* of one image, all in a text */

enum phase {
	IMAGES_TAGS, /* of the repository */
	IMAGES_LINKS,
	IMAGES_NEXT_REPOSITORY,
	IMAGES_NEXT_UPSTREAM,
};

/* A name that was read ahead. */
struct ahead {
	char tag[REF_TAG_MAX + 1];
	struct digest digest;
	char media_type[INDEX_MEDIA_TYPE_MAX + 1];
	int64_t fetched, checked;
};

struct images {
	struct store *store;
	char *glob, *glob_behind; /* as it is, and behind any slash */
	int64_t used_since;
	bool held_only;

	enum phase phase;
	char upstream[REF_UPSTREAM_MAX + 1];
	char repository[REF_REPOSITORY_MAX + 1];
	char after_tag[REF_TAG_MAX + 1];
	struct digest after_link;
	struct ahead ahead[AHEAD_MAX];
	size_t count, next;
	bool more; /* behind those read ahead */

	/* What was last described, and borrows the texts: tags of one image follow one another. */
	struct image described;
	char platforms[PLATFORM_MAX];
	char pins[IMAGE_PINS_MAX];
};

struct images *images_open(struct store *store, const struct images_filter *filter)
{
	struct images *images = mem_alloc(sizeof(*images));

	images->store = store;
	images->glob = mem_strdup(filter->glob);
	images->glob_behind = filter->glob ? mem_printf("*/%s", filter->glob) : NULL;
	images->used_since = filter->used_since;
	images->held_only = filter->held_only;
	images->phase = IMAGES_NEXT_UPSTREAM;
	if (filter->after) {
		snprintf(images->upstream, sizeof(images->upstream), "%s", filter->after->repository.upstream);
		snprintf(images->repository, sizeof(images->repository), "%s", filter->after->repository.repository);
		snprintf(images->after_tag, sizeof(images->after_tag), "%s", filter->after->tag);
		images->phase = *filter->after->tag ? IMAGES_TAGS : IMAGES_LINKS;
		if (!*filter->after->tag)
			images->after_link = filter->after->digest;
	}
	return images;
}

void images_close(struct images *images)
{
	if (!images)
		return;
	free(images->glob);
	free(images->glob_behind);
	free(images);
}

const char *image_format_reference(const struct image *image, bool with_digest, char text[IMAGE_REFERENCE_MAX])
{
	char digest[DIGEST_TEXT_MAX];
	bool tagged = *image->tag;

	snprintf(text, IMAGE_REFERENCE_MAX, "%s/%s%s%s%s%s", image->repository.upstream, image->repository.repository,
		 tagged ? ":" : "", image->tag, with_digest || !tagged ? "@" : "",
		 with_digest || !tagged ? digest_format(&image->digest, digest) : "");
	return text;
}

/* Reading ahead. */

static struct ahead *add_ahead(struct images *images, const char *tag, const struct digest *digest,
			       const char *media_type)
{
	struct ahead *ahead = &images->ahead[images->count++];

	strcpy(ahead->tag, tag);
	ahead->digest = *digest;
	strcpy(ahead->media_type, media_type);
	ahead->fetched = ahead->checked = 0;
	return ahead;
}

/* A tag has a record for each Accept: those that mean the same are one. A tag is read whole or not at all, but for one
 * with more meanings than there is place. */
static bool take_tag(void *arg, const char *name, const struct index_tag *tag)
{
	struct images *images = arg;
	size_t same = images->count;

	while (same > 0 && strcmp(images->ahead[same - 1].tag, name) == 0)
		if (digest_equal(&images->ahead[--same].digest, &tag->digest)) {
			struct ahead *ahead = &images->ahead[same];

			if (tag->checked > ahead->checked)
				ahead->checked = tag->checked;
			if (tag->fetched < ahead->fetched)
				ahead->fetched = tag->fetched;
			return true;
		}
	if (images->count >= AHEAD_MAX / 2 && strcmp(images->ahead[images->count - 1].tag, name) != 0) {
		images->more = true;
		return false;
	}
	if (images->count == AHEAD_MAX)
		return true;
	struct ahead *ahead = add_ahead(images, name, &tag->digest, tag->media_type);

	ahead->fetched = tag->fetched;
	ahead->checked = tag->checked;
	return true;
}

static bool take_link(void *arg, const struct digest *digest, const struct index_link *link)
{
	struct images *images = arg;

	images->after_link = *digest;
	if (link->media_type[0])
		add_ahead(images, "", digest, link->media_type);
	images->more = images->count == AHEAD_MAX;
	return !images->more;
}

static bool take_name(void *arg, const char *name)
{
	struct images *images = arg;

	strcpy(images->repository, name);
	images->more = true;
	return false;
}

/* Moves on to the next names. ERR_NOT_FOUND at the very end. */
static int read_ahead(struct images *images, struct err *err)
{
	struct index *index = images->store->index;
	const struct index_repository repository = {images->upstream, images->repository};
	char before[REF_UPSTREAM_MAX + 1], before_name[REF_REPOSITORY_MAX + 1];
	int code;

	images->count = images->next = 0;
	images->more = false;
	switch (images->phase) {
	case IMAGES_TAGS:
		code = index_list_tag_records(index, &repository, images->after_tag, take_tag, images, err);
		if (images->count > 0)
			strcpy(images->after_tag, images->ahead[images->count - 1].tag);
		if (!images->more) {
			images->phase = IMAGES_LINKS;
			images->after_link.algorithm = 0;
		}
		return code == ERR_NOT_FOUND ? 0 : code;
	case IMAGES_LINKS:
		code = index_list_links(index, &repository, images->after_link.algorithm ? &images->after_link : NULL,
					take_link, images, err);
		if (!images->more)
			images->phase = IMAGES_NEXT_REPOSITORY;
		return code == ERR_NOT_FOUND ? 0 : code;
	case IMAGES_NEXT_REPOSITORY:
		strcpy(before_name, images->repository);
		code = index_list_repositories(index, images->upstream, before_name, take_name, images, err);
		images->phase = images->more ? IMAGES_TAGS : IMAGES_NEXT_UPSTREAM;
		images->after_tag[0] = '\0';
		return code;
	default:
		strcpy(before, images->upstream);
		code = index_next_upstream(index, before, images->upstream, err);
		images->phase = IMAGES_NEXT_REPOSITORY;
		images->repository[0] = '\0';
		return code;
	}
}

/* Choosing. */

static bool glob_matches(const struct images *images, const char *text)
{
	return fnmatch(images->glob, text, 0) == 0 || fnmatch(images->glob_behind, text, 0) == 0;
}

static bool matches(const struct images *images, const struct image *image)
{
	char name[REF_NAME_MAX + 1], reference[IMAGE_REFERENCE_MAX];

	if (!images->glob)
		return true;
	snprintf(name, sizeof(name), "%s/%s", image->repository.upstream, image->repository.repository);
	return glob_matches(images, name) || glob_matches(images, image_format_reference(image, false, reference));
}

struct lookout {
	const struct index_repository *repository;
	bool found;
};

static bool look_for_tag(void *arg, const struct index_name *name)
{
	struct lookout *lookout = arg;

	lookout->found = name->tag && strcmp(name->repository.upstream, lookout->repository->upstream) == 0 &&
			 strcmp(name->repository.repository, lookout->repository->repository) == 0;
	return !lookout->found;
}

static bool look_for_parent(void *arg, const struct digest *parent, bool is_manifest)
{
	(void)parent;
	(void)is_manifest;
	((struct lookout *)arg)->found = true;
	return false;
}

/* Whether a manifest without a tag stands for itself: it is held, no index has it, and no tag of the repository. */
static bool stands_alone(const struct images *images, const struct image *image)
{
	struct index *index = images->store->index;
	struct lookout lookout = {.repository = &image->repository};

	return image->held && index_list_names(index, &image->digest, look_for_tag, &lookout, NULL) == 0 &&
	       !lookout.found && index_list_parents(index, &image->digest, look_for_parent, &lookout, NULL) == 0 &&
	       !lookout.found;
}

/* Describing. */

struct describing {
	struct images *images;
	bool is_index;
};

static void add_platform(struct images *images, const char *platform)
{
	size_t len = strlen(images->platforms), more = strlen(platform);

	if (*platform && len + more + 2 <= sizeof(images->platforms))
		snprintf(images->platforms + len, sizeof(images->platforms) - len, "%s%s", len ? "," : "", platform);
}

static void take_part(void *arg, const struct manifest_part *part)
{
	struct describing *describing = arg;
	struct index_blob blob;

	if (part->kind != MANIFEST_MANIFEST)
		return;
	describing->is_index = true;
	/* What is no platform's is not worth telling: attestations call theirs unknown/unknown. */
	if (strcmp(part->platform, "unknown/unknown") != 0 &&
	    index_get_blob(describing->images->store->index, &part->digest, &blob, NULL) == 0)
		add_platform(describing->images, part->platform);
}

static void describe_platforms(struct images *images, const struct digest *digest)
{
	struct describing describing = {.images = images};
	_cleanup_free_ char *manifest = NULL;
	char platform[MANIFEST_PLATFORM_MAX];
	size_t len;

	images->platforms[0] = '\0';
	manifest = manifest_load(images->store, digest, &len);
	if (manifest)
		manifest_read(manifest, len, take_part, &describing);
	if (manifest && !describing.is_index && manifest_find_platform(images->store, manifest, len, platform))
		add_platform(images, platform);
}

static bool take_pin(void *arg, const char *name)
{
	struct images *images = arg;
	size_t len = strlen(images->pins), more = strlen(name);
	const char *known = strstr(images->pins, name);

	for (; known; known = strstr(known + 1, name))
		if ((known == images->pins || known[-1] == ',') && (known[more] == ',' || known[more] == '\0'))
			return true;
	if (len + more + 2 > sizeof(images->pins))
		return false;
	snprintf(images->pins + len, sizeof(images->pins) - len, "%s%s", len ? "," : "", name);
	return true;
}

static void describe(struct images *images, const struct digest *digest)
{
	_cleanup_(closure_dispose) struct closure all = {0}, own = {0};
	struct image *described = &images->described;

	if (digest_equal(&described->digest, digest))
		return;
	described->digest = *digest;
	described->size = closure_add_all(&all, images->store, digest);
	described->unique_size = closure_add(&own, images->store, digest);
	described->blobs = closure_count(&all);
	describe_platforms(images, digest);
	images->pins[0] = '\0';
	(void)index_list_pins_of(images->store->index, digest, take_pin, images, NULL);
}

/* False: passed over. */
static bool make_image(struct images *images, const struct ahead *ahead, struct image *image)
{
	struct index_blob blob;

	*image = (struct image){.repository = {images->upstream, images->repository},
				.tag = ahead->tag,
				.digest = ahead->digest,
				.media_type = ahead->media_type,
				.fetched = ahead->fetched,
				.checked = ahead->checked,
				.platforms = "",
				.pins = ""};
	image->held = index_get_blob(images->store->index, &ahead->digest, &blob, NULL) == 0;
	image->last_use = image->held ? blob.last_use : 0;
	if (!matches(images, image) || (images->held_only && !image->held) || image->last_use < images->used_since ||
	    (!*ahead->tag && !stands_alone(images, image)))
		return false;
	if (image->held) {
		describe(images, &image->digest);
		image->size = images->described.size;
		image->unique_size = images->described.unique_size;
		image->blobs = images->described.blobs;
		image->platforms = images->platforms;
		image->pins = images->pins;
	}
	return true;
}

int images_next(struct images *images, struct image *image, struct err *err)
{
	for (;;) {
		while (images->next < images->count)
			if (make_image(images, &images->ahead[images->next++], image))
				return 0;
		int code = read_ahead(images, err);

		if (code)
			return code;
	}
}
