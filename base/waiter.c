/* SPDX-License-Identifier: Apache-2.0 */
#include "base/waiter.h"

#include <assert.h>
#include <stddef.h>
#include <utlist.h>

void waiter_register(struct waiter **list, struct waiter *waiter)
{
	assert(!waiter->listed);
	waiter->pause(waiter);
	waiter->listed = true;
	DL_APPEND(*list, waiter);
}

void waiter_forget(struct waiter **list, struct waiter *waiter)
{
	if (!waiter->listed)
		return;
	DL_DELETE(*list, waiter);
	waiter->listed = false;
}

void waiter_wake_all(struct waiter **list)
{
	struct waiter *waiter;

	while ((waiter = *list)) {
		DL_DELETE(*list, waiter);
		waiter->listed = false;
		waiter->wake(waiter);
	}
}
