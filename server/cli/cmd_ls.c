/* SPDX-License-Identifier: Apache-2.0 */
/* `larder ls [GLOB]`: what is cached. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/units.h"
#include "server/cli/admin_session.h"
#include "server/cli/command.h"
#include "server/cli/show.h"
#include "server/cli/table.h"
#include "upstream/url.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const struct table_column columns[] = {
	{"IMAGE", .flexible = true},
	{"PLATFORMS", .rank = 2},
	{"SIZE", .right = true},
	{"ALONE", .right = true, .rank = 4},
	{"AGE", .right = true, .rank = 1},
	{"USED", .right = true},
	{"PINS", .rank = 3},
	{"DIGEST", .rank = 5},
};
#define PAGE                "1000"
#define PLATFORMS_SHOWN_MAX 3
#define COLUMN_COUNT        (sizeof(columns) / sizeof(columns[0]))

static bool read_day(const char *text, int64_t *since)
{
	struct tm day = {0}, asked;
	const char *end = strptime(text, "%Y-%m-%d", &day);

	asked = day;
	*since = timegm(&day);
	/* There are days that no month has. */
	return end && !*end && day.tm_mday == asked.tm_mday;
}

/* "2026-11-21" (UTC), or how long ago, "36h". */
static int take_date(const struct command_line *line, const char *text, int64_t *since)
{
	uint64_t ago_ms;

	if (read_day(text, since))
		return EXIT_DONE;
	if (units_parse_duration(text, &ago_ms) == 0 && ago_ms != UNITS_FOREVER)
		*since = clock_wall_s() - (int64_t)(ago_ms / 1000);
	else
		return command_usage_error(line->command->name,
					   "--pulled-since takes a day, 2026-11-21, or how long ago, 36h");
	return EXIT_DONE;
}

static const char *age_of(const json_t *image, const char *member, char text[SHOW_AGE_MAX])
{
	uint64_t then = show_number(image, member), now = (uint64_t)clock_wall_s();

	return then ? show_age(now > then ? now - then : 0, text) : "-";
}

/* Without "linux/", and the rest of many as their number. */
static char *short_platforms(const json_t *image)
{
	struct buf words = {0};
	const json_t *platforms = json_object_get(image, "platforms"), *platform;
	size_t i;

	json_array_foreach(platforms, i, platform)
	{
		const char *text = json_is_string(platform) ? json_string_value(platform) : "?";

		if (i == PLATFORMS_SHOWN_MAX) {
			buf_printf(&words, " +%zu", json_array_size(platforms) - i);
			break;
		}
		buf_printf(&words, "%s%s", i ? " " : "", strncmp(text, "linux/", 6) == 0 ? text + 6 : text);
	}
	buf_append_text(&words, "");
	return words.data;
}

static void add_image(struct table *table, const json_t *image)
{
	_cleanup_free_ char *platforms = short_platforms(image), *pins = show_list(image, "pins");
	char text[UNITS_TEXT_MAX], age[SHOW_AGE_MAX];
	bool held = show_is(image, "held");

	table_add(table, show_text(image, "reference"));
	table_add(table, held ? platforms : "not held");
	table_add(table, units_format_size(show_number(image, "size"), text));
	table_add(table, units_format_size(show_number(image, "unique_size"), text));
	table_add(table, age_of(image, "fetched", age));
	table_add(table, age_of(image, "last_use", age));
	table_add(table, pins);
	table_add(table, show_hex(image, "digest", text));
}

static void print_images(const json_t *images)
{
	struct table *table = table_new(columns, COLUMN_COUNT);
	const json_t *image;
	size_t i;

	json_array_foreach(images, i, image) add_image(table, image);
	table_print(table, stdout, columns_there_are());
	table_free(table);
}

/* A reference a line: with its digest for a lockfile. */
static void print_references(const json_t *images, bool with_digest)
{
	const json_t *image;
	char plain[SHOW_TEXT_MAX];
	size_t i;

	json_array_foreach(images, i, image)
	{
		const char *reference = show_text(image, "reference"), *digest = show_text(image, "digest");

		printf("%s", show_plain(reference, plain));
		if (with_digest && !strchr(reference, '@'))
			printf("@%s", show_plain(digest, plain));
		printf("\n");
	}
}

/* Page by page, as one document. */
static int ask(const struct admin_session *session, const char *glob, json_t **all)
{
	_cleanup_free_ char *escaped = url_escape(glob), *last = mem_strdup("");
	int status = EXIT_DONE;

	*all = NULL;
	do {
		_cleanup_free_ char *target =
			mem_printf("/api/v1/images?glob=%s&n=" PAGE "%s%s", escaped, *last ? "&last=" : "", last);
		json_t *page;

		status = admin_session_ask(session, "GET", target, NULL, &page);
		free(last);
		last = status == EXIT_DONE ? url_escape(show_text(page, "next")) : mem_strdup("");
		if (!*all) {
			*all = page;
		} else {
			json_array_extend(json_object_get(*all, "images"), json_object_get(page, "images"));
			json_decref(page);
		}
	} while (status == EXIT_DONE && *last);
	json_object_del(*all, "more");
	json_object_del(*all, "next");
	return status;
}

/* Takes out what was not used since. */
static void keep_used_since(json_t *images, int64_t since)
{
	for (size_t i = json_array_size(images); i > 0; i--)
		if ((int64_t)show_number(json_array_get(images, i - 1), "last_use") < since)
			json_array_remove(images, i - 1);
}

int cmd_ls(const struct command_line *line)
{
	_cleanup_(admin_session_close) struct admin_session session = {0};
	const char *since_text = command_value(line, "pulled-since");
	json_t *answer = NULL;
	int64_t since = 0;
	int status = since_text ? take_date(line, since_text, &since) : EXIT_DONE;

	if (status == EXIT_DONE)
		status = admin_session_open(&session, line);
	if (status == EXIT_DONE)
		status = ask(&session, line->argument_count ? line->arguments[0] : "", &answer);
	if (status != EXIT_DONE) {
		json_decref(answer);
		return status;
	}
	keep_used_since(json_object_get(answer, "images"), since);
	if (command_has(line, "json"))
		show_json(answer);
	else if (command_has(line, "lock") || command_has(line, "quiet"))
		print_references(json_object_get(answer, "images"), command_has(line, "lock"));
	else
		print_images(json_object_get(answer, "images"));
	json_decref(answer);
	return status;
}
