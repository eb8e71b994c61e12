/* SPDX-License-Identifier: Apache-2.0 */
/* What ask.c (how a question runs) and learn.c (what its answer means) share. */
#pragma once

#include "base/log.h"
#include "server/pull/ask.h"

struct ask {
	struct pull *pull;
	char *key;
	UT_hash_handle hh;
	unsigned refs; /* the table's, and one a client */
	enum { ASK_RUNNING, ASK_ANSWERED } state;
	struct waiter *waiters, *kept_waiters;

	struct pull_upstream *upstream;
	enum registry_kind kind;
	bool head;
	char *repository, *reference;
	char *tag; /* as the request's, of the first with this Accept who has one; under pull->lock until it is being
		      kept */
	struct client_login *login;
	bool whether;
	uint64_t accept_key;
	struct digest wanted; /* when the reference is a digest */

	struct pull_page page;       /* REGISTRY_TAGS; its strings are the ask's own */
	struct referrers_list *list; /* REGISTRY_REFERRERS: what came so far of an answer in several */
	bool impatient;
	enum pace_priority priority; /* written under pull->lock; atomic, as the loop reads it without */

	struct ask_result result;
	struct err err;
	struct work_job job; /* writes what was learnt */
	uint64_t answered_ms;
	bool left;    /* the table already */
	bool keeping; /* what was learnt is being written; under pull->lock */
	bool kept;    /* what was learnt is written, or cannot be: then why not; under pull->lock */
	struct err keep_err;

	struct loop_task arm;    /* sets the timer; posted before the call … */
	struct loop_task late;   /* … or when a client joins what prefetch asked */
	bool over;               /* the loop's: the timer is not set any more */
	struct loop_timer timer; /* patience ends */
	bool overdue;            /* it has ended; under pull->lock */

	char request[LOG_REQUEST_MAX]; /* whom it was asked for first */
};

/* Checks a good answer on the loop's thread, before anybody sees it: sets ask->err when it is not what it should be. */
void learn_check(struct ask *ask);
/* Writes down what was learnt; what of it cannot be is said in the log. Blocks: on a worker thread. ERR_NO_SPACE,
 * ERR_IO: a manifest is not held now. */
int learn_keep(struct ask *ask, struct err *err);
