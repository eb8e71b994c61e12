/* SPDX-License-Identifier: Apache-2.0 */
/* What a good registry answers (OCI distribution-spec 1.1, the pull side). */
#include "tests/wire/scripted_internal.h"

#include "base/cleanup.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

static void answer_own(struct exchange *exchange, int status, const char *media_type, const void *bytes, size_t len)
{
	struct answer *answer = &exchange->answer;
	struct content *content = mem_alloc(sizeof(*content));
	assert(!answer->owned);
	content->bytes = mem_alloc(len + 1);
	memcpy(content->bytes, bytes, len);
	content->size = len;
	answer->owned = content;
	answer->content = content;
	answer->status = status;
	answer->length = len;
	answer->length_said = (int64_t)len;
	headers_set(&answer->headers, "Content-Type", media_type);
	headers_set(&answer->headers, "Docker-Distribution-Api-Version", "registry/2.0");
}

void answer_text(struct exchange *exchange, int status, const char *media_type, const char *text)
{
	answer_own(exchange, status, media_type, text, strlen(text));
}

void answer_error(struct exchange *exchange, int status, const char *code, const char *message)
{
	_cleanup_free_ char *text = mem_printf("{\"errors\":[{\"code\":\"%s\",\"message\":\"%s\"}]}", code, message);
	answer_text(exchange, status, "application/json", text);
}

/* "bytes=A-B", "bytes=A-", "bytes=-N" (RFC 9110, section 14.1.2). 1: *from and *length; 0: not one range, to be
 * ignored; -1: not satisfiable. */
static int range_parse(const char *text, uint64_t size, uint64_t *from, uint64_t *length)
{
	uint64_t first, last;
	char end;
	if (strncmp(text, "bytes=", 6) != 0 || strchr(text, ','))
		return 0;
	text += 6;
	if (text[0] == '-') {
		if (sscanf(text + 1, "%" SCNu64 "%c", &last, &end) != 1)
			return 0;
		*length = last < size ? last : size;
		*from = size - *length;
		return *length > 0 ? 1 : -1;
	}
	int fields = sscanf(text, "%" SCNu64 "-%" SCNu64 "%c", &first, &last, &end);
	if (fields < 1 || fields > 2 || (fields == 1 && text[strlen(text) - 1] != '-') || (fields == 2 && last < first))
		return 0;
	if (first >= size)
		return -1;
	*from = first;
	*length = fields == 2 && last < size - 1 ? last - first + 1 : size - first;
	return 1;
}

static void answer_range(struct exchange *exchange, const struct content *content, const char *etag)
{
	struct answer *answer = &exchange->answer;
	const char *range = headers_get(&exchange->request.headers, "Range");
	const char *if_range = headers_get(&exchange->request.headers, "If-Range");
	if (!range || exchange_script(exchange)->ignore_range || (if_range && strcmp(if_range, etag) != 0))
		return;
	int rc = range_parse(range, content->size, &answer->from, &answer->length);
	if (rc == 0)
		return;
	_cleanup_free_ char *said = rc < 0 ? mem_printf("bytes */%" PRIu64, content->size)
					   : mem_printf("bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, answer->from,
							answer->from + answer->length - 1, content->size);
	if (rc < 0)
		answer_error(exchange, 416, "RANGE_INVALID", "not satisfiable");
	else
		answer->status = 206;
	headers_set(&answer->headers, "Content-Range", said);
}

void answer_content(struct exchange *exchange, const struct content *content, bool ranges)
{
	struct answer *answer = &exchange->answer;
	const char *script_etag = exchange_script(exchange)->etag;
	const char *if_none_match = headers_get(&exchange->request.headers, "If-None-Match");
	_cleanup_free_ char *etag = script_etag ? mem_strdup(script_etag) : mem_printf("\"%s\"", content->digest);
	answer->status = 200;
	answer->content = content;
	answer->from = 0;
	answer->length = content->size;
	headers_set(&answer->headers, "Content-Type", content->media_type);
	headers_set(&answer->headers, "Docker-Content-Digest", content->digest);
	headers_set(&answer->headers, "Docker-Distribution-Api-Version", "registry/2.0");
	headers_set(&answer->headers, "ETag", etag);
	if (ranges)
		headers_set(&answer->headers, "Accept-Ranges", "bytes");
	if (if_none_match && strcmp(if_none_match, etag) == 0) {
		answer->status = 304;
		answer->content = NULL;
		answer->length = 0;
		return;
	}
	if (ranges)
		answer_range(exchange, content, etag);
	answer->length_said = (int64_t)answer->length;
}

/* Whether an Accept header names this media type: wildcards are what registries do not honour here. */
static bool accepts(const struct exchange *exchange, const char *media_type)
{
	const struct headers *headers = &exchange->request.headers;
	for (size_t i = 0; i < headers->count; i++) {
		if (strcasecmp(headers->items[i].name, "Accept") == 0 && strstr(headers->items[i].value, media_type))
			return true;
	}
	return false;
}

static void answer_manifest(struct exchange *exchange, const char *repository, const char *reference)
{
	struct scripted *scripted = exchange->connection->scripted;
	enum holding_kind kind = strchr(reference, ':') ? HOLDING_MANIFEST : HOLDING_TAG;
	struct holding *holding = content_find(scripted, kind, repository, reference);
	if (!holding) {
		answer_error(exchange, 404, "MANIFEST_UNKNOWN", "manifest unknown");
		return;
	}
	size_t chosen = holding->count - 1;
	for (size_t i = 0; i < holding->count; i++) {
		if (accepts(exchange, holding->variants[i]->media_type)) {
			chosen = i;
			break;
		}
	}
	answer_content(exchange, holding->variants[chosen], false);
}

static void answer_blob(struct exchange *exchange, const char *repository, const char *digest)
{
	struct holding *holding = content_find(exchange->connection->scripted, HOLDING_BLOB, repository, digest);
	if (holding)
		answer_content(exchange, holding->variants[0], true);
	else
		answer_error(exchange, 404, "BLOB_UNKNOWN", "blob unknown to registry");
}

struct tag_list {
	struct buf *json;
	const char *after; /* NULL: from the start */
	char *last;
	unsigned left;
	bool more;
};

static void list_tag(const char *name, const struct holding *holding, void *context)
{
	struct tag_list *list = context;
	(void)holding;
	if (list->after && strcmp(name, list->after) <= 0)
		return;
	if (list->left == 0) {
		list->more = true;
		return;
	}
	list->left--;
	int rc = buf_printf(list->json, "%s\"%s\"", list->last ? "," : "", name);
	assert(rc == 0);
	free(list->last);
	list->last = mem_strdup(name);
}

static void answer_tags(struct exchange *exchange, const char *repository)
{
	struct scripted *scripted = exchange->connection->scripted;
	_cleanup_free_ char *n = query_get(exchange->request.query, "n", 0);
	_cleanup_free_ char *after = query_get(exchange->request.query, "last", 0);
	_cleanup_(buf_dispose) struct buf json = {0};
	unsigned asked = n ? (unsigned)strtoul(n, NULL, 10) : UINT32_MAX;
	unsigned most = scripted->options.tags_page_max ? scripted->options.tags_page_max : UINT32_MAX;
	struct tag_list list = {.json = &json, .after = after, .left = asked < most ? asked : most};
	unsigned page = list.left;

	if (!content_has_repository(scripted, repository)) {
		answer_error(exchange, 404, "NAME_UNKNOWN", "repository name not known to registry");
		return;
	}
	int rc = buf_printf(&json, "{\"name\":\"%s\",\"tags\":[", repository);
	assert(rc == 0);
	content_each(scripted, HOLDING_TAG, repository, list_tag, &list);
	rc = buf_append_text(&json, "]}");
	assert(rc == 0);
	answer_text(exchange, 200, "application/json", json.data);
	if (list.more && list.last) {
		_cleanup_free_ char *link =
			mem_printf("</v2/%s/tags/list?last=%s&n=%u>; rel=\"next\"", repository, list.last, page);
		headers_set(&exchange->answer.headers, "Link", link);
	}
	free(list.last);
}

static void answer_referrers(struct exchange *exchange, const char *repository, const char *subject)
{
	struct scripted *scripted = exchange->connection->scripted;
	struct holding *holding = content_find(scripted, HOLDING_REFERRERS, repository, subject);
	_cleanup_free_ char *filter = query_get(exchange->request.query, "artifactType", 0);
	_cleanup_(buf_dispose) struct buf json = {0};
	bool first = true;

	if (scripted->options.no_referrers) {
		answer_error(exchange, 404, "UNSUPPORTED", "no referrers here");
		return;
	}
	int rc = buf_printf(&json, "{\"schemaVersion\":2,\"mediaType\":\"%s\",\"manifests\":[", SCRIPTED_TYPE_INDEX);
	for (size_t i = 0; holding && i < holding->count; i++) {
		const struct content *content = holding->variants[i];
		if (filter && strcmp(filter, holding->labels[i]) != 0)
			continue;
		rc |= buf_printf(
			&json,
			"%s{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%" PRIu64 ",\"artifactType\":\"%s\"}",
			first ? "" : ",", content->media_type, content->digest, content->size, holding->labels[i]);
		first = false;
	}
	rc |= buf_append_text(&json, "]}");
	assert(rc == 0);
	answer_text(exchange, 200, SCRIPTED_TYPE_INDEX, json.data);
	if (filter)
		headers_set(&exchange->answer.headers, "OCI-Filters-Applied", "artifactType");
}

/* Splits "/v2/NAME/KIND/REFERENCE" at the last KIND: names may hold slashes, and any word. */
static bool route_split(const char *path, const char *kind, char **repository, char **reference)
{
	const char *found = NULL;
	for (const char *at = strstr(path, kind); at; at = strstr(at + 1, kind))
		found = at;
	if (!found || found <= path + 3)
		return false;
	*repository = mem_strndup(path + 4, (size_t)(found - path - 4));
	*reference = mem_strdup(found + strlen(kind));
	return true;
}

static bool answer_file(struct exchange *exchange)
{
	struct scripted *scripted = exchange->connection->scripted;
	struct holding *holding = content_find(scripted, HOLDING_FILE, NULL, exchange->request.target);
	if (!holding)
		holding = content_find(scripted, HOLDING_FILE, NULL, exchange->request.path);
	if (!holding)
		return false;
	answer_content(exchange, holding->variants[0], true);
	return true;
}

static void answer_repository(struct exchange *exchange, uint64_t now_us)
{
	static const struct {
		const char *kind;
		void (*answer)(struct exchange *exchange, const char *repository, const char *reference);
	} routes[] = {
		{"/manifests/", answer_manifest},
		{"/blobs/", answer_blob},
		{"/referrers/", answer_referrers},
	};
	const char *path = exchange->request.path;
	_cleanup_free_ char *repository = NULL;
	_cleanup_free_ char *reference = NULL;
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		if (!route_split(path, routes[i].kind, &repository, &reference))
			continue;
		if (token_admits(exchange, repository, now_us))
			routes[i].answer(exchange, repository, reference);
		return;
	}
	if (route_split(path, "/tags/list", &repository, &reference) && reference[0] == '\0') {
		if (token_admits(exchange, repository, now_us))
			answer_tags(exchange, repository);
		return;
	}
	answer_error(exchange, 404, "NAME_UNKNOWN", "no such route");
}

void registry_answer(struct exchange *exchange, uint64_t now_us)
{
	const char *path = exchange->request.path;
	if (strcmp(path, "/token") == 0) {
		token_answer(exchange, now_us);
	} else if (answer_file(exchange)) {
		return;
	} else if (strcmp(exchange->request.method, "GET") != 0 && !exchange->head_only) {
		answer_error(exchange, 405, "UNSUPPORTED", "the operation is unsupported");
	} else if (strcmp(path, "/v2/") == 0 || strcmp(path, "/v2") == 0) {
		if (token_admits(exchange, NULL, now_us))
			answer_text(exchange, 200, "application/json", "{}");
	} else if (strncmp(path, "/v2/", 4) == 0) {
		answer_repository(exchange, now_us);
	} else {
		answer_error(exchange, 404, "NAME_UNKNOWN", "no such route");
	}
}
