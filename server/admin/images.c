/* SPDX-License-Identifier: Apache-2.0 */
/* What is cached: listed, checked, forgotten. */
#include "server/admin/admin_internal.h"

#include "base/cleanup.h"
#include "base/ref.h"
#include "server/pull/pull.h"
#include "server/registry/route.h"
#include "store/check.h"
#include "store/forget.h"
#include "store/images.h"
#include "store/manifest.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define IMAGES_MAX     10000 /* in one answer */
#define PLATFORMS_MAX  32
#define PLATFORMS_TEXT 1024

/* References. */

bool admin_find_reference(struct admin_visit *visit, const char *text, struct route *route, struct err *err)
{
	struct ref ref;
	struct err why;

	if (ref_parse(text, &ref, &why)) {
		err_set(err, why.code, "'%.80s': %s", text, why.text);
		return false;
	}
	return route_find(visit->admin->pull, &ref, NULL, route, err) == 0;
}

/* The reference that the query must have. An error is answered. */
static bool take_reference(struct admin_visit *visit, struct route *route, char text[ADMIN_VALUE_MAX])
{
	struct err err = {0};

	if (!admin_parameter(visit, "ref", text))
		return false;
	if (admin_find_reference(visit, text, route, &err))
		return true;
	admin_reply_err(visit, &err);
	return false;
}

static struct index_repository repository_of(const struct route *route)
{
	return (struct index_repository){pull_upstream_name(route->upstream), route->repository};
}

static json_t *number(uint64_t value)
{
	return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

static json_t *time_or_null(int64_t wall_s)
{
	return wall_s > 0 ? json_integer(wall_s) : json_null();
}

/* "a,b" as a list. */
static json_t *split(const char *text)
{
	json_t *list = json_array();

	while (*text) {
		size_t len = strcspn(text, ",");

		json_array_append_new(list, json_stringn(text, len));
		text += len;
		text += *text == ',';
	}
	return list;
}

/* Listing. */

static json_t *describe_image(const struct image *image)
{
	char reference[IMAGE_REFERENCE_MAX], digest[DIGEST_TEXT_MAX];

	return json_pack("{s:s, s:s, s:s, s:o, s:s, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "reference",
			 image_format_reference(image, false, reference), "upstream", image->repository.upstream,
			 "repository", image->repository.repository, "tag",
			 image->tag[0] ? json_string(image->tag) : json_null(), "digest",
			 digest_format(&image->digest, digest), "media_type", admin_words(image->media_type), "held",
			 image->held, "size", number(image->size), "unique_size", number(image->unique_size), "blobs",
			 number(image->blobs), "fetched", time_or_null(image->fetched), "checked",
			 time_or_null(image->checked), "last_use", time_or_null(image->last_use), "platforms",
			 split(image->platforms), "pins", split(image->pins));
}

/* Which part of the list is wanted. */
struct page {
	char glob[ADMIN_VALUE_MAX];
	size_t count;
	struct ref last;    /* the image before it … */
	struct image after; /* … whose texts are in `last`; no upstream: from the beginning */
};

/* "?last=" is an image as the list has them: its first component is the upstream, whatever that is configured as. */
static bool read_last(const char *text, struct page *page)
{
	char *slash;
	struct err err;

	if (ref_parse(text, &page->last, &err))
		return false;
	slash = strchr(page->last.name, '/');
	if (!slash)
		return false;
	*slash = '\0';
	page->after = (struct image){.repository = {page->last.name, slash + 1}, .tag = page->last.tag};
	return !page->last.digest[0] || digest_parse(page->last.digest, &page->after.digest) == 0;
}

/* What is wrong is answered. */
static bool read_page(struct admin_visit *visit, struct page *page)
{
	char count[ADMIN_VALUE_MAX], last[ADMIN_VALUE_MAX];

	if (!admin_parameter_optional(visit, "glob", page->glob) || !admin_parameter_optional(visit, "n", count) ||
	    !admin_parameter_optional(visit, "last", last))
		return false;
	page->count = count[0] ? strtoul(count, NULL, 10) : IMAGES_MAX;
	if (strspn(count, "0123456789") != strlen(count) || page->count < 1 || page->count > IMAGES_MAX) {
		admin_reply_error(visit, 400, "invalid", "n is a number from 1 to 10000");
		return false;
	}
	if (last[0] && !read_last(last, page)) {
		admin_reply_error(visit, 400, "invalid", "last is the \"next\" of another answer");
		return false;
	}
	return true;
}

static bool is_same_name(const json_t *described, const struct image *image)
{
	char reference[IMAGE_REFERENCE_MAX];

	return strcmp(json_string_value(json_object_get(described, "reference")),
		      image_format_reference(image, false, reference)) == 0;
}

/* A tag that means one thing to one client and another to the next is never divided, as it is its name that the next
 * page begins behind. `*more` is whether there is one. */
static int list_page(struct store *store, const struct page *page, json_t *list, bool *more, struct err *err)
{
	struct images_filter filter = {.glob = page->glob[0] ? page->glob : NULL,
				       .after = page->after.repository.upstream ? &page->after : NULL};
	struct images *images = images_open(store, &filter);
	struct image image;
	int code;

	*more = false;
	while (!*more && (code = images_next(images, &image, err)) == 0) {
		size_t count = json_array_size(list);

		*more = count >= page->count && !is_same_name(json_array_get(list, count - 1), &image);
		if (!*more)
			json_array_append_new(list, describe_image(&image));
	}
	images_close(images);
	return *more || code == ERR_NOT_FOUND ? 0 : code;
}

void admin_list_images(struct admin_visit *visit)
{
	struct page page = {0};
	struct err err = {0};
	json_t *list, *last;
	bool more;

	if (!read_page(visit, &page))
		return;
	list = json_array();
	if (list_page(visit->admin->store, &page, list, &more, &err)) {
		json_decref(list);
		admin_reply_err(visit, &err);
		return;
	}
	last = more ? json_object_get(json_array_get(list, json_array_size(list) - 1), "reference") : NULL;
	admin_reply_json(visit, 200,
			 json_pack("{s:o, s:b, s:o}", "images", list, "more", more, "next",
				   last ? json_incref(last) : json_null()));
}

/* Checking. */

static void add_missing(void *arg, const struct check_part *part)
{
	char digest[DIGEST_TEXT_MAX];

	json_array_append_new(
		arg, json_pack("{s:s, s:o, s:s, s:s, s:o, s:s, s:b}", "kind", manifest_kind_name(part->kind), "digest",
			       part->digest.algorithm ? json_string(digest_format(&part->digest, digest)) : json_null(),
			       "media_type", part->media_type, "platform", part->platform, "size",
			       part->size == MANIFEST_SIZE_UNKNOWN ? json_null() : number(part->size), "state",
			       check_state_name(part->state), "referrer", part->referrer));
}

/* Every "platform=" of the query, which may be there more than once or with commas. */
static size_t take_platforms(struct admin_visit *visit, char text[PLATFORMS_TEXT], const char **platforms)
{
	char value[ADMIN_VALUE_MAX];
	size_t count = 0, used = 0;

	for (const char *at = visit->query; *at && count < PLATFORMS_MAX;) {
		_cleanup_free_ char *pair = mem_strndup(at, strcspn(at, "&"));
		char *rest = NULL;

		at += strlen(pair);
		at += *at == '&';
		if (http_query_value(pair, "platform", value, sizeof(value)))
			continue;
		for (char *one = strtok_r(value, ",", &rest); one && count < PLATFORMS_MAX;
		     one = strtok_r(NULL, ",", &rest)) {
			size_t len = strlen(one) + 1;

			if (used + len > PLATFORMS_TEXT)
				break;
			platforms[count++] = memcpy(text + used, one, len);
			used += len;
		}
	}
	return count;
}

void admin_check(struct admin_visit *visit)
{
	char text[ADMIN_VALUE_MAX], platform_text[PLATFORMS_TEXT], digest[DIGEST_TEXT_MAX];
	const char *platforms[PLATFORMS_MAX];
	struct check_options options = {.platforms = platforms, .referrers = false};
	struct index_repository repository;
	struct check_result result;
	struct err err = {0};
	struct route route;
	json_t *missing;

	if (!take_reference(visit, &route, text))
		return;
	repository = repository_of(&route);
	options.platform_count = take_platforms(visit, platform_text, platforms);
	for (size_t i = 0; i < options.platform_count; i++)
		if (!manifest_platform_valid(platforms[i])) {
			admin_reply_error(visit, 400, "invalid", "platform is OS/ARCH or OS/ARCH/VARIANT");
			return;
		}
	missing = json_array();
	if (check_image(visit->admin->store, &repository, route.reference, &options, add_missing, missing, &result,
			&err)) {
		json_decref(missing);
		admin_reply_err(visit, &err);
		return;
	}
	admin_reply_json(visit, 200,
			 json_pack("{s:s, s:s, s:s, s:b, s:b, s:o, s:o, s:o, s:o}", "upstream", repository.upstream,
				   "repository", repository.repository, "reference", route.reference, "complete",
				   result.complete, "known", result.known, "digest",
				   result.known ? json_string(digest_format(&result.digest, digest)) : json_null(),
				   "parts", number(result.parts), "bytes", number(result.bytes), "missing", missing));
}

/* Forgetting. */

static void reply_forgotten(struct admin_visit *visit, int code, const struct forgotten *forgotten,
			    const struct err *err)
{
	if (code)
		admin_reply_err(visit, err);
	else
		admin_reply_json(visit, 200,
				 json_pack("{s:{s:o, s:o, s:o}}", "forgotten", "tags", number(forgotten->tags), "blobs",
					   number(forgotten->blobs), "bytes", number(forgotten->bytes)));
}

/* Whether "ref=" names an image rather than a whole repository. */
static bool names_image(const char *text)
{
	const char *slash = strrchr(text, '/');

	return strchr(text, '@') || strchr(slash ? slash : text, ':');
}

static bool is_forced(struct admin_visit *visit)
{
	char force[ADMIN_VALUE_MAX];

	return http_query_value(visit->query, "force", force, sizeof(force)) == 0 &&
	       (strcmp(force, "true") == 0 || strcmp(force, "1") == 0);
}

void admin_forget_image(struct admin_visit *visit)
{
	struct store *store = visit->admin->store;
	struct forgotten forgotten = {0};
	struct index_repository repository;
	char text[ADMIN_VALUE_MAX];
	bool force = is_forced(visit);
	struct digest digest;
	struct err err = {0};
	struct route route;
	int code;

	if (!take_reference(visit, &route, text))
		return;
	repository = repository_of(&route);
	if (!names_image(text))
		code = forget_repository(store, &repository, force, &forgotten, &err);
	else if (digest_parse(route.reference, &digest) == 0)
		code = forget_in_repository(store, &repository, &digest, force, &forgotten, &err);
	else
		code = forget_tag(store, &repository, route.reference, force, &forgotten, &err);
	reply_forgotten(visit, code, &forgotten, &err);
}

void admin_forget_blob(struct admin_visit *visit)
{
	struct forgotten forgotten = {0};
	struct digest digest;
	struct err err = {0};
	int code;

	if (digest_parse(visit->rest, &digest)) {
		admin_reply_error(visit, 400, "invalid", "the path does not end with a digest, such as sha256:…");
		return;
	}
	code = forget_digest(visit->admin->store, &digest, is_forced(visit), &forgotten, &err);
	reply_forgotten(visit, code, &forgotten, &err);
}
