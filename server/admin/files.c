/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of files in images: `larder files` and `larder find`. */
#include "server/admin/files.h"

#include "base/cleanup.h"
#include "server/pull/pull.h"
#include "server/registry/route.h"
#include "upstream/url.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <string.h>

#define FLUSH_BYTES ((size_t)64 << 10)

/* Which image. */

struct files_image *files_visit_open(struct admin_visit *visit, const char *name, bool look)
{
	struct files *files = visit->admin->files;
	char reference[ADMIN_VALUE_MAX], platform[ADMIN_VALUE_MAX];
	struct files_image *image = NULL;
	struct files_place place;
	struct err err = {0};
	struct route route;
	int code;

	if (!files) {
		admin_reply_error(visit, 404, "unsupported", "layers are not indexed here: layers.index is off");
		return NULL;
	}
	if (!admin_parameter(visit, name, reference) || !admin_parameter_optional(visit, "platform", platform))
		return NULL;
	if (!admin_find_reference(visit, reference, &route, &err)) {
		admin_reply_err(visit, &err);
		return NULL;
	}
	place = (struct files_place){route.upstream, route.repository, route.reference, platform};
	code = files_open_image(files, &place, &image, &err);
	if (!code && look)
		code = files_look_into(image, &err);
	if (!code)
		return image;
	files_close_image(image);
	admin_reply_unfit(visit, &err);
	return NULL;
}

/* Writing. */

void files_writer_begin(struct files_writer *writer, struct admin_visit *visit)
{
	static const struct http_header headers[] = {
		{"Content-Type", "application/json"},
		{"Cache-Control", "no-store"},
		{"X-Content-Type-Options", "nosniff"},
	};

	*writer = (struct files_writer){.visit = visit};
	admin_reply_stream(visit, 200, headers, sizeof(headers) / sizeof(headers[0]), HTTP_LENGTH_UNKNOWN);
}

int files_writer_flush(struct files_writer *writer, bool all)
{
	int code = 0;

	if (writer->text.len >= FLUSH_BYTES || all) {
		code = admin_write(writer->visit, writer->text.data, writer->text.len);
		buf_clear(&writer->text);
	}
	return code;
}

void files_writer_next(struct files_writer *writer)
{
	buf_append_text(&writer->text, writer->started ? ",\n" : "\n");
	writer->started = true;
}

void files_put_text(struct buf *out, const char *name, const char *text)
{
	buf_printf(out, "\"%s\":\"", name);
	buf_append_json(out, text);
	buf_append_text(out, "\"");
}

void files_put_name(struct buf *out, const char *name, const char *lead, const char *text)
{
	_cleanup_free_ char *escaped = NULL, *escaped_lead = NULL;

	buf_printf(out, "\"%s\":\"%s", name, lead);
	buf_append_json(out, text);
	buf_append_text(out, "\"");
	if (buf_is_utf8(text))
		return;
	escaped_lead = url_escape(lead);
	escaped = url_escape(text);
	buf_printf(out, ",\"%s_escaped\":\"%s%s\"", name, escaped_lead, escaped);
}

const char *files_type_name(const struct layer_node *node)
{
	switch (layer_node_type(node)) {
	case LAYER_FILE:
		return "file";
	case LAYER_HARDLINK:
		return "broken link";
	case LAYER_SYMLINK:
		return "symlink";
	case LAYER_CHAR:
		return "char device";
	case LAYER_BLOCK:
		return "block device";
	case LAYER_DIRECTORY:
		return "directory";
	case LAYER_FIFO:
		return "fifo";
	}
	return "";
}

static void put_xattrs(struct buf *out, const struct layer_entry *entry)
{
	buf_append_text(out, ",\"xattrs\":{");
	for (size_t i = 0; i < entry->xattr_count; i++) {
		const uint8_t *value = entry->xattrs[i].value;

		buf_append_text(out, i ? ",\"" : "\"");
		buf_append_json(out, entry->xattrs[i].name);
		buf_append_text(out, "\":\"0x");
		for (size_t k = 0; k < entry->xattrs[i].len; k++)
			buf_printf(out, "%02x", value[k]);
		buf_append_text(out, "\"");
	}
	buf_append_text(out, "}");
}

void files_put_node(struct buf *out, const struct layer_node *node, const char *path)
{
	const struct layer_entry *entry = node->content ? node->content : node->entry;

	files_put_name(out, "path", "/", path);
	buf_printf(out, ",\"type\":\"%s\"", files_type_name(node));
	if (!entry) {
		/* A directory that no layer tells of: what unpacking makes of it. */
		buf_append_text(out, ",\"mode\":\"0755\",\"uid\":0,\"gid\":0,\"size\":0");
		return;
	}
	buf_printf(out, ",\"mode\":\"%04o\",\"uid\":%" PRIu64 ",\"gid\":%" PRIu64 ",", entry->mode, entry->uid,
		   entry->gid);
	files_put_text(out, "user", entry->user);
	buf_append_text(out, ",");
	files_put_text(out, "group", entry->group);
	buf_printf(out, ",\"size\":%" PRIu64 ",\"mtime\":%" PRId64, entry->size, entry->mtime_s);
	if (entry->mtime_ns)
		buf_printf(out, ",\"mtime_ns\":%" PRIu32, entry->mtime_ns);
	if (entry->type == LAYER_SYMLINK) {
		buf_append_text(out, ",");
		files_put_name(out, "target", "", entry->link);
	}
	if (node->entry->type == LAYER_HARDLINK) {
		buf_append_text(out, ",");
		files_put_name(out, "hard_link_to", "", node->entry->link);
	}
	if (entry->type == LAYER_CHAR || entry->type == LAYER_BLOCK)
		buf_printf(out, ",\"device\":[%" PRIu32 ",%" PRIu32 "]", entry->major, entry->minor);
	if (entry->xattr_count > 0)
		put_xattrs(out, entry);
	buf_printf(out, ",\"layer\":%u", node->layer);
}

static void put_layer(struct buf *out, const struct files_layer *layer)
{
	static const char *const compressions[] = {
		[LAYER_PLAIN] = "none", [LAYER_GZIP] = "gzip", [LAYER_ZSTD] = "zstd"};
	char digest[DIGEST_TEXT_MAX];

	buf_printf(out, "{\"digest\":\"%s\",", digest_format(&layer->digest, digest));
	files_put_text(out, "media_type", layer->media_type);
	buf_printf(out,
		   ",\"size\":%" PRIu64 ",\"uncompressed\":%" PRIu64
		   ",\"compression\":\"%s\",\"entries\":%zu,\"checkpoints\":%zu,\"seekable\":%s}",
		   layer->index->in_size, layer->index->out_size, compressions[layer->index->compression],
		   layer->index->table.count, layer->index->count,
		   layer_index_is_seekable(layer->index) ? "true" : "false");
}

void files_put_image(struct buf *out, const struct files_image *image)
{
	char digest[DIGEST_TEXT_MAX];

	buf_printf(out, "\"upstream\":\"%s\",\"repository\":\"%s\",\"manifest\":\"%s\",",
		   pull_upstream_name(image->upstream), image->repository, digest_format(&image->manifest, digest));
	files_put_text(out, "platform", image->platform);
	buf_append_text(out, ",\"layers\":[");
	for (size_t i = 0; i < image->layer_count; i++) {
		if (i > 0)
			buf_append_text(out, ",");
		put_layer(out, &image->layers[i]);
	}
	buf_append_text(out, "]");
}

/* The routes. */

struct listing {
	const char *glob; /* NULL: everything */
	bool recursive;
};

/* A glob without a slash is for names, another for whole paths. */
static bool is_listed(const struct listing *listing, const struct layer_node *node, const char *path)
{
	const char *glob = listing->glob;

	if (!glob)
		return true;
	if (!strchr(glob, '/'))
		return fnmatch(glob, node->name, 0) == 0;
	return fnmatch(glob + (glob[0] == '/'), path, 0) == 0;
}

static int put_listed(struct files_writer *writer, const struct listing *listing, const struct layer_node *node)
{
	_cleanup_free_ char *path = layer_node_path(node);

	if (!is_listed(listing, node, path))
		return 0;
	files_writer_next(writer);
	buf_append_text(&writer->text, "{");
	files_put_node(&writer->text, node, path);
	buf_append_text(&writer->text, "}");
	return files_writer_flush(writer, false);
}

static void list(struct admin_visit *visit, const struct files_image *image, const struct layer_node *top,
		 const struct listing *listing)
{
	const struct layer_node *node = top;
	struct files_writer writer;
	int code = 0;

	files_writer_begin(&writer, visit);
	buf_append_text(&writer.text, "{");
	files_put_image(&writer.text, image);
	buf_append_text(&writer.text, ",\"files\":[");
	if (layer_node_type(top) != LAYER_DIRECTORY)
		(void)put_listed(&writer, listing, top);
	else
		while (!code && (node = layer_node_next(top, node, node == top || listing->recursive)))
			code = put_listed(&writer, listing, node);
	buf_append_text(&writer.text, "\n]}\n");
	files_writer_flush(&writer, true);
	buf_dispose(&writer.text);
}

static void list_visit(struct admin_visit *visit, const char *path, const struct listing *listing)
{
	_cleanup_(files_close_imagep) struct files_image *image = files_visit_open(visit, "ref", true);
	const struct layer_node *top;
	struct err err = {0};

	if (!image)
		return;
	if (layer_view_find(image->view, path, true, &top, &err))
		admin_reply_unfit(visit, &err);
	else
		list(visit, image, top, listing);
}

void admin_files(struct admin_visit *visit)
{
	char path[LAYER_PATH_MAX + 1], recursive[ADMIN_VALUE_MAX];
	struct listing listing = {0};

	if (!admin_parameter_bytes(visit, "path", false, path, sizeof(path)) ||
	    !admin_parameter_optional(visit, "recursive", recursive))
		return;
	listing.recursive = strcmp(recursive, "1") == 0 || strcmp(recursive, "true") == 0;
	list_visit(visit, path, &listing);
}

void admin_find(struct admin_visit *visit)
{
	char glob[LAYER_PATH_MAX + 1], path[LAYER_PATH_MAX + 1];
	struct listing listing = {.glob = glob, .recursive = true};

	if (admin_parameter_bytes(visit, "glob", true, glob, sizeof(glob)) &&
	    admin_parameter_bytes(visit, "path", false, path, sizeof(path)))
		list_visit(visit, path, &listing);
}
