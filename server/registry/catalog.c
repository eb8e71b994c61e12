/* SPDX-License-Identifier: Apache-2.0 */
/* GET of a page of the repositories that are held. */
#include "server/registry/page.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "server/pull/permit.h"
#include "upstream/url.h"

#include <stdlib.h>
#include <string.h>

#define CATALOG_PAGE_MAX 1000

struct catalog {
	struct visit *visit;
	struct buf text; /* the list's inside */
	char *last;      /* name that was put there */
	size_t left;
	bool more;
};

/* The catalog asks no registry, so it must not tell whether a guess is right: who shows what was not right from its
 * address before is nobody here. */
static void read_login(struct visit *visit)
{
	struct guess guess = {.client = visit->request->client};

	if (client_login_read(http_request_header(visit->request, "Authorization"), &visit->login))
		return;
	guess.shown = client_login_key(visit->login);
	if (client_login_basic(visit->login) && !guesses_is_known(visit->guesses, &guess)) {
		client_login_release(visit->login);
		visit->login = NULL;
	}
}

/* Where its credentials decide, what the client has lately been allowed. */
static bool is_permitted(const struct visit *visit, const char *name)
{
	const char *slash = strchr(name, '/');
	struct pull_upstream *upstream = pull_find_upstream(visit->pull, name, (size_t)(slash - name));

	return upstream && (!pull_upstream_asks_clients(upstream) ||
			    (visit->login && pull_permit_is_known(upstream, slash + 1, visit->login)));
}

static bool add_name(void *arg, const char *name)
{
	struct catalog *catalog = arg;
	const struct visit *visit = catalog->visit;

	if ((visit->access && !access_allows(visit->access, visit->user, name)) || !is_permitted(visit, name))
		return true;
	catalog->more = catalog->left == 0;
	if (catalog->more)
		return false;
	buf_append_text(&catalog->text, catalog->last ? ",\"" : "\"");
	buf_append_json(&catalog->text, name);
	buf_append_text(&catalog->text, "\"");
	free(catalog->last);
	catalog->last = mem_strdup(name);
	catalog->left--;
	return true;
}

static void link_next(struct visit *visit, const struct catalog *catalog, const struct pull_page *page)
{
	_cleanup_free_ char *last = url_escape(catalog->last);
	_cleanup_free_ char *query = page->count == PULL_PAGE_ALL ? mem_printf("last=%s", last)
								  : mem_printf("n=%zu&last=%s", page->count, last);

	page_link(visit, "/v2/_catalog", query);
}

void visit_catalog(struct visit *visit)
{
	static const struct pull_status held = {.outcome = PULL_HIT};
	_cleanup_(buf_dispose) struct buf text = {0};
	struct http_body body = {.kind = HTTP_BODY_MEMORY};
	struct catalog catalog = {.visit = visit};
	struct page_request request;
	struct err err = {0};

	if (!visit->since_ms)
		visit->since_ms = clock_ms();
	if (pull_poll_landed(visit->pull, visit->since_ms, &visit->request->waiter) == ERR_AGAIN)
		return;
	if (!page_read(visit, &request))
		return;
	read_login(visit);
	catalog.left = request.page.count < CATALOG_PAGE_MAX ? request.page.count : CATALOG_PAGE_MAX;
	if (pull_list_repositories(visit->pull, visit->route.upstream, request.page.last, add_name, &catalog, &err)) {
		reply_error(visit, &err, "NAME_UNKNOWN");
	} else {
		buf_printf(&text, "{\"repositories\":[%s]}", catalog.text.data ? catalog.text.data : "");
		body.data = text.data;
		body.len = text.len;
		reply_header(visit, "Content-Type", "application/json");
		reply_cache_status(visit, &held);
		if (catalog.more && catalog.last)
			link_next(visit, &catalog, &request.page);
		reply_send(visit, 200, &body);
	}
	buf_dispose(&catalog.text);
	free(catalog.last);
}
