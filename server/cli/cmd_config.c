/* SPDX-License-Identifier: Apache-2.0 */
/* `larder config check|show|keys`. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "server/cli/command.h"
#include "server/cli/config.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static void free_config(struct config **config)
{
	config_free(*config);
}

/* Loads what `serve` would run with. On error says every problem. */
static struct config *load(const char *path)
{
	if (!path)
		return config_default();
	struct config *config = NULL;
	_cleanup_free_ struct config_problems *problems = mem_alloc(sizeof(*problems));
	if (config_read_all(path, &config, problems) == 0)
		return config;
	for (size_t i = 0; i < problems->count; i++)
		fprintf(stderr, "%s\n", problems->items[i].text);
	if (problems->count == CONFIG_PROBLEMS_MAX)
		fprintf(stderr, "%s: there may be more\n", path);
	return NULL;
}

int cmd_config(const struct command_line *line)
{
	const char *action = line->arguments[0];
	bool check = !strcmp(action, "check"), show = !strcmp(action, "show"), keys = !strcmp(action, "keys");
	if (command_has(line, "json") && !show)
		return command_usage_error("config", "--json goes with show");
	if (command_has(line, "markdown") && !keys)
		return command_usage_error("config", "--markdown goes with keys");
	if (keys) {
		config_print_keys(stdout, command_has(line, "markdown"));
		return EXIT_DONE;
	}
	const char *path = command_value(line, "config") ? command_value(line, "config") : config_default_path();
	_cleanup_(free_config) struct config *config = load(path);
	if (!config)
		return EXIT_CONFIG;
	if (check)
		printf("%s: ok\n", path ? path : "built-in configuration");
	else if (command_has(line, "json"))
		config_print_json(config, stdout);
	else
		config_print(config, stdout);
	return EXIT_DONE;
}
