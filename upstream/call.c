/* SPDX-License-Identifier: Apache-2.0 */
/* One call to a registry: the states that registry.h lists, a function each. */
#include "upstream/registry_internal.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "upstream/retry.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <utlist.h>

#define PROGRESS_BYTES          ((uint64_t)64 << 10) /* less than this, and an attempt counts as one without progress */
#define START_OVER_MAX          2
#define RETRY_AFTER_BEARABLE_MS 15000 /* a client that waits for headers gives up soon after */
#define FAST_HTTP2_RETRIES      3     /* a stream that was refused, or cut by GOAWAY, is asked for again at once */

static void call_permit(struct registry_call *call);
static void call_fetch(struct registry_call *call);

static struct endpoint *call_endpoint(const struct registry_call *call)
{
	return &call->registry->endpoints[call->endpoint];
}

static void forget_authorization(struct registry_call *call)
{
	if (call->authorization)
		explicit_bzero(call->authorization, strlen(call->authorization));
	free(call->authorization);
	call->authorization = NULL;
}

/* DONE. */

static void call_free(struct registry_call *call)
{
	free(call->repository);
	free(call->reference);
	free(call->accept);
	free(call->scope);
	free(call->redirect_url);
	forget_authorization(call);
	free(call->etag);
	/* A cancellation on its way still names this call: its task frees it then. */
	if (!__atomic_load_n(&call->cancel_wanted, __ATOMIC_ACQUIRE))
		free(call);
}

void call_end(struct registry_call *call, const struct err *err)
{
	struct registry *registry = call->registry;

	assert(call->state != CALL_DONE);
	call->state = CALL_DONE;
	token_cancel(call_endpoint(call)->tokens, &call->token_waiter);
	pace_release(registry->pace, &call->permit);
	loop_timer_clear(registry->loop, &call->retry_timer);
	if (call->fetch)
		fetch_cancel(call->fetch);
	if (err && (err->code == ERR_UPSTREAM || err->code == ERR_RATE))
		registry_note_failure(registry, err);
	DL_DELETE(registry->calls, call);
	call->sink->on_done(call->arg, err);
	call_free(call);
}

/* RETRY. */

/* A path that is no repository's is another API than the registry's: its tokens mean nothing there, and its mirrors do
 * not have it. */
static bool beside_registry(const struct registry_call *call)
{
	return call->query.kind == REGISTRY_RAW && call->repository[0] == '\0';
}

static void on_retry_timer(struct loop_timer *timer)
{
	call_begin((struct registry_call *)((char *)timer - offsetof(struct registry_call, retry_timer)));
}

static void count_retry(struct registry_call *call, enum registry_retry reason)
{
	count_add(&call->registry->counts.retries[reason], 1);
}

static bool next_endpoint(struct registry_call *call)
{
	if (call->endpoint + 1 >= call->registry->endpoint_count || beside_registry(call))
		return false;
	call->endpoint++;
	call->attempt = 0;
	call->token_renewed = false;
	forget_authorization(call);
	return true;
}

/* A listing is of one moment, and never put together from two: each attempt begins at its start. */
static bool call_is_listing(const struct registry_call *call)
{
	enum registry_kind kind = call->query.kind;

	return kind == REGISTRY_TAGS || kind == REGISTRY_REFERRERS || kind == REGISTRY_RAW;
}

/* After a failure that may pass: waits and begins anew here, goes to a mirror, or gives up with call->last. */
static void call_retry(struct registry_call *call, bool unreachable)
{
	struct registry *registry = call->registry;
	unsigned retries = call->query.impatient ? 0 : registry->retries;
	uint32_t random = 0;
	uint64_t wait;

	free(call->redirect_url);
	call->redirect_url = NULL;
	if (call->attempt_bytes >= PROGRESS_BYTES && !call_is_listing(call))
		call->attempt = 0;
	call->attempt++;
	/* An endpoint that cannot be reached is left at once where there is another. */
	if ((unreachable || call->attempt > retries) && next_endpoint(call)) {
		count_retry(call, call->retry_reason);
		call_begin(call);
		return;
	}
	if (call->attempt > retries) {
		call_end(call, &call->last);
		return;
	}
	count_retry(call, call->retry_reason);
	(void)!getrandom(&random, sizeof(random), GRND_NONBLOCK);
	wait = retry_backoff_ms(call->attempt, random);
	if (call->retry_after_ms > wait)
		wait = call->retry_after_ms;
	call->state = CALL_RETRY;
	call->retry_timer.run = on_retry_timer;
	loop_timer_set(registry->loop, &call->retry_timer, wait);
}

/* NEXT and TOKEN. */

static const char *call_scope(const struct registry_call *call)
{
	const char *scope = call_endpoint(call)->challenge.scope;

	/* A scope in a form of its own ("aws" at ECR Public) is taken as it is. Of a repository it is ours: the
	 * challenge that we remember may have been for another, or ask for more than a pull needs. */
	return scope[0] && !strchr(scope, ':') && !strchr(scope, ' ') ? scope : call->scope;
}

static void on_token(struct token_waiter *waiter, const char *authorization, const struct err *err)
{
	struct registry_call *call =
		(struct registry_call *)((char *)waiter - offsetof(struct registry_call, token_waiter));

	if (err) {
		/* What led here may have been a passing mistake: the registry is asked again where its tokens come
		 * from. */
		if (err->code != ERR_CANCELLED)
			call_endpoint(call)->challenge.scheme = CHALLENGE_NONE;
		call->last = *err;
		call->attempt_bytes = 0;
		call->retry_reason = REGISTRY_RETRY_TOKEN;
		call->retry_after_ms = err->code == ERR_RATE ? (uint64_t)err->retry_after_s * 1000 : 0;
		if (err->code == ERR_DENIED || err->code == ERR_CANCELLED)
			call_end(call, err);
		else
			call_retry(call, false);
		return;
	}
	forget_authorization(call);
	if (!authorization) {
		/* Nothing to answer a Basic challenge with; it may have been another repository's. */
		call_endpoint(call)->challenge.scheme = CHALLENGE_NONE;
		if (call->last.code == ERR_DENIED) {
			call_end(call, &call->last);
			return;
		}
	}
	call->authorization = mem_strdup(authorization);
	call_permit(call);
}

void call_begin(struct registry_call *call)
{
	struct endpoint *endpoint = call_endpoint(call);

	call->state = CALL_NEXT;
	call->retry_after_ms = 0;
	if (endpoint->challenge.scheme != CHALLENGE_NONE && !call->redirect_url && !beside_registry(call)) {
		call->state = CALL_TOKEN;
		call->token_waiter.ready = on_token;
		token_get(endpoint->tokens, &endpoint->challenge, call_scope(call), endpoint->is_private,
			  &call->token_waiter);
		return;
	}
	forget_authorization(call);
	call_permit(call);
}

/* PERMIT. */

/* Whether an answer to another call told, while this one waited, that it needs credentials which can be had. */
static bool challenge_came(const struct registry_call *call)
{
	return !call->authorization && !call->redirect_url && !beside_registry(call) &&
	       call_endpoint(call)->challenge.scheme != CHALLENGE_NONE;
}

static void on_permit(struct pace_permit *permit)
{
	struct registry_call *call = (struct registry_call *)((char *)permit - offsetof(struct registry_call, permit));

	if (challenge_came(call)) {
		pace_release(call->registry->pace, permit);
		call_begin(call);
		return;
	}
	call_fetch(call);
}

static void call_permit(struct registry_call *call)
{
	call->state = CALL_PERMIT;
	call->permit.granted = on_permit;
	pace_acquire(call->registry->pace, &call->permit);
}

/* FETCH: the answer's head. */

static bool strong_etag(const char *etag)
{
	size_t len = etag ? strlen(etag) : 0;

	return len >= 2 && len <= 255 && etag[0] == '"' && etag[len - 1] == '"';
}

/* "bytes START-END/TOTAL" (RFC 9110, section 14.4). */
static int content_range_parse(const char *value, uint64_t *start, uint64_t *end, uint64_t *total)
{
	int used = 0;

	if (!value || strncasecmp(value, "bytes ", 6) != 0 || !isdigit((unsigned char)value[6]))
		return ERR_INVALID;
	if (sscanf(value + 6, "%" SCNu64 "-%" SCNu64 "/%n", start, end, &used) != 2 || used == 0 || *start > *end)
		return ERR_INVALID;
	value += 6 + used;
	if (strcmp(value, "*") == 0)
		*total = REGISTRY_LENGTH_UNKNOWN;
	else if (!isdigit((unsigned char)*value) || sscanf(value, "%" SCNu64, total) != 1 || *total <= *end)
		return ERR_INVALID;
	return 0;
}

static int refuse(struct registry_call *call, int code, const char *why)
{
	err_set(&call->last, code, "%s", why);
	return code;
}

/* Where the body begins and how long the whole is; negative when the answer does not fit what we have. */
static int place_answer(struct registry_call *call, struct fetch *fetch, const struct fetch_head *head,
			struct registry_answer *answer)
{
	uint64_t start, end, total;
	bool same_endpoint = call->etag_endpoint == call->endpoint;

	answer->etag = strong_etag(fetch_header(fetch, "ETag")) ? fetch_header(fetch, "ETag") : NULL;
	if (head->status == 200) {
		answer->offset = 0;
		answer->size = head->content_length;
		return 0;
	}
	if (content_range_parse(fetch_header(fetch, "Content-Range"), &start, &end, &total))
		return refuse(call, ERR_UPSTREAM, "a partial answer with a Content-Range that makes no sense");
	if (start != call->asked_offset || (call->query.end > 0 && end >= call->query.end) ||
	    (head->content_length != FETCH_LENGTH_UNKNOWN && head->content_length != end - start + 1))
		return refuse(call, ERR_UPSTREAM, "a partial answer of another range than was asked for");
	answer->offset = start;
	answer->size = total;
	if ((call->size != REGISTRY_LENGTH_UNKNOWN && total != REGISTRY_LENGTH_UNKNOWN && total != call->size) ||
	    (same_endpoint && call->etag && answer->etag && strcmp(call->etag, answer->etag) != 0)) {
		call->start_over = true;
		return refuse(call, ERR_UPSTREAM, "the upstream has another version now");
	}
	if (answer->size == REGISTRY_LENGTH_UNKNOWN)
		answer->size = call->size;
	return 0;
}

static int take_good_head(struct registry_call *call, struct fetch *fetch, const struct fetch_head *head)
{
	struct registry_answer answer = {
		.content_type = fetch_header(fetch, "Content-Type"),
		.content_digest = fetch_header(fetch, "Docker-Content-Digest"),
		.link = fetch_header_all(fetch, "Link"),
		.base = call_endpoint(call)->base,
	};
	const char *encoding = fetch_header(fetch, "Content-Encoding");
	int code;

	if (encoding && strcasecmp(encoding, "identity") != 0)
		return refuse(call, ERR_UPSTREAM, "the upstream encoded the content, which was not asked for");
	code = place_answer(call, fetch, head, &answer);
	if (code)
		return code;
	answer.from_mirror = call->endpoint > 0;
	if (answer.etag && (answer.offset == 0 || !call->etag)) {
		free(call->etag);
		call->etag = mem_strdup(answer.etag);
		call->etag_endpoint = call->endpoint;
	}
	call->size = answer.size;
	call->offset = answer.offset;
	call->answered = true;
	call->sink_code = call->sink->on_answer(call->arg, &answer);
	if (call->sink_code == ERR_AGAIN) {
		call->start_over = true;
		call->sink_code = 0;
		return refuse(call, ERR_UPSTREAM, "the upstream has another version now");
	}
	return call->sink_code;
}

static int on_head(void *arg, struct fetch *fetch, const struct fetch_head *head)
{
	struct registry_call *call = arg;
	struct endpoint *endpoint = call_endpoint(call);

	call->status = head->status;
	if (head->status != 429 && head->status < 500)
		registry_note_answer(call->registry);
	if (!call->redirect_url) {
		if (call->endpoint == 0)
			registry_note_budget(call->registry, fetch);
		if (head->peer_private)
			endpoint->is_private = true;
		if (head->http2 && endpoint->http2_failures > 0)
			endpoint->http2_failures--;
		if (head->http2)
			pace_set_window_max(call->registry->pace,
					    call->registry->max_connections * HTTP2_STREAMS_PER_CONNECTION);
	}
	if (head->status != 429 && head->status < 500)
		pace_answered(call->registry->pace, &call->permit);
	if (call->redirect_url && head->status < 300)
		pace_release(call->registry->pace,
			     &call->permit); /* the body comes from elsewhere, and is not the registry's load */
	if (head->status == 200 || (head->status == 206 && call->ranged))
		return take_good_head(call, fetch, head);
	return 0;
}

/* FETCH: the body. */

static int on_body(void *arg, struct fetch *fetch, const void *data, size_t len)
{
	struct registry_call *call = arg;

	(void)fetch;
	if (call->status != 200 && call->status != 206)
		return 0; /* an error's body says nothing that its status does not */
	if (call->head_by_get) {
		call->head_known = true; /* the byte itself is of no use */
		return ERR_CANCELLED;
	}
	call->attempt_bytes += len;
	call->sink_code = call->sink->on_body(call->arg, call->offset, data, len);
	if (call->sink_code == 0)
		call->offset += len;
	return call->sink_code;
}

/* FETCH: the end of an answer. */

/* Some registries refuse the HEAD of a blob whose GET they allow (ECR Public): one byte of it tells as much. */
static bool ask_by_get(struct registry_call *call)
{
	if (!call->query.head || call->query.kind != REGISTRY_BLOB || call->head_by_get)
		return false;
	call->head_by_get = true;
	call->query.head = false;
	call->query.end = 1;
	call->token_renewed = false;
	call_begin(call);
	return true;
}

/* What the registry refused is dropped; once, another is tried where one may be had. */
static bool try_other_authorization(struct registry_call *call)
{
	struct endpoint *endpoint = call_endpoint(call);

	if (!token_drop(endpoint->tokens, &endpoint->challenge, call_scope(call), call->authorization) ||
	    call->token_renewed)
		return false;
	call->token_renewed = true;
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
	if (beside_registry(call)) {
		call_end(call, &call->last);
		return;
	}
	if (!header || challenge_parse(header, &endpoint->challenge) || endpoint->challenge.scheme == CHALLENGE_NONE) {
		endpoint->challenge.scheme = CHALLENGE_NONE;
		call_end(call, &call->last);
		return;
	}
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
	else if (!ask_by_get(call))
		call_end(call, &call->last);
}

/* To another place (RFC 9110, section 15.4): bounded, and never from public ground to private. Authorization stays
 * behind: call_fetch() sends it to the endpoint's own origin alone. */
static void done_redirect(struct registry_call *call, struct fetch *fetch)
{
	const char *location = fetch_header(fetch, "Location");
	const struct endpoint *endpoint = call_endpoint(call);
	const char *from = call->redirect_url ? call->redirect_url : endpoint->base;
	char *to = location ? url_join(from, location) : NULL;
	struct url url;

	if (!to || url_parse(to, &url) || ++call->redirects > REGISTRY_REDIRECTS_MAX ||
	    (endpoint->url.https && !url.https) || (!endpoint->is_private && url_host_private(url.host))) {
		free(to);
		err_set(&call->last, ERR_UPSTREAM, "%s redirects to where larder does not follow",
			call->registry->name);
		call_end(call, &call->last);
		return;
	}
	free(call->redirect_url);
	call->redirect_url = to;
	call_fetch(call);
}

static void done_overloaded(struct registry_call *call, struct fetch *fetch)
{
	const char *header = fetch_header(fetch, "Retry-After");
	uint64_t after_ms = 0;

	if (header && retry_after_parse(header, clock_wall_ms(), &after_ms))
		after_ms = 0;
	call->retry_after_ms = after_ms;
	err_set(&call->last, call->status == 429 ? ERR_RATE : ERR_UPSTREAM, "%s answered HTTP %d", call->registry->name,
		call->status);
	call->last.retry_after_s = (int)((after_ms + 999) / 1000);
	call->retry_reason = call->status == 429 ? REGISTRY_RETRY_RATE_LIMITED : REGISTRY_RETRY_SERVER_ERROR;
	if (call->status == 429 || call->status == 503)
		pace_congested(call->registry->pace, &call->permit, after_ms);
	pace_release(call->registry->pace, &call->permit);
	if (after_ms > RETRY_AFTER_BEARABLE_MS && !next_endpoint(call))
		call_end(call, &call->last);
	else
		call_retry(call, false);
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
	count_retry(call, REGISTRY_RETRY_CHANGED);
	call_begin(call);
}

/* What registries that have no referrers API answer, besides 404. */
static bool lacks_referrers(const struct registry_call *call)
{
	int status = call->status;

	return call->query.kind == REGISTRY_REFERRERS &&
	       (status == 400 || status == 405 || status == 406 || status == 501);
}

static void done_status(struct registry_call *call, struct fetch *fetch)
{
	int status = call->status;
	bool missing = status == 404 || lacks_referrers(call);

	if (status == 401 && !call->redirect_url) {
		pace_release(call->registry->pace, &call->permit);
		done_unauthorized(call, fetch);
	} else if (status == 301 || status == 302 || status == 303 || status == 307 || status == 308) {
		done_redirect(call, fetch);
	} else if (missing && call->endpoint == 0) {
		err_set(&call->last, ERR_NOT_FOUND, "%s has no such thing", call->registry->name);
		call_end(call, &call->last);
	} else if (missing) {
		/* A mirror's 404 does not speak for the registry, which could not be asked: call->last says why. */
		pace_release(call->registry->pace, &call->permit);
		if (next_endpoint(call))
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
		call_retry(call, false);
	} else if (status == 403) {
		done_forbidden(call);
	} else if (status == 416 && call->ranged && call->query.end == 0) {
		/* What we hold is longer than what there is now. */
		err_set(&call->last, ERR_UPSTREAM, "%s has another version now: HTTP 416", call->registry->name);
		pace_release(call->registry->pace, &call->permit);
		done_start_over(call);
	} else {
		err_set(&call->last, ERR_UPSTREAM, "%s answered HTTP %d", call->registry->name, status);
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
	count_retry(call, call->retry_reason);
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
	if (!range_goes_on(call)) {
		call_end(call, NULL);
		return;
	}
	pace_release(call->registry->pace, &call->permit);
	call->attempt = 0;
	call_begin(call);
}

static void on_done(void *arg, struct fetch *fetch, enum fetch_failure failure, const char *why)
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

static const struct fetch_sink fetch_sink = {.on_head = on_head, .on_body = on_body, .on_done = on_done};

/* FETCH: the request. */

static void append_path(struct buf *text, const struct registry_call *call)
{
	static const char *const rooms[] = {
		[REGISTRY_MANIFEST] = "manifests", [REGISTRY_BLOB] = "blobs", [REGISTRY_REFERRERS] = "referrers"};

	if (call->query.kind == REGISTRY_PING)
		buf_append_text(text, "/v2/");
	else if (call->query.kind == REGISTRY_RAW)
		buf_append_text(text, call->reference);
	else if (call->query.kind == REGISTRY_TAGS)
		buf_printf(text, "/v2/%s/tags/list%s%s", call->repository, call->reference[0] ? "?" : "",
			   call->reference);
	else
		buf_printf(text, "/v2/%s/%s/%s", call->repository, rooms[call->query.kind], call->reference);
}

static void call_fetch(struct registry_call *call)
{
	struct endpoint *endpoint = call_endpoint(call);
	_cleanup_(buf_dispose) struct buf url = {0}, authorization = {0}, accept = {0}, if_range = {0};
	char range[64];
	int len;
	const char *headers[4];
	struct fetch_request request = {.kind = call->query.kind, .head = call->query.head, .headers = headers};
	struct url to;

	call->state = CALL_FETCH;
	call->status = 0;
	call->attempt_bytes = 0;
	call->sink_code = 0;
	if (call_is_listing(call))
		call->offset = 0;
	call->asked_offset = call->offset;
	call->ranged = !call->query.head && (call->offset > 0 || call->query.end > 0);
	if (call->redirect_url) {
		buf_append_text(&url, call->redirect_url);
	} else {
		buf_append_text(&url, endpoint->base);
		append_path(&url, call);
		call->redirects = 0;
	}
	request.url = url.data;
	if (call->authorization && url_parse(url.data, &to) == 0 && url_same_origin(&to, &endpoint->url)) {
		buf_printf(&authorization, "Authorization: %s", call->authorization);
		headers[request.header_count++] = authorization.data;
	}
	if (call->accept) {
		buf_printf(&accept, "Accept: %s", call->accept);
		headers[request.header_count++] = accept.data;
	} else {
		headers[request.header_count++] = "Accept:"; /* else the library would send its own */
	}
	if (call->ranged) {
		len = snprintf(range, sizeof(range), "Range: bytes=%" PRIu64 "-", call->asked_offset);
		if (call->query.end > 0)
			snprintf(range + len, sizeof(range) - (size_t)len, "%" PRIu64, call->query.end - 1);
		headers[request.header_count++] = range;
		/* Another endpoint's validator would mean nothing here; the digest of the whole decides in the end. */
		if (call->etag && call->etag_endpoint == call->endpoint) {
			buf_printf(&if_range, "If-Range: %s", call->etag);
			headers[request.header_count++] = if_range.data;
		}
	}
	request.http1 = clock_ms() < endpoint->http1_until_ms;
	request.own_connection = call->query.own_connection;
	call->http2_epoch = endpoint->http2_epoch;
	call->spoke_http1 = request.http1 || request.own_connection;
	request.public_only = call->redirect_url && !endpoint->is_private;
	request.no_client_cert =
		call->redirect_url && (url_parse(url.data, &to) || !url_same_host(&to, &endpoint->url));
	call->fetch = fetch_start(call->registry->pool, &request, &fetch_sink, call);
}
