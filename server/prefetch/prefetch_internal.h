/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of prefetch/ share: one run. */
#pragma once

#include "base/digest.h"
#include "base/ref.h"
#include "server/jobs/jobs.h"
#include "server/prefetch/baton.h"
#include "server/prefetch/prefetch.h"
#include "server/prefetch/turns.h"
#include "server/pull/pull.h"

#include <pthread.h>
#include <uthash.h>

/* What is wanted, read from the request. */
struct wanted {
	const char *platforms[PREFETCH_PLATFORMS_MAX]; /* the request's */
	size_t platform_count;                         /* 0: all */
	unsigned images_at_once, layers_at_once;
	const char *pin; /* NULL: none */
	bool referrers;
	bool platform_referrers; /* also what refers to a single platform's manifest */
	bool dry_run;
};

/* The thread that waits for the disk. Under run->lock, but for the baton. */
#define SETTLING_MAX 128 /* parts at once; each has a file open */
struct settler {
	struct baton baton;
	pthread_cond_t room;
	struct fetched *arrivals; /* handed over and not looked at yet */
	unsigned count;           /* of all that settle */
	bool ending;
};

struct image {
	struct pull_upstream *upstream;
	char *repository;
	char *reference; /* a tag or a digest */
	char *key;
	UT_hash_handle hh;
	struct turn turn; /* to have its parts fetched; under run->lock, as the next */
	unsigned open;    /* what of it has not ended: its fetching, and each part that settles */
	struct err err;   /* the first failure */
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
	struct turns turns;
	struct image **images;
	struct image *by_key; /* the same: each is there once */
	size_t count, capacity, taken;
	bool resolved; /* all are there */
	struct met *met;
	json_t *plan;          /* of a dry run: what each image needs */
	struct baton **batons; /* of all threads, for the end */
	size_t baton_count;

	struct settler settler;
};

/* Reads a request. ERR_INVALID. */
int wanted_read(const json_t *request, struct wanted *wanted, struct err *err);
/* Whether a platform ("" where none is said) is one of those that are wanted. */
bool wanted_has_platform(const struct wanted *wanted, const char *platform);
/* The platforms with commas between, as a pin has them; for the caller to free. */
char *wanted_platforms(const struct wanted *wanted);

/* resolve.c: finds the upstream and checks the repository. ERR_INVALID, ERR_NOT_FOUND, ERR_DENIED. */
int resolve_check(struct pull *pull, const char *text, struct err *err);
/* Adds the images that a reference means; what cannot be found out is a failure of the job. */
void resolve_reference(struct run *run, struct baton *baton, const char *text);

/* run.c */
void run_add_image(struct run *run, struct pull_upstream *upstream, const char *repository, const char *reference);
/* Whether this image's parts may be fetched now: at most as many images are inside as were asked for at once, and they
 * go in as they were asked for. One that is inside and still waits for its manifest has its place. */
bool run_enter(struct run *run, struct image *image);
/* They have been, or will not be. */
void run_leave(struct run *run, struct image *image);
/* Whether it is met for the first time. */
bool run_meet(struct run *run, const struct digest *digest);
/* "UPSTREAM/REPOSITORY:TAG", or @DIGEST; for the caller to free. */
char *image_name(const struct image *image);

/* image.c: fetches one, on a thread with that baton. */
void image_fetch(struct run *run, struct baton *baton, struct image *image);

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
	bool platform; /* of a manifest: the image's own for one platform */
	bool judged;   /* of a manifest: its platform is one that is wanted, or does not matter */
	/* Of a config that is to tell the platform of its manifest: that, owned. What it names comes after. */
	char *manifest;
	size_t manifest_len;
};
static inline bool part_is_blob(const struct part *part)
{
	return part->kind == PART_CONFIG || part->kind == PART_LAYER;
}
/* What is asked in which order, and beside what. */
enum part_class {
	PARTS_LAYERS,     /* bytes */
	PARTS_SMALL,      /* manifests and configurations: a round trip each */
	PARTS_COMPANIONS, /* whether there is something that refers to the image: likewise, and it is no part of it */
	PARTS_CLASSES,
};
#define PARTS_MAX       20000 /* of one image */
#define PARTS_DEPTH_MAX 4
struct parts {
	struct part *list;
	size_t count, capacity;
	size_t next[PARTS_CLASSES]; /* that has not begun: it, or one behind it */
};
int parts_add(struct parts *parts, const struct part *part, struct err *err);
/* The next of a class; NULL: there is none now. Valid until something is added. */
const struct part *parts_next(struct parts *parts, enum part_class class);
/* Adds what a manifest or index names, as far as it is wanted; of an image that has yet to be judged its config alone.
 * ERR_UPSTREAM when it is no manifest, ERR_NOT_FOUND when an index has none of the platforms, ERR_LIMIT. */
int parts_read_manifest(struct parts *parts, const struct wanted *wanted, const void *data, size_t len,
			const struct part *of, struct err *err);
/* Adds what the manifest of a config names beside it. ERR_UPSTREAM, ERR_LIMIT. */
int parts_read_rest(struct parts *parts, const struct part *config, struct err *err);
/* A list of referrers: all that is in it. */
int parts_read_referrers(struct parts *parts, const void *data, size_t len, unsigned depth, struct err *err);
void parts_dispose(struct parts *parts);

/*
 * settle.c: what was fetched is in nobody's way any more, but not held before it is published, which is the disk's
 * pace. One thread waits for that, for all images of a run; when the last part of an image has ended, the image has.
 */
struct fetched {
	struct call call; /* first */
	struct fetched *prev, *next;
	struct image *image;
	struct part part;
	struct pull_blob *blob; /* or … */
	struct pull_manifest *manifest;
	bool counts;      /* the run met it for the first time */
	uint64_t arrived; /* counted as fetched */
};

/* Hands over what was fetched: the struct is copied, its blob or manifest taken over. Waits while SETTLING_MAX others
 * have not been published, and the job is not to end. */
void settle(struct run *run, const struct fetched *fetched);
/* Something of the image was not done. */
void settle_failure(struct run *run, struct image *image, const struct part *part, const struct err *err);
/* One of `image->open` has ended. */
void settle_image(struct run *run, struct image *image);
/* The thread's, with the run: until settler_end(). */
void *settler_main(void *arg);
/* All is handed over: the thread ends once it has settled. */
void settler_end(struct run *run);
