/* SPDX-License-Identifier: Apache-2.0 */
#include "layer/index_format.h"

#include "base/cleanup.h"
#include "layer/table_code.h"
#include "layer/varint.h"

#include <assert.h>
#include <string.h>
#include <zlib.h>

static uint64_t get_number(const uint8_t *at, int bytes)
{
	uint64_t value = 0;

	for (int i = 0; i < bytes; i++)
		value = value << 8 | at[i];
	return value;
}

static bool get_bytes(struct varint_reader *reader, uint64_t len, const uint8_t **bytes)
{
	if (len > (size_t)(reader->end - reader->at))
		return false;
	*bytes = reader->at;
	reader->at += len;
	return true;
}

/* The first is at the start; each lies behind the one before, and within the layer. */
static bool get_checkpoint(struct varint_reader *reader, struct layer_index *index, size_t *windows)
{
	const struct layer_checkpoint *before = index->count ? &index->checkpoints[index->count - 1] : NULL;
	struct layer_checkpoint checkpoint = {.window_at = *windows};
	uint64_t in, out, flags, window_len;
	const uint8_t *check;

	if (!varint_read(reader, &in) || !varint_read(reader, &out) || !varint_read(reader, &flags) ||
	    !varint_read(reader, &window_len) || !get_bytes(reader, LAYER_CHECK_BYTES, &check))
		return false;
	if (flags >> 1 > 7 || window_len > LAYER_INDEX_MAX || in > index->in_size || out > index->out_size ||
	    (before ? in == 0 || out == 0 : in + out + flags != 1))
		return false;
	checkpoint.in = in + (before ? before->in : 0);
	checkpoint.out = out + (before ? before->out : 0);
	checkpoint.bits = (uint8_t)(flags >> 1);
	checkpoint.fresh = flags & 1;
	checkpoint.window_len = (size_t)window_len;
	memcpy(checkpoint.check, check, LAYER_CHECK_BYTES);
	*windows += checkpoint.window_len;
	assert(index->checkpoints && index->count < index->cap);
	index->checkpoints[index->count++] = checkpoint;
	return checkpoint.in <= index->in_size && checkpoint.out <= index->out_size;
}

static bool get_checkpoints(struct varint_reader *reader, struct layer_index *index, size_t *windows)
{
	uint64_t count;

	/* Each takes more than its check. */
	if (!varint_read(reader, &count) || count > (size_t)(reader->end - reader->at) / LAYER_CHECK_BYTES ||
	    (count == 0) != (index->failure != NULL))
		return false;
	index->cap = (size_t)count;
	index->checkpoints = mem_alloc((index->cap + 1) * sizeof(*index->checkpoints));
	while (count-- > 0)
		if (!get_checkpoint(reader, index, windows))
			return false;
	return true;
}

static bool get_body(struct varint_reader *reader, struct layer_index *index)
{
	uint64_t compression, len;
	const uint8_t *bytes;
	size_t windows = 0;

	if (!varint_read(reader, &compression) || compression > LAYER_ZSTD || !varint_read(reader, &index->in_size) ||
	    !varint_read(reader, &index->out_size) || index->in_size > INT64_MAX || index->out_size > INT64_MAX ||
	    !varint_read(reader, &len) || len >= ERR_TEXT_MAX || !get_bytes(reader, len, &bytes) ||
	    memchr(bytes, '\0', len))
		return false;
	index->compression = (enum layer_compression)compression;
	if (len > 0)
		index->failure = mem_strndup((const char *)bytes, len);
	if (!get_checkpoints(reader, index, &windows) || !varint_read(reader, &len) ||
	    !get_bytes(reader, len, &bytes) || table_decode(bytes, len, &index->table, NULL) ||
	    windows != (size_t)(reader->end - reader->at))
		return false;
	return buf_append(&index->windows, reader->at, windows) == 0;
}

int layer_index_decode(const void *data, size_t len, struct layer_index **out, struct err *err)
{
	_cleanup_(layer_index_freep) struct layer_index *index = mem_alloc(sizeof(*index));
	const uint8_t *bytes = data;
	struct varint_reader reader;

	if (len < INDEX_HEAD_BYTES + 4 || len > LAYER_INDEX_MAX || get_number(bytes, 4) != INDEX_MAGIC ||
	    get_number(bytes + 4, 4) != LAYER_FORMAT_VERSION)
		return err_set(err, ERR_INVALID, "this is no index of a layer, or of another version");
	index->interval = get_number(bytes + 8, 8);
	index->windows.max = LAYER_INDEX_MAX;
	reader = (struct varint_reader){bytes + INDEX_HEAD_BYTES, bytes + len - 4};
	if (get_number(bytes + len - 4, 4) != crc32_z(0, bytes, len - 4) || !get_body(&reader, index))
		return err_set(err, ERR_INVALID, "the index of a layer is damaged");
	*out = take_pointer(index);
	return 0;
}
