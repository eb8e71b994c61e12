/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of admin/ share: one request, how it is answered, and the table of routes. */
#pragma once

#include "base/buf.h"
#include "server/admin/admin.h"

#include <jansson.h>
#include <stdbool.h>

#define ADMIN_VALUE_MAX 1024 /* of one parameter of a query */

struct pull_upstream;

struct admin {
	struct pull *pull;
	struct store *store;
	const struct traffic *traffic;
	char *token;
	int64_t began_wall_s;
	uint64_t began_ms;
	enum admin_phase phase; /* atomic */
};

struct admin_visit {
	struct admin *admin;
	struct http_request *request;
	const char *rest; /* of the path, behind that of a route that ends with a slash */
};

/* A route. A GET also answers HEAD. */
struct admin_route {
	enum http_method method;
	const char *path;       /* one that ends with a slash (but is not "/") stands for all below it */
	const char *parameters; /* of the query, as the documentation shows them; "" when there are none */
	const char *help;       /* one line */
	bool open;              /* asked by probes, which have no token */
	void (*answer)(struct admin_visit *visit);
};

extern const struct admin_route admin_routes[];
extern const size_t admin_route_count;

/* Answers; each is called once for a visit, at its end. */
void admin_reply_json(struct admin_visit *visit, int status, json_t *json); /* takes `json` over */
void admin_reply_text(struct admin_visit *visit, const char *content_type, const struct buf *text);
/* `code` is one word for programs; the message is for people. */
void admin_reply_error(struct admin_visit *visit, int status, const char *code, const char *message);
/* From an error of the rooms below. */
void admin_reply_err(struct admin_visit *visit, const struct err *err);

/* A text that strangers may have written: what is no UTF-8 is shown as '?'. */
json_t *admin_words(const char *text);

/* A parameter that the query must have. False when it is absent or malformed, which is then answered. */
bool admin_parameter(struct admin_visit *visit, const char *name, char value[ADMIN_VALUE_MAX]);

/* The routes' answers. */
void admin_healthz(struct admin_visit *visit);
void admin_readyz(struct admin_visit *visit);
void admin_metrics(struct admin_visit *visit);
void admin_status(struct admin_visit *visit);
void admin_explain(struct admin_visit *visit);

/* An upstream's health, budget and pace, as status and explain tell them. */
json_t *admin_describe_upstream(const struct pull_upstream *upstream);
