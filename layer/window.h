/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The window of a checkpoint: the 32 KiB before it, of which only those bytes are kept that something behind it refers
 * to, mostly a quarter. Which these are is found by inflating the next 32 KiB twice more, with windows of which each
 * byte tells its own place: what comes out shows where it was copied from, however often it was copied on.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct window_probe;

struct window_probe *window_probe_new(void);
/* Takes NULL. */
void window_probe_free(struct window_probe *probe);

/* Begins behind the `bits` highest bits of `byte`, with `window` (copied; at most LAYER_WINDOW bytes). */
void window_probe_start(struct window_probe *probe, uint8_t bits, uint8_t byte, const uint8_t *window, size_t len);
/* Started, and not done. */
bool window_probe_runs(const struct window_probe *probe);
/* What follows in the layer. True when enough of it has come: then pack. */
bool window_probe_feed(struct window_probe *probe, const uint8_t *data, size_t len);
/* Ends the probe: the window, packed. */
void window_probe_pack(struct window_probe *probe, struct buf *packed);

/* Unpacks: `window` has LAYER_WINDOW bytes, what was not kept is zero. ERR_INVALID. */
int window_unpack(const void *packed, size_t packed_len, uint8_t *window, size_t *len, struct err *err);
