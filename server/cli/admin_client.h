/* SPDX-License-Identifier: Apache-2.0 */
/* One HTTP request to a larder's admin API, over TCP or a unix socket. Blocks, with a deadline for each wait. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#define ADMIN_CLIENT_WAIT_S   30
#define ADMIN_CLIENT_BODY_MAX ((size_t)256 << 20)
#define ADMIN_CLIENT_DEFAULT  "http://127.0.0.1:5001"

struct admin_request {
	const char *url;   /* "http://HOST[:PORT]", "HOST:PORT", "unix:/PATH" */
	const char *token; /* NULL: none */
	const char *method;
	const char *target; /* path and query, escaped */
};

struct admin_answer {
	int status;
	struct buf body;
};

/* 0 when an answer came, whatever it says: the caller disposes of its body. ERR_INVALID: the URL is none that can be
 * asked. ERR_UPSTREAM: no larder answers there. */
int admin_client_ask(const struct admin_request *request, struct admin_answer *answer, struct err *err);
