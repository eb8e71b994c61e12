/* SPDX-License-Identifier: Apache-2.0 */
/* Images of layers that were made for it, and their files asked for over a larder's admin API. Failures fail the test.
 */
#pragma once

#include "tests/unit/layer/tars.h"
#include "tests/wire/admin.h"
#include "tests/wire/expect.h"

#define FILES_BYTES ((size_t)1 << 20) /* of each file */

/* File `number`'s bytes, which do not compress. */
void files_fill(unsigned char *data, unsigned number);
/* A layer in gzip of so many files, data/0, data/1, … */
void files_make_layer(unsigned files, struct buf *layer);
/* An image of these layers, as TAG of team/app; the digest of the last layer. */
void files_add_image(struct scripted *upstream, const char *tag, const struct buf *layers, unsigned count,
		     char digest[SCRIPTED_DIGEST_MAX]);
/* With the upstream as its only one; `config` may be NULL. */
struct larder *files_start(struct wire *wire, struct scripted *upstream, const char *config);
/* How many layers it has indexed. */
double files_indexed(struct larder *larder);

/* Asks for file `number` of team/app:TAG; `reply` is zeroed. */
void files_get(struct larder *larder, const char *tag, unsigned number, const char *headers,
	       struct client_reply *reply);
/* That these are a whole file's bytes. */
void files_expect_bytes(const void *data, unsigned number);
/* Asks, and gets the right bytes. */
void files_expect(struct larder *larder, const char *tag, unsigned number);
