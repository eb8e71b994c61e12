/* SPDX-License-Identifier: Apache-2.0 */
#include "server/registry/registry_api.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "server/registry/admit.h"
#include "server/registry/multipart.h"
#include "server/registry/traffic.h"
#include "server/registry/visit.h"

#include <stdlib.h>
#include <string.h>

static void answer_ping(struct visit *visit)
{
	struct http_body body = {.kind = HTTP_BODY_MEMORY, .data = "{}", .len = 2};

	visit->outcome = "hit";
	reply_header(visit, "Content-Type", "application/json");
	reply_send(visit, 200, &body);
}

static void refuse_route(struct visit *visit)
{
	int code = visit->err.code, status = code == ERR_INVALID ? 400 : code == ERR_DENIED ? 403 : 404;

	reply_oci_error(visit, status, visit->route.error, visit->err.text, NULL);
}

static void refuse_method(struct visit *visit)
{
	reply_header(visit, "Allow", "GET, HEAD");
	reply_oci_error(visit, 405, "UNSUPPORTED", "larder is a cache for pulling: push to the registry itself", NULL);
}

static struct visit *visit_begin(const struct registry_api *api, struct http_request *request)
{
	struct visit *visit = mem_alloc(sizeof(*visit));

	visit->pull = api->pull;
	visit->access = api->access;
	visit->request = request;
	visit->head = request->method == HTTP_HEAD;
	visit->outcome = "error";
	request->state = visit;
	return visit;
}

static void answer(struct visit *visit)
{
	switch (visit->route.kind) {
	case ROUTE_PING:
		answer_ping(visit);
		break;
	case ROUTE_MANIFEST:
		visit_manifest(visit);
		break;
	case ROUTE_BLOB:
		visit_blob(visit);
		break;
	case ROUTE_TAGS:
		visit_tags(visit);
		break;
	case ROUTE_REFERRERS:
		visit_referrers(visit);
		break;
	case ROUTE_CATALOG:
		visit_catalog(visit);
		break;
	case ROUTE_UPLOAD:
		refuse_method(visit);
		break;
	}
}

static void handle(void *arg, struct http_request *request)
{
	const struct registry_api *api = arg;
	struct visit *visit = request->state;

	if (!visit) {
		visit = visit_begin(api, request);
		route_parse(visit->pull, request->path, request->query, &visit->route, &visit->err);
	}
	if (api->access && admit_token_request(visit, api->access, api->tls))
		return;
	if (api->access && !visit->admitted && !admit_visit(visit, api->access, api->tls))
		return;
	if (visit->err.code)
		refuse_route(visit);
	else if (request->method != HTTP_GET && request->method != HTTP_HEAD)
		refuse_method(visit);
	else
		answer(visit);
}

static enum traffic_kind kind_of(const struct visit *visit)
{
	switch (visit->route.kind) {
	case ROUTE_PING: /* also what stands there while there is no route */
		return visit->route.error ? TRAFFIC_OTHER : TRAFFIC_PING;
	case ROUTE_MANIFEST:
		return TRAFFIC_MANIFEST;
	case ROUTE_BLOB:
		return TRAFFIC_BLOB;
	case ROUTE_TAGS:
		return TRAFFIC_TAGS;
	case ROUTE_REFERRERS:
		return TRAFFIC_REFERRERS;
	case ROUTE_CATALOG:
		return TRAFFIC_CATALOG;
	case ROUTE_UPLOAD:
		break;
	}
	return TRAFFIC_OTHER;
}

static void log_visit(const struct visit *visit, bool complete)
{
	const struct http_request *request = visit->request;
	const struct route *route = &visit->route;
	struct log_field fields[] = {
		{.name = "client", .text = request->client},
		{.name = "method", .text = request->method_text},
		{.name = "path", .text = request->path},
		{.name = "upstream", .text = route->upstream ? pull_upstream_name(route->upstream) : NULL},
		{.name = "repository", .text = route->repository[0] ? route->repository : NULL},
		{.name = "reference", .text = route->reference[0] ? route->reference : NULL},
		{.name = "status", .number = (uint64_t)request->status, .is_number = true},
		{.name = "bytes", .number = request->body_bytes, .is_number = true},
		{.name = "ms", .number = (clock_us() - request->began_us) / 1000, .is_number = true},
		{.name = "outcome", .text = complete ? visit->outcome : "aborted"},
		{0},
		{0},
	};
	size_t count = sizeof(fields) / sizeof(fields[0]) - 2;

	if (visit->access)
		fields[count++] = (struct log_field){.name = "user", .text = visit->user[0] ? visit->user : NULL};
	if (visit->err.code)
		fields[count++] = (struct log_field){.name = "error", .text = visit->err.text};
	log_access(fields, count);
}

static void ended(void *arg, struct http_request *request, bool complete)
{
	const struct registry_api *api = arg;
	struct visit *visit = request->state;

	if (visit->access)
		access_forget(visit->access, &request->waiter);
	log_visit(visit, complete);
	traffic_note(api->traffic, request, kind_of(visit), visit->outcome);
	multipart_free(visit->parts);
	pull_blob_close(visit->blob);
	pull_manifest_close(visit->manifest);
	pull_tags_close(visit->tags);
	pull_referrers_close(visit->referrers);
	free(visit);
}

struct http_handler registry_handler(struct registry_api *api)
{
	return (struct http_handler){.handle = handle, .ended = ended, .arg = api};
}
