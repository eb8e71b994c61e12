/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of prefetch/ share: one run. */
#pragma once

#include "base/digest.h"
#include "base/ref.h"
#include "server/jobs/jobs.h"
#include "server/prefetch/baton.h"
#include "server/prefetch/platform.h"
#include "server/prefetch/prefetch.h"
#include "server/pull/pull.h"

#include <pthread.h>
#include <uthash.h>

/* What is wanted, read from the request. */
struct wanted {
	struct platform platforms[PREFETCH_PLATFORMS_MAX];
	size_t platform_count; /* 0: all */
	unsigned images_at_once, layers_at_once;
	const char *pin; /* NULL: none */
	bool referrers;
	bool dry_run;
};

struct image {
	struct pull_upstream *upstream;
	char *repository;
	char *reference; /* a tag or a digest */
	char *key;
	UT_hash_handle hh;
};

/* A digest that the run has met: what several images need counts once. */
struct met {
	struct digest digest;
	UT_hash_handle hh;
};

struct run {
	struct pull *pull;
	struct store *store;
	struct job *job;
	struct wanted wanted;

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t more;  /* images were added, or there will be none */
	struct image **images;
	struct image *by_key; /* the same: each is there once */
	size_t count, capacity, taken;
	unsigned inside; /* images whose parts are being fetched */
	bool resolved;   /* all are there */
	struct met *met;
	json_t *plan;          /* of a dry run: what each image needs */
	struct baton **batons; /* of all threads, for the end */
	size_t baton_count;
};

/* Reads a request. ERR_INVALID. */
int wanted_read(const json_t *request, struct wanted *wanted, struct err *err);
/* Whether what an index says of a manifest is one of those that are wanted. */
bool wanted_has_platform(const struct wanted *wanted, const json_t *platform);
/* The platforms with commas between, as a pin has them; for the caller to free. */
char *wanted_platforms(const struct wanted *wanted);

/* resolve.c: finds the upstream and checks the repository. ERR_INVALID, ERR_NOT_FOUND, ERR_DENIED. */
int resolve_check(struct pull *pull, const char *text, struct err *err);
/* Adds the images that a reference means; what cannot be found out is a failure of the job. */
void resolve_reference(struct run *run, struct baton *baton, const char *text);

/* run.c */
void run_add_image(struct run *run, struct pull_upstream *upstream, const char *repository, const char *reference);
/* Whether another image's parts may be fetched now: at most as many as were asked for at once. */
bool run_enter(struct run *run);
void run_leave(struct run *run);
/* Whether it is met for the first time. */
bool run_meet(struct run *run, const struct digest *digest);
/* "UPSTREAM/REPOSITORY:TAG", or @DIGEST; for the caller to free. */
char *image_name(const struct image *image);

/* image.c: fetches one, on a thread with that baton. */
void image_fetch(struct run *run, struct baton *baton, const struct image *image);

/* parts.c: what a manifest names. */
enum part_kind {
	PART_MANIFEST,
	PART_CONFIG,
	PART_LAYER,
	PART_REFERRERS,
	PART_SIGNATURE, /* whether there is a manifest under that tag */
};
struct part {
	enum part_kind kind;
	struct digest digest; /* of PART_REFERRERS and PART_SIGNATURE: the subject's */
	char *reference;      /* of a manifest that a tag names; else NULL */
	uint64_t size;        /* 0: not told */
	unsigned depth;
	bool optional; /* that the upstream does not have it is no failure */
};
#define PARTS_MAX       20000 /* of one image */
#define PARTS_DEPTH_MAX 4
struct parts {
	struct part *list;
	size_t count, capacity;
	size_t next_layer, next_other; /* that has not begun: it, or one behind it */
};
int parts_add(struct parts *parts, const struct part *part, struct err *err);
/* The next layer, or the next of all that is small; NULL: there is none now. Valid until something is added. */
const struct part *parts_next(struct parts *parts, bool layer);
/* Adds what a manifest or index names, as far as it is wanted. ERR_UPSTREAM when it is no manifest, ERR_NOT_FOUND when
 * an index has none of the platforms, ERR_LIMIT. */
int parts_read_manifest(struct parts *parts, const struct wanted *wanted, const void *data, size_t len, unsigned depth,
			struct err *err);
/* A list of referrers: all that is in it. */
int parts_read_referrers(struct parts *parts, const void *data, size_t len, unsigned depth, struct err *err);
void parts_dispose(struct parts *parts);
