/* SPDX-License-Identifier: Apache-2.0 */
/* What a call makes of an answer while it comes: its head, and where its body belongs. */
#include "upstream/content_range.h"
#include "upstream/registry_internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* FETCH: the answer's head. */

static bool strong_etag(const char *etag)
{
	size_t len = etag ? strlen(etag) : 0;

	if (len < 2 || len > 255 || etag[0] != '"' || etag[len - 1] != '"')
		return false;
	/* RFC 9110, section 8.8.3: it is sent back, perhaps to another server. */
	for (size_t i = 1; i < len - 1; i++)
		if ((unsigned char)etag[i] <= ' ' || etag[i] == '"' || etag[i] == 0x7f)
			return false;
	return true;
}

static int refuse(struct registry_call *call, int code, const char *why)
{
	err_set(&call->last, code, "%s", why);
	return code;
}

/* A server that gets ranges wrong is asked for the whole, where that is of use. */
static int refuse_part(struct registry_call *call, const char *why)
{
	call->start_over = call->query.end == 0;
	return refuse(call, ERR_UPSTREAM, why);
}

/* Where the body begins and how long the whole is; negative when the answer does not fit what we have. */
static int place_answer(struct registry_call *call, struct fetch *fetch, const struct fetch_head *head,
			struct registry_answer *answer)
{
	struct content_range range;
	bool same_endpoint = call->etag_endpoint == call->endpoint;

	answer->etag = strong_etag(fetch_header(fetch, "ETag")) ? fetch_header(fetch, "ETag") : NULL;
	if (head->status == 200) {
		answer->offset = 0;
		answer->size = head->content_length;
		return 0;
	}
	if (content_range_parse(fetch_header(fetch, "Content-Range"), &range))
		return refuse_part(call, "a partial answer with a Content-Range that makes no sense");
	if (range.start != call->asked_offset || (call->query.end > 0 && range.end >= call->query.end) ||
	    (head->content_length != FETCH_LENGTH_UNKNOWN && head->content_length != range.end - range.start + 1))
		return refuse_part(call, "a partial answer of another range than was asked for");
	answer->offset = range.start;
	answer->size = range.total;
	if ((call->size != REGISTRY_LENGTH_UNKNOWN && range.total != REGISTRY_LENGTH_UNKNOWN &&
	     range.total != call->size) ||
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

/* Each answer for itself: that a name had a near address once, which whoever answers for the name may say, is no reason
 * to be led to such ones later. */
static enum url_ground answer_ground(const struct registry_call *call, const struct fetch_head *head)
{
	enum url_ground written = call_endpoint(call)->ground;
	struct url url;

	if (call->redirect_url)
		written = url_parse(call->redirect_url, &url) ? URL_PUBLIC : url_host_ground(url.host);
	return written > head->ground ? written : head->ground;
}

int call_on_head(void *arg, struct fetch *fetch, const struct fetch_head *head)
{
	struct registry_call *call = arg;
	struct endpoint *endpoint = call_endpoint(call);

	call->status = head->status;
	call->ground = answer_ground(call, head);
	if (head->status != 429 && head->status < 500)
		registry_note_answer(call->registry);
	if (!call->redirect_url) {
		if (call->endpoint == 0)
			registry_note_budget(call->registry, fetch);
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

int call_on_body(void *arg, struct fetch *fetch, const void *data, size_t len)
{
	struct registry_call *call = arg;

	(void)fetch;
	if (call->status == 403 || call->status == 404)
		(void)buf_append(&call->refusal, data, len); /* what is beyond its bound is not read */
	if (call->status != 200 && call->status != 206)
		return 0;
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
