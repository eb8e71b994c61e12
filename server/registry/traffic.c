/* SPDX-License-Identifier: Apache-2.0 */
#include "server/registry/traffic.h"

#include "base/clock.h"

#include <string.h>

static const char *const kind_names[TRAFFIC_KINDS] = {
	[TRAFFIC_MANIFEST] = "manifest",   [TRAFFIC_BLOB] = "blob", [TRAFFIC_TAGS] = "tags",
	[TRAFFIC_REFERRERS] = "referrers", [TRAFFIC_PING] = "ping", [TRAFFIC_CATALOG] = "catalog",
	[TRAFFIC_OTHER] = "other",
};

static const char *const outcome_names[TRAFFIC_OUTCOMES] = {
	[TRAFFIC_HIT] = "hit",     [TRAFFIC_MISS] = "miss",   [TRAFFIC_COLLAPSED] = "collapsed",
	[TRAFFIC_STALE] = "stale", [TRAFFIC_ERROR] = "error",
};

static const char *const method_names[TRAFFIC_METHODS] = {
	[HTTP_GET] = "GET",     [HTTP_HEAD] = "HEAD",     [HTTP_POST] = "POST",   [HTTP_PUT] = "PUT",
	[HTTP_PATCH] = "PATCH", [HTTP_DELETE] = "DELETE", [HTTP_OTHER] = "other",
};

const char *traffic_kind_name(enum traffic_kind kind)
{
	return kind_names[kind];
}

const char *traffic_outcome_name(enum traffic_outcome outcome)
{
	return outcome_names[outcome];
}

const char *traffic_method_name(enum http_method method)
{
	return method_names[method];
}

void traffic_note(struct traffic *traffic, const struct http_request *request, enum traffic_kind kind,
		  const char *outcome)
{
	unsigned which = 0;

	while (which < TRAFFIC_ERROR && strcmp(outcome, outcome_names[which]) != 0)
		which++;
	count_add(&traffic->requests[kind][request->method][count_status_slot(request->status)][which], 1);
	count_add(&traffic->served_bytes[which], request->body_bytes);
	count_observe(&traffic->request_time, clock_us() - request->began_us);
	if (request->first_byte_us > 0)
		count_observe(&traffic->first_byte_time, request->first_byte_us - request->began_us);
}
