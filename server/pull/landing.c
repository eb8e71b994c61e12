/* SPDX-License-Identifier: Apache-2.0 */
/* What is here whole, and not in the store yet. */
#include "server/pull/ask_internal.h"
#include "server/pull/flight_internal.h"

#include "base/clock.h"

unsigned pull_landings(const struct pull *pull)
{
	return __atomic_load_n(&pull->landings, __ATOMIC_ACQUIRE);
}

void pull_note_landing(struct pull *pull)
{
	__atomic_add_fetch(&pull->landings, 1, __ATOMIC_RELEASE);
	landing_wake(pull);
}

void landing_wake(struct pull *pull)
{
	waiter_wake_all(&pull->landing_waiters);
	pthread_cond_broadcast(&pull->landed);
}

/* pull->lock is held, as below. A parked flight never lands. */
static bool was_verified_by(struct flight *flight, uint64_t since_ms)
{
	bool landing;

	pthread_mutex_lock(&flight->lock);
	landing = flight->state == FLIGHT_VERIFIED && flight->verified_ms <= since_ms;
	pthread_mutex_unlock(&flight->lock);
	return landing && !flight->parked;
}

static bool is_landing(const struct pull *pull, uint64_t since_ms)
{
	struct flight *flight, *next_flight;
	struct ask *ask, *next_ask;

	if (pull->closing)
		return false;
	HASH_ITER (hh, pull->asks, ask, next_ask)
		if (ask->state == ASK_ANSWERED && ask->answered_ms <= since_ms)
			return true;
	HASH_ITER (hh, pull->flights, flight, next_flight)
		if (was_verified_by(flight, since_ms))
			return true;
	return false;
}

void pull_wait_landed(struct pull *pull, uint64_t limit_ms)
{
	struct timespec until = clock_after_ms(limit_ms);
	uint64_t since_ms = clock_ms();

	pthread_mutex_lock(&pull->lock);
	while (is_landing(pull, since_ms) &&
	       pthread_cond_clockwait(&pull->landed, &pull->lock, CLOCK_MONOTONIC, &until) == 0)
		;
	pthread_mutex_unlock(&pull->lock);
}

int pull_poll_landed(struct pull *pull, uint64_t since_ms, struct waiter *waiter)
{
	int code = 0;

	pthread_mutex_lock(&pull->lock);
	if (is_landing(pull, since_ms)) {
		waiter_register(&pull->landing_waiters, waiter);
		code = ERR_AGAIN;
	}
	pthread_mutex_unlock(&pull->lock);
	return code;
}

void pull_forget_landed(struct pull *pull, struct waiter *waiter)
{
	pthread_mutex_lock(&pull->lock);
	waiter_forget(&pull->landing_waiters, waiter);
	pthread_mutex_unlock(&pull->lock);
}
