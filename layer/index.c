/* SPDX-License-Identifier: Apache-2.0 */
#include "layer/index.h"

#include <stdlib.h>

void layer_index_free(struct layer_index *index)
{
	if (!index)
		return;
	layer_table_dispose(&index->table);
	buf_dispose(&index->windows);
	free(index->checkpoints);
	free(index->failure);
	free(index);
}

size_t layer_index_memory(const struct layer_index *index)
{
	const struct layer_table *table = &index->table;

	return sizeof(*index) + index->cap * sizeof(*index->checkpoints) + index->windows.cap +
	       table->cap * sizeof(*table->entries) + table->text_bytes;
}

const struct layer_checkpoint *layer_index_find(const struct layer_index *index, uint64_t out)
{
	size_t low = 0, high = index->count;

	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (index->checkpoints[middle].out <= out)
			low = middle;
		else
			high = middle;
	}
	return &index->checkpoints[low];
}

void layer_index_span(const struct layer_index *index, const struct layer_checkpoint *checkpoint, uint64_t *start,
		      uint64_t *end)
{
	bool last = checkpoint == &index->checkpoints[index->count - 1];

	*start = checkpoint->in - (checkpoint->bits ? 1 : 0);
	*end = last ? index->in_size : checkpoint[1].in;
}

bool layer_index_is_seekable(const struct layer_index *index)
{
	return index->count > 1 || index->out_size <= index->interval;
}
