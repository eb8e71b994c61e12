/* SPDX-License-Identifier: Apache-2.0 */
/* The check of a part of a layer: the first bytes of its SHA-256. */
#pragma once

#include "base/digest.h"
#include "layer/index.h"

/* Ends `hasher`. */
void check_finish(struct hasher *hasher, uint8_t check[LAYER_CHECK_BYTES]);
/* Of bytes in memory. */
void check_of(const void *data, size_t len, uint8_t check[LAYER_CHECK_BYTES]);
