/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <cmocka.h>

#include "layer/build.h"
#include "layer/read.h"
#include "layer/table_code.h"
#include "tests/unit/layer/tars.h"

#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#define FILES      24
#define FILE_BYTES ((size_t)700000)

/* A tar of some files that compress about as texts do, and what it becomes. */
struct bed {
	struct buf tar, layer, encoded;
	struct layer_index *index;
	struct layer_reader *reader;
	struct err err;
	size_t fetched;     /* bytes of the layer that were read */
	size_t limit;       /* the source has no more than so many; 0: all */
	uint64_t damage;    /* the byte of the layer that the source gives wrong; 0: none */
	unsigned piece_max; /* the layer comes in pieces of at most so many bytes */
};

static uint64_t random_state = 88172645463325252u;

static uint32_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 16);
}

static void fill(char *data, size_t len)
{
	static const char *const words[] = {"layer ", "index ", "window ", "block\n", "checkpoint ", "{", "}\n", "0x"};
	size_t at = 0;

	while (at < len) {
		const char *word = words[next_random() % 8];
		size_t part = strlen(word);

		if (next_random() % 4 == 0) {
			data[at++] = (char)next_random();
			continue;
		}
		if (part > len - at)
			part = len - at;
		memcpy(data + at, word, part); /* NOLINT(bugprone-not-null-terminated-result): bytes */
		at += part;
	}
}

static int bed_setup(void **state)
{
	struct bed *bed = mem_alloc(sizeof(*bed));
	_cleanup_free_ char *data = mem_alloc(FILE_BYTES);
	char name[32];

	bed->encoded.max = LAYER_INDEX_MAX;
	bed->piece_max = 100000;
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "some/file-%d", i);
		fill(data, FILE_BYTES);
		tars_add(&bed->tar, &(struct tars_header){.name = name, .size = FILE_BYTES - (size_t)i * 1000}, data);
	}
	tars_end(&bed->tar);
	*state = bed;
	return 0;
}

static int bed_teardown(void **state)
{
	struct bed *bed = *state;

	layer_reader_free(bed->reader);
	layer_index_free(bed->index);
	buf_dispose(&bed->tar);
	buf_dispose(&bed->layer);
	buf_dispose(&bed->encoded);
	free(bed);
	return 0;
}

/* Compresses the tar in so many members or frames. */
static void gzip(struct bed *bed, int members)
{
	size_t part = bed->tar.len / (size_t)members + 1;

	for (size_t at = 0; at < bed->tar.len; at += part) {
		size_t len = bed->tar.len - at < part ? bed->tar.len - at : part, bound = compressBound(len) + 64;
		_cleanup_free_ char *out = mem_alloc(bound);
		z_stream zlib = {0};

		assert_int_equal(deflateInit2(&zlib, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
		zlib.next_in = (Bytef *)bed->tar.data + at;
		zlib.avail_in = (uInt)len;
		zlib.next_out = (Bytef *)out;
		zlib.avail_out = (uInt)bound;
		assert_int_equal(deflate(&zlib, Z_FINISH), Z_STREAM_END);
		assert_int_equal(buf_append(&bed->layer, out, bound - zlib.avail_out), 0);
		deflateEnd(&zlib);
	}
}

/* One member, with a block that ends at `at`, and no other where it is of one letter. */
static void gzip_with_a_block_to(struct bed *bed, size_t at)
{
	size_t bound = compressBound(bed->tar.len) + 64;
	_cleanup_free_ char *out = mem_alloc(bound);
	z_stream zlib = {0};

	assert_int_equal(deflateInit2(&zlib, 6, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY), Z_OK);
	zlib.next_in = (Bytef *)bed->tar.data;
	zlib.avail_in = (uInt)at;
	zlib.next_out = (Bytef *)out;
	zlib.avail_out = (uInt)bound;
	assert_int_equal(deflate(&zlib, Z_BLOCK), Z_OK);
	assert_int_equal(zlib.avail_in, 0);
	zlib.avail_in = (uInt)(bed->tar.len - at);
	assert_int_equal(deflate(&zlib, Z_FINISH), Z_STREAM_END);
	assert_int_equal(buf_append(&bed->layer, out, bound - zlib.avail_out), 0);
	deflateEnd(&zlib);
}

static void zstd(struct bed *bed, int frames)
{
	size_t part = bed->tar.len / (size_t)frames + 1;

	for (size_t at = 0; at < bed->tar.len; at += part) {
		size_t len = bed->tar.len - at < part ? bed->tar.len - at : part, bound = ZSTD_compressBound(len),
		       out_len;
		_cleanup_free_ char *out = mem_alloc(bound);

		out_len = ZSTD_compress(out, bound, bed->tar.data + at, len, 3);
		assert_false(ZSTD_isError(out_len));
		assert_int_equal(buf_append(&bed->layer, out, out_len), 0);
	}
}

static ssize_t read_layer(void *arg, uint64_t offset, void *data, size_t max, struct err *err)
{
	struct bed *bed = arg;
	size_t rest = bed->layer.len - offset;

	if (bed->limit && offset >= bed->limit)
		return err_set(err, ERR_UPSTREAM, "no more");
	assert_true(offset < bed->layer.len);
	if (max > rest)
		max = rest;
	memcpy(data, bed->layer.data + offset, max);
	if (bed->damage >= offset && bed->damage < offset + max && bed->damage)
		((char *)data)[bed->damage - offset] ^= 1;
	bed->fetched += max;
	return (ssize_t)max;
}

/* Builds the index, in pieces, stores and reads it back, and opens a reader. */
static void index_layer(struct bed *bed, bool verified)
{
	struct layer_source source = {.read = read_layer, .arg = bed, .verified = verified};
	struct layer_builder *builder = layer_builder_new(LAYER_INTERVAL_MIN);
	struct layer_index *index = NULL;

	for (size_t at = 0, piece; at < bed->layer.len; at += piece) {
		piece = at < 10 ? 1 : next_random() % bed->piece_max + 1;
		if (piece > bed->layer.len - at)
			piece = bed->layer.len - at;
		assert_int_equal(layer_builder_feed(builder, bed->layer.data + at, piece, &bed->err), 0);
	}
	assert_int_equal(layer_builder_finish(builder, &index, &bed->err), 0);
	layer_builder_free(builder);
	assert_int_equal(layer_index_encode(index, &bed->encoded, &bed->err), 0);
	layer_index_free(index);
	assert_int_equal(layer_index_decode(bed->encoded.data, bed->encoded.len, &bed->index, &bed->err), 0);
	bed->reader = layer_reader_new(bed->index, &source);
	bed->fetched = 0;
}

/* Reads each file's beginning, end and something between, in any order, and then everything in order. */
static void expect_all_files(struct bed *bed)
{
	_cleanup_free_ char *data = mem_alloc(FILE_BYTES);

	assert_int_equal(bed->index->table.count, FILES);
	for (int i = 0; i < 200; i++) {
		const struct layer_entry *entry = &bed->index->table.entries[next_random() % FILES];
		uint64_t offset = next_random() % entry->size;
		size_t len = next_random() % 5000;

		if (len > entry->size - offset)
			len = (size_t)(entry->size - offset);
		assert_int_equal(layer_reader_read_file(bed->reader, entry, offset, data, len, &bed->err), 0);
		assert_memory_equal(data, bed->tar.data + entry->offset + offset, len);
	}
	for (size_t i = 0; i < FILES; i++) {
		const struct layer_entry *entry = &bed->index->table.entries[i];

		assert_int_equal(layer_reader_read_file(bed->reader, entry, 0, data, (size_t)entry->size, &bed->err),
				 0);
		assert_memory_equal(data, bed->tar.data + entry->offset, entry->size);
	}
}

/* Reading anywhere costs an interval and what is read. */
static void expect_bounded_cost(struct bed *bed)
{
	char data[4096];

	for (int i = 0; i < 100; i++) {
		uint64_t before = layer_reader_inflated(bed->reader);
		uint64_t offset = next_random() % (bed->index->out_size - sizeof(data));

		assert_int_equal(layer_reader_read(bed->reader, offset, data, sizeof(data), &bed->err), 0);
		assert_memory_equal(data, bed->tar.data + offset, sizeof(data));
		assert_in_range(layer_reader_inflated(bed->reader) - before, sizeof(data),
				LAYER_INTERVAL_MIN + sizeof(data));
	}
}

static void index_reads_gzip_anywhere(void **state)
{
	struct bed *bed = *state;

	gzip(bed, 1);
	index_layer(bed, true);
	assert_int_equal(bed->index->compression, LAYER_GZIP);
	assert_true(layer_index_is_seekable(bed->index));
	assert_in_range(bed->index->count, bed->tar.len / LAYER_INTERVAL_MIN, 2 * bed->tar.len / LAYER_INTERVAL_MIN);
	expect_all_files(bed);
	expect_bounded_cost(bed);
}

/* Each block ends where a piece does. */
static void index_reads_gzip_that_came_byte_by_byte(void **state)
{
	struct bed *bed = *state;

	gzip(bed, 1);
	bed->piece_max = 1;
	index_layer(bed, true);
	expect_all_files(bed);
	expect_bounded_cost(bed);
}

static void index_reads_gzip_of_many_members(void **state)
{
	struct bed *bed = *state;

	gzip(bed, 150);
	index_layer(bed, true);
	expect_all_files(bed);
	expect_bounded_cost(bed);
}

static void index_reads_gzip_of_a_few_members(void **state)
{
	struct bed *bed = *state;

	gzip(bed, 3);
	index_layer(bed, false);
	expect_all_files(bed);
	expect_bounded_cost(bed);
}

static void index_reads_zstd_frame_by_frame(void **state)
{
	struct bed *bed = *state;

	zstd(bed, 60);
	index_layer(bed, false);
	assert_int_equal(bed->index->compression, LAYER_ZSTD);
	assert_true(layer_index_is_seekable(bed->index));
	expect_all_files(bed);
	expect_bounded_cost(bed);
}

static void index_says_that_one_zstd_frame_is_read_from_its_start(void **state)
{
	struct bed *bed = *state;

	zstd(bed, 1);
	index_layer(bed, true);
	assert_false(layer_index_is_seekable(bed->index));
	expect_all_files(bed);
}

static void index_reads_a_plain_tar(void **state)
{
	struct bed *bed = *state;
	char data[100];

	assert_int_equal(buf_append(&bed->layer, bed->tar.data, bed->tar.len), 0);
	index_layer(bed, true);
	assert_int_equal(bed->index->compression, LAYER_PLAIN);
	expect_all_files(bed);
	bed->fetched = 0;
	assert_int_equal(layer_reader_read(bed->reader, 5000000, data, sizeof(data), &bed->err), 0);
	assert_in_range(bed->fetched, sizeof(data), 65536);
}

static void index_takes_from_an_unverified_source_only_what_was_indexed(void **state)
{
	void (*compress[])(struct bed *, int) = {gzip, zstd};
	char data[100];

	for (size_t i = 0; i < 2; i++) {
		struct bed *bed;
		uint64_t start, end;

		bed_setup((void **)&bed);
		compress[i](bed, i == 0 ? 1 : 40);
		index_layer(bed, false);
		for (size_t k = 1; k < bed->index->count; k++) {
			const struct layer_checkpoint *checkpoint = &bed->index->checkpoints[k];

			layer_index_span(bed->index, checkpoint, &start, &end);
			bed->fetched = 0;
			assert_int_equal(layer_reader_read(bed->reader, checkpoint->out, data, 1, &bed->err), 0);
			/* The part, and when the reader came from the one before, nothing else. */
			assert_int_equal(bed->fetched, end - start);
			bed->damage = start + next_random() % (end - start);
			layer_reader_free(bed->reader);
			bed->reader =
				layer_reader_new(bed->index, &(struct layer_source){.read = read_layer, .arg = bed});
			assert_int_equal(layer_reader_read(bed->reader, checkpoint->out, data, 1, &bed->err),
					 ERR_DIGEST);
			bed->damage = 0;
		}
		bed_teardown((void **)&bed);
	}
	(void)state;
}

static void index_passes_on_what_the_source_says(void **state)
{
	struct bed *bed = *state;
	char data[10];

	gzip(bed, 1);
	index_layer(bed, true);
	bed->limit = bed->layer.len / 2;
	assert_int_equal(layer_reader_read(bed->reader, bed->tar.len - 2000, data, 10, &bed->err), ERR_UPSTREAM);
	assert_int_equal(layer_reader_read(bed->reader, 0, data, 10, &bed->err), 0);
	assert_memory_equal(data, bed->tar.data, 10);
	assert_int_equal(layer_reader_read(bed->reader, bed->index->out_size - 5, data, 10, &bed->err), ERR_INVALID);
}

static void index_ignores_what_follows_the_end_of_the_tar(void **state)
{
	struct bed *bed = *state;

	gzip(bed, 1);
	buf_append_text(&bed->layer, "something else");
	index_layer(bed, true);
	expect_all_files(bed);
}

/* What follows the tar in the same member is not read: the last window is settled by then, or never. */
static void index_reads_from_a_checkpoint_that_is_close_to_the_end_of_the_tar(void **state)
{
	struct bed *bed = *state;
	size_t large = LAYER_INTERVAL_MIN + 1000, small = 10000, block;
	_cleanup_free_ char *data = mem_alloc(large), *noise = mem_alloc(100000), *got = mem_alloc(small);
	const struct layer_entry *entry;

	buf_clear(&bed->tar);
	memset(data, 'a', large);
	for (size_t i = 0; i < 100000; i++)
		noise[i] = (char)next_random();
	tars_add(&bed->tar, &(struct tars_header){.name = "large", .size = large}, data);
	block = bed->tar.len;
	tars_add(&bed->tar, &(struct tars_header){.name = "small", .size = small}, data);
	tars_end(&bed->tar);
	assert_int_equal(buf_append(&bed->tar, noise, 100000), 0);
	gzip_with_a_block_to(bed, block);
	bed->piece_max = 100;
	index_layer(bed, true);
	assert_int_equal(bed->index->count, 2);
	assert_int_equal(bed->index->checkpoints[1].out, block);
	entry = &bed->index->table.entries[1];
	assert_int_equal(entry->size, small);
	assert_int_equal(layer_reader_read_file(bed->reader, entry, 0, got, small, &bed->err), 0);
	assert_memory_equal(got, data, small);
}

static void index_of_a_cut_or_damaged_layer_is_refused_with_the_offset(void **state)
{
	struct layer_index *index = NULL;
	struct bed *bed = *state;

	gzip(bed, 1);
	assert_int_equal(layer_build(bed->layer.data, bed->layer.len - 20000, LAYER_INTERVAL, &index, &bed->err),
			 ERR_INVALID);
	assert_non_null(strstr(bed->err.text, "ends too early"));
	assert_non_null(strstr(bed->err.text, "bytes into the layer"));
	memset(bed->layer.data + bed->layer.len / 2, 0xff, 64);
	assert_int_equal(layer_build(bed->layer.data, bed->layer.len, LAYER_INTERVAL, &index, &bed->err), ERR_INVALID);
	assert_int_equal(layer_build("{}", 2, LAYER_INTERVAL, &index, &bed->err), ERR_INVALID);
	assert_int_equal(layer_build("{\"config\":true}", 15, LAYER_INTERVAL, &index, &bed->err), ERR_INVALID);
	assert_null(index);
}

static void index_of_a_bomb_is_refused(void **state)
{
	struct bed *bed = *state;
	struct layer_builder *builder = layer_builder_new(LAYER_INTERVAL);
	struct buf tar = {0}, layer = {.max = (size_t)64 << 20};
	static char zeros[1 << 20];
	z_stream zlib = {0};
	Bytef out[1 << 16];
	int code = 0;

	/* One file of 8 GiB of zeros. */
	tars_add(&tar, &(struct tars_header){.name = "zeros", .size = (uint64_t)7 << 30}, NULL);
	assert_int_equal(deflateInit2(&zlib, 1, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY), Z_OK);
	zlib.next_in = (Bytef *)tar.data;
	zlib.avail_in = (uInt)tar.len;
	for (int i = 0; i < 5 * 1024 && !code; i++) {
		do {
			zlib.next_out = out;
			zlib.avail_out = sizeof(out);
			deflate(&zlib, Z_NO_FLUSH);
			code = layer_builder_feed(builder, out, sizeof(out) - zlib.avail_out, &bed->err);
		} while (zlib.avail_in > 0 && !code);
		zlib.next_in = (Bytef *)zeros;
		zlib.avail_in = sizeof(zeros);
	}
	assert_int_equal(code, ERR_LIMIT);
	deflateEnd(&zlib);
	layer_builder_free(builder);
	buf_dispose(&tar);
	buf_dispose(&layer);
}

static void index_that_is_cut_or_changed_is_refused(void **state)
{
	struct layer_index *index = NULL;
	struct bed *bed = *state;

	gzip(bed, 1);
	index_layer(bed, true);
	for (size_t len = 0; len < bed->encoded.len; len += len < 100 ? 1 : 997)
		assert_int_equal(layer_index_decode(bed->encoded.data, len, &index, &bed->err), ERR_INVALID);
	for (size_t at = 0; at < bed->encoded.len; at += at < 100 ? 1 : 997) {
		bed->encoded.data[at] ^= 0x10;
		assert_int_equal(layer_index_decode(bed->encoded.data, bed->encoded.len, &index, &bed->err),
				 ERR_INVALID);
		bed->encoded.data[at] ^= 0x10;
	}
	assert_null(index);
}

static void index_remembers_that_a_layer_has_none(void **state)
{
	struct bed *bed = *state;
	struct layer_index *failed = layer_index_failed(77, "it is no layer");

	assert_int_equal(layer_index_encode(failed, &bed->encoded, &bed->err), 0);
	layer_index_free(failed);
	assert_int_equal(layer_index_decode(bed->encoded.data, bed->encoded.len, &bed->index, &bed->err), 0);
	assert_string_equal(bed->index->failure, "it is no layer");
	assert_int_equal(bed->index->in_size, 77);
}

static void index_of_very_many_equal_entries_is_read_again(void **state)
{
	struct layer_entry entry = {.path = "", .link = "", .user = "", .group = ""};
	struct layer_table table = {0}, again = {0};
	struct bed *bed = *state;

	for (size_t i = 0; i < LAYER_ENTRIES_MAX; i++) {
		entry.offset += 512;
		assert_int_equal(layer_table_add(&table, &entry, &bed->err), 0);
	}
	assert_int_equal(table_encode(&table, &bed->encoded, &bed->err), 0);
	assert_int_equal(table_decode(bed->encoded.data, bed->encoded.len, &again, &bed->err), 0);
	assert_int_equal(again.count, LAYER_ENTRIES_MAX);
	assert_int_equal(again.entries[again.count - 1].offset, entry.offset);
	layer_table_dispose(&table);
	layer_table_dispose(&again);
}

int main(void)
{
#define BED(test) cmocka_unit_test_setup_teardown(test, bed_setup, bed_teardown)
	const struct CMUnitTest tests[] = {
		BED(index_reads_gzip_anywhere),
		BED(index_reads_gzip_that_came_byte_by_byte),
		BED(index_reads_gzip_of_many_members),
		BED(index_reads_gzip_of_a_few_members),
		BED(index_reads_zstd_frame_by_frame),
		BED(index_says_that_one_zstd_frame_is_read_from_its_start),
		BED(index_reads_a_plain_tar),
		cmocka_unit_test(index_takes_from_an_unverified_source_only_what_was_indexed),
		BED(index_passes_on_what_the_source_says),
		BED(index_ignores_what_follows_the_end_of_the_tar),
		BED(index_reads_from_a_checkpoint_that_is_close_to_the_end_of_the_tar),
		BED(index_of_a_cut_or_damaged_layer_is_refused_with_the_offset),
		BED(index_of_a_bomb_is_refused),
		BED(index_that_is_cut_or_changed_is_refused),
		BED(index_remembers_that_a_layer_has_none),
		BED(index_of_very_many_equal_entries_is_read_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
