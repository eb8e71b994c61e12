/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The upstream side's event loop: one thread with an epoll, timers, and tasks posted by other threads. Everything in
 * upstream/ that has state runs on this thread, and so needs no locks; loop_post() is the one way in.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;

/* A task: embedded in what it works on, which stays alive until run() is called. */
struct loop_task {
	void (*run)(struct loop_task *task);
	struct loop_task *next; /* the loop's own */
};

/* A timer: embedded likewise. Zeroed is "not set". */
struct loop_timer {
	void (*run)(struct loop_timer *timer);
	uint64_t due_ms;  /* clock_ms() */
	size_t heap_slot; /* the loop's own: 0 while not set */
};

/* What stands behind a descriptor in the epoll. */
struct loop_watch {
	void (*run)(struct loop_watch *watch, int fd, uint32_t epoll_events);
};

int loop_start(struct loop **out, struct err *err);
/* Runs the tasks that were posted before, ends the thread and frees the loop. Timers still set are forgotten. Takes
 * NULL. */
void loop_stop(struct loop *loop);

/* Any thread: `task` runs on the loop's thread, in the order of posting. */
void loop_post(struct loop *loop, struct loop_task *task);
/* Any thread: posts and waits until it ran. Not from the loop's own thread. */
void loop_run(struct loop *loop, void (*run)(void *arg), void *arg);

/* The loop's thread only, from here on. */
void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms); /* sets anew when set already */
void loop_timer_clear(struct loop *loop, struct loop_timer *timer);
/* Watches a descriptor, or changes what is watched for. The watch is borrowed until it is cleared. 0 or ERR_IO. */
int loop_watch_set(struct loop *loop, int fd, uint32_t epoll_events, struct loop_watch *watch);
void loop_watch_clear(struct loop *loop, int fd);
bool loop_is_current(const struct loop *loop);
