/* SPDX-License-Identifier: Apache-2.0 */
/* How a request is answered, and what it brought. */
#include "server/admin/admin_internal.h"

#include "base/cleanup.h"

#include <assert.h>
#include <string.h>

void admin_reply_json(struct admin_visit *visit, int status, json_t *json)
{
	_cleanup_free_ char *text = json_dumps(json, ADMIN_JSON);
	size_t len;

	assert(text); /* strangers' texts went through admin_words(): only a bug leaves nothing to print */
	json_decref(json);
	len = strlen(text);
	text[len] = '\n'; /* in the place of the NUL */
	admin_reply(visit, status, "application/json", text, len + 1, NULL, 0);
}

json_t *admin_words(const char *text)
{
	json_t *string = json_string(text);
	_cleanup_free_ char *plain = NULL;

	if (string)
		return string;
	plain = mem_strdup(text);
	for (char *at = plain; *at; at++)
		if ((unsigned char)*at >= 0x80)
			*at = '?';
	return json_string(plain);
}

void admin_reply_text(struct admin_visit *visit, const char *content_type, const struct buf *text)
{
	admin_reply(visit, 200, content_type, text->data ? text->data : "", text->len, NULL, 0);
}

void admin_reply_error_with(struct admin_visit *visit, int status, const char *code, const char *message,
			    const struct http_header *more)
{
	_cleanup_(buf_dispose) struct buf text = {0};

	buf_printf(&text, "{\"error\":{\"code\":\"%s\",\"message\":\"", code);
	buf_append_json(&text, message);
	buf_append_text(&text, "\"}}\n");
	admin_reply(visit, status, "application/json", text.data, text.len, more, more ? 1 : 0);
}

void admin_reply_error(struct admin_visit *visit, int status, const char *code, const char *message)
{
	admin_reply_error_with(visit, status, code, message, NULL);
}

void admin_reply_err(struct admin_visit *visit, const struct err *err)
{
	switch (err->code) {
	case ERR_INVALID:
		admin_reply_error(visit, 400, "invalid", err->text);
		break;
	case ERR_NOT_FOUND:
		admin_reply_error(visit, 404, "not_found", err->text);
		break;
	case ERR_DENIED:
		admin_reply_error(visit, 403, "denied", err->text);
		break;
	case ERR_UNSUPPORTED:
		admin_reply_error(visit, 501, "unsupported", err->text);
		break;
	case ERR_BUSY:
	case ERR_LIMIT:
		admin_reply_error(visit, 409, "conflict", err->text);
		break;
	case ERR_NO_SPACE:
		admin_reply_error(visit, 507, "no_space", err->text);
		break;
	case ERR_UPSTREAM:
	case ERR_RATE:
		admin_reply_error(visit, 502, "upstream", err->text);
		break;
	case ERR_CANCELLED:
		admin_reply_error(visit, 503, "stopping", err->text);
		break;
	default:
		admin_reply_error(visit, 500, "internal", err->text);
		break;
	}
}

void admin_reply_unfit(struct admin_visit *visit, const struct err *err)
{
	if (err->code == ERR_INVALID)
		admin_reply_error(visit, 422, "unfit", err->text);
	else
		admin_reply_err(visit, err);
}

/* `code` is what reading it came to. An empty value is as good as none. */
static bool take_parameter(struct admin_visit *visit, const char *name, char *value, int code, bool needed)
{
	_cleanup_free_ char *message = NULL;

	if (code == ERR_NOT_FOUND)
		value[0] = '\0';
	if (code == 0 ? value[0] || !needed : code == ERR_NOT_FOUND && !needed)
		return true;
	message = mem_printf("the parameter %s is %s", name, code == ERR_INVALID ? "malformed" : "missing");
	admin_reply_error(visit, 400, "invalid", message);
	return false;
}

bool admin_parameter(struct admin_visit *visit, const char *name, char value[ADMIN_VALUE_MAX])
{
	return take_parameter(visit, name, value, http_query_value(visit->query, name, value, ADMIN_VALUE_MAX), true);
}

bool admin_parameter_optional(struct admin_visit *visit, const char *name, char value[ADMIN_VALUE_MAX])
{
	return take_parameter(visit, name, value, http_query_value(visit->query, name, value, ADMIN_VALUE_MAX), false);
}

bool admin_parameter_bytes(struct admin_visit *visit, const char *name, bool needed, char *value, size_t size)
{
	return take_parameter(visit, name, value, http_query_bytes(visit->query, name, value, size), needed);
}

json_t *admin_body(struct admin_visit *visit)
{
	_cleanup_free_ char *message = NULL;
	json_error_t error;
	json_t *body;

	if (visit->body_too_large) {
		admin_reply_error(visit, 413, "too_large", "the request's body is larger than 1 MiB");
		return NULL;
	}
	if (visit->body_len == 0)
		return json_object();
	body = json_loadb(visit->body, visit->body_len, JSON_REJECT_DUPLICATES, &error);
	if (json_is_object(body))
		return body;
	message = body ? mem_strdup("the request's body is not a JSON object")
		       : mem_printf("the request's body is not JSON: line %d, column %d: %s", error.line, error.column,
				    error.text);
	json_decref(body);
	admin_reply_error(visit, 400, "invalid", message);
	return NULL;
}
