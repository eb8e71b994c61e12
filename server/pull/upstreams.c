/* SPDX-License-Identifier: Apache-2.0 */
/* The upstreams, by name; and others in their place while larder runs. */
#include "server/pull/pull_internal.h"

#include "base/buf.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

/* One upstream. */

static const char *const *list_copy(const char *const *items, size_t count)
{
	char **copy = count ? mem_alloc(count * sizeof(*copy)) : NULL;

	for (size_t i = 0; i < count; i++)
		copy[i] = mem_strdup(items[i]);
	return (const char *const *)copy;
}

static void list_free(const char *const *items, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free((void *)(uintptr_t)items[i]);
	free((void *)(uintptr_t)items);
}

/* Texts with their lengths in front, so that no two settings read the same. */
static void note_text(struct buf *notes, const char *text)
{
	buf_printf(notes, "%zu:%s;", text ? strlen(text) + 1 : 0, text ? text : "");
}

static void note_list(struct buf *notes, const char *const *items, size_t count)
{
	buf_printf(notes, "%zu[", count);
	for (size_t i = 0; i < count; i++)
		note_text(notes, items[i]);
}

/* Which version of a file it is: certificates are renewed under their old names. */
static void note_file(struct buf *notes, const char *path)
{
	struct stat file;

	note_text(notes, path);
	if (path && stat(path, &file) == 0)
		buf_printf(notes, "%lld.%09ld %lld;", (long long)file.st_mtim.tv_sec, file.st_mtim.tv_nsec,
			   (long long)file.st_size);
}

/* A digest of everything that can be configured: the secrets among it need not be kept to see whether they changed. */
static struct digest settings_of(const struct pull_upstream_options *options)
{
	const struct registry_options *registry = &options->registry;
	const char *const texts[] = {registry->name, registry->url, registry->username, registry->password,
				     registry->proxy};
	const char *const files[] = {registry->docker_config, registry->ca, registry->client_cert,
				     registry->client_key};
	struct buf notes = {0};
	struct digest digest;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		note_text(&notes, texts[i]);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		note_file(&notes, files[i]);
	note_list(&notes, registry->mirrors, registry->mirror_count);
	note_list(&notes, registry->token_services, registry->token_service_count);
	note_list(&notes, options->aliases, options->alias_count);
	note_list(&notes, options->immutable_tags, options->immutable_tag_count);
	note_list(&notes, options->allow, options->allow_count);
	note_list(&notes, options->deny, options->deny_count);
	buf_printf(&notes, "%d %" PRIu64 " %" PRIu64 ";", registry->clients_decide, options->auth_ttl_ms,
		   options->auth_grace_ms);
	buf_printf(&notes, "%d %" PRIu64 "/%" PRIu64 " %u %u %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64,
		   registry->insecure, registry->rate_limit.events, registry->rate_limit.period_ms,
		   registry->max_connections, registry->retries, registry->connect_timeout_ms,
		   registry->idle_timeout_ms, options->tag_ttl_ms, options->stale_for_ms, options->missing_ttl_ms);
	digest_of(DIGEST_SHA256, notes.data, notes.len, &digest);
	explicit_bzero(notes.data, notes.len);
	buf_dispose(&notes);
	return digest;
}

static struct pull_upstream *upstream_new(struct pull *pull, const struct pull_upstream_options *options,
					  const struct digest *settings)
{
	struct pull_upstream *upstream = mem_alloc(sizeof(*upstream));

	upstream->pull = pull;
	upstream->settings = *settings;
	upstream->name = mem_strdup(options->registry.name);
	upstream->options = *options;
	upstream->options.registry = (struct registry_options){0}; /* its strings are the caller's */
	upstream->options.aliases = list_copy(options->aliases, options->alias_count);
	upstream->options.immutable_tags = list_copy(options->immutable_tags, options->immutable_tag_count);
	upstream->options.allow = list_copy(options->allow, options->allow_count);
	upstream->options.deny = list_copy(options->deny, options->deny_count);
	upstream->permits = options->registry.clients_decide ? permits_new() : NULL;
	upstream->has_credentials = options->registry.username || options->registry.docker_config;
	upstream->registry = registry_new(pull->loop, &options->registry);
	upstream->older = pull->all_upstreams;
	__atomic_store_n(&pull->all_upstreams, upstream, __ATOMIC_RELEASE);
	return upstream;
}

static void upstream_free(struct pull_upstream *upstream)
{
	registry_free(upstream->registry);
	permits_free(upstream->permits);
	list_free(upstream->options.aliases, upstream->options.alias_count);
	list_free(upstream->options.immutable_tags, upstream->options.immutable_tag_count);
	list_free(upstream->options.allow, upstream->options.allow_count);
	list_free(upstream->options.deny, upstream->options.deny_count);
	free(upstream->name);
	free(upstream);
}

/* Finding. */

const struct upstreams *upstreams_now(const struct pull *pull)
{
	return __atomic_load_n(&pull->upstreams, __ATOMIC_ACQUIRE);
}

/* Both only grow, so their sum tells of each change. */
uint64_t pull_generation(const struct pull *pull)
{
	return index_generation(pull->index) + __atomic_load_n(&pull->reconfigured, __ATOMIC_ACQUIRE);
}

static bool name_is(const char *candidate, const char *name, size_t len)
{
	return strlen(candidate) == len && strncasecmp(candidate, name, len) == 0;
}

static struct pull_upstream *find(const struct upstreams *upstreams, const char *name, size_t len)
{
	for (size_t i = 0; i < upstreams->count; i++) {
		struct pull_upstream *upstream = upstreams->items[i];

		if (name_is(upstream->name, name, len))
			return upstream;
		for (size_t k = 0; k < upstream->options.alias_count; k++)
			if (name_is(upstream->options.aliases[k], name, len))
				return upstream;
	}
	return NULL;
}

struct pull_upstream *pull_find_upstream(struct pull *pull, const char *name, size_t len)
{
	return find(upstreams_now(pull), name, len);
}

struct pull_upstream *pull_default_upstream(struct pull *pull)
{
	return upstreams_now(pull)->standard;
}

const char *pull_upstream_name(const struct pull_upstream *upstream)
{
	return upstream->name;
}

bool pull_upstream_allows(const struct pull_upstream *upstream, const char *repository)
{
	const struct pull_upstream_options *options = &upstream->options;

	if (pull_glob_matches(options->deny, options->deny_count, repository))
		return false;
	return options->allow_count == 0 || pull_glob_matches(options->allow, options->allow_count, repository);
}

bool pull_is_dear(const struct pull *pull, const char *upstream, const char *repository)
{
	const struct pull_upstream *found = find(upstreams_now(pull), upstream, strlen(upstream));
	struct registry_stats stats;

	if (!found || !pull_upstream_allows(found, repository) || health_is_ailing(found))
		return true;
	registry_stats(found->registry, &stats);
	return stats.failed > stats.answered || stats.pace.gate_ms > 0 || stats.pace.budget_short;
}

/* All of them. */

/* One in force that is configured just so. */
static struct pull_upstream *find_same(const struct upstreams *upstreams, const struct digest *settings)
{
	for (size_t i = 0; upstreams && i < upstreams->count; i++)
		if (digest_equal(&upstreams->items[i]->settings, settings))
			return upstreams->items[i];
	return NULL;
}

static bool is_among(const struct upstreams *upstreams, const struct pull_upstream *upstream)
{
	for (size_t i = 0; i < upstreams->count; i++)
		if (upstreams->items[i] == upstream)
			return true;
	return false;
}

size_t pull_set_upstreams(struct pull *pull, const struct pull_options *options)
{
	struct upstreams *before = pull->upstreams, *now = mem_alloc(sizeof(*now));
	size_t changed = 0;

	now->count = options->upstream_count;
	now->items = mem_alloc(now->count * sizeof(struct pull_upstream *));
	for (size_t i = 0; i < now->count; i++) {
		struct digest settings = settings_of(&options->upstreams[i]);

		now->items[i] = find_same(before, &settings);
		if (now->items[i])
			continue;
		now->items[i] = upstream_new(pull, &options->upstreams[i], &settings);
		changed++;
	}
	now->standard = find(now, options->default_upstream, strlen(options->default_upstream));
	assert(now->standard); /* the configuration was checked */
	now->older = before;
	__atomic_store_n(&pull->upstreams, now, __ATOMIC_RELEASE);
	__atomic_add_fetch(&pull->reconfigured, 1, __ATOMIC_RELEASE);
	/* Nobody waits for the health of one that is not configured any more. Whoever has it may still ask it. */
	for (size_t i = 0; before && i < before->count; i++) {
		if (is_among(now, before->items[i]))
			continue;
		health_stop(before->items[i]);
		registry_retire(before->items[i]->registry);
	}
	return changed;
}

void upstreams_close(struct pull *pull)
{
	for (struct pull_upstream *upstream = pull->all_upstreams; upstream; upstream = upstream->older)
		registry_close(upstream->registry);
	for (struct pull_upstream *upstream = pull->all_upstreams; upstream; upstream = upstream->older)
		health_stop(upstream);
}

void upstreams_dispose(struct pull *pull)
{
	while (pull->all_upstreams) {
		struct pull_upstream *upstream = pull->all_upstreams;

		pull->all_upstreams = upstream->older;
		upstream_free(upstream);
	}
	while (pull->upstreams) {
		struct upstreams *upstreams = pull->upstreams;

		pull->upstreams = upstreams->older;
		free(upstreams->items);
		free(upstreams);
	}
}
