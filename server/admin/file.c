/* SPDX-License-Identifier: Apache-2.0 */
/* One file's bytes, or a range of them: `larder cat`. */
#include "server/admin/files.h"

#include "base/cleanup.h"
#include "server/registry/range.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PIECE_BYTES ((size_t)128 << 10)

static void send(struct admin_visit *visit, struct files_reader *reader, const struct layer_entry *entry, int status,
		 const struct range *range)
{
	_cleanup_free_ char *piece = mem_alloc(PIECE_BYTES);
	char content_range[80];
	struct http_header headers[] = {
		{"Content-Type", "application/octet-stream"},
		{"Cache-Control", "no-store"},
		{"X-Content-Type-Options", "nosniff"},
		{"Accept-Ranges", "bytes"},
		{"Content-Range", content_range},
	};
	size_t count = sizeof(headers) / sizeof(headers[0]) - (status == 206 ? 0 : 1), len;
	struct err err = {0};
	bool begun = false;
	uint64_t done = 0;
	int code = 0;

	snprintf(content_range, sizeof(content_range), "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, range->start,
		 range->start + range->len - 1, entry->size);
	/* The first piece is read before anything is said: what goes wrong is then told, later it can only be shown. */
	do {
		len = range->len - done < PIECE_BYTES ? (size_t)(range->len - done) : PIECE_BYTES;
		if (visit->method != HTTP_HEAD)
			code = files_read(reader, entry, range->start + done, piece, len, &err);
		if (code && !begun) {
			admin_reply_unfit(visit, &err);
			return;
		}
		if (!begun)
			admin_reply_stream(visit, status, headers, count, range->len);
		begun = true;
		if (code)
			admin_cut(visit);
		else if (visit->method != HTTP_HEAD)
			code = admin_write(visit, piece, len);
		done += len;
	} while (!code && done < range->len && visit->method != HTTP_HEAD);
}

static void send_ranges(struct admin_visit *visit, struct files_reader *reader, const struct layer_entry *entry)
{
	_cleanup_free_ struct range_set *set = mem_alloc(sizeof(*set));
	const struct range whole = {0, entry->size};
	char content_range[48];
	struct http_header header = {"Content-Range", content_range};

	switch (range_parse(visit->method == HTTP_HEAD ? NULL : visit->range, entry->size, set)) {
	case RANGE_UNSATISFIABLE:
		snprintf(content_range, sizeof(content_range), "bytes */%" PRIu64, entry->size);
		admin_reply_error_with(visit, 416, "invalid", "the file has no bytes there", &header);
		break;
	case RANGE_PART:
		send(visit, reader, entry, 206, &set->ranges[0]);
		break;
	case RANGE_PARTS: /* a server may ignore Range: several are for those who fetch, not for those who look */
	case RANGE_WHOLE:
		send(visit, reader, entry, 200, &whole);
		break;
	}
}

void admin_file(struct admin_visit *visit)
{
	_cleanup_(files_close_imagep) struct files_image *image = NULL;
	_cleanup_(files_close_readerp) struct files_reader *reader = NULL;
	const struct layer_node *node;
	char path[LAYER_PATH_MAX + 1];
	struct err err = {0};
	int code;

	if (!admin_parameter_bytes(visit, "path", true, path, sizeof(path)) ||
	    !(image = files_visit_open(visit, "ref", true)))
		return;
	code = layer_view_find(image->view, path, true, &node, &err);
	if (!code && layer_node_type(node) != LAYER_FILE)
		code = err_set(&err, ERR_INVALID, "it is no file, but a %s", files_type_name(node));
	if (!code)
		code = files_open_reader(image, node->content_layer, &reader, &err);
	if (code)
		admin_reply_unfit(visit, &err);
	else
		send_ranges(visit, reader, node->content);
}
