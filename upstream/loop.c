/* SPDX-License-Identifier: Apache-2.0 */
#include "upstream/loop.h"

#include "base/buf.h"
#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define LOOP_EVENTS_MAX 64

struct loop {
	pthread_t thread;
	int epoll_fd;
	int wake_fd; /* eventfd: tasks were posted */

	pthread_mutex_t lock; /* guards the queue and `stopping` */
	struct loop_task *first;
	struct loop_task **last;
	bool stopping;

	struct loop_timer **heap; /* a binary heap by due_ms; slot 0 is unused, so that heap_slot 0 means "not set" */
	size_t heap_len;
	size_t heap_cap;

	/* By descriptor: an event is looked up here, so that one whose watch was cleared within the same batch goes
	 * nowhere. */
	struct loop_watch **watches;
	size_t watches_cap;
};

static _Thread_local const struct loop *current_loop;

/* Timers. */

static void heap_put(struct loop *loop, size_t slot, struct loop_timer *timer)
{
	loop->heap[slot] = timer;
	timer->heap_slot = slot;
}

static void heap_up(struct loop *loop, size_t slot)
{
	struct loop_timer *timer = loop->heap[slot];

	while (slot > 1 && loop->heap[slot / 2]->due_ms > timer->due_ms) {
		heap_put(loop, slot, loop->heap[slot / 2]);
		slot /= 2;
	}
	heap_put(loop, slot, timer);
}

static void heap_down(struct loop *loop, size_t slot)
{
	struct loop_timer *timer = loop->heap[slot];

	for (;;) {
		size_t child = slot * 2;

		if (child > loop->heap_len)
			break;
		if (child < loop->heap_len && loop->heap[child + 1]->due_ms < loop->heap[child]->due_ms)
			child++;
		if (loop->heap[child]->due_ms >= timer->due_ms)
			break;
		heap_put(loop, slot, loop->heap[child]);
		slot = child;
	}
	heap_put(loop, slot, timer);
}

void loop_timer_clear(struct loop *loop, struct loop_timer *timer)
{
	size_t slot = timer->heap_slot;
	struct loop_timer *moved;

	assert(loop_is_current(loop));
	if (slot == 0)
		return;
	timer->heap_slot = 0;
	moved = loop->heap[loop->heap_len--];
	if (moved == timer)
		return;
	heap_put(loop, slot, moved);
	heap_up(loop, slot);
	heap_down(loop, moved->heap_slot);
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms)
{
	loop_timer_clear(loop, timer);
	if (loop->heap_len + 2 > loop->heap_cap) {
		loop->heap_cap = loop->heap_cap ? loop->heap_cap * 2 : 64;
		loop->heap = mem_realloc(loop->heap, loop->heap_cap * sizeof(*loop->heap));
	}
	timer->due_ms = clock_ms() + delay_ms;
	heap_put(loop, ++loop->heap_len, timer);
	heap_up(loop, loop->heap_len);
}

static int next_timeout_ms(const struct loop *loop)
{
	uint64_t now;

	if (loop->heap_len == 0)
		return -1;
	now = clock_ms();
	if (loop->heap[1]->due_ms <= now)
		return 0;
	/* One more: epoll_wait() may return within the millisecond before the timer is due. */
	return loop->heap[1]->due_ms - now < 60000 ? (int)(loop->heap[1]->due_ms - now) + 1 : 60000;
}

static void run_timers(struct loop *loop)
{
	uint64_t now = clock_ms();

	while (loop->heap_len > 0 && loop->heap[1]->due_ms <= now) {
		struct loop_timer *timer = loop->heap[1];

		loop_timer_clear(loop, timer);
		timer->run(timer);
	}
}

/* Tasks. */

static void wake(struct loop *loop)
{
	uint64_t one = 1;
	ssize_t written = write(loop->wake_fd, &one, sizeof(one));

	/* EAGAIN: the counter is full, so the loop is awake anyway. */
	assert(written == sizeof(one) || errno == EAGAIN);
}

/* Runs what was posted; false when the loop is to end and nothing is left. */
static bool run_tasks(struct loop *loop)
{
	struct loop_task *task, *next;
	bool stopping;

	pthread_mutex_lock(&loop->lock);
	task = loop->first;
	loop->first = NULL;
	loop->last = &loop->first;
	stopping = loop->stopping;
	pthread_mutex_unlock(&loop->lock);

	if (!task)
		return !stopping;
	for (; task; task = next) {
		next = task->next;
		task->run(task);
	}
	/* The wake-up that loop_stop() gave may have been taken together with that for these tasks. */
	if (stopping)
		wake(loop);
	return true;
}

void loop_post(struct loop *loop, struct loop_task *task)
{
	bool was_empty;

	task->next = NULL;
	pthread_mutex_lock(&loop->lock);
	was_empty = loop->first == NULL;
	*loop->last = task;
	loop->last = &task->next;
	pthread_mutex_unlock(&loop->lock);
	if (was_empty)
		wake(loop);
}

struct waiting_task {
	struct loop_task task;
	void (*run)(void *arg);
	void *arg;
	pthread_mutex_t lock;
	pthread_cond_t done_changed;
	bool done;
};

static void waiting_task_run(struct loop_task *task)
{
	struct waiting_task *waiting = (struct waiting_task *)task;

	waiting->run(waiting->arg);
	pthread_mutex_lock(&waiting->lock);
	waiting->done = true;
	pthread_cond_signal(&waiting->done_changed);
	pthread_mutex_unlock(&waiting->lock);
}

void loop_run(struct loop *loop, void (*run)(void *arg), void *arg)
{
	struct waiting_task waiting = {.task.run = waiting_task_run, .run = run, .arg = arg};

	assert(!loop_is_current(loop));
	pthread_mutex_init(&waiting.lock, NULL);
	pthread_cond_init(&waiting.done_changed, NULL);
	loop_post(loop, &waiting.task);
	pthread_mutex_lock(&waiting.lock);
	while (!waiting.done)
		pthread_cond_wait(&waiting.done_changed, &waiting.lock);
	pthread_mutex_unlock(&waiting.lock);
	pthread_cond_destroy(&waiting.done_changed);
	pthread_mutex_destroy(&waiting.lock);
}

/* Descriptors. */

int loop_watch_set(struct loop *loop, int fd, uint32_t epoll_events, struct loop_watch *watch)
{
	struct epoll_event event = {.events = epoll_events, .data.fd = fd};
	bool known = (size_t)fd < loop->watches_cap && loop->watches[fd];

	if ((size_t)fd >= loop->watches_cap) {
		size_t cap = (size_t)fd + 64;

		loop->watches = mem_realloc(loop->watches, cap * sizeof(*loop->watches));
		memset(loop->watches + loop->watches_cap, 0, (cap - loop->watches_cap) * sizeof(*loop->watches));
		loop->watches_cap = cap;
	}
	loop->watches[fd] = watch;
	return epoll_ctl(loop->epoll_fd, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : ERR_IO;
}

void loop_watch_clear(struct loop *loop, int fd)
{
	if ((size_t)fd < loop->watches_cap)
		loop->watches[fd] = NULL;
	/* A descriptor that was closed already has left the epoll by itself. */
	(void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

bool loop_is_current(const struct loop *loop)
{
	return current_loop == loop;
}

static void drain_wake(struct loop_watch *watch, int fd, uint32_t epoll_events)
{
	uint64_t counter;

	(void)watch;
	(void)epoll_events;
	(void)!read(fd, &counter, sizeof(counter));
}

static struct loop_watch wake_watch = {.run = drain_wake};

static void *loop_main(void *arg)
{
	struct loop *loop = arg;
	struct epoll_event events[LOOP_EVENTS_MAX];

	current_loop = loop;
	pthread_setname_np(pthread_self(), "upstream");
	while (run_tasks(loop)) {
		int count = epoll_wait(loop->epoll_fd, events, LOOP_EVENTS_MAX, next_timeout_ms(loop));

		for (int i = 0; i < count; i++) {
			int fd = events[i].data.fd;
			struct loop_watch *watch = (size_t)fd < loop->watches_cap ? loop->watches[fd] : NULL;

			if (watch)
				watch->run(watch, fd, events[i].events);
		}
		run_timers(loop);
	}
	return NULL;
}

int loop_start(struct loop **out, struct err *err)
{
	struct loop *loop = mem_alloc(sizeof(*loop));
	int failed;

	loop->last = &loop->first;
	pthread_mutex_init(&loop->lock, NULL);
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->epoll_fd < 0 || loop->wake_fd < 0 || loop_watch_set(loop, loop->wake_fd, EPOLLIN, &wake_watch)) {
		err_set_errno(err, ERR_IO, errno, "cannot set up the upstream loop");
		goto failed;
	}
	failed = pthread_create(&loop->thread, NULL, loop_main, loop);
	if (failed) {
		err_set_errno(err, ERR_IO, failed, "cannot start the upstream thread");
		goto failed;
	}
	*out = loop;
	return 0;
failed:
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	if (loop->wake_fd >= 0)
		close(loop->wake_fd);
	pthread_mutex_destroy(&loop->lock);
	free(loop->watches);
	free(loop);
	return ERR_IO;
}

void loop_stop(struct loop *loop)
{
	if (!loop)
		return;
	pthread_mutex_lock(&loop->lock);
	loop->stopping = true;
	pthread_mutex_unlock(&loop->lock);
	wake(loop);
	pthread_join(loop->thread, NULL);
	close(loop->epoll_fd);
	close(loop->wake_fd);
	pthread_mutex_destroy(&loop->lock);
	free(loop->heap);
	free(loop->watches);
	free(loop);
}
