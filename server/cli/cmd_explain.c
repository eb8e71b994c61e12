/* SPDX-License-Identifier: Apache-2.0 */
/* `larder explain REF`: for a person with 80 columns. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/units.h"
#include "server/cli/admin_session.h"
#include "server/cli/command.h"
#include "server/cli/show.h"
#include "upstream/url.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *age_of(const json_t *object, const char *name, char text[SHOW_AGE_MAX])
{
	return show_age(show_number(object, name), text);
}

static const char *size_of(const json_t *object, const char *name, char text[UNITS_TEXT_MAX])
{
	return json_is_integer(json_object_get(object, name)) ? units_format_size(show_number(object, name), text)
							      : "?";
}

static void print_upstream(const json_t *upstream)
{
	const json_t *budget = json_object_get(upstream, "budget"), *pace = json_object_get(upstream, "pace");
	const char *why = show_text(upstream, "why"), *state = show_text(upstream, "state");
	char plain[SHOW_TEXT_MAX], age[SHOW_AGE_MAX];

	printf("upstream %s: %s", show_text(upstream, "name"), state);
	if (json_is_object(budget)) {
		printf("; %" PRIu64, show_number(budget, "remaining"));
		if (show_number(budget, "limit"))
			printf(" of %" PRIu64, show_number(budget, "limit"));
		printf(" pulls left, it said %s ago", age_of(budget, "said_s_ago", age));
	}
	printf("\n");
	if (*why && strcmp(state, "healthy") != 0)
		printf("         %s ago: %.56s\n", age_of(upstream, "failed_s_ago", age), show_plain(why, plain));
	if (show_number(pace, "closed_ms"))
		printf("         asked to wait: %" PRIu64 " s more\n", (show_number(pace, "closed_ms") + 999) / 1000);
}

static void print_tag(const json_t *tag)
{
	char known[SHOW_AGE_MAX], confirmed[SHOW_AGE_MAX], fresh[SHOW_AGE_MAX];

	if (!json_is_object(tag))
		return;
	if (!show_is(tag, "known")) {
		printf("tag      not known\n");
		return;
	}
	printf("tag      first seen %s ago; confirmed %s ago, taken as fresh for %s\n", age_of(tag, "known_s", known),
	       age_of(tag, "confirmed_s_ago", confirmed),
	       json_is_null(json_object_get(tag, "fresh_for_s")) ? "ever" : age_of(tag, "fresh_for_s", fresh));
}

static void print_manifest(const json_t *manifest)
{
	char plain[SHOW_TEXT_MAX], size[UNITS_TEXT_MAX];

	if (!json_is_object(manifest))
		return;
	printf("digest   %s\n", show_text(manifest, "digest"));
	printf("manifest %s", show_is(manifest, "held") ? "held" : "not held");
	if (*show_text(manifest, "media_type"))
		printf(", %s, %.56s", size_of(manifest, "size", size),
		       show_plain(show_text(manifest, "media_type"), plain));
	printf("\n");
}

static void print_part(const json_t *part)
{
	const char *digest = show_text(part, "digest"), *hex = strchr(digest, ':');
	const char *platform = show_text(part, "platform"), *state = show_text(part, "state");
	int indent = (int)show_number(part, "depth") * 2;
	char plain[SHOW_TEXT_MAX], size[UNITS_TEXT_MAX], have[UNITS_TEXT_MAX];

	printf("  %*s%-*s %.12s %9s  %s", indent, "", 10 - indent, show_text(part, "kind"), hex ? hex + 1 : digest,
	       size_of(part, "size", size), state);
	if (strcmp(state, "in flight") == 0)
		printf(", %s there", size_of(part, "held_bytes", have));
	if (*platform)
		printf("  %.24s", show_plain(platform, plain));
	printf("\n");
}

static void print_parts(const json_t *parts)
{
	uint64_t held = 0, all = 0, size = 0, missing_bytes = 0;
	char total[UNITS_TEXT_MAX], rest[UNITS_TEXT_MAX];
	const json_t *part;
	size_t i;

	json_array_foreach(parts, i, part)
	{
		uint64_t part_size = show_number(part, "size"), have = show_number(part, "held_bytes");

		print_part(part);
		all++;
		size += part_size;
		if (strncmp(show_text(part, "state"), "held", 4) == 0)
			held++;
		else
			missing_bytes += part_size > have ? part_size - have : 0;
	}
	if (all > 0)
		printf("%" PRIu64 " of %" PRIu64 " parts held, %s in all, %s to fetch\n", held, all,
		       units_format_size(size, total), units_format_size(missing_bytes, rest));
}

static void print_explanation(const json_t *answer)
{
	const json_t *route = json_object_get(answer, "route"), *upstream = json_object_get(answer, "upstream");
	const char *reference = show_text(answer, "reference");

	/* A digest has a line of its own. */
	printf("%s/%s%s%s\n", show_text(upstream, "name"), show_text(answer, "repository"),
	       strchr(reference, ':') ? "" : ":", strchr(reference, ':') ? "" : reference);
	printf("decision %s: %s\n", show_text(answer, "decision"), show_text(answer, "why"));
	printf("route    rule %" PRIu64 ": %s\n", show_number(route, "rule"), show_text(route, "why"));
	print_upstream(upstream);
	print_tag(json_object_get(answer, "tag"));
	print_manifest(json_object_get(answer, "manifest"));
	print_parts(json_object_get(answer, "parts"));
}

int cmd_explain(const struct command_line *line)
{
	_cleanup_free_ char *escaped = url_escape(line->arguments[0]);
	_cleanup_free_ char *target = mem_printf("/api/v1/explain?ref=%s", escaped);
	_cleanup_(admin_session_close) struct admin_session session;
	json_t *answer = NULL;
	int result = admin_session_open(&session, line);

	if (result == EXIT_DONE)
		result = admin_session_ask(&session, "GET", target, NULL, &answer);
	if (result != EXIT_DONE)
		return result;
	if (command_has(line, "json"))
		show_json(answer);
	else
		print_explanation(answer);
	json_decref(answer);
	return EXIT_DONE;
}
