/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a client's own credentials open a repository (`auth: client`). The registry itself is asked, with them, for a
 * head of what the client wants; no mirror is, and nothing that is held counts. What it says is remembered by login and
 * repository: a yes for auth_ttl, and for auth_grace more while the registry cannot be asked; a no for a moment. So it
 * covers all that is held of the repository, whoever brought it in.
 *
 * A permit is asked for before an interest (pull.h) is opened, which then is given the login too.
 */
#pragma once

#include "server/pull/pull.h"

#define PERMITS_MAX       16384 /* of an upstream; the oldest makes room */
#define PERMIT_REFUSED_MS 10000 /* how long a no is remembered, at most */
#define PERMIT_AGAIN_MS   5000  /* within the grace: how long after it could not be asked the registry is asked again */

struct pull_permit;

struct pull_permit_query {
	struct pull_upstream *upstream;
	const char *repository; /* "": whether the registry lets the login in at all */
	/* What to ask for: REGISTRY_MANIFEST, REGISTRY_BLOB, REGISTRY_TAGS; REGISTRY_PING without a repository. */
	enum registry_kind kind;
	const char *reference;
	const char *accept; /* as pull_manifest_open() */
	struct client_login *login;
};

/* Whether clients' credentials decide what may be had of this upstream. */
bool pull_upstream_asks_clients(const struct pull_upstream *upstream);
/* Whether larder may ask it for what no client waits for: not when clients decide, and larder has no credentials. */
bool pull_upstream_serves_larder(const struct pull_upstream *upstream);

struct pull_permit *pull_permit_open(struct pull *pull, const struct pull_permit_query *query);
/* 0: it may. ERR_AGAIN: the waiter was paused. ERR_DENIED; ERR_NOT_FOUND: the registry has no such thing, or says so;
 * another when it cannot be asked, or larder is offline, and nobody knows. */
int pull_permit_poll(struct pull_permit *permit, struct waiter *waiter, struct err *err);
/* Whether the registry was asked for it; else the answer was remembered. */
bool pull_permit_was_asked(const struct pull_permit *permit);
/* Takes NULL. A waiter that is still registered is forgotten. */
void pull_permit_close(struct pull_permit *permit);

/* Whether a yes is remembered. Any thread. */
bool pull_permit_is_known(struct pull_upstream *upstream, const char *repository, const struct client_login *login);
/* Takes back what is remembered, as the registry refused since. Any thread. */
void pull_permit_forget(struct pull_upstream *upstream, const char *repository, const struct client_login *login);
