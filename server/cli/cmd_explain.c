/* SPDX-License-Identifier: Apache-2.0 */
/* `larder explain REF`: for a person with 80 columns. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/units.h"
#include "server/cli/admin_command.h"
#include "server/cli/command.h"
#include "upstream/url.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *age_of(const json_t *object, const char *name, char text[32])
{
	return admin_format_age(admin_number(object, name), text);
}

static const char *size_of(const json_t *object, const char *name, char text[UNITS_TEXT_MAX])
{
	return json_is_integer(json_object_get(object, name)) ? units_format_size(admin_number(object, name), text)
							      : "?";
}

static void print_upstream(const json_t *upstream)
{
	const json_t *budget = json_object_get(upstream, "budget"), *pace = json_object_get(upstream, "pace");
	const char *why = admin_text(upstream, "why"), *state = admin_text(upstream, "state");
	char plain[ADMIN_TEXT_MAX], age[32];

	printf("upstream %s: %s", admin_text(upstream, "name"), state);
	if (json_is_object(budget)) {
		printf("; %" PRIu64, admin_number(budget, "remaining"));
		if (admin_number(budget, "limit"))
			printf(" of %" PRIu64, admin_number(budget, "limit"));
		printf(" pulls left, it said %s ago", age_of(budget, "said_s_ago", age));
	}
	printf("\n");
	if (*why && strcmp(state, "healthy") != 0)
		printf("         %s ago: %.56s\n", age_of(upstream, "failed_s_ago", age), admin_plain(why, plain));
	if (admin_number(pace, "closed_ms"))
		printf("         asked to wait: %" PRIu64 " s more\n", (admin_number(pace, "closed_ms") + 999) / 1000);
}

static void print_tag(const json_t *tag)
{
	char known[32], confirmed[32], fresh[32];

	if (!json_is_object(tag))
		return;
	if (!admin_is(tag, "known")) {
		printf("tag      not known\n");
		return;
	}
	printf("tag      first seen %s ago; confirmed %s ago, taken as fresh for %s\n", age_of(tag, "known_s", known),
	       age_of(tag, "confirmed_s_ago", confirmed),
	       json_is_null(json_object_get(tag, "fresh_for_s")) ? "ever" : age_of(tag, "fresh_for_s", fresh));
}

static void print_manifest(const json_t *manifest)
{
	char plain[ADMIN_TEXT_MAX], size[UNITS_TEXT_MAX];

	if (!json_is_object(manifest))
		return;
	printf("digest   %s\n", admin_text(manifest, "digest"));
	printf("manifest %s", admin_is(manifest, "held") ? "held" : "not held");
	if (*admin_text(manifest, "media_type"))
		printf(", %s, %.56s", size_of(manifest, "size", size),
		       admin_plain(admin_text(manifest, "media_type"), plain));
	printf("\n");
}

static void print_part(const json_t *part)
{
	const char *digest = admin_text(part, "digest"), *hex = strchr(digest, ':');
	const char *platform = admin_text(part, "platform"), *state = admin_text(part, "state");
	int indent = (int)admin_number(part, "depth") * 2;
	char plain[ADMIN_TEXT_MAX], size[UNITS_TEXT_MAX], have[UNITS_TEXT_MAX];

	printf("  %*s%-*s %.12s %9s  %s", indent, "", 10 - indent, admin_text(part, "kind"), hex ? hex + 1 : digest,
	       size_of(part, "size", size), state);
	if (strcmp(state, "in flight") == 0)
		printf(", %s there", size_of(part, "held_bytes", have));
	if (*platform)
		printf("  %.24s", admin_plain(platform, plain));
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
		uint64_t part_size = admin_number(part, "size"), have = admin_number(part, "held_bytes");

		print_part(part);
		all++;
		size += part_size;
		if (strncmp(admin_text(part, "state"), "held", 4) == 0)
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
	const char *reference = admin_text(answer, "reference");

	/* A digest has a line of its own. */
	printf("%s/%s%s%s\n", admin_text(upstream, "name"), admin_text(answer, "repository"),
	       strchr(reference, ':') ? "" : ":", strchr(reference, ':') ? "" : reference);
	printf("decision %s: %s\n", admin_text(answer, "decision"), admin_text(answer, "why"));
	printf("route    rule %" PRIu64 ": %s\n", admin_number(route, "rule"), admin_text(route, "why"));
	print_upstream(upstream);
	print_tag(json_object_get(answer, "tag"));
	print_manifest(json_object_get(answer, "manifest"));
	print_parts(json_object_get(answer, "parts"));
}

int cmd_explain(int argc, char **argv)
{
	_cleanup_free_ char *escaped = NULL, *target = NULL;
	struct admin_command command;
	json_t *answer;
	int result;

	admin_command_init(&command, "explain");
	result = admin_command_parse(&command, argc, argv);
	if (result != EXIT_DONE)
		return result;
	if (optind + 1 != argc)
		return command_usage_error("explain", "name one reference, such as docker.io/library/alpine:3.20");
	escaped = url_escape(argv[optind]);
	target = mem_printf("/api/v1/explain?ref=%s", escaped);
	result = admin_command_ask(&command, "GET", target, &answer);
	if (result != EXIT_DONE)
		return result;
	if (command.json)
		admin_command_print_json(answer);
	else
		print_explanation(answer);
	json_decref(answer);
	return EXIT_DONE;
}
