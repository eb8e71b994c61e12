/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a store that went through something is sound. */
#pragma once

#include <stdbool.h>

/*
 * Opens the store at `path`, which no larder has open, as a larder would after its start, and looks at everything:
 * it opens; every file below blobs/ has the digest that it is named after; what the index names and has no file is
 * noticed by a lookup; once files and index were brought together they name the same blobs, of the same sizes, and the
 * totals are theirs; and no file is left that nothing would ever take away. Prints what is wrong.
 */
bool store_is_sound(const char *path);

/* Bytes on disk of everything below a folder, as du counts them. */
unsigned long long disk_use(const char *path);
