/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/2 (RFC 9113) by nghttp2: the one file of the bed that names it. nghttp2 frames, we pace and misbehave. */
#include "tests/wire/scripted_internal.h"

#include "base/cleanup.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <nghttp2/nghttp2.h>
#include <string.h>
#include <strings.h>

#define STREAMS_DEFAULT 100
#define RUN_BYTES_MAX   ((size_t)4 << 20)
#define FRAME_ROOM      ((size_t)96 << 10) /* more than nghttp2 hands out at once */
#define ENDLESS_VALUE   1000

struct http2 {
	nghttp2_session *session;
	unsigned streams;
	bool goes_away;
	enum scripted_cut cut; /* found inside a callback, done after it */
	int32_t endless;       /* the stream whose header never ends: nothing else may be sent meanwhile */
	bool endless_begun;
};

static struct exchange *exchange_of(struct connection *connection, int32_t stream)
{
	struct exchange *exchange = connection->exchanges;
	while (exchange && exchange->stream != stream)
		exchange = exchange->next;
	return exchange;
}

/* GOAWAY that leaves this stream and older ones to be answered. */
static void go_away(struct connection *connection, int32_t last_stream)
{
	struct http2 *http2 = connection->http2;
	if (http2->goes_away)
		return;
	http2->goes_away = true;
	nghttp2_submit_goaway(http2->session, NGHTTP2_FLAG_NONE, last_stream, NGHTTP2_NO_ERROR, NULL, 0);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct connection *connection = user;
	unsigned most = connection->scripted->options.h2_goaway_after;
	(void)session;
	if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	exchange_new(connection, frame->hd.stream_id);
	if (most && ++connection->http2->streams == most)
		go_away(connection, frame->hd.stream_id);
	return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
		     const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
	struct exchange *exchange = exchange_of(user, frame->hd.stream_id);
	const char *field = (const char *)name;
	const char *text = (const char *)value;
	(void)session;
	(void)flags;
	if (!exchange || exchange->planned)
		return 0;
	struct request *request = &exchange->request;
	if (strcmp(field, ":method") == 0 && !request->method)
		request->method = mem_strndup(text, value_len);
	else if (strcmp(field, ":path") == 0 && !request->target)
		request->target = mem_strndup(text, value_len);
	else if (strcmp(field, ":authority") == 0 && !request->authority)
		request->authority = mem_strndup(text, value_len);
	else if (field[0] != ':')
		headers_add(&request->headers, field, name_len, text, value_len);
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data, size_t len, void *user)
{
	struct exchange *exchange = exchange_of(user, stream);
	(void)session;
	(void)flags;
	if (exchange && buf_append(&exchange->request.body, data, len) != 0)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct connection *connection = user;
	struct exchange *exchange = exchange_of(connection, frame->hd.stream_id);
	bool carries = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
	(void)session;
	if (!exchange || exchange->planned || !carries || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
		return 0;
	if (!exchange->request.method || !exchange->request.target)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	exchange_plan(exchange, connection->scripted->now_us);
	return 0;
}

static int on_close(nghttp2_session *session, int32_t stream, uint32_t error, void *user)
{
	struct exchange *exchange = exchange_of(user, stream);
	(void)session;
	if (!exchange)
		return 0;
	const struct scripted_rule *script = exchange_script(exchange);
	if (exchange->ended && error == NGHTTP2_NO_ERROR)
		exchange_end(exchange, SCRIPTED_DONE);
	else
		exchange_end(exchange, exchange->ended || script->refuse_stream ? SCRIPTED_CUT : SCRIPTED_LEFT);
	return 0;
}

static void cut_stream(struct exchange *exchange)
{
	const struct scripted_rule *script = exchange_script(exchange);
	struct http2 *http2 = exchange->connection->http2;
	exchange->ended = true;
	if (script->cut == SCRIPTED_CUT_STREAM)
		nghttp2_submit_rst_stream(http2->session, NGHTTP2_FLAG_NONE, exchange->stream,
					  script->h2_error ? script->h2_error : NGHTTP2_INTERNAL_ERROR);
	else
		http2->cut = script->cut;
	if (script->cut == SCRIPTED_CUT_GOAWAY)
		go_away(exchange->connection, exchange->stream);
}

static ssize_t read_body(nghttp2_session *session, int32_t stream, uint8_t *data, size_t cap, uint32_t *flags,
			 nghttp2_data_source *source, void *user)
{
	struct connection *connection = user;
	struct exchange *exchange = exchange_of(connection, stream);
	size_t len = 0;
	(void)session;
	(void)source;
	assert(exchange);
	exchange->wake_us = NEVER;
	switch (exchange_step(exchange, connection->scripted->now_us, (char *)data, cap, &len, &exchange->wake_us)) {
	case STEP_BYTES:
		return (ssize_t)len;
	case STEP_END:
		exchange->ended = true;
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		return 0;
	case STEP_CUT:
		cut_stream(exchange);
		exchange->wake_us = NEVER;
		break;
	case STEP_WAIT:
		break;
	}
	exchange->deferred = true;
	return NGHTTP2_ERR_DEFERRED;
}

void http2_start(struct connection *connection)
{
	nghttp2_session_callbacks *callbacks;
	nghttp2_settings_entry settings = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS_DEFAULT};
	unsigned streams = connection->scripted->options.h2_streams_max;
	connection->protocol = SCRIPTED_HTTP2;
	connection->http2 = mem_alloc(sizeof(*connection->http2));
	int rc = nghttp2_session_callbacks_new(&callbacks);
	assert(rc == 0);
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
	rc = nghttp2_session_server_new(&connection->http2->session, callbacks, connection);
	assert(rc == 0);
	nghttp2_session_callbacks_del(callbacks);
	if (streams)
		settings.value = streams;
	nghttp2_submit_settings(connection->http2->session, NGHTTP2_FLAG_NONE, &settings, 1);
}

void http2_free(struct connection *connection)
{
	if (!connection->http2)
		return;
	nghttp2_session_del(connection->http2->session);
	free(connection->http2);
}

static nghttp2_nv field_of(const char *name, const char *value)
{
	return (nghttp2_nv){(uint8_t *)name, (uint8_t *)value, strlen(name), strlen(value), NGHTTP2_NV_FLAG_NONE};
}

static void put_head(struct exchange *exchange)
{
	const struct answer *answer = &exchange->answer;
	nghttp2_session *session = exchange->connection->http2->session;
	_cleanup_free_ nghttp2_nv *fields = mem_alloc((answer->headers.count + 2) * sizeof(*fields));
	_cleanup_free_ char *status = mem_printf("%d", answer->status);
	_cleanup_free_ char *length = mem_printf("%" PRId64, answer->length_said);
	nghttp2_data_provider body = {.read_callback = read_body};
	bool bodyless = exchange->head_only || answer->status == 204 || answer->status == 304;
	size_t count = 0;
	fields[count++] = field_of(":status", status);
	for (size_t i = 0; i < answer->headers.count; i++)
		fields[count++] = field_of(answer->headers.items[i].name, answer->headers.items[i].value);
	if (answer->length_said >= 0)
		fields[count++] = field_of("content-length", length);
	exchange_note_head(exchange);
	exchange->ended = bodyless;
	if (exchange_script(exchange)->close)
		go_away(exchange->connection, exchange->stream);
	nghttp2_submit_response(session, exchange->stream, fields, count, bodyless ? NULL : &body);
}

/* Begins the answer, or does what the rule wants done instead. */
static void begin_answer(struct exchange *exchange)
{
	struct connection *connection = exchange->connection;
	const struct scripted_rule *script = exchange_script(exchange);
	exchange->head_sent = true;
	if (script->raw) {
		connection_put(connection, script->raw, script->raw_len);
		connection->http2->cut = SCRIPTED_CUT_FIN;
	} else if (script->refuse_stream) {
		nghttp2_submit_rst_stream(connection->http2->session, NGHTTP2_FLAG_NONE, exchange->stream,
					  NGHTTP2_REFUSED_STREAM);
	} else if (script->cut && script->cut_at == SCRIPTED_BEFORE_HEAD) {
		cut_stream(exchange);
	} else if (script->endless_header) {
		connection->http2->endless = exchange->stream;
		exchange_note_head(exchange);
	} else {
		put_head(exchange);
	}
}

/* Begins answers that are due, and wakes bodies that waited long enough. */
static void advance(struct connection *connection, uint64_t now_us)
{
	for (struct exchange *exchange = connection->exchanges; exchange; exchange = exchange->next) {
		uint64_t wake_us = NEVER;
		if (!exchange->planned)
			continue;
		if (!exchange->head_sent && exchange_head_due(exchange, now_us, &wake_us))
			begin_answer(exchange);
		if (exchange->deferred && !exchange->ended &&
		    (exchange->wake_us <= now_us || (exchange->rule && exchange->rule->released))) {
			exchange->deferred = false;
			nghttp2_session_resume_data(connection->http2->session, exchange->stream);
		}
		connection_wake_at(connection, wake_us);
	}
}

static void put_frame_head(uint8_t *to, size_t len, uint8_t type, int32_t stream)
{
	uint8_t head[9] = {(uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len, type, 0};
	for (int i = 0; i < 4; i++)
		head[5 + i] = (uint8_t)((uint32_t)stream >> (24 - 8 * i));
	memcpy(to, head, sizeof(head));
}

/* HEADERS without END_HEADERS, then CONTINUATION after CONTINUATION, each one field that HPACK does not index. */
static void run_endless(struct connection *connection, uint64_t now_us)
{
	/* A literal that is not indexed, a name of nine, and a length that does not fit HPACK's 7-bit prefix. */
	static const uint8_t field[] = {0, 9, 'x', '-', 'e', 'n', 'd', 'l', 'e', 's', 's', 0x7f};
	struct http2 *http2 = connection->http2;
	struct exchange *exchange = exchange_of(connection, http2->endless);
	uint8_t frame[9 + 1 + 2 + 9 + 3 + ENDLESS_VALUE];
	while (exchange && connection_flush(connection)) {
		uint64_t wake_us = NEVER;
		enum step step = exchange_step_header(exchange, now_us, sizeof(frame), &wake_us);
		if (step == STEP_WAIT)
			connection_wake_at(connection, wake_us);
		if (step == STEP_CUT)
			connection_finish(connection, exchange_script(exchange)->cut);
		if (step != STEP_BYTES)
			return;
		size_t at = 9;
		if (!http2->endless_begun)
			frame[at++] = 0x88; /* :status 200 */
		memcpy(frame + at, field, sizeof(field));
		at += sizeof(field);
		frame[at++] = (uint8_t)(0x80 | ((ENDLESS_VALUE - 127) & 0x7f));
		frame[at++] = (uint8_t)((ENDLESS_VALUE - 127) >> 7);
		memset(frame + at, 'a', ENDLESS_VALUE);
		at += ENDLESS_VALUE;
		put_frame_head(frame, at - 9, http2->endless_begun ? NGHTTP2_CONTINUATION : NGHTTP2_HEADERS,
			       http2->endless);
		http2->endless_begun = true;
		connection_put(connection, frame, at);
	}
}

static void receive(struct connection *connection, uint64_t now_us)
{
	char data[16384];
	if (connection->in.len > 0) {
		ssize_t rc = nghttp2_session_mem_recv(connection->http2->session, (uint8_t *)connection->in.data,
						      connection->in.len);
		buf_clear(&connection->in);
		connection->peer_ended |= rc < 0;
	}
	while (!connection->peer_ended) {
		ssize_t n = connection_receive(connection, data, sizeof(data), now_us);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0 || nghttp2_session_mem_recv(connection->http2->session, (uint8_t *)data, (size_t)n) < 0)
			connection->peer_ended = true;
	}
}

/* Lets nghttp2 fill `out`, as long as the socket takes it. */
static void transmit(struct connection *connection, uint64_t now_us)
{
	struct http2 *http2 = connection->http2;
	size_t done = 0;
	while (connection_flush(connection)) {
		ssize_t n = 1;
		if (done >= RUN_BYTES_MAX) {
			connection_wake_at(connection, now_us);
			return;
		}
		while (n > 0 && http2->cut <= SCRIPTED_CUT_NONE && connection->out_len + FRAME_ROOM <= OUT_SIZE) {
			const uint8_t *data;
			n = nghttp2_session_mem_send(http2->session, &data);
			if (n > 0)
				connection_put(connection, data, (size_t)n);
			done += n > 0 ? (size_t)n : 0;
		}
		if (connection->out_len == connection->out_at)
			return;
		if (http2->cut)
			return;
	}
}

void http2_run(struct connection *connection, uint64_t now_us)
{
	struct http2 *http2 = connection->http2;
	receive(connection, now_us);
	if (connection->peer_ended)
		return;
	if (http2->endless) {
		run_endless(connection, now_us);
		return;
	}
	advance(connection, now_us);
	transmit(connection, now_us);
	if (connection->state != CONNECTION_OPEN)
		return;
	if (http2->cut == SCRIPTED_CUT_GOAWAY) {
		const uint8_t *data;
		ssize_t n;
		/* Only the GOAWAY is left to say; bodies that could still go are given up. */
		while ((n = nghttp2_session_mem_send(http2->session, &data)) > 0 &&
		       connection->out_len + (size_t)n <= OUT_SIZE)
			connection_put(connection, data, (size_t)n);
	}
	if (http2->cut)
		connection_finish(connection, http2->cut == SCRIPTED_CUT_RST ? SCRIPTED_CUT_RST : SCRIPTED_CUT_FIN);
	else if (http2->endless)
		connection_wake_at(connection, now_us);
	else if (!nghttp2_session_want_read(http2->session) && !nghttp2_session_want_write(http2->session) &&
		 connection->out_at == connection->out_len)
		connection_finish(connection, SCRIPTED_CUT_NONE);
	for (struct exchange *exchange = connection->exchanges; exchange; exchange = exchange->next) {
		if (exchange->deferred)
			connection_wake_at(connection, exchange->wake_us);
	}
}
