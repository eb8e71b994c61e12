/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transfer of one blob: one call as long as that is best, several side by side where they are faster.
 *
 * It begins as one GET of all that is missing, so that a server is asked no question that it is not asked anyway. A
 * blob that is large and takes its time is tried with a second lane: a lane claims the first part that nobody has, asks
 * for it by Range over a connection of its own, and claims again. Where the sum is clearly faster (a limit per
 * connection, as CDNs have), more are added; where it is not, the second is given up. What was found is remembered for
 * the registry. The first lane then stops at the first part that another has claimed.
 *
 * States:
 *   SINGLE    one lane                          -> TRYING, SETTLED (a small or fast blob, or no ranges)
 *   TRYING    lanes were added: is it worth it? -> TRYING (with more), SETTLED
 *   SETTLED   the number of lanes stays
 *
 * Readers may stand far ahead of all lanes: what they want is fetched by a lane of its own first (transfer_want), in
 * short segments; the lane that would have come there stops before it and goes on behind it.
 *
 * Loop thread, but for transfer_start() and transfer_want().
 */
#pragma once

#include "upstream/registry.h"

#define TRANSFER_LANES_MAX     4
#define TRANSFER_FAR_LANES_MAX 2 /* beside those, for readers far ahead */
#define TRANSFER_FAR_SEGMENT   ((uint64_t)4 << 20)
#define TRANSFER_WANTS_MAX     64 /* that wait for a far lane; more are served when the others come there */
#define TRANSFER_FAR_MS        1500 /* what comes sooner by itself is not far: parallel readers of the next parts are not */
#define TRANSFER_FAR_LOOK_MS   300                  /* whether it does come is looked at this often */
#define TRANSFER_RATE_ASSUMED  ((uint64_t)32 << 10) /* bytes a millisecond, until that long was measured */
#define TRANSFER_SEGMENT_MIN   ((uint64_t)1 << 20)
#define TRANSFER_PRESENT_MIN   ((uint64_t)256 << 10) /* what is there already and shorter is fetched again */

/* When more lanes are worth a try. */
struct transfer_limits {
	uint64_t try_bytes;   /* smaller blobs stay with one lane … */
	uint64_t known_bytes; /* … or these, where more lanes are known to help */
	uint64_t rest_bytes;  /* what is missing must be more than this … */
	uint64_t rest_ms;     /* … and take one lane longer than this */
	uint64_t segment_min, segment_max;
};

#define TRANSFER_LIMITS_STANDARD                                                                                       \
	((struct transfer_limits){.try_bytes = (uint64_t)256 << 20,                                                    \
				  .known_bytes = (uint64_t)64 << 20,                                                   \
				  .rest_bytes = (uint64_t)64 << 20,                                                    \
				  .rest_ms = 3000,                                                                     \
				  .segment_min = TRANSFER_SEGMENT_MIN,                                                 \
				  .segment_max = (uint64_t)32 << 20})

struct transfer;

struct transfer_sink {
	/* As registry_sink's. on_answer() is called for each lane's answers; one with offset 0 begins anew. */
	int (*on_answer)(void *arg, const struct registry_answer *answer);
	int (*on_body)(void *arg, uint64_t offset, const void *data, size_t len);
	void (*on_done)(void *arg, const struct err *err);
	/* The first part at or behind `from` that is missing, as ingest_next_gap(). */
	bool (*next_gap)(void *arg, uint64_t from, uint64_t *start, uint64_t *end);
};

struct transfer_query {
	const char *repository;
	const char *digest;
	const char *etag; /* of what is there already, or NULL */
	uint64_t size;    /* of the blob, where something is there already; 0: not known */
	bool in_order;    /* one lane, for a sink that takes no other bytes than the first that are missing */
	enum pace_priority priority;
	struct client_login *login; /* as registry_query's */
};

/* Any thread. The transfer ends itself with on_done(), which is called once, when nothing is missing any more or it
 * cannot go on. *handle is set before anything is called. */
void transfer_start(struct registry *registry, const struct transfer_query *query, const struct transfer_sink *sink,
		    void *arg, struct transfer **handle);

/* Any thread: a reader waits for the byte at `offset`. The caller makes sure, by a lock that its on_done takes, that
 * on_done has not returned yet. */
void transfer_want(struct transfer *transfer, uint64_t offset);
/* Likewise: a client has come to wait for what prefetch began. */
void transfer_raise(struct transfer *transfer);
