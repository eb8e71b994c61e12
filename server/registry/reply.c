/* SPDX-License-Identifier: Apache-2.0 */
#include "server/registry/visit.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void reply_header(struct visit *visit, const char *name, const char *format, ...)
{
	size_t room = VISIT_TEXT_MAX - visit->text_used;
	va_list arguments;
	char *value;
	int len;

	if (!visit->text)
		visit->text = mem_realloc(NULL, VISIT_TEXT_MAX);
	value = visit->text + visit->text_used;
	va_start(arguments, format);
	len = vsnprintf(value, room, format, arguments);
	va_end(arguments);
	assert(len >= 0 && (size_t)len < room && visit->header_count < VISIT_HEADERS_MAX);
	visit->text_used += (size_t)len + 1;
	visit->headers[visit->header_count++] = (struct http_header){name, value};
}

static const char *const outcome_names[] = {[PULL_HIT] = "hit",
					    [PULL_MISS] = "miss",
					    [PULL_COLLAPSED] = "collapsed",
					    [PULL_STALE] = "stale",
					    [PULL_PASSED] = "miss"};

/* A peer's words inside a quoted string (RFC 9110, section 5.6.4). */
static void quote(const char *text, char *out, size_t size)
{
	size_t used = 0;

	for (; *text && used + 2 < size; text++)
		out[used++] =
			*text == '"' || *text == '\\' || (unsigned char)*text < ' ' || *text == 0x7f ? '\'' : *text;
	out[used] = '\0';
}

void reply_cache_status(struct visit *visit, const struct pull_status *status)
{
	char why[ERR_TEXT_MAX];

	visit->outcome = outcome_names[status->outcome];
	switch (status->outcome) {
	case PULL_HIT:
		reply_header(visit, "Cache-Status", "larder; hit");
		break;
	case PULL_MISS:
		reply_header(visit, "Cache-Status", "larder; fwd=miss; stored");
		break;
	case PULL_COLLAPSED:
		reply_header(visit, "Cache-Status", "larder; fwd=miss; collapsed");
		break;
	case PULL_PASSED:
		reply_header(visit, "Cache-Status", "larder; fwd=miss");
		break;
	case PULL_STALE:
		quote(status->why, why, sizeof(why));
		/* Less than a second is told as one: that it is over must show. */
		reply_header(visit, "Cache-Status", "larder; hit; ttl=-%" PRId64,
			     status->stale_by_s > 0 ? status->stale_by_s : 1);
		if (status->age_s < 0)
			reply_header(visit, "Warning", "299 - \"larder serves what it holds: %s\"", why);
		else
			reply_header(visit, "Warning",
				     "299 - \"larder serves what the upstream last confirmed %" PRId64 " s ago: %s\"",
				     status->age_s, why);
		break;
	}
}

void reply_common_headers(struct visit *visit)
{
	if (visit->has_common_headers)
		return;
	visit->has_common_headers = true;
	reply_header(visit, "Docker-Distribution-API-Version", "registry/2.0");
	/* A browser is to make nothing of what registries hold: they choose the bytes, and of a manifest the type. */
	reply_header(visit, "X-Content-Type-Options", "nosniff");
	reply_header(visit, "Content-Security-Policy", "default-src 'none'; sandbox");
	if (visit->route.ns[0])
		reply_header(visit, "OCI-Namespace", "%s",
			     visit->route.ns); /* distribution-spec, "Registry Proxying" */
}

void reply_send(struct visit *visit, int status, const struct http_body *body)
{
	reply_common_headers(visit);
	http_reply(visit->request, status, visit->headers, visit->header_count, body);
	/* The values were copied. */
	visit->header_count = 0;
	visit->text_used = 0;
}

void reply_oci_error(struct visit *visit, int status, const char *code, const char *message, const char *detail)
{
	_cleanup_(buf_dispose) struct buf text = {0};
	struct http_body body = {.kind = HTTP_BODY_MEMORY};

	buf_printf(&text, "{\"errors\":[{\"code\":\"%s\",\"message\":\"", code);
	buf_append_json(&text, message);
	if (detail) {
		buf_append_text(&text, "\",\"detail\":\"");
		buf_append_json(&text, detail);
	}
	buf_append_text(&text, "\"}]}\n");
	body.data = text.data;
	body.len = text.len;
	visit->outcome = "error";
	reply_header(visit, "Content-Type", "application/json");
	reply_send(visit, status, &body);
}

void reply_error(struct visit *visit, const struct err *err, const char *unknown)
{
	visit->err = *err;
	switch (err->code) {
	case ERR_NOT_FOUND:
		reply_oci_error(visit, 404, err->no_repository ? "NAME_UNKNOWN" : unknown,
				"the upstream does not have it", err->text);
		break;
	case ERR_OFFLINE:
		reply_oci_error(visit, 404, unknown, "not held", err->text);
		break;
	case ERR_DENIED:
		reply_oci_error(visit, 403, "DENIED", "the upstream refuses", err->text);
		break;
	case ERR_RATE:
		reply_header(visit, "Retry-After", "%d", err->retry_after_s > 0 ? err->retry_after_s : 1);
		reply_oci_error(visit, 503, "TOOMANYREQUESTS", "the upstream says: too many requests", err->text);
		break;
	case ERR_CANCELLED:
		reply_oci_error(visit, 503, "UNKNOWN", "given up", err->text);
		break;
	case ERR_IO:
	case ERR_NO_SPACE:
		reply_oci_error(visit, 500, "UNKNOWN", "the store fails", err->text);
		break;
	default:
		reply_oci_error(visit, 502, "UNKNOWN", "the upstream cannot be asked", err->text);
		break;
	}
}
