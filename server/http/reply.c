/* SPDX-License-Identifier: Apache-2.0 */
/* Replies: what the library is given to send. */
#include "server/http/http_internal.h"

#include "base/clock.h"

#include <assert.h>
#include <microhttpd.h>
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

	if (got <= 0)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	exchange->request.body_bytes += (uint64_t)got;
	return got;
}

static struct MHD_Response *response_make(struct exchange *exchange)
{
	const struct http_body *body = &exchange->body;

	switch (body->kind) {
	case HTTP_BODY_FILE:
		/* Under TLS every byte passes through us anyway, and the library reads a descriptor in small pieces. */
		if (exchange->thread->server->options.tls_cert)
			return MHD_create_response_from_callback(body->len, HTTP_TLS_BLOCK, on_read_file, exchange,
								 NULL);
		return MHD_create_response_from_fd_at_offset64(body->len, body->fd, body->offset);
	case HTTP_BODY_STREAM:
		return MHD_create_response_from_callback(body->len, HTTP_STREAM_BLOCK, on_read, exchange, NULL);
	case HTTP_BODY_MEMORY:
	default:
		if (!body->data && body->len > 0) /* of a HEAD, or a 304 */
			return MHD_create_response_from_callback(body->len, 1, on_read, exchange, NULL);
		return MHD_create_response_from_buffer(body->len, (void *)(uintptr_t)body->data, MHD_RESPMEM_MUST_COPY);
	}
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
	response = response_make(exchange);
	assert(response);
	for (size_t i = 0; i < header_count; i++)
		MHD_add_response_header(response, headers[i].name, headers[i].value);
	/* Where a chunked body ends is what programs disagree about: nothing behind it is read as a request. */
	if (exchange->chunked || __atomic_load_n(&exchange->thread->phase, __ATOMIC_RELAXED) != HTTP_RUNNING)
		MHD_add_response_header(response, "Connection", "close");
	MHD_queue_response(exchange->connection, (unsigned)status, response);
	MHD_destroy_response(response);
	exchange->body.data = NULL;
}
