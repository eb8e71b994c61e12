/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an image consists of, as its manifests in the store say: the manifest, what it names, what that names, each once
 * and parents before children. Reads the disk. Any thread.
 */
#pragma once

#include "base/digest.h"
#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WALK_DEPTH_MAX 8      /* indexes within indexes */
#define WALK_ITEMS_MAX 100000 /* of all images of a bundle */
#define WALK_TYPE_MAX  255

struct store;

/* "linux/arm64/v8". An empty list means every platform. */
struct walk_platforms {
	const char *const *items;
	size_t count;
	bool images_alone; /* without what BuildKit attests about them */
};

/* 0, or ERR_INVALID when one of them is none. */
int walk_platforms_check(const struct walk_platforms *platforms, struct err *err);

struct walk_item {
	struct digest digest;
	uint64_t size; /* as the descriptor says */
	char media_type[WALK_TYPE_MAX + 1];
	bool is_manifest;
	bool is_layer;
	bool optional; /* a layer that is not meant to be passed on: it has URLs of its own */
	bool held;     /* with exactly this size */
	unsigned depth;
};

struct walk;

struct walk *walk_new(struct store *store);
/* Takes NULL. */
void walk_free(struct walk *walk);

/*
 * Walks an image from its root, whose size may be UINT64_MAX: not known. Called for several roots, it gives what they
 * share once. ERR_INVALID: a manifest is malformed, or a descriptor lies about what is held; ERR_LIMIT; ERR_NOT_FOUND:
 * an index has none of the platforms; ERR_IO.
 */
int walk_image(struct walk *walk, const struct walk_item *root, const struct walk_platforms *platforms,
	       struct err *err);

/* Takes down what another walk found, as far as this one has not. ERR_LIMIT. */
int walk_merge(struct walk *walk, const struct walk *from, struct err *err);

/* What was found so far, in order. Borrowed until more is found. */
const struct walk_item *walk_items(const struct walk *walk, size_t *count);

/* What a descriptor of a manifest or an index says. ERR_INVALID. */
int walk_read_descriptor(const json_t *descriptor, struct walk_item *item, struct err *err);

/* A manifest's bytes, with a NUL behind, for the caller to free; NULL with *err set. */
char *walk_read_manifest(struct store *store, const struct digest *digest, size_t *len, struct err *err);
