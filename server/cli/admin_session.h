/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the commands that ask a larder have in common: which one, the question, and how failures are said. It is a
 * running one (--admin), or with --store one in this process (local.h).
 */
#pragma once

#include "server/cli/admin_client.h"
#include "server/cli/command.h"

#include <jansson.h>

struct local;

struct admin_session {
	const char *name; /* the command's */
	const char *url;
	char *token;         /* NULL: none */
	struct local *local; /* NULL: the larder is another process */
	bool silent;         /* what is wrong is not said */
};

/* Finds out whom to ask by the command's options. Returns an exit status; what is wrong has been said then. In any case
 * the session is to be closed. */
int admin_session_open(struct admin_session *session, const struct command_line *line);
void admin_session_close(struct admin_session *session);

/*
 * Asks, and hands over the document of a good answer, an object or an array; `body` (borrowed; NULL: none) is sent as
 * JSON. Else says what is wrong and returns the exit status: EXIT_NO_LARDER, EXIT_USAGE (a malformed argument),
 * EXIT_SOME_FAILED.
 */
int admin_session_ask(const struct admin_session *session, const char *method, const char *target, const json_t *body,
		      json_t **document);

/* Asks with streams: all of `request` but whom to ask is the caller's. EXIT_DONE after a good answer (2xx), whose body
 * went to request->take(). Says what is wrong, except when give() or take() gave up: then EXIT_SOME_FAILED, and the
 * caller says why. */
int admin_session_stream(const struct admin_session *session, struct admin_request *request);
