/* SPDX-License-Identifier: Apache-2.0 */
#include "upstream/quay.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/ref.h"
#include "upstream/pages.h"
#include "upstream/url.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define TAGS_A_PAGE 100 /* the most that Quay gives */

struct quay_listing {
	const struct quay_sink *sink;
	void *arg;
	struct pages *pages;
	char *first;        /* the first page's path; later ones add to it */
	char *organisation; /* of repositories */
	int64_t since_s;
	char *tag; /* the only one wanted, or NULL */
	unsigned page;
	bool found; /* a tag was handed over */
};

static int nonsense(struct err *err, const char *what)
{
	return err_set(err, ERR_UPSTREAM, "Quay's answer makes no sense: %s", what);
}

/* A number of seconds, or nothing. */
static int take_time(json_t *value, int64_t *seconds)
{
	*seconds = 0;
	if (!value || json_is_null(value))
		return 0;
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return ERR_UPSTREAM;
	*seconds = json_integer_value(value);
	return 0;
}

/* Repositories. */

static int take_repository(struct quay_listing *listing, json_t *item, struct err *err)
{
	json_t *organisation = json_object_get(item, "namespace");
	json_t *kind = json_object_get(item, "kind");
	struct quay_repository repository = {.name = json_string_value(json_object_get(item, "name"))};
	int code;

	if (!repository.name || !ref_repository_valid(repository.name, strlen(repository.name)))
		return nonsense(err, "a repository without a name");
	if (organisation &&
	    (!json_is_string(organisation) || strcmp(json_string_value(organisation), listing->organisation) != 0))
		return nonsense(err, "a repository of another organisation");
	if (take_time(json_object_get(item, "last_modified"), &repository.last_modified_s))
		return nonsense(err, "last_modified is no time");
	if (json_is_string(kind) && strcmp(json_string_value(kind), "image") != 0)
		return 0;
	if (repository.last_modified_s < listing->since_s)
		return 0;
	code = listing->sink->on_repository(listing->arg, &repository);
	return code ? err_set(err, code, "given up by its receiver") : 0;
}

static int take_next_page(struct quay_listing *listing, json_t *next_page, char **next, struct err *err)
{
	_cleanup_free_ char *escaped = NULL;

	if (!next_page || json_is_null(next_page))
		return 0;
	if (!json_is_string(next_page) || json_string_length(next_page) > QUAY_NEXT_MAX)
		return nonsense(err, "next_page is not a text, or too long");
	escaped = url_escape(json_string_value(next_page));
	if (*escaped)
		*next = mem_printf("%s&next_page=%s", listing->first, escaped);
	return 0;
}

static int take_repositories(struct quay_listing *listing, json_t *page, char **next, struct err *err)
{
	json_t *repositories = json_object_get(page, "repositories"), *item;
	size_t i;
	int code = 0;

	if (!json_is_array(repositories))
		return nonsense(err, "no list of repositories");
	json_array_foreach(repositories, i, item)
	{
		code = take_repository(listing, item, err);
		if (code)
			return code;
	}
	return take_next_page(listing, json_object_get(page, "next_page"), next, err);
}

/* Tags. */

static int take_tag(struct quay_listing *listing, json_t *item, struct err *err)
{
	json_t *digest = json_object_get(item, "manifest_digest");
	struct quay_tag tag = {.name = json_string_value(json_object_get(item, "name")),
			       .digest = json_string_value(digest)};
	struct digest parsed;
	int code;

	if (!tag.name || !ref_tag_valid(tag.name, strlen(tag.name)))
		return nonsense(err, "a tag without a name");
	if (digest && !json_is_null(digest) && (!tag.digest || digest_parse(tag.digest, &parsed)))
		return nonsense(err, "manifest_digest is no digest");
	if (take_time(json_object_get(item, "start_ts"), &tag.start_s))
		return nonsense(err, "start_ts is no time");
	/* A server that does not know the filter lists them all. */
	if (listing->tag && strcmp(listing->tag, tag.name) != 0)
		return 0;
	listing->found = true;
	code = listing->sink->on_tag(listing->arg, &tag);
	return code ? err_set(err, code, "given up by its receiver") : 0;
}

static int take_tags(struct quay_listing *listing, json_t *page, char **next, struct err *err)
{
	json_t *tags = json_object_get(page, "tags"), *item;
	json_t *additional = json_object_get(page, "has_additional");
	size_t i;
	int code = 0;

	if (!json_is_array(tags) || (additional && !json_is_boolean(additional)))
		return nonsense(err, "no list of tags");
	json_array_foreach(tags, i, item)
	{
		code = take_tag(listing, item, err);
		if (code)
			return code;
	}
	if (listing->tag)
		return listing->found ? 0 : err_set(err, ERR_NOT_FOUND, "Quay knows no tag %s there", listing->tag);
	/* One that promises more and gives nothing would go on for ever. */
	if (json_is_true(additional) && json_array_size(tags) > 0)
		*next = mem_printf("%s&page=%u", listing->first, ++listing->page);
	return 0;
}

/* Both. */

static int on_page(void *arg, const char *data, size_t len, char **next, struct err *err)
{
	struct quay_listing *listing = arg;
	json_t *page = json_loadb(data, len, 0, NULL);
	int code;

	free(*next);
	*next = NULL;
	if (!json_is_object(page))
		code = nonsense(err, "no JSON object");
	else if (listing->organisation)
		code = take_repositories(listing, page, next, err);
	else
		code = take_tags(listing, page, next, err);
	json_decref(page);
	return code;
}

static void on_done(void *arg, const struct err *err)
{
	struct quay_listing *listing = arg;

	listing->sink->on_done(listing->arg, err);
	free(listing->first);
	free(listing->organisation);
	free(listing->tag);
	free(listing);
}

static const struct pages_sink pages_sink = {.on_page = on_page, .on_done = on_done};

static struct quay_listing *listing_start(struct registry *registry, char *first, enum pace_priority priority,
					  const struct quay_sink *sink, void *arg)
{
	struct quay_listing *listing = mem_alloc(sizeof(*listing));
	const struct pages_query query = {
		.repository = "",
		.path = first,
		.accept = "application/json",
		.page_bytes_max = QUAY_PAGE_BYTES_MAX,
		.priority = priority,
	};

	listing->sink = sink;
	listing->arg = arg;
	listing->first = first;
	listing->page = 1;
	listing->pages = pages_start(registry, &query, &pages_sink, listing);
	return listing;
}

struct quay_listing *quay_list_repositories(struct registry *registry, const char *organisation, int64_t since_s,
					    enum pace_priority priority, const struct quay_sink *sink, void *arg)
{
	_cleanup_free_ char *escaped = url_escape(organisation);
	char *first = mem_printf("/api/v1/repository?namespace=%s&public=true&last_modified=true", escaped);
	struct quay_listing *listing = listing_start(registry, first, priority, sink, arg);

	listing->organisation = mem_strdup(organisation);
	listing->since_s = since_s;
	return listing;
}

struct quay_listing *quay_list_tags(struct registry *registry, const char *repository, const char *tag,
				    enum pace_priority priority, const struct quay_sink *sink, void *arg)
{
	_cleanup_free_ char *escaped = tag ? url_escape(tag) : NULL;
	char *first =
		tag ? mem_printf("/api/v1/repository/%s/tag/?specificTag=%s&onlyActiveTags=true&limit=1", repository,
				 escaped)
		    : mem_printf("/api/v1/repository/%s/tag/?onlyActiveTags=true&limit=%d", repository, TAGS_A_PAGE);
	struct quay_listing *listing = listing_start(registry, first, priority, sink, arg);

	listing->tag = mem_strdup(tag);
	return listing;
}

void quay_cancel(struct quay_listing *listing)
{
	pages_cancel(listing->pages);
}
