/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fetching again what proved damaged: from any upstream that is linked to it, one after the other until one has it.
 * The store has put the damaged bytes away before, so that a client who asks meanwhile is served by the same flight.
 */
#pragma once

#include "server/pull/pull.h"

/*
 * Blocks until the blob or manifest is held again. 0 also when it is held already. ERR_NOT_FOUND: no repository of a
 * configured upstream is known to have it, or none has it any more; ERR_OFFLINE; ERR_CANCELLED once pull_close() was
 * called; else why the last upstream could not give it. Not on the HTTP threads, nor on the upstreams' loop.
 */
int pull_heal(struct pull *pull, const struct digest *digest, struct err *err);
