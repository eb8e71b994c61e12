/* SPDX-License-Identifier: Apache-2.0 */
/* Server-sent events (WHATWG HTML, "Server-sent events"). */
#include "server/admin/admin_internal.h"

#include "base/cleanup.h"
#include "base/clock.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <utlist.h>

#define TICK_NS       250000000L
#define LISTENERS_MAX 64
#define HEARTBEAT_MS  15000 /* a client that has left is noticed when something is sent to it */

struct listener {
	struct events *events;
	struct admin_visit *visit;
	const struct event_topic *topic;
	char *name;
	uint64_t told; /* the version */
	bool last;     /* nothing comes behind what is being sent */
	struct buf text;
	size_t sent;
	uint64_t sent_ms;
	struct listener *prev, *next;
};

struct events {
	struct admin *admin;
	pthread_t thread;
	bool has_thread;
	pthread_mutex_t lock; /* guards what follows; a visit's own comes after it */
	pthread_cond_t change;
	struct listener *listeners;
	unsigned count;
	bool stopping;
};

/* Four times a second, as long as somebody listens: whoever has been told all looks again. */
static void *ticker(void *arg)
{
	struct events *events = arg;
	struct listener *listener;

	pthread_setname_np(pthread_self(), "events");
	pthread_mutex_lock(&events->lock);
	for (;;) {
		while (!events->listeners && !events->stopping)
			pthread_cond_wait(&events->change, &events->lock);
		DL_FOREACH (events->listeners, listener)
			admin_wake(listener->visit);
		if (events->stopping)
			break;
		pthread_mutex_unlock(&events->lock);
		nanosleep(&(struct timespec){.tv_nsec = TICK_NS}, NULL);
		pthread_mutex_lock(&events->lock);
	}
	pthread_mutex_unlock(&events->lock);
	return NULL;
}

struct events *events_new(struct admin *admin)
{
	struct events *events = mem_alloc(sizeof(*events));

	events->admin = admin;
	pthread_mutex_init(&events->lock, NULL);
	pthread_cond_init(&events->change, NULL);
	events->has_thread = pthread_create(&events->thread, NULL, ticker, events) == 0;
	return events;
}

void events_stop(struct events *events)
{
	pthread_mutex_lock(&events->lock);
	__atomic_store_n(&events->stopping, true, __ATOMIC_RELEASE);
	pthread_cond_signal(&events->change);
	pthread_mutex_unlock(&events->lock);
	if (events->has_thread)
		pthread_join(events->thread, NULL);
	events->has_thread = false;
}

void events_free(struct events *events)
{
	pthread_cond_destroy(&events->change);
	pthread_mutex_destroy(&events->lock);
	free(events);
}

/* What there is to tell now, into the emptied text. */
static void tell(struct listener *listener)
{
	struct admin *admin = listener->events->admin;
	const struct event_topic *topic = listener->topic;
	_cleanup_free_ char *line = NULL;
	bool last = false;
	uint64_t version = topic->version(admin, listener->name, &last);
	json_t *json;

	if (version == 0) {
		listener->last = true;
		return;
	}
	if (version == listener->told) {
		if (clock_ms() - listener->sent_ms >= HEARTBEAT_MS)
			buf_append_text(&listener->text, ":\n\n");
		return;
	}
	listener->told = version;
	listener->last = last;
	json = topic->describe(admin, listener->name);
	line = json ? json_dumps(json, ADMIN_JSON) : NULL;
	json_decref(json);
	if (line)
		buf_printf(&listener->text, "event: %s\ndata: %s\n\n", topic->event, line);
}

static ssize_t read_events(void *arg, void *data, size_t max)
{
	struct listener *listener = arg;
	size_t left;

	if (listener->sent == listener->text.len) {
		if (listener->last || __atomic_load_n(&listener->events->stopping, __ATOMIC_ACQUIRE))
			return HTTP_READ_END;
		buf_clear(&listener->text);
		listener->sent = 0;
		tell(listener);
		if (listener->text.len == 0)
			return listener->last ? HTTP_READ_END : 0;
	}
	left = listener->text.len - listener->sent;
	if (left > max)
		left = max;
	memcpy(data, listener->text.data + listener->sent, left);
	listener->sent += left;
	listener->sent_ms = clock_ms();
	return (ssize_t)left;
}

static void end_listener(void *arg)
{
	struct listener *listener = arg;
	struct events *events = listener->events;

	pthread_mutex_lock(&events->lock);
	DL_DELETE(events->listeners, listener);
	events->count--;
	pthread_mutex_unlock(&events->lock);
	buf_dispose(&listener->text);
	free(listener->name);
	free(listener);
}

void events_reply(struct admin_visit *visit, const struct event_topic *topic, const char *name)
{
	struct events *events = visit->admin->events;
	struct listener *listener = NULL;
	struct admin_source source;

	pthread_mutex_lock(&events->lock);
	if (events->count < LISTENERS_MAX && !events->stopping && events->has_thread) {
		listener = mem_alloc(sizeof(*listener));
		listener->events = events;
		listener->visit = visit;
		listener->topic = topic;
		listener->name = mem_strdup(name);
		listener->sent_ms = clock_ms();
		DL_APPEND(events->listeners, listener);
		events->count++;
		pthread_cond_signal(&events->change);
	}
	pthread_mutex_unlock(&events->lock);
	if (!listener) {
		admin_reply_error(visit, 503, "busy", "too many listen to events already");
		return;
	}
	source = (struct admin_source){.read = read_events, .ended = end_listener, .arg = listener};
	admin_reply_source(visit, "text/event-stream", &source);
}
