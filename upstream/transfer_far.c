/* SPDX-License-Identifier: Apache-2.0 */
/* Far lanes: what readers far ahead of all others want, and raising what a client has come to wait for. */
#include "upstream/transfer_internal.h"

#include "base/buf.h"
#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

/* A part that takes less than this is fetched twice rather than stopped before, which costs a request. */
#define SKIP_MS 200

/* What one lane has brought in a millisecond, on average. */
static uint64_t lane_bytes_ms(const struct transfer *transfer)
{
	uint64_t elapsed = clock_ms() - transfer->began_ms + 1;
	uint64_t rate = transfer->received / transfer->lane_count / elapsed + 1;

	return elapsed < TRANSFER_FAR_LOOK_MS && rate < TRANSFER_RATE_ASSUMED ? TRANSFER_RATE_ASSUMED : rate;
}

/* Whether the lane will be at `offset` soon by itself. */
static bool comes_soon(const struct transfer *transfer, const struct lane *lane, uint64_t offset)
{
	return lane->far || offset - lane->at <= TRANSFER_SEGMENT_MIN ||
	       (offset - lane->at) / lane_bytes_ms(transfer) < TRANSFER_FAR_MS;
}

enum far_claim { FAR_CLAIMED, FAR_SOON, FAR_THERE };

/* Claims a segment at `offset` for a far lane, out of whoever's claim it lies in, unless it is there, or comes soon. */
static enum far_claim claim_far(struct transfer *transfer, struct lane *lane, uint64_t offset)
{
	uint64_t start, end, next = transfer_next_claim(transfer, offset);
	struct lane *other = transfer_claimant(transfer, NULL, offset);

	if (!transfer->sink->next_gap(transfer->arg, offset, &start, &end) || start != offset)
		return FAR_THERE;
	if (other && comes_soon(transfer, other, offset))
		return FAR_SOON;
	*lane = (struct lane){.transfer = transfer, .far = true, .at = offset, .end = offset + TRANSFER_FAR_SEGMENT};
	if (lane->end > end)
		lane->end = end;
	if (lane->end > next)
		lane->end = next;
	if (other && (lane->end >= transfer->size || (lane->end - lane->at) / lane_bytes_ms(transfer) >= SKIP_MS))
		other->end = offset;
	return FAR_CLAIMED;
}

static struct lane *idle_far_lane(struct transfer *transfer)
{
	for (unsigned i = TRANSFER_LANES_MAX; i < LANE_SLOTS; i++)
		if (!transfer->lanes[i].running)
			return &transfer->lanes[i];
	return NULL;
}

static void drop_want(struct transfer *transfer, unsigned which)
{
	memmove(transfer->wants + which, transfer->wants + which + 1,
		(--transfer->want_count - which) * sizeof(transfer->wants[0]));
}

static void on_far_timer(struct loop_timer *timer);

/* What should come soon by itself is looked at again: a lane may slow down, or stop. */
void transfer_start_far_lanes(struct transfer *transfer)
{
	struct lane *lane;
	bool soon = false;

	for (unsigned i = 0; i < transfer->want_count && (lane = idle_far_lane(transfer));) {
		switch (claim_far(transfer, lane, transfer->wants[i])) {
		case FAR_CLAIMED:
			drop_want(transfer, i);
			transfer_lane_start(lane);
			break;
		case FAR_SOON:
			soon = true;
			i++;
			break;
		case FAR_THERE:
			drop_want(transfer, i);
			break;
		}
	}
	if (soon && !transfer->far_timer.heap_slot) {
		transfer->far_timer.run = on_far_timer;
		loop_timer_set(transfer->registry->loop, &transfer->far_timer, TRANSFER_FAR_LOOK_MS);
	}
}

static void on_far_timer(struct loop_timer *timer)
{
	transfer_start_far_lanes((struct transfer *)((char *)timer - offsetof(struct transfer, far_timer)));
}

static bool is_wanted(const struct transfer *transfer, uint64_t offset)
{
	for (unsigned i = 0; i < transfer->want_count; i++)
		if (transfer->wants[i] == offset)
			return true;
	return false;
}

struct want {
	struct loop_task task;
	struct transfer *transfer;
	uint64_t offset;
};

static void run_want(struct loop_task *task)
{
	struct want *want = (struct want *)task;
	struct transfer *transfer = want->transfer;

	if (!transfer->ended && !transfer->err.code && transfer->size_known && !transfer->whole_only &&
	    want->offset < transfer->size && transfer->want_count < TRANSFER_WANTS_MAX &&
	    !is_wanted(transfer, want->offset)) {
		transfer->wants[transfer->want_count++] = want->offset;
		transfer_start_far_lanes(transfer);
	}
	transfer_unref(transfer);
	free(want);
}

void transfer_want(struct transfer *transfer, uint64_t offset)
{
	struct want *want = mem_alloc(sizeof(*want));

	want->task.run = run_want;
	want->transfer = transfer;
	want->offset = offset;
	__atomic_add_fetch(&transfer->refs, 1, __ATOMIC_RELAXED);
	loop_post(transfer->registry->loop, &want->task);
}

static void run_raise(struct loop_task *task)
{
	struct want *want = (struct want *)task;
	struct transfer *transfer = want->transfer;

	transfer->priority = PACE_CLIENT;
	for (unsigned i = 0; !transfer->ended && i < LANE_SLOTS; i++)
		registry_raise(transfer->registry, &transfer->lanes[i]);
	transfer_unref(transfer);
	free(want);
}

void transfer_raise(struct transfer *transfer)
{
	struct want *want = mem_alloc(sizeof(*want));

	want->task.run = run_raise;
	want->transfer = transfer;
	__atomic_add_fetch(&transfer->refs, 1, __ATOMIC_RELAXED);
	loop_post(transfer->registry->loop, &want->task);
}
