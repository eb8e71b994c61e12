/* SPDX-License-Identifier: Apache-2.0 */
/* What a manifest or index references, so that it is kept and goes with it: config, layers, manifests, blobs, and the
 * layers of Docker's schema 1. A subject is not: what refers to an image does not keep it. */
#pragma once

#include "base/digest.h"

#include <stdbool.h>
#include <stddef.h>

#define REFERENCES_MAX 16384 /* of one manifest that are taken */

struct reference {
	struct digest digest;
	bool is_manifest;
};

/* How many there are; *references is the caller's to free (NULL when none). What is no JSON has none. */
size_t references_read(const void *manifest, size_t len, struct reference **references);
