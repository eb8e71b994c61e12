/* SPDX-License-Identifier: Apache-2.0 */
/* GET of what refers to a manifest (distribution-spec, "Listing Referrers"). */
#include "server/registry/visit.h"

static void send_referrers(struct visit *visit, bool filtered)
{
	struct http_body body = {.kind = HTTP_BODY_MEMORY};
	size_t len;

	body.data = pull_referrers_data(visit->referrers, &len);
	body.len = len;
	reply_header(visit, "Content-Type", "application/vnd.oci.image.index.v1+json");
	if (filtered)
		reply_header(visit, "OCI-Filters-Applied", "artifactType");
	reply_cache_status(visit, pull_referrers_status(visit->referrers));
	reply_send(visit, 200, &body);
}

/* The type to filter by, "" for none. A media type has no space in it: what was read as one is a '+' that the client
 * did not escape. */
static bool read_type(struct visit *visit, char type[PULL_MEDIA_TYPE_MAX + 1])
{
	int code = http_query_value(visit->request->query, "artifactType", type, PULL_MEDIA_TYPE_MAX + 1);

	if (code == ERR_INVALID)
		return false;
	if (code)
		type[0] = '\0';
	for (char *c = type; *c; c++)
		if (*c == ' ')
			*c = '+';
	return true;
}

void visit_referrers(struct visit *visit)
{
	char type[PULL_MEDIA_TYPE_MAX + 1];
	struct digest subject;
	struct err err = {0};
	int code;

	if (!read_type(visit, type)) {
		reply_oci_error(visit, 400, "UNSUPPORTED", "artifactType is malformed", NULL);
		return;
	}
	if (!visit->referrers) {
		digest_parse(visit->route.reference, &subject);
		visit->referrers = pull_referrers_open(visit->pull, visit->route.upstream, visit->route.repository,
						       &subject, type[0] ? type : NULL);
		pull_referrers_login(visit->referrers, visit->login);
	}
	code = pull_referrers_poll(visit->referrers, &visit->request->waiter, &err);
	if (code == ERR_AGAIN)
		return;
	if (code)
		reply_error(visit, &err, "MANIFEST_UNKNOWN");
	else
		send_referrers(visit, type[0] != '\0');
}
