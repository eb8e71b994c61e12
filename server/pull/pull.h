/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The heart: what is held, what flies, what is fresh. Joins the store and the upstreams; nothing else does.
 *
 * Four kinds of interest that one client can have, each opened, polled until it is ready, and closed:
 *
 *   pull_blob      a blob: stored, in flight (flight.h), or only its size (HEAD)
 *   pull_manifest  a manifest by digest or tag: stored, fresh, revalidated, fetched, or stale
 *   pull_tags      a page of a repository's tags
 *   pull_referrers the list of what refers to a manifest
 *
 * poll() returns 0 when the answer is there, ERR_AGAIN after pausing the waiter (poll again once woken), or the error
 * that is the answer. An interest belongs to one thread at a time; nothing here blocks on the network or a disk sync.
 *
 * Lifetime: pull_new, any number of interests, pull_close (from now on everything that waits fails with ERR_CANCELLED),
 * the HTTP server stops, pull_free.
 */
#pragma once

#include "base/digest.h"
#include "base/err.h"
#include "base/ref.h"
#include "base/units.h"
#include "base/waiter.h"
#include "upstream/registry.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PULL_MANIFEST_MAX                                                                                              \
	((size_t)4 << 20) /* distribution-spec, "Pushing Manifests": at least 4 MiB; clients read no more */
#define PULL_TAGS_MAX       ((size_t)8 << 20) /* of one page */
#define PULL_PAGE_QUERY_MAX 1024              /* of a page's query, as it is sent */
#define PULL_MEDIA_TYPE_MAX 255
#define PULL_ACCEPT_MAX     4096

struct pull;
struct pull_blob;
struct pull_manifest;
struct pull_referrers;
struct pull_tags;
struct pull_upstream;
struct store;
struct work;

struct pull_upstream_options {
	struct registry_options registry; /* registry.name is the upstream's name */
	const char *const *aliases;
	size_t alias_count;
	uint64_t tag_ttl_ms;
	uint64_t stale_for_ms; /* UNITS_FOREVER */
	uint64_t missing_ttl_ms;
	uint64_t auth_ttl_ms, auth_grace_ms; /* where registry.clients_decide (permit.h) */
	const char *const *immutable_tags;   /* globs */
	size_t immutable_tag_count;
	const char *const *allow; /* globs on repositories; none: everything */
	size_t allow_count;
	const char *const *deny;
	size_t deny_count;
};

struct pull_options {
	struct store *store;
	struct work *work; /* for what blocks shortly */
	struct work *disk; /* for what waits until the disk has it */
	struct loop *loop;
	const struct pull_upstream_options *upstreams; /* copied */
	size_t upstream_count;
	const char *default_upstream; /* its name */
	bool offline;
};

struct pull *pull_new(const struct pull_options *options);
void pull_close(struct pull *pull);
/* Whether pull_close() was called: for long work that waits for none of it. */
bool pull_is_closing(struct pull *pull);
/* Ends what is asked upstream, and lets nothing be asked any more: for threads that wait for it and are to be joined
 * before pull_free(), which does it else. NULL does nothing. */
void pull_hang_up(struct pull *pull);
void pull_free(struct pull *pull);

/*
 * Takes other upstreams, and another default, from now on. One whose settings are the same goes on as it was, with its
 * tokens, its health and its counts; one that changed begins anew. What runs ends with the upstream that it began with.
 * One thread at a time. How many are new or changed.
 */
size_t pull_set_upstreams(struct pull *pull, const struct pull_options *options);

/* By name or alias, in any case; `len` for a part of a longer text. NULL when it is not configured. */
struct pull_upstream *pull_find_upstream(struct pull *pull, const char *name, size_t len);
struct pull_upstream *pull_default_upstream(struct pull *pull);
const char *pull_upstream_name(const struct pull_upstream *upstream);
/* allow and deny: deny wins. */
bool pull_upstream_allows(const struct pull_upstream *upstream, const char *repository);
/* Whether what this repository gave could not be had from it again now: it may not be asked any more, or its upstream
 * does not answer, fails, or limits us. Asks nobody; any thread. */
bool pull_is_dear(const struct pull *pull, const char *upstream, const char *repository);

/* What is opened for prefetch is asked behind all clients, and waits as long as that takes; a client that comes to wait
 * for the same moves it up. To be said before the first poll(). */
void pull_manifest_defer(struct pull_manifest *manifest);
void pull_tags_defer(struct pull_tags *tags);
void pull_referrers_defer(struct pull_referrers *referrers);

/* Whatever has to be asked is asked with a client's own credentials, that the client was permitted with (permit.h).
 * Likewise before the first poll(); the login is held as long as the interest, and by what it began. */
void pull_blob_login(struct pull_blob *blob, struct client_login *login);
void pull_manifest_login(struct pull_manifest *manifest, struct client_login *login);
void pull_tags_login(struct pull_tags *tags, struct client_login *login);
void pull_referrers_login(struct pull_referrers *referrers, struct client_login *login);

/* How an answer came about: Cache-Status and the access log say it. */
enum pull_outcome {
	PULL_HIT,       /* from the store, or what is on its way there */
	PULL_MISS,      /* fetched for this request */
	PULL_COLLAPSED, /* fetched for another request that runs at the same time */
	PULL_STALE,     /* from the store, since the upstream could not be asked */
	PULL_PASSED,    /* asked upstream and not stored */
};

struct pull_status {
	enum pull_outcome outcome;
	int64_t age_s;          /* PULL_STALE: since the upstream last confirmed it (negative: not known) … */
	int64_t stale_by_s;     /* … and how far beyond its freshness that is */
	char why[ERR_TEXT_MAX]; /* PULL_STALE: what went wrong upstream */
};

/*
 * What a client was given whole is in the store, and known there, a moment later: when the disk has it. Who asks about
 * the store waits for that, so as to be told of all that was given before.
 */
/* Blocks, for at most so long. */
void pull_wait_landed(struct pull *pull, uint64_t limit_ms);
/* 0: what was given by `since_ms` (clock_ms()) is there. ERR_AGAIN: the waiter was paused. */
int pull_poll_landed(struct pull *pull, uint64_t since_ms, struct waiter *waiter);
void pull_forget_landed(struct pull *pull, struct waiter *waiter);

/* Told of each blob that begins to be fetched; called under a lock: it takes that down and returns. One at a time; NULL
 * ends it, and once that has returned it is not called any more. */
typedef void pull_watch_fn(void *arg, struct pull_upstream *upstream, const char *repository,
			   const struct digest *digest);
void pull_watch(struct pull *pull, pull_watch_fn *watch, void *arg);

/* Blobs. */

struct pull_blob *pull_blob_open(struct pull *pull, struct pull_upstream *upstream, const char *repository,
				 const struct digest *digest, bool head);
/* For prefetch: deferred likewise, and poll() says 0 once it is held, and linked to the repository: there is nothing to
 * read then. */
struct pull_blob *pull_blob_open_ahead(struct pull *pull, struct pull_upstream *upstream, const char *repository,
				       const struct digest *digest);
/* As poll(), but 0 as soon as all of it is here and proved right: nothing more is asked of the upstream, and poll()
 * then waits for the disk. No waiter is registered by then, so another thread may do that. */
int pull_blob_poll_fetched(struct pull_blob *blob, struct waiter *waiter, struct err *err);
/* How many of its bytes are there, while either says ERR_AGAIN. */
uint64_t pull_blob_arrived(const struct pull_blob *blob);
/* Of what is held, or flies: nothing is fetched or asked for it, ERR_NOT_FOUND else. */
struct pull_blob *pull_blob_open_present(struct pull *pull, struct pull_upstream *upstream, const char *repository,
					 const struct digest *digest);
int pull_blob_poll(struct pull_blob *blob, struct waiter *waiter, struct err *err);
/* From here on after poll() returned 0. */
uint64_t pull_blob_size(const struct pull_blob *blob);
const struct pull_status *pull_blob_status(const struct pull_blob *blob);
/* The descriptor of a stored blob, handed over; -1 while it is in flight: then pull_blob_read(). */
int pull_blob_take_fd(struct pull_blob *blob);
/* Up to `max` bytes from `offset`: the count; ERR_AGAIN after pausing the waiter; another error when the flight failed.
 * The blob's last byte is not given before its digest proved right. */
ssize_t pull_blob_read(struct pull_blob *blob, uint64_t offset, void *data, size_t max, struct waiter *waiter);
/* Likewise, straight to a socket that does not block; ERR_BUSY when that takes none now. */
ssize_t pull_blob_send(struct pull_blob *blob, uint64_t offset, int socket, size_t max, struct waiter *waiter);
/* The descriptor did not give these bytes: where that is so, the blob goes to quarantine, the next who asks fetches it,
 * and it is fetched anew also when nobody does. Reads them. */
void pull_blob_doubt(const struct pull_blob *blob, uint64_t offset, uint64_t len);
/* Takes NULL. A waiter that is still registered is forgotten. */
void pull_blob_close(struct pull_blob *blob);

/* Manifests. */

/* `reference` is a tag or a digest; `accept` the client's header, NULL when it sent none. */
struct pull_manifest *pull_manifest_open(struct pull *pull, struct pull_upstream *upstream, const char *repository,
					 const char *reference, const char *accept, bool head);
int pull_manifest_poll(struct pull_manifest *manifest, struct waiter *waiter, struct err *err);
/* After poll() returned 0: 0 once what was fetched is in the store. Another thread may go on with it from here. */
int pull_manifest_poll_kept(struct pull_manifest *manifest, struct waiter *waiter, struct err *err);
const struct digest *pull_manifest_digest(const struct pull_manifest *manifest);
const char *pull_manifest_media_type(const struct pull_manifest *manifest);
uint64_t pull_manifest_size(const struct pull_manifest *manifest);
/* Its bytes; NULL for HEAD, where only the size is known. */
const void *pull_manifest_data(const struct pull_manifest *manifest);
const struct pull_status *pull_manifest_status(const struct pull_manifest *manifest);
void pull_manifest_close(struct pull_manifest *manifest);

/* For how long an answer that came out of the store may be given again without a look into it: while the index says
 * what it said and, by a tag, while that is fresh. */
struct pull_ticket {
	uint64_t generation;
	int64_t until_s; /* wall seconds */
	int64_t used_s;  /* atomic: when its use was last noted */
	struct digest digest;
};

/* After poll() returned 0. False: the answer holds for this request alone. */
bool pull_manifest_ticket(const struct pull_manifest *manifest, struct pull_ticket *ticket);
/* Whether it holds now; then this counts as a use of the manifest. Takes no lock, but once a second. */
bool pull_ticket_use(struct pull *pull, struct pull_ticket *ticket);

/* Tags. */

/* Which part of a listing (distribution-spec, "Listing Tags"). */
struct pull_page {
	size_t count;      /* n; PULL_PAGE_ALL: not said */
	const char *last;  /* begin behind this one; "": from the start */
	const char *token; /* where the page begins, in the upstream's own terms (Quay's next_page); "": not said */
};

#define PULL_PAGE_ALL SIZE_MAX

struct pull_tags *pull_tags_open(struct pull *pull, struct pull_upstream *upstream, const char *repository,
				 const struct pull_page *page);
int pull_tags_poll(struct pull_tags *tags, struct waiter *waiter, struct err *err);
/* The JSON document, as the upstream gave it, or made from what is known when it could not be asked. */
const char *pull_tags_data(const struct pull_tags *tags, size_t *len);
/* The query of the next page, at most PULL_PAGE_QUERY_MAX; NULL when this is the last. */
const char *pull_tags_next(const struct pull_tags *tags);
const struct pull_status *pull_tags_status(const struct pull_tags *tags);
void pull_tags_close(struct pull_tags *tags);

/* Referrers. */

/* `artifact_type` NULL: of any. */
struct pull_referrers *pull_referrers_open(struct pull *pull, struct pull_upstream *upstream, const char *repository,
					   const struct digest *subject, const char *artifact_type);
int pull_referrers_poll(struct pull_referrers *referrers, struct waiter *waiter, struct err *err);
/* An OCI index, as the upstream gave it where it gave it whole and nothing was left out. */
const char *pull_referrers_data(const struct pull_referrers *referrers, size_t *len);
const struct pull_status *pull_referrers_status(const struct pull_referrers *referrers);
void pull_referrers_close(struct pull_referrers *referrers);

/* Repositories. */

/* Calls `each` with the name, UPSTREAM/REPOSITORY, of every repository that is held and may be pulled, in byte order,
 * from the first one behind `last`, until it returns false. `only` NULL: of all upstreams. */
int pull_list_repositories(struct pull *pull, const struct pull_upstream *only, const char *last,
			   bool (*each)(void *arg, const char *name), void *arg, struct err *err);
