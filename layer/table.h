/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a layer's tar holds: one entry for each member, in the order of the tar, with names as they are written there
 * (whiteouts too), and where each file's data lies in the uncompressed stream. Filled by tar.h, or by decoding an
 * index. One thread at a time while it is filled; afterwards any.
 */
#pragma once

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

/* What a hostile tar may ask of us. Real images stay far below. */
#define LAYER_ENTRIES_MAX ((size_t)1 << 20)
#define LAYER_TEXT_MAX    ((size_t)128 << 20) /* names, links, attributes and maps of all entries */
#define LAYER_PATH_MAX    ((size_t)4096)
#define LAYER_DEPTH_MAX   512 /* parts of a path */
#define LAYER_XATTRS_MAX  256 /* of one entry */
#define LAYER_EXTENTS_MAX ((size_t)1 << 16)

enum layer_type { /* values are stored on disk: do not renumber */
		  LAYER_FILE = 0,
		  LAYER_HARDLINK = 1,
		  LAYER_SYMLINK = 2,
		  LAYER_CHAR = 3,
		  LAYER_BLOCK = 4,
		  LAYER_DIRECTORY = 5,
		  LAYER_FIFO = 6,
};

struct layer_xattr {
	const char *name; /* "security.capability" */
	const void *value;
	size_t len;
};

/* A part of a sparse file that has data. The parts lie in the tar one behind the other. */
struct layer_extent {
	uint64_t start, len;
};

/* Strings end with a NUL, hold none, and belong to the table. */
struct layer_entry {
	enum layer_type type;
	uint32_t mode; /* 07777: permissions, setuid, setgid, sticky */
	uint64_t uid, gid;
	const char *user, *group; /* "" when the tar names none */
	uint64_t size;            /* of the file, holes included; 0 for all that is no file */
	uint64_t stored;          /* bytes of it that are in the tar */
	uint64_t offset;          /* of its data, or of what follows its header, in the uncompressed stream */
	int64_t mtime_s;
	uint32_t mtime_ns;
	uint32_t major, minor; /* of a device */
	const char *path;
	const char *link; /* target of a symbolic or hard link, else "" */
	struct layer_xattr *xattrs;
	size_t xattr_count;
	struct layer_extent *extents; /* of a sparse file; NULL: it has no holes */
	size_t extent_count;
};

/* The first byte of a file at or behind `offset` that is in no hole; the file's size when there is none. */
uint64_t layer_entry_next_data(const struct layer_entry *entry, uint64_t offset);

struct layer_table {
	struct layer_entry *entries;
	size_t count, cap;
	struct layer_memory *memory;
	size_t text_bytes;
};

void layer_table_dispose(struct layer_table *table);

/* Adds an entry, whose strings and arrays must be the table's own (see below). ERR_LIMIT. */
int layer_table_add(struct layer_table *table, const struct layer_entry *entry, struct err *err);

/* Memory that lives as long as the table; NULL when the table has had LAYER_TEXT_MAX. */
void *layer_table_alloc(struct layer_table *table, size_t size);
/* Likewise, for a text. */
const char *layer_table_text(struct layer_table *table, const char *text, size_t len);
/* ERR_LIMIT, for those that got NULL. */
int layer_table_full(struct err *err);
