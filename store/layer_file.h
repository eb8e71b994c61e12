/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is kept of a layer's content beside its blob: the index of its files, layers/ALG-HEX, as bytes whose meaning is
 * not this room's. It counts among what the store holds, and goes with its blob (remove.h). One whose blob was lost or
 * quarantined stays for as long as a held manifest names the layer: it still tells what is in it, and where.
 *
 * Nothing is lost with such a file: it is not synced, and whoever reads it must notice when it is damaged.
 */
#pragma once

#include "base/buf.h"
#include "base/digest.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct store;

/* Whether anything is kept. */
bool layer_file_exists(struct store *store, const struct digest *digest);
/* Appends what is kept to `out`. Blocks. ERR_NOT_FOUND, ERR_LIMIT (more than out->max), ERR_IO. */
int layer_file_read(struct store *store, const struct digest *digest, struct buf *out, struct err *err);
/* Keeps it, in the place of what was there. Blocks, also until there is room. ERR_NO_SPACE, ERR_IO. */
int layer_file_write(struct store *store, const struct digest *digest, const void *data, size_t len, struct err *err);
/* Removes it; gone already is success. */
void layer_file_remove(struct store *store, const struct digest *digest);

/* For the sweep: counts all, when the store is opened; and removes those that nothing needs any more. */
void layer_file_count(struct store *store);
void layer_file_sweep(struct store *store);
