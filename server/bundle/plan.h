/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a bundle is to carry: the images, the blobs that they need, which of those the far side holds already, and which
 * are missing here. Looks at the store alone; what is missing is for others to fetch, and then to plan again.
 */
#pragma once

#include "server/bundle/name.h"
#include "server/bundle/walk.h"
#include "server/pull/referrers_list.h"

struct receipt;

enum bundle_format {
	BUNDLE_OCI,    /* an OCI image layout */
	BUNDLE_DOCKER, /* what `docker save` wrote before it wrote layouts: one platform an image */
};

struct plan_options {
	struct bundle_locator locator;
	const char *const *references;
	size_t reference_count;
	struct walk_platforms platforms;
	enum bundle_format format;
	bool no_referrers;
	const struct receipt *have; /* borrowed; NULL: the far side holds nothing */
};

struct plan_image {
	struct bundle_name name;
	char text[BUNDLE_NAME_TEXT_MAX];
	struct walk_item root;
	struct digest manifest; /* BUNDLE_DOCKER: the one below the root */
};

/* What goes along with a manifest of an image, in its repository: the list of what refers to it, or a tag that is made
 * of its digest, such as cosign's. */
struct plan_companion {
	const struct plan_image *image;
	struct digest subject;
	char tag[REFERRERS_TAG_MAX]; /* "": it is the list */
	struct digest digest;
};

enum plan_state {
	PLAN_CARRIED,
	PLAN_LEFT_OUT, /* the far side holds it */
	PLAN_MISSING,
	PLAN_SKIPPED, /* not held, and not meant to be passed on; or not part of this format */
};

struct plan {
	struct plan_image *images; /* by name */
	size_t image_count;
	const struct walk_item *items; /* in the order in which they are carried */
	enum plan_state *states;       /* of each */
	size_t item_count;
	struct plan_companion *companions;
	size_t companion_count;
	struct walk *walk;
};

/*
 * Plans. ERR_INVALID (a reference, a platform, a manifest), ERR_NOT_FOUND: an image's manifest is not known here, or
 * has none of the platforms; ERR_LIMIT; ERR_IO.
 */
int plan_make(struct store *store, const struct plan_options *options, struct plan **out, struct err *err);
/* Takes NULL. */
void plan_free(struct plan *plan);

/* How many items are in a state, and their bytes. */
size_t plan_count(const struct plan *plan, enum plan_state state, uint64_t *bytes);

/* What is known of an image: its root. ERR_NOT_FOUND when its tag is not known. */
int plan_find_root(struct store *store, const struct bundle_name *name, struct walk_item *root, struct err *err);
