/* SPDX-License-Identifier: Apache-2.0 */
/* What the answer to an ask means: checked before anybody sees it, kept before it leaves the table. */
#include "server/pull/ask_internal.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "server/pull/page_cache.h"
#include "server/pull/referrers_list.h"
#include "server/pull/sizes.h"
#include "server/pull/tags_page.h"
#include "store/manifest.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Checking. */

/* Under a tag there is no digest to hold the bytes against: what says that it is JSON, or text, and is no JSON object,
 * is a login page or the like. */
static bool is_nonsense(const char *media_type, const char *data, size_t len)
{
	static const char white[4] = " \t\r\n";
	const char *end = data + len;
	size_t type_len = strcspn(media_type, " ;");
	bool says_binary = strncmp(media_type, "application/", 12) == 0 &&
			   (type_len < 4 || strncmp(media_type + type_len - 4, "json", 4) != 0);

	while (data < end && memchr(white, *data, sizeof(white)))
		data++;
	while (end > data && memchr(white, end[-1], sizeof(white)))
		end--;
	return data == end || (!says_binary && (*data != '{' || end[-1] != '}'));
}

/* Hashing decides what a manifest is, never the header that came with it; the header only says with which algorithm a
 * tag's is named. */
static void check_manifest(struct ask *ask)
{
	struct ask_result *result = &ask->result;
	const char *data = result->body.data ? result->body.data : "";
	uint8_t algorithm = ask->wanted.algorithm ? ask->wanted.algorithm : result->digest.algorithm;
	struct digest digest;

	if (ask->head)
		return;
	digest_of(algorithm ? algorithm : DIGEST_SHA256, data, result->body.len, &digest);
	if (ask->wanted.algorithm && !digest_equal(&digest, &ask->wanted)) {
		err_set(&ask->err, ERR_DIGEST, "the upstream's bytes of manifest %s do not match this digest",
			ask->reference);
		return;
	}
	if (!ask->wanted.algorithm && is_nonsense(result->media_type, data, result->body.len)) {
		err_set(&ask->err, ERR_UPSTREAM, "what %s gives for tag %s is no manifest", ask->upstream->name,
			ask->reference);
		return;
	}
	result->digest = digest;
	result->size = result->body.len;
	sizes_learn(ask->pull->sizes, data, result->body.len);
}

/* Whether a page's next one is named by what clients may ask for too (registry/page.c). */
static bool names_page(const char *parameter, size_t len)
{
	return (len > 5 && strncmp(parameter, "last=", 5) == 0) ||
	       (len > 10 && strncmp(parameter, "next_page=", 10) == 0);
}

/* The next page's address becomes its query: it is our own path that the client asks next. */
static int take_next_query(struct ask_result *result, struct err *err)
{
	_cleanup_free_ char *address = take_pointer(result->next);
	_cleanup_(buf_dispose) struct buf query = {0};
	const char *at = address ? strchr(address, '?') : NULL;
	bool named = false;

	if (!address)
		return 0;
	while (at && *at) {
		size_t len = strcspn(++at, "&");
		bool names = names_page(at, len);

		if (names || (len > 2 && strncmp(at, "n=", 2) == 0)) {
			buf_append_text(&query, query.len ? "&" : "");
			buf_append(&query, at, len);
		}
		named = named || names;
		at += len;
	}
	if (!named || query.len > PULL_PAGE_QUERY_MAX)
		return err_set(err, ERR_UPSTREAM, "the upstream's list of tags goes on in a way unknown to larder");
	result->next = take_pointer(query.data);
	return 0;
}

/* A failure is never taken for an empty list. */
static void check_tags(struct ask *ask)
{
	struct ask_result *result = &ask->result;
	json_t *document = json_loadb(result->body.data ? result->body.data : "", result->body.len, 0, NULL);
	json_t *list = json_object_get(document, "tags");

	if (!json_is_array(list) && !json_is_null(list))
		err_set(&ask->err, ERR_UPSTREAM, "the upstream's list of tags is not one");
	else if (result->next)
		take_next_query(result, &ask->err);
	else if (json_is_array(list))
		tags_page_cut(document, &ask->page, &result->body, &result->next);
	json_decref(document);
}

static void check_referrers(struct ask *ask)
{
	struct ask_result *result = &ask->result;

	if (referrers_list_write(ask->list, &result->body, &ask->err))
		return;
	digest_of(DIGEST_SHA256, result->body.data, result->body.len, &result->digest);
	result->size = result->body.len;
	snprintf(result->media_type, sizeof(result->media_type), "%s", REFERRERS_TYPE);
}

void learn_check(struct ask *ask)
{
	if (ask->kind == REGISTRY_MANIFEST)
		check_manifest(ask);
	else if (ask->kind == REGISTRY_TAGS)
		check_tags(ask);
	else if (ask->kind == REGISTRY_REFERRERS)
		check_referrers(ask);
}

/* Keeping. */

/* A HEAD says that the tag has moved to a manifest that is not held yet. Until it is, the tag keeps its old meaning
 * here: should the fetch be refused (registries count GETs, and not HEADs), there is something to fall back on. */
static bool forgets_what_is_held(struct ask *ask, const struct index_repository *repository)
{
	struct index_tag known;
	struct err err;
	uint64_t size;

	if (ask->wanted.algorithm ||
	    index_get_tag(ask->pull->index, repository, ask->reference, ask->accept_key, &known, &err))
		return false;
	return !digest_equal(&known.digest, &ask->result.digest) &&
	       store_find_blob(ask->pull->store, &known.digest, &size, &err) == 0 &&
	       store_find_blob(ask->pull->store, &ask->result.digest, &size, &err) != 0;
}

static int learn_manifest(struct ask *ask, struct err *err)
{
	const struct ask_result *result = &ask->result;
	struct index_repository repository = {.upstream = ask->upstream->name, .repository = ask->repository};
	struct index_tag tag = {.digest = result->digest, .size = result->size, .accept = ask->accept_key};
	struct index_change changes[2] = {
		{.kind = INDEX_PUT_LINK, .repository = repository, .digest = &result->digest}};
	const char *data = result->body.data ? result->body.data : "";
	const char *name = ask->wanted.algorithm ? ask->tag : ask->reference;
	size_t count = 1;
	int code;

	if (result->digest.algorithm == 0 || (ask->head && forgets_what_is_held(ask, &repository)))
		return 0;
	/* What it references is kept with it: written down before the link by which it is served. */
	code = ask->head ? 0 : store_put_blob(ask->pull->store, &result->digest, data, result->body.len, err);
	if (!ask->head && !code)
		code = manifest_record(ask->pull->store, &result->digest, data, result->body.len, err);
	if (code) {
		log_debug("cannot keep manifest %s/%s %s: %s", ask->upstream->name, ask->repository, ask->reference,
			  err->text);
		return code;
	}
	memcpy(changes[0].link.media_type, result->media_type, sizeof(result->media_type));
	if (name) {
		tag.checked = clock_wall_s();
		tag.fetched = tag.checked;
		memcpy(tag.media_type, result->media_type, sizeof(result->media_type));
		changes[count++] = (struct index_change){
			.kind = INDEX_PUT_TAG, .repository = repository, .tag = name, .tag_record = &tag};
	}
	code = index_write(ask->pull->index, changes, count, err);
	if (code)
		log_warn("cannot keep what %s/%s %s means: %s", ask->upstream->name, ask->repository, ask->reference,
			 err->text);
	return code;
}

/* That nothing refers to a manifest which is not even held is remembered in memory alone: there is no end to such
 * questions. */
static void keep_referrers(struct ask *ask)
{
	const struct ask_result *result = &ask->result;
	struct pull *pull = ask->pull;
	struct index_tag list = {.digest = result->digest, .size = result->size, .checked = clock_wall_s()};
	struct index_change change = {.kind = INDEX_PUT_REFERRERS,
				      .repository = {ask->upstream->name, ask->repository},
				      .digest = &ask->wanted,
				      .tag_record = &list};
	struct index_link link;
	struct err err = {0};

	if (referrers_list_is_empty(ask->list) &&
	    index_get_link(pull->index, &change.repository, &ask->wanted, &link, &err)) {
		page_cache_put(pull->pages, ask->key, result->body.data, result->body.len, NULL);
		return;
	}
	list.fetched = list.checked;
	memcpy(list.media_type, result->media_type, sizeof(result->media_type));
	if (store_put_blob(pull->store, &result->digest, result->body.data, result->body.len, &err) ||
	    index_write(pull->index, &change, 1, &err))
		log_warn("cannot keep what refers to %s/%s %s: %s", ask->upstream->name, ask->repository,
			 ask->reference, err.text);
}

int learn_keep(struct ask *ask, struct err *err)
{
	struct index_change change = {.repository = {ask->upstream->name, ask->repository}};
	int code = 0;

	if (ask->err.code == ERR_NOT_FOUND && ask->kind == REGISTRY_MANIFEST && ask->wanted.algorithm == 0) {
		change.kind = INDEX_DELETE_TAG;
		change.tag = ask->reference;
		code = index_write(ask->pull->index, &change, 1, err);
	} else if (ask->err.code == 0 && ask->kind == REGISTRY_MANIFEST) {
		code = learn_manifest(ask, err);
	} else if (ask->err.code == 0 && ask->kind == REGISTRY_BLOB) {
		change.kind = INDEX_PUT_LINK;
		change.digest = &ask->wanted;
		code = index_write(ask->pull->index, &change, 1, err);
	} else if (ask->err.code == 0 && ask->kind == REGISTRY_TAGS) {
		page_cache_put(ask->pull->pages, ask->key, ask->result.body.data, ask->result.body.len,
			       ask->result.next);
	} else if (ask->err.code == 0 && ask->kind == REGISTRY_REFERRERS) {
		keep_referrers(ask);
	}
	return code;
}
