/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of pull/ share. */
#pragma once

#include "base/work.h"
#include "server/pull/health.h"
#include "server/pull/pull.h"
#include "store/index.h"
#include "store/manifest.h"
#include "store/store.h"

#include <pthread.h>
#include <uthash.h>

struct ask;
struct flight;
struct missing;
struct page_cache;
struct permits;
struct sizes;
struct sparse;

struct pull_upstream {
	struct pull *pull;
	struct pull_upstream *older; /* made before it */
	struct digest settings;      /* of all that it was configured with */
	char *name;
	struct pull_upstream_options options; /* lists are the upstream's own */
	struct registry *registry;
	struct permits *permits; /* NULL: clients do not decide */
	bool has_credentials;    /* larder's own */
	struct health health;
};

/* The upstreams as a configuration named them. Never changed once it is in force: a newer one takes its place, and it
 * stays until the end, for those who still read it. */
struct upstreams {
	size_t count;
	struct pull_upstream **items;
	struct pull_upstream *standard;
	struct upstreams *older;
};

struct pull {
	struct store *store;
	struct index *index;
	struct work *work, *disk;
	struct loop *loop;
	struct upstreams *upstreams;         /* atomic: those in force */
	uint64_t reconfigured;               /* atomic: how often others took their place */
	struct pull_upstream *all_upstreams; /* atomic: those ever made, as requests may still have one that is no
						longer configured */
	bool offline;
	/* Told of each flight that begins, with pull->lock held; NULL: nobody. */
	pull_watch_fn *watch;
	void *watch_arg;
	struct sizes *sizes;      /* what manifests say about their blobs */
	struct page_cache *pages; /* of listings, as upstreams gave them */

	pthread_mutex_t lock; /* guards what follows; taken before a flight's own lock, never after it */
	bool closing;
	struct flight *flights; /* by digest */
	struct flight *aside;   /* those of digests that are in the table already */
	struct sparse *sparse;  /* by digest: reads of parts */
	pthread_cond_t sparse_ended;
	struct ask *asks;        /* by key */
	struct missing *missing; /* by key: what upstream did not have a moment ago */
	pthread_cond_t idle;     /* `jobs` became 0 */
	unsigned jobs;           /* flights and asks that still use the store or an upstream */
	unsigned landings;       /* atomic: how many left their table, their outcome being in the store */
	pthread_cond_t landed;   /* one did */
	struct waiter *landing_waiters;
};

/*
 * Who looks into the store, and then into the tables of what runs, misses what lands in between, and would fetch it
 * again. So the landings are noted first, and when they have changed by the time that something new is to be started,
 * under pull->lock, the look is repeated.
 */
unsigned pull_landings(const struct pull *pull);
/* pull->lock is held. */
void pull_note_landing(struct pull *pull);
/* Likewise: whoever waits for that looks again. */
void landing_wake(struct pull *pull);

/* upstreams.c, for pull.c: the end of all that is asked, and the end. */
void upstreams_close(struct pull *pull);
void upstreams_dispose(struct pull *pull);
/* Changes when something in the index does, or the upstreams do: what was decided before need not hold any more. */
uint64_t pull_generation(const struct pull *pull);
/* Those in force. Any thread. */
const struct upstreams *upstreams_now(const struct pull *pull);

/* permit.c, for upstreams.c. */
struct permits *permits_new(void);
void permits_free(struct permits *permits); /* takes NULL */

/* Something runs that must end before pull_free() goes on. */
void pull_job_begin(struct pull *pull);
void pull_job_end(struct pull *pull);

/* For how long after it was last confirmed a tag is served without asking. */
#define PULL_FRESH_FOREVER_S (INT64_MAX / 2)
int64_t pull_tag_freshness_s(const struct pull_upstream *upstream, const char *tag);

/* Whether `text` matches one of the shell globs. */
bool pull_glob_matches(const char *const *globs, size_t count, const char *text);
