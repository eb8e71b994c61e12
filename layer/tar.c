/* SPDX-License-Identifier: Apache-2.0 */
#include "layer/tar_internal.h"

#include "base/cleanup.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum tar_state {
	TAR_HEADER,   /* a block that is a header, or the end            -> all */
	TAR_SPECIAL,  /* a PAX header or a long name, to its end         -> HEADER */
	TAR_OLD_MAP,  /* more blocks of an old GNU sparse file's map     -> SKIP */
	TAR_DATA_MAP, /* a map in front of a sparse file's data          -> SKIP */
	TAR_SKIP,     /* a file's data and padding                       -> HEADER */
	TAR_ENDED,
};

struct tar {
	struct layer_table *table;
	enum tar_state state;
	uint64_t position; /* of what comes next, in the stream */
	uint64_t left;     /* SPECIAL, SKIP: bytes to come, with padding; DATA_MAP: bytes stored that are left */
	uint8_t block[TAR_BLOCK];
	size_t filled;
	unsigned zeros; /* blocks of them, one after another */

	char special_type;
	struct buf special;
	size_t special_len; /* without padding */

	/* What precedes an entry and is said of it. */
	struct tar_extra extra;
	const char *long_path, *long_link; /* GNU's; the table's, NULL: none */
	struct layer_entry entry;          /* OLD_MAP, DATA_MAP: waits for its map */
	struct tar_map_text map_text;
};

static void tar_freep(struct tar **tar)
{
	tar_free(*tar);
}

struct tar *tar_new(struct layer_table *table)
{
	struct tar *tar = mem_alloc(sizeof(*tar));

	tar->table = table;
	tar->special.max = TAR_SPECIAL_MAX + TAR_BLOCK;
	return tar;
}

void tar_free(struct tar *tar)
{
	if (!tar)
		return;
	tar_extra_clear(&tar->extra);
	buf_dispose(&tar->special);
	free(tar);
}

bool tar_has_ended(const struct tar *tar)
{
	return tar->state == TAR_ENDED;
}

/* Nothing precedes what comes next. */
static void drop_extra(struct tar *tar)
{
	tar_extra_clear(&tar->extra);
	tar->long_path = tar->long_link = NULL;
}

static uint64_t padded(uint64_t size)
{
	return (size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
}

/* Entries. */

static int check_path(const char *path, struct err *err)
{
	size_t len = strlen(path), depth = 1;

	if (len > LAYER_PATH_MAX)
		return err_set(err, ERR_LIMIT, "a path has more than %zu bytes", LAYER_PATH_MAX);
	for (const char *at = path; *at; at++)
		depth += *at == '/';
	return depth > LAYER_DEPTH_MAX ? err_set(err, ERR_LIMIT, "a path has more than %d parts", LAYER_DEPTH_MAX) : 0;
}

static int take_type(const struct tar_header *header, const char *path, enum layer_type *type, struct err *err)
{
	static const enum layer_type types[] = {LAYER_FILE,  LAYER_HARDLINK,  LAYER_SYMLINK, LAYER_CHAR,
						LAYER_BLOCK, LAYER_DIRECTORY, LAYER_FIFO};
	size_t len = strlen(path);

	if (header->type == 'M')
		return err_set(err, ERR_UNSUPPORTED, "the tar goes on from another volume");
	if (header->type >= '1' && header->type <= '6')
		*type = types[header->type - '0'];
	else if (header->type == 'D' || (header->type == '\0' && len > 0 && path[len - 1] == '/'))
		*type = LAYER_DIRECTORY;
	else
		*type = LAYER_FILE; /* POSIX: as every type that is not known */
	return 0;
}

static int set_texts(struct tar *tar, const struct tar_header *header, struct layer_entry *entry, struct err *err)
{
	struct tar_extra *extra = &tar->extra;
	const char *path = tar->long_path ? tar->long_path : extra->path;
	const char *link = tar->long_link ? tar->long_link : extra->link;
	bool is_link;
	int code;

	if (extra->sparse_name)
		path = extra->sparse_name;
	entry->path = path ? path : layer_table_text(tar->table, header->path, strlen(header->path));
	if (!entry->path)
		return layer_table_full(err);
	code = check_path(entry->path, err);
	if (!code)
		code = take_type(header, entry->path, &entry->type, err);
	if (code)
		return code;
	is_link = entry->type == LAYER_HARDLINK || entry->type == LAYER_SYMLINK;
	entry->link = !is_link ? "" : link ? link : layer_table_text(tar->table, header->link, header->link_len);
	entry->user = extra->user ? extra->user : layer_table_text(tar->table, header->user, header->user_len);
	entry->group = extra->group ? extra->group : layer_table_text(tar->table, header->group, header->group_len);
	if (!entry->link || !entry->user || !entry->group)
		return layer_table_full(err);
	return is_link ? check_path(entry->link, err) : 0;
}

static int set_xattrs(struct tar *tar, struct layer_entry *entry, struct err *err)
{
	size_t count = tar->extra.xattr_count;

	if (count == 0)
		return 0;
	entry->xattrs = layer_table_alloc(tar->table, count * sizeof(*entry->xattrs));
	if (!entry->xattrs)
		return layer_table_full(err);
	memcpy(entry->xattrs, tar->extra.xattrs, count * sizeof(*entry->xattrs));
	entry->xattr_count = count;
	return 0;
}

/* Everything about an entry but its map; what precedes it was taken into tar->extra. */
static int make_entry(struct tar *tar, const struct tar_header *header, struct layer_entry *entry, struct err *err)
{
	const struct tar_extra *extra = &tar->extra;
	int code;

	*entry = (struct layer_entry){
		.mode = header->mode,
		.uid = extra->has_uid ? extra->uid : header->uid,
		.gid = extra->has_gid ? extra->gid : header->gid,
		.mtime_s = extra->has_mtime ? extra->mtime_s : header->mtime_s,
		.mtime_ns = extra->mtime_ns,
		.major = header->major,
		.minor = header->minor,
		.offset = tar->position,
	};
	code = set_texts(tar, header, entry, err);
	if (!code)
		code = set_xattrs(tar, entry, err);
	if (entry->type == LAYER_FILE) {
		entry->stored = extra->has_size ? extra->size : header->size;
		entry->size = extra->has_sparse_size ? extra->sparse_size : entry->stored;
	}
	return code;
}

/* The entry is complete: what follows is its data. */
static int finish_entry(struct tar *tar, struct err *err)
{
	struct layer_entry *entry = &tar->entry;
	int code;

	entry->offset = tar->position;
	if (entry->stored > INT64_MAX - TAR_BLOCK || entry->offset > INT64_MAX - TAR_BLOCK - entry->stored)
		return err_set(err, ERR_INVALID, "no file is that large");
	tar->left = padded(entry->stored);
	tar->state = tar->left ? TAR_SKIP : TAR_HEADER;
	code = layer_table_add(tar->table, entry, err);
	drop_extra(tar);
	return code;
}

static int finish_sparse(struct tar *tar, struct err *err)
{
	int code = tar_map_take(&tar->extra, tar->table, &tar->entry, err);

	return code ? code : finish_entry(tar, err);
}

/* Old GNU sparse files: four parts in the header, 21 in each block behind it, each two fields of 12 bytes. */
static int take_old_parts(struct tar *tar, const uint8_t *fields, unsigned count, struct err *err)
{
	uint64_t start, len;
	int code = 0;

	for (unsigned i = 0; i < count && !code && fields[i * 24] != '\0'; i++) {
		code = tar_number(fields + i * 24, 12, &start, err);
		if (!code)
			code = tar_number(fields + i * 24 + 12, 12, &len, err);
		if (!code)
			code = tar_map_add(&tar->extra, start, len, err);
	}
	return code;
}

static int begin_old_sparse(struct tar *tar, struct err *err)
{
	int code = take_old_parts(tar, tar->block + 386, 4, err);

	if (!code)
		code = tar_number(tar->block + 483, 12, &tar->entry.size, err);
	if (!code && tar->block[482])
		tar->state = TAR_OLD_MAP;
	else if (!code)
		code = finish_sparse(tar, err);
	return code;
}

/* What the records say of a sparse file is nothing to one that is none, or that has its map elsewhere. */
static enum tar_sparse settle_sparse(struct tar_extra *extra, char type)
{
	enum tar_sparse sparse = type == 'S' ? TAR_WHOLE : tar_pax_sparse(extra);

	if (sparse == TAR_WHOLE) {
		extra->sparse_name = NULL;
		extra->has_sparse_size = false;
	}
	if (sparse != TAR_MAP_SAID)
		extra->map_count = 0;
	return sparse;
}

static int begin_entry(struct tar *tar, const struct tar_header *header, struct err *err)
{
	enum tar_sparse sparse = settle_sparse(&tar->extra, header->type);
	int code = make_entry(tar, header, &tar->entry, err);

	if (code)
		return code;
	if (header->type == 'S')
		return begin_old_sparse(tar, err);
	if (tar->entry.type != LAYER_FILE)
		return finish_entry(tar, err);
	if (sparse == TAR_MAP_IN_DATA) {
		tar->state = TAR_DATA_MAP;
		tar->map_text = (struct tar_map_text){0};
		return 0;
	}
	return sparse == TAR_MAP_SAID ? finish_sparse(tar, err) : finish_entry(tar, err);
}

/* What says something of the entry behind it. */

/* One that is empty takes back what was said before. */
static int take_long(struct tar *tar, const char **name, struct err *err)
{
	size_t len = tar->special_len ? strnlen(tar->special.data, tar->special_len) : 0;

	*name = len ? layer_table_text(tar->table, tar->special.data, len) : NULL;
	return len && !*name ? layer_table_full(err) : 0;
}

static int finish_special(struct tar *tar, struct err *err)
{
	tar->state = TAR_HEADER;
	switch (tar->special_type) {
	case 'L':
		return take_long(tar, &tar->long_path, err);
	case 'K':
		return take_long(tar, &tar->long_link, err);
	case 'x':
	case 'X':
		tar_extra_clear(&tar->extra); /* of more than one the last counts */
		return tar->special_len == 0
			       ? 0
			       : tar_pax_read(tar->special.data, tar->special_len, tar->table, &tar->extra, err);
	default:
		drop_extra(tar); /* an entry of its own, of which nobody unpacks anything */
		return 0;
	}
}

static int begin_special(struct tar *tar, const struct tar_header *header, struct err *err)
{
	if (header->size > TAR_SPECIAL_MAX)
		return err_set(err, ERR_LIMIT, "a PAX header or a long name has more than %zu KiB",
			       TAR_SPECIAL_MAX >> 10);
	buf_clear(&tar->special);
	tar->special_type = header->type;
	tar->special_len = (size_t)header->size;
	tar->left = padded(header->size);
	tar->state = TAR_SPECIAL;
	return tar->left ? 0 : finish_special(tar, err);
}

/* Blocks. */

static int take_header(struct tar *tar, struct err *err)
{
	struct tar_header header;
	int code;

	if (tar_is_zero(tar->block)) {
		if (++tar->zeros == 2)
			tar->state = TAR_ENDED;
		return 0;
	}
	if (tar->zeros) {
		tar->state = TAR_ENDED; /* whatever follows a block of zeros, as GNU tar has it */
		return 0;
	}
	code = tar_header_read(tar->block, &header, err);
	if (code)
		return code;
	switch (header.type) {
	case 'x':
	case 'X':
	case 'g':
	case 'L':
	case 'K':
	case 'V': /* the volume's label */
		return begin_special(tar, &header, err);
	default:
		return begin_entry(tar, &header, err);
	}
}

static int take_old_map(struct tar *tar, struct err *err)
{
	int code = take_old_parts(tar, tar->block, 21, err);

	return code || tar->block[504] ? code : finish_sparse(tar, err);
}

static int take_data_map(struct tar *tar, struct err *err)
{
	int code;

	if (tar->entry.stored < TAR_BLOCK)
		return err_set(err, ERR_INVALID, "a sparse file ends within its map");
	tar->entry.stored -= TAR_BLOCK;
	code = tar_map_text_feed(&tar->map_text, tar->block, &tar->extra, err);
	if (code == ERR_AGAIN)
		return 0;
	return code ? code : finish_sparse(tar, err);
}

static int take_block(struct tar *tar, struct err *err)
{
	switch (tar->state) {
	case TAR_OLD_MAP:
		return take_old_map(tar, err);
	case TAR_DATA_MAP:
		return take_data_map(tar, err);
	default:
		return take_header(tar, err);
	}
}

/* Takes part of what comes: how much. */
static size_t feed_some(struct tar *tar, const char *data, size_t len, int *code, struct err *err)
{
	size_t some = len;

	if (tar->state == TAR_SKIP || tar->state == TAR_SPECIAL) {
		if (some > tar->left)
			some = (size_t)tar->left;
		if (tar->state == TAR_SPECIAL)
			buf_append(&tar->special, data, some);
		tar->left -= some;
		tar->position += some;
		if (tar->left == 0 && tar->state == TAR_SPECIAL)
			*code = finish_special(tar, err);
		else if (tar->left == 0)
			tar->state = TAR_HEADER;
		return some;
	}
	if (some > TAR_BLOCK - tar->filled)
		some = TAR_BLOCK - tar->filled;
	memcpy(tar->block + tar->filled, data, some);
	tar->filled += some;
	tar->position += some;
	if (tar->filled == TAR_BLOCK) {
		tar->filled = 0;
		*code = take_block(tar, err);
	}
	return some;
}

static int at_offset(const struct tar *tar, const struct err *why, struct err *err)
{
	return err_set(err, why->code, "%s, at offset %" PRIu64 " of the tar", why->text, tar->position);
}

int tar_feed(struct tar *tar, const void *data, size_t len, struct err *err)
{
	const char *at = data;
	struct err why = {0};
	int code = 0;

	while (len > 0 && tar->state != TAR_ENDED && !code) {
		size_t some = feed_some(tar, at, len, &code, &why);

		at += some;
		len -= some;
	}
	return code ? at_offset(tar, &why, err) : 0;
}

int tar_finish(struct tar *tar, struct err *err)
{
	struct err why;

	if (tar->state == TAR_ENDED || (tar->state == TAR_HEADER && tar->filled == 0))
		return 0;
	err_set(&why, ERR_INVALID, "the tar ends too early");
	return at_offset(tar, &why, err);
}

int tar_read(const void *data, size_t len, struct layer_table *table, struct err *err)
{
	_cleanup_(tar_freep) struct tar *tar = tar_new(table);
	int code = tar_feed(tar, data, len, err);

	return code ? code : tar_finish(tar, err);
}
