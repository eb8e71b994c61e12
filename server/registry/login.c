/* SPDX-License-Identifier: Apache-2.0 */
/* Upstreams where clients' own credentials decide (`auth: client`): what a client shows larder is shown to the
 * registry, and larder serves what that lets the client have. */
#include "server/registry/admit.h"

#include "base/clock.h"
#include "server/pull/permit.h"

#include <string.h>

/* The first question of docker and podman, by whose answer they choose whether to log in, names no upstream. */
static struct pull_upstream *upstream_of(const struct visit *visit)
{
	if (visit->route.kind == ROUTE_PING && !visit->route.upstream)
		return pull_default_upstream(visit->pull);
	return visit->route.upstream;
}

static void challenge(struct visit *visit, const char *why)
{
	reply_header(visit, "WWW-Authenticate", "Basic realm=\"%s by larder\", charset=\"UTF-8\"",
		     pull_upstream_name(upstream_of(visit)));
	reply_oci_error(visit, 401, "UNAUTHORIZED", why, NULL);
}

/* What the registry is asked for, to see whether it gives it. */
static struct pull_permit *open_permit(const struct visit *visit)
{
	struct pull_permit_query query = {
		.upstream = upstream_of(visit),
		.repository = visit->route.repository,
		.kind = REGISTRY_MANIFEST,
		.reference = visit->route.reference,
		.login = visit->login,
	};

	switch (visit->route.kind) {
	case ROUTE_PING:
		query.kind = REGISTRY_PING;
		break;
	case ROUTE_BLOB:
		query.kind = REGISTRY_BLOB;
		break;
	case ROUTE_TAGS:
		query.kind = REGISTRY_TAGS;
		query.reference = "n=1";
		break;
	case ROUTE_MANIFEST:
		query.accept = http_request_header(visit->request, "Accept");
		break;
	case ROUTE_REFERRERS: /* whoever may have what is referred to */
	case ROUTE_CATALOG:
	case ROUTE_UPLOAD:
		break;
	}
	return pull_permit_open(visit->pull, &query);
}

static void refuse(struct visit *visit, const struct err *err)
{
	static const char *const unknown[] = {[ROUTE_PING] = "UNKNOWN",
					      [ROUTE_MANIFEST] = "MANIFEST_UNKNOWN",
					      [ROUTE_BLOB] = "BLOB_UNKNOWN",
					      [ROUTE_TAGS] = "NAME_UNKNOWN",
					      [ROUTE_REFERRERS] = "MANIFEST_UNKNOWN"};
	bool nobody = !client_login_basic(visit->login);

	if (err->code != ERR_DENIED || (visit->route.kind != ROUTE_PING && !nobody)) {
		reply_error(visit, err, unknown[visit->route.kind]);
		return;
	}
	visit->err = *err;
	challenge(visit, nobody ? "the registry wants to know who you are: log in to larder as you would to it"
				: "the registry does not take these credentials");
}

/* The catalog shows what a client was found to be allowed; a push is refused whoever it is. */
static bool needs_permit(const struct visit *visit)
{
	const struct pull_upstream *upstream = upstream_of(visit);

	return upstream && pull_upstream_asks_clients(upstream) && visit->route.kind != ROUTE_CATALOG &&
	       visit->route.kind != ROUTE_UPLOAD;
}

/* What a client shows is a guess until the registry took it: a name and password, that is; nobody guesses at being
 * nobody. False: the client was told to wait. */
static bool begin_guess(struct visit *visit)
{
	int wait_s;

	if (!client_login_basic(visit->login))
		return true;
	visit->guess = (struct guess){
		.client = visit->request->client, .shown = client_login_key(visit->login), .now_ms = clock_ms()};
	wait_s = guesses_begin(visit->guesses, &visit->guess);
	visit->is_guessing = wait_s == 0;
	if (wait_s > 0)
		admit_slow_down(visit, wait_s);
	return visit->is_guessing;
}

/* Registries say the same of a wrong password and of one that is right, and may not have this. */
static void end_guess(struct visit *visit, int code)
{
	bool refused = code == ERR_DENIED && pull_permit_was_asked(visit->permit);

	if (!visit->is_guessing)
		return;
	visit->is_guessing = false;
	visit->guess.now_ms = clock_ms();
	guesses_end(visit->guesses, &visit->guess, code == 0 ? GUESS_RIGHT : refused ? GUESS_WRONG : GUESS_OPEN);
}

bool admit_login(struct visit *visit)
{
	const char *authorization = http_request_header(visit->request, "Authorization");
	struct err err = {0};
	int code;

	if (!needs_permit(visit))
		return true;
	if (!visit->login && client_login_read(authorization, &visit->login)) {
		challenge(visit, "larder takes a name and password (Basic) to pass on, and nothing else");
		return false;
	}
	if (visit->route.kind == ROUTE_PING && !authorization) {
		challenge(visit, "larder passes on what you log in with to the registry: log in as you would to it");
		return false;
	}
	if (!visit->permit && !begin_guess(visit))
		return false;
	if (!visit->permit)
		visit->permit = open_permit(visit);
	code = pull_permit_poll(visit->permit, &visit->request->waiter, &err);
	if (code == ERR_AGAIN)
		return false;
	end_guess(visit, code);
	if (code)
		refuse(visit, &err);
	visit->permitted = code == 0;
	return visit->permitted;
}
