/* SPDX-License-Identifier: Apache-2.0 */
/* One request and its answer: planned once by rules and registry, then paced out in steps that both protocols share. */
#include "tests/wire/scripted_internal.h"

#include "base/cleanup.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

/* Shaped bodies go out in bits of about this much time: fine enough for a reader to see an even flow. */
#define STEP_US        2000
#define STEP_BYTES_MAX ((uint64_t)16384)

struct exchange *exchange_new(struct connection *connection, int32_t stream)
{
	struct exchange *exchange = mem_alloc(sizeof(*exchange));
	exchange->connection = connection;
	exchange->stream = stream;
	exchange->request.body.max = BODY_MAX;
	exchange->answer.length_said = -1;
	exchange->next = connection->exchanges;
	connection->exchanges = exchange;
	return exchange;
}

static void exchange_free(struct exchange *exchange)
{
	struct request *request = &exchange->request;
	free(request->method);
	free(request->target);
	free(request->path);
	free(request->authority);
	headers_dispose(&request->headers);
	buf_dispose(&request->body);
	headers_dispose(&exchange->answer.headers);
	if (exchange->answer.owned) {
		free(exchange->answer.owned->bytes);
		free(exchange->answer.owned);
	}
	free(exchange);
}

void exchange_end(struct exchange *exchange, enum scripted_outcome outcome)
{
	if (exchange->planned)
		log_note_end(exchange, outcome);
	struct exchange **link = &exchange->connection->exchanges;
	while (*link != exchange)
		link = &(*link)->next;
	*link = exchange->next;
	exchange_free(exchange);
}

/* The shape's own refusals, which rules cannot express: too many at once, or too fast. */
static bool shape_refuses(struct exchange *exchange, uint64_t now_us)
{
	struct scripted *scripted = exchange->connection->scripted;
	const struct scripted_shape *shape = &scripted->options.shape;
	uint64_t wake_us = 0;
	bool refused = shape->requests_max && scripted->stats.running > shape->requests_max;
	if (!refused && shape->requests_per_s) {
		refused = !bucket_offers(&scripted->requests, 1, now_us, &wake_us);
		if (!refused)
			bucket_take(&scripted->requests, 1);
	}
	if (!refused)
		return false;
	log_note_limited(exchange);
	answer_error(exchange, 429, "TOOMANYREQUESTS", "the shape allows no more");
	if (shape->retry_after_s) {
		_cleanup_free_ char *seconds = mem_printf("%u", shape->retry_after_s);
		headers_set(&exchange->answer.headers, "Retry-After", seconds);
	}
	return true;
}

static void answer_redirect(struct exchange *exchange)
{
	const struct scripted_rule *script = exchange_script(exchange);
	size_t len = strlen(script->redirect);
	bool appends = len > 0 && script->redirect[len - 1] == '*';
	_cleanup_free_ char *location = mem_printf("%.*s%s", (int)(appends ? len - 1 : len), script->redirect,
						   appends ? exchange->request.target : "");
	answer_text(exchange, script->status ? script->status : 307, "text/plain", "");
	headers_set(&exchange->answer.headers, "Location", location);
}

static void answer_scripted(struct exchange *exchange, uint64_t now_us)
{
	const struct scripted_rule *script = exchange_script(exchange);
	if (script->redirect)
		answer_redirect(exchange);
	else if (script->status && script->body)
		answer_text(exchange, script->status, "application/json", script->body);
	else if (script->status)
		answer_error(exchange, script->status, "UNKNOWN", "scripted");
	else if (!shape_refuses(exchange, now_us))
		registry_answer(exchange, now_us);
}

/* What the rule has to say about an answer that is otherwise ready. */
static void answer_bend(struct exchange *exchange)
{
	const struct scripted_rule *script = exchange_script(exchange);
	struct answer *answer = &exchange->answer;
	headers_set_lines(&answer->headers, script->headers);
	if (script->no_length || script->endless_body)
		answer->length_said = -1;
	else if (answer->length_said >= 0)
		answer->length_said += script->length_lie;
	if (answer->length_said < 0 && script->length_lie)
		answer->length_said = 0;
}

void exchange_plan(struct exchange *exchange, uint64_t now_us)
{
	struct connection *connection = exchange->connection;
	struct scripted *scripted = connection->scripted;
	struct request *request = &exchange->request;
	request->path = mem_strndup(request->target, strcspn(request->target, "?"));
	request->query = request->target + strlen(request->path);
	request->query += *request->query == '?';
	exchange->head_only = strcmp(request->method, "HEAD") == 0;
	exchange->planned = true;
	log_note_request(exchange);
	exchange->rule = rules_match(scripted, exchange);
	answer_scripted(exchange, now_us);
	answer_bend(exchange);
	exchange->head_at_us = now_us + (uint64_t)exchange_script(exchange)->delay_ms * 1000;
	uint64_t rate = exchange_script(exchange)->rate;
	bucket_set(&exchange->rate, rate ? rate : scripted->options.shape.rate_stream, 0, exchange->head_at_us);
}

bool exchange_head_due(struct exchange *exchange, uint64_t now_us, uint64_t *wake_us)
{
	if (exchange_script(exchange)->hold && !exchange->rule->released)
		return false;
	if (now_us >= exchange->head_at_us)
		return true;
	if (exchange->head_at_us < *wake_us)
		*wake_us = exchange->head_at_us;
	return false;
}

void exchange_note_head(struct exchange *exchange)
{
	exchange->head_sent = true;
	exchange->record->status = exchange->answer.status;
	exchange->record->head_ms = (double)(clock_us() - exchange->connection->scripted->started_us) / 1000.0;
	pthread_cond_broadcast(&exchange->connection->scripted->changed);
}

/* How much of `room` all the buckets on the way let through now; 0 and *wake_us when it is worth waiting. */
static uint64_t pace_grant(struct exchange *exchange, uint64_t room, uint64_t now_us, uint64_t *wake_us)
{
	struct connection *connection = exchange->connection;
	struct scripted *scripted = connection->scripted;
	struct bucket *buckets[] = {&exchange->rate, &connection->rate, &scripted->rate};
	uint64_t least = STEP_BYTES_MAX;
	uint64_t wake = 0;
	if (!exchange->rate.rate && !connection->rate.rate && !scripted->rate.rate)
		return room;
	for (size_t i = 0; i < 3; i++) {
		uint64_t step = buckets[i]->rate * STEP_US / 1000000;
		if (buckets[i]->rate && step < least)
			least = step ? step : 1;
	}
	if (least > room)
		least = room;
	for (size_t i = 0; i < 3; i++)
		bucket_offers(buckets[i], least, now_us, &wake);
	if (wake) {
		*wake_us = wake;
		return 0;
	}
	uint64_t grant = room;
	for (size_t i = 0; i < 3; i++)
		grant = bucket_available(buckets[i], grant, now_us);
	/* Those who share the whole rate take turns of a step, or the first in the list would starve the rest. */
	if (scripted->rate.rate && scripted->stats.running > 1 && grant > least)
		grant = least;
	return grant;
}

static void pace_take(struct exchange *exchange, uint64_t bytes)
{
	bucket_take(&exchange->rate, bytes);
	bucket_take(&exchange->connection->rate, bytes);
	bucket_take(&exchange->connection->scripted->rate, bytes);
	exchange->sent += bytes;
}

/* Whether a stall is on. */
static bool stalls(struct exchange *exchange, uint64_t now_us, uint64_t *wake_us)
{
	const struct scripted_rule *script = exchange_script(exchange);
	if (!script->stall || exchange->sent != script->stall_at || exchange->rule->released)
		return false;
	if (exchange->stalled_until_us == 0)
		exchange->stalled_until_us = script->stall_ms ? now_us + (uint64_t)script->stall_ms * 1000 : NEVER;
	*wake_us = exchange->stalled_until_us;
	return now_us < exchange->stalled_until_us;
}

static void body_fill(struct exchange *exchange, char *data, size_t len)
{
	const struct scripted_rule *script = exchange_script(exchange);
	const struct answer *answer = &exchange->answer;
	uint64_t offset = answer->from + exchange->sent;
	uint64_t left = exchange->sent < answer->length ? answer->length - exchange->sent : 0;
	size_t real = left < len ? (size_t)left : len;
	if (real > 0)
		content_read(answer->content, offset, data, real);
	memset(data + real, 'x', len - real);
	if (script->flip && script->flip_at >= offset && script->flip_at - offset < len)
		data[script->flip_at - offset] ^= 1;
}

enum step exchange_step(struct exchange *exchange, uint64_t now_us, char *data, size_t cap, size_t *len,
			uint64_t *wake_us)
{
	const struct scripted_rule *script = exchange_script(exchange);
	uint64_t end = script->endless_body ? NEVER : exchange->answer.length;
	uint64_t room = cap;

	if (exchange->head_only)
		end = 0;
	if (stalls(exchange, now_us, wake_us))
		return STEP_WAIT;
	if (script->cut && exchange->sent >= (uint64_t)script->cut_at)
		return STEP_CUT;
	if (exchange->sent == end)
		return STEP_END;
	if (script->cut && (uint64_t)script->cut_at - exchange->sent < room)
		room = (uint64_t)script->cut_at - exchange->sent;
	if (script->stall && script->stall_at > exchange->sent && script->stall_at - exchange->sent < room)
		room = script->stall_at - exchange->sent;
	if (end - exchange->sent < room)
		room = end - exchange->sent;
	uint64_t grant = pace_grant(exchange, room, now_us, wake_us);
	if (grant == 0)
		return STEP_WAIT;
	assert(grant <= cap);
	body_fill(exchange, data, (size_t)grant);
	pace_take(exchange, grant);
	log_note_body(exchange, grant);
	*len = (size_t)grant;
	return STEP_BYTES;
}

enum step exchange_step_header(struct exchange *exchange, uint64_t now_us, size_t cap, uint64_t *wake_us)
{
	const struct scripted_rule *script = exchange_script(exchange);
	if (script->cut && exchange->sent >= (uint64_t)script->cut_at)
		return STEP_CUT;
	if (!bucket_offers(&exchange->rate, cap, now_us, wake_us))
		return STEP_WAIT;
	pace_take(exchange, cap);
	return STEP_BYTES;
}
