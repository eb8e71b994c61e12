/* SPDX-License-Identifier: Apache-2.0 */
/* `larder config check|show|keys`. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "server/cli/command.h"
#include "server/cli/config.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct config_options {
	const char *action;
	const char *path;
	bool json;
	bool markdown;
};

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

/* False when the usage is wrong, which is then said. */
static bool parse_options(int argc, char **argv, struct config_options *options)
{
	enum { OPTION_JSON = 256, OPTION_MARKDOWN };
	static const struct option longs[] = {
		{"config", required_argument, NULL, 'c'},
		{"json", no_argument, NULL, OPTION_JSON},
		{"markdown", no_argument, NULL, OPTION_MARKDOWN},
		{NULL, 0, NULL, 0},
	};
	int option = 0;
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":c:", longs, NULL)) != -1) {
		switch (option) {
		case 'c':
			options->path = optarg;
			break;
		case OPTION_JSON:
			options->json = true;
			break;
		case OPTION_MARKDOWN:
			options->markdown = true;
			break;
		default:
			command_option_error(argv, option);
			return false;
		}
	}
	if (optind == argc)
		command_usage_error(argv[0], "say what to do: check, show or keys");
	else if (optind + 1 < argc)
		command_usage_error(argv[0], "too many arguments: '%s'", argv[optind + 1]);
	else
		options->action = argv[optind];
	return options->action != NULL;
}

int cmd_config(int argc, char **argv)
{
	struct config_options options = {0};
	if (!parse_options(argc, argv, &options))
		return EXIT_USAGE;
	bool check = !strcmp(options.action, "check");
	bool show = !strcmp(options.action, "show");
	bool keys = !strcmp(options.action, "keys");
	if (!check && !show && !keys)
		return command_usage_error(argv[0], "unknown action '%s': write check, show or keys", options.action);
	if (options.json && !show)
		return command_usage_error(argv[0], "--json goes with show");
	if (options.markdown && !keys)
		return command_usage_error(argv[0], "--markdown goes with keys");
	if (keys) {
		config_print_keys(stdout, options.markdown);
		return EXIT_DONE;
	}
	const char *path = options.path ? options.path : config_default_path();
	_cleanup_(free_config) struct config *config = load(path);
	if (!config)
		return EXIT_CONFIG;
	if (check)
		printf("%s: ok\n", path ? path : "built-in configuration");
	else if (options.json)
		config_print_json(config, stdout);
	else
		config_print(config, stdout);
	return EXIT_DONE;
}
