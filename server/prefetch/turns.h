/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose turn it is: at most so many are inside at once, and of those who stand before the door the one with the lowest
 * number goes in first. The caller's lock guards all of it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct turn {
	size_t number;
	enum { TURN_AWAY, TURN_WAITING, TURN_INSIDE } state;
	struct turn *prev, *next; /* of those who wait, by number */
};

struct turns {
	unsigned max;
	unsigned inside;
	struct turn *waiting;
};

/* Whether it is inside now. Otherwise it waits, and asks again when somebody has left or gone in. */
bool turns_enter(struct turns *turns, struct turn *turn);
/* It is inside, or waits, no more. */
void turns_leave(struct turns *turns, struct turn *turn);
