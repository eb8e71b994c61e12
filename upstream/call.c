/* SPDX-License-Identifier: Apache-2.0 */
/* One call to a registry: the states that registry.h lists, a function each. What answers mean is in call_head.c and
 * call_done.c. */
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

#define PROGRESS_BYTES ((uint64_t)64 << 10) /* less than this, and an attempt counts as one without progress */

static void call_permit(struct registry_call *call);

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
	client_login_release(call->query.login);
	free(call->redirect_url);
	forget_authorization(call);
	free(call->etag);
	buf_dispose(&call->refusal);
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
bool call_beside_registry(const struct registry_call *call)
{
	return call->query.kind == REGISTRY_RAW && call->repository[0] == '\0';
}

static void on_retry_timer(struct loop_timer *timer)
{
	call_begin((struct registry_call *)((char *)timer - offsetof(struct registry_call, retry_timer)));
}

void call_count_retry(struct registry_call *call, enum registry_retry reason)
{
	count_add(&call->registry->counts.retries[reason], 1);
}

bool call_next_endpoint(struct registry_call *call)
{
	if (call->endpoint + 1 >= call->registry->endpoint_count || call_beside_registry(call) ||
	    call->query.registry_only)
		return false;
	call->endpoint++;
	call->attempt = 0;
	free(call->redirect_url);
	call->redirect_url = NULL;
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
void call_retry(struct registry_call *call, bool unreachable)
{
	struct registry *registry = call->registry;
	unsigned retries = call->query.impatient ? 0 : registry->retries;
	uint32_t random = 0;
	uint64_t wait;

	free(call->redirect_url);
	call->redirect_url = NULL;
	if (call->attempt_bytes >= PROGRESS_BYTES && !call_is_listing(call)) {
		call->attempt = 0;
		call->permit.borne_ms = 0;
	}
	call->attempt++;
	/* An endpoint that cannot be reached is left at once where there is another. */
	if ((unreachable || call->attempt > retries) && call_next_endpoint(call)) {
		call_count_retry(call, call->retry_reason);
		call_begin(call);
		return;
	}
	if (call->attempt > retries) {
		call_end(call, &call->last);
		return;
	}
	call_count_retry(call, call->retry_reason);
	(void)!getrandom(&random, sizeof(random), GRND_NONBLOCK);
	wait = retry_backoff_ms(call->attempt, random);
	if (call->retry_after_ms > wait)
		wait = call->retry_after_ms;
	call->state = CALL_RETRY;
	call->retry_timer.run = on_retry_timer;
	loop_timer_set(registry->loop, &call->retry_timer, wait);
}

/* This endpoint is of no use now. */
static void leave_endpoint(struct registry_call *call)
{
	if (!call_next_endpoint(call)) {
		call_end(call, &call->last);
		return;
	}
	call_count_retry(call, call->retry_reason);
	call_begin(call);
}

void call_retry_after(struct registry_call *call, uint64_t after_ms)
{
	bool bearable;

	call->permit.borne_ms += after_ms;
	bearable = call->permit.priority == PACE_CLIENT ? call->permit.borne_ms <= PACE_PATIENCE_MS
							: after_ms <= PACE_GATE_MAX_MS;
	call->retry_after_ms = after_ms;
	if (bearable)
		call_retry(call, false);
	else
		leave_endpoint(call);
}

/* NEXT and TOKEN. */

const char *call_scope(const struct registry_call *call)
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
		if (err->code == ERR_DENIED || err->code == ERR_CANCELLED)
			call_end(call, err);
		else
			call_retry_after(call, (uint64_t)err->retry_after_s * 1000);
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
	if (endpoint->challenge.scheme != CHALLENGE_NONE && !call->redirect_url && !call_beside_registry(call)) {
		call->state = CALL_TOKEN;
		call->token_waiter.ready = on_token;
		token_get(endpoint->tokens, &endpoint->challenge, call_scope(call), endpoint->challenge_ground,
			  call_login(call), &call->token_waiter);
		return;
	}
	forget_authorization(call);
	call_permit(call);
}

/* PERMIT. */

/* Whether an answer to another call told, while this one waited, that it needs credentials which can be had. */
static bool challenge_came(const struct registry_call *call)
{
	return !call->authorization && !call->redirect_url && !call_beside_registry(call) &&
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

static void on_refused(struct pace_permit *permit, uint64_t gate_ms)
{
	struct registry_call *call = (struct registry_call *)((char *)permit - offsetof(struct registry_call, permit));
	int status = call->registry->gate_status;

	err_set(&call->last, status == 429 ? ERR_RATE : ERR_UPSTREAM, "%s answered HTTP %d a moment ago",
		call->registry->name, status);
	call->last.retry_after_s = retry_after_s(gate_ms);
	call->retry_reason = status == 429 ? REGISTRY_RETRY_RATE_LIMITED : REGISTRY_RETRY_SERVER_ERROR;
	leave_endpoint(call);
}

static void call_permit(struct registry_call *call)
{
	call->state = CALL_PERMIT;
	call->permit.granted = on_permit;
	call->permit.refused = on_refused;
	call->permit.elsewhere = call->endpoint > 0;
	call->permit.impatient = call->query.impatient;
	pace_acquire(call->registry->pace, &call->permit);
}

static const struct fetch_sink fetch_sink = {.on_head = call_on_head, .on_body = call_on_body, .on_done = call_on_done};

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

void call_fetch(struct registry_call *call)
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
	buf_clear(&call->refusal);
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
	request.nearest = call->redirect_url ? call->redirect_ground : URL_LOCAL;
	request.no_client_cert =
		call->redirect_url && (url_parse(url.data, &to) || !url_same_host(&to, &endpoint->url));
	call->fetch = fetch_start(call->registry->pool, &request, &fetch_sink, call);
}
