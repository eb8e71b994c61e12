/* SPDX-License-Identifier: Apache-2.0 */
/* What upstreams did not have a moment ago, by the key of the question (ask_key()): for `missing_ttl` they are not
 * asked again. In memory alone, and bounded: the oldest make room. pull->lock is held. */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct pull;

/* True with the ERR_NOT_FOUND that is the answer. */
bool missing_remembered(struct pull *pull, const char *key, struct err *err);
/* `why` is what the upstream's answer came to. */
void missing_remember(struct pull *pull, const char *key, const struct err *why, uint64_t ttl_ms);
void missing_free(struct pull *pull);
