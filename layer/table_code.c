/* SPDX-License-Identifier: Apache-2.0 */
#include "layer/table_code.h"

#include "base/cleanup.h"
#include "layer/varint.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define LEVEL     9
#define PLAIN_MAX (2 * LAYER_TEXT_MAX) /* of all columns, before they are compressed */
#define BLOCK     512

enum column {
	COLUMN_SHARED, /* how much of its path is that of the entry before */
	COLUMN_LENGTH, /* of the rest … */
	COLUMN_PATH,   /* … which is here */
	COLUMN_TYPE,
	COLUMN_MODE,
	COLUMN_OWNER,  /* 0: as the entry before; else 1, uid, gid, user, group */
	COLUMN_SIZE,   /* of files */
	COLUMN_OFFSET, /* in blocks, beyond the place where one header would end */
	COLUMN_TIME,   /* seconds, less those of the entry before */
	COLUMN_NANOSECONDS,
	COLUMN_LINK,   /* of links */
	COLUMN_DEVICE, /* of devices: major, minor */
	COLUMN_XATTRS, /* how many; name and value of each */
	COLUMN_PARTS,  /* of files: 0, or 1 and how many parts a sparse file has; of each the gap before it, its length
			*/
	COLUMNS,
};

/* What the next entry is told apart from. */
struct previous {
	const char *path;
	uint64_t end; /* of its data and padding */
	uint64_t uid, gid;
	const char *user, *group;
	int64_t mtime_s;
};

static const struct previous at_start = {.path = "", .user = "", .group = ""};

static uint64_t expected_offset(const struct previous *previous)
{
	return previous->end + BLOCK;
}

static void remember(struct previous *previous, const struct layer_entry *entry)
{
	*previous = (struct previous){
		.path = entry->path,
		.end = entry->offset + (entry->stored + BLOCK - 1) / BLOCK * BLOCK,
		.uid = entry->uid,
		.gid = entry->gid,
		.user = entry->user,
		.group = entry->group,
		.mtime_s = entry->mtime_s,
	};
}

/* Encoding. What would pass a buffer's maximum is noticed at the end, by the sum of all. */

static void put_bytes(struct buf *column, const void *data, size_t len)
{
	varint_append(column, len);
	buf_append(column, data, len);
}

static void put_path(struct buf *columns, const char *path, const char *before)
{
	size_t shared = 0;

	while (path[shared] && path[shared] == before[shared])
		shared++;
	varint_append(&columns[COLUMN_SHARED], shared);
	varint_append(&columns[COLUMN_LENGTH], strlen(path + shared));
	buf_append_text(&columns[COLUMN_PATH], path + shared);
}

static void put_owner(struct buf *column, const struct layer_entry *entry, const struct previous *previous)
{
	if (entry->uid == previous->uid && entry->gid == previous->gid && strcmp(entry->user, previous->user) == 0 &&
	    strcmp(entry->group, previous->group) == 0) {
		varint_append(column, 0);
		return;
	}
	varint_append(column, 1);
	varint_append(column, entry->uid);
	varint_append(column, entry->gid);
	put_bytes(column, entry->user, strlen(entry->user));
	put_bytes(column, entry->group, strlen(entry->group));
}

static void put_parts(struct buf *column, const struct layer_entry *entry)
{
	uint64_t at = 0;

	varint_append(column, entry->extents ? 1 : 0);
	if (!entry->extents)
		return;
	varint_append(column, entry->extent_count);
	for (size_t i = 0; i < entry->extent_count; i++) {
		varint_append(column, entry->extents[i].start - at);
		varint_append(column, entry->extents[i].len);
		at = entry->extents[i].start + entry->extents[i].len;
	}
}

static void put_entry(struct buf *columns, const struct layer_entry *entry, const struct previous *previous)
{
	put_path(columns, entry->path, previous->path);
	varint_append(&columns[COLUMN_TYPE], entry->type);
	varint_append(&columns[COLUMN_MODE], entry->mode);
	put_owner(&columns[COLUMN_OWNER], entry, previous);
	varint_append(&columns[COLUMN_OFFSET], (entry->offset - expected_offset(previous)) / BLOCK);
	varint_append(&columns[COLUMN_TIME],
		      varint_fold((int64_t)((uint64_t)entry->mtime_s - (uint64_t)previous->mtime_s)));
	varint_append(&columns[COLUMN_NANOSECONDS], entry->mtime_ns);
	varint_append(&columns[COLUMN_XATTRS], entry->xattr_count);
	for (size_t i = 0; i < entry->xattr_count; i++) {
		put_bytes(&columns[COLUMN_XATTRS], entry->xattrs[i].name, strlen(entry->xattrs[i].name));
		put_bytes(&columns[COLUMN_XATTRS], entry->xattrs[i].value, entry->xattrs[i].len);
	}
	if (entry->type == LAYER_FILE) {
		varint_append(&columns[COLUMN_SIZE], entry->size);
		put_parts(&columns[COLUMN_PARTS], entry);
	} else if (entry->type == LAYER_SYMLINK || entry->type == LAYER_HARDLINK) {
		put_bytes(&columns[COLUMN_LINK], entry->link, strlen(entry->link));
	} else if (entry->type == LAYER_CHAR || entry->type == LAYER_BLOCK) {
		varint_append(&columns[COLUMN_DEVICE], entry->major);
		varint_append(&columns[COLUMN_DEVICE], entry->minor);
	}
}

static int compress(const struct buf *plain, struct buf *out, struct err *err)
{
	_cleanup_(buf_dispose) struct buf packed = {0};
	size_t bound = ZSTD_compressBound(plain->len), len;

	packed.data = mem_alloc(bound);
	len = ZSTD_compress(packed.data, bound, plain->data, plain->len, LEVEL);
	if (ZSTD_isError(len) || buf_append(out, packed.data, len))
		return err_set(err, ERR_LIMIT, "the index is too large");
	return 0;
}

int table_encode(const struct layer_table *table, struct buf *out, struct err *err)
{
	_cleanup_(buf_dispose) struct buf plain = {.max = PLAIN_MAX};
	struct previous previous = at_start;
	struct buf columns[COLUMNS] = {0};
	int code = 0;

	for (size_t i = 0; i < COLUMNS; i++)
		columns[i].max = PLAIN_MAX;
	for (size_t i = 0; i < table->count; i++) {
		put_entry(columns, &table->entries[i], &previous);
		remember(&previous, &table->entries[i]);
	}
	varint_append(&plain, table->count);
	for (size_t i = 0; i < COLUMNS; i++)
		varint_append(&plain, columns[i].len);
	for (size_t i = 0; i < COLUMNS && !code; i++)
		code = buf_append(&plain, columns[i].data, columns[i].len);
	for (size_t i = 0; i < COLUMNS; i++)
		buf_dispose(&columns[i]);
	return code ? err_set(err, ERR_LIMIT, "the index is too large") : compress(&plain, out, err);
}

/* Decoding. Each function is false for what put_entry() would not have written. */

static bool get_text(struct varint_reader *column, struct layer_table *table, const char **text)
{
	uint64_t len;

	if (!varint_read(column, &len) || len > (size_t)(column->end - column->at) || memchr(column->at, 0, len))
		return false;
	*text = layer_table_text(table, (const char *)column->at, len);
	column->at += len;
	return *text != NULL;
}

static bool get_path(struct varint_reader *columns, struct layer_table *table, const char *before, const char **path)
{
	struct varint_reader *rest = &columns[COLUMN_PATH];
	char joined[LAYER_PATH_MAX + 1];
	uint64_t shared, len;

	if (!varint_read(&columns[COLUMN_SHARED], &shared) || !varint_read(&columns[COLUMN_LENGTH], &len) ||
	    shared > strlen(before) || len > (size_t)(rest->end - rest->at) || shared + len > LAYER_PATH_MAX ||
	    memchr(rest->at, 0, len))
		return false;
	memcpy(joined, before, shared);
	memcpy(joined + shared, rest->at, len);
	rest->at += len;
	*path = layer_table_text(table, joined, shared + len);
	return *path != NULL;
}

static bool get_owner(struct varint_reader *column, struct layer_table *table, const struct previous *previous,
		      struct layer_entry *entry)
{
	uint64_t differs;

	if (!varint_read(column, &differs))
		return false;
	entry->uid = previous->uid;
	entry->gid = previous->gid;
	entry->user = previous->user;
	entry->group = previous->group;
	return !differs || (varint_read(column, &entry->uid) && varint_read(column, &entry->gid) &&
			    get_text(column, table, &entry->user) && get_text(column, table, &entry->group));
}

static bool get_xattrs(struct varint_reader *column, struct layer_table *table, struct layer_entry *entry)
{
	uint64_t count, len;

	if (!varint_read(column, &count) || count > LAYER_XATTRS_MAX)
		return false;
	if (count == 0)
		return true;
	entry->xattr_count = count;
	entry->xattrs = layer_table_alloc(table, count * sizeof(*entry->xattrs));
	for (size_t i = 0; entry->xattrs && i < count; i++) {
		void *value;

		if (!get_text(column, table, &entry->xattrs[i].name) || !varint_read(column, &len) ||
		    len > (size_t)(column->end - column->at))
			return false;
		value = layer_table_alloc(table, len + 1);
		if (!value)
			return false;
		memcpy(value, column->at, len);
		column->at += len;
		entry->xattrs[i].value = value;
		entry->xattrs[i].len = len;
	}
	return entry->xattrs != NULL;
}

static bool get_parts(struct varint_reader *column, struct layer_table *table, struct layer_entry *entry)
{
	uint64_t sparse, count, at = 0, gap, len;

	entry->stored = entry->size;
	if (!varint_read(column, &sparse) || (sparse && (!varint_read(column, &count) || count > LAYER_EXTENTS_MAX)))
		return false;
	if (!sparse)
		return true;
	entry->extent_count = count;
	entry->extents = layer_table_alloc(table, (count + 1) * sizeof(*entry->extents));
	entry->stored = 0;
	for (size_t i = 0; entry->extents && i < count; i++) {
		if (!varint_read(column, &gap) || !varint_read(column, &len) || gap > entry->size - at ||
		    len > entry->size - at - gap)
			return false;
		entry->extents[i] = (struct layer_extent){at + gap, len};
		entry->stored += len;
		at += gap + len;
	}
	return entry->extents != NULL;
}

static bool get_special(struct varint_reader *columns, struct layer_table *table, struct layer_entry *entry)
{
	uint64_t major, minor;

	entry->link = "";
	switch (entry->type) {
	case LAYER_FILE:
		return varint_read(&columns[COLUMN_SIZE], &entry->size) && entry->size <= INT64_MAX &&
		       get_parts(&columns[COLUMN_PARTS], table, entry);
	case LAYER_SYMLINK:
	case LAYER_HARDLINK:
		return get_text(&columns[COLUMN_LINK], table, &entry->link);
	case LAYER_CHAR:
	case LAYER_BLOCK:
		if (!varint_read(&columns[COLUMN_DEVICE], &major) || !varint_read(&columns[COLUMN_DEVICE], &minor))
			return false;
		entry->major = (uint32_t)major;
		entry->minor = (uint32_t)minor;
		return true;
	case LAYER_DIRECTORY:
	case LAYER_FIFO:
		return true;
	}
	return false;
}

static bool get_entry(struct varint_reader *columns, struct layer_table *table, const struct previous *previous,
		      struct layer_entry *entry)
{
	uint64_t type, mode, blocks, seconds, nanoseconds, expected = expected_offset(previous);

	*entry = (struct layer_entry){0};
	if (!get_path(columns, table, previous->path, &entry->path) || !varint_read(&columns[COLUMN_TYPE], &type) ||
	    type > LAYER_FIFO || !varint_read(&columns[COLUMN_MODE], &mode) || mode > 07777 ||
	    !get_owner(&columns[COLUMN_OWNER], table, previous, entry) ||
	    !varint_read(&columns[COLUMN_OFFSET], &blocks) || blocks > ((uint64_t)INT64_MAX - expected) / BLOCK ||
	    !varint_read(&columns[COLUMN_TIME], &seconds) || !varint_read(&columns[COLUMN_NANOSECONDS], &nanoseconds) ||
	    nanoseconds > 999999999 || !get_xattrs(&columns[COLUMN_XATTRS], table, entry))
		return false;
	entry->type = (enum layer_type)type;
	entry->mode = (uint32_t)mode;
	entry->offset = expected + blocks * BLOCK;
	entry->mtime_s = (int64_t)((uint64_t)previous->mtime_s + (uint64_t)varint_unfold(seconds));
	entry->mtime_ns = (uint32_t)nanoseconds;
	return get_special(columns, table, entry) && entry->stored <= INT64_MAX - BLOCK - entry->offset;
}

static bool decode_plain(const uint8_t *plain, size_t len, struct layer_table *table)
{
	struct varint_reader reader = {plain, plain + len}, columns[COLUMNS];
	struct previous previous = at_start;
	uint64_t count, lengths[COLUMNS];
	struct layer_entry entry;

	if (!varint_read(&reader, &count) || count > LAYER_ENTRIES_MAX)
		return false;
	for (size_t i = 0; i < COLUMNS; i++)
		if (!varint_read(&reader, &lengths[i]))
			return false;
	for (size_t i = 0; i < COLUMNS; i++) {
		if (lengths[i] > (size_t)(reader.end - reader.at))
			return false;
		columns[i] = (struct varint_reader){reader.at, reader.at + lengths[i]};
		reader.at += lengths[i];
	}
	for (uint64_t i = 0; i < count; i++) {
		if (!get_entry(columns, table, &previous, &entry) || layer_table_add(table, &entry, NULL))
			return false;
		remember(&previous, &entry);
	}
	return reader.at == reader.end;
}

int table_decode(const void *data, size_t len, struct layer_table *table, struct err *err)
{
	unsigned long long plain_len = ZSTD_getFrameContentSize(data, len);
	_cleanup_free_ uint8_t *plain = NULL;
	size_t got = 0;

	/* However well it is compressed: many equal entries become next to nothing. */
	if (plain_len <= PLAIN_MAX) {
		plain = mem_alloc((size_t)plain_len + 1);
		got = ZSTD_decompress(plain, (size_t)plain_len, data, len);
	}
	if (!plain || ZSTD_isError(got) || !decode_plain(plain, got, table))
		return err_set(err, ERR_INVALID, "the table of the index is damaged");
	return 0;
}
