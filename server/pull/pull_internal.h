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
struct sizes;
struct sparse;

struct pull_upstream {
	struct pull *pull;
	char *name;
	struct pull_upstream_options options; /* lists are the upstream's own */
	struct registry *registry;
	struct health health;
};

struct pull {
	struct store *store;
	struct index *index;
	struct work *work;
	struct loop *loop;
	struct pull_upstream *upstreams;
	size_t upstream_count;
	struct pull_upstream *default_upstream;
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
};

/*
 * Who looks into the store, and then into the tables of what runs, misses what lands in between, and would fetch it
 * again. So the landings are noted first, and when they have changed by the time that something new is to be started,
 * under pull->lock, the look is repeated.
 */
unsigned pull_landings(const struct pull *pull);
/* pull->lock is held. */
void pull_note_landing(struct pull *pull);

/* Something runs that must end before pull_free() goes on. */
void pull_job_begin(struct pull *pull);
void pull_job_end(struct pull *pull);

/* For how long after it was last confirmed a tag is served without asking. */
#define PULL_FRESH_FOREVER_S (INT64_MAX / 2)
int64_t pull_tag_freshness_s(const struct pull_upstream *upstream, const char *tag);

/* Whether `text` matches one of the shell globs. */
bool pull_glob_matches(const char *const *globs, size_t count, const char *text);
