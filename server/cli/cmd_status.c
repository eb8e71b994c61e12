/* SPDX-License-Identifier: Apache-2.0 */
/* `larder status`: for a person with 80 columns. */
#include "base/cleanup.h"
#include "base/units.h"
#include "server/cli/admin_session.h"
#include "server/cli/command.h"
#include "server/cli/show.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FLIGHTS_SHOWN_MAX 10
#define LINE_MAX_COLUMNS  78

static void print_summary(const json_t *status)
{
	const json_t *requests = json_object_get(status, "requests"), *store = json_object_get(status, "store");
	const json_t *ratio = json_object_get(requests, "hit_ratio");
	char age[SHOW_AGE_MAX], a[UNITS_TEXT_MAX], b[UNITS_TEXT_MAX];
	uint64_t fetched = 0;
	const json_t *upstream;
	size_t i;

	json_array_foreach(json_object_get(status, "upstreams"), i, upstream) fetched += show_number(upstream, "bytes");
	printf("larder %s, up %s%s\n", show_text(status, "version"), show_age(show_number(status, "uptime_s"), age),
	       show_is(status, "offline") ? ", offline" : "");
	printf("  pulls    %" PRIu64 " hits, %" PRIu64 " misses, %" PRIu64 " shared, %" PRIu64 " stale, %" PRIu64
	       " errors\n",
	       show_number(requests, "hit"), show_number(requests, "miss"), show_number(requests, "collapsed"),
	       show_number(requests, "stale"), show_number(requests, "error"));
	if (json_is_real(ratio))
		printf("  ratio    %.0f %% from the store\n", 100 * json_real_value(ratio));
	printf("  bytes    %s served, %s fetched\n", units_format_size(show_number(requests, "served_bytes"), a),
	       units_format_size(fetched, b));
	printf("  store    %" PRIu64 " blobs, %s", show_number(store, "blobs"),
	       units_format_size(show_number(store, "bytes"), a));
	if (json_is_integer(json_object_get(store, "free_bytes")))
		printf("; %s free on its disk", units_format_size(show_number(store, "free_bytes"), a));
	if (show_number(store, "corrupt_blobs"))
		printf("; %" PRIu64 " damaged", show_number(store, "corrupt_blobs"));
	printf("\n");
}

static void print_flights(const json_t *status)
{
	const json_t *flight;
	size_t i;
	uint64_t count = show_number(status, "flight_count");

	printf("  flights  %" PRIu64 "\n", count);
	json_array_foreach(json_object_get(status, "flights"), i, flight)
	{
		uint64_t held = show_number(flight, "held"), size = show_number(flight, "size");
		char name[SHOW_TEXT_MAX], of[UNITS_TEXT_MAX];
		const char *digest = show_text(flight, "digest"), *hex = strchr(digest, ':');

		if (i == FLIGHTS_SHOWN_MAX) {
			printf("           … and %" PRIu64 " more\n", count - i);
			break;
		}
		printf("           %3.0f %% of %-8s %.12s  %.40s\n", size ? 100.0 * (double)held / (double)size : 0.0,
		       size ? units_format_size(size, of) : "?", hex ? hex + 1 : digest,
		       show_plain(show_text(flight, "repository"), name));
	}
}

static void format_budget(const json_t *upstream, char *text, size_t size)
{
	const json_t *budget = json_object_get(upstream, "budget");

	if (!json_is_object(budget))
		snprintf(text, size, "-");
	else if (show_number(budget, "limit"))
		snprintf(text, size, "%" PRIu64 " of %" PRIu64, show_number(budget, "remaining"),
			 show_number(budget, "limit"));
	else
		snprintf(text, size, "%" PRIu64, show_number(budget, "remaining"));
}

static void print_upstream(const json_t *upstream)
{
	const json_t *pace = json_object_get(upstream, "pace");
	const char *why = show_text(upstream, "why"), *state = show_text(upstream, "state");
	char budget[48], bytes[UNITS_TEXT_MAX], plain[SHOW_TEXT_MAX], age[SHOW_AGE_MAX];

	format_budget(upstream, budget, sizeof(budget));
	printf("%-22.22s %-13s %9" PRIu64 " %9s  %-12.12s %" PRIu64 "/%" PRIu64, show_text(upstream, "name"), state,
	       show_number(upstream, "requests"), units_format_size(show_number(upstream, "bytes"), bytes), budget,
	       show_number(pace, "out"), show_number(pace, "window"));
	if (show_number(pace, "waiting"))
		printf(" +%" PRIu64, show_number(pace, "waiting"));
	printf("\n");
	if (*why && strcmp(state, "healthy") != 0)
		printf("  %s ago: %.60s\n", show_age(show_number(upstream, "failed_s_ago"), age),
		       show_plain(why, plain));
	if (show_number(pace, "closed_ms"))
		printf("  asked to wait: %" PRIu64 " s more\n", (show_number(pace, "closed_ms") + 999) / 1000);
}

/* Those that nobody asked for yet, in one paragraph. */
static void print_unused(const json_t *upstreams)
{
	const json_t *upstream;
	size_t i, column = 0;

	json_array_foreach(upstreams, i, upstream)
	{
		const char *name = show_text(upstream, "name");

		if (strcmp(show_text(upstream, "state"), "unused") != 0)
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
		if (strcmp(show_text(upstream, "state"), "unused") == 0)
			continue;
		if (!header)
			printf("%-22s %-13s %9s %9s  %-12s %s\n", "UPSTREAM", "STATE", "REQUESTS", "FETCHED", "BUDGET",
			       "OUT/MAX");
		header = true;
		print_upstream(upstream);
	}
	print_unused(upstreams);
}

int cmd_status(const struct command_line *line)
{
	_cleanup_(admin_session_close) struct admin_session session;
	json_t *status = NULL;
	int result = admin_session_open(&session, line);

	if (result == EXIT_DONE)
		result = admin_session_ask(&session, "GET", "/api/v1/status", NULL, &status);
	if (result != EXIT_DONE)
		return result;
	if (command_has(line, "json")) {
		show_json(status);
	} else {
		print_summary(status);
		print_flights(status);
		print_upstreams(json_object_get(status, "upstreams"));
	}
	json_decref(status);
	return EXIT_DONE;
}
