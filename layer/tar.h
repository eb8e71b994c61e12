/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a tar as its bytes come, and fills a table with its entries: ustar and PAX (POSIX.1-2017, "pax"), GNU (long
 * names, base-256 numbers, both old and PAX sparse files) and what came before. Data is skipped, not copied.
 *
 * Where writers of tars disagree, this follows what unpacks images (Go's archive/tar): global PAX headers are for
 * comments, and what stands before one is of nothing behind it; of several PAX headers the last counts, and GNU's long
 * names before theirs; links and directories have no data; the archive ends with two blocks of zeros or with its last
 * byte.
 */
#pragma once

#include "base/err.h"
#include "layer/table.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TAR_SPECIAL_MAX ((size_t)1 << 20) /* of one PAX header or long name, and so of an entry's attributes */

struct tar;

/* `table` is borrowed until tar_free(). */
struct tar *tar_new(struct layer_table *table);
/* Takes NULL. */
void tar_free(struct tar *tar);

/* The next bytes. ERR_INVALID (not a tar, or a damaged one) or ERR_LIMIT; the text names the offset in the uncompressed
 * stream. After an error nothing more may be fed. */
int tar_feed(struct tar *tar, const void *data, size_t len, struct err *err);
/* There are no more. ERR_INVALID when something is missing. */
int tar_finish(struct tar *tar, struct err *err);
/* The end of the archive was there: whatever follows is none of it. */
bool tar_has_ended(const struct tar *tar);

/* A whole tar in memory: as the three above. */
int tar_read(const void *data, size_t len, struct layer_table *table, struct err *err);
