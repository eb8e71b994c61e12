/* SPDX-License-Identifier: Apache-2.0 */
#include "upstream/pace.h"

#include "base/buf.h"
#include "base/clock.h"

#include <assert.h>
#include <stdlib.h>
#include <utlist.h>

#define LONG_PERIOD_MS  60000 /* a rate over longer than this is a budget that may be used at once */
#define BUDGET_RESERVE  10    /* where a registry does not say how large its budget is */
#define BUDGET_WINDOW_S 60    /* or for how long */
#define SHORT_BURST_MS  100   /* of a shorter one, what falls due in this time may be used at once */

struct pace {
	struct loop *loop;
	struct loop_timer timer;
	struct rate rate;
	double tokens, burst;
	uint64_t filled_ms;

	double window;
	unsigned window_max;
	bool slow_start;
	unsigned out;
	uint64_t epoch;
	uint64_t gate_from_ms, gate_until_ms; /* closed, the last time */
	uint64_t budget_left, budget_reserve;
	uint64_t budget_until_ms; /* what was said of the budget holds until then; 0: nothing was */

	struct pace_permit *waiting[2]; /* by priority */
	unsigned waiting_count;
	bool granting; /* granted() may come back here: one loop at a time */

	/* For pace_state(), atomic: the same as above, as of the last change. */
	struct {
		unsigned window, out, waiting;
		uint64_t epoch, gate_until_ms, short_until_ms;
	} shown;
};

static void grant_waiting(struct pace *pace);

static bool is_budget_short(const struct pace *pace)
{
	return pace->budget_left <= pace->budget_reserve && clock_ms() < pace->budget_until_ms;
}

static void show(struct pace *pace)
{
	__atomic_store_n(&pace->shown.window, (unsigned)pace->window, __ATOMIC_RELAXED);
	__atomic_store_n(&pace->shown.out, pace->out, __ATOMIC_RELAXED);
	__atomic_store_n(&pace->shown.waiting, pace->waiting_count, __ATOMIC_RELAXED);
	__atomic_store_n(&pace->shown.epoch, pace->epoch, __ATOMIC_RELAXED);
	__atomic_store_n(&pace->shown.gate_until_ms, pace->gate_until_ms, __ATOMIC_RELAXED);
	__atomic_store_n(&pace->shown.short_until_ms, is_budget_short(pace) ? pace->budget_until_ms : 0,
			 __ATOMIC_RELAXED);
}

static void on_timer(struct loop_timer *timer)
{
	grant_waiting((struct pace *)((char *)timer - offsetof(struct pace, timer)));
}

/* Grants from the loop, not from here: an answer is noticed inside the library, where no request may be started. */
static void grant_soon(struct pace *pace)
{
	if (pace->waiting[PACE_CLIENT] || pace->waiting[PACE_PREFETCH])
		loop_timer_set(pace->loop, &pace->timer, 0);
}

struct pace *pace_new(struct loop *loop, const struct pace_options *options)
{
	struct pace *pace = mem_alloc(sizeof(*pace));

	pace->loop = loop;
	pace->timer.run = on_timer;
	pace->rate = options->rate;
	pace->window_max = options->window_max ? options->window_max : 1;
	pace->window = PACE_WINDOW_START < pace->window_max ? PACE_WINDOW_START : pace->window_max;
	pace->slow_start = true;
	if (pace->rate.events > 0) {
		pace->burst = (double)pace->rate.events;
		if (pace->rate.period_ms < LONG_PERIOD_MS)
			pace->burst *= (double)SHORT_BURST_MS / (double)pace->rate.period_ms;
		if (pace->burst < 1)
			pace->burst = 1;
		pace->tokens = pace->burst;
	}
	pace->filled_ms = clock_ms();
	show(pace);
	return pace;
}

void pace_free(struct pace *pace)
{
	if (!pace)
		return;
	assert(pace->out == 0 && !pace->waiting[PACE_CLIENT] && !pace->waiting[PACE_PREFETCH]);
	loop_timer_clear(pace->loop, &pace->timer);
	free(pace);
}

/* Milliseconds until the bucket holds a token; 0 when it does. */
static uint64_t bucket_wait_ms(struct pace *pace, uint64_t now)
{
	double per_ms;

	if (pace->rate.events == 0)
		return 0;
	per_ms = (double)pace->rate.events / (double)pace->rate.period_ms;
	pace->tokens += per_ms * (double)(now - pace->filled_ms);
	if (pace->tokens > pace->burst)
		pace->tokens = pace->burst;
	pace->filled_ms = now;
	return pace->tokens >= 1 ? 0 : (uint64_t)((1 - pace->tokens) / per_ms) + 1;
}

static uint64_t gate_ms(const struct pace *pace)
{
	uint64_t now = clock_ms();

	return now < pace->gate_until_ms ? pace->gate_until_ms - now : 0;
}

/* The first of the clients that goes elsewhere, or not. */
static struct pace_permit *first_client(const struct pace *pace, bool elsewhere)
{
	struct pace_permit *permit;

	DL_FOREACH (pace->waiting[PACE_CLIENT], permit)
		if (permit->elsewhere == elsewhere)
			return permit;
	return NULL;
}

/* For how long it has waited at the gate, this time. */
static uint64_t at_gate_ms(const struct pace *pace, const struct pace_permit *permit)
{
	uint64_t from = permit->since_ms > pace->gate_from_ms ? permit->since_ms : pace->gate_from_ms;
	uint64_t now = clock_ms(), until = now < pace->gate_until_ms ? now : pace->gate_until_ms;

	return until > from ? until - from : 0;
}

/* The first of the clients that does not bear to wait until the gate opens. */
static struct pace_permit *first_unwilling(const struct pace *pace)
{
	uint64_t left = gate_ms(pace);
	struct pace_permit *permit;

	if (left == 0)
		return NULL;
	DL_FOREACH (pace->waiting[PACE_CLIENT], permit)
		if (!permit->elsewhere &&
		    (permit->impatient || permit->borne_ms + at_gate_ms(pace, permit) + left > PACE_PATIENCE_MS))
			return permit;
	return NULL;
}

/* No client waits for a gate that stays closed. */
static void refuse_clients(struct pace *pace)
{
	struct pace_permit *permit;

	while ((permit = first_unwilling(pace))) {
		DL_DELETE(pace->waiting[PACE_CLIENT], permit);
		pace->waiting_count--;
		permit->state = PACE_IDLE;
		permit->refused(permit, gate_ms(pace));
	}
}

static struct pace_permit *next_waiting(const struct pace *pace)
{
	unsigned window = (unsigned)pace->window;
	struct pace_permit *elsewhere = gate_ms(pace) > 0 ? first_client(pace, true) : NULL;

	if (pace->waiting[PACE_CLIENT])
		return pace->out >= window ? NULL : elsewhere ? elsewhere : pace->waiting[PACE_CLIENT];
	if (pace->waiting[PACE_PREFETCH] && is_budget_short(pace))
		return NULL;
	/* The last place stays free for a client, unless there is only one. */
	return pace->out + 1 < window || pace->out == 0 ? pace->waiting[PACE_PREFETCH] : NULL;
}

static void grant_waiting(struct pace *pace)
{
	struct pace_permit *permit;

	if (pace->granting)
		return;
	pace->granting = true;
	refuse_clients(pace);
	while ((permit = next_waiting(pace))) {
		uint64_t wait = permit->elsewhere ? 0 : gate_ms(pace);

		if (wait == 0)
			wait = bucket_wait_ms(pace, clock_ms());

		if (wait > 0) {
			loop_timer_set(pace->loop, &pace->timer, wait);
			break;
		}
		if (pace->rate.events > 0)
			pace->tokens -= 1;
		DL_DELETE(pace->waiting[permit->priority], permit);
		pace->waiting_count--;
		permit->state = PACE_HELD;
		permit->borne_ms += permit->elsewhere ? 0 : at_gate_ms(pace, permit);
		permit->answered = false;
		permit->epoch = pace->epoch;
		pace->out++;
		show(pace);
		permit->granted(permit);
	}
	if (!permit && pace->waiting[PACE_PREFETCH] && is_budget_short(pace))
		loop_timer_set(pace->loop, &pace->timer, pace->budget_until_ms - clock_ms() + 1);
	pace->granting = false;
	show(pace);
}

void pace_acquire(struct pace *pace, struct pace_permit *permit)
{
	assert(permit->state == PACE_IDLE);
	permit->state = PACE_WAITING;
	permit->since_ms = clock_ms();
	DL_APPEND(pace->waiting[permit->priority], permit);
	pace->waiting_count++;
	grant_waiting(pace);
	show(pace);
}

void pace_release(struct pace *pace, struct pace_permit *permit)
{
	if (permit->state == PACE_WAITING) {
		DL_DELETE(pace->waiting[permit->priority], permit);
		pace->waiting_count--;
		permit->state = PACE_IDLE;
	} else if (permit->state == PACE_HELD) {
		permit->state = PACE_IDLE;
		pace->out--;
		grant_soon(pace);
	}
	show(pace);
}

void pace_raise(struct pace *pace, struct pace_permit *permit)
{
	if (permit->priority == PACE_CLIENT)
		return;
	if (permit->state == PACE_WAITING) {
		DL_DELETE(pace->waiting[PACE_PREFETCH], permit);
		DL_APPEND(pace->waiting[PACE_CLIENT], permit);
	}
	permit->priority = PACE_CLIENT;
	permit->since_ms = clock_ms(); /* who comes has not waited yet */
	permit->borne_ms = 0;
	grant_soon(pace);
}

void pace_answered(struct pace *pace, struct pace_permit *permit)
{
	if (permit->state != PACE_HELD || permit->answered)
		return;
	permit->answered = true;
	pace->window += pace->slow_start ? 1 : 1 / pace->window;
	if (pace->window > pace->window_max)
		pace->window = pace->window_max;
	show(pace);
	grant_soon(pace);
}

void pace_congested(struct pace *pace, struct pace_permit *permit, uint64_t retry_after_ms)
{
	uint64_t until;

	if (permit->state == PACE_HELD && permit->epoch == pace->epoch) {
		pace->epoch++;
		pace->slow_start = false;
		pace->window = pace->window / 2 < 1 ? 1 : pace->window / 2;
	}
	if (retry_after_ms > PACE_GATE_MAX_MS)
		retry_after_ms = PACE_GATE_MAX_MS;
	until = clock_ms() + retry_after_ms;
	if (gate_ms(pace) == 0)
		pace->gate_from_ms = clock_ms();
	if (until > pace->gate_until_ms)
		pace->gate_until_ms = until;
	show(pace);
	grant_soon(pace); /* or refuse */
}

void pace_note_budget(struct pace *pace, uint64_t remaining, uint64_t limit, uint64_t window_s)
{
	pace->budget_left = remaining;
	pace->budget_reserve = limit ? limit / 4 : BUDGET_RESERVE;
	pace->budget_until_ms = clock_ms() + (window_s ? window_s : BUDGET_WINDOW_S) * 1000;
	show(pace);
	grant_soon(pace);
}

void pace_set_window_max(struct pace *pace, unsigned window_max)
{
	if (window_max == 0 || window_max == pace->window_max)
		return;
	pace->window_max = window_max;
	if (pace->window > window_max)
		pace->window = window_max;
	show(pace);
	grant_soon(pace);
}

struct pace_state pace_state(const struct pace *pace)
{
	struct pace_state state = {
		.window = __atomic_load_n(&pace->shown.window, __ATOMIC_RELAXED),
		.out = __atomic_load_n(&pace->shown.out, __ATOMIC_RELAXED),
		.waiting = __atomic_load_n(&pace->shown.waiting, __ATOMIC_RELAXED),
		.congestion_events = __atomic_load_n(&pace->shown.epoch, __ATOMIC_RELAXED),
	};
	uint64_t until = __atomic_load_n(&pace->shown.gate_until_ms, __ATOMIC_RELAXED), now = clock_ms();

	if (until > now)
		state.gate_ms = until - now;
	state.budget_short = __atomic_load_n(&pace->shown.short_until_ms, __ATOMIC_RELAXED) > now;
	return state;
}
