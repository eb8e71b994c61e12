/* SPDX-License-Identifier: Apache-2.0 */
/* Files that have holes, and those that have not. */
#include "layer/read.h"

#include <assert.h>
#include <string.h>

static int read_sparse(struct layer_reader *reader, const struct layer_entry *entry, uint64_t offset, uint8_t *data,
		       size_t len, struct err *err)
{
	uint64_t stored = entry->offset, end = offset + len;
	int code = 0;

	memset(data, 0, len);
	for (size_t i = 0; i < entry->extent_count && !code; i++) {
		const struct layer_extent *extent = &entry->extents[i];
		uint64_t from = extent->start > offset ? extent->start : offset;
		uint64_t to = extent->start + extent->len < end ? extent->start + extent->len : end;

		if (from < to)
			code = layer_reader_read(reader, stored + (from - extent->start), data + (from - offset),
						 (size_t)(to - from), err);
		stored += extent->len;
	}
	return code;
}

int layer_reader_read_file(struct layer_reader *reader, const struct layer_entry *entry, uint64_t offset, void *data,
			   size_t len, struct err *err)
{
	assert(entry->type == LAYER_FILE && offset <= entry->size && len <= entry->size - offset);
	if (entry->extents)
		return read_sparse(reader, entry, offset, data, len, err);
	return layer_reader_read(reader, entry->offset + offset, data, len, err);
}
