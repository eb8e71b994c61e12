/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stored form of an index, big-endian:
 *
 *   magic u32, version u32, interval u64
 *   compression, in_size, out_size, length of the failure, the failure     numbers as varint.h has them
 *   number of checkpoints; of each: in, out (both less those of the one before), bits * 2 + fresh, length of the
 * window, the check length of the table, the table (table_code.h); the windows (window.h), one behind the other CRC-32
 * u32 of everything before
 */
#pragma once

#include "layer/index.h"

#define INDEX_MAGIC      0x4c4c4158u /* "LLAX" */
#define INDEX_HEAD_BYTES 16
