/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small question to an upstream whose whole answer fits in memory: a manifest, its head, a blob's head, a page of
 * tags, a list of referrers. One runs however many clients have it: they join by its key, under pull->lock, which also
 * guards the waiters. When it is answered, the waiters are woken at once; a worker thread then writes what was learnt
 * into the store, and only after that does the ask leave the table: whoever comes later finds it there. One that failed
 * leaves at once. Who comes in between has the answer as out of the store, as long as it is fresh; then he waits for
 * the store.
 *
 * States: RUNNING (the call is out) -> ANSWERED (result or error is final; readable without the lock by those who saw
 * it under the lock)
 */
#pragma once

#include "base/buf.h"
#include "server/pull/pull_internal.h"

struct ask_request {
	struct pull_upstream *upstream;
	enum registry_kind kind;
	bool head;
	const char *repository;
	const char *reference;
	const char *accept;
	uint64_t accept_key;
	bool impatient; /* there is something to fall back on */
	enum pace_priority priority;
	const struct pull_page *page; /* REGISTRY_TAGS: which one */
	unsigned landings;            /* pull_landings() before the store was looked into */
	struct client_login *login;   /* with whose credentials; NULL: larder's own */
	const char *tag;              /* of a manifest by digest: what means it now, and does here once it is kept */
	bool whether; /* the question is whether the login may: asked of the registry alone, and nothing is learnt */
};

struct ask_result {
	struct digest digest; /* of the body; of a HEAD, what Docker-Content-Digest claims; algorithm 0: none */
	char media_type[PULL_MEDIA_TYPE_MAX + 1];
	uint64_t size; /* REGISTRY_LENGTH_UNKNOWN when a HEAD did not tell */
	struct buf body;
	char *next; /* of a listing: the query of the next page; NULL: this is the last */
};

/* What asks for the same join by, for the caller to free. */
char *ask_key(const struct ask_request *request);

/* How an ask came to be had. */
enum ask_had {
	ASK_BEGUN,  /* it was started */
	ASK_JOINED, /* it ran */
	ASK_LATE,   /* it had been answered, and what was learnt was not written yet */
	ASK_OLD,    /* likewise, and the answer is not fresh any more: only ask_outlast() is of use */
};

/* Joins the ask for the same, or one that brings as much and more (a manifest's GET, for its HEAD), or starts it: `had`
 * tells. Release it. NULL: one may just have ended, so look into the store again. */
struct ask *ask_open(struct pull *pull, const struct ask_request *request, enum ask_had *had);
/* Its result has no body. */
bool ask_is_head(const struct ask *ask);
/* What an answer is that was had so. */
enum pull_outcome ask_outcome(enum ask_had had);
/* True: what an ASK_OLD had learnt is written; it was released, and *ask is NULL: look into the store again. False: the
 * waiter was paused. */
bool ask_outlast(struct ask **ask, struct waiter *waiter);
/* 0: *result is valid until ask_release(). ERR_AGAIN: the waiter was paused. Else the error. An impatient client is
 * told ERR_UPSTREAM when the upstream keeps it waiting for HEALTH_PATIENCE_MS; the ask goes on. */
int ask_poll(struct ask *ask, struct waiter *waiter, bool impatient, const struct ask_result **result, struct err *err);
/* Behind an ask_poll() that said 0: 0 once what was learnt is written. ERR_AGAIN: the waiter was paused. Else why it is
 * not. */
int ask_poll_kept(struct ask *ask, struct waiter *waiter, struct err *err);
/* Asks without waiting for the answer: what is learnt is written down as ever. */
void ask_in_background(struct pull *pull, const struct ask_request *request);
/* Takes NULL; `waiter` may be NULL. */
void ask_release(struct ask *ask, struct waiter *waiter);

/* pull->lock is held: wakes all who wait; ask_poll() then says ERR_CANCELLED. */
void asks_fail_all(struct pull *pull);
