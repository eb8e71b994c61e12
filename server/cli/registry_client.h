/* SPDX-License-Identifier: Apache-2.0 */
/* One GET of the registry API, as a client of larder's makes it. Blocks. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#define REGISTRY_CLIENT_BODY_MAX ((size_t)64 << 20)

struct registry_question {
	const char *url;         /* "https://HOST:PORT" and the path, escaped */
	const char *accept;      /* NULL: anything */
	const char *ca;          /* a CA bundle's file, NULL: the system's */
	const char *credentials; /* "USER:PASSWORD"; NULL: none */
};

struct registry_reply {
	int status;
	struct buf body;
	char digest[160];      /* Docker-Content-Digest; "" when absent */
	char cache_status[64]; /* Cache-Status; likewise */
};

/* 0 when a whole answer came, whatever it says: the caller disposes of its body. ERR_UPSTREAM: nothing answers there,
 * or the answer was cut. ERR_LIMIT: it is longer than REGISTRY_CLIENT_BODY_MAX. */
int registry_client_get(const struct registry_question *question, struct registry_reply *reply, struct err *err);
