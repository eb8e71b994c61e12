/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is cached, image by image: each tag of each repository, and the manifests of a repository that no tag of it
 * means and no index holds. A walk that keeps nothing open between two images, so that it may take as long as it likes;
 * what changes meanwhile may be seen or not.
 *
 * One thread at a time for one walk. Blocks (each image's manifest is read).
 */
#pragma once

#include "store/index.h"

struct images;
struct store;

#define IMAGE_PINS_MAX      512
#define IMAGE_REFERENCE_MAX (REF_NAME_MAX + 1 + REF_TAG_MAX + 1 + DIGEST_TEXT_MAX)

struct images_filter {
	/* A shell glob on UPSTREAM/REPOSITORY, UPSTREAM/REPOSITORY:TAG or UPSTREAM/REPOSITORY@DIGEST, which may also
	 * begin behind a slash of these ("alpine*" for docker.io/library/alpine). NULL: all. */
	const char *glob;
	int64_t used_since; /* wall seconds: used at or after it; 0: whenever */
	bool held_only;     /* not tags whose manifest is not held */
	/* Begin behind this image of an earlier walk: its upstream, repository, and tag or (without one) digest. NULL:
	 * at the start. Borrowed by images_open() alone. */
	const struct image *after;
};

struct image {
	struct index_repository repository;
	const char *tag; /* "" for one that no tag of this repository means */
	struct digest digest;
	const char *media_type;
	bool held;             /* its manifest is; all below is 0 or "" where it is not */
	uint64_t size;         /* of everything held of it, in bytes */
	uint64_t unique_size;  /* of that, what nothing else needs: what removing it frees */
	size_t blobs;          /* held of it */
	int64_t fetched;       /* wall seconds: when the tag was first seen to mean this; 0 without a tag … */
	int64_t checked;       /* … and last confirmed upstream */
	int64_t last_use;      /* wall seconds */
	const char *platforms; /* of the manifests held: "linux/amd64,linux/arm64/v8" */
	const char *pins;      /* names of the pins that keep it, with commas between */
};

/* Copies `filter`'s texts. */
struct images *images_open(struct store *store, const struct images_filter *filter);
/* The next image, in the order of upstreams, repositories, tags, digests; borrowed until the next call. 0;
 * ERR_NOT_FOUND at the end; ERR_IO. */
int images_next(struct images *images, struct image *image, struct err *err);
/* Takes NULL. */
void images_close(struct images *images);

/* "docker.io/library/alpine:3.20", or with the digest behind it, as a lockfile has it; without a tag by digest. */
const char *image_format_reference(const struct image *image, bool with_digest, char text[IMAGE_REFERENCE_MAX]);
