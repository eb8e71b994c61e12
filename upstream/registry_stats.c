/* SPDX-License-Identifier: Apache-2.0 */
/* How an upstream does, for those who watch. */
#include "upstream/registry_internal.h"

#include "base/clock.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const kind_names[REGISTRY_KINDS] = {
	[REGISTRY_MANIFEST] = "manifest",   [REGISTRY_BLOB] = "blob", [REGISTRY_TAGS] = "tags",
	[REGISTRY_REFERRERS] = "referrers", [REGISTRY_PING] = "ping", [REGISTRY_RAW] = "other",
	[REGISTRY_TOKEN] = "token",
};
_Static_assert(REGISTRY_KINDS <= FETCH_KINDS, "every kind is counted");

static const char *const retry_names[REGISTRY_RETRIES] = {
	[REGISTRY_RETRY_CONNECT] = "connect",
	[REGISTRY_RETRY_TLS] = "tls",
	[REGISTRY_RETRY_CUT] = "cut",
	[REGISTRY_RETRY_STALLED] = "stalled",
	[REGISTRY_RETRY_PROTOCOL] = "protocol",
	[REGISTRY_RETRY_HTTP2] = "http2",
	[REGISTRY_RETRY_RATE_LIMITED] = "rate_limited",
	[REGISTRY_RETRY_SERVER_ERROR] = "server_error",
	[REGISTRY_RETRY_TOKEN] = "token",
	[REGISTRY_RETRY_REDIRECT] = "redirect",
	[REGISTRY_RETRY_CHANGED] = "changed",
};

const char *registry_kind_name(unsigned kind)
{
	return kind_names[kind];
}

const char *registry_retry_name(enum registry_retry reason)
{
	return retry_names[reason];
}

static void set(uint64_t *counter, uint64_t value)
{
	__atomic_store_n(counter, value, __ATOMIC_RELAXED);
}

void registry_note_answer(struct registry *registry)
{
	set(&registry->counts.answered, (uint64_t)clock_wall_ms());
}

void registry_note_failure(struct registry *registry, const struct err *err)
{
	struct registry_counts *counts = &registry->counts;

	set(&counts->failed, (uint64_t)clock_wall_ms());
	pthread_mutex_lock(&counts->lock);
	memcpy(counts->why, err->text, sizeof(counts->why));
	pthread_mutex_unlock(&counts->lock);
}

/* "97;w=21600", "97", "97, 97;w=60": the first number, and the window in seconds where it is said. */
static bool budget_parse(const char *text, uint64_t *value, uint64_t *window_s)
{
	const char *window;
	char *end;

	if (!text || !isdigit((unsigned char)*text))
		return false;
	*value = strtoull(text, &end, 10);
	window = strstr(end, "w=");
	*window_s = window && isdigit((unsigned char)window[2]) ? strtoull(window + 2, NULL, 10) : 0;
	return *end == '\0' || *end == ';' || *end == ',' || *end == ' ';
}

void registry_note_budget(struct registry *registry, const struct fetch *fetch)
{
	static const struct {
		const char *remaining, *limit;
	} names[] = {{"RateLimit-Remaining", "RateLimit-Limit"}, {"X-RateLimit-Remaining", "X-RateLimit-Limit"}};
	struct registry_counts *counts = &registry->counts;
	uint64_t remaining, limit, window_s, ignored;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!budget_parse(fetch_header(fetch, names[i].remaining), &remaining, &window_s))
			continue;
		set(&counts->budget_remaining, remaining);
		set(&counts->budget_window_s, window_s);
		if (budget_parse(fetch_header(fetch, names[i].limit), &limit, &ignored))
			set(&counts->budget_limit, limit);
		else
			limit = 0;
		pace_note_budget(registry->pace, remaining, limit, window_s);
		set(&counts->budget_said, (uint64_t)clock_wall_ms());
		return;
	}
}

void registry_stats(struct registry *registry, struct registry_stats *stats)
{
	struct registry_counts *counts = &registry->counts;

	stats->fetch = fetch_pool_stats(registry->pool);
	for (size_t i = 0; i < REGISTRY_RETRIES; i++)
		stats->retries[i] = count_read(&counts->retries[i]);
	stats->http2_fallbacks = count_read(&counts->http2_fallbacks);
	stats->budget_remaining = count_read(&counts->budget_remaining);
	stats->budget_limit = count_read(&counts->budget_limit);
	stats->budget_window_s = count_read(&counts->budget_window_s);
	stats->budget_said = (int64_t)count_read(&counts->budget_said);
	stats->budget_known = stats->budget_said > 0;
	stats->answered = (int64_t)count_read(&counts->answered);
	stats->failed = (int64_t)count_read(&counts->failed);
	pthread_mutex_lock(&counts->lock);
	memcpy(stats->why, counts->why, sizeof(stats->why));
	pthread_mutex_unlock(&counts->lock);
	stats->pace = pace_state(registry->pace);
}

bool registry_is_gated(const struct registry *registry)
{
	return pace_state(registry->pace).gate_ms > 0;
}
