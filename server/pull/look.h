/* SPDX-License-Identifier: Apache-2.0 */
/* What an operator may look at: nothing here asks an upstream or changes anything. Any thread. */
#pragma once

#include "server/pull/pull.h"

#define PULL_SIZE_UNKNOWN UINT64_MAX

bool pull_is_offline(const struct pull *pull);

/* The configured upstreams, in the order of the configuration, as they are now. Borrowed until pull_free(). */
struct pull_upstream *const *pull_upstreams(const struct pull *pull, size_t *count);
/* It kept a question waiting for so long that nobody is made to wait for it (health.h). */
bool pull_upstream_is_ailing(const struct pull_upstream *upstream);
void pull_upstream_stats(const struct pull_upstream *upstream, struct registry_stats *stats);

/* All bytes of bodies that came from upstreams since the start, those that are not configured any more included. */
uint64_t pull_fetched_bytes(const struct pull *pull);

/* A transfer under way. Borrowed during the call. */
struct pull_flight {
	const char *upstream;
	const char *repository;
	struct digest digest;
	uint64_t size; /* PULL_SIZE_UNKNOWN until the upstream told */
	uint64_t held; /* bytes that are there */
};

/* `each` is called under a lock: it takes down what it sees and returns. */
void pull_list_flights(struct pull *pull, void (*each)(void *arg, const struct pull_flight *flight), void *arg);
size_t pull_flight_count(struct pull *pull);
