/* SPDX-License-Identifier: Apache-2.0 */
/* `larder status`: for a person with 80 columns. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/units.h"
#include "server/cli/admin_session.h"
#include "server/cli/command.h"
#include "server/cli/show.h"
#include "server/cli/table.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FLIGHTS_SHOWN_MAX 10
#define COLUMNS_ELSE      80 /* where nothing says how many there are */

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
	static const struct table_column columns[] = {
		{"FLIGHT", .flexible = true},
		{"BLOB"},
		{"DONE", .right = true},
		{"SIZE", .right = true},
	};
	struct table *table = table_new(columns, sizeof(columns) / sizeof(columns[0]));
	uint64_t count = show_number(status, "flight_count");
	const json_t *flight;
	size_t i;

	printf("  flights  %" PRIu64 "\n", count);
	json_array_foreach(json_object_get(status, "flights"), i, flight)
	{
		_cleanup_free_ char *name =
			mem_printf("%s/%s", show_text(flight, "upstream"), show_text(flight, "repository"));
		uint64_t held = show_number(flight, "held"), size = show_number(flight, "size");
		char text[UNITS_TEXT_MAX];

		if (i == FLIGHTS_SHOWN_MAX)
			break;
		table_add(table, name);
		table_add(table, show_hex(flight, "digest", text));
		snprintf(text, sizeof(text), "%.0f %%", size ? 100.0 * (double)held / (double)size : 0.0);
		table_add(table, text);
		table_add(table, size ? units_format_size(size, text) : "?");
	}
	if (i > 0)
		printf("\n");
	table_print(table, stdout, columns_there_are());
	if (count > i)
		printf("… and %" PRIu64 " more\n", count - i);
	table_free(table);
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

/* What keeps it from answering, if anything does. */
static void format_trouble(const json_t *upstream, char *text, size_t size)
{
	const char *why = show_text(upstream, "why");
	uint64_t closed_ms = show_number(json_object_get(upstream, "pace"), "closed_ms");
	char age[SHOW_AGE_MAX];

	text[0] = '\0';
	if (closed_ms)
		snprintf(text, size, "asked to wait: %" PRIu64 " s more", (closed_ms + 999) / 1000);
	else if (*why && strcmp(show_text(upstream, "state"), "healthy") != 0)
		snprintf(text, size, "%s ago: %s", show_age(show_number(upstream, "failed_s_ago"), age), why);
}

static void add_upstream(struct table *table, const json_t *upstream)
{
	const json_t *pace = json_object_get(upstream, "pace");
	char text[SHOW_TEXT_MAX];

	table_add(table, show_text(upstream, "name"));
	table_add(table, show_text(upstream, "state"));
	snprintf(text, sizeof(text), "%" PRIu64, show_number(upstream, "requests"));
	table_add(table, text);
	table_add(table, units_format_size(show_number(upstream, "bytes"), text));
	snprintf(text, sizeof(text), "%" PRIu64, show_number(upstream, "retries"));
	table_add(table, text);
	format_budget(upstream, text, sizeof(text));
	table_add(table, text);
	snprintf(text, sizeof(text), "%" PRIu64 "/%" PRIu64, show_number(pace, "out"), show_number(pace, "window"));
	table_add(table, text);
	snprintf(text, sizeof(text), "%" PRIu64, show_number(pace, "waiting"));
	table_add(table, text);
}

static bool is_unused(const json_t *upstream)
{
	return strcmp(show_text(upstream, "state"), "unused") == 0;
}

/* Those that nobody asked for yet, in one paragraph. */
static void print_unused(const json_t *upstreams, size_t columns)
{
	_cleanup_(buf_dispose) struct buf words = {0};
	const json_t *upstream;
	char name[SHOW_TEXT_MAX];
	size_t i;

	json_array_foreach(upstreams, i, upstream)
	{
		if (is_unused(upstream))
			buf_printf(&words, "%s %s",
				   words.len ? "," : "not used yet:", show_plain(show_text(upstream, "name"), name));
	}
	if (words.len)
		columns_print_words(stdout, words.data, 2, 0, columns);
}

/* What keeps upstreams from answering. */
static void print_troubles(const json_t *upstreams, size_t columns)
{
	char trouble[SHOW_TEXT_MAX], plain[SHOW_TEXT_MAX];
	const json_t *upstream;
	size_t i;

	json_array_foreach(upstreams, i, upstream)
	{
		_cleanup_free_ char *words = NULL;

		format_trouble(upstream, trouble, sizeof(trouble));
		if (!trouble[0])
			continue;
		words = mem_printf("%s: %s", show_text(upstream, "name"), trouble);
		columns_print_words(stdout, show_plain(words, plain), 2, 0, columns);
	}
}

static void print_upstreams(const json_t *upstreams)
{
	static const struct table_column columns[] = {
		{"UPSTREAM", .flexible = true},
		{"STATE"},
		{"REQUESTS", .right = true},
		{"FETCHED", .right = true},
		{"RETRIES", .right = true, .rank = 2},
		{"BUDGET", .right = true},
		{"OUT/MAX", .right = true},
		{"WAITING", .right = true, .rank = 1},
	};
	struct table *table = table_new(columns, sizeof(columns) / sizeof(columns[0]));
	size_t i, there = columns_there_are();
	const json_t *upstream;

	json_array_foreach(upstreams, i, upstream)
	{
		if (!is_unused(upstream))
			add_upstream(table, upstream);
	}
	printf("\n");
	table_print(table, stdout, there);
	table_free(table);
	print_troubles(upstreams, there ? there : COLUMNS_ELSE);
	print_unused(upstreams, there ? there : COLUMNS_ELSE);
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
