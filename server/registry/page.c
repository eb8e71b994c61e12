/* SPDX-License-Identifier: Apache-2.0 */
#include "server/registry/page.h"

#include <stdlib.h>
#include <string.h>

#define COUNT_TEXT_MAX 10

/* False when it is malformed; "" when it is absent. */
static bool read_text(const char *query, const char *name, char *value, size_t size)
{
	int code = http_query_value(query, name, value, size);

	if (code == ERR_NOT_FOUND)
		*value = '\0';
	return code != ERR_INVALID;
}

static bool read_count(const char *query, size_t *count)
{
	char text[COUNT_TEXT_MAX];
	int code = http_query_value(query, "n", text, sizeof(text));

	*count = PULL_PAGE_ALL;
	if (code == ERR_NOT_FOUND)
		return true;
	if (code || !*text || strspn(text, "0123456789") != strlen(text))
		return false;
	*count = strtoul(text, NULL, 10);
	return true;
}

bool page_read(struct visit *visit, struct page_request *request)
{
	const char *query = visit->request->query;

	request->page.last = request->last;
	request->page.token = request->token;
	if (read_count(query, &request->page.count) && read_text(query, "last", request->last, sizeof(request->last)) &&
	    read_text(query, "next_page", request->token, sizeof(request->token)))
		return true;
	reply_oci_error(visit, 400, "PAGINATION_NUMBER_INVALID", "n must be a number, and last a name of the list",
			NULL);
	return false;
}

void page_link(struct visit *visit, const char *path, const char *query)
{
	const struct route *route = &visit->route;

	reply_header(visit, "Link", "<%s?%s%s%s>; rel=\"next\"", path, query, route->by_ns ? "&ns=" : "",
		     route->by_ns ? pull_upstream_name(route->upstream) : "");
}
