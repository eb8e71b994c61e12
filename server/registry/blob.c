/* SPDX-License-Identifier: Apache-2.0 */
/* GET and HEAD of a blob. */
#include "server/registry/range.h"
#include "server/registry/visit.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool etag_listed(const char *header, const char *etag)
{
	return header && (strcmp(header, "*") == 0 || strstr(header, etag) != NULL);
}

static ssize_t read_flight(void *arg, uint64_t position, void *data, size_t max)
{
	struct visit *visit = arg;
	ssize_t got = pull_blob_read(visit->blob, visit->body_offset + position, data, max, &visit->request->waiter);

	return got == ERR_AGAIN ? 0 : got;
}

static void send_bytes(struct visit *visit, int status, uint64_t start, uint64_t len)
{
	struct http_body body = {.len = len};

	if (visit->head) {
		body.kind = HTTP_BODY_MEMORY;
		reply_send(visit, status, &body);
		return;
	}
	body.fd = pull_blob_take_fd(visit->blob);
	if (body.fd >= 0) {
		body.kind = HTTP_BODY_FILE;
		body.offset = start;
	} else {
		body.kind = HTTP_BODY_STREAM;
		body.read = read_flight;
		body.arg = visit;
		visit->body_offset = start;
	}
	reply_send(visit, status, &body);
}

static void send_blob(struct visit *visit)
{
	uint64_t size = pull_blob_size(visit->blob);
	const char *if_range = http_request_header(visit->request, "If-Range");
	const char *range_header = http_request_header(visit->request, "Range");
	struct http_body nothing = {.kind = HTTP_BODY_MEMORY};
	struct range range = {0};
	enum range_verdict verdict;
	char etag[ROUTE_REFERENCE_MAX + 3];

	snprintf(etag, sizeof(etag), "\"%s\"", visit->route.reference);
	reply_header(visit, "Docker-Content-Digest", "%s", visit->route.reference);
	reply_header(visit, "ETag", "%s", etag);
	reply_header(visit, "Accept-Ranges", "bytes");
	reply_header(visit, "Cache-Control", "max-age=31536000, immutable");
	reply_cache_status(visit, pull_blob_status(visit->blob));
	if (etag_listed(http_request_header(visit->request, "If-None-Match"), etag)) {
		reply_send(visit, 304, &nothing);
		return;
	}
	verdict = if_range && strcmp(if_range, etag) != 0 ? RANGE_WHOLE : range_parse(range_header, size, &range);
	switch (verdict) {
	case RANGE_UNSATISFIABLE:
		reply_header(visit, "Content-Range", "bytes */%" PRIu64, size);
		reply_send(visit, 416, &nothing);
		break;
	case RANGE_PART:
		reply_header(visit, "Content-Type", "application/octet-stream");
		reply_header(visit, "Content-Range", "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, range.start,
			     range.start + range.len - 1, size);
		send_bytes(visit, 206, range.start, range.len);
		break;
	case RANGE_WHOLE:
		reply_header(visit, "Content-Type", "application/octet-stream");
		send_bytes(visit, 200, 0, size);
		break;
	}
}

void visit_blob(struct visit *visit)
{
	struct digest digest;
	struct err err = {0};
	int code;

	if (!visit->blob) {
		if (digest_parse(visit->route.reference, &digest)) {
			reply_oci_error(visit, 400, "DIGEST_INVALID", "the digest is malformed",
					visit->route.reference);
			return;
		}
		visit->blob = pull_blob_open(visit->pull, visit->route.upstream, visit->route.repository, &digest,
					     visit->head);
	}
	code = pull_blob_poll(visit->blob, &visit->request->waiter, &err);
	if (code == ERR_AGAIN)
		return;
	if (code)
		reply_error(visit, &err, "BLOB_UNKNOWN");
	else
		send_blob(visit);
}
