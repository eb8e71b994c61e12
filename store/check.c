/* SPDX-License-Identifier: Apache-2.0 */
#include "store/check.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "store/store_internal.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>

struct seen {
	struct digest digest;
	UT_hash_handle hh;
};

struct walk {
	struct store *store;
	const struct index_repository *repository;
	const struct check_options *options;
	bool (*each)(void *arg, const struct check_part *part);
	void *arg;
	struct seen *seen;
	bool stopped;
	struct err *err;
	int code; /* a bound that was reached */
};

/* What a manifest names, taken down before any of it is walked over. */
struct below {
	struct store *store; /* where platforms are to be known; else NULL */
	struct check_part *parts;
	size_t count, cap;
	struct check_part above;
};

static void free_below(struct below *below)
{
	for (size_t i = 0; i < below->count; i++) {
		free((void *)(uintptr_t)below->parts[i].media_type);
		free((void *)(uintptr_t)below->parts[i].platform);
	}
	free(below->parts);
}

/* What an index does not tell of a manifest, its config may. The caller frees. */
static char *find_platform(struct store *store, const struct digest *manifest)
{
	char platform[MANIFEST_PLATFORM_MAX] = "";
	size_t len;
	_cleanup_free_ char *data = manifest_load(store, manifest, &len);

	if (data)
		manifest_find_platform(store, data, len, platform);
	return mem_strdup(platform);
}

static void take_part(void *arg, const struct manifest_part *part)
{
	struct below *below = arg;
	const char *platform = *part->platform ? part->platform : below->above.platform;

	if (part->kind == MANIFEST_SUBJECT)
		return;
	if (below->count == below->cap) {
		below->cap = below->cap ? below->cap * 2 : 16;
		below->parts = mem_realloc(below->parts, below->cap * sizeof(*below->parts));
	}
	below->parts[below->count++] =
		(struct check_part){.kind = part->kind,
				    .depth = below->above.depth + 1,
				    .digest = part->digest,
				    .size = part->size,
				    .media_type = mem_strdup(part->media_type),
				    .platform = below->store && part->kind == MANIFEST_MANIFEST && !*platform
							? find_platform(below->store, &part->digest)
							: mem_strdup(platform),
				    .referrer = below->above.referrer,
				    .state = part->foreign ? CHECK_FOREIGN : CHECK_MISSING};
}

/* What is not walked over must never pass for whole. */
static void give_up(struct walk *walk, int code)
{
	walk->code = code;
	walk->stopped = true;
}

static bool is_new(struct walk *walk, const struct digest *digest)
{
	struct seen *seen;

	HASH_FIND(hh, walk->seen, digest, sizeof(*digest), seen);
	if (seen)
		return false;
	if (HASH_COUNT(walk->seen) >= CHECK_PARTS_MAX) {
		give_up(walk, err_set(walk->err, ERR_LIMIT, "it has more than %d parts", CHECK_PARTS_MAX));
		return false;
	}
	seen = mem_alloc(sizeof(*seen));
	seen->digest = *digest;
	HASH_ADD(hh, walk->seen, digest, sizeof(seen->digest), seen);
	return true;
}

/* A link without a media type is a blob's, and serves no manifest. */
static void look(const struct walk *walk, struct check_part *part)
{
	struct index_link link;
	uint64_t size;

	if (store_find_blob(walk->store, &part->digest, &size, NULL))
		return; /* missing, or foreign */
	part->size = size;
	part->state = index_get_link(walk->store->index, walk->repository, &part->digest, &link, NULL) == 0 &&
				      (part->kind != MANIFEST_MANIFEST || link.media_type[0])
			      ? CHECK_HELD
			      : CHECK_ELSEWHERE;
}

/* Whether a manifest below is told to be for this platform, or, `untold`, is told to be for none and may be. */
static bool has_platform(const struct below *below, const char *wanted, bool untold)
{
	for (size_t i = 0; i < below->count; i++) {
		const struct check_part *part = &below->parts[i];

		if (part->kind == MANIFEST_MANIFEST &&
		    (*part->platform ? manifest_platform_matches(part->platform, &wanted, 1) : untold))
			return true;
	}
	return false;
}

/* What tells no platform matters as long as one that is wanted is told by none. */
static bool untold_matter(const struct walk *walk, const struct below *below)
{
	for (size_t i = 0; i < walk->options->platform_count; i++)
		if (!has_platform(below, walk->options->platforms[i], false))
			return true;
	return false;
}

static bool is_wanted(const struct walk *walk, const struct check_part *part, bool untold)
{
	const struct check_options *options = walk->options;

	if (part->kind != MANIFEST_MANIFEST || part->referrer || options->platform_count == 0)
		return true;
	return *part->platform ? manifest_platform_matches(part->platform, options->platforms, options->platform_count)
			       : untold;
}

static bool is_index(const struct below *below)
{
	for (size_t i = 0; i < below->count; i++)
		if (below->parts[i].kind == MANIFEST_MANIFEST)
			return true;
	return false;
}

/* Tells of the platforms that are wanted and that an index has not, or an image that is for one alone is not for. */
static void tell_absent(struct walk *walk, const struct below *below, const char *own)
{
	const struct check_options *options = walk->options;
	bool index = is_index(below);

	for (size_t i = 0; i < options->platform_count && !walk->stopped; i++) {
		struct check_part absent = {.kind = MANIFEST_MANIFEST,
					    .depth = below->above.depth + 1,
					    .size = MANIFEST_SIZE_UNKNOWN,
					    .media_type = "",
					    .platform = options->platforms[i],
					    .state = CHECK_MISSING};

		if (index ? !has_platform(below, options->platforms[i], true)
			  : *own && !manifest_platform_matches(own, &options->platforms[i], 1))
			walk->stopped = !walk->each(walk->arg, &absent);
	}
}

static void walk_part(struct walk *walk, struct check_part *part);

/* NOLINTNEXTLINE(misc-no-recursion): CHECK_DEPTH_MAX bounds it */
static void walk_below(struct walk *walk, const struct check_part *part)
{
	bool judges = !part->referrer && walk->options->platform_count > 0, untold;
	_cleanup_(free_below) struct below below = {.above = *part, .store = judges ? walk->store : NULL};
	char own[MANIFEST_PLATFORM_MAX] = "";
	_cleanup_free_ char *data = NULL;
	size_t len;

	data = manifest_load(walk->store, &part->digest, &len);
	if (!data)
		return;
	manifest_read(data, len, take_part, &below);
	if (judges && part->depth == 0) {
		if (!is_index(&below))
			manifest_find_platform(walk->store, data, len, own);
		tell_absent(walk, &below, own);
		if (*own && !manifest_platform_matches(own, walk->options->platforms, walk->options->platform_count))
			return;
	}
	untold = untold_matter(walk, &below);
	for (size_t i = 0; i < below.count && !walk->stopped; i++)
		if (is_wanted(walk, &below.parts[i], untold))
			walk_part(walk, &below.parts[i]);
}

/* NOLINTNEXTLINE(misc-no-recursion): CHECK_DEPTH_MAX bounds it */
static void walk_part(struct walk *walk, struct check_part *part)
{
	if (!is_new(walk, &part->digest))
		return;
	look(walk, part);
	walk->stopped = !walk->each(walk->arg, part);
	if (walk->stopped || part->kind != MANIFEST_MANIFEST)
		return;
	if (part->depth > CHECK_DEPTH_MAX)
		give_up(walk, err_set(walk->err, ERR_LIMIT, "indexes lie in it more than %d deep", CHECK_DEPTH_MAX));
	else
		walk_below(walk, part);
}

/* The list of what refers to the image is an index whose manifests are images of their own. */
static void walk_referrers(struct walk *walk, const struct digest *image)
{
	struct check_part list = {
		.kind = MANIFEST_MANIFEST, .media_type = "", .platform = "", .referrer = true, .state = CHECK_MISSING};
	struct index_tag found;

	if (index_get_referrers(walk->store->index, walk->repository, image, &found, NULL))
		return;
	list.digest = found.digest;
	walk_below(walk, &list);
}

int check_walk(struct store *store, const struct index_repository *repository, const struct digest *image,
	       const struct check_options *options, bool (*each)(void *arg, const struct check_part *part), void *arg,
	       struct err *err)
{
	struct walk walk = {
		.store = store, .repository = repository, .options = options, .each = each, .arg = arg, .err = err};
	struct check_part root = {.kind = MANIFEST_MANIFEST,
				  .digest = *image,
				  .size = MANIFEST_SIZE_UNKNOWN,
				  .media_type = "",
				  .platform = "",
				  .state = CHECK_MISSING};
	struct index_link link;
	struct seen *seen, *next;

	if (index_get_link(store->index, repository, image, &link, NULL) == 0)
		root.media_type = link.media_type;
	walk_part(&walk, &root);
	if (options->referrers && !walk.stopped)
		walk_referrers(&walk, image);
	HASH_ITER (hh, walk.seen, seen, next) {
		HASH_DEL(walk.seen, seen);
		free(seen);
	}
	return walk.code;
}

/* Checking. */

struct checking {
	struct check_result *result;
	void (*each)(void *arg, const struct check_part *part);
	void *arg;
};

static bool count_part(void *arg, const struct check_part *part)
{
	struct checking *checking = arg;
	struct check_result *result = checking->result;

	result->parts++;
	if (part->state == CHECK_HELD)
		result->bytes += part->size;
	if (part->state == CHECK_HELD || part->state == CHECK_FOREIGN)
		return true;
	result->missing++;
	if (checking->each)
		checking->each(checking->arg, part);
	return true;
}

static bool any_type(void *arg, const char *media_type)
{
	(void)arg;
	(void)media_type;
	return true;
}

int check_image(struct store *store, const struct index_repository *repository, const char *reference,
		const struct check_options *options, void (*each)(void *arg, const struct check_part *part), void *arg,
		struct check_result *result, struct err *err)
{
	static const struct check_part what_the_tag_means = {.kind = MANIFEST_MANIFEST,
							     .size = MANIFEST_SIZE_UNKNOWN,
							     .media_type = "",
							     .platform = "",
							     .state = CHECK_MISSING};
	struct checking checking = {.result = result, .each = each, .arg = arg};
	struct index_tag tag;
	int code;

	*result = (struct check_result){0};
	if (digest_parse(reference, &result->digest)) {
		if (!ref_tag_valid(reference, strlen(reference)))
			return err_set(err, ERR_INVALID, "'%.150s' is neither a tag nor a digest", reference);
		code = index_get_tag_any(store->index, repository, reference, any_type, NULL, &tag, err);
		if (code == ERR_NOT_FOUND) {
			count_part(&checking, &what_the_tag_means);
			return 0;
		}
		if (code)
			return code;
		result->digest = tag.digest;
	}
	result->known = true;
	code = check_walk(store, repository, &result->digest, options, count_part, &checking, err);
	result->complete = code == 0 && result->missing == 0;
	return code;
}

const char *check_state_name(enum check_state state)
{
	static const char *const names[] = {"held", "elsewhere", "missing", "foreign"};

	return names[state];
}
