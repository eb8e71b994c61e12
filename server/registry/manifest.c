/* SPDX-License-Identifier: Apache-2.0 */
/* GET and HEAD of a manifest, by tag or digest. Range is ignored here, as the contract says. */
#include "server/registry/hot.h"
#include "server/registry/range.h"
#include "server/registry/visit.h"

#include <stdio.h>

/* What may be given again, to whoever asks the same, is kept. */
static void keep_hot(struct visit *visit, const struct http_body *body)
{
	struct pull_ticket ticket;

	if (visit->login || !pull_manifest_ticket(visit->manifest, &ticket))
		return;
	hot_keep(visit->hot, visit->request, &visit->route, &ticket, visit->headers, visit->header_count, body);
}

static void send_manifest(struct visit *visit)
{
	char digest[DIGEST_TEXT_MAX], etag[DIGEST_TEXT_MAX + 2];
	struct http_body body = {
		.kind = HTTP_BODY_MEMORY,
		.len = pull_manifest_size(visit->manifest),
		.data = visit->head ? NULL : pull_manifest_data(visit->manifest),
	};
	struct http_body nothing = {.kind = HTTP_BODY_MEMORY, .len = body.len}; /* the length is that of a 200 */

	digest_format(pull_manifest_digest(visit->manifest), digest);
	snprintf(etag, sizeof(etag), "\"%s\"", digest);
	reply_header(visit, "Docker-Content-Digest", "%s", digest);
	reply_header(visit, "ETag", "%s", etag);
	reply_cache_status(visit, pull_manifest_status(visit->manifest));
	if (range_none_match(http_request_header(visit->request, "If-None-Match"), etag)) {
		reply_send(visit, 304, &nothing);
		return;
	}
	if (pull_manifest_media_type(visit->manifest)[0])
		reply_header(visit, "Content-Type", "%s", pull_manifest_media_type(visit->manifest));
	reply_common_headers(visit);
	keep_hot(visit, &body);
	reply_send(visit, 200, &body);
}

void visit_manifest(struct visit *visit)
{
	struct err err = {0};
	int code;

	if (!visit->manifest) {
		visit->manifest = pull_manifest_open(visit->pull, visit->route.upstream, visit->route.repository,
						     visit->route.reference,
						     http_request_header(visit->request, "Accept"), visit->head);
		pull_manifest_login(visit->manifest, visit->login);
	}
	code = pull_manifest_poll(visit->manifest, &visit->request->waiter, &err);
	if (code == ERR_AGAIN)
		return;
	if (code)
		reply_error(visit, &err, "MANIFEST_UNKNOWN");
	else
		send_manifest(visit);
}
