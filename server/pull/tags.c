/* SPDX-License-Identifier: Apache-2.0 */
/* One client's interest in a page of a repository's tags. */
#include "server/pull/ask.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "upstream/url.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct pull_tags {
	struct pull *pull;
	struct pull_upstream *upstream;
	char *repository;
	char *query;
	struct ask *ask;
	struct waiter *waiter;
	char *data;
	size_t len;
	char *next;
	struct pull_status status;
};

struct pull_tags *pull_tags_open(struct pull *pull, struct pull_upstream *upstream, const char *repository,
				 const char *query)
{
	struct pull_tags *tags = mem_alloc(sizeof(*tags));
	struct ask_request request = {
		.upstream = upstream, .kind = REGISTRY_TAGS, .repository = repository, .reference = query};
	bool joined = false;

	tags->pull = pull;
	tags->upstream = upstream;
	tags->repository = mem_strdup(repository);
	tags->query = mem_strdup(query);
	if (!pull->offline) {
		do
			request.landings = pull_landings(pull);
		while (!(tags->ask = ask_open(pull, &request, &joined)));
		tags->status.outcome = joined ? PULL_COLLAPSED : PULL_PASSED;
	}
	return tags;
}

/* What is known here, as a list in one page: for when the upstream cannot be asked. */

static bool add_tag(void *arg, const char *tag)
{
	json_array_append_new(arg, json_string(tag));
	return json_array_size(arg) < 100000;
}

static int list_known(struct pull_tags *tags, const struct err *why, struct err *err)
{
	struct index_repository repository = {tags->upstream->name, tags->repository};
	json_t *list = json_array();
	json_t *document = json_pack("{s:s, s:o}", "name", tags->repository, "tags", list);
	struct err missing;

	if (index_list_tags(tags->pull->index, &repository, "", add_tag, list, &missing) ||
	    json_array_size(list) == 0) {
		json_decref(document);
		*err = *why;
		return err->code;
	}
	tags->data = json_dumps(document, JSON_COMPACT);
	tags->len = strlen(tags->data);
	json_decref(document);
	tags->status.outcome = PULL_STALE;
	memcpy(tags->status.why, why->text, sizeof(why->text));
	return 0;
}

/* The answer must be what it says it is; a failure is never turned into an empty list. */
static int check_list(const struct ask_result *result, struct err *err)
{
	json_t *document = json_loadb(result->body.data ? result->body.data : "", result->body.len, 0, NULL);
	json_t *list = json_object_get(document, "tags");
	bool good = json_is_array(list) || json_is_null(list);

	json_decref(document);
	return good ? 0 : err_set(err, ERR_UPSTREAM, "the upstream's list of tags is not one");
}

static void take_next(struct pull_tags *tags, const char *link)
{
	/* Only the query counts: it is our own path that the client asks next. */
	_cleanup_free_ char *next = link ? url_link_next("http://upstream/", link) : NULL;
	const char *question = next ? strchr(next, '?') : NULL;

	if (question)
		tags->next = mem_strdup(question + 1);
}

int pull_tags_poll(struct pull_tags *tags, struct waiter *waiter, struct err *err)
{
	const struct ask_result *result;
	struct err why;
	int code;

	tags->waiter = waiter;
	if (tags->pull->offline) {
		err_set(&why, ERR_OFFLINE, "larder is offline and knows no tags of this repository");
		return list_known(tags, &why, err);
	}
	code = ask_poll(tags->ask, waiter, false, &result, &why);
	if (code == ERR_AGAIN)
		return code;
	if (code == ERR_NOT_FOUND || code == ERR_CANCELLED) {
		*err = why;
		return code;
	}
	if (code == 0)
		code = check_list(result, &why);
	if (code)
		return list_known(tags, &why, err);
	tags->data = mem_strndup(result->body.data, result->body.len);
	tags->len = result->body.len;
	take_next(tags, result->link);
	return 0;
}

const char *pull_tags_data(const struct pull_tags *tags, size_t *len)
{
	*len = tags->len;
	return tags->data;
}

const char *pull_tags_next(const struct pull_tags *tags)
{
	return tags->next;
}

const struct pull_status *pull_tags_status(const struct pull_tags *tags)
{
	return &tags->status;
}

void pull_tags_close(struct pull_tags *tags)
{
	if (!tags)
		return;
	ask_release(tags->ask, tags->waiter);
	free(tags->data);
	free(tags->next);
	free(tags->repository);
	free(tags->query);
	free(tags);
}
