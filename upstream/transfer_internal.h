/* SPDX-License-Identifier: Apache-2.0 */
/* What transfer.c (lanes) and transfer_far.c (readers far ahead of them) share. The loop's thread. */
#pragma once

#include "upstream/registry_internal.h"
#include "upstream/transfer.h"

#define LANE_SLOTS (TRANSFER_LANES_MAX + TRANSFER_FAR_LANES_MAX)

struct lane {
	struct transfer *transfer;
	bool running;     /* a call is out; set before it starts, since it may end on another thread's time */
	uint64_t at, end; /* claimed and not yet here; UINT64_MAX: all that follows */
	uint64_t from;    /* where `at` was when it was asked for */
	uint64_t asked_ms;
	bool retired; /* takes no further part */
	bool answered;
	bool open;    /* what was asked for has no end: it goes on behind the claim, unless it is stopped */
	bool far;     /* fetches what readers far ahead want */
	bool stopped; /* ended by us */
	int refused;  /* what the sink said no with */
};

struct transfer {
	struct registry *registry;
	const struct transfer_sink *sink;
	void *arg;
	char *repository, *digest, *etag;
	struct client_login *login;
	enum pace_priority priority;

	enum { TRANSFER_SINGLE, TRANSFER_TRYING, TRANSFER_SETTLED } state;
	struct lane lanes[LANE_SLOTS]; /* the far ones behind the others */
	unsigned lane_count;
	unsigned lanes_before; /* TRYING: how many there were */
	uint64_t size;
	bool size_known;

	struct loop_timer timer;
	uint64_t received;               /* bytes so far, of all lanes */
	uint64_t mark_ms, mark_received; /* since when, and from how many, the rate is measured; 0: not yet */
	uint64_t added_ms;               /* when the lanes under trial were added */
	uint64_t rate_before;            /* bytes a second */
	uint64_t answer_ms;              /* how long the last answer was waited for */
	struct err err;

	uint64_t wants[TRANSFER_WANTS_MAX]; /* offsets that wait for a far lane */
	unsigned want_count;
	struct loop_timer far_timer; /* looks at them again */
	uint64_t began_ms;           /* when the first answer came */
	bool whole_only;             /* the server does not do ranges, or the sink */
	bool in_order;
	bool ended;
	unsigned refs; /* atomic: one of its own, one of each transfer_want() on its way */
};

/* The lane whose claim holds `offset`; NULL when nobody's does. */
struct lane *transfer_claimant(struct transfer *transfer, const struct lane *but, uint64_t offset);
/* Where the next claim behind `offset` begins. */
uint64_t transfer_next_claim(struct transfer *transfer, uint64_t offset);
void transfer_lane_start(struct lane *lane);
/* Starts what is wanted, as far as there are far lanes. */
void transfer_start_far_lanes(struct transfer *transfer);
/* Any thread. */
void transfer_unref(struct transfer *transfer);
