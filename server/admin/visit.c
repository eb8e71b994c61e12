/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request to the admin API: a meeting of two threads. The serving thread brings the request and takes the reply
 * away, and never waits; the thread that answers may block. Between them lie the reply and, for streams, a pipe each
 * way.
 *
 * All that both touch is under the visit's lock. The serving thread pauses the request and the other wakes it under
 * that lock, so no wake-up is lost. Each has a reference; the request itself is the serving thread's alone, but for
 * being woken, and gone once `left` is set.
 */
#include "server/admin/admin_internal.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "server/pull/pull.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define LANDING_LIMIT_MS 5000 /* a disk that takes longer is not waited for */

/* Bytes on their way: a ring, made when the first come. */
struct pipe {
	char *data;
	size_t start, len;
};

struct visit_flow {
	struct work_job job; /* first: answers */
	struct admin_visit *visit;
	unsigned refs; /* atomic */

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t moved; /* something did, for the thread that answers */
	struct http_request *request;
	bool paused;
	bool left;       /* the client has, or larder stops: nothing is read or written any more */
	bool begun;      /* answer() was called, or is about to be */
	bool all_there;  /* the request's body has ended */
	bool replied;    /* what follows is final */
	bool ended, cut; /* the streamed reply has; it is not whole */
	struct pipe in, out;

	int status;
	struct http_header headers[ADMIN_HEADERS_MAX]; /* copies */
	size_t header_count;
	uint64_t stream_len;
	bool streams;
	struct admin_source source; /* or read() is NULL */
	struct buf data;
};

/* Pipes. */

static size_t pipe_put(struct pipe *pipe, const void *data, size_t len)
{
	size_t end, count = ADMIN_PIPE_BYTES - pipe->len, first;

	if (count > len)
		count = len;
	if (!pipe->data)
		pipe->data = mem_alloc(ADMIN_PIPE_BYTES);
	end = (pipe->start + pipe->len) % ADMIN_PIPE_BYTES;
	first = count < ADMIN_PIPE_BYTES - end ? count : ADMIN_PIPE_BYTES - end;
	memcpy(pipe->data + end, data, first);
	memcpy(pipe->data, (const char *)data + first, count - first);
	pipe->len += count;
	return count;
}

static size_t pipe_get(struct pipe *pipe, void *data, size_t max)
{
	size_t count = pipe->len < max ? pipe->len : max, first;

	if (count == 0)
		return 0;
	first = count < ADMIN_PIPE_BYTES - pipe->start ? count : ADMIN_PIPE_BYTES - pipe->start;
	memcpy(data, pipe->data + pipe->start, first);
	memcpy((char *)data + first, pipe->data, count - first);
	pipe->start = (pipe->start + count) % ADMIN_PIPE_BYTES;
	pipe->len -= count;
	return count;
}

/* Both sides, under the lock. */

static void pause_request(struct visit_flow *flow)
{
	flow->paused = true;
	flow->request->waiter.pause(&flow->request->waiter);
}

static void wake_request(struct visit_flow *flow)
{
	if (!flow->paused)
		return;
	flow->paused = false;
	flow->request->waiter.wake(&flow->request->waiter);
}

static void leave(struct visit_flow *flow)
{
	flow->left = true;
	pthread_cond_signal(&flow->moved);
	wake_request(flow);
}

/* The visit. */

static char *copy_header(struct http_request *request, const char *name)
{
	return mem_strdup(http_request_header(request, name));
}

struct admin_visit *visit_new(struct admin *admin, struct http_request *request)
{
	struct admin_visit *visit = mem_alloc(sizeof(*visit));
	struct visit_flow *flow = mem_alloc(sizeof(*flow));

	visit->admin = admin;
	visit->method = request->method;
	visit->query = mem_strdup(request->query);
	visit->range = copy_header(request, "Range");
	visit->if_range = copy_header(request, "If-Range");
	visit->if_none_match = copy_header(request, "If-None-Match");
	visit->content_type = copy_header(request, "Content-Type");
	snprintf(visit->client, sizeof(visit->client), "%s", request->client);
	memcpy(visit->id, request->id, sizeof(visit->id));
	visit->flow = flow;
	flow->visit = visit;
	flow->refs = 1;
	flow->request = request;
	pthread_mutex_init(&flow->lock, NULL);
	pthread_cond_init(&flow->moved, NULL);
	pthread_mutex_lock(&admin->lock);
	flow->left = admin->closing;
	DL_APPEND(admin->visits, visit);
	pthread_mutex_unlock(&admin->lock);
	request->state = visit;
	return visit;
}

static void visit_free(struct admin_visit *visit)
{
	struct visit_flow *flow = visit->flow;

	for (size_t i = 0; i < flow->header_count; i++) {
		free((char *)(uintptr_t)flow->headers[i].name);
		free((char *)(uintptr_t)flow->headers[i].value);
	}
	buf_dispose(&flow->data);
	free(flow->in.data);
	free(flow->out.data);
	pthread_cond_destroy(&flow->moved);
	pthread_mutex_destroy(&flow->lock);
	free(flow);
	free(visit->path);
	free(visit->query);
	free(visit->body);
	free(visit->range);
	free(visit->if_range);
	free(visit->if_none_match);
	free(visit->content_type);
	free(visit);
}

static void visit_unref(struct admin_visit *visit)
{
	if (__atomic_sub_fetch(&visit->flow->refs, 1, __ATOMIC_ACQ_REL) == 0)
		visit_free(visit);
}

void visit_end(struct admin_visit *visit)
{
	struct visit_flow *flow = visit->flow;

	pthread_mutex_lock(&visit->admin->lock);
	DL_DELETE(visit->admin->visits, visit);
	pthread_mutex_unlock(&visit->admin->lock);
	pthread_mutex_lock(&flow->lock);
	flow->paused = false;
	leave(flow);
	flow->request = NULL;
	pthread_mutex_unlock(&flow->lock);
	if (flow->source.ended)
		flow->source.ended(flow->source.arg);
	visit_unref(visit);
}

void visits_close(struct admin *admin)
{
	struct admin_visit *visit;

	pthread_mutex_lock(&admin->lock);
	admin->closing = true;
	DL_FOREACH (admin->visits, visit) {
		pthread_mutex_lock(&visit->flow->lock);
		leave(visit->flow);
		pthread_mutex_unlock(&visit->flow->lock);
	}
	pthread_mutex_unlock(&admin->lock);
}

/* The serving thread. */

static void run_job(struct work_job *job)
{
	struct visit_flow *flow = (struct visit_flow *)job;
	struct admin_visit *visit = flow->visit;

	log_set_request(visit->id);
	/* Whoever has just pulled, and asks then, is told of it. */
	if (visit->admin->pull)
		pull_wait_landed(visit->admin->pull, LANDING_LIMIT_MS);
	visit->route->answer(visit);
	log_set_request(NULL);
	pthread_mutex_lock(&flow->lock);
	assert(flow->replied || flow->left);
	flow->ended = true;
	if (!flow->left)
		wake_request(flow);
	pthread_mutex_unlock(&flow->lock);
	visit_unref(visit);
}

void visit_run(struct admin_visit *visit)
{
	struct visit_flow *flow = visit->flow;

	if (flow->begun || flow->replied)
		return;
	flow->begun = true;
	if (visit->route->way == ADMIN_AT_ONCE) {
		visit->route->answer(visit);
		return;
	}
	__atomic_add_fetch(&flow->refs, 1, __ATOMIC_RELAXED);
	flow->job.run = run_job;
	work_submit(visit->route->way == ADMIN_STREAMS ? visit->admin->streams : visit->admin->work, &flow->job);
}

void visit_take_body(struct admin_visit *visit)
{
	struct visit_flow *flow = visit->flow;

	pthread_mutex_lock(&flow->lock);
	if (!flow->all_there && visit->route && admin_route_takes_json(visit->route)) {
		visit->body = mem_copy(flow->request->body, flow->request->body_len);
		visit->body_len = flow->request->body_len;
		visit->body_too_large = flow->request->body_too_large;
	}
	flow->all_there = true;
	pthread_cond_signal(&flow->moved);
	pthread_mutex_unlock(&flow->lock);
}

ssize_t visit_take(struct admin_visit *visit, const void *data, size_t len)
{
	struct visit_flow *flow = visit->flow;
	ssize_t taken = -1;

	pthread_mutex_lock(&flow->lock);
	if (!flow->left && !flow->replied) {
		taken = (ssize_t)pipe_put(&flow->in, data, len);
		pthread_cond_signal(&flow->moved);
		if ((size_t)taken < len)
			pause_request(flow);
	}
	pthread_mutex_unlock(&flow->lock);
	return taken;
}

/* The streamed reply's body, on its way out. */
static ssize_t give(void *arg, uint64_t position, void *data, size_t max)
{
	struct visit_flow *flow = arg;
	ssize_t got;

	(void)position;
	pthread_mutex_lock(&flow->lock);
	got = flow->left          ? -1
	      : flow->source.read ? flow->source.read(flow->source.arg, data, max)
				  : (ssize_t)pipe_get(&flow->out, data, max);
	if (got > 0)
		pthread_cond_signal(&flow->moved);
	else if (got == 0 && flow->cut)
		got = -1;
	else if (got == 0 && flow->ended)
		got = HTTP_READ_END;
	else if (got == 0)
		pause_request(flow);
	pthread_mutex_unlock(&flow->lock);
	return got;
}

void visit_show(struct admin_visit *visit)
{
	struct visit_flow *flow = visit->flow;
	struct http_body body = {.kind = HTTP_BODY_MEMORY};
	bool replied, left;

	pthread_mutex_lock(&flow->lock);
	replied = flow->replied;
	left = flow->left;
	if (!replied && !left)
		pause_request(flow);
	pthread_mutex_unlock(&flow->lock);
	if (!replied && !left)
		return;
	if (!replied) {
		static const char stopping[] =
			"{\"error\":{\"code\":\"stopping\",\"message\":\"larder is shutting down\"}}\n";

		body.data = stopping;
		body.len = strlen(stopping);
		http_reply(flow->request, 503, &(struct http_header){"Content-Type", "application/json"}, 1, &body);
		return;
	}
	body.data = flow->data.data ? flow->data.data : "";
	body.len = flow->data.len;
	if (flow->streams)
		body = (struct http_body){.kind = HTTP_BODY_STREAM, .len = flow->stream_len, .read = give, .arg = flow};
	http_reply(flow->request, flow->status, flow->headers, flow->header_count, &body);
}

/* Whoever answers. */

static void take_headers(struct visit_flow *flow, const struct http_header *headers, size_t count)
{
	assert(!flow->replied && flow->header_count + count <= ADMIN_HEADERS_MAX);
	for (size_t i = 0; i < count; i++)
		flow->headers[flow->header_count++] =
			(struct http_header){mem_strdup(headers[i].name), mem_strdup(headers[i].value)};
}

void admin_reply(struct admin_visit *visit, int status, const char *content_type, const void *data, size_t len,
		 const struct http_header *more, size_t more_count)
{
	struct visit_flow *flow = visit->flow;
	const struct http_header usual[] = {
		{"Content-Type", content_type},
		{"Cache-Control", "no-store"},
		{"X-Content-Type-Options", "nosniff"},
	};

	pthread_mutex_lock(&flow->lock);
	take_headers(flow, usual, sizeof(usual) / sizeof(usual[0]));
	take_headers(flow, more, more_count);
	flow->status = status;
	buf_append(&flow->data, data, len);
	flow->replied = true;
	if (!flow->left)
		wake_request(flow);
	pthread_mutex_unlock(&flow->lock);
}

void admin_reply_stream(struct admin_visit *visit, int status, const struct http_header *headers, size_t count,
			uint64_t len)
{
	struct visit_flow *flow = visit->flow;

	pthread_mutex_lock(&flow->lock);
	take_headers(flow, headers, count);
	flow->status = status;
	flow->streams = true;
	flow->stream_len = len;
	flow->replied = true;
	if (!flow->left)
		wake_request(flow);
	pthread_mutex_unlock(&flow->lock);
}

void admin_reply_source(struct admin_visit *visit, const char *content_type, const struct admin_source *source)
{
	const struct http_header headers[] = {
		{"Content-Type", content_type}, {"Cache-Control", "no-store"}, {"X-Content-Type-Options", "nosniff"}};

	visit->flow->source = *source;
	admin_reply_stream(visit, 200, headers, sizeof(headers) / sizeof(headers[0]), HTTP_LENGTH_UNKNOWN);
}

void admin_wake(struct admin_visit *visit)
{
	pthread_mutex_lock(&visit->flow->lock);
	wake_request(visit->flow);
	pthread_mutex_unlock(&visit->flow->lock);
}

ssize_t admin_read(struct admin_visit *visit, void *data, size_t max)
{
	struct visit_flow *flow = visit->flow;
	ssize_t got;

	pthread_mutex_lock(&flow->lock);
	while (flow->in.len == 0 && !flow->all_there && !flow->left)
		pthread_cond_wait(&flow->moved, &flow->lock);
	got = flow->left ? ERR_CANCELLED : (ssize_t)pipe_get(&flow->in, data, max);
	/* Between the body's last byte and the reply it is handle() that waits, and not for room. */
	if (got > 0 && !flow->all_there)
		wake_request(flow);
	pthread_mutex_unlock(&flow->lock);
	return got;
}

int admin_write(struct admin_visit *visit, const void *data, size_t len)
{
	struct visit_flow *flow = visit->flow;
	bool left;

	pthread_mutex_lock(&flow->lock);
	assert(flow->streams);
	while (len > 0 && !flow->left) {
		size_t put = pipe_put(&flow->out, data, len);

		data = (const char *)data + put;
		len -= put;
		if (put > 0)
			wake_request(flow);
		else
			pthread_cond_wait(&flow->moved, &flow->lock);
	}
	left = flow->left;
	pthread_mutex_unlock(&flow->lock);
	return left ? ERR_CANCELLED : 0;
}

bool admin_has_ended(struct admin_visit *visit)
{
	bool left;

	pthread_mutex_lock(&visit->flow->lock);
	left = visit->flow->left;
	pthread_mutex_unlock(&visit->flow->lock);
	return left;
}

void admin_cut(struct admin_visit *visit)
{
	pthread_mutex_lock(&visit->flow->lock);
	visit->flow->cut = true;
	pthread_mutex_unlock(&visit->flow->lock);
}
