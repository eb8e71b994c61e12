/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walking over an image, and whether all of it is here: whether it can be served in its repository with no upstream to
 * ask. Any thread. Blocks (manifests are read, files looked at); nothing is kept open between two parts.
 */
#pragma once

#include "store/index.h"
#include "store/manifest.h"

struct store;

#define CHECK_PARTS_MAX 65536 /* of one image that are walked over */
#define CHECK_DEPTH_MAX 4     /* an image in an index in an index in an index in an index */

enum check_state {
	CHECK_HELD,
	CHECK_ELSEWHERE, /* held, but not known to belong to this repository: the upstream would be asked */
	CHECK_MISSING,
	CHECK_FOREIGN, /* a layer that no registry has to give, and not held: clients fetch it elsewhere */
};

struct check_part {
	enum manifest_part_kind kind; /* MANIFEST_MANIFEST for the image itself */
	unsigned depth;               /* 0: the image itself, 1: what it names … */
	struct digest digest;   /* of no algorithm for a platform that an index has not, or a tag that is not known */
	uint64_t size;          /* as told, or as held; MANIFEST_SIZE_UNKNOWN */
	const char *media_type; /* "" when it is not known */
	const char *platform;   /* of the manifest in its index, also for all below; "" */
	bool referrer;          /* it, or what it is part of, refers to the image */
	enum check_state state;
};

struct check_options {
	const char *const *platforms; /* of an index, these alone: "linux/arm64"; NULL: all */
	size_t platform_count;
	bool referrers; /* also what refers to it, as far as lists of it are held */
};

/*
 * Calls `each` for the image and every part of it (borrowed during the call), a part after the manifest that names it,
 * each digest once, until it returns false. What is below a manifest that is not held is not known. 0, or ERR_LIMIT: it
 * has more, or lies deeper, than is walked over, and `each` was not called for all of it.
 */
int check_walk(struct store *store, const struct index_repository *repository, const struct digest *image,
	       const struct check_options *options, bool (*each)(void *arg, const struct check_part *part), void *arg,
	       struct err *err);

struct check_result {
	bool complete;
	bool known;           /* the reference is: a tag that was pulled, or a digest that is held */
	struct digest digest; /* what it means, when it is */
	size_t parts, missing;
	uint64_t bytes; /* of the parts that are here */
};

/* Checks a tag, or a digest as text. `each` (may be NULL) is called for every part that is not CHECK_HELD or
 * CHECK_FOREIGN. ERR_INVALID: it is no reference; ERR_LIMIT: too much of it to say; ERR_IO. */
int check_image(struct store *store, const struct index_repository *repository, const char *reference,
		const struct check_options *options, void (*each)(void *arg, const struct check_part *part), void *arg,
		struct check_result *result, struct err *err);

/* "held", "elsewhere", "missing", "foreign" */
const char *check_state_name(enum check_state state);
