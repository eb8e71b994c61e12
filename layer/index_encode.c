/* SPDX-License-Identifier: Apache-2.0 */
/* The stored form; docs/storage-format.md says what index_format.h names. */
#include "layer/index_format.h"

#include "base/cleanup.h"
#include "layer/table_code.h"
#include "layer/varint.h"

#include <string.h>
#include <zlib.h>

static int append_number(struct buf *out, uint64_t value, int bytes)
{
	uint8_t text[8];

	for (int i = 0; i < bytes; i++)
		text[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
	return buf_append(out, text, (size_t)bytes);
}

static int append_checkpoints(const struct layer_index *index, struct buf *out)
{
	struct layer_checkpoint before = {0};
	int code = varint_append(out, index->count);

	for (size_t i = 0; i < index->count && !code; i++) {
		const struct layer_checkpoint *checkpoint = &index->checkpoints[i];

		varint_append(out, checkpoint->in - before.in);
		varint_append(out, checkpoint->out - before.out);
		varint_append(out, (uint64_t)checkpoint->bits << 1 | checkpoint->fresh);
		varint_append(out, checkpoint->window_len);
		code = buf_append(out, checkpoint->check, LAYER_CHECK_BYTES);
		before = *checkpoint;
	}
	return code;
}

int layer_index_encode(const struct layer_index *index, struct buf *out, struct err *err)
{
	_cleanup_(buf_dispose) struct buf table = {.max = LAYER_INDEX_MAX};
	const char *failure = index->failure ? index->failure : "";
	int code = table_encode(&index->table, &table, err);

	if (code)
		return code;
	append_number(out, INDEX_MAGIC, 4);
	append_number(out, LAYER_FORMAT_VERSION, 4);
	append_number(out, index->interval, 8);
	varint_append(out, index->compression);
	varint_append(out, index->in_size);
	varint_append(out, index->out_size);
	varint_append(out, strlen(failure));
	buf_append_text(out, failure);
	append_checkpoints(index, out);
	varint_append(out, table.len);
	code = buf_append(out, table.data, table.len);
	if (!code)
		code = buf_append(out, index->windows.data, index->windows.len);
	if (!code)
		code = append_number(out, crc32_z(0, (const uint8_t *)out->data, out->len), 4);
	return code ? err_set(err, ERR_LIMIT, "the index is larger than %zu MiB", LAYER_INDEX_MAX >> 20) : 0;
}
