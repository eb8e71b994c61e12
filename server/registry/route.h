/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a request's target means: which upstream, repository, and thing. The rules, in this order:
 *   1. ?ns=NAME[:PORT] names the upstream, and the path is the repository; one that is not configured is not dialled
 *   2. the first path component is an upstream's name or alias, behind /v2/ or before it
 *   3. else the default upstream; on docker.io, a one-word repository is in library/
 * Pure but for looking upstreams up.
 */
#pragma once

#include "base/err.h"
#include "base/ref.h"
#include "server/pull/pull.h"

enum route_kind {
	ROUTE_PING,      /* /v2/ */
	ROUTE_MANIFEST,  /* …/manifests/REFERENCE */
	ROUTE_BLOB,      /* …/blobs/DIGEST */
	ROUTE_TAGS,      /* …/tags/list */
	ROUTE_REFERRERS, /* …/referrers/DIGEST */
	ROUTE_CATALOG,   /* /v2/_catalog: without an upstream, unless ?ns= named one */
	ROUTE_UPLOAD,    /* …/blobs/uploads/…: what a push begins with */
};

#define ROUTE_REFERENCE_MAX 256

struct route {
	enum route_kind kind;
	struct pull_upstream *upstream;
	char repository[REF_REPOSITORY_MAX + 1];                    /* as the upstream knows it */
	char asked_name[REF_UPSTREAM_MAX + REF_REPOSITORY_MAX + 2]; /* behind /v2/, what leads here again … */
	bool by_ns;                                                 /* … with ?ns= and the upstream's name */
	char reference[ROUTE_REFERENCE_MAX + 1];                    /* unchecked */
	char ns[REF_UPSTREAM_MAX + 8]; /* what ?ns= said, once it named an upstream; "" when absent */
	const char *error;             /* with an error: the OCI error code to answer */
};

/*
 * Reads a target. 0; ERR_NOT_FOUND (no such route, or an upstream that is not configured) or ERR_INVALID (a malformed
 * name), with route->error set to the OCI error code and the reason in `err`.
 */
int route_parse(struct pull *pull, const char *path, const char *query, struct route *route, struct err *err);

/* The same of a reference as people write it; `ns` as ?ns=, or NULL. A registry's host in it that is not configured is
 * ERR_NOT_FOUND, and not a repository of the default upstream. */
int route_find(struct pull *pull, const struct ref *ref, const char *ns, struct route *route, struct err *err);
