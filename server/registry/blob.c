/* SPDX-License-Identifier: Apache-2.0 */
/* GET and HEAD of a blob. */
#include "server/registry/multipart.h"
#include "server/registry/visit.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static ssize_t read_flight(void *arg, uint64_t offset, void *data, size_t max)
{
	struct visit *visit = arg;
	ssize_t got = pull_blob_read(visit->blob, offset, data, max, &visit->request->waiter);

	return got == ERR_AGAIN ? 0 : got;
}

static ssize_t read_body(void *arg, uint64_t position, void *data, size_t max)
{
	struct visit *visit = arg;

	return read_flight(visit, visit->body_offset + position, data, max);
}

static ssize_t send_body(void *arg, uint64_t position, int socket, size_t max)
{
	struct visit *visit = arg;
	ssize_t sent = pull_blob_send(visit->blob, visit->body_offset + position, socket, max, &visit->request->waiter);

	return sent == ERR_AGAIN ? 0 : sent == ERR_BUSY ? HTTP_SEND_FULL : sent;
}

static void doubt(void *arg, uint64_t offset, uint64_t len)
{
	struct visit *visit = arg;

	pull_blob_doubt(visit->blob, offset, len);
}

static void send_bytes(struct visit *visit, int status, uint64_t start, uint64_t len)
{
	struct http_body body = {.len = len};

	reply_header(visit, "Content-Type", "application/octet-stream");
	if (visit->head) {
		body.kind = HTTP_BODY_MEMORY;
		reply_send(visit, status, &body);
		return;
	}
	body.fd = pull_blob_take_fd(visit->blob);
	if (body.fd >= 0) {
		body.kind = HTTP_BODY_FILE;
		body.offset = start;
		body.unread = doubt;
		body.arg = visit;
	} else {
		body.kind = HTTP_BODY_STREAM;
		body.read = read_body;
		body.send = send_body;
		body.arg = visit;
		visit->body_offset = start;
	}
	reply_send(visit, status, &body);
}

static ssize_t read_parts(void *arg, uint64_t position, void *data, size_t max)
{
	struct visit *visit = arg;
	ssize_t got = multipart_read(visit->parts, position, data, max);
	uint64_t offset;

	if (got < 0 && multipart_unread(visit->parts, &offset))
		doubt(visit, offset, 1);
	return got;
}

static void send_parts(struct visit *visit, const struct range_set *set)
{
	struct multipart_source source = {.fd = pull_blob_take_fd(visit->blob), .read = read_flight, .arg = visit};
	struct http_body body = {.kind = HTTP_BODY_STREAM, .read = read_parts, .arg = visit};

	visit->parts = multipart_new(set, pull_blob_size(visit->blob), &source);
	body.len = multipart_length(visit->parts);
	reply_header(visit, "Content-Type", "%s", multipart_type(visit->parts));
	reply_send(visit, 206, &body);
}

static void send_ranges(struct visit *visit, const char *header)
{
	uint64_t size = pull_blob_size(visit->blob);
	struct http_body nothing = {.kind = HTTP_BODY_MEMORY};
	struct range_set set;

	switch (range_parse(header, size, &set)) {
	case RANGE_UNSATISFIABLE:
		reply_header(visit, "Content-Range", "bytes */%" PRIu64, size);
		reply_send(visit, 416, &nothing);
		break;
	case RANGE_PART:
		reply_header(visit, "Content-Range", "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, set.ranges[0].start,
			     set.ranges[0].start + set.ranges[0].len - 1, size);
		send_bytes(visit, 206, set.ranges[0].start, set.ranges[0].len);
		break;
	case RANGE_PARTS:
		send_parts(visit, &set);
		break;
	case RANGE_WHOLE:
		send_bytes(visit, 200, 0, size);
		break;
	}
}

static void send_blob(struct visit *visit)
{
	const char *if_range = http_request_header(visit->request, "If-Range");
	const char *range = http_request_header(visit->request, "Range");
	struct http_body nothing = {.kind = HTTP_BODY_MEMORY, .len = pull_blob_size(visit->blob)}; /* as of a 200 */
	char etag[ROUTE_REFERENCE_MAX + 3];

	snprintf(etag, sizeof(etag), "\"%s\"", visit->route.reference);
	reply_header(visit, "Docker-Content-Digest", "%s", visit->route.reference);
	reply_header(visit, "ETag", "%s", etag);
	reply_header(visit, "Accept-Ranges", "bytes");
	reply_header(visit, "Cache-Control", "max-age=31536000, immutable");
	reply_cache_status(visit, pull_blob_status(visit->blob));
	if (range_none_match(http_request_header(visit->request, "If-None-Match"), etag)) {
		reply_send(visit, 304, &nothing);
		return;
	}
	/* Ranges are defined for GET alone (RFC 9110, section 14.2). */
	if (visit->head || (if_range && strcmp(if_range, etag) != 0))
		range = NULL;
	send_ranges(visit, range);
}

void visit_blob(struct visit *visit)
{
	struct digest digest;
	struct err err = {0};
	int code;

	if (!visit->blob) {
		digest_parse(visit->route.reference, &digest);
		visit->blob = pull_blob_open(visit->pull, visit->route.upstream, visit->route.repository, &digest,
					     visit->head);
		pull_blob_login(visit->blob, visit->login);
	}
	code = pull_blob_poll(visit->blob, &visit->request->waiter, &err);
	if (code == ERR_AGAIN)
		return;
	if (code)
		reply_error(visit, &err, "BLOB_UNKNOWN");
	else
		send_blob(visit);
}
