/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pace at which one upstream is asked. Before a request goes out it takes a permit, and three things decide when it
 * gets one:
 *
 *   the token bucket     `rate_limit` requests in a period, as configured
 *   the window           how many requests may be out at once: starts at PACE_WINDOW_START, grows with each answer that
 * came without complaint (by one each until the first congestion, then by one a round), halves once per congestion
 * event the gate             closed until the moment that a Retry-After named
 *
 * Clients' requests go before prefetch, and prefetch leaves one place in the window free. A permit is waited for
 * without holding another. Loop thread only.
 */
#pragma once

#include "base/units.h"
#include "upstream/loop.h"

#include <stdbool.h>
#include <stdint.h>

#define PACE_WINDOW_START 2
#define PACE_GATE_MAX_MS  60000 /* a longer Retry-After is the caller's to report, not ours to sit out */
#define PACE_PATIENCE_MS  10000 /* clients do not wait longer at gates, in all: they are told when it opens */

enum pace_priority { PACE_CLIENT, PACE_PREFETCH };

struct pace;

struct pace_permit {
	void (*granted)(struct pace_permit *permit);
	/* Instead, to a client's: the gate stays closed for so long, which is more than it bears. It is idle again. */
	void (*refused)(struct pace_permit *permit, uint64_t gate_ms);
	enum pace_priority priority;
	bool elsewhere;    /* goes to a mirror: the gate is not its */
	bool impatient;    /* does not wait at a closed gate at all */
	uint64_t borne_ms; /* for how long it has waited because a Retry-After said so: at the gate, which pace adds,
			    * and by its caller's own doing */
	/* pace's own */
	struct pace_permit *prev, *next;
	enum { PACE_IDLE, PACE_WAITING, PACE_HELD } state;
	bool answered;
	uint64_t since_ms; /* waiting */
	uint64_t epoch;    /* which congestion event it began after */
};

struct pace_options {
	struct rate rate;    /* events 0: no limit */
	unsigned window_max; /* requests out at once, at most */
};

struct pace *pace_new(struct loop *loop, const struct pace_options *options);
void pace_free(struct pace *pace);

/* Asks for a permit: granted() is called when it is held, perhaps before this returns. */
void pace_acquire(struct pace *pace, struct pace_permit *permit);
/* Gives it back, or gives up waiting. Idle permits are left alone. */
void pace_release(struct pace *pace, struct pace_permit *permit);

/* A client has come to wait for what prefetch asked: it takes its place among the clients'. */
void pace_raise(struct pace *pace, struct pace_permit *permit);

/* The answer's head came and the server did not complain: the window may grow. Counts once per permit. */
void pace_answered(struct pace *pace, struct pace_permit *permit);
/* 429, or a failure that speaks of overload. Requests that were out when the last event was noticed belong to that
 * event. */
void pace_congested(struct pace *pace, struct pace_permit *permit, uint64_t retry_after_ms);

/* What the registry says is left of its own budget, of `limit` (0: it does not say) in `window_s` seconds: prefetch
 * stops while only a quarter is left, which clients may need. An answer that says nothing changes nothing. */
void pace_note_budget(struct pace *pace, uint64_t remaining, uint64_t limit, uint64_t window_s);

/* The most requests out at once from now on: more where streams are multiplexed. */
void pace_set_window_max(struct pace *pace, unsigned window_max);

struct pace_state {
	unsigned window, out, waiting;
	uint64_t gate_ms;  /* how long the gate stays closed */
	bool budget_short; /* of what the registry says is left, clients may need all */
	uint64_t congestion_events;
};
/* Any thread: as of the last change. */
struct pace_state pace_state(const struct pace *pace);
