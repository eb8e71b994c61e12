/* SPDX-License-Identifier: Apache-2.0 */
/* One HTTP request to a larder's admin API, over TCP or a unix socket. Blocks. Bodies of both directions may be
 * streams of any length. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <signal.h>
#include <stdint.h>
#include <sys/types.h>

#define ADMIN_CLIENT_CONNECT_S 10
#define ADMIN_CLIENT_WAIT_S    30                  /* for a whole document, without a byte of it */
#define ADMIN_CLIENT_BODY_MAX  ((size_t)256 << 20) /* of a whole document */
#define ADMIN_CLIENT_DEFAULT   "http://127.0.0.1:5001"

struct admin_request {
	const char *url;    /* "http://HOST[:PORT]", "HOST:PORT", "unix:/PATH" */
	const char *token;  /* NULL: none */
	const char *method; /* "GET" */
	const char *target; /* path and query, escaped */

	/* What is sent: nothing, a text in memory, or a stream: give() puts up to `max` bytes into `data` and returns
	 * their number, 0 at the end, negative to give up. */
	const char *content_type; /* of either */
	const char *text;
	ssize_t (*give)(void *arg, void *data, size_t max);
	int64_t give_length; /* -1: not known, it goes out in chunks */

	/* Takes the body of a good answer (2xx) piece by piece, and returns 0, or anything else to give up. NULL: it
	 * becomes admin_answer.body, as an error's does in any case. */
	int (*take)(void *arg, const void *data, size_t len);
	void *arg; /* of give() and take() */

	const volatile sig_atomic_t *stop; /* NULL, or what ends the request within a second when it is set */
};

struct admin_answer {
	int status;
	struct buf body;
};

/*
 * 0 when a whole answer came, whatever it says: the caller disposes of its body. ERR_INVALID: the URL is none that can
 * be asked. ERR_UPSTREAM: no larder answers there. ERR_IO: the answer was cut short. ERR_CANCELLED: give() or take()
 * gave up, or *stop was set. ERR_LIMIT: a document beyond all bounds.
 */
int admin_client_ask(const struct admin_request *request, struct admin_answer *answer, struct err *err);

/* give() from, and take() to, a descriptor: `arg` points to it. */
ssize_t admin_give_from_fd(void *arg, void *data, size_t max);
int admin_take_to_fd(void *arg, const void *data, size_t len);
