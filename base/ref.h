/* SPDX-License-Identifier: Apache-2.0 */
/* Names: what a repository name and a tag may look like (OCI distribution-spec, "Pulling manifests"), and references
 * as people write them. */
#pragma once

#include "base/digest.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define REF_REPOSITORY_MAX 512 /* the spec sets none; many clients stop at 255 with the host */
#define REF_TAG_MAX        128
#define REF_UPSTREAM_MAX   255

/* [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)* */
bool ref_repository_valid(const char *name, size_t len);

/* [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127} */
bool ref_tag_valid(const char *tag, size_t len);

#define REF_NAME_MAX (REF_UPSTREAM_MAX + 1 + REF_REPOSITORY_MAX)

/* "docker.io/library/alpine:3.20@sha256:…" in its parts. */
struct ref {
	char name[REF_NAME_MAX + 1]; /* as it was written: "alpine", "quay.io/org/app" */
	size_t host_len; /* how much of it is a registry's host, which has '.' or ':' or is "localhost"; 0: none */
	char tag[REF_TAG_MAX + 1];    /* "" when there is none */
	char digest[DIGEST_TEXT_MAX]; /* likewise */
};

/* Reads a reference. ERR_INVALID, with a text that says what is wrong. */
int ref_parse(const char *text, struct ref *ref, struct err *err);

/* What is asked for: the digest, else the tag, else "latest". Borrowed from `ref`. */
const char *ref_reference(const struct ref *ref);
