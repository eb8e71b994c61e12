/* SPDX-License-Identifier: Apache-2.0 */
/* Names: what a repository name and a tag may look like (OCI distribution-spec, "Pulling manifests"). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define REF_REPOSITORY_MAX 512 /* the spec sets none; many clients stop at 255 with the host */
#define REF_TAG_MAX        128
#define REF_UPSTREAM_MAX   255

/* [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)* */
bool ref_repository_valid(const char *name, size_t len);

/* [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127} */
bool ref_tag_valid(const char *tag, size_t len);
