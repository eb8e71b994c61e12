/* SPDX-License-Identifier: Apache-2.0 */
/* PAX records (POSIX.1-2017, "pax Extended Header"), and how GNU tar describes sparse files with them. */
#include "layer/tar_internal.h"

#include <stdlib.h>
#include <string.h>

#define XATTR_PREFIX "SCHILY.xattr."

void tar_extra_clear(struct tar_extra *extra)
{
	free(extra->map);
	memset(extra, 0, sizeof(*extra));
}

/* A decimal number that fills the text. */
static int decimal(const char *text, size_t len, uint64_t *number, struct err *err)
{
	*number = 0;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9' || *number > (INT64_MAX - 9) / 10)
			return err_set(err, ERR_INVALID, "a PAX number is none, or too large");
		*number = *number * 10 + (uint64_t)(text[i] - '0');
	}
	return len ? 0 : err_set(err, ERR_INVALID, "a PAX number is empty");
}

/* "-1234.567": whole seconds, rounded down, and nanoseconds. */
static int parse_time(const char *text, size_t len, struct tar_extra *extra, struct err *err)
{
	const char *dot = memchr(text, '.', len);
	bool negative = len > 0 && text[0] == '-';
	size_t whole = dot ? (size_t)(dot - text) : len;
	uint64_t seconds, scale = 100000000, ns = 0;
	int code = decimal(text + negative, whole - negative, &seconds, err);

	if (code)
		return code;
	for (size_t i = whole + 1; i < len && scale > 0; i++, scale /= 10) {
		if (text[i] < '0' || text[i] > '9')
			return err_set(err, ERR_INVALID, "a PAX time is none");
		ns += (uint64_t)(text[i] - '0') * scale;
	}
	extra->has_mtime = true;
	extra->mtime_s = negative ? -(int64_t)seconds : (int64_t)seconds;
	if (negative && ns > 0) {
		extra->mtime_s--;
		ns = 1000000000 - ns;
	}
	extra->mtime_ns = (uint32_t)ns;
	return 0;
}

/* Sparse files. */

int tar_map_add(struct tar_extra *extra, uint64_t start, uint64_t len, struct err *err)
{
	if (extra->map_count == LAYER_EXTENTS_MAX)
		return err_set(err, ERR_LIMIT, "a sparse file has more than %zu parts", LAYER_EXTENTS_MAX);
	if (extra->map_count == extra->map_cap) {
		extra->map_cap = extra->map_cap ? extra->map_cap * 2 : 16;
		extra->map = mem_realloc(extra->map, extra->map_cap * sizeof(*extra->map));
	}
	extra->map[extra->map_count++] = (struct layer_extent){start, len};
	return 0;
}

int tar_map_take(struct tar_extra *extra, struct layer_table *table, struct layer_entry *entry, struct err *err)
{
	uint64_t at = 0, stored = 0;
	size_t count = 0;

	for (size_t i = 0; i < extra->map_count; i++) {
		struct layer_extent extent = extra->map[i];

		if (extent.start < at || extent.start > entry->size || extent.len > entry->size - extent.start)
			return err_set(err, ERR_INVALID, "the parts of a sparse file overlap, or lie beyond its end");
		at = extent.start + extent.len;
		stored += extent.len;
		if (extent.len > 0)
			extra->map[count++] = extent;
	}
	if (stored != entry->stored)
		return err_set(err, ERR_INVALID, "the parts of a sparse file do not make up what is stored of it");
	entry->extents = layer_table_alloc(table, (count + 1) * sizeof(*entry->extents));
	if (!entry->extents)
		return layer_table_full(err);
	if (count > 0)
		memcpy(entry->extents, extra->map, count * sizeof(*entry->extents));
	entry->extent_count = count;
	return 0;
}

int tar_map_text_feed(struct tar_map_text *text, const uint8_t block[TAR_BLOCK], struct tar_extra *extra,
		      struct err *err)
{
	int code = 0;

	for (size_t i = 0; i < TAR_BLOCK && !code; i++) {
		if (block[i] >= '0' && block[i] <= '9' && text->digits < 18) {
			text->number = text->number * 10 + (uint64_t)(block[i] - '0');
			text->digits++;
			continue;
		}
		if (block[i] != '\n' || text->digits == 0)
			return err_set(err, ERR_INVALID, "the map of a sparse file is malformed");
		if (!text->counted) {
			if (text->number > LAYER_EXTENTS_MAX)
				return err_set(err, ERR_LIMIT, "a sparse file has more than %zu parts",
					       LAYER_EXTENTS_MAX);
			text->counted = true;
			text->numbers = text->number * 2;
		} else if (text->numbers-- % 2 == 0) {
			code = tar_map_add(extra, text->number, 0, err);
		} else {
			extra->map[extra->map_count - 1].len = text->number;
		}
		text->number = text->digits = 0;
		if (text->counted && text->numbers == 0)
			return code; /* the rest of the block is padding */
	}
	return code ? code : ERR_AGAIN;
}

/* "0,512,4096,512" (0.1) */
static int parse_map(const char *value, size_t len, struct tar_extra *extra, struct err *err)
{
	const char *end = value + len;
	uint64_t number, start = 0;
	bool second = false;
	int code = 0;

	extra->map_count = 0;
	extra->half = false;
	while (value < end && !code) {
		const char *comma = memchr(value, ',', (size_t)(end - value));
		size_t part = (size_t)((comma ? comma : end) - value);

		code = decimal(value, part, &number, err);
		if (!code && second)
			code = tar_map_add(extra, start, number, err);
		start = number;
		second = !second;
		value += part + 1;
	}
	return !code && second ? err_set(err, ERR_INVALID, "the map of a sparse file is malformed") : code;
}

/* By the version of the format, and where none is said by the map: as Go's archive/tar tells, to which a file of a
 * version it does not know is a plain one. */
enum tar_sparse tar_pax_sparse(const struct tar_extra *extra)
{
	char major = extra->sparse_major, minor = extra->sparse_minor;

	if (major == '1' && minor == '0')
		return TAR_MAP_IN_DATA;
	if (major == '0' && (minor == '0' || minor == '1'))
		return TAR_MAP_SAID;
	return !major && !minor && extra->map_count > 0 ? TAR_MAP_SAID : TAR_WHOLE;
}

static char version_part(const char *value, size_t len)
{
	if (len == 0)
		return '\0';
	return len == 1 && value[0] >= '0' && value[0] <= '9' ? value[0] : '?';
}

/* What follows "GNU.sparse.". */
static int take_sparse(const char *key, const char *value, size_t len, struct layer_table *table,
		       struct tar_extra *extra, struct err *err)
{
	uint64_t number = 0;
	int code;

	if (strcmp(key, "name") == 0) {
		extra->sparse_name = len ? layer_table_text(table, value, len) : NULL;
		return len && !extra->sparse_name ? layer_table_full(err) : 0;
	}
	if (strcmp(key, "map") == 0)
		return parse_map(value, len, extra, err);
	if (strcmp(key, "major") == 0 || strcmp(key, "minor") == 0) {
		*(key[1] == 'a' ? &extra->sparse_major : &extra->sparse_minor) = version_part(value, len);
		return 0;
	}
	code = decimal(value, len, &number, err);
	if (code)
		return code;
	if (strcmp(key, "size") == 0 || strcmp(key, "realsize") == 0) {
		extra->sparse_size = number;
		extra->has_sparse_size = true;
	} else if (strcmp(key, "offset") == 0) {
		extra->half = true;
		code = tar_map_add(extra, number, 0, err);
	} else if (strcmp(key, "numbytes") == 0) {
		if (!extra->half)
			return err_set(err, ERR_INVALID, "the map of a sparse file is malformed");
		extra->half = false;
		extra->map[extra->map_count - 1].len = number;
	}
	return code;
}

/* Records. */

static int take_text(const char **field, const char *value, size_t len, struct layer_table *table, struct err *err)
{
	if (memchr(value, 0, len))
		return err_set(err, ERR_INVALID, "a PAX name holds a NUL");
	/* An empty value takes back what was said before. */
	*field = len ? layer_table_text(table, value, len) : NULL;
	return len && !*field ? layer_table_full(err) : 0;
}

static int take_number(bool *has, uint64_t *number, const char *value, size_t len, struct err *err)
{
	*has = len > 0;
	return len ? decimal(value, len, number, err) : 0;
}

static int take_xattr(const char *name, const char *value, size_t len, struct layer_table *table,
		      struct tar_extra *extra, struct err *err)
{
	struct layer_xattr xattr = {.len = len};
	void *copy = layer_table_alloc(table, len + 1);

	xattr.name = layer_table_text(table, name, strlen(name));
	if (!copy || !xattr.name)
		return layer_table_full(err);
	if (extra->xattr_count == LAYER_XATTRS_MAX)
		return err_set(err, ERR_LIMIT, "an entry has more than %d extended attributes", LAYER_XATTRS_MAX);
	memcpy(copy, value, len);
	xattr.value = copy;
	extra->xattrs[extra->xattr_count++] = xattr;
	return 0;
}

static int take_record(const char *key, const char *value, size_t len, struct layer_table *table,
		       struct tar_extra *extra, struct err *err)
{
	if (strcmp(key, "path") == 0)
		return take_text(&extra->path, value, len, table, err);
	if (strcmp(key, "linkpath") == 0)
		return take_text(&extra->link, value, len, table, err);
	if (strcmp(key, "uname") == 0)
		return take_text(&extra->user, value, len, table, err);
	if (strcmp(key, "gname") == 0)
		return take_text(&extra->group, value, len, table, err);
	if (strcmp(key, "size") == 0)
		return take_number(&extra->has_size, &extra->size, value, len, err);
	if (strcmp(key, "uid") == 0)
		return take_number(&extra->has_uid, &extra->uid, value, len, err);
	if (strcmp(key, "gid") == 0)
		return take_number(&extra->has_gid, &extra->gid, value, len, err);
	if (strcmp(key, "mtime") == 0)
		return len ? parse_time(value, len, extra, err) : 0;
	if (strncmp(key, XATTR_PREFIX, strlen(XATTR_PREFIX)) == 0)
		return take_xattr(key + strlen(XATTR_PREFIX), value, len, table, extra, err);
	if (strncmp(key, "GNU.sparse.", 11) == 0)
		return take_sparse(key + 11, value, len, table, extra, err);
	return 0;
}

int tar_pax_read(const char *data, size_t len, struct layer_table *table, struct tar_extra *extra, struct err *err)
{
	static const char malformed[] = "a PAX header is malformed";
	const char *end = data + len;
	char key[LAYER_PATH_MAX];

	/* "LENGTH KEY=VALUE\n", the length being that of the whole record. */
	while (data < end) {
		const char *space = memchr(data, ' ', (size_t)(end - data)), *equals, *value;
		uint64_t record;
		int code;

		if (!space || decimal(data, (size_t)(space - data), &record, NULL) || record > (size_t)(end - data) ||
		    data + record <= space + 1 || data[record - 1] != '\n')
			return err_set(err, ERR_INVALID, malformed);
		equals = memchr(space + 1, '=', (size_t)(data + record - 1 - (space + 1)));
		if (!equals || equals == space + 1 || (size_t)(equals - space) > sizeof(key))
			return err_set(err, ERR_INVALID, malformed);
		memcpy(key, space + 1, (size_t)(equals - space - 1));
		key[equals - space - 1] = '\0';
		value = equals + 1;
		code = take_record(key, value, (size_t)(data + record - 1 - value), table, extra, err);
		if (code)
			return code;
		data += record;
	}
	return 0;
}
