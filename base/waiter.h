/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Something that waits until there is more to be had. Whoever has it to give keeps a list of waiters under a lock of
 * its own, and three rules make sure that no wake-up is lost and none goes to what is gone:
 *
 *   1. Looking for what is there and registering as a waiter happen under that one lock; pause() is called there too.
 *   2. wake() is called under that lock, after the waiter was taken off the list; it never blocks and calls nothing
 * back.
 *   3. Whoever ends a waiter takes it off the list first, under that lock.
 */
#pragma once

#include <stdbool.h>

struct waiter {
	void (*pause)(struct waiter *waiter); /* on the waiter's own thread */
	void (*wake)(struct waiter *waiter);  /* on any thread */
	struct waiter *prev, *next;           /* the list's */
	bool listed;
};

/* With the list's lock held. Pauses the waiter, which is on no list, and puts it on this one. */
void waiter_register(struct waiter **list, struct waiter *waiter);
/* Takes it off; nothing happens when it is on none. */
void waiter_forget(struct waiter **list, struct waiter *waiter);
/* Empties the list. */
void waiter_wake_all(struct waiter **list);
