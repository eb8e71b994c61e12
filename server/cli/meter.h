/* SPDX-License-Identifier: Apache-2.0 */
/* How far an archive is on its way, drawn as a job is (progress.h). Of a bundle of larder's, which says of itself what
 * is in it, also how many of its blobs have passed; its images are done when all of it is. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct meter;

/* Draws to `out`; NULL: nowhere. `total` is the archive's length, 0 when it is not known. */
struct meter *meter_new(FILE *out, uint64_t total);
/* What the bundle says of itself: once, when it is known. */
void meter_describe(struct meter *meter, const char *self, size_t len);
/* So many bytes of the archive have passed in all. */
void meter_show(struct meter *meter, uint64_t passed);
/* Clears what was drawn. Takes NULL. */
void meter_free(struct meter *meter);
