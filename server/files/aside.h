/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Indexing beside what larder is for, with what that leaves of the processors. A thread at SCHED_IDLE does it, which
 * runs where no other wants to. That is not enough: two processors may be one that does two things, and each then slows
 * the other. So whoever indexes here asks before each piece whether it must wait.
 *
 * No lock that another thread may want is taken on the thread at SCHED_IDLE: where all processors are busy it would be
 * kept for as long as they are. It computes, and whoever feeds it does all else.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

struct aside;
struct layer_builder;

struct aside *aside_start(void);
/* Nothing is being fed. */
void aside_stop(struct aside *aside);

/* Whether larder's other threads keep more than an eighth of the processors busy, or it is not known yet: then pulls go
 * as fast as this machine does, and not as their line; ask again in ASIDE_LOOK_MS. One thread at a time. */
#define ASIDE_LOOK_MS 25
bool aside_must_wait(struct aside *aside);
/* layer_builder_feed(), on that thread; waits for it. */
int aside_feed(struct aside *aside, struct layer_builder *builder, const void *data, size_t len, struct err *err);
