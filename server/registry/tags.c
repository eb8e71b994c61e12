/* SPDX-License-Identifier: Apache-2.0 */
/* GET of a page of tags. */
#include "server/registry/visit.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "upstream/url.h"

#include <stdlib.h>
#include <string.h>

#define PAGE_PARAMETER_MAX 256

/* The page that the client asks for, as a query of our own making: nothing else of its query goes upstream. */
static int page_query(struct visit *visit, struct buf *query)
{
	char count[PAGE_PARAMETER_MAX], last[PAGE_PARAMETER_MAX];
	const char *from = visit->request->query;
	int has_count = http_query_value(from, "n", count, sizeof(count));
	int has_last = http_query_value(from, "last", last, sizeof(last));
	_cleanup_free_ char *last_escaped = has_last == 0 ? url_escape(last) : NULL;

	if (has_count == ERR_INVALID || has_last == ERR_INVALID ||
	    (has_count == 0 && (!*count || strlen(count) > 9 || strspn(count, "0123456789") != strlen(count))))
		return ERR_INVALID;
	if (has_count == 0)
		buf_printf(query, "n=%s", count);
	if (last_escaped)
		buf_printf(query, "%slast=%s", query->len ? "&" : "", last_escaped);
	return 0;
}

static void send_tags(struct visit *visit)
{
	struct http_body body = {.kind = HTTP_BODY_MEMORY};
	const char *next = pull_tags_next(visit->tags);
	size_t len;

	body.data = pull_tags_data(visit->tags, &len);
	body.len = len;
	reply_header(visit, "Content-Type", "application/json");
	reply_cache_status(visit, pull_tags_status(visit->tags));
	if (next && strlen(next) < PAGE_PARAMETER_MAX * 2)
		reply_header(visit, "Link", "</v2/%s/tags/list?%s%s%s>; rel=\"next\"", visit->route.asked_name, next,
			     visit->route.by_ns ? "&ns=" : "",
			     visit->route.by_ns ? pull_upstream_name(visit->route.upstream) : "");
	reply_send(visit, 200, &body);
}

void visit_tags(struct visit *visit)
{
	_cleanup_(buf_dispose) struct buf query = {0};
	struct err err = {0};
	int code;

	if (!visit->tags) {
		if (page_query(visit, &query)) {
			reply_oci_error(visit, 400, "PAGINATION_NUMBER_INVALID", "n must be a number, and last a tag",
					NULL);
			return;
		}
		visit->tags = pull_tags_open(visit->pull, visit->route.upstream, visit->route.repository,
					     query.data ? query.data : "");
	}
	code = pull_tags_poll(visit->tags, &visit->request->waiter, &err);
	if (code == ERR_AGAIN)
		return;
	if (code)
		reply_error(visit, &err, "NAME_UNKNOWN");
	else
		send_tags(visit);
}
