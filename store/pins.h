/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pins: named sets of references that eviction leaves alone. A reference is an upstream's repository with a tag or a
 * digest. It pins whatever that means at any time, so it follows a tag that moves, and takes effect on what comes
 * later; below a pinned index everything held stays, whatever platforms the pin was made for.
 *
 * All of it is in the index: index_list_pins() and index_list_pin() list. Any thread; changes block (a commit).
 */
#pragma once

#include "store/index.h"

struct store;

#define PIN_REFERENCES_MAX 16384 /* of one call */

/* A name: as a tag's, [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}. */
bool pin_name_valid(const char *name);

/* Adds references to a pin, which may be new; one that is there takes the platforms given now. ERR_INVALID (name,
 * repository, reference or platforms are none, or too many), ERR_NO_SPACE, ERR_IO. All or nothing. */
int pin_add(struct store *store, const char *name, const struct index_pin *references, size_t count, struct err *err);
/* Likewise, in place of those that the pin had. */
int pin_put(struct store *store, const char *name, const struct index_pin *references, size_t count, struct err *err);
/* Takes references out; what was not in is passed over. `count` 0: the pin with all it has. ERR_NOT_FOUND: there is no
 * such pin. */
int pin_remove(struct store *store, const char *name, const struct index_pin *references, size_t count,
	       struct err *err);

/* Which pin keeps a digest: one that names it, or a manifest above it. 0 with its name; ERR_NOT_FOUND: none; ERR_IO. */
int pin_find(struct store *store, const struct digest *digest, char name[INDEX_PIN_NAME_MAX + 1], struct err *err);
