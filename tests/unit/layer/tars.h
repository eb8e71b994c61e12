/* SPDX-License-Identifier: Apache-2.0 */
/* Tars written by hand, header by header, in memory. */
#pragma once

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "layer/table.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* A header with a right checksum; what is NULL or 0 is left out. */
struct tars_header {
	const char *name, *link, *prefix;
	char type; /* 0: '0' */
	unsigned mode;
	uint64_t size;
	bool gnu;
};

static inline void tars_octal(char *field, int digits, uint64_t number)
{
	field[digits] = '\0';
	for (; digits > 0; number >>= 3)
		field[--digits] = (char)('0' + (number & 7));
}

static inline void tars_text(char *field, size_t max, const char *text)
{
	size_t len = strlen(text);

	memcpy(field, text, len < max ? len : max);
}

static inline void tars_set_sum(char block[512])
{
	unsigned sum = 0;

	memset(block + 148, ' ', 8);
	for (size_t i = 0; i < 512; i++)
		sum += (unsigned char)block[i];
	tars_octal(block + 148, 6, sum);
}

static inline void tars_fill(char block[512], const struct tars_header *header)
{
	memset(block, 0, 512);
	tars_text(block, 100, header->name);
	tars_octal(block + 100, 7, header->mode ? header->mode : 0644);
	tars_octal(block + 108, 7, 0);
	tars_octal(block + 116, 7, 0);
	tars_octal(block + 124, 11, header->size);
	tars_octal(block + 136, 11, 1000000000);
	block[156] = header->type ? header->type : '0';
	if (header->link)
		tars_text(block + 157, 100, header->link);
	memcpy(block + 257, header->gnu ? "ustar  " : "ustar\00000", 8);
	if (header->prefix)
		tars_text(block + 345, 155, header->prefix);
	tars_set_sum(block);
}

static inline void tars_add_data(struct buf *tar, const void *data, size_t len)
{
	static const char zeros[512];

	buf_append(tar, data, len);
	buf_append(tar, zeros, (512 - len % 512) % 512);
}

static inline void tars_add(struct buf *tar, const struct tars_header *header, const void *data)
{
	char block[512];

	tars_fill(block, header);
	buf_append(tar, block, sizeof(block));
	if (data)
		tars_add_data(tar, data, (size_t)header->size);
}

static inline void tars_file(struct buf *tar, const char *name, const char *text)
{
	tars_add(tar, &(struct tars_header){.name = name, .size = strlen(text)}, text);
}

static inline void tars_directory(struct buf *tar, const char *name)
{
	tars_add(tar, &(struct tars_header){.name = name, .type = '5', .mode = 0755}, NULL);
}

static inline void tars_link(struct buf *tar, char type, const char *name, const char *target)
{
	tars_add(tar, &(struct tars_header){.name = name, .type = type, .link = target, .mode = 0777}, NULL);
}

/* A PAX header for what is added next; `records` as they are written. */
static inline void tars_pax(struct buf *tar, const char *records, size_t len)
{
	tars_add(tar, &(struct tars_header){.name = "pax", .type = 'x', .size = len}, records);
}

static inline void tars_end(struct buf *tar)
{
	static const char zeros[1024];

	buf_append(tar, zeros, sizeof(zeros));
}

static inline const struct layer_entry *tars_find(const struct layer_table *table, const char *path)
{
	for (size_t i = 0; i < table->count; i++)
		if (strcmp(table->entries[i].path, path) == 0)
			return &table->entries[i];
	return NULL;
}
