/* SPDX-License-Identifier: Apache-2.0 */
#include "server/prefetch/baton.h"

#include "base/clock.h"

void baton_init(struct baton *baton)
{
	pthread_condattr_t attributes;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_mutex_init(&baton->lock, NULL);
	pthread_cond_init(&baton->woken, &attributes);
	pthread_condattr_destroy(&attributes);
	baton->due = false;
}

void baton_dispose(struct baton *baton)
{
	pthread_cond_destroy(&baton->woken);
	pthread_mutex_destroy(&baton->lock);
}

void baton_wake(struct baton *baton)
{
	pthread_mutex_lock(&baton->lock);
	baton->due = true;
	pthread_cond_signal(&baton->woken);
	pthread_mutex_unlock(&baton->lock);
}

void baton_wait(struct baton *baton, uint64_t ms)
{
	struct timespec until = clock_after_ms(ms);

	pthread_mutex_lock(&baton->lock);
	while (!baton->due && pthread_cond_timedwait(&baton->woken, &baton->lock, &until) == 0)
		;
	baton->due = false;
	pthread_mutex_unlock(&baton->lock);
}

/* Both are called under the lock of whoever has what is waited for. */

static void call_pause(struct waiter *waiter)
{
	__atomic_store_n(&((struct call *)waiter)->due, false, __ATOMIC_RELEASE);
}

static void call_wake(struct waiter *waiter)
{
	struct call *call = (struct call *)waiter;

	__atomic_store_n(&call->due, true, __ATOMIC_RELEASE);
	baton_wake(call->baton);
}

void call_init(struct call *call, struct baton *baton)
{
	*call = (struct call){.waiter = {.pause = call_pause, .wake = call_wake}, .baton = baton, .due = true};
}

bool call_take(struct call *call)
{
	return __atomic_exchange_n(&call->due, false, __ATOMIC_ACQ_REL);
}
