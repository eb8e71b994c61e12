/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What manifests say about the sizes of their blobs: so that a blob whose upstream names another length, or none, or
 * sends without end, is noticed at once. Hints only: bounded, in memory, and gone with the process. Any thread.
 */
#pragma once

#include "base/digest.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIZES_MAX                 16384 /* digests remembered; the oldest makes room */
#define SIZES_OF_ONE_MANIFEST_MAX 4096

struct sizes;

struct sizes *sizes_new(void);
void sizes_free(struct sizes *sizes);

/* Takes down every descriptor of a manifest or index: config, layers, manifests, blobs, subject. What is no JSON is
 * ignored. */
void sizes_learn(struct sizes *sizes, const void *manifest, size_t len);

/* False when no manifest spoke of it, or not all said the same: anybody who may push somewhere can write a manifest
 * that names another's blob. */
bool sizes_find(struct sizes *sizes, const struct digest *digest, uint64_t *size);

/* The upstream says another size: what manifests say of this digest counts no more. */
void sizes_dispute(struct sizes *sizes, const struct digest *digest);
