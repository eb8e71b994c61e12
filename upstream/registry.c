/* SPDX-License-Identifier: Apache-2.0 */
#include "upstream/registry_internal.h"

#include "upstream/complaint.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define REST_LOOK_MS 1000

/* The first is the registry itself. A mirror gets credentials of its own, or none. */
static void endpoint_init(struct registry *registry, size_t nth, const char *url,
			  const struct registry_options *options)
{
	struct endpoint *endpoint = &registry->endpoints[nth];
	struct tokens_options tokens = {.upstream_name = options->name, .docker_config = options->docker_config};
	size_t len = strlen(url);
	int invalid;

	while (len > 0 && url[len - 1] == '/')
		len--;
	endpoint->base = mem_strndup(url, len);
	invalid = url_parse(endpoint->base, &endpoint->url);
	assert(!invalid); /* the configuration was checked */
	endpoint->ground = url_host_ground(endpoint->url.host);
	tokens.upstream_url = endpoint->base;
	if (nth == 0) {
		tokens.username = options->username;
		tokens.password = options->password;
		tokens.services = options->token_services;
		tokens.service_count = options->token_service_count;
	}
	endpoint->tokens = tokens_new(registry->loop, registry->pool, &tokens);
}

struct registry *registry_new(struct loop *loop, const struct registry_options *options)
{
	struct registry *registry = mem_alloc(sizeof(*registry));
	struct fetch_pool_options pool = {
		.max_connections = options->max_connections,
		.connect_timeout_ms = options->connect_timeout_ms,
		.idle_timeout_ms = options->idle_timeout_ms,
		.ca = options->ca,
		.insecure = options->insecure,
		.client_cert = options->client_cert,
		.client_key = options->client_key,
		.proxy = options->proxy,
	};
	struct pace_options pace = {.rate = options->rate_limit, .window_max = options->max_connections};

	registry->loop = loop;
	registry->name = mem_strdup(options->name);
	pthread_mutex_init(&registry->counts.lock, NULL);
	registry->retries = options->retries;
	registry->clients_decide = options->clients_decide;
	registry->max_connections = options->max_connections;
	registry->limits = options->transfer_limits ? *options->transfer_limits : TRANSFER_LIMITS_STANDARD;
	registry->pool = fetch_pool_new(loop, &pool);
	registry->pace = pace_new(loop, &pace);
	registry->endpoint_count = 1 + options->mirror_count;
	registry->endpoints = mem_alloc(registry->endpoint_count * sizeof(*registry->endpoints));
	endpoint_init(registry, 0, options->url, options);
	for (size_t i = 0; i < options->mirror_count; i++)
		endpoint_init(registry, 1 + i, options->mirrors[i], options);
	return registry;
}

static void on_rest_timer(struct loop_timer *timer)
{
	struct registry *registry = (struct registry *)((char *)timer - offsetof(struct registry, rest_timer));

	if (registry->calls || !fetch_pool_rest(registry->pool))
		loop_timer_set(registry->loop, timer, REST_LOOK_MS);
}

static void retire_on_loop(void *arg)
{
	struct registry *registry = arg;

	registry->retired = true;
	registry->rest_timer.run = on_rest_timer;
	loop_timer_set(registry->loop, &registry->rest_timer, REST_LOOK_MS);
}

void registry_retire(struct registry *registry)
{
	loop_run(registry->loop, retire_on_loop, registry);
}

static void close_on_loop(void *arg)
{
	struct registry *registry = arg;
	struct err err;

	registry->closed = true;
	err_set(&err, ERR_CANCELLED, "larder is shutting down");
	while (registry->calls)
		call_end(registry->calls, &err);
}

void registry_close(struct registry *registry)
{
	loop_run(registry->loop, close_on_loop, registry);
}

static void free_on_loop(void *arg)
{
	struct registry *registry = arg;

	assert(!registry->calls);
	loop_timer_clear(registry->loop, &registry->rest_timer);
	for (size_t i = 0; i < registry->endpoint_count; i++) {
		tokens_free(registry->endpoints[i].tokens);
		free(registry->endpoints[i].base);
	}
	pace_free(registry->pace);
	fetch_pool_free(registry->pool);
	pthread_mutex_destroy(&registry->counts.lock);
	free(registry->endpoints);
	free(registry->name);
	free(registry);
}

void registry_free(struct registry *registry)
{
	if (registry)
		loop_run(registry->loop, free_on_loop, registry);
}

const char *registry_name(const struct registry *registry)
{
	return registry->name;
}

/* Calls. */

/* Larder's own work, where it has no way in. */
static bool nobody_asks(const struct registry_call *call)
{
	return call->registry->clients_decide && !call->query.login && call->query.kind != REGISTRY_PING &&
	       !tokens_have_credentials(call->registry->endpoints[0].tokens);
}

static void start_task(struct loop_task *task)
{
	struct registry_call *call =
		(struct registry_call *)((char *)task - offsetof(struct registry_call, start_task));

	struct err err;

	DL_APPEND(call->registry->calls, call);
	if (call->registry->retired)
		loop_timer_set(call->registry->loop, &call->registry->rest_timer, REST_LOOK_MS);
	if (call->registry->closed) {
		err_set(&err, ERR_CANCELLED, "larder is shutting down");
		call_end(call, &err);
	} else if (nobody_asks(call)) {
		err_set(&err, ERR_DENIED, "%s lets its clients' credentials decide, and larder has none of its own",
			call->registry->name);
		call_end(call, &err);
	} else {
		call_begin(call);
	}
}

struct registry_call *registry_call(struct registry *registry, const struct registry_query *query,
				    const struct registry_sink *sink, void *arg)
{
	struct registry_call *call = mem_alloc(sizeof(*call));

	call->registry = registry;
	call->sink = sink;
	call->arg = arg;
	call->query = *query;
	call->query.repository = call->repository = mem_strdup(query->repository);
	call->query.reference = call->reference = mem_strdup(query->reference);
	call->query.accept = call->accept = mem_strdup(query->accept);
	call->offset = query->offset;
	call->etag = mem_strdup(query->etag);
	call->query.etag = NULL;
	call->size = REGISTRY_LENGTH_UNKNOWN;
	call->refusal.max = COMPLAINT_MAX;
	call->query.login = client_login_hold(query->login);
	call->scope = query->repository[0] ? mem_printf("repository:%s:pull", query->repository) : mem_strdup("");
	call->permit.priority = query->priority;
	call->start_task.run = start_task;
	loop_post(registry->loop, &call->start_task);
	return call;
}

static void cancel_task(struct loop_task *task)
{
	struct registry_call *call =
		(struct registry_call *)((char *)task - offsetof(struct registry_call, cancel_task));
	struct err err;

	if (call->state == CALL_DONE) {
		/* It ended by itself while this task waited, and left its memory to us. */
		free(call);
		return;
	}
	call->cancel_wanted = false;
	err_set(&err, ERR_CANCELLED, "given up");
	call_end(call, &err);
}

void registry_call_cancel(struct registry_call *call)
{
	if (__atomic_exchange_n(&call->cancel_wanted, true, __ATOMIC_ACQ_REL))
		return;
	call->cancel_task.run = cancel_task;
	loop_post(call->registry->loop, &call->cancel_task);
}

struct raise {
	struct loop_task task;
	struct registry *registry;
	const void *arg; /* only compared: what it names may be gone */
};

static void raise_task(struct loop_task *task)
{
	struct raise *raise = (struct raise *)task;
	struct registry_call *call;

	DL_FOREACH (raise->registry->calls, call)
		if (call->arg == raise->arg)
			pace_raise(raise->registry->pace, &call->permit);
	free(raise);
}

void registry_raise(struct registry *registry, const void *arg)
{
	struct raise *raise = mem_alloc(sizeof(*raise));

	raise->task.run = raise_task;
	raise->registry = registry;
	raise->arg = arg;
	loop_post(registry->loop, &raise->task);
}
