/* SPDX-License-Identifier: Apache-2.0 */
/* A table as bytes: column by column, since what stands below one another is alike, then compressed by zstd. */
#pragma once

#include "base/buf.h"
#include "layer/table.h"

/* Appends the table. ERR_LIMIT. */
int table_encode(const struct layer_table *table, struct buf *out, struct err *err);
/* Reads one that fills the bytes. ERR_INVALID. */
int table_decode(const void *data, size_t len, struct layer_table *table, struct err *err);
