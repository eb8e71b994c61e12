/* SPDX-License-Identifier: Apache-2.0 */
/* One file's bytes, or a range of them: `larder cat`. */
#include "server/admin/files.h"

#include "base/cleanup.h"
#include "server/registry/range.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PIECE_BYTES ((size_t)128 << 10)
#define ETAG_MAX    (DIGEST_TEXT_MAX + 32)

/* What is sent of which file. */
struct sending {
	struct files_reader *reader;
	const struct layer_entry *entry;
	char etag[ETAG_MAX];
};

static void send(struct admin_visit *visit, const struct sending *sending, int status, const struct range *range)
{
	_cleanup_free_ char *piece = mem_alloc(PIECE_BYTES);
	char content_range[80];
	struct http_header headers[] = {
		{"Content-Type", "application/octet-stream"},
		{"Cache-Control", "no-store"},
		{"X-Content-Type-Options", "nosniff"},
		{"Accept-Ranges", "bytes"},
		{"ETag", sending->etag},
		{"Content-Range", content_range},
	};
	size_t count = sizeof(headers) / sizeof(headers[0]) - (status == 206 ? 0 : 1), len;
	struct err err = {0};
	bool begun = false, bare = visit->method == HTTP_HEAD || status == 304;
	uint64_t done = 0;
	int code = 0;

	snprintf(content_range, sizeof(content_range), "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, range->start,
		 range->start + range->len - 1, sending->entry->size);
	/* The first piece is read before anything is said: what goes wrong is then told, later it can only be shown. */
	do {
		len = range->len - done < PIECE_BYTES ? (size_t)(range->len - done) : PIECE_BYTES;
		if (!bare)
			code = files_read(sending->reader, sending->entry, range->start + done, piece, len, &err);
		if (code && !begun) {
			admin_reply_unfit(visit, &err);
			return;
		}
		if (!begun)
			admin_reply_stream(visit, status, headers, count, range->len);
		begun = true;
		if (code)
			admin_cut(visit);
		else if (!bare)
			code = admin_write(visit, piece, len);
		done += len;
	} while (!code && done < range->len && !bare);
}

static void send_ranges(struct admin_visit *visit, const struct sending *sending)
{
	_cleanup_free_ struct range_set *set = mem_alloc(sizeof(*set));
	uint64_t size = sending->entry->size;
	const struct range whole = {0, size};
	char content_range[48];
	struct http_header header = {"Content-Range", content_range};
	bool is_other;

	if (range_none_match(visit->if_none_match, sending->etag)) {
		send(visit, sending, 304, &whole); /* the length is that of a 200 */
		return;
	}
	/* Ranges are of the file that was read before, or there are none (RFC 9110, section 13.1.5). */
	is_other = visit->if_range && strcmp(visit->if_range, sending->etag) != 0;
	switch (range_parse(visit->method == HTTP_HEAD || is_other ? NULL : visit->range, size, set)) {
	case RANGE_UNSATISFIABLE:
		snprintf(content_range, sizeof(content_range), "bytes */%" PRIu64, size);
		admin_reply_error_with(visit, 416, "invalid", "the file has no bytes there", &header);
		break;
	case RANGE_PART:
		send(visit, sending, 206, &set->ranges[0]);
		break;
	case RANGE_PARTS: /* a server may ignore Range: several are for those who fetch, not for those who look */
	case RANGE_WHOLE:
		send(visit, sending, 200, &whole);
		break;
	}
}

/* A file's bytes lie where they do in a layer for ever. */
static void set_etag(struct sending *sending, const struct files_layer *layer)
{
	char digest[DIGEST_TEXT_MAX];

	snprintf(sending->etag, sizeof(sending->etag), "\"%s-%" PRIu64 "\"", digest_format(&layer->digest, digest),
		 sending->entry->offset);
}

void admin_file(struct admin_visit *visit)
{
	_cleanup_(files_close_imagep) struct files_image *image = NULL;
	_cleanup_(files_close_readerp) struct files_reader *reader = NULL;
	const struct layer_node *node;
	struct sending sending;
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
	if (code) {
		admin_reply_unfit(visit, &err);
		return;
	}
	sending = (struct sending){.reader = reader, .entry = node->content};
	set_etag(&sending, &image->layers[node->content_layer]);
	send_ranges(visit, &sending);
}
