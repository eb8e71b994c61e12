/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What to prefetch, as people write it:
 *
 *   alpine  docker.io/library/alpine:3.20  …@sha256:…      an image
 *   ghcr.io/org/app:1.*                                    tags by a shell glob, narrowed by
 *     ?semver=>=1.2 <2                                       a range of versions (semver.h)
 *     &exclude=*-rc*                                         globs of tags to leave out, any number of them
 *     &latest=3                                              the newest so many of what is left
 *   quay://[UPSTREAM/]ORG/GLOB:TAG?since=YYYY-MM-DD        repositories of an organisation on quay.io (or an upstream
 *                                                          with Quay's API) by glob that changed since; TAG may be a
 *                                                          glob and narrowed likewise
 *
 * A question mark begins options where "key=" follows it, and is part of a glob elsewhere. Values may be
 * percent-encoded. Pure functions.
 */
#pragma once

#include "base/ref.h"
#include "server/prefetch/semver.h"

#define SPEC_TEXT_MAX     2048
#define SPEC_GLOB_MAX     255
#define SPEC_EXCLUDES_MAX 8
#define SPEC_LATEST_MAX   10000

enum spec_kind { SPEC_IMAGE, SPEC_TAGS, SPEC_QUAY };

struct spec {
	enum spec_kind kind;
	struct ref ref; /* IMAGE; of TAGS its name */

	char tags[SPEC_GLOB_MAX + 1]; /* TAGS, QUAY */
	bool tags_by_glob;            /* else it is the one tag that is wanted */
	bool by_version;
	struct semver_range versions;
	size_t latest; /* 0: all */
	char excludes[SPEC_EXCLUDES_MAX][SPEC_GLOB_MAX + 1];
	size_t exclude_count;

	char upstream[REF_UPSTREAM_MAX + 1]; /* QUAY, from here on */
	char organisation[SPEC_GLOB_MAX + 1];
	char repositories[SPEC_GLOB_MAX + 1];
	int64_t since_s; /* since 1970; 0: whenever */
};

/* ERR_INVALID, with a text that says what is wrong; the reference itself is not in it. */
int spec_parse(const char *text, struct spec *spec, struct err *err);

/* Whether a repository of the organisation, "ORGANISATION/NAME", is meant. */
bool spec_takes_repository(const struct spec *spec, const char *repository);
/* Puts the tags that are meant first, the newest version foremost, and returns how many they are. */
size_t spec_choose(const struct spec *spec, const char **tags, size_t count);
