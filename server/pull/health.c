/* SPDX-License-Identifier: Apache-2.0 */
#include "server/pull/health.h"

#include "base/log.h"
#include "server/pull/pull_internal.h"

static void on_probe_timer(struct loop_timer *timer);

bool health_is_ailing(const struct pull_upstream *upstream)
{
	return __atomic_load_n(&upstream->health.ailing, __ATOMIC_RELAXED);
}

static void probe_later(struct pull_upstream *upstream)
{
	struct health *health = &upstream->health;

	if (health->stopped || health->probing || health->timer.heap_slot)
		return;
	health->timer.run = on_probe_timer;
	loop_timer_set(upstream->pull->loop, &health->timer, health->wait_ms);
	health->wait_ms = health->wait_ms * 2 < HEALTH_PROBE_MAX_MS ? health->wait_ms * 2 : HEALTH_PROBE_MAX_MS;
}

void health_note_silence(struct pull_upstream *upstream)
{
	struct health *health = &upstream->health;

	if (health_is_ailing(upstream))
		return;
	log_warn("upstream %s does not answer: what is held is served without asking, until it does", upstream->name);
	__atomic_store_n(&health->ailing, true, __ATOMIC_RELAXED);
	health->wait_ms = HEALTH_PROBE_MIN_MS;
	probe_later(upstream);
}

void health_note_answer(struct pull_upstream *upstream)
{
	if (!health_is_ailing(upstream))
		return;
	log_info("upstream %s answers again", upstream->name);
	__atomic_store_n(&upstream->health.ailing, false, __ATOMIC_RELAXED);
	loop_timer_clear(upstream->pull->loop, &upstream->health.timer);
}

/* The probe: is anything said at all? Refusals are answers. */

static int on_answer(void *arg, const struct registry_answer *answer)
{
	(void)arg;
	(void)answer;
	return 0;
}

static int on_body(void *arg, uint64_t offset, const void *data, size_t len)
{
	(void)arg;
	(void)offset;
	(void)data;
	(void)len;
	return 0;
}

static void on_done(void *arg, const struct err *err)
{
	struct pull_upstream *upstream = arg;
	struct pull *pull = upstream->pull;

	upstream->health.probing = false;
	if (!err || err->code == ERR_DENIED || err->code == ERR_NOT_FOUND || err->code == ERR_RATE)
		health_note_answer(upstream);
	else if (err->code != ERR_CANCELLED && health_is_ailing(upstream))
		probe_later(upstream);
	pull_job_end(pull);
}

static const struct registry_sink sink = {.on_answer = on_answer, .on_body = on_body, .on_done = on_done};

static void on_probe_timer(struct loop_timer *timer)
{
	struct pull_upstream *upstream =
		(struct pull_upstream *)((char *)timer - offsetof(struct pull_upstream, health.timer));
	struct registry_query query = {.kind = REGISTRY_PING, .repository = "", .reference = "", .impatient = true};

	upstream->health.probing = true;
	pull_job_begin(upstream->pull);
	registry_call(upstream->registry, &query, &sink, upstream);
}

static void stop_on_loop(void *arg)
{
	struct pull_upstream *upstream = arg;

	upstream->health.stopped = true; /* a probe that is out would ask for the next */
	loop_timer_clear(upstream->pull->loop, &upstream->health.timer);
}

void health_stop(struct pull_upstream *upstream)
{
	loop_run(upstream->pull->loop, stop_on_loop, upstream);
}
