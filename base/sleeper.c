/* SPDX-License-Identifier: Apache-2.0 */
#include "base/sleeper.h"

static void set_paused(struct waiter *waiter, bool paused)
{
	struct sleeper *sleeper = (struct sleeper *)waiter;

	pthread_mutex_lock(&sleeper->lock);
	sleeper->paused = paused;
	pthread_cond_signal(&sleeper->woken);
	pthread_mutex_unlock(&sleeper->lock);
}

static void on_pause(struct waiter *waiter)
{
	set_paused(waiter, true);
}

static void on_wake(struct waiter *waiter)
{
	set_paused(waiter, false);
}

void sleeper_init(struct sleeper *sleeper)
{
	*sleeper = (struct sleeper){.waiter = {.pause = on_pause, .wake = on_wake}};
	pthread_mutex_init(&sleeper->lock, NULL);
	pthread_cond_init(&sleeper->woken, NULL);
}

void sleeper_wait(struct sleeper *sleeper)
{
	pthread_mutex_lock(&sleeper->lock);
	while (sleeper->paused)
		pthread_cond_wait(&sleeper->woken, &sleeper->lock);
	pthread_mutex_unlock(&sleeper->lock);
}

void sleeper_dispose(struct sleeper *sleeper)
{
	pthread_cond_destroy(&sleeper->woken);
	pthread_mutex_destroy(&sleeper->lock);
}
