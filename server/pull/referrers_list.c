/* SPDX-License-Identifier: Apache-2.0 */
#include "server/pull/referrers_list.h"

#include "base/cleanup.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct referrers_list {
	struct digest subject;
	bool from_tag;   /* the upstream has no referrers API */
	char *reference; /* of what is asked next */
	unsigned answers;
	size_t bytes;
	json_t *manifests;
};

const char *const referrers_suffixes[REFERRERS_SUFFIXES] = {"", ".sig", ".att", ".sbom"};

void referrers_tag(const struct digest *subject, const char *suffix, char tag[REFERRERS_TAG_MAX])
{
	char hex[DIGEST_TEXT_MAX];

	snprintf(tag, REFERRERS_TAG_MAX, "%s-%.64s%s", digest_algorithm_name(subject->algorithm),
		 digest_hex(subject, hex), suffix);
}

struct referrers_list *referrers_list_new(const struct digest *subject)
{
	struct referrers_list *list = mem_alloc(sizeof(*list));
	char text[DIGEST_TEXT_MAX];

	list->subject = *subject;
	list->reference = mem_strdup(digest_format(subject, text));
	list->manifests = json_array();
	return list;
}

void referrers_list_free(struct referrers_list *list)
{
	if (!list)
		return;
	json_decref(list->manifests);
	free(list->reference);
	free(list);
}

enum registry_kind referrers_list_kind(const struct referrers_list *list)
{
	return list->from_tag ? REGISTRY_MANIFEST : REGISTRY_REFERRERS;
}

const char *referrers_list_reference(const struct referrers_list *list)
{
	return list->reference;
}

static int ask_for_tag(struct referrers_list *list)
{
	char tag[REFERRERS_TAG_MAX];

	referrers_tag(&list->subject, "", tag);
	list->from_tag = true;
	free(list->reference);
	list->reference = mem_strdup(tag);
	return ERR_AGAIN;
}

/* A tag that is not there: nothing refers to the manifest. No API: the tag tells. A page that is missing although the
 * one before named it is a failure like any other. */
static int take_failure(struct referrers_list *list, struct err *err)
{
	if (err->code != ERR_NOT_FOUND)
		return err->code;
	if (list->from_tag)
		return 0;
	if (list->answers > 0)
		return err_set(err, ERR_UPSTREAM, "the upstream's list of referrers breaks off");
	return ask_for_tag(list);
}

static bool is_type(const char *content_type, const char *type)
{
	size_t len = strlen(type);

	return strncasecmp(content_type, type, len) == 0 && strchr("; \t", content_type[len]);
}

static int add_manifests(struct referrers_list *list, const struct ask_result *result, struct err *err)
{
	json_t *document = json_loadb(result->body.data ? result->body.data : "", result->body.len, 0, NULL);
	json_t *manifests = json_object_get(document, "manifests");
	bool good = json_is_array(manifests) || json_is_null(manifests);
	json_t *descriptor;
	size_t i;

	json_array_foreach(manifests, i, descriptor) good = good && json_is_object(descriptor);
	if (good && json_is_array(manifests))
		json_array_extend(list->manifests, manifests);
	json_decref(document);
	return good ? 0 : err_set(err, ERR_UPSTREAM, "the upstream's list of referrers is not one");
}

/* Only the query counts: the path is known, and the registry is the one that was asked. */
static int turn_page(struct referrers_list *list, const char *next, struct err *err)
{
	char digest[DIGEST_TEXT_MAX];
	const char *query = strchr(next, '?');
	char *reference;

	if (!query)
		return err_set(err, ERR_UPSTREAM,
			       "the upstream's list of referrers goes on in a way unknown to larder");
	if (list->answers >= REFERRERS_PAGES_MAX)
		return err_set(err, ERR_LIMIT, "the upstream's list of referrers has more than %d pages",
			       REFERRERS_PAGES_MAX);
	reference = mem_printf("%s%s", digest_format(&list->subject, digest), query);
	free(list->reference);
	list->reference = reference;
	return ERR_AGAIN;
}

static int take_answer(struct referrers_list *list, struct ask_result *result, struct err *err)
{
	int code = add_manifests(list, result, err);

	/* Some answer any path with a page for people. */
	if (code && !list->from_tag && list->answers == 0 && !is_type(result->media_type, REFERRERS_TYPE))
		return ask_for_tag(list);
	list->answers++;
	list->bytes += result->body.len;
	if (list->bytes > PULL_MANIFEST_MAX)
		return err_set(err, ERR_LIMIT, "the upstream's list of referrers is longer than %zu bytes",
			       PULL_MANIFEST_MAX);
	if (code || list->from_tag || !result->next)
		return code;
	return turn_page(list, result->next, err);
}

int referrers_list_take(struct referrers_list *list, struct ask_result *result, struct err *err)
{
	int code = err->code ? take_failure(list, err) : take_answer(list, result, err);

	if (code == 0 || code == ERR_AGAIN)
		*err = (struct err){0};
	return code;
}

bool referrers_list_is_empty(const struct referrers_list *list)
{
	return json_array_size(list->manifests) == 0;
}

static char *dump_index(json_t *manifests)
{
	json_t *document =
		json_pack("{s:i, s:s, s:O}", "schemaVersion", 2, "mediaType", REFERRERS_TYPE, "manifests", manifests);
	char *text = json_dumps(document, JSON_COMPACT);

	json_decref(document);
	return text;
}

int referrers_list_write(const struct referrers_list *list, struct buf *body, struct err *err)
{
	_cleanup_free_ char *text = NULL;

	if (list->answers == 1)
		return 0;
	text = dump_index(list->manifests);
	buf_clear(body);
	if (buf_append_text(body, text))
		return err_set(err, ERR_LIMIT, "the upstream's list of referrers is longer than %zu bytes", body->max);
	return 0;
}

char *referrers_filter(const void *index, size_t len, const char *artifact_type)
{
	json_t *document = json_loadb(index, len, 0, NULL);
	json_t *manifests = json_object_get(document, "manifests");
	json_t *kept = json_array(), *descriptor;
	char *text = NULL;
	size_t i;

	json_array_foreach(manifests, i, descriptor)
	{
		const char *type = json_string_value(json_object_get(descriptor, "artifactType"));

		if (type && strcmp(type, artifact_type) == 0)
			json_array_append(kept, descriptor);
	}
	if (document)
		text = dump_index(kept);
	json_decref(kept);
	json_decref(document);
	return text;
}
