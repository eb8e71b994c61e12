/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/config.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "server/cli/config_keys.h"
#include "server/cli/config_text.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <string.h>
#include <strings.h>

#define SYSTEM_CONFIG "/etc/larder/larder.yaml"
#define SYSTEM_STORE  "/var/lib/larder"

static const struct {
	const char *name;
	const char *url;
	const char *aliases[2];
} built_in[] = {
	{"docker.io", "https://registry-1.docker.io", {"index.docker.io", "registry-1.docker.io"}},
	{"quay.io", "https://quay.io", {NULL}},
	{"ghcr.io", "https://ghcr.io", {NULL}},
	{"gcr.io", "https://gcr.io", {NULL}},
	{"registry.k8s.io", "https://registry.k8s.io", {NULL}},
	{"mcr.microsoft.com", "https://mcr.microsoft.com", {NULL}},
	{"public.ecr.aws", "https://public.ecr.aws", {NULL}},
};

/* XDG Base Directory Specification: a path that is not absolute is to be ignored. */
static char *standard_store_path(void)
{
	if (geteuid() == 0)
		return mem_strdup(SYSTEM_STORE);
	const char *data = getenv("XDG_DATA_HOME");
	if (data && data[0] == '/' && text_is_plain(data))
		return mem_printf("%s/larder", data);
	const char *home = getenv("HOME");
	if (!home || home[0] != '/') {
		const struct passwd *user = getpwuid(geteuid());
		home = user ? user->pw_dir : NULL;
	}
	if (!home || home[0] != '/' || !text_is_plain(home))
		return mem_strdup(SYSTEM_STORE);
	return mem_printf("%s/.local/share/larder", home);
}

static void set_known(const struct config_key *keys, const char *name, void *base, const char *text)
{
	const struct config_key *key = config_key_find(keys, name);
	assert(key);
	int code = config_key_set(key, base, text, NULL);
	assert(code == 0);
	(void)code;
}

struct config_upstream *config_add_upstream(struct config *config, const char *name)
{
	if (config->upstream_count == CONFIG_UPSTREAMS_MAX)
		return NULL;
	config->upstreams = mem_realloc(config->upstreams, (config->upstream_count + 1) * sizeof(*config->upstreams));
	struct config_upstream *upstream = &config->upstreams[config->upstream_count++];
	memset(upstream, 0, sizeof(*upstream));
	upstream->name = mem_strdup(name);
	config_keys_set_standard(config_upstream_keys, upstream);
	return upstream;
}

struct config_prefetch *config_add_prefetch(struct config *config)
{
	if (config->prefetch_count == CONFIG_PREFETCH_MAX)
		return NULL;
	config->prefetches =
		mem_realloc(config->prefetches, (config->prefetch_count + 1) * sizeof(*config->prefetches));
	struct config_prefetch *prefetch = &config->prefetches[config->prefetch_count++];
	memset(prefetch, 0, sizeof(*prefetch));
	config_keys_set_standard(config_prefetch_keys, prefetch);
	return prefetch;
}

struct config *config_default(void)
{
	struct config *config = mem_alloc(sizeof(*config));
	config_keys_set_standard(config_keys, config);
	config->store.path = standard_store_path();
	for (size_t i = 0; i < sizeof(built_in) / sizeof(built_in[0]); i++) {
		struct config_upstream *upstream = config_add_upstream(config, built_in[i].name);
		set_known(config_upstream_keys, "url", upstream, built_in[i].url);
		for (size_t j = 0; j < 2 && built_in[i].aliases[j]; j++)
			set_known(config_upstream_keys, "aliases", upstream, built_in[i].aliases[j]);
	}
	return config;
}

void config_free(struct config *config)
{
	if (!config)
		return;
	for (size_t i = 0; i < config->upstream_count; i++) {
		struct config_upstream *upstream = &config->upstreams[i];
		config_keys_dispose(config_upstream_keys, upstream);
		if (upstream->password)
			explicit_bzero(upstream->password, strlen(upstream->password));
		free(upstream->password);
		free(upstream->name);
	}
	free(config->upstreams);
	for (size_t i = 0; i < config->prefetch_count; i++)
		config_keys_dispose(config_prefetch_keys, &config->prefetches[i]);
	free(config->prefetches);
	config_keys_dispose(config_keys, config);
	free(config);
}

const char *config_default_path(void)
{
	const char *path = getenv("LARDER_CONFIG");
	if (path && *path)
		return path;
	return access(SYSTEM_CONFIG, F_OK) == 0 ? SYSTEM_CONFIG : NULL;
}

struct config_upstream *config_upstream_named(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->upstream_count; i++) {
		if (!strcasecmp(config->upstreams[i].name, name))
			return &config->upstreams[i];
	}
	return NULL;
}

struct config_upstream *config_find_upstream(const struct config *config, const char *name)
{
	struct config_upstream *named = config_upstream_named(config, name);
	if (named)
		return named;
	for (size_t i = 0; i < config->upstream_count; i++) {
		const struct config_list *aliases = &config->upstreams[i].aliases;
		for (size_t j = 0; j < aliases->count; j++) {
			if (!strcasecmp(aliases->items[j], name))
				return &config->upstreams[i];
		}
	}
	return NULL;
}

/* Follows "store.path" through the maps; NULL when it leads to nothing that takes a value. */
static const struct config_key *find_by_path(const char *path)
{
	const struct config_key *keys = config_keys;
	const char *dot = NULL;
	while ((dot = strchr(path, '.'))) {
		_cleanup_free_ char *name = mem_strndup(path, (size_t)(dot - path));
		const struct config_key *map = config_key_find(keys, name);
		if (!map || map->kind != CONFIG_MAP)
			return NULL;
		keys = map->children;
		path = dot + 1;
	}
	const struct config_key *key = config_key_find(keys, path);
	return key && key->kind != CONFIG_MAP && key->kind != CONFIG_UPSTREAMS && key->kind != CONFIG_LISTS &&
			       key->kind != CONFIG_PREFETCH
		       ? key
		       : NULL;
}

/* Sets a list from values, or leaves it as it was. */
static int set_list(const struct config_key *known, struct config *config, const char *const *values, size_t count,
		    struct err *err)
{
	struct config_list *field = config_key_field(known, config);
	struct config_list old = *field;
	*field = (struct config_list){0};
	int code = 0;
	for (size_t i = 0; i < count && !code; i++)
		code = config_key_set(known, config, values[i], err);
	if (code) {
		config_list_clear(field);
		*field = old;
	} else {
		config_list_clear(&old);
	}
	return code;
}

int config_set(struct config *config, const char *key, const char *const *values, size_t count, struct err *err)
{
	char shown[TEXT_SHOWN_MAX];
	struct err why = {0};
	const struct config_key *known = find_by_path(key);
	if (!known)
		return err_set(err, ERR_INVALID, "%s: there is no such key", text_show(key, shown));
	bool list = known->kind == CONFIG_LIST;
	if (count < (list ? known->min : 1) || (!list && count > 1))
		return err_set(err, ERR_INVALID, "%s: takes %s", key, list ? "at least one value" : "one value");
	int code = list ? set_list(known, config, values, count, &why) : config_key_set(known, config, values[0], &why);
	return code ? err_set(err, code, "%s: %s", key, why.text) : 0;
}

/* The host[:port] of a URL as it is written. */
static char *url_authority(const char *url)
{
	const char *start = strstr(url, "://");
	start = start ? start + strlen("://") : url;
	return mem_strndup(start, strcspn(start, "/?#"));
}

int config_set_upstream(struct config *config, const char *argument, bool make_default, struct err *err)
{
	char shown[TEXT_SHOWN_MAX];
	const char *why = NULL;
	const char *equals = strncasecmp(argument, "http://", 7) && strncasecmp(argument, "https://", 8)
				     ? strchr(argument, '=')
				     : NULL;
	_cleanup_free_ char *url = config_take_url(equals ? equals + 1 : argument, &why);
	if (!url)
		return err_set(err, ERR_INVALID, "upstream: '%s' %s", text_show(equals ? equals + 1 : argument, shown),
			       why);
	_cleanup_free_ char *written = equals ? mem_strndup(argument, (size_t)(equals - argument)) : url_authority(url);
	_cleanup_free_ char *name = config_take_name(written, &why);
	if (!name)
		return err_set(err, ERR_INVALID, "upstream: '%s' %s", text_show(written, shown), why);
	/* An alias means the upstream that has it: https://registry-1.docker.io is docker.io. */
	struct config_upstream *upstream = config_find_upstream(config, name);
	if (!upstream)
		upstream = config_add_upstream(config, name);
	if (!upstream)
		return err_set(err, ERR_INVALID, "upstream: too many; up to %d are taken", CONFIG_UPSTREAMS_MAX);
	free(upstream->url);
	upstream->url = take_pointer(url);
	if (make_default) {
		free(config->default_upstream);
		config->default_upstream = mem_strdup(upstream->name);
	}
	return 0;
}

static void keep_first_problem(void *context, const char *path, const char *text)
{
	struct err *first = context;
	if (!first->code)
		err_set(first, ERR_INVALID, "%s: %s", path, text);
}

int config_validate(const struct config *config, struct err *err)
{
	struct err first = {0};
	config_check(config, keep_first_problem, &first);
	return first.code ? err_set(err, first.code, "%s", first.text) : 0;
}

int config_parse(const char *name, const char *text, size_t len, struct config **config, struct err *err)
{
	_cleanup_free_ struct config_problems *problems = mem_alloc(sizeof(*problems));
	int code = config_parse_all(name, text, len, NULL, config, problems);
	return code ? err_set(err, code, "%s", problems->items[0].text) : 0;
}

static int read_file(const char *path, struct buf *text, struct err *err)
{
	char block[16384];
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	ssize_t got = fd < 0 ? -1 : 1;
	while (got > 0) {
		got = read(fd, block, sizeof(block));
		if (got < 0 && errno == EINTR)
			got = 1;
		else if (got > 0 && buf_append(text, block, (size_t)got))
			return err_set(err, ERR_LIMIT, "%s: is larger than %zu bytes", path, CONFIG_FILE_MAX);
	}
	int code = errno;
	return got < 0 ? err_set_errno(err, ERR_IO, code, "%s: cannot be read", path) : 0;
}

int config_read_all(const char *path, config_look_fn *look, struct config **config, struct config_problems *problems)
{
	_cleanup_(buf_dispose) struct buf text = {.max = CONFIG_FILE_MAX};
	*config = NULL;
	problems->count = 0;
	int code = read_file(path, &text, &problems->items[0]);
	if (code) {
		problems->count = 1;
		return code;
	}
	return config_parse_all(path, text.data ? text.data : "", text.len, look, config, problems);
}

int config_read(const char *path, struct config **config, struct err *err)
{
	_cleanup_free_ struct config_problems *problems = mem_alloc(sizeof(*problems));
	int code = config_read_all(path, NULL, config, problems);
	return code ? err_set(err, code, "%s", problems->items[0].text) : 0;
}
