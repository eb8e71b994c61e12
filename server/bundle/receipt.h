/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A receipt: the digests of all blobs that a store holds, so that a bundle made elsewhere can leave them out.
 *
 *   magic "larder-receipt\n\1" (16 bytes), how many sha256 digests u64, how many sha512 digests u64 (big-endian),
 *   the sha256 digests (32 bytes each), the sha512 digests (64 bytes each), each kind ascending and without doubles,
 *   SHA-256 of everything before (32 bytes)
 */
#pragma once

#include "base/digest.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct receipt;
struct store;

/* Writes what the store holds into the empty file `fd`, and leaves it at its end. Blocks. ERR_IO, ERR_NO_SPACE. */
int receipt_write(struct store *store, int fd, struct err *err);

/* Reads the receipt in a file that nobody writes to, all of it, and checks it. It is mapped, not copied: `fd` may be
 * closed. ERR_INVALID, ERR_IO. */
int receipt_open(int fd, struct receipt **out, struct err *err);
/* Takes NULL. */
void receipt_free(struct receipt *receipt);

bool receipt_has(const struct receipt *receipt, const struct digest *digest);
uint64_t receipt_count(const struct receipt *receipt);
/* What a receipt is named by: the checksum at its end. */
const struct digest *receipt_digest(const struct receipt *receipt);
