/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/job.h"

#include "base/units.h"
#include "server/cli/show.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool was_dry_run(const json_t *job)
{
	return show_is(json_object_get(job, "request"), "dry_run");
}

static void sum_up_prefetch(const json_t *job)
{
	const json_t *images = json_object_get(job, "images"), *bytes = json_object_get(job, "bytes");
	uint64_t total = show_number(bytes, "total"), held = show_number(bytes, "held");
	bool dry_run = was_dry_run(job);
	uint64_t fetched = dry_run ? (total > held ? total - held : 0) : show_number(bytes, "fetched");
	char a[UNITS_TEXT_MAX], b[UNITS_TEXT_MAX];

	printf("%" PRIu64 " images, %" PRIu64 " layers, %s %s, %s already held", show_number(images, "done"),
	       show_number(json_object_get(job, "layers"), dry_run ? "total" : "done"), units_format_size(fetched, a),
	       dry_run ? "to fetch" : "fetched", units_format_size(held, b));
}

/* What goes, then how much that is. */
static void sum_up_gc(const json_t *job)
{
	const json_t *result = json_object_get(job, "result"), *item;
	char bytes[UNITS_TEXT_MAX], hex[SHOW_HEX_MAX], plain[SHOW_TEXT_MAX];
	size_t i;

	json_array_foreach(json_object_get(result, "items"), i, item)
	{
		const char *name = show_text(item, "image");

		printf("%s  %s, %s\n", *name ? show_plain(name, plain) : show_hex(item, "digest", hex),
		       units_format_size(show_number(item, "bytes"), bytes), show_text(item, "reason"));
	}
	printf("%s %s, %" PRIu64 " images",
	       units_format_size(show_number(result, "bytes") + show_number(result, "leftover_bytes"), bytes),
	       was_dry_run(job) ? "would be freed" : "freed", show_number(result, "images"));
	if (show_number(result, "excess"))
		printf(", still %s above the limits", units_format_size(show_number(result, "excess"), bytes));
}

static void sum_up_verify(const json_t *job)
{
	const json_t *result = json_object_get(job, "result");
	char bytes[UNITS_TEXT_MAX];

	printf("%" PRIu64 " blobs verified, %s, %" PRIu64 " damaged, %" PRIu64 " healed", show_number(result, "blobs"),
	       units_format_size(show_number(result, "bytes"), bytes), show_number(result, "damaged"),
	       show_number(result, "healed"));
}

void job_print_summary(const json_t *job)
{
	static const struct {
		const char *kind;
		void (*sum_up)(const json_t *job);
	} kinds[] = {{"prefetch", sum_up_prefetch}, {"gc", sum_up_gc}, {"verify", sum_up_verify}};
	const char *kind = show_text(job, "kind"), *state = show_text(job, "state");

	if (strcmp(state, "cancelled") == 0)
		printf("cancelled: ");
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(kinds[i].kind, kind) == 0)
			kinds[i].sum_up(job);
	printf(", %.1f s, %" PRIu64 " errors\n", json_number_value(json_object_get(job, "seconds")),
	       show_number(job, "error_count"));
}
