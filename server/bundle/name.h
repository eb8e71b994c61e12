/* SPDX-License-Identifier: Apache-2.0 */
/* Where an image belongs: the upstream's name, the repository, and what it is called there. Pure functions. */
#pragma once

#include "base/digest.h"
#include "base/err.h"
#include "base/ref.h"

struct bundle_name {
	char upstream[REF_UPSTREAM_MAX + 1];
	char repository[REF_REPOSITORY_MAX + 1];
	char tag[REF_TAG_MAX + 1]; /* "" when it is named by its digest alone */
	struct digest digest;      /* without an algorithm: what the tag means */
};

/* Finds the upstream and repository of a name as people write it: a running larder by its configuration, a stopped
 * store by bundle_locate_plainly(). ERR_INVALID, ERR_NOT_FOUND (no such upstream). */
struct bundle_locator {
	int (*locate)(void *arg, const struct ref *ref, struct bundle_name *name, struct err *err);
	void *arg;
};

/* As docker reads names: the registry's host in front, else docker.io, where one word is in library/. */
int bundle_locate_plainly(void *arg, const struct ref *ref, struct bundle_name *name, struct err *err);

/* Reads "docker.io/library/alpine:3.20", "alpine", "quay.io/org/app@sha256:…", or both a tag and a digest. With
 * neither, the tag is "latest". */
int bundle_name_parse(const struct bundle_locator *locator, const char *text, struct bundle_name *name,
		      struct err *err);

#define BUNDLE_NAME_TEXT_MAX (REF_NAME_MAX + 1 + REF_TAG_MAX + 1 + DIGEST_TEXT_MAX)
/* "docker.io/library/alpine:3.20": what bundle_name_parse() reads, with the tag where there is one, else the digest. */
const char *bundle_name_format(const struct bundle_name *name, char text[BUNDLE_NAME_TEXT_MAX]);
