/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/serve_config.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "server/cli/command.h"
#include "server/cli/config.h"

#include <string.h>

#define PROBLEM_TEXT_MAX 190 /* leaves room for what is said behind it */

/* Options that stand for a key of the configuration, and override it. */
static const struct {
	const char *option;
	const char *key;
} overrides[] = {
	{"admin", "admin.listen"},  {"store", "store.path"},      {"max-size", "store.max_size"},
	{"log-level", "log.level"}, {"log-format", "log.format"}, {"checkpoint", "layers.checkpoint"},
};

static int apply_overrides(struct config *config, const struct command_line *line, struct err *err)
{
	static const char *const yes = "true";
	int code = 0;

	for (size_t i = 0; code == 0 && i < sizeof(overrides) / sizeof(overrides[0]); i++) {
		const char *value = command_value(line, overrides[i].option);

		if (value)
			code = config_set(config, overrides[i].key, &value, 1, err);
	}
	if (code == 0 && command_has(line, "offline"))
		code = config_set(config, "offline", &yes, 1, err);
	return code;
}

static int apply_options(struct config *config, const struct command_line *line, struct err *err)
{
	size_t listen_count, upstream_count;
	_cleanup_free_ const char **listen = command_values(line, "listen", &listen_count);
	_cleanup_free_ const char **upstreams = command_values(line, "upstream", &upstream_count);
	int code = apply_overrides(config, line, err);

	if (code == 0 && listen_count > 0)
		code = config_set(config, "listen", listen, listen_count, err);
	for (size_t i = 0; code == 0 && i < upstream_count; i++)
		code = config_set_upstream(config, upstreams[i], i == 0, err);
	return code ? code : config_validate(config, err);
}

const char *serve_config_path(const struct command_line *line)
{
	const char *path = command_value(line, "config");

	return path ? path : config_default_path();
}

/* As config_read(), and with what is in the files that it names; says of how many problems the one told is. */
static int read_whole(const char *path, struct config **config, struct err *err)
{
	_cleanup_free_ struct config_problems *problems = mem_alloc(sizeof(*problems));
	int code = config_read_all(path, config_inspect, config, problems);

	if (code && problems->count > 1)
		return err_set(err, code, "%.*s (one of %zu problems: see larder config check)", PROBLEM_TEXT_MAX,
			       problems->items[0].text, problems->count);
	return code ? err_set(err, code, "%s", problems->items[0].text) : 0;
}

int serve_config_make(const struct command_line *line, struct config **config, struct err *err)
{
	const char *path = serve_config_path(line);

	if (!path)
		*config = config_default();
	else if (read_whole(path, config, err))
		return EXIT_CONFIG;
	if (apply_options(*config, line, err) == 0)
		return EXIT_DONE;
	config_free(*config);
	*config = NULL;
	return EXIT_USAGE;
}

static bool text_differs(const char *a, const char *b)
{
	return (a || b) && (!a || !b || strcmp(a, b) != 0);
}

static bool list_differs(const struct config_list *a, const struct config_list *b)
{
	if (a->count != b->count)
		return true;
	for (size_t i = 0; i < a->count; i++)
		if (strcmp(a->items[i], b->items[i]) != 0)
			return true;
	return false;
}

static bool prefetches_differ(const struct config *a, const struct config *b)
{
	if (a->prefetch_count != b->prefetch_count)
		return true;
	for (size_t i = 0; i < a->prefetch_count; i++) {
		const struct config_prefetch *one = &a->prefetches[i], *other = &b->prefetches[i];

		if (one->every_ms != other->every_ms || one->referrers != other->referrers ||
		    text_differs(one->pin, other->pin) || list_differs(&one->images, &other->images) ||
		    list_differs(&one->platforms, &other->platforms))
			return true;
	}
	return false;
}

void serve_config_tell_fixed(const struct config *running, const struct config *wanted)
{
	const struct {
		const char *key;
		bool differs;
	} fixed[] = {
		{"listen", list_differs(&running->listen, &wanted->listen)},
		{"tls (whether there is any)", !running->tls.cert != !wanted->tls.cert},
		{"admin.listen", text_differs(running->admin.listen, wanted->admin.listen)},
		{"admin.token_file (whether there is any)", !running->admin.token_file != !wanted->admin.token_file},
		{"store.path", text_differs(running->store.path, wanted->store.path)},
		{"access.htpasswd (whether there is any)", !running->access.htpasswd != !wanted->access.htpasswd},
		{"layers", running->layers.index != wanted->layers.index ||
				   running->layers.checkpoint != wanted->layers.checkpoint},
		{"store.scrub_rate and scrub_every",
		 running->store.scrub_rate != wanted->store.scrub_rate ||
			 running->store.scrub_every_ms != wanted->store.scrub_every_ms},
		{"import.verify_key", text_differs(running->import.verify_key, wanted->import.verify_key)},
		{"prefetch", prefetches_differ(running, wanted)},
		{"log.format", running->log.format != wanted->log.format},
		{"offline", running->offline != wanted->offline},
		{"sandbox", running->sandbox != wanted->sandbox},
	};

	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		if (fixed[i].differs)
			log_warn("SIGHUP: %s changes with a restart alone", fixed[i].key);
}
