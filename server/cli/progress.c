/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/progress.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/units.h"
#include "server/cli/show.h"
#include "server/cli/table.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define DRAW_MS      100   /* between two drawings */
#define PLAIN_MS     10000 /* between two lines about the same image */
#define RATE_MS      1000  /* the rate is taken over at least this long … */
#define RATE_WEIGHT  0.3   /* … and the newest one weighs this much */
#define COLUMNS_ELSE 80    /* of a terminal that does not say */
#define MORE_COLUMNS 5     /* ", +12": how many there is no room for */

struct progress {
	FILE *out;
	bool on_terminal;
	unsigned drawn; /* lines that stand above the cursor */
	uint64_t began_ms, shown_ms;
	uint64_t shown_images;        /* done and failed, in the last plain line */
	uint64_t rate_ms, rate_bytes; /* where the rate is taken from */
	double rate;                  /* bytes a second; negative: not known yet */
};

struct counts {
	uint64_t images, images_ended, images_failed, layers, layers_done, bytes, fetched, held;
	bool verifies; /* the job reads blobs, whatever images they are of */
	bool archive;  /* it is an archive that passes, of which there may be nothing known but its bytes */
};

struct progress *progress_new(FILE *out, bool on_terminal)
{
	struct progress *progress = mem_alloc(sizeof(*progress));
	uint64_t now_ms = clock_ms();

	*progress = (struct progress){
		.out = out, .on_terminal = on_terminal, .began_ms = now_ms, .rate_ms = now_ms, .rate = -1};
	return progress;
}

static void clear(struct progress *progress)
{
	if (progress->drawn)
		fprintf(progress->out, "\033[%uA\r\033[J", progress->drawn); /* ECMA-48: lines up, erase to the end */
	progress->drawn = 0;
}

void progress_free(struct progress *progress)
{
	if (progress)
		clear(progress);
	free(progress);
}

static struct counts count(const json_t *job)
{
	const json_t *images = json_object_get(job, "images"), *layers = json_object_get(job, "layers"),
		     *bytes = json_object_get(job, "bytes");

	return (struct counts){
		.images = show_number(images, "total"),
		.images_ended = show_number(images, "done") + show_number(images, "failed"),
		.images_failed = show_number(images, "failed"),
		.layers = show_number(layers, "total"),
		.layers_done = show_number(layers, "done"),
		.bytes = show_number(bytes, "total"),
		.fetched = show_number(bytes, "fetched"),
		.held = show_number(bytes, "held"),
		.verifies = strcmp(show_text(job, "kind"), "verify") == 0,
		.archive = strcmp(show_text(job, "kind"), "archive") == 0,
	};
}

static void measure_rate(struct progress *progress, const struct counts *counts, uint64_t now_ms)
{
	uint64_t passed_ms = now_ms - progress->rate_ms, bytes = counts->verifies ? counts->held : counts->fetched;
	double rate;

	if (passed_ms < RATE_MS || bytes < progress->rate_bytes)
		return;
	rate = (double)(bytes - progress->rate_bytes) * 1000 / (double)passed_ms;
	progress->rate = progress->rate < 0 ? rate : RATE_WEIGHT * rate + (1 - RATE_WEIGHT) * progress->rate;
	progress->rate_ms = now_ms;
	progress->rate_bytes = bytes;
}

static void describe_images(const struct counts *counts, const char *state, struct buf *line)
{
	buf_printf(line, "[%" PRIu64 "/%" PRIu64 "] images", counts->images_ended, counts->images);
	if (counts->images_failed)
		buf_printf(line, ", %" PRIu64 " failed", counts->images_failed);
	if (strcmp(state, "queued") == 0)
		buf_append_text(line, ", waiting for another job");
}

static void describe_layers(const struct progress *progress, const struct counts *counts, struct buf *line)
{
	uint64_t there = counts->fetched + counts->held, left = counts->bytes > there ? counts->bytes - there : 0;
	char a[UNITS_TEXT_MAX], b[UNITS_TEXT_MAX];

	if (counts->layers)
		buf_printf(line, "[%" PRIu64 "/%" PRIu64 "] %s, ", counts->layers_done, counts->layers,
			   counts->verifies || counts->archive ? "blobs" : "layers");
	buf_append_text(line, units_format_size(there, a));
	if (counts->bytes)
		buf_printf(line, " of %s", units_format_size(counts->bytes, b));
	if (progress->rate < 0)
		return;
	buf_printf(line, ", %s/s", units_format_size((uint64_t)progress->rate, a));
	if (left > 0 && progress->rate >= 1)
		buf_printf(line, ", %s left",
			   units_format_duration((uint64_t)((double)left / progress->rate) * 1000 + 1000, a));
}

/* What is being fetched, as far as there is room for it. */
static void describe_active(const json_t *active, size_t columns, struct buf *line)
{
	size_t all = json_array_size(active), i;
	char plain[SHOW_TEXT_MAX];
	const json_t *name;

	json_array_foreach(active, i, name)
	{
		size_t used = columns_of(line->data, line->len);
		const char *text = json_is_string(name) ? show_plain(json_string_value(name), plain) : "?";

		if (used + columns_of(text, strlen(text)) + 2 + (i + 1 < all ? MORE_COLUMNS : 0) >= columns) {
			if (i > 0)
				buf_printf(line, ", +%zu", all - i);
			return;
		}
		buf_printf(line, "%s%s", i > 0 ? ", " : ": ", text);
	}
}

/* As much of a line as there are columns. */
static void draw_line(FILE *out, const char *line, size_t columns)
{
	size_t bytes = strlen(line);

	while (columns_of(line, bytes) >= columns)
		bytes--;
	fprintf(out, "%.*s\n", (int)bytes, line);
}

static void draw(struct progress *progress, struct buf *images, const struct buf *layers, const json_t *active)
{
	size_t there = columns_there_are(), columns = there ? there : COLUMNS_ELSE;

	clear(progress);
	if (images->len) {
		describe_active(active, columns, images);
		draw_line(progress->out, images->data, columns);
	}
	if (layers->len)
		draw_line(progress->out, layers->data, columns);
	progress->drawn = (images->len > 0) + (layers->len > 0);
}

void progress_show(struct progress *progress, const json_t *job)
{
	_cleanup_(buf_dispose) struct buf images = {0}, layers = {0};
	struct counts counts = count(job);
	uint64_t now_ms = clock_ms();
	bool due = now_ms - progress->shown_ms >= (progress->on_terminal ? DRAW_MS : PLAIN_MS);

	measure_rate(progress, &counts, now_ms);
	if (!due && (progress->on_terminal || counts.images_ended == progress->shown_images))
		return;
	if (!counts.verifies && (counts.images || (progress->on_terminal && !counts.archive)))
		describe_images(&counts, show_text(job, "state"), &images);
	if (counts.layers || counts.archive)
		describe_layers(progress, &counts, &layers);
	if (images.len + layers.len == 0)
		return; /* nothing is known yet */
	if (progress->on_terminal)
		draw(progress, &images, &layers, json_object_get(job, "active"));
	else
		fprintf(progress->out, "%s%s%s\n", images.len ? images.data : "", images.len && layers.len ? ", " : "",
			layers.len ? layers.data : "");
	fflush(progress->out);
	progress->shown_ms = now_ms;
	progress->shown_images = counts.images_ended;
}
