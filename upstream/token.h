/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What answers an upstream's challenges. For Bearer, tokens: fetched from the token service that the challenge names,
 * kept per service and scope until shortly before they end, and asked for once however many wait. For Basic, the
 * credentials themselves. A refusal is never remembered, and of credentials that may have changed (credentials.h) it
 * makes them be read again, once.
 *
 * A challenge is a stranger's word. The service must be on the upstream's own host, on one that is known or configured
 * to serve it, or else is asked without credentials; it is never asked over plain HTTP unless the upstream itself is,
 * and, unless it is configured, at no nearer address (url.h) than the one the challenge came from. An identity token
 * (`docker login`'s OAuth2 refresh token) is posted, as docs/spec/auth/oauth says.
 *
 * A client's own credentials (client_login.h) stand in the place of larder's where a call was made for that client:
 * their tokens are kept apart, one client's from another's, and from larder's own.
 *
 * Loop thread only.
 */
#pragma once

#include "base/err.h"
#include "upstream/challenge.h"
#include "upstream/client_login.h"
#include "upstream/credentials.h"
#include "upstream/fetch.h"
#include "upstream/url.h"

#define TOKEN_BYTES_MAX      ((size_t)64 << 10) /* of a token service's answer */
#define TOKEN_DEFAULT_LIFE_S 60                 /* where no expires_in is given: docs/spec/auth/token */
#define TOKEN_SCOPES_MAX     4096               /* kept at once; the one that ends first makes room */

struct tokens;

struct tokens_options {
	const char *upstream_name;   /* for messages */
	const char *upstream_url;    /* decides which services get credentials … */
	const char *const *services; /* … together with these, as "HOST" or "HOST:PORT" */
	size_t service_count;
	const char *username; /* NULL: docker_config's, or none */
	const char *password;
	const char *docker_config;
};

struct token_waiter {
	/* `authorization` is "Bearer …" or "Basic …", borrowed during the call; NULL when `err` says why there is none,
	 * or, without `err`, when there are no credentials for a Basic challenge. */
	void (*ready)(struct token_waiter *waiter, const char *authorization, const struct err *err);
	struct token_waiter *prev, *next; /* tokens' own, as all below */
	struct token_entry *entry;
	struct credentials_waiter credentials;
};

struct tokens *tokens_new(struct loop *loop, struct fetch_pool *pool, const struct tokens_options *options);
/* Waiters are told ERR_CANCELLED. Takes NULL. */
void tokens_free(struct tokens *tokens);

/* Gets what answers the challenge: for Bearer a token for its realm and service and this scope. ready() may be called
 * before this returns. `ground`: where the challenge came from; its service lies no nearer.
 * `login`: whose credentials are shown; NULL: larder's own. */
void token_get(struct tokens *tokens, const struct challenge *challenge, const char *scope, enum url_ground ground,
	       struct client_login *login, struct token_waiter *waiter);
/* Gives up waiting. */
void token_cancel(struct tokens *tokens, struct token_waiter *waiter);
/* The upstream refused what ready() gave: it is dropped, unless a newer one took its place. True when another may be
 * had. */
bool token_drop(struct tokens *tokens, const struct challenge *challenge, const char *scope,
		const struct client_login *login, const char *authorization);
/* Whether the configuration names credentials of larder's own. */
bool tokens_have_credentials(const struct tokens *tokens);

/* Whether credentials may go to `service` on behalf of `upstream`; `allowed` are the configured ones. */
bool token_service_trusted(const struct url *upstream, const struct url *service, const char *const *allowed,
			   size_t allowed_count);
