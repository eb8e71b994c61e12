/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a manifest or an index names (OCI image-spec, manifest.md and image-index.md; Docker's schema 2 and 1). Pure
 * functions, but for the two that keep what was read.
 */
#pragma once

#include "base/digest.h"
#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store;

#define MANIFEST_PARTS_MAX    16384 /* of one manifest that are taken */
#define MANIFEST_PLATFORM_MAX 128   /* of "linux/arm64/v8", with its NUL */
#define MANIFEST_SIZE_UNKNOWN UINT64_MAX
#define MANIFEST_BYTES_MAX    ((size_t)4 << 20) /* as PULL_MANIFEST_MAX */

enum manifest_part_kind {
	MANIFEST_CONFIG,
	MANIFEST_LAYER,
	MANIFEST_BLOB,     /* of an artifact */
	MANIFEST_MANIFEST, /* of an index */
	MANIFEST_SUBJECT,  /* what this refers to: it is not needed for this, nor kept by it */
};

struct manifest_part {
	enum manifest_part_kind kind;
	struct digest digest;
	uint64_t size;          /* MANIFEST_SIZE_UNKNOWN */
	const char *media_type; /* "" when it is not told, as the next */
	const char *platform;   /* of a manifest in an index: "linux/arm64/v8" */
	bool foreign;           /* a layer that registries do not have to give: clients fetch it elsewhere */
};

/* Calls `each` for every part, in the order config, layers, manifests, blobs, subject (borrowed during the call). What
 * is no JSON has none. */
void manifest_read(const void *data, size_t len, void (*each)(void *arg, const struct manifest_part *part), void *arg);

/* "config", "layer", … */
const char *manifest_kind_name(enum manifest_part_kind kind);

/* Platforms are texts, "linux/arm64" or "linux/arm/v7". */
bool manifest_platform_valid(const char *text);
/* The one that an object says: a descriptor's "platform", or a config. False, and "", when it says none. */
bool manifest_read_platform(const json_t *object, char platform[MANIFEST_PLATFORM_MAX]);
/* The one that an image's config says it is for; false when it says none. */
bool manifest_config_platform(const void *config, size_t len, char platform[MANIFEST_PLATFORM_MAX]);
/* Whether a platform is among those wanted: "linux/arm64" also takes every variant of it, and "linux/arm64/v8", which
 * is what the architecture means by itself, also the one that says no variant. */
bool manifest_platform_matches(const char *platform, const char *const *wanted, size_t count);

/* Writes down what a held manifest references, so that it is kept and goes with it. Blocks. ERR_NO_SPACE, ERR_IO. */
int manifest_record(struct store *store, const struct digest *digest, const void *data, size_t len, struct err *err);

/* The platform of a manifest that nothing above it tells: what its config says, as far as that is held. False, and "",
 * when that is none. Blocks shortly. */
bool manifest_find_platform(struct store *store, const void *data, size_t len, char platform[MANIFEST_PLATFORM_MAX]);

/* A stored blob that is small, read whole, with a NUL behind, for the caller to free; NULL when it is not held, larger
 * than MANIFEST_BYTES_MAX, or damaged, which is noticed by its digest: it is in quarantine then. Blocks shortly. */
char *manifest_load(struct store *store, const struct digest *digest, size_t *len);
