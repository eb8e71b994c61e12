/* SPDX-License-Identifier: Apache-2.0 */
/* What a call makes of an answer that came to its end, good or bad: the end, or what is tried next. */
#include "upstream/registry_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "upstream/complaint.h"
#include "upstream/retry.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define START_OVER_MAX     2
#define FAST_HTTP2_RETRIES 3 /* a stream that was refused, or cut by GOAWAY, is asked for again at once */

/* FETCH: the end of an answer. */

/* Some registries refuse the HEAD of a blob whose GET they allow (ECR Public), or what they redirect to does (an
 * address that is signed for GET): one byte of it tells as much. */
static bool ask_by_get(struct registry_call *call)
{
	if (!call->query.head || call->query.kind != REGISTRY_BLOB || call->head_by_get)
		return false;
	call->head_by_get = true;
	call->query.head = false;
	call->query.end = 1;
	call->token_renewed = false;
	free(call->redirect_url);
	call->redirect_url = NULL;
	pace_release(call->registry->pace, &call->permit);
	call_begin(call);
	return true;
}

/* What the registry refused is dropped; once, another is tried where one may be had. */
static bool try_other_authorization(struct registry_call *call)
{
	struct endpoint *endpoint = call_endpoint(call);

	if (!token_drop(endpoint->tokens, &endpoint->challenge, call_scope(call), call_login(call),
			call->authorization) ||
	    call->token_renewed)
		return false;
	call->token_renewed = true;
	return true;
}

/* What came does not continue what we have: the next attempt asks for all of it. */
static void done_start_over(struct registry_call *call)
{
	call->start_over = false;
	if (++call->starts_over > START_OVER_MAX) {
		call_end(call, &call->last);
		return;
	}
	call->offset = call->query.end > 0 ? call->query.offset : 0;
	call->size = REGISTRY_LENGTH_UNKNOWN;
	free(call->etag);
	call->etag = NULL;
	free(call->redirect_url);
	call->redirect_url = NULL;
	call_count_retry(call, REGISTRY_RETRY_CHANGED);
	call_begin(call);
}

/* Servers that cannot do ranges say so in more ways than RFC 9110 has: a transfer that could only go on with one would
 * never end. */
static bool ask_for_whole(struct registry_call *call)
{
	if (!call->ranged || call->query.end > 0)
		return false;
	pace_release(call->registry->pace, &call->permit);
	done_start_over(call);
	return true;
}

static void done_unauthorized(struct registry_call *call, struct fetch *fetch)
{
	struct endpoint *endpoint = call_endpoint(call);
	const char *header = fetch_header_all(fetch, "WWW-Authenticate");

	err_set(&call->last, ERR_DENIED, "%s refuses %s: HTTP 401", call->registry->name, call->repository);
	if (call->authorization && !try_other_authorization(call)) {
		if (!ask_by_get(call))
			call_end(call, &call->last);
		return;
	}
	if (call_beside_registry(call)) {
		call_end(call, &call->last);
		return;
	}
	if (!header || challenge_parse(header, &endpoint->challenge) || endpoint->challenge.scheme == CHALLENGE_NONE) {
		endpoint->challenge.scheme = CHALLENGE_NONE;
		if (!ask_by_get(call))
			call_end(call, &call->last);
		return;
	}
	endpoint->challenge_ground = call->ground;
	call_begin(call);
}

static void done_forbidden(struct registry_call *call)
{
	pace_release(call->registry->pace, &call->permit);
	err_set(&call->last, ERR_DENIED, "%s refuses %s: HTTP 403", call->registry->name, call->repository);
	/* ECR says so of a password that expired. */
	if (call->authorization && call_endpoint(call)->challenge.scheme == CHALLENGE_BASIC &&
	    try_other_authorization(call))
		call_begin(call);
	else if (!ask_by_get(call) && !ask_for_whole(call))
		call_end(call, &call->last);
}

/* To another place (RFC 9110, section 15.4): bounded, and never nearer to us than where it was said. Authorization
 * stays behind: call_fetch() sends it to the endpoint's own origin alone. */
static void done_redirect(struct registry_call *call, struct fetch *fetch)
{
	const char *location = fetch_header(fetch, "Location");
	const struct endpoint *endpoint = call_endpoint(call);
	const char *from = call->redirect_url ? call->redirect_url : endpoint->base;
	char *to = location ? url_join(from, location) : NULL;
	struct url url;

	if (!to || url_parse(to, &url) || ++call->redirects > REGISTRY_REDIRECTS_MAX ||
	    (endpoint->url.https && !url.https) || url_host_ground(url.host) > call->ground) {
		free(to);
		err_set(&call->last, ERR_UPSTREAM, "%s redirects to where larder does not follow",
			call->registry->name);
		call_end(call, &call->last);
		return;
	}
	free(call->redirect_url);
	call->redirect_url = to;
	call->redirect_ground = call->ground;
	call_fetch(call);
}

static void done_overloaded(struct registry_call *call, struct fetch *fetch)
{
	const char *header = fetch_header(fetch, "Retry-After");
	uint64_t after_ms = 0;

	if (header && retry_after_parse(header, clock_wall_ms(), &after_ms))
		after_ms = 0;
	err_set(&call->last, call->status == 429 ? ERR_RATE : ERR_UPSTREAM, "%s answered HTTP %d", call->registry->name,
		call->status);
	call->last.retry_after_s = retry_after_s(after_ms);
	call->retry_reason = call->status == 429 ? REGISTRY_RETRY_RATE_LIMITED : REGISTRY_RETRY_SERVER_ERROR;
	if (call->status == 429 || call->status == 503) {
		call->registry->gate_status = call->status;
		pace_congested(call->registry->pace, &call->permit, call->permit.elsewhere ? 0 : after_ms);
	}
	pace_release(call->registry->pace, &call->permit);
	call_retry_after(call, after_ms);
}

/* What registries that have no referrers API answer, besides 404. */
static bool lacks_referrers(const struct registry_call *call)
{
	int status = call->status;

	return call->query.kind == REGISTRY_REFERRERS &&
	       (status == 400 || status == 405 || status == 406 || status == 501);
}

static void done_missing(struct registry_call *call, enum complaint complaint)
{
	bool no_repository = complaint == COMPLAINT_NO_REPOSITORY;

	err_set(&call->last, ERR_NOT_FOUND, "%s has no such %s", call->registry->name,
		no_repository ? "repository" : "thing");
	call->last.no_repository = no_repository;
	call_end(call, &call->last);
}

static void done_status(struct registry_call *call, struct fetch *fetch)
{
	int status = call->status;
	enum complaint complaint = complaint_read(call->refusal.data, call->refusal.len);
	/* Some registries say 403 of what is not there, and their body says which of both it is. */
	bool missing = status == 404 || (status == 403 && complaint != COMPLAINT_NONE) || lacks_referrers(call);

	if (status == 401 && !call->redirect_url) {
		pace_release(call->registry->pace, &call->permit);
		done_unauthorized(call, fetch);
	} else if (status == 301 || status == 302 || status == 303 || status == 307 || status == 308) {
		done_redirect(call, fetch);
	} else if (missing && call->endpoint == 0) {
		done_missing(call, complaint);
	} else if (missing) {
		/* A mirror's 404 does not speak for the registry, which could not be asked: call->last says why. */
		pace_release(call->registry->pace, &call->permit);
		if (call_next_endpoint(call))
			call_begin(call);
		else
			call_end(call, &call->last);
	} else if (retry_status(status)) {
		done_overloaded(call, fetch);
	} else if ((status == 401 || status == 403) && call->redirect_url) {
		/* A presigned address that expired: the registry gives a new one. */
		err_set(&call->last, ERR_UPSTREAM, "the address that %s redirects to answered HTTP %d",
			call->registry->name, status);
		pace_release(call->registry->pace, &call->permit);
		call->retry_reason = REGISTRY_RETRY_REDIRECT;
		if (!ask_by_get(call))
			call_retry(call, false);
	} else if (status == 403) {
		done_forbidden(call);
	} else {
		err_set(&call->last, ERR_UPSTREAM, "%s answered HTTP %d", call->registry->name, status);
		/* 416: what we hold may be longer than what there is now. */
		if (!ask_by_get(call) && !ask_for_whole(call))
			call_end(call, &call->last);
	}
}

/* Streams that end together were ended by one event: only a request that began after the last one counts. */
static void note_http2_failure(struct registry_call *call, unsigned weight)
{
	struct endpoint *endpoint = call_endpoint(call);
	uint64_t now = clock_ms();

	if (call->http2_epoch != endpoint->http2_epoch || now < endpoint->http1_until_ms)
		return;
	endpoint->http2_epoch++;
	if (now - endpoint->http2_failed_ms > HTTP2_FAILURE_WINDOW_MS)
		endpoint->http2_failures = 0;
	endpoint->http2_failed_ms = now;
	endpoint->http2_failures += weight;
	if (endpoint->http2_failures < HTTP2_FAILURES_MAX)
		return;
	endpoint->http2_failures = 0;
	endpoint->http1_until_ms = now + HTTP1_FALLBACK_MS;
	count_add(&call->registry->counts.http2_fallbacks, 1);
	log_warn("upstream %s: HTTP/2 fails again and again: HTTP/1.1 for the next %d s", call->registry->name,
		 HTTP1_FALLBACK_MS / 1000);
}

/* What HTTP/2 itself did to a request is no fault of the server's content: asked for again at once, and what was spent
 * on HTTP/2 does not count once HTTP/1.1 is spoken instead. False when the failure is an ordinary one. */
static bool retry_http2(struct registry_call *call, enum fetch_failure failure)
{
	struct endpoint *endpoint = call_endpoint(call);
	bool unanswered = failure == FETCH_CUT && call->status == 0;

	if (call->redirect_url || call->spoke_http1 || !endpoint->url.https || (failure != FETCH_HTTP2 && !unanswered))
		return false;
	note_http2_failure(call, failure == FETCH_HTTP2 ? HTTP2_FAILURE_PROTOCOL : HTTP2_FAILURE_CUT);
	if (clock_ms() < endpoint->http1_until_ms) {
		call->attempt = 0;
	} else {
		if (failure != FETCH_HTTP2 || call->query.impatient || call->attempt >= FAST_HTTP2_RETRIES)
			return false;
		call->attempt++;
	}
	call_count_retry(call, call->retry_reason);
	call_begin(call);
	return true;
}

static enum registry_retry retry_reason(enum fetch_failure failure)
{
	switch (failure) {
	case FETCH_CONNECT:
		return REGISTRY_RETRY_CONNECT;
	case FETCH_TLS:
		return REGISTRY_RETRY_TLS;
	case FETCH_CUT:
		return REGISTRY_RETRY_CUT;
	case FETCH_STALLED:
		return REGISTRY_RETRY_STALLED;
	case FETCH_HTTP2:
		return REGISTRY_RETRY_HTTP2;
	default:
		return REGISTRY_RETRY_PROTOCOL;
	}
}

static void done_broken(struct registry_call *call, enum fetch_failure failure, const char *why)
{
	call->retry_reason = retry_reason(failure);
	err_set(&call->last, ERR_UPSTREAM, "%s: %s", call->registry->name, why);
	pace_release(call->registry->pace, &call->permit);
	if (!retry_http2(call, failure))
		call_retry(call, failure == FETCH_CONNECT || failure == FETCH_TLS);
}

/* A server may give less of a range than was asked for (RFC 9110, section 15.3.7): the rest is asked for in turn. */
static bool range_goes_on(const struct registry_call *call)
{
	if (call->status != 206 || call->attempt_bytes == 0 || call->size == REGISTRY_LENGTH_UNKNOWN ||
	    call->offset >= call->size)
		return false;
	return call->query.end == 0 || call->offset < call->query.end;
}

static void done_good(struct registry_call *call)
{
	if (call->status == 206 && call->attempt_bytes == 0 && !call->head_by_get) {
		/* A part always has a byte: whoever asked would ask for the same again, for ever. */
		done_broken(call, FETCH_PROTOCOL, "a partial answer without a byte");
		return;
	}
	if (!range_goes_on(call)) {
		call_end(call, NULL);
		return;
	}
	pace_release(call->registry->pace, &call->permit);
	call->attempt = 0;
	call_begin(call);
}

void call_on_done(void *arg, struct fetch *fetch, enum fetch_failure failure, const char *why)
{
	struct registry_call *call = arg;
	struct err err;

	call->fetch = NULL;
	if (call->state == CALL_DONE)
		return; /* call_end() cancelled it */
	if (failure == FETCH_REFUSED && call->sink_code) {
		err_set(&err, call->sink_code, "given up by its receiver");
		call_end(call, &err);
	} else if (failure == FETCH_REFUSED && call->head_known) {
		call_end(call, NULL);
	} else if (failure == FETCH_REFUSED) {
		pace_release(call->registry->pace, &call->permit);
		call->retry_reason = REGISTRY_RETRY_PROTOCOL;
		if (call->start_over)
			done_start_over(call);
		else
			call_retry(call, false);
	} else if (failure != FETCH_OK) {
		done_broken(call, failure, why);
	} else if (call->status == 200 || (call->status == 206 && call->ranged)) {
		done_good(call);
	} else {
		done_status(call, fetch);
	}
}
