/* SPDX-License-Identifier: Apache-2.0 */
/* The first member of a bundle's archive, what it says of itself, taken out of the bytes as they pass. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <sys/types.h>

/* Zero at first. */
struct bundle_head {
	struct buf text; /* the member, with its header and padding */
	bool done;
};

/* Takes the next bytes until the member is whole, which `done` says: how many were taken, or ERR_INVALID when it is no
 * bundle's. */
ssize_t bundle_head_take(struct bundle_head *head, const void *data, size_t len, struct err *err);
/* What the bundle says of itself, borrowed; "" until it is there. */
const char *bundle_head_self(const struct bundle_head *head, size_t *len);
