/* SPDX-License-Identifier: Apache-2.0 */
/* A bundle of a larder whose store this process can read: its blobs go from file to file. */
#pragma once

#include "base/buf.h"
#include "server/cli/bundle_sink.h"

#include <stdbool.h>

/* Whether there is a store at this path whose blobs this process may read. */
bool bundle_local_readable(const char *store);

/*
 * Passes on a bundle of which `texts` has everything but the blobs. False, with nothing passed on, when not all blobs
 * are there: then the larder is asked for the whole. What goes wrong later is in sink->err.
 */
bool bundle_local_copy(struct bundle_sink *sink, const char *store, const struct buf *texts);
