/* SPDX-License-Identifier: Apache-2.0 */
#include "layer/table.h"

#include "base/buf.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES ((size_t)64 << 10)

/* Memory is taken in chunks, and given back with the table. */
struct layer_memory {
	struct layer_memory *next;
	size_t used, size;
	_Alignas(16) char bytes[];
};

void layer_table_dispose(struct layer_table *table)
{
	struct layer_memory *memory = table->memory, *next;

	for (; memory; memory = next) {
		next = memory->next;
		free(memory);
	}
	free(table->entries);
	*table = (struct layer_table){0};
}

int layer_table_full(struct err *err)
{
	return err_set(err, ERR_LIMIT, "names and attributes take more than %zu MiB", LAYER_TEXT_MAX >> 20);
}

void *layer_table_alloc(struct layer_table *table, size_t size)
{
	struct layer_memory *memory = table->memory;
	size_t rounded = (size + 7) & ~(size_t)7, chunk = rounded > CHUNK_BYTES ? rounded : CHUNK_BYTES;
	void *at;

	if (size > LAYER_TEXT_MAX - table->text_bytes)
		return NULL;
	table->text_bytes += size;
	if (!memory || memory->size - memory->used < rounded) {
		memory = mem_alloc(sizeof(*memory) + chunk);
		memory->size = chunk;
		memory->next = table->memory;
		table->memory = memory;
	}
	at = memory->bytes + memory->used;
	memory->used += rounded;
	return at;
}

const char *layer_table_text(struct layer_table *table, const char *text, size_t len)
{
	char *copy;

	if (len == 0)
		return "";
	copy = layer_table_alloc(table, len + 1);
	if (!copy)
		return NULL;
	memcpy(copy, text, len);
	copy[len] = '\0';
	return copy;
}

int layer_table_add(struct layer_table *table, const struct layer_entry *entry, struct err *err)
{
	if (table->count == LAYER_ENTRIES_MAX)
		return err_set(err, ERR_LIMIT, "more than %zu entries", LAYER_ENTRIES_MAX);
	if (table->count == table->cap) {
		table->cap = table->cap ? table->cap * 2 : 256;
		table->entries = mem_realloc(table->entries, table->cap * sizeof(*table->entries));
	}
	table->entries[table->count++] = *entry;
	return 0;
}

uint64_t layer_entry_next_data(const struct layer_entry *entry, uint64_t offset)
{
	if (!entry->extents)
		return offset;
	for (size_t i = 0; i < entry->extent_count; i++)
		if (offset < entry->extents[i].start + entry->extents[i].len)
			return offset > entry->extents[i].start ? offset : entry->extents[i].start;
	return entry->size;
}
