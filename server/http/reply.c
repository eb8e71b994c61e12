/* SPDX-License-Identifier: Apache-2.0 */
/* Replies: what the library is given to send. */
#include "server/http/http_internal.h"

#include "base/clock.h"

#include <assert.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <unistd.h>

static ssize_t on_read(void *arg, uint64_t position, char *data, size_t max)
{
	struct exchange *exchange = arg;
	ssize_t got = exchange->body.read(exchange->body.arg, position, data, max);

	if (got < 0)
		return got == HTTP_READ_END ? MHD_CONTENT_READER_END_OF_STREAM : MHD_CONTENT_READER_END_WITH_ERROR;
	if (got > 0 && exchange->request.first_byte_us == 0)
		exchange->request.first_byte_us = clock_us();
	exchange->request.body_bytes += (uint64_t)got;
	return got;
}

static ssize_t on_read_file(void *arg, uint64_t position, char *data, size_t max)
{
	struct exchange *exchange = arg;
	ssize_t got = pread(exchange->body.fd, data, max, (off_t)(exchange->body.offset + position));

	if (got <= 0) {
		exchange_tell_unread(exchange, position, 1);
		return MHD_CONTENT_READER_END_WITH_ERROR;
	}
	exchange->request.body_bytes += (uint64_t)got;
	return got;
}

static ssize_t read_nothing(void *arg, uint64_t position, char *data, size_t max)
{
	(void)arg;
	(void)position;
	(void)data;
	(void)max;
	return MHD_CONTENT_READER_END_WITH_ERROR;
}

/* Headers alone are sent of it, those of a body of this length. */
static struct MHD_Response *response_without_body(uint64_t len)
{
	return MHD_create_response_from_callback(len, 1, read_nothing, NULL, NULL);
}

static struct MHD_Response *response_make(struct exchange *exchange)
{
	const struct http_body *body = &exchange->body;

	switch (body->kind) {
	case HTTP_BODY_FILE:
		/* Under TLS every byte passes through us anyway, and the library reads a descriptor in small pieces. */
		if (exchange->thread->server->tls)
			return MHD_create_response_from_callback(body->len, HTTP_TLS_BLOCK, on_read_file, exchange,
								 NULL);
		return MHD_create_response_from_fd_at_offset64(body->len, body->fd, body->offset);
	case HTTP_BODY_STREAM:
		return MHD_create_response_from_callback(body->len, HTTP_STREAM_BLOCK, on_read, exchange, NULL);
	case HTTP_BODY_MEMORY:
	default:
		if (!body->data && body->len > 0) /* of a HEAD, or a 304 */
			return response_without_body(body->len);
		return MHD_create_response_from_buffer(body->len, (void *)(uintptr_t)body->data, MHD_RESPMEM_MUST_COPY);
	}
}

static void add_headers(struct MHD_Response *response, const struct http_header *headers, size_t count)
{
	for (size_t i = 0; i < count; i++)
		MHD_add_response_header(response, headers[i].name, headers[i].value);
}

/* Whether the connection ends behind this reply. Where a chunked body ends is what programs disagree about: nothing
 * behind it is read as a request, nor behind a body that was not waited for. */
static bool must_close(const struct exchange *exchange)
{
	return exchange->chunked || exchange->own->unread ||
	       __atomic_load_n(&exchange->thread->phase, __ATOMIC_RELAXED) != HTTP_RUNNING;
}

void http_reply(struct http_request *request, int status, const struct http_header *headers, size_t header_count,
		const struct http_body *body)
{
	struct exchange *exchange = exchange_of(request);
	struct MHD_Response *response;

	assert(!exchange->replied);
	exchange->replied = true;
	exchange->body = *body;
	request->status = status;
	if (body->kind != HTTP_BODY_STREAM || request->method == HTTP_HEAD)
		request->first_byte_us = clock_us();
	response = http_send_response(exchange);
	exchange->is_sender = response != NULL;
	if (!response)
		response = response_make(exchange);
	assert(response);
	exchange->librarys_file =
		body->kind == HTTP_BODY_FILE && !exchange->is_sender && !exchange->thread->server->tls;
	exchange->own->sends = exchange->librarys_file ? exchange : NULL;
	add_headers(response, headers, header_count);
	if (request->id[0])
		MHD_add_response_header(response, "X-Request-Id", request->id);
	if (must_close(exchange))
		MHD_add_response_header(response, "Connection", "close");
	MHD_queue_response(exchange->connection, (unsigned)status, response);
	MHD_destroy_response(response);
	exchange->body.data = NULL;
}

/* Prepared replies. */

struct http_prepared {
	struct MHD_Response *response;
	int status;
	uint64_t len;
	unsigned refs; /* atomic */
	void *arg;
	void (*dispose)(void *arg);
};

struct http_prepared *http_prepare(int status, const struct http_header *headers, size_t header_count,
				   const struct http_body *body, void *arg, void (*dispose)(void *arg))
{
	struct http_prepared *prepared = mem_alloc(sizeof(*prepared));

	assert(body->kind == HTTP_BODY_MEMORY);
	prepared->status = status;
	prepared->len = body->len;
	prepared->refs = 1;
	prepared->arg = arg;
	prepared->dispose = dispose;
	prepared->response = body->data ? MHD_create_response_from_buffer(body->len, (void *)(uintptr_t)body->data,
									  MHD_RESPMEM_MUST_COPY)
					: response_without_body(body->len);
	assert(prepared->response);
	add_headers(prepared->response, headers, header_count);
	return prepared;
}

void *http_prepared_arg(const struct http_prepared *prepared)
{
	return prepared->arg;
}

struct http_prepared *http_prepared_ref(struct http_prepared *prepared)
{
	__atomic_add_fetch(&prepared->refs, 1, __ATOMIC_RELAXED);
	return prepared;
}

void http_prepared_unref(struct http_prepared *prepared)
{
	if (!prepared || __atomic_sub_fetch(&prepared->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	MHD_destroy_response(prepared->response);
	prepared->dispose(prepared->arg);
	free(prepared);
}

bool http_reply_prepared(struct http_request *request, struct http_prepared *prepared)
{
	struct exchange *exchange = exchange_of(request);

	/* It is one for all: it can neither close nor say who asked. */
	if (must_close(exchange) || exchange->id_given)
		return false;
	assert(!exchange->replied);
	exchange->replied = true;
	exchange->body = (struct http_body){.kind = HTTP_BODY_MEMORY, .len = prepared->len};
	exchange->prepared = prepared;
	request->prepared = prepared;
	request->status = prepared->status;
	request->first_byte_us = clock_us();
	MHD_queue_response(exchange->connection, (unsigned)prepared->status, prepared->response);
	return true;
}
