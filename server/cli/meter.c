/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/meter.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/digest.h"
#include "server/bundle/describe.h"
#include "server/bundle/tar.h"
#include "server/cli/progress.h"
#include "server/cli/show.h"

#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#define LOOK_MS  50   /* between two looks at how far it is */
#define PLAIN_MS 2000 /* what takes less is not worth a line beside its summary */

struct meter {
	struct progress *progress; /* NULL: nothing is shown */
	uint64_t first_ms, looked_ms;
	uint64_t total;
	size_t images;
	uint64_t *ends; /* of each blob, in the archive */
	size_t count, passed;
};

struct meter *meter_new(FILE *out, uint64_t total)
{
	struct meter *meter = mem_alloc(sizeof(*meter));
	bool on_terminal = out && isatty(fileno(out));

	meter->progress = out ? progress_new(out, on_terminal) : NULL;
	meter->first_ms = clock_ms() + (on_terminal ? 0 : PLAIN_MS);
	meter->total = total;
	return meter;
}

void meter_free(struct meter *meter)
{
	if (!meter)
		return;
	progress_free(meter->progress);
	free(meter->ends);
	free(meter);
}

/* The archive as larder lays it out (server/bundle/bundle.h). A signature, of which nothing is known here, would move
 * it by a page. */
void meter_describe(struct meter *meter, const char *self, size_t len)
{
	json_t *document = meter->progress ? json_loadb(self, len, 0, NULL) : NULL;
	const json_t *blobs = json_object_get(document, "blobs"), *entry;
	uint64_t at = TAR_BLOCK + len + tar_padding(len);
	uint8_t header[TAR_HEADER_MAX];
	char path[DESCRIBE_PATH_MAX];
	size_t i;

	meter->images = json_array_size(json_object_get(document, "images"));
	json_array_foreach(json_object_get(document, "files"), i, entry)
	{
		uint64_t size = show_number(entry, "size");

		at += tar_header("", size, header) + size + tar_padding(size);
	}
	meter->ends = mem_realloc(meter->ends, (json_array_size(blobs) + 1) * sizeof(*meter->ends));
	meter->count = meter->passed = 0;
	json_array_foreach(blobs, i, entry)
	{
		uint64_t size = show_number(entry, "size");
		struct digest digest;

		if (digest_parse(show_text(entry, "digest"), &digest) == 0)
			at += tar_header_at(describe_blob_path(&digest, path), size, at, header) + size +
			      tar_padding(size);
		meter->ends[meter->count++] = at;
	}
	if (meter->count > 0)
		meter->total = at + TAR_END;
	json_decref(document);
}

void meter_show(struct meter *meter, uint64_t passed)
{
	uint64_t now_ms = clock_ms();
	json_t *job;

	if (!meter->progress || now_ms < meter->first_ms || now_ms - meter->looked_ms < LOOK_MS)
		return;
	meter->looked_ms = now_ms;
	while (meter->passed < meter->count && meter->ends[meter->passed] <= passed)
		meter->passed++;
	job = json_pack("{s:s, s:{s:I}, s:{s:I, s:I}, s:{s:I, s:I}}", "kind", "archive", "images", "total",
			(json_int_t)meter->images, "layers", "total", (json_int_t)meter->count, "done",
			(json_int_t)meter->passed, "bytes", "total", (json_int_t)meter->total, "fetched",
			(json_int_t)passed);
	progress_show(meter->progress, job);
	json_decref(job);
}
