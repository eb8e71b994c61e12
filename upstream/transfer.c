/* SPDX-License-Identifier: Apache-2.0 */
#include "upstream/transfer.h"

#include "base/buf.h"
#include "base/clock.h"
#include "upstream/transfer_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define TICK_MS          50
#define SINGLE_MS        200  /* how long one lane shows what it can */
#define TRIAL_MS         300  /* how long added lanes do, from their first byte on */
#define TRIAL_LIMIT_MS   3000 /* they must have had one by then */
#define GAIN_NUMERATOR   5    /* lanes are worth it when the rate is 5/4 of what it was */
#define GAIN_DENOMINATOR 4
#define HINT_MS          600000 /* how long a registry's answer to "do more help?" is remembered */

static void on_tick(struct loop_timer *timer);

/* The end. */

void transfer_unref(struct transfer *transfer)
{
	if (__atomic_sub_fetch(&transfer->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	free(transfer->repository);
	client_login_release(transfer->login);
	free(transfer->digest);
	free(transfer->etag);
	free(transfer);
}

static void transfer_end(struct transfer *transfer)
{
	loop_timer_clear(transfer->registry->loop, &transfer->timer);
	loop_timer_clear(transfer->registry->loop, &transfer->far_timer);
	transfer->ended = true;
	transfer->sink->on_done(transfer->arg, transfer->err.code ? &transfer->err : NULL);
	transfer_unref(transfer);
}

static bool any_running(const struct transfer *transfer)
{
	for (unsigned i = 0; i < LANE_SLOTS; i++)
		if (transfer->lanes[i].running)
			return true;
	return false;
}

/* Claims. */

static unsigned active_lanes(const struct transfer *transfer)
{
	unsigned count = 0;

	for (unsigned i = 0; i < transfer->lane_count; i++)
		count += !transfer->lanes[i].retired;
	return count;
}

/* The lane whose claim holds `offset`; NULL when nobody's does. */
struct lane *transfer_claimant(struct transfer *transfer, const struct lane *but, uint64_t offset)
{
	for (unsigned i = 0; i < LANE_SLOTS; i++) {
		struct lane *lane = &transfer->lanes[i];

		if (lane != but && lane->running && lane->at <= offset && offset < lane->end)
			return lane;
	}
	return NULL;
}

/* Where the next claim behind `offset` begins. */
uint64_t transfer_next_claim(struct transfer *transfer, uint64_t offset)
{
	uint64_t next = UINT64_MAX;

	for (unsigned i = 0; i < LANE_SLOTS; i++) {
		struct lane *lane = &transfer->lanes[i];

		if (lane->running && lane->at > offset && lane->at < next)
			next = lane->at;
	}
	return next;
}

/* About a second's worth for one lane; less towards the end, so that the lanes end together, but not so little that
 * waiting for answers takes more time than they bring. */
static uint64_t segment_bytes(const struct transfer *transfer)
{
	const struct transfer_limits *limits = &transfer->registry->limits;
	uint64_t lanes = transfer->lane_count;
	uint64_t rate = transfer->rate_before / (transfer->lanes_before ? transfer->lanes_before : 1);
	uint64_t remaining = transfer->size > transfer->received ? transfer->size - transfer->received : 0;
	uint64_t least = rate * transfer->answer_ms * 2 / 1000;
	uint64_t segment = rate < remaining / (lanes * 2) ? rate : remaining / (lanes * 2);

	if (segment < least)
		segment = least;
	if (segment > limits->segment_max)
		segment = limits->segment_max;
	return segment < limits->segment_min ? limits->segment_min : segment;
}

/* The first missing part that nobody has claimed, as far as one segment goes. */
static bool claim(struct transfer *transfer, struct lane *lane)
{
	uint64_t from = 0, start, end, next;
	struct lane *other;

	while (transfer->sink->next_gap(transfer->arg, from, &start, &end)) {
		other = transfer_claimant(transfer, lane, start);
		if (!other) {
			next = transfer_next_claim(transfer, start);
			lane->at = start;
			lane->end = end;
			if (active_lanes(transfer) > 1 && end - start > segment_bytes(transfer))
				lane->end = start + segment_bytes(transfer);
			else if (end >= transfer->size)
				lane->end = UINT64_MAX;
			if (lane->end > next)
				lane->end = next;
			return true;
		}
		if (other->end == UINT64_MAX)
			return false;
		from = other->end;
	}
	return false;
}

/* Lanes that rest take what is left; when nothing runs and nothing is left, that is the end. */
static void go_on(struct transfer *transfer)
{
	if (!transfer->err.code) {
		transfer_start_far_lanes(transfer);
		for (unsigned i = 0; i < transfer->lane_count; i++) {
			struct lane *lane = &transfer->lanes[i];

			if (!lane->running && !lane->retired && claim(transfer, lane))
				transfer_lane_start(lane);
		}
	}
	if (!any_running(transfer))
		transfer_end(transfer);
}

/* Lanes. */

static void give_up_lanes(struct transfer *transfer, unsigned keep)
{
	for (unsigned i = keep; i < transfer->lane_count; i++)
		transfer->lanes[i].retired = true;
}

static void settle(struct transfer *transfer, unsigned lanes)
{
	give_up_lanes(transfer, lanes);
	transfer->state = TRANSFER_SETTLED;
	transfer->registry->lanes_hint = lanes;
	transfer->registry->lanes_hint_until_ms = clock_ms() + HINT_MS;
}

static int on_answer(void *arg, const struct registry_answer *answer)
{
	struct lane *lane = arg;
	struct transfer *transfer = lane->transfer;
	bool first = lane == &transfer->lanes[0];

	if (lane->at == lane->end) {
		lane->stopped = true; /* its part was taken back */
		return ERR_CANCELLED;
	}
	if (!first && answer->offset != lane->at) {
		/* The whole instead of a part: this server does not do ranges. One lane it is, to the end. */
		settle(transfer, 1);
		transfer->whole_only = true;
		transfer->want_count = 0;
		transfer->lanes[0].end = UINT64_MAX;
		lane->stopped = true;
		return ERR_CANCELLED;
	}
	lane->refused = transfer->sink->on_answer(transfer->arg, answer);
	if (lane->refused)
		return lane->refused;
	if (!lane->answered)
		transfer->answer_ms = clock_ms() - lane->asked_ms;
	lane->answered = true;
	if (answer->offset < lane->at)
		lane->end = UINT64_MAX; /* the whole instead of a part */
	lane->at = answer->offset;
	if (answer->size != REGISTRY_LENGTH_UNKNOWN && !transfer->size_known) {
		transfer->size_known = true;
		transfer->began_ms = clock_ms();
		transfer->size = answer->size;
		if (answer->etag && !answer->from_mirror && !transfer->etag)
			transfer->etag = mem_strdup(answer->etag);
		transfer->timer.run = on_tick;
		if (!transfer->in_order && transfer->size > transfer->registry->limits.known_bytes &&
		    transfer->registry->max_connections > 1)
			loop_timer_set(transfer->registry->loop, &transfer->timer, TICK_MS);
	} else if (answer->size != REGISTRY_LENGTH_UNKNOWN && answer->offset == 0) {
		transfer->size = answer->size; /* of another version */
	}
	return 0;
}

/* The first lane comes to what others claimed, and they have not had an answer yet: perhaps they never get one, or one
 * without ranges. The stream that runs is worth more than they are. */
static void take_back(struct transfer *transfer, struct lane *first)
{
	for (unsigned i = transfer->lanes_before; i < transfer->lane_count; i++)
		if (!transfer->lanes[i].answered)
			transfer->lanes[i].end = transfer->lanes[i].at;
	settle(transfer, transfer->lanes_before);
	first->end = UINT64_MAX;
}

static int on_body(void *arg, uint64_t offset, const void *data, size_t len)
{
	struct lane *lane = arg;
	struct transfer *transfer = lane->transfer;
	struct lane *other = NULL;
	size_t wanted;

	if (lane->open && lane->end != UINT64_MAX && len > lane->end - offset)
		other = transfer_claimant(transfer, lane, lane->end);
	if (other && !other->answered && !other->far)
		take_back(transfer, lane);
	wanted = lane->end - offset < len ? (size_t)(lane->end - offset) : len;
	lane->refused = transfer->sink->on_body(transfer->arg, offset, data, wanted);
	if (lane->refused)
		return lane->refused;
	transfer->received += wanted;
	lane->at = offset + wanted;
	if (lane->at >= lane->end && lane->end != UINT64_MAX && wanted < len) {
		/* The open-ended GET has reached what another lane has. */
		lane->stopped = true;
		return ERR_CANCELLED;
	}
	return 0;
}

/* An answer that ended well, and the first byte that it was asked for is still missing: the next would end likewise. */
static bool brought_nothing(const struct lane *lane)
{
	const struct transfer *transfer = lane->transfer;
	uint64_t start, end;

	return !lane->stopped && transfer->size_known &&
	       transfer->sink->next_gap(transfer->arg, lane->from, &start, &end) && start == lane->from;
}

static void on_done(void *arg, const struct err *err)
{
	struct lane *lane = arg;
	struct transfer *transfer = lane->transfer;
	struct err nothing;

	if (!err && brought_nothing(lane)) {
		err_set(&nothing, ERR_UPSTREAM, "%s: the answer ended before what was asked for",
			transfer->registry->name);
		err = &nothing;
	}
	lane->running = false;
	/* Nobody said how long it is: then an answer to the open end that ended well has brought all there is. */
	if (!err && !lane->stopped && !transfer->size_known) {
		transfer_end(transfer);
		return;
	}
	/* What one lane could not get, another may: the failure is the transfer's when the last of the ordinary lanes
	 * has failed. */
	if (err && !lane->stopped && !lane->far) {
		lane->retired = true;
		if (active_lanes(transfer) == 0)
			transfer->err = *err;
	}
	lane->stopped = false;
	go_on(transfer);
}

static const struct registry_sink lane_sink = {.on_answer = on_answer, .on_body = on_body, .on_done = on_done};

void transfer_lane_start(struct lane *lane)
{
	struct transfer *transfer = lane->transfer;
	struct registry_query query = {
		.kind = REGISTRY_BLOB,
		.repository = transfer->repository,
		.reference = transfer->digest,
		.offset = lane->at,
		.etag = transfer->etag,
		.priority = transfer->priority,
		.login = transfer->login,
	};

	lane->from = lane->at;
	lane->open = lane->end == UINT64_MAX;
	query.end = lane->open ? 0 : lane->end;
	query.own_connection = active_lanes(transfer) > 1 && !lane->far;
	lane->asked_ms = clock_ms();
	lane->answered = false;
	lane->refused = 0;
	lane->running = true;
	registry_call(transfer->registry, &query, &lane_sink, lane);
}

/* Trying more lanes. */

static void add_lanes(struct transfer *transfer, unsigned wanted)
{
	struct lane *first = &transfer->lanes[0];

	if (wanted > transfer->registry->max_connections)
		wanted = transfer->registry->max_connections;
	transfer->lanes_before = transfer->lane_count;
	if (transfer->lane_count == 1)
		first->end = first->at + segment_bytes(transfer);
	while (transfer->lane_count < wanted) {
		struct lane *lane = &transfer->lanes[transfer->lane_count++];

		*lane = (struct lane){.transfer = transfer};
		if (claim(transfer, lane))
			transfer_lane_start(lane);
	}
	transfer->state = TRANSFER_TRYING;
	transfer->added_ms = clock_ms();
	transfer->mark_ms = 0;
}

static void mark(struct transfer *transfer, uint64_t now)
{
	transfer->mark_ms = now;
	transfer->mark_received = transfer->received;
}

static uint64_t rate_since_mark(const struct transfer *transfer, uint64_t now)
{
	return (transfer->received - transfer->mark_received) * 1000 / (now - transfer->mark_ms);
}

static void look_single(struct transfer *transfer, uint64_t now)
{
	const struct transfer_limits *limits = &transfer->registry->limits;
	unsigned hint = now < transfer->registry->lanes_hint_until_ms ? transfer->registry->lanes_hint : 0;

	if (hint == 1 || (hint == 0 && transfer->size <= limits->try_bytes) ||
	    transfer->size - transfer->lanes[0].at < limits->rest_bytes) {
		transfer->state = TRANSFER_SETTLED;
		return;
	}
	if (now - transfer->mark_ms < SINGLE_MS)
		return;
	transfer->rate_before = rate_since_mark(transfer, now);
	if ((transfer->size - transfer->lanes[0].at) * 1000 / (transfer->rate_before + 1) < limits->rest_ms) {
		transfer->state = TRANSFER_SETTLED;
		return;
	}
	add_lanes(transfer, hint > 1 ? hint : 2);
	if (hint > 1)
		transfer->state = TRANSFER_SETTLED;
}

static bool added_lanes_answered(const struct transfer *transfer)
{
	for (unsigned i = transfer->lanes_before; i < transfer->lane_count; i++)
		if (!transfer->lanes[i].answered && transfer->lanes[i].running)
			return false;
	return true;
}

static void look_trying(struct transfer *transfer, uint64_t now)
{
	uint64_t rate;

	if (transfer->mark_ms == 0) {
		if (added_lanes_answered(transfer))
			mark(transfer, now);
		else if (now - transfer->added_ms > TRIAL_LIMIT_MS)
			settle(transfer, transfer->lanes_before);
		return;
	}
	if (now - transfer->mark_ms < TRIAL_MS)
		return;
	rate = rate_since_mark(transfer, now);
	if (rate * GAIN_DENOMINATOR < transfer->rate_before * GAIN_NUMERATOR) {
		settle(transfer, transfer->lanes_before);
		return;
	}
	transfer->rate_before = rate;
	if (transfer->lane_count < TRANSFER_LANES_MAX && transfer->lane_count < transfer->registry->max_connections)
		add_lanes(transfer, TRANSFER_LANES_MAX);
	else
		settle(transfer, transfer->lane_count);
}

static void on_tick(struct loop_timer *timer)
{
	struct transfer *transfer = (struct transfer *)((char *)timer - offsetof(struct transfer, timer));
	uint64_t now = clock_ms();

	if (transfer->state == TRANSFER_SINGLE) {
		if (transfer->mark_ms == 0)
			mark(transfer, now);
		look_single(transfer, now);
	} else if (transfer->state == TRANSFER_TRYING) {
		look_trying(transfer, now);
	}
	if (transfer->state != TRANSFER_SETTLED)
		loop_timer_set(transfer->registry->loop, &transfer->timer, TICK_MS);
}

/* Where the first claim ends: before a part that is there already, unless that is not worth a request of its own. */
static uint64_t first_end(const struct transfer *transfer, uint64_t end, uint64_t size)
{
	uint64_t next, next_end;

	while (end < size) {
		if (!transfer->sink->next_gap(transfer->arg, end, &next, &next_end))
			next = next_end = size;
		if (next - end >= TRANSFER_PRESENT_MIN)
			return end;
		end = next_end;
	}
	return UINT64_MAX;
}

void transfer_start(struct registry *registry, const struct transfer_query *query, const struct transfer_sink *sink,
		    void *arg, struct transfer **handle)
{
	struct transfer *transfer = mem_alloc(sizeof(*transfer));
	struct lane *lane = &transfer->lanes[0];

	transfer->registry = registry;
	transfer->sink = sink;
	transfer->arg = arg;
	transfer->repository = mem_strdup(query->repository);
	transfer->login = client_login_hold(query->login);
	transfer->digest = mem_strdup(query->digest);
	transfer->etag = mem_strdup(query->etag);
	transfer->priority = query->priority;
	transfer->in_order = transfer->whole_only = query->in_order;
	transfer->lane_count = 1;
	transfer->refs = 1;
	*handle = transfer;
	lane->transfer = transfer;
	if (sink->next_gap(arg, 0, &lane->at, &lane->end)) {
		lane->end = first_end(transfer, lane->end, query->in_order ? 0 : query->size);
	} else {
		lane->at = 0;
		lane->end = UINT64_MAX;
	}
	transfer_lane_start(lane);
}
