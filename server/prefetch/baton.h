/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a thread of prefetch's waits for several interests at once: each has a call, the thread has the baton that all
 * its calls are woken through.
 */
#pragma once

#include "base/waiter.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct baton {
	pthread_mutex_t lock;
	pthread_cond_t woken;
	bool due; /* something was woken since the last wait */
};

struct call {
	struct waiter waiter; /* first */
	struct baton *baton;
	bool due; /* atomic: look again */
};

void baton_init(struct baton *baton);
void baton_dispose(struct baton *baton);
/* Any thread: ends the wait. */
void baton_wake(struct baton *baton);
/* Waits until a call is woken, or baton_wake(), or for so long. */
void baton_wait(struct baton *baton, uint64_t ms);
/* A call that is due: its interest has not been looked at yet. */
void call_init(struct call *call, struct baton *baton);
/* Whether its interest should be polled now; if so, that is about to be done. */
bool call_take(struct call *call);
