/* SPDX-License-Identifier: Apache-2.0 */
#include "server/registry/registry_api.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "server/registry/admit.h"
#include "server/registry/hot.h"
#include "server/registry/multipart.h"
#include "server/pull/permit.h"
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
	visit->guesses = api->guesses;
	visit->crowd = api->crowd;
	visit->hot = api->hot;
	visit->request = request;
	visit->head = request->method == HTTP_HEAD;
	visit->outcome = "error";
	request->state = visit;
	return visit;
}

/* Says so when the reference is malformed, whatever is to be done with it. */
static bool reference_valid(struct visit *visit)
{
	const char *reference = visit->route.reference;
	bool tag = visit->route.kind == ROUTE_MANIFEST && !strchr(reference, ':');
	struct digest digest;

	if (visit->route.kind != ROUTE_MANIFEST && visit->route.kind != ROUTE_BLOB &&
	    visit->route.kind != ROUTE_REFERRERS)
		return true;
	if (tag ? ref_tag_valid(reference, strlen(reference)) : digest_parse(reference, &digest) == 0)
		return true;
	reply_oci_error(visit, 400, tag ? "MANIFEST_INVALID" : "DIGEST_INVALID",
			tag ? "the tag is malformed" : "the digest is malformed", reference);
	return false;
}

/* One user's requests are bounded, wherever they come from. False: it was refused. Who is nobody is bounded by address
 * alone. */
static bool count_user(struct visit *visit)
{
	bool has_login = visit->login && client_login_basic(visit->login);
	const char *user = visit->user[0] ? visit->user : has_login ? client_login_key(visit->login) : NULL;

	if (!user || visit->counted)
		return true;
	if (crowd_enter(visit->crowd, user)) {
		visit->counted = user;
		return true;
	}
	reply_header(visit, "Retry-After", "1");
	reply_oci_error(visit, 429, "TOOMANYREQUESTS", "this user has as many requests under way as one may have",
			NULL);
	return false;
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

	/* A ready answer asks nobody who wants it. */
	if (!visit && !api->access && hot_reply(api->hot, api->pull, request))
		return;
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
	else if (!reference_valid(visit))
		return;
	else if (request->method != HTTP_GET && request->method != HTTP_HEAD)
		refuse_method(visit);
	else if ((visit->permitted || admit_login(visit)) && count_user(visit))
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

/* What the access log tells of a request, beside what http/ knows. Texts may be NULL or "". */
struct told {
	const struct pull_upstream *upstream;
	const char *repository;
	const char *reference;
	const char *outcome;
	const char *error;
	bool knows_users; /* larder asks who pulls */
	const char *user;
};

static void log_request(const struct http_request *request, const struct told *told)
{
	struct log_field fields[] = {
		{.name = "client", .text = request->client},
		{.name = "method", .text = request->method_text},
		{.name = "path", .text = request->path},
		{.name = "upstream", .text = told->upstream ? pull_upstream_name(told->upstream) : NULL},
		{.name = "repository", .text = told->repository[0] ? told->repository : NULL},
		{.name = "reference", .text = told->reference[0] ? told->reference : NULL},
		{.name = "status", .number = (uint64_t)request->status, .is_number = true},
		{.name = "bytes", .number = request->body_bytes, .is_number = true},
		{.name = "ms", .number = (clock_us() - request->began_us) / 1000, .is_number = true},
		{.name = "outcome", .text = told->outcome},
		{.name = "request", .text = request->id},
		{0},
		{0},
	};
	size_t count = sizeof(fields) / sizeof(fields[0]) - 2;

	if (told->knows_users)
		fields[count++] = (struct log_field){.name = "user", .text = told->user[0] ? told->user : NULL};
	if (told->error)
		fields[count++] = (struct log_field){.name = "error", .text = told->error};
	log_access(fields, count);
}

static void ended_hot(const struct registry_api *api, const struct http_request *request, bool complete)
{
	const struct hot_entry *entry = hot_entry_of(request);
	struct told told = {.upstream = entry->upstream,
			    .repository = entry->repository,
			    .reference = entry->reference,
			    .outcome = complete ? "hit" : "aborted"};

	log_request(request, &told);
	traffic_note(api->traffic, request, TRAFFIC_MANIFEST, "hit");
}

static void ended_visit(const struct registry_api *api, struct visit *visit, bool complete)
{
	struct told told = {.upstream = visit->route.upstream,
			    .repository = visit->route.repository,
			    .reference = visit->route.reference,
			    .outcome = complete ? visit->outcome : "aborted",
			    .error = visit->err.code ? visit->err.text : NULL,
			    .knows_users = visit->access != NULL,
			    .user = visit->user};

	/* It has been let in by what was remembered, and the registry thinks otherwise by now. */
	if (visit->permitted && visit->err.code == ERR_DENIED)
		pull_permit_forget(visit->route.upstream, visit->route.repository, visit->login);
	if (visit->is_guessing)
		guesses_end(visit->guesses, &visit->guess, GUESS_OPEN);
	if (visit->counted)
		crowd_leave(visit->crowd, visit->counted);
	/* Who was let in may wait for something else by now, on another list. */
	if (visit->access && !visit->admitted)
		access_forget(visit->access, &visit->request->waiter);
	log_request(visit->request, &told);
	traffic_note(api->traffic, visit->request, kind_of(visit), visit->outcome);
	multipart_free(visit->parts);
	pull_blob_close(visit->blob);
	pull_manifest_close(visit->manifest);
	pull_tags_close(visit->tags);
	pull_referrers_close(visit->referrers);
	pull_permit_close(visit->permit);
	if (visit->since_ms)
		pull_forget_landed(visit->pull, &visit->request->waiter);
	client_login_release(visit->login);
	free(visit->text);
	free(visit);
}

static void ended(void *arg, struct http_request *request, bool complete)
{
	if (request->prepared)
		ended_hot(arg, request, complete);
	else
		ended_visit(arg, request->state, complete);
}

struct http_handler registry_handler(struct registry_api *api)
{
	return (struct http_handler){.handle = handle, .ended = ended, .arg = api};
}
