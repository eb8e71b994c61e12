/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz.h"

#include "layer/index_format.h"
#include "layer/varint.h"
#include "layer/view.h"
#include "layer/window.h"

#include <zlib.h>
#include <zstd.h>

/* What reading a layer does with its index. */
static void use(const struct layer_index *index)
{
	struct layer_view *view = layer_view_new();
	const struct layer_node *root = layer_view_root(view), *node = root;
	uint8_t window[LAYER_WINDOW];
	uint64_t start, end;
	struct err err = {0};
	size_t len;

	for (size_t i = 0; i < index->count; i++) {
		const struct layer_checkpoint *checkpoint = &index->checkpoints[i];

		layer_index_span(index, checkpoint, &start, &end);
		FUZZ_HOLDS(start <= end && end <= index->in_size);
		FUZZ_HOLDS(checkpoint->window_at + checkpoint->window_len <= index->windows.len);
		if (index->windows.len > 0 && window_unpack(index->windows.data + checkpoint->window_at,
							    checkpoint->window_len, window, &len, &err) == 0)
			FUZZ_HOLDS(len <= LAYER_WINDOW);
	}
	layer_index_find(index, index->out_size / 2);
	if (layer_view_add(view, &index->table, &err) == 0) {
		layer_view_finish(view);
		while ((node = layer_node_next(root, node, true)))
			free(layer_node_path(node));
	}
	layer_view_free(view);
}

/* What is read is written, and read again, as the same. */
static void decode(const void *data, size_t len)
{
	struct layer_index *index = NULL, *again = NULL;
	struct buf encoded = {0};
	struct err err = {0};

	if (layer_index_decode(data, len, &index, &err)) {
		FUZZ_HOLDS(err.text[0]);
		return;
	}
	use(index);
	FUZZ_HOLDS(layer_index_encode(index, &encoded, &err) == 0);
	FUZZ_HOLDS(layer_index_decode(encoded.data, encoded.len, &again, &err) == 0);
	FUZZ_HOLDS(again->out_size == index->out_size && again->count == index->count);
	FUZZ_HOLDS(again->table.count == index->table.count && again->windows.len == index->windows.len);
	layer_index_free(index);
	layer_index_free(again);
	buf_dispose(&encoded);
}

static void append_number(struct buf *out, uint64_t value, int bytes)
{
	for (int i = bytes - 1; i >= 0; i--)
		buf_append(out, &(uint8_t){(uint8_t)(value >> (8 * i))}, 1);
}

/* A length in two bytes, and how much of it there is. */
static size_t take_length(const uint8_t **data, size_t *len)
{
	size_t length = *len < 2 ? 0 : (size_t)((*data)[0] << 8 | (*data)[1]);

	*data += *len < 2 ? 0 : 2;
	*len -= *len < 2 ? 0 : 2;
	return length < *len ? length : *len;
}

/* Nobody guesses a checksum and how the table is compressed: both are put to it here. What comes is what stands in
 * front of the table and the table as it is before it is compressed, each behind its length, and the windows. */
static void assemble(const uint8_t *data, size_t len, struct buf *out)
{
	size_t front_len = take_length(&data, &len);
	const uint8_t *front = data, *table = data + front_len;
	size_t rest = len - front_len, table_len = take_length(&table, &rest);
	size_t bound = ZSTD_compressBound(table_len);
	void *packed = malloc(bound);
	size_t packed_len = ZSTD_compress(packed, bound, table, table_len, 1);

	append_number(out, INDEX_MAGIC, 4);
	append_number(out, LAYER_FORMAT_VERSION, 4);
	append_number(out, LAYER_INTERVAL_MIN, 8);
	buf_append(out, front, front_len);
	varint_append(out, packed_len);
	buf_append(out, packed, packed_len);
	buf_append(out, table + table_len, rest - table_len);
	append_number(out, crc32_z(0, (const uint8_t *)out->data, out->len), 4);
	free(packed);
}

/* The bytes of an index, as a damaged disk may give them. */
FUZZ_BYTES(data, len)
{
	struct buf assembled = {0};

	decode(data, len);
	assemble(data, len, &assembled);
	decode(assembled.data, assembled.len);
	buf_dispose(&assembled);
}
