/* SPDX-License-Identifier: Apache-2.0 */
/* What tar.c (blocks and states), tar_header.c (fields of a header) and tar_pax.c (records, maps of sparse files)
 * share.
 */
#pragma once

#include "base/buf.h"
#include "layer/tar.h"

#define TAR_BLOCK 512

/* What a header says. Texts lie in the block and need not end with a NUL. */
struct tar_header {
	char type;
	uint64_t size;
	uint32_t mode;
	uint64_t uid, gid;
	int64_t mtime_s;
	uint32_t major, minor;
	char path[256 + 2]; /* prefix, '/', name */
	const char *link;
	size_t link_len;
	const char *user, *group; /* "" before ustar */
	size_t user_len, group_len;
};

/* Whether the block is all zeros. */
bool tar_is_zero(const uint8_t block[TAR_BLOCK]);
/* Reads a header. ERR_INVALID: the checksum is wrong, or a field is none. */
int tar_header_read(const uint8_t block[TAR_BLOCK], struct tar_header *header, struct err *err);
/* A number field: octal text, or base 256. ERR_INVALID, also for one below 0. */
int tar_number(const uint8_t *field, size_t len, uint64_t *number, struct err *err);

/* What a PAX header says of the entry behind it. Texts are the table's. */
struct tar_extra {
	const char *path, *link, *user, *group;
	bool has_size, has_uid, has_gid, has_mtime;
	uint64_t size, uid, gid;
	int64_t mtime_s;
	uint32_t mtime_ns;
	struct layer_xattr xattrs[LAYER_XATTRS_MAX];
	size_t xattr_count;
	/* Sparse files as PAX has them. */
	const char *sparse_name;
	char sparse_major, sparse_minor; /* of the format: a digit, or '?' for anything else; NUL when not said */
	uint64_t sparse_size;            /* of the file */
	bool has_sparse_size;
	struct layer_extent *map; /* malloc()ed; the extra's own */
	size_t map_count, map_cap;
	bool half; /* of the last extent only the start is known yet */
};

/* Where the map of a file's parts is. */
enum tar_sparse {
	TAR_WHOLE, /* nowhere: it has no holes */
	TAR_MAP_SAID,
	TAR_MAP_IN_DATA, /* in front of the data (1.0) */
};

void tar_extra_clear(struct tar_extra *extra);
/* Takes the records of a PAX header. ERR_INVALID, ERR_LIMIT. */
int tar_pax_read(const char *data, size_t len, struct layer_table *table, struct tar_extra *extra, struct err *err);
/* What the records make of the file. */
enum tar_sparse tar_pax_sparse(const struct tar_extra *extra);
/* Appends to the map. ERR_LIMIT. */
int tar_map_add(struct tar_extra *extra, uint64_t start, uint64_t len, struct err *err);
/* Checks the map against the file's size and what is stored of it, and makes it the entry's. ERR_INVALID. */
int tar_map_take(struct tar_extra *extra, struct layer_table *table, struct layer_entry *entry, struct err *err);

/* A map in front of the data, as it comes, a block at a time (GNU's sparse format 1.0). */
struct tar_map_text {
	uint64_t numbers; /* still to come, after the first, which tells how many */
	bool counted;
	uint64_t number; /* that is being read */
	unsigned digits;
};

/* Takes a block. 0: that was all; ERR_AGAIN: another is needed; ERR_INVALID, ERR_LIMIT. */
int tar_map_text_feed(struct tar_map_text *text, const uint8_t block[TAR_BLOCK], struct tar_extra *extra,
		      struct err *err);
