/* SPDX-License-Identifier: Apache-2.0 */
/* `larder status`: for a person with 80 columns. */
#include "base/units.h"
#include "server/cli/admin_command.h"
#include "server/cli/command.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FLIGHTS_SHOWN_MAX 10
#define LINE_MAX_COLUMNS  78

static void print_summary(const json_t *status)
{
	const json_t *requests = json_object_get(status, "requests"), *store = json_object_get(status, "store");
	const json_t *ratio = json_object_get(requests, "hit_ratio");
	char age[32], a[UNITS_TEXT_MAX], b[UNITS_TEXT_MAX];
	uint64_t fetched = 0;
	const json_t *upstream;
	size_t i;

	json_array_foreach(json_object_get(status, "upstreams"), i, upstream) fetched +=
		admin_number(upstream, "bytes");
	printf("larder %s, up %s%s\n", admin_text(status, "version"),
	       admin_format_age(admin_number(status, "uptime_s"), age), admin_is(status, "offline") ? ", offline" : "");
	printf("  pulls    %" PRIu64 " hits, %" PRIu64 " misses, %" PRIu64 " shared, %" PRIu64 " stale, %" PRIu64
	       " errors\n",
	       admin_number(requests, "hit"), admin_number(requests, "miss"), admin_number(requests, "collapsed"),
	       admin_number(requests, "stale"), admin_number(requests, "error"));
	if (json_is_real(ratio))
		printf("  ratio    %.0f %% from the store\n", 100 * json_real_value(ratio));
	printf("  bytes    %s served, %s fetched\n", units_format_size(admin_number(requests, "served_bytes"), a),
	       units_format_size(fetched, b));
	printf("  store    %" PRIu64 " blobs, %s", admin_number(store, "blobs"),
	       units_format_size(admin_number(store, "bytes"), a));
	if (json_is_integer(json_object_get(store, "free_bytes")))
		printf("; %s free on its disk", units_format_size(admin_number(store, "free_bytes"), a));
	if (admin_number(store, "corrupt_blobs"))
		printf("; %" PRIu64 " damaged", admin_number(store, "corrupt_blobs"));
	printf("\n");
}

static void print_flights(const json_t *status)
{
	const json_t *flight;
	size_t i;
	uint64_t count = admin_number(status, "flight_count");

	printf("  flights  %" PRIu64 "\n", count);
	json_array_foreach(json_object_get(status, "flights"), i, flight)
	{
		uint64_t held = admin_number(flight, "held"), size = admin_number(flight, "size");
		char name[ADMIN_TEXT_MAX], of[UNITS_TEXT_MAX];
		const char *digest = admin_text(flight, "digest"), *hex = strchr(digest, ':');

		if (i == FLIGHTS_SHOWN_MAX) {
			printf("           … and %" PRIu64 " more\n", count - i);
			break;
		}
		printf("           %3.0f %% of %-8s %.12s  %.40s\n", size ? 100.0 * (double)held / (double)size : 0.0,
		       size ? units_format_size(size, of) : "?", hex ? hex + 1 : digest,
		       admin_plain(admin_text(flight, "repository"), name));
	}
}

static void format_budget(const json_t *upstream, char *text, size_t size)
{
	const json_t *budget = json_object_get(upstream, "budget");

	if (!json_is_object(budget))
		snprintf(text, size, "-");
	else if (admin_number(budget, "limit"))
		snprintf(text, size, "%" PRIu64 " of %" PRIu64, admin_number(budget, "remaining"),
			 admin_number(budget, "limit"));
	else
		snprintf(text, size, "%" PRIu64, admin_number(budget, "remaining"));
}

static void print_upstream(const json_t *upstream)
{
	const json_t *pace = json_object_get(upstream, "pace");
	const char *why = admin_text(upstream, "why"), *state = admin_text(upstream, "state");
	char budget[48], bytes[UNITS_TEXT_MAX], plain[ADMIN_TEXT_MAX], age[32];

	format_budget(upstream, budget, sizeof(budget));
	printf("%-22.22s %-13s %9" PRIu64 " %9s  %-12.12s %" PRIu64 "/%" PRIu64, admin_text(upstream, "name"), state,
	       admin_number(upstream, "requests"), units_format_size(admin_number(upstream, "bytes"), bytes), budget,
	       admin_number(pace, "out"), admin_number(pace, "window"));
	if (admin_number(pace, "waiting"))
		printf(" +%" PRIu64, admin_number(pace, "waiting"));
	printf("\n");
	if (*why && strcmp(state, "healthy") != 0)
		printf("  %s ago: %.60s\n", admin_format_age(admin_number(upstream, "failed_s_ago"), age),
		       admin_plain(why, plain));
	if (admin_number(pace, "closed_ms"))
		printf("  asked to wait: %" PRIu64 " s more\n", (admin_number(pace, "closed_ms") + 999) / 1000);
}

/* Those that nobody asked for yet, in one paragraph. */
static void print_unused(const json_t *upstreams)
{
	const json_t *upstream;
	size_t i, column = 0;

	json_array_foreach(upstreams, i, upstream)
	{
		const char *name = admin_text(upstream, "name");

		if (strcmp(admin_text(upstream, "state"), "unused") != 0)
			continue;
		if (column == 0)
			column = (size_t)printf("not used yet:");
		else if (column + strlen(name) + 2 > LINE_MAX_COLUMNS)
			column = (size_t)printf(",\n             ") - 2;
		else
			column += (size_t)printf(",");
		column += (size_t)printf(" %s", name);
	}
	if (column > 0)
		printf("\n");
}

static void print_upstreams(const json_t *upstreams)
{
	const json_t *upstream;
	bool header = false;
	size_t i;

	printf("\n");
	json_array_foreach(upstreams, i, upstream)
	{
		if (strcmp(admin_text(upstream, "state"), "unused") == 0)
			continue;
		if (!header)
			printf("%-22s %-13s %9s %9s  %-12s %s\n", "UPSTREAM", "STATE", "REQUESTS", "FETCHED", "BUDGET",
			       "OUT/MAX");
		header = true;
		print_upstream(upstream);
	}
	print_unused(upstreams);
}

int cmd_status(int argc, char **argv)
{
	struct admin_command command;
	json_t *status;
	int result;

	admin_command_init(&command, "status");
	result = admin_command_parse(&command, argc, argv);
	if (result != EXIT_DONE)
		return result;
	if (optind < argc)
		return command_usage_error("status", "unexpected argument '%s'", argv[optind]);
	result = admin_command_ask(&command, "GET", "/api/v1/status", &status);
	if (result != EXIT_DONE)
		return result;
	if (command.json) {
		admin_command_print_json(status);
	} else {
		print_summary(status);
		print_flights(status);
		print_upstreams(json_object_get(status, "upstreams"));
	}
	json_decref(status);
	return EXIT_DONE;
}
