/* SPDX-License-Identifier: Apache-2.0 */
#include "server/admin/admin_internal.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEADERS_MAX    8
#define PATH_SHOWN_MAX 512

struct admin *admin_new(const struct admin_options *options)
{
	struct admin *admin = mem_alloc(sizeof(*admin));

	admin->pull = options->pull;
	admin->store = options->store;
	admin->traffic = options->traffic;
	admin->token = mem_strdup(options->token);
	admin->began_wall_s = clock_wall_s();
	admin->began_ms = clock_ms();
	return admin;
}

void admin_free(struct admin *admin)
{
	if (!admin)
		return;
	if (admin->token)
		explicit_bzero(admin->token, strlen(admin->token));
	free(admin->token);
	free(admin);
}

void admin_set_phase(struct admin *admin, enum admin_phase phase)
{
	__atomic_store_n(&admin->phase, phase, __ATOMIC_RELAXED);
}

/* Replies. */

static void reply(struct admin_visit *visit, int status, const char *content_type, const void *data, size_t len,
		  const struct http_header *more)
{
	struct http_body body = {.kind = HTTP_BODY_MEMORY, .data = data, .len = len};
	struct http_header headers[HEADERS_MAX] = {
		{"Content-Type", content_type},
		{"Cache-Control", "no-store"},
		{"X-Content-Type-Options", "nosniff"},
	};
	size_t count = 3;

	if (more)
		headers[count++] = *more;
	http_reply(visit->request, status, headers, count, &body);
}

void admin_reply_json(struct admin_visit *visit, int status, json_t *json)
{
	_cleanup_free_ char *text = json_dumps(json, JSON_COMPACT);
	size_t len;

	assert(text); /* strangers' texts went through admin_words(): only a bug leaves nothing to print */
	json_decref(json);
	len = strlen(text);
	text[len] = '\n'; /* in the place of the NUL */
	reply(visit, status, "application/json", text, len + 1, NULL);
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
	reply(visit, 200, content_type, text->data ? text->data : "", text->len, NULL);
}

static void reply_error(struct admin_visit *visit, int status, const char *code, const char *message,
			const struct http_header *more)
{
	_cleanup_(buf_dispose) struct buf text = {0};

	buf_printf(&text, "{\"error\":{\"code\":\"%s\",\"message\":\"", code);
	buf_append_json(&text, message);
	buf_append_text(&text, "\"}}\n");
	reply(visit, status, "application/json", text.data, text.len, more);
}

void admin_reply_error(struct admin_visit *visit, int status, const char *code, const char *message)
{
	reply_error(visit, status, code, message, NULL);
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
	default:
		admin_reply_error(visit, 500, "internal", err->text);
		break;
	}
}

bool admin_parameter(struct admin_visit *visit, const char *name, char value[ADMIN_VALUE_MAX])
{
	_cleanup_free_ char *message = NULL;
	int code = http_query_value(visit->request->query, name, value, ADMIN_VALUE_MAX);

	if (code == 0 && value[0])
		return true;
	message = mem_printf("the parameter %s is %s", name, code == ERR_INVALID ? "malformed" : "missing");
	admin_reply_error(visit, 400, "invalid", message);
	return false;
}

/* Who may ask. */

/* Takes as long for a wrong token as for the right one. */
static bool same_secret(const char *given, const char *secret)
{
	size_t given_len = strlen(given), secret_len = strlen(secret);
	unsigned char differs = given_len != secret_len;

	for (size_t i = 0; i < given_len; i++)
		differs |= (unsigned char)(given[i] ^ secret[i % secret_len]);
	return !differs;
}

static bool has_token(struct admin_visit *visit)
{
	const char *header = http_request_header(visit->request, "Authorization");

	return header && strncasecmp(header, "Bearer ", 7) == 0 &&
	       same_secret(header + 7 + strspn(header + 7, " "), visit->admin->token);
}

/*
 * Without a token, whoever reaches a loopback address may ask, and that is every program on this machine, a web browser
 * among them: a page from elsewhere whose name was made to point here (DNS rebinding) says that name as Host.
 */
static bool host_is_local(struct admin_visit *visit)
{
	const char *host = http_request_header(visit->request, "Host");
	char name[64];
	struct in6_addr address;
	size_t len;

	if (!host || !*host)
		return true;
	len = host[0] == '[' ? strcspn(host, "]") : strcspn(host, ":");
	if (host[0] == '[') {
		host++;
		len--;
	}
	if (len >= sizeof(name))
		return false;
	memcpy(name, host, len);
	name[len] = '\0';
	return strcasecmp(name, "localhost") == 0 || inet_pton(AF_INET, name, &address) == 1 ||
	       inet_pton(AF_INET6, name, &address) == 1;
}

static bool may_ask(struct admin_visit *visit, const struct admin_route *route)
{
	static const struct http_header challenge = {"WWW-Authenticate", "Bearer realm=\"larder\""};

	if (route && route->open)
		return true;
	if (!visit->admin->token && strcmp(visit->request->client, "unix") != 0 && !host_is_local(visit)) {
		admin_reply_error(visit, 403, "denied",
				  "without a token, the admin API answers only to localhost or an address as Host");
		return false;
	}
	if (!visit->admin->token || has_token(visit))
		return true;
	reply_error(visit, 401, "unauthorized", "the admin API asks for its token: Authorization: Bearer TOKEN",
		    &challenge);
	return false;
}

/* Routing. */

static bool path_matches(const struct admin_route *route, const char *path, const char **rest)
{
	size_t len = strlen(route->path);

	if (len > 1 && route->path[len - 1] == '/' && strncmp(path, route->path, len) == 0 && path[len]) {
		*rest = path + len;
		return true;
	}
	*rest = "";
	return strcmp(path, route->path) == 0;
}

static bool method_matches(const struct admin_route *route, enum http_method method)
{
	return route->method == method || (route->method == HTTP_GET && method == HTTP_HEAD);
}

static const char *method_name(enum http_method method)
{
	static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", ""};

	return names[method];
}

/* The route of path and method; else NULL, and `allow` names the methods that the path has. */
static const struct admin_route *find_route(struct admin_visit *visit, const char *path, struct buf *allow)
{
	for (size_t i = 0; i < admin_route_count; i++) {
		const struct admin_route *route = &admin_routes[i];

		if (!path_matches(route, path, &visit->rest))
			continue;
		if (method_matches(route, visit->request->method))
			return route;
		buf_printf(allow, "%s%s%s", allow->len ? ", " : "", method_name(route->method),
			   route->method == HTTP_GET ? ", HEAD" : "");
	}
	return NULL;
}

static void refuse(struct admin_visit *visit, const struct buf *allow)
{
	struct http_header header = {"Allow", allow->data};

	if (!may_ask(visit, NULL))
		return;
	if (allow->len > 0)
		reply_error(visit, 405, "method_not_allowed", "this path does not do that", &header);
	else
		admin_reply_error(visit, 404, "not_found", "the admin API has no such path");
}

static void handle(void *arg, struct http_request *request)
{
	struct admin_visit visit = {.admin = arg, .request = request};
	_cleanup_(buf_dispose) struct buf allow = {0};
	const struct admin_route *route;
	char path[HTTP_TARGET_MAX];

	if (http_path_decode(request->path, path, sizeof(path))) {
		admin_reply_error(&visit, 400, "invalid", "the path is malformed or too long");
		return;
	}
	route = find_route(&visit, path, &allow);
	if (!route)
		refuse(&visit, &allow);
	else if (may_ask(&visit, route))
		route->answer(&visit);
}

static void ended(void *arg, struct http_request *request, bool complete)
{
	(void)arg;
	(void)complete;
	if (request->method != HTTP_GET && request->method != HTTP_HEAD)
		log_info("admin: %s %.*s%s%.*s from %s: %d", request->method_text, PATH_SHOWN_MAX, request->path,
			 request->query[0] ? "?" : "", PATH_SHOWN_MAX, request->query, request->client,
			 request->status);
}

struct http_handler admin_handler(struct admin *admin)
{
	return (struct http_handler){.handle = handle, .ended = ended, .arg = admin};
}
