/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers of seven bits a byte, the lowest first (as LEB128): how an index stores them. */
#pragma once

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

/* What is still to be read. */
struct varint_reader {
	const uint8_t *at, *end;
};

static inline int varint_append(struct buf *out, uint64_t value)
{
	uint8_t bytes[10];
	size_t len = 0;

	for (; value >= 0x80; value >>= 7)
		bytes[len++] = (uint8_t)(value | 0x80);
	bytes[len++] = (uint8_t)value;
	return buf_append(out, bytes, len);
}

/* False at the end, or when it is no number of 64 bits. */
static inline bool varint_read(struct varint_reader *reader, uint64_t *value)
{
	*value = 0;
	for (unsigned shift = 0; shift < 64 && reader->at < reader->end; shift += 7) {
		uint8_t byte = *reader->at++;

		if (shift == 63 && byte > 1)
			return false;
		*value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80)
			return true;
	}
	return false;
}

/* Those below 0 too: 0, -1, 1, -2, … */
static inline uint64_t varint_fold(int64_t value)
{
	return ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
}

static inline int64_t varint_unfold(uint64_t value)
{
	return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}
