/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images with all that only they need: what goes when they go. What a manifest outside references stays, and so does a
 * manifest that a tag means or a pin names. Within the store alone.
 */
#pragma once

#include "base/digest.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uthash.h>

#define CLOSURE_MAX 4096 /* blobs of one root taken at once; what is left of a larger one is below roots of its own */

struct store;

struct closure_member {
	struct digest digest;
	uint64_t size;
	UT_hash_handle hh;
};

struct closure {
	struct closure_member *members; /* a hash that keeps the order: parents before children */
};

/* Adds a held root and what nothing but it, and what is in the closure already, needs. How many bytes that adds. */
uint64_t closure_add(struct closure *closure, struct store *store, const struct digest *root);
/* Adds a manifest and everything below it that is held, whoever else needs it. */
uint64_t closure_add_all(struct closure *closure, struct store *store, const struct digest *root);
bool closure_has(const struct closure *closure, const struct digest *digest);
size_t closure_count(const struct closure *closure);
void closure_dispose(struct closure *closure);
