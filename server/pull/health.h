/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether an upstream answers. One that kept a question waiting for HEALTH_PATIENCE_MS is taken for ailing: from then
 * on nobody who has something to fall back on waits for it, while it is probed in the background, more and more seldom.
 * Any answer makes it well again. One that refuses connections costs nobody time and is not ailing in this sense.
 */
#pragma once

#include "upstream/loop.h"
#include "upstream/registry.h"

#include <stdbool.h>
#include <stdint.h>

#define HEALTH_PATIENCE_MS  4000 /* a client that could be served waits no longer (the promise is 5 s) */
#define HEALTH_PROBE_MIN_MS 500
#define HEALTH_PROBE_MAX_MS 10000

struct pull_upstream;

struct health {
	bool ailing; /* atomic */
	/* The loop's thread alone: */
	bool probing;            /* a probe is out */
	bool stopped;            /* none is sent any more */
	struct loop_timer timer; /* the next one */
	uint64_t wait_ms;
};

/* Any thread. */
bool health_is_ailing(const struct pull_upstream *upstream);
/* The loop's thread. */
void health_note_silence(struct pull_upstream *upstream);
void health_note_answer(struct pull_upstream *upstream);
/* At the end, or when others took its place: nothing is probed any more. Any thread but the loop's. */
void health_stop(struct pull_upstream *upstream);
