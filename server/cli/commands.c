/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/command.h"

#include "server/cli/admin_command.h"

static const char serve_help[] = "Runs the proxy until it is told to stop (SIGTERM, SIGINT).\n"
				 "\n"
				 "  -c, --config FILE         read this configuration; else $LARDER_CONFIG, else\n"
				 "                            /etc/larder/larder.yaml, else what is built in\n"
				 "      --listen ADDR:PORT    serve clients here instead (repeatable)\n"
				 "      --admin ADDRESS       serve the admin API here instead: ADDR:PORT,\n"
				 "                            unix:/PATH or off\n"
				 "      --store DIR           keep the store here instead\n"
				 "      --max-size SIZE       how much the store may hold (200GiB); 0: no limit\n"
				 "      --upstream [NAME=]URL add or override an upstream (repeatable); the first\n"
				 "                            becomes the default upstream\n"
				 "      --offline             serve what is held and never ask an upstream\n"
				 "      --log-level LEVEL     error, warn, info or debug\n"
				 "      --log-format FORMAT   text or json\n";

static const char config_help[] = "  check   validates the configuration; exit status 3 and the errors, with line and\n"
				  "          column, when something is wrong\n"
				  "  show    prints the effective configuration as YAML, secrets redacted\n"
				  "  keys    lists every key with its default and meaning\n"
				  "\n"
				  "  -c, --config FILE         read this configuration; else $LARDER_CONFIG, else\n"
				  "                            /etc/larder/larder.yaml, else what is built in\n"
				  "      --json                (show) print one JSON document instead\n"
				  "      --markdown            (keys) print a Markdown table instead\n";

static const char status_help[] = "Says how a running larder does: pulls, hit ratio, store, flights, and each\n"
				  "upstream's health, rate budget and pace.\n"
				  "\n" ADMIN_HELP;

static const char explain_help[] = "Says what a pull of REF would do right now, and why: the decision, the upstream\n"
				   "and its budget, what the tag means and how old that is, and what is held of it.\n"
				   "No upstream is asked.\n"
				   "\n" ADMIN_HELP;

const struct command command_table[] = {
	{"serve", "", "runs the proxy", serve_help, cmd_serve},
	{"status", "", "says how a running larder does", status_help, cmd_status},
	{"explain", "REF", "says what a pull of REF would do right now, and why", explain_help, cmd_explain},
	{"config", "check|show|keys", "validates or prints the configuration", config_help, cmd_config},
};

const int command_count = sizeof(command_table) / sizeof(command_table[0]);
