/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bearer tokens of one upstream: fetched from the token service that a challenge names, kept per service and scope
 * until shortly before they end, and asked for once however many wait. A refusal is never remembered.
 *
 * A challenge is a stranger's word. The service must be on the upstream's own host, on one that is known or configured
 * to serve it, or else is asked without credentials; it is never asked over plain HTTP or at a private address unless
 * the upstream itself is there.
 *
 * Loop thread only.
 */
#pragma once

#include "base/err.h"
#include "upstream/challenge.h"
#include "upstream/fetch.h"
#include "upstream/url.h"

#define TOKEN_BYTES_MAX      ((size_t)64 << 10) /* of a token service's answer */
#define TOKEN_DEFAULT_LIFE_S 60                 /* where no expires_in is given: docs/spec/auth/token */
#define TOKEN_SCOPES_MAX     4096               /* kept at once; the one that ends first makes room */

struct tokens;

struct tokens_options {
	const char *upstream_url; /* decides which services get credentials */
	const char *username;     /* NULL: anonymous */
	const char *password;
};

struct token_waiter {
	/* `token` is borrowed during the call; NULL when `err` says why there is none. */
	void (*ready)(struct token_waiter *waiter, const char *token, const struct err *err);
	struct token_waiter *prev, *next; /* tokens' own */
	struct token_entry *entry;
};

struct tokens *tokens_new(struct loop *loop, struct fetch_pool *pool, const struct tokens_options *options);
/* Waiters are told ERR_CANCELLED. Takes NULL. */
void tokens_free(struct tokens *tokens);

/* Gets a token for the challenge's realm and service and this scope; ready() may be called before this returns.
 * `upstream_private`: the upstream was seen at a private address, so its service may be at one. */
void token_get(struct tokens *tokens, const struct challenge *challenge, const char *scope, bool upstream_private,
	       struct token_waiter *waiter);
/* Gives up waiting. */
void token_cancel(struct tokens *tokens, struct token_waiter *waiter);
/* The upstream refused this token: it is dropped, unless a newer one took its place. */
void token_drop(struct tokens *tokens, const struct challenge *challenge, const char *scope, const char *token);

/* "Basic <base64>" of the credentials; NULL when there are none. Borrowed. */
const char *tokens_basic(const struct tokens *tokens);

/* Whether credentials may go to `service` on behalf of `upstream`. */
bool token_service_trusted(const struct url *upstream, const struct url *service);
