/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prefetch: images are brought into the store ahead of their use. It is a kind of job (server/jobs/jobs.h), and a
 * client of pull/ like any other, but one that stands behind all clients.
 *
 * A run goes in three steps that overlap: references become images (resolve.c), each image becomes a list of manifests
 * and blobs (parts.c), and what is missing of these is fetched (image.c): several images side by side, a thread each,
 * and several parts of each. That a blob is fetched once, whoever needs it, is pull/'s promise.
 */
#pragma once

#include "base/err.h"

#include <jansson.h>

#define PREFETCH_IMAGES_AT_ONCE 3
#define PREFETCH_LAYERS_AT_ONCE 4
#define PREFETCH_AT_ONCE_MAX    64 /* of either */
#define PREFETCH_SPECS_MAX      10000
#define PREFETCH_IMAGES_MAX     100000
#define PREFETCH_PLATFORMS_MAX  32

struct job;
struct pull;
struct store;

struct prefetch {
	struct pull *pull;
	struct store *store;
};

/*
 * Checks a request and completes it: `{"images": [REFERENCE…], "platforms": ["linux/arm64"…], "image_parallel": 3,
 * "layer_parallel": 4, "pin": NAME, "referrers": true, "dry_run": false}`, all but the first optional. ERR_INVALID,
 * with a text that names what is wrong; ERR_NOT_FOUND or ERR_DENIED for an upstream or repository that may not be
 * asked.
 */
int prefetch_check(const struct prefetch *prefetch, const json_t *request, struct err *err);

/* A job kind's run(); `arg` is the struct prefetch. */
int prefetch_run(void *arg, struct job *job, const json_t *request, struct err *err);
