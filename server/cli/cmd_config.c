/* SPDX-License-Identifier: Apache-2.0 */
/* `larder config check|show|keys`. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "server/cli/command.h"
#include "server/cli/config.h"
#include "server/cli/show.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static void free_config(struct config **config)
{
	config_free(*config);
}

static void show_verdict(const struct config_problems *problems)
{
	json_t *list = json_array(), *document;
	for (size_t i = 0; i < problems->count; i++)
		json_array_append_new(list, json_string(problems->items[i].text));
	document = json_pack("{s:b, s:o}", "valid", problems->count == 0, "problems", list);
	show_json(document);
	json_decref(document);
}

/* Loads what `serve` would run with. Every problem is said, or is in the document. */
static struct config *load(const char *path, config_look_fn *look, bool document)
{
	struct config *config = NULL;
	_cleanup_free_ struct config_problems *problems = mem_alloc(sizeof(*problems));
	if (!path)
		config = config_default();
	else
		config_read_all(path, look, &config, problems);
	if (document) {
		show_verdict(problems);
		return config;
	}
	for (size_t i = 0; i < problems->count; i++)
		fprintf(stderr, "%s\n", problems->items[i].text);
	if (problems->count == CONFIG_PROBLEMS_MAX)
		fprintf(stderr, "%s: there may be more\n", path);
	return config;
}

int cmd_config(const struct command_line *line)
{
	const char *action = line->arguments[0];
	bool check = !strcmp(action, "check"), show = !strcmp(action, "show"), keys = !strcmp(action, "keys");
	bool json = command_has(line, "json");
	if (json && keys)
		return command_usage_error("config", "--json goes with check and show");
	if (command_has(line, "markdown") && !keys)
		return command_usage_error("config", "--markdown goes with keys");
	if (line->arguments[1] && (keys || command_has(line, "config")))
		return command_usage_error("config", "%s", keys ? "keys takes no file" : "name one file");
	if (keys) {
		config_print_keys(stdout, command_has(line, "markdown"));
		return EXIT_DONE;
	}
	const char *given = line->arguments[1] ? line->arguments[1] : command_value(line, "config");
	const char *path = given ? given : config_default_path();
	_cleanup_(free_config) struct config *config = load(path, check ? config_inspect : NULL, check && json);
	if (!config)
		return EXIT_CONFIG;
	if (check && !json)
		printf("%s: ok\n", path ? path : "built-in configuration");
	else if (show && json)
		config_print_json(config, stdout);
	else if (show)
		config_print(config, stdout);
	return EXIT_DONE;
}
