/* SPDX-License-Identifier: Apache-2.0 */
#include "server/prefetch/turns.h"

#include <utlist.h>

static int by_number(const struct turn *left, const struct turn *right)
{
	return (left->number > right->number) - (left->number < right->number);
}

bool turns_enter(struct turns *turns, struct turn *turn)
{
	if (turn->state == TURN_AWAY) {
		DL_INSERT_INORDER(turns->waiting, turn, by_number);
		turn->state = TURN_WAITING;
	}
	if (turn->state == TURN_WAITING && turns->waiting == turn && turns->inside < turns->max) {
		DL_DELETE(turns->waiting, turn);
		turns->inside++;
		turn->state = TURN_INSIDE;
	}
	return turn->state == TURN_INSIDE;
}

void turns_leave(struct turns *turns, struct turn *turn)
{
	if (turn->state == TURN_WAITING)
		DL_DELETE(turns->waiting, turn);
	else if (turn->state == TURN_INSIDE)
		turns->inside--;
	turn->state = TURN_AWAY;
}
