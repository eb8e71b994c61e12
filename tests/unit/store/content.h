/* SPDX-License-Identifier: Apache-2.0 */
/* A blob of pseudo-random bytes, and ingests of it. */
#pragma once

#include "tests/unit/store/scratch.h"

#define SIZE ((size_t)1 << 20)

static uint8_t content[SIZE];

static inline int make_content(void **state)
{
	uint32_t value = 12345;

	(void)state;
	for (size_t i = 0; i < SIZE; i++) {
		value = value * 1664525 + 1013904223;
		content[i] = (uint8_t)(value >> 24);
	}
	return 0;
}

static inline struct ingest *open_ingest(struct scratch *scratch, const struct digest *digest)
{
	struct ingest *ingest = NULL;

	assert_int_equal(ingest_open(scratch->store, digest, &ingest, &scratch->err), 0);
	return ingest;
}

static inline void write_part(struct ingest *ingest, size_t start, size_t end)
{
	assert_int_equal(ingest_write(ingest, start, content + start, end - start, NULL), 0);
}

static inline void assert_content_of(struct scratch *scratch, const struct digest *digest)
{
	uint8_t *back = mem_alloc(SIZE);
	uint64_t size;
	int fd;

	assert_int_equal(store_open_blob(scratch->store, digest, &fd, &size, NULL), 0);
	assert_int_equal(size, SIZE);
	assert_int_equal(read(fd, back, SIZE), SIZE);
	assert_memory_equal(back, content, SIZE);
	close(fd);
	free(back);
}

static inline void leave_partial(struct scratch *scratch, const struct digest *digest)
{
	struct ingest *ingest = open_ingest(scratch, digest);

	assert_int_equal(ingest_set_size(ingest, SIZE, NULL), 0);
	ingest_set_etag(ingest, "\"abc\"");
	write_part(ingest, 0, 100000);
	write_part(ingest, 200000, 300000);
	ingest_close(ingest);
}
