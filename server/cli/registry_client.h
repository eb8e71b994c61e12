/* SPDX-License-Identifier: Apache-2.0 */
/* One GET of the registry API, as a client of larder's makes it. Blocks. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

#define REGISTRY_CLIENT_BODY_MAX ((size_t)8 << 20)
#define REGISTRY_CLIENT_KEPT     ((size_t)4 << 10) /* of one that is hashed */

struct hasher;

struct registry_question {
	const char *url;         /* "https://HOST:PORT" and the path, escaped */
	const char *accept;      /* NULL: anything */
	const char *ca;          /* a CA bundle's file, NULL: the system's */
	const char *credentials; /* "USER:PASSWORD"; NULL: none */
	struct hasher *hasher; /* takes a body of any length, of which only the beginning is kept; NULL: all is kept */
};

struct registry_reply {
	int status;
	struct buf body;
	uint64_t bytes;        /* of the body, as many as came */
	char digest[160];      /* Docker-Content-Digest; "" when absent */
	char cache_status[64]; /* Cache-Status; likewise */
};

/* 0 when a whole answer came, whatever it says: the caller disposes of its body. ERR_UPSTREAM: nothing answers there,
 * or the answer was cut. ERR_LIMIT: it is longer than REGISTRY_CLIENT_BODY_MAX, and not hashed. */
int registry_client_get(const struct registry_question *question, struct registry_reply *reply, struct err *err);
