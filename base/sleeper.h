/* SPDX-License-Identifier: Apache-2.0 */
/* A thread that waits for what it asks for, and may: the waiter (waiter.h) of those that do not serve. */
#pragma once

#include "base/waiter.h"

#include <pthread.h>

struct sleeper {
	struct waiter waiter; /* first: given to what is polled */
	pthread_mutex_t lock;
	pthread_cond_t woken;
	bool paused;
};

void sleeper_init(struct sleeper *sleeper);
/* Blocks until it is woken, if it was paused since the last time. Its own thread. */
void sleeper_wait(struct sleeper *sleeper);
/* Once what it waited for was closed: until then that may look at its waiter. */
void sleeper_dispose(struct sleeper *sleeper);
