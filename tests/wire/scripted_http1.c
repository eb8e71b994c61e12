/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/1.1 (RFC 9112), one exchange at a time; what is pipelined waits in `in`. */
#include "tests/wire/scripted_internal.h"

#include "base/cleanup.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#define RUN_BYTES_MAX ((size_t)4 << 20) /* then it is others' turn */
#define CHUNK_HEAD    10                /* "%08zx\r\n" */

#define FIELD_SIZE    1024 /* of an endless header */
#define TLS_HANDSHAKE 0x16 /* what a TLS client begins with */

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

static void http1_read(struct connection *connection, uint64_t now_us)
{
	char data[16384];
	while (!connection->peer_ended && connection->in.len < HEAD_MAX) {
		ssize_t n = connection_receive(connection, data, sizeof(data), now_us);
		if (n < 0 && errno == EAGAIN)
			return;
		/* A client that tries TLS on a plain port learns at once that it is none. */
		if (n <= 0 || (connection->in.len == 0 && data[0] == TLS_HANDSHAKE))
			connection->peer_ended = true;
		else if (buf_append(&connection->in, data, (size_t)n) != 0)
			connection->peer_ended = true;
	}
}

static void drop_input(struct buf *in, size_t len)
{
	memmove(in->data, in->data + len, in->len - len);
	in->len -= len;
	in->data[in->len] = '\0';
}

static void parse_field(struct request *request, const char *line, size_t len)
{
	const char *colon = memchr(line, ':', len);
	if (!colon)
		return;
	const char *value = colon + 1;
	const char *end = line + len;
	while (value < end && isspace((unsigned char)*value))
		value++;
	while (end > value && isspace((unsigned char)end[-1]))
		end--;
	headers_add(&request->headers, line, (size_t)(colon - line), value, (size_t)(end - value));
}

/* Takes one whole request out of `in`. False: not there yet. A malformed one ends the connection. */
static bool http1_parse(struct connection *connection, uint64_t now_us)
{
	struct buf *in = &connection->in;
	char *end = in->data ? memmem(in->data, in->len, "\r\n\r\n", 4) : NULL;
	if (!end) {
		if (in->len >= HEAD_MAX)
			connection_finish(connection, SCRIPTED_CUT_FIN);
		return false;
	}
	size_t head_len = (size_t)(end - in->data) + 4;
	const char *length = strcasestr(in->data, "\r\ncontent-length:");
	size_t body_len = length && length < end ? (size_t)strtoull(length + 17, NULL, 10) : 0;
	const char *space = memchr(in->data, ' ', head_len);
	const char *second = space ? memchr(space + 1, ' ', head_len - (size_t)(space + 1 - in->data)) : NULL;
	if (!second || body_len > BODY_MAX) {
		connection_finish(connection, SCRIPTED_CUT_FIN);
		return false;
	}
	if (in->len < head_len + body_len)
		return false;
	struct exchange *exchange = exchange_new(connection, 0);
	struct request *request = &exchange->request;
	request->method = mem_strndup(in->data, (size_t)(space - in->data));
	request->target = mem_strndup(space + 1, (size_t)(second - space - 1));
	for (const char *line = strstr(in->data, "\r\n") + 2; line < end;) {
		size_t len = (size_t)((const char *)memmem(line, (size_t)(end + 2 - line), "\r\n", 2) - line);
		parse_field(request, line, len);
		line += len + 2;
	}
	request->authority = mem_strdup(headers_get(&request->headers, "Host"));
	int rc = buf_append(&request->body, in->data + head_len, body_len);
	assert(rc == 0);
	drop_input(in, head_len + body_len);
	exchange_plan(exchange, now_us);
	return true;
}

static bool has_body(const struct exchange *exchange)
{
	int status = exchange->answer.status;
	return !exchange->head_only && status != 204 && status != 304;
}

static bool chunked(const struct exchange *exchange)
{
	return exchange->answer.length_said < 0 && has_body(exchange);
}

/* Whether the connection cannot go on after this answer: its end would not be understood. */
static bool closes(const struct exchange *exchange)
{
	const char *asked = headers_get(&exchange->request.headers, "Connection");
	const struct scripted_rule *script = exchange_script(exchange);
	return script->close || script->length_lie || (asked && strcasecmp(asked, "close") == 0);
}

static void http1_put_head(struct exchange *exchange)
{
	struct connection *connection = exchange->connection;
	const struct answer *answer = &exchange->answer;
	_cleanup_(buf_dispose) struct buf head = {0};
	int rc = buf_printf(&head, "HTTP/1.1 %d Scripted\r\n", answer->status);
	for (size_t i = 0; i < answer->headers.count; i++)
		rc |= buf_printf(&head, "%s: %s\r\n", answer->headers.items[i].name, answer->headers.items[i].value);
	if (closes(exchange))
		rc |= buf_append_text(&head, "Connection: close\r\n");
	if (chunked(exchange))
		rc |= buf_append_text(&head, "Transfer-Encoding: chunked\r\n");
	else if (answer->length_said >= 0)
		rc |= buf_printf(&head, "Content-Length: %" PRId64 "\r\n", answer->length_said);
	/* An endless header never comes to its empty line. */
	if (!exchange_script(exchange)->endless_header)
		rc |= buf_append_text(&head, "\r\n");
	assert(rc == 0 && head.len <= OUT_SIZE);
	connection_put(connection, head.data, head.len);
	exchange_note_head(exchange);
}

/* Answers that are none. True: done with. */
static bool http1_put_other(struct exchange *exchange)
{
	struct connection *connection = exchange->connection;
	const struct scripted_rule *script = exchange_script(exchange);
	if (script->raw) {
		assert(script->raw_len <= OUT_SIZE);
		connection_put(connection, script->raw, script->raw_len);
		connection_finish(connection, SCRIPTED_CUT_FIN);
	} else if (script->refuse_stream) {
		connection_finish(connection, SCRIPTED_CUT_FIN);
	} else if (script->cut && script->cut_at == SCRIPTED_BEFORE_HEAD) {
		connection_finish(connection, script->cut);
	} else {
		return false;
	}
	return true;
}

static enum step http1_put_field(struct exchange *exchange, uint64_t now_us, uint64_t *wake_us)
{
	char field[FIELD_SIZE + 1];
	size_t len = (size_t)snprintf(field, sizeof(field), "X-Endless: %01011d\r\n", 0);
	enum step step = exchange_step_header(exchange, now_us, len, wake_us);
	if (step == STEP_BYTES)
		connection_put(exchange->connection, field, len);
	return step;
}

static enum step http1_put_body(struct exchange *exchange, uint64_t now_us, size_t *len, uint64_t *wake_us)
{
	struct connection *connection = exchange->connection;
	bool in_chunks = chunked(exchange);
	size_t around = in_chunks ? CHUNK_HEAD + 2 : 0;
	size_t cap;
	char *room = connection_room(connection, &cap);
	enum step step =
		exchange_step(exchange, now_us, room + (in_chunks ? CHUNK_HEAD : 0), cap - around, len, wake_us);
	if (step == STEP_BYTES && in_chunks) {
		char head[CHUNK_HEAD + 1];
		snprintf(head, sizeof(head), "%08x\r\n", (unsigned)*len);
		memcpy(room, head, CHUNK_HEAD);
		room[CHUNK_HEAD + *len] = '\r';
		room[CHUNK_HEAD + *len + 1] = '\n';
	}
	if (step == STEP_BYTES)
		connection->out_len += *len + around;
	return step;
}

static void http1_end(struct exchange *exchange)
{
	struct connection *connection = exchange->connection;
	bool last = closes(exchange);
	if (chunked(exchange))
		connection_put(connection, "0\r\n\r\n", 5);
	exchange_end(exchange, SCRIPTED_DONE);
	if (last)
		connection_finish(connection, SCRIPTED_CUT_NONE);
}

static void http1_cut(struct exchange *exchange)
{
	struct connection *connection = exchange->connection;
	bool reset = exchange_script(exchange)->cut == SCRIPTED_CUT_RST;
	connection_finish(connection, reset ? SCRIPTED_CUT_RST : SCRIPTED_CUT_FIN);
}

/* One step of the answer. True: there may be more to do at once. */
static bool http1_answer(struct exchange *exchange, uint64_t now_us, size_t *done)
{
	struct connection *connection = exchange->connection;
	uint64_t wake_us = NEVER;
	size_t len = 0;
	enum step step = STEP_BYTES;
	if (!exchange->head_sent) {
		if (!exchange_head_due(exchange, now_us, &wake_us)) {
			connection_wake_at(connection, wake_us);
			return false;
		}
		if (!http1_put_other(exchange))
			http1_put_head(exchange);
		return true;
	}
	if (exchange_script(exchange)->endless_header)
		step = http1_put_field(exchange, now_us, &wake_us);
	else
		step = http1_put_body(exchange, now_us, &len, &wake_us);
	*done += len;
	if (step == STEP_WAIT)
		connection_wake_at(connection, wake_us);
	else if (step == STEP_END)
		http1_end(exchange);
	else if (step == STEP_CUT)
		http1_cut(exchange);
	return step != STEP_WAIT;
}

/* A plain connection that starts with HTTP/2's preface is HTTP/2, where that is offered. */
static bool http1_recognize(struct connection *connection)
{
	const struct buf *in = &connection->in;
	if (connection->protocol)
		return true;
	size_t len = in->len < sizeof(preface) - 1 ? in->len : sizeof(preface) - 1;
	bool alike = connection->listener->h2 && len > 0 && memcmp(in->data, preface, len) == 0;
	if (len == 0 || (alike && len < sizeof(preface) - 1))
		return false;
	if (alike)
		http2_start(connection);
	else
		connection->protocol = SCRIPTED_HTTP1;
	return !alike;
}

void http1_run(struct connection *connection, uint64_t now_us)
{
	size_t done = 0;
	http1_read(connection, now_us);
	if (!http1_recognize(connection))
		return;
	/* A peer that half-closes has given up: no client of a registry does that to say something. */
	while (connection->state == CONNECTION_OPEN && !connection->peer_ended) {
		if (!connection_flush(connection))
			return;
		if (done >= RUN_BYTES_MAX) {
			connection_wake_at(connection, now_us);
			return;
		}
		if (connection->exchanges) {
			if (!http1_answer(connection->exchanges, now_us, &done))
				break;
		} else if (!http1_parse(connection, now_us)) {
			break;
		}
	}
	connection_flush(connection);
}
