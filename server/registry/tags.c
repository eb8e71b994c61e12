/* SPDX-License-Identifier: Apache-2.0 */
/* GET of a page of tags. */
#include "server/registry/page.h"
#include "server/registry/visit.h"

#include <stdio.h>

static void send_tags(struct visit *visit)
{
	const struct route *route = &visit->route;
	struct http_body body = {.kind = HTTP_BODY_MEMORY};
	const char *next = pull_tags_next(visit->tags);
	char path[sizeof(route->asked_name) + sizeof("/v2//tags/list")];
	size_t len;

	body.data = pull_tags_data(visit->tags, &len);
	body.len = len;
	reply_header(visit, "Content-Type", "application/json");
	reply_cache_status(visit, pull_tags_status(visit->tags));
	snprintf(path, sizeof(path), "/v2/%s/tags/list", route->asked_name);
	if (next)
		page_link(visit, path, next);
	reply_send(visit, 200, &body);
}

void visit_tags(struct visit *visit)
{
	struct page_request request;
	struct err err = {0};
	int code;

	if (!visit->tags) {
		if (!page_read(visit, &request))
			return;
		visit->tags =
			pull_tags_open(visit->pull, visit->route.upstream, visit->route.repository, &request.page);
		pull_tags_login(visit->tags, visit->login);
	}
	code = pull_tags_poll(visit->tags, &visit->request->waiter, &err);
	if (code == ERR_AGAIN)
		return;
	if (code)
		reply_error(visit, &err, "NAME_UNKNOWN");
	else
		send_tags(visit);
}
