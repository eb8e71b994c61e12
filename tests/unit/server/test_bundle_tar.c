/* SPDX-License-Identifier: Apache-2.0 */
/* The headers that larder writes are read as they were meant, wherever they put the bytes behind them. */
#include "server/bundle/archive.h"
#include "server/bundle/tar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const uint64_t sizes[] = {0, 1, TAR_PAGED_MIN - 1, TAR_PAGED_MIN, 1 << 30, (uint64_t)9 << 30};

struct header {
	uint8_t bytes[TAR_HEADER_MAX];
	size_t len, at;
};

static ssize_t give(void *arg, void *data, size_t max)
{
	struct header *header = arg;
	size_t len = header->len - header->at;

	assert_true(len <= max);
	memcpy(data, header->bytes + header->at, len);
	header->at = header->len;
	return (ssize_t)len;
}

static void expect_read(struct header *header, const char *path, uint64_t size)
{
	struct archive_reader *reader = archive_reader_new(&(struct archive_source){give, header});
	struct archive_file file;
	struct err err = {0};

	header->at = 0;
	assert_int_equal(header->len % TAR_BLOCK, 0);
	if (archive_next(reader, &file, &err))
		fail_msg("%s", err.text);
	assert_string_equal(file.path, path);
	assert_int_equal(file.size, size);
	archive_reader_free(reader);
}

static void for_all(void (*check)(const char *path, uint64_t size))
{
	char path[TAR_PATH_MAX + 1];

	for (size_t len = 1; len <= TAR_PATH_MAX; len += 127) {
		memset(path, 'a', len);
		path[len] = '\0';
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
			check(path, sizes[i]);
	}
}

static void check_place(const char *path, uint64_t size)
{
	struct header header, plain;

	plain.len = tar_header(path, size, plain.bytes);
	expect_read(&plain, path, size);
	for (uint64_t position = 0; position <= TAR_PAGE; position += TAR_BLOCK) {
		header.len = tar_header_at(path, size, position, header.bytes);
		expect_read(&header, path, size);
		if (size < TAR_PAGED_MIN)
			assert_int_equal(header.len, plain.len);
		else
			assert_int_equal((position + header.len) % TAR_PAGE, 0);
	}
}

static void a_larger_files_bytes_begin_at_a_whole_page(void **state)
{
	(void)state;
	for_all(check_place);
}

static void check_even(const char *path, uint64_t size)
{
	struct header header;

	header.len = tar_header_even(path, size, header.bytes);
	expect_read(&header, path, size);
	assert_int_equal((header.len + size + tar_padding(size)) % TAR_PAGE, 0);
}

static void a_file_that_is_to_move_nothing_takes_whole_pages(void **state)
{
	(void)state;
	for_all(check_even);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_larger_files_bytes_begin_at_a_whole_page),
		cmocka_unit_test(a_file_that_is_to_move_nothing_takes_whole_pages),
	};

	return cmocka_run_group_tests_name("bundle_tar", tests, NULL, NULL);
}
