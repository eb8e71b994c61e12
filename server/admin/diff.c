/* SPDX-License-Identifier: Apache-2.0 */
/* What differs between the files of two images: `larder diff`. */
#include "server/admin/files.h"

#include "base/cleanup.h"

#include <string.h>

#define PIECE_BYTES ((size_t)64 << 10)

/* One of the two, and where the walk through it stands. */
struct side {
	struct admin_visit *visit;
	struct files_image *image;
	struct files_reader *readers[FILES_LAYERS_MAX]; /* those that were needed */
	const struct layer_node *top, *at;
	char *path;
	char piece[PIECE_BYTES];
};

static void side_next(struct side *side)
{
	free(side->path);
	side->at = layer_node_next(side->top, side->at, true);
	side->path = side->at ? layer_node_path(side->at) : NULL;
}

static void side_freep(struct side **side)
{
	for (size_t i = 0; i < FILES_LAYERS_MAX; i++)
		files_close_reader((*side)->readers[i]);
	files_close_image((*side)->image);
	free((*side)->path);
	free(*side);
}

/* In the order of the walk: a directory, all below it, then its next sibling. */
static int compare_paths(const char *a, const char *b)
{
	int left, right;

	while (*a && *a == *b) {
		a++;
		b++;
	}
	left = *a == '/' ? 1 : *a ? (unsigned char)*a + 1 : 0;
	right = *b == '/' ? 1 : *b ? (unsigned char)*b + 1 : 0;
	return left - right;
}

static const struct layer_entry *content_of(const struct side *side)
{
	return side->at->content ? side->at->content : side->at->entry;
}

/* Content. */

static int read_piece(struct side *side, uint64_t offset, size_t len, struct err *err)
{
	struct files_reader **reader = &side->readers[side->at->content_layer];
	int code = *reader ? 0 : files_open_reader(side->image, side->at->content_layer, reader, err);

	return code ? code : files_read(*reader, side->at->content, offset, side->piece, len, err);
}

/* What is a hole in both needs no look. */
static uint64_t next_data(const struct side *from, const struct side *to, uint64_t offset)
{
	uint64_t a = layer_entry_next_data(from->at->content, offset);
	uint64_t b = layer_entry_next_data(to->at->content, offset);

	return a < b ? a : b;
}

/* Whether two files of the same size have the same bytes. */
static int compare_bytes(struct side *from, struct side *to, bool *differ, struct err *err)
{
	uint64_t size = from->at->content->size, done = next_data(from, to, 0);
	int code = 0;

	*differ = false;
	while (done < size && !*differ && !code) {
		size_t len = size - done < PIECE_BYTES ? (size_t)(size - done) : PIECE_BYTES;

		if (admin_has_ended(from->visit))
			return err_set(err, ERR_CANCELLED, "nobody waits for it any more");
		code = read_piece(from, done, len, err);
		if (!code)
			code = read_piece(to, done, len, err);
		if (!code)
			*differ = memcmp(from->piece, to->piece, len) != 0;
		done = next_data(from, to, done + len);
	}
	return code;
}

/* Files of one layer at one place are one file. Others are read: builds that can be repeated give all files one time,
 * and a number in a text may change without its length. */
static int compare_content(struct side *from, struct side *to, bool *differ, struct err *err)
{
	const struct layer_entry *a = from->at->content, *b = to->at->content;
	bool same_layer = digest_equal(&from->image->layers[from->at->content_layer].digest,
				       &to->image->layers[to->at->content_layer].digest);

	*differ = a->size != b->size;
	return *differ || (same_layer && a->offset == b->offset) ? 0 : compare_bytes(from, to, differ, err);
}

static bool same_xattrs(const struct layer_entry *a, const struct layer_entry *b)
{
	if (a->xattr_count != b->xattr_count)
		return false;
	for (size_t i = 0; i < a->xattr_count; i++)
		if (strcmp(a->xattrs[i].name, b->xattrs[i].name) != 0 || a->xattrs[i].len != b->xattrs[i].len ||
		    memcmp(a->xattrs[i].value, b->xattrs[i].value, a->xattrs[i].len) != 0)
			return false;
	return true;
}

/* What differs, as words of a JSON array; empty when nothing does. Times alone are no difference. */
static int compare(struct side *from, struct side *to, struct buf *words, struct err *err)
{
	const struct layer_entry *a = content_of(from), *b = content_of(to);
	bool content = false;
	int code = 0;

	if (layer_node_type(from->at) != layer_node_type(to->at)) {
		buf_append_text(words, "\"type\"");
		return 0;
	}
	if (!a || !b)
		return 0; /* a directory that one of the two tells nothing of */
	if (a->mode != b->mode)
		buf_printf(words, "%s\"mode\"", words->len ? "," : "");
	if (a->uid != b->uid || a->gid != b->gid)
		buf_printf(words, "%s\"owner\"", words->len ? "," : "");
	if (a->type == LAYER_SYMLINK && strcmp(a->link, b->link) != 0)
		buf_printf(words, "%s\"target\"", words->len ? "," : "");
	if (a->major != b->major || a->minor != b->minor)
		buf_printf(words, "%s\"device\"", words->len ? "," : "");
	if (!same_xattrs(a, b))
		buf_printf(words, "%s\"xattrs\"", words->len ? "," : "");
	if (a->type == LAYER_FILE)
		code = compare_content(from, to, &content, err);
	if (content)
		buf_printf(words, "%s\"content\"", words->len ? "," : "");
	return code;
}

/* The walk. */

static void put_side(struct buf *out, const char *name, const struct side *side)
{
	buf_printf(out, ",\"%s\":{", name);
	files_put_node(out, side->at, side->path);
	buf_append_text(out, "}");
}

static void put_change(struct files_writer *writer, const char *change, const struct side *from, const struct side *to,
		       const char *words)
{
	const struct side *named = from ? from : to;
	struct buf *out = &writer->text;

	if (!named)
		return;
	files_writer_next(writer);
	buf_printf(out, "{\"change\":\"%s\",", change);
	files_put_name(out, "path", "/", named->path);
	if (words)
		buf_printf(out, ",\"what\":[%s]", words);
	if (from)
		put_side(out, "from", from);
	if (to)
		put_side(out, "to", to);
	buf_append_text(out, "}");
}

static int put_both(struct files_writer *writer, struct side *from, struct side *to, struct err *err)
{
	_cleanup_(buf_dispose) struct buf words = {0};
	int code = compare(from, to, &words, err);

	if (!code && words.len > 0)
		put_change(writer, "changed", from, to, words.data);
	return code;
}

static int walk(struct files_writer *writer, struct side *from, struct side *to, struct err *err)
{
	int code = 0, order;

	side_next(from);
	side_next(to);
	while (!code && (from->at || to->at)) {
		order = !from->at ? 1 : !to->at ? -1 : compare_paths(from->path, to->path);
		if (order < 0)
			put_change(writer, "removed", from, NULL, NULL);
		else if (order > 0)
			put_change(writer, "added", NULL, to, NULL);
		else
			code = put_both(writer, from, to, err);
		if (order <= 0)
			side_next(from);
		if (order >= 0)
			side_next(to);
		if (!code)
			code = files_writer_flush(writer, false);
	}
	return code;
}

static struct side *side_open(struct admin_visit *visit, const char *name)
{
	struct files_image *image = files_visit_open(visit, name, true);
	struct side *side;

	if (!image)
		return NULL;
	side = mem_alloc(sizeof(*side));
	side->visit = visit;
	side->image = image;
	side->top = side->at = layer_view_root(image->view);
	return side;
}

static void diff(struct admin_visit *visit, struct side *from, struct side *to)
{
	struct files_writer writer;
	struct err err = {0};

	files_writer_begin(&writer, visit);
	buf_append_text(&writer.text, "{\"from\":{");
	files_put_image(&writer.text, from->image);
	buf_append_text(&writer.text, "},\"to\":{");
	files_put_image(&writer.text, to->image);
	buf_append_text(&writer.text, "},\"changes\":[");
	if (walk(&writer, from, to, &err)) {
		/* The good reply has begun: that it ends early is all that can still be told. */
		admin_cut(visit);
	} else {
		buf_append_text(&writer.text, "\n]}\n");
		files_writer_flush(&writer, true);
	}
	buf_dispose(&writer.text);
}

void admin_diff(struct admin_visit *visit)
{
	struct side *from = side_open(visit, "from"), *to = from ? side_open(visit, "to") : NULL;

	if (to) {
		diff(visit, from, to);
		side_freep(&to);
	}
	if (from)
		side_freep(&from);
}
