/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <cmocka.h>

#include "layer/tar.h"
#include "tests/unit/layer/tars.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct bed {
	struct buf tar;
	struct layer_table table;
	struct err err;
};

static int bed_setup(void **state)
{
	struct bed *bed = mem_alloc(sizeof(*bed));

	*state = bed;
	return 0;
}

static int bed_teardown(void **state)
{
	struct bed *bed = *state;

	buf_dispose(&bed->tar);
	layer_table_dispose(&bed->table);
	free(bed);
	return 0;
}

static int read_bed(struct bed *bed)
{
	return tar_read(bed->tar.data, bed->tar.len, &bed->table, &bed->err);
}

static const char *data_of(const struct bed *bed, const char *path)
{
	const struct layer_entry *entry = tars_find(&bed->table, path);

	assert_non_null(entry);
	return bed->tar.data + entry->offset;
}

static void tar_tells_of_each_entry_what_its_header_says(void **state)
{
	struct bed *bed = *state;
	const struct layer_entry *entry;

	tars_directory(&bed->tar, "usr/");
	tars_add(&bed->tar, &(struct tars_header){.name = "su", .prefix = "usr/bin", .mode = 04755, .size = 5},
		 "hello");
	tars_link(&bed->tar, '2', "bin", "usr/bin");
	tars_link(&bed->tar, '1', "sudo", "usr/bin/su");
	tars_end(&bed->tar);
	assert_int_equal(read_bed(bed), 0);
	assert_int_equal(bed->table.count, 4);
	entry = tars_find(&bed->table, "usr/bin/su");
	assert_int_equal(entry->type, LAYER_FILE);
	assert_int_equal(entry->mode, 04755);
	assert_int_equal(entry->size, 5);
	assert_int_equal(entry->mtime_s, 1000000000);
	assert_memory_equal(data_of(bed, "usr/bin/su"), "hello", 5);
	assert_int_equal(tars_find(&bed->table, "usr/")->type, LAYER_DIRECTORY);
	entry = tars_find(&bed->table, "bin");
	assert_int_equal(entry->type, LAYER_SYMLINK);
	assert_string_equal(entry->link, "usr/bin");
	assert_int_equal(tars_find(&bed->table, "sudo")->type, LAYER_HARDLINK);
}

static void tar_reads_the_same_whatever_the_pieces_it_comes_in(void **state)
{
	struct bed *bed = *state;
	size_t pieces[] = {1, 7, 511, 513, 4096};

	tars_pax(&bed->tar, "19 path=some/where\n", 19);
	tars_file(&bed->tar, "x", "0123456789");
	tars_file(&bed->tar, "y", "abc");
	tars_end(&bed->tar);
	for (size_t i = 0; i < sizeof(pieces) / sizeof(*pieces); i++) {
		struct layer_table table = {0};
		struct tar *tar = tar_new(&table);

		for (size_t at = 0; at < bed->tar.len; at += pieces[i]) {
			size_t rest = bed->tar.len - at;

			assert_int_equal(
				tar_feed(tar, bed->tar.data + at, rest < pieces[i] ? rest : pieces[i], &bed->err), 0);
		}
		assert_int_equal(tar_finish(tar, &bed->err), 0);
		assert_int_equal(table.count, 2);
		assert_string_equal(table.entries[0].path, "some/where");
		assert_memory_equal(bed->tar.data + table.entries[1].offset, "abc", 3);
		tar_free(tar);
		layer_table_dispose(&table);
	}
}

static void tar_takes_attributes_and_times_from_pax_headers(void **state)
{
	struct bed *bed = *state;
	const struct layer_entry *entry;

	tars_pax(&bed->tar,
		 "30 mtime=1234567890.123456789\n39 SCHILY.xattr.security.capability=\1\0\n13 uid=70000\n"
		 "15 gname=wheel\n",
		 30 + 39 + 13 + 15);
	tars_file(&bed->tar, "ping", "x");
	tars_file(&bed->tar, "next", "y");
	assert_int_equal(read_bed(bed), 0);
	entry = &bed->table.entries[0];
	assert_int_equal(entry->mtime_s, 1234567890);
	assert_int_equal(entry->mtime_ns, 123456789);
	assert_int_equal(entry->uid, 70000);
	assert_string_equal(entry->group, "wheel");
	assert_int_equal(entry->xattr_count, 1);
	assert_string_equal(entry->xattrs[0].name, "security.capability");
	assert_int_equal(entry->xattrs[0].len, 2);
	assert_memory_equal(entry->xattrs[0].value, "\1\0", 2);
	assert_int_equal(bed->table.entries[1].uid, 0);
	assert_int_equal(bed->table.entries[1].xattr_count, 0);
}

static void add_long(struct buf *tar, char type, const char *text, size_t len)
{
	tars_add(tar, &(struct tars_header){.name = "long", .type = type, .size = len, .gnu = true}, text);
}

static void tar_takes_long_names_before_those_of_pax_headers_in_either_order(void **state)
{
	struct bed *bed = *state;

	for (int i = 0; i < 2; i++) {
		if (i == 0)
			tars_pax(&bed->tar, "12 path=pax\n16 linkpath=pax\n", 28);
		add_long(&bed->tar, 'L', "gnu", 4);
		add_long(&bed->tar, 'K', "target", 7);
		if (i == 1)
			tars_pax(&bed->tar, "12 path=pax\n16 linkpath=pax\n", 28);
		tars_link(&bed->tar, '2', "short", "short");
	}
	tars_link(&bed->tar, '2', "next", "short");
	assert_int_equal(read_bed(bed), 0);
	assert_int_equal(bed->table.count, 3);
	for (int i = 0; i < 2; i++) {
		assert_string_equal(bed->table.entries[i].path, "gnu");
		assert_string_equal(bed->table.entries[i].link, "target");
	}
	assert_string_equal(bed->table.entries[2].path, "next");
	assert_string_equal(bed->table.entries[2].link, "short");
}

static void tar_ignores_a_long_name_that_is_empty(void **state)
{
	struct bed *bed = *state;

	add_long(&bed->tar, 'L', "\0\0\0", 4);
	tars_file(&bed->tar, "a", "x");
	add_long(&bed->tar, 'L', "taken back", 11);
	add_long(&bed->tar, 'L', "", 0);
	tars_file(&bed->tar, "b", "x");
	assert_int_equal(read_bed(bed), 0);
	assert_int_equal(bed->table.count, 2);
	assert_string_equal(bed->table.entries[0].path, "a");
	assert_string_equal(bed->table.entries[1].path, "b");
}

/* So an entry's attributes are never more than one header holds. */
static void tar_takes_of_several_pax_headers_the_last(void **state)
{
	struct bed *bed = *state;

	tars_pax(&bed->tar, "12 path=pax\n25 SCHILY.xattr.user.a=1\n", 37);
	tars_pax(&bed->tar, "25 SCHILY.xattr.user.b=2\n", 25);
	tars_file(&bed->tar, "a", "x");
	tars_pax(&bed->tar, "12 path=pax\n", 12);
	tars_pax(&bed->tar, "", 0);
	tars_file(&bed->tar, "b", "x");
	assert_int_equal(read_bed(bed), 0);
	assert_int_equal(bed->table.count, 2);
	assert_string_equal(bed->table.entries[0].path, "a");
	assert_int_equal(bed->table.entries[0].xattr_count, 1);
	assert_string_equal(bed->table.entries[0].xattrs[0].name, "user.b");
	assert_string_equal(bed->table.entries[1].path, "b");
}

static void tar_drops_at_a_global_header_what_stands_before_it(void **state)
{
	struct bed *bed = *state;

	tars_pax(&bed->tar, "12 path=pax\n16 linkpath=pax\n", 28);
	add_long(&bed->tar, 'L', "gnu", 4);
	add_long(&bed->tar, 'K', "gnu", 4);
	tars_add(&bed->tar, &(struct tars_header){.name = "global", .type = 'g', .size = 14}, "14 comment=12\n");
	tars_link(&bed->tar, '2', "a", "target");
	assert_int_equal(read_bed(bed), 0);
	assert_int_equal(bed->table.count, 1);
	assert_string_equal(bed->table.entries[0].path, "a");
	assert_string_equal(bed->table.entries[0].link, "target");
}

static void tar_ends_at_two_blocks_of_zeros_or_with_its_last_byte(void **state)
{
	struct bed *bed = *state;

	tars_file(&bed->tar, "a", "1");
	assert_int_equal(read_bed(bed), 0);
	layer_table_dispose(&bed->table);
	tars_end(&bed->tar);
	buf_append_text(&bed->tar, "whatever else");
	assert_int_equal(read_bed(bed), 0);
	assert_int_equal(bed->table.count, 1);
}

static void tar_names_the_offset_of_what_is_wrong(void **state)
{
	struct bed *bed = *state;

	tars_file(&bed->tar, "a", "1");
	tars_file(&bed->tar, "b", "1");
	bed->tar.data[1024 + 20] ^= 1;
	assert_int_equal(read_bed(bed), ERR_INVALID);
	assert_string_equal(bed->err.text, "what should be a header has a wrong checksum, at offset 1536 of the tar");
	bed->tar.data[1024 + 20] ^= 1;
	bed->tar.len -= 512;
	assert_int_equal(read_bed(bed), ERR_INVALID);
	assert_non_null(strstr(bed->err.text, "ends too early"));
}

static void tar_refuses_what_no_image_needs(void **state)
{
	struct bed *bed = *state;
	struct buf path = {0};

	tars_add(&bed->tar, &(struct tars_header){.name = "x", .type = 'x', .size = TAR_SPECIAL_MAX + 1}, NULL);
	assert_int_equal(read_bed(bed), ERR_LIMIT);
	buf_clear(&bed->tar);
	for (int i = 0; i < LAYER_DEPTH_MAX + 1; i++)
		buf_append_text(&path, "d/");
	tars_add(&bed->tar, &(struct tars_header){.name = "long", .type = 'L', .size = path.len, .gnu = true},
		 path.data);
	tars_file(&bed->tar, "short", "x");
	assert_int_equal(read_bed(bed), ERR_LIMIT);
	buf_clear(&bed->tar);
	buf_clear(&path);
	for (size_t i = 0; i < LAYER_PATH_MAX + 1; i++)
		buf_append_text(&path, "x");
	tars_add(&bed->tar, &(struct tars_header){.name = "long", .type = 'L', .size = path.len, .gnu = true},
		 path.data);
	tars_file(&bed->tar, "short", "x");
	assert_int_equal(read_bed(bed), ERR_LIMIT);
	buf_dispose(&path);
}

static void tar_refuses_a_file_that_ends_beyond_what_can_be_counted(void **state)
{
	struct bed *bed = *state;

	tars_pax(&bed->tar, "28 size=9223372036854775799\n", 28);
	tars_file(&bed->tar, "x", "x");
	assert_int_equal(read_bed(bed), ERR_INVALID);
	assert_non_null(strstr(bed->err.text, "no file is that large"));
}

static void tar_refuses_a_sparse_file_whose_map_lies(void **state)
{
	static const char *const lies[] = {
		"22 GNU.sparse.major=0\n22 GNU.sparse.minor=1\n27 GNU.sparse.size=0000010\n22 GNU.sparse.map=0,9\n",
		"22 GNU.sparse.major=0\n22 GNU.sparse.minor=1\n27 GNU.sparse.size=0000002\n22 GNU.sparse.map=0,3\n",
		"22 GNU.sparse.major=0\n22 GNU.sparse.minor=1\n27 GNU.sparse.size=0000010\n26 GNU.sparse.map=2,2,1,1\n",
		"22 GNU.sparse.major=0\n22 GNU.sparse.minor=1\n27 GNU.sparse.size=0000010\n20 GNU.sparse.map=0\n",
		/* the length of a part that was taken back */
		"23 GNU.sparse.offset=0\n19 GNU.sparse.map=\n25 GNU.sparse.numbytes=1\n",
	};
	struct bed *bed = *state;

	for (size_t i = 0; i < sizeof(lies) / sizeof(*lies); i++) {
		buf_clear(&bed->tar);
		tars_pax(&bed->tar, lies[i], strlen(lies[i]));
		tars_file(&bed->tar, "sparse", "abc");
		assert_int_equal(read_bed(bed), ERR_INVALID);
		assert_null(strstr(bed->err.text, "PAX header"));
	}
}

static void tar_takes_a_file_for_a_plain_one_that_is_not_sparse_as_go_knows_it(void **state)
{
	static const char *const records[] = {
		"25 GNU.sparse.name=other\n25 GNU.sparse.realsize=9\n",
		"22 GNU.sparse.major=1\n22 GNU.sparse.minor=1\n25 GNU.sparse.name=other\n25 GNU.sparse.realsize=9\n",
		"22 GNU.sparse.major=1\n25 GNU.sparse.name=other\n22 GNU.sparse.map=0,3\n",
		"22 GNU.sparse.major=7\n22 GNU.sparse.minor=0\n22 GNU.sparse.map=0,3\n",
		"26 GNU.sparse.numblocks=0\n25 GNU.sparse.name=other\n",
	};
	struct bed *bed = *state;

	for (size_t i = 0; i < sizeof(records) / sizeof(*records); i++) {
		buf_clear(&bed->tar);
		layer_table_dispose(&bed->table);
		tars_pax(&bed->tar, records[i], strlen(records[i]));
		tars_file(&bed->tar, "plain", "abc");
		assert_int_equal(read_bed(bed), 0);
		assert_string_equal(bed->table.entries[0].path, "plain");
		assert_int_equal(bed->table.entries[0].size, 3);
		assert_null(bed->table.entries[0].extents);
		assert_memory_equal(data_of(bed, "plain"), "abc", 3);
	}
}

static void tar_keeps_the_name_of_a_sparse_file_to_which_an_empty_one_is_given(void **state)
{
	static const char records[] = "22 GNU.sparse.major=0\n22 GNU.sparse.minor=1\n20 GNU.sparse.name=\n"
				      "21 GNU.sparse.size=8\n22 GNU.sparse.map=5,3\n";
	struct bed *bed = *state;

	tars_pax(&bed->tar, records, strlen(records));
	tars_file(&bed->tar, "sparse", "abc");
	assert_int_equal(read_bed(bed), 0);
	assert_string_equal(bed->table.entries[0].path, "sparse");
	assert_int_equal(bed->table.entries[0].size, 8);
	assert_int_equal(bed->table.entries[0].extent_count, 1);
}

/* What tar itself writes. */

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *place)
{
	(void)status;
	(void)type;
	(void)place;
	return remove(path);
}

static void read_file(const char *path, struct buf *out)
{
	char piece[4096];
	size_t got;
	FILE *file = fopen(path, "rb");

	assert_non_null(file);
	while ((got = fread(piece, 1, sizeof(piece), file)) > 0)
		assert_int_equal(buf_append(out, piece, got), 0);
	fclose(file);
}

static void tar_reads_what_gnu_tar_writes_in_every_format(void **state)
{
	static const char *const formats[] = {"--format=v7",
					      "--format=ustar",
					      "--format=gnu",
					      "--format=oldgnu",
					      "--format=posix",
					      "-S --format=oldgnu",
					      "-S --format=posix --sparse-version=0.0",
					      "-S --format=posix --sparse-version=0.1",
					      "-S --format=posix --sparse-version=1.0"};
	char top[] = "/tmp/larder-tar-XXXXXX", *command;
	struct bed *bed = *state;

	assert_non_null(mkdtemp(top));
	command = mem_printf("cd %s && mkdir -p d/e && echo hello >d/e/f && ln d/e/f d/g && ln -s g d/h && "
			     "chmod 2755 d/e && touch -d @12345 d/e/f && for i in 3 70 140; do printf part | "
			     "dd of=d/holes bs=4096 seek=$i conv=notrunc status=none; done && truncate -s 1M d/holes",
			     top);
	assert_int_equal(system(command), 0);
	free(command);
	for (size_t i = 0; i < sizeof(formats) / sizeof(*formats); i++) {
		const struct layer_entry *holes;

		buf_clear(&bed->tar);
		layer_table_dispose(&bed->table);
		command = mem_printf("cd %s && tar --sort=name %s -cf t.tar d", top, formats[i]);
		assert_int_equal(system(command), 0);
		free(command);
		command = mem_printf("%s/t.tar", top);
		read_file(command, &bed->tar);
		free(command);
		assert_int_equal(read_bed(bed), 0);
		assert_int_equal(bed->table.count, 6);
		assert_memory_equal(data_of(bed, "d/e/f"), "hello\n", 6);
		assert_int_equal(tars_find(&bed->table, "d/e/f")->mtime_s, 12345);
		assert_int_equal(tars_find(&bed->table, "d/e/")->mode, 02755);
		assert_string_equal(tars_find(&bed->table, "d/g")->link, "d/e/f");
		assert_string_equal(tars_find(&bed->table, "d/h")->link, "g");
		holes = tars_find(&bed->table, "d/holes");
		assert_int_equal(holes->size, 1 << 20);
		if (formats[i][1] != 'S') {
			assert_null(holes->extents);
			continue;
		}
		assert_int_equal(holes->extent_count, 3);
		assert_int_equal(holes->extents[2].start, 140 * 4096);
		assert_memory_equal(bed->tar.data + holes->offset + holes->extents[0].len, "part", 4);
	}
	nftw(top, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
#define BED(test) cmocka_unit_test_setup_teardown(test, bed_setup, bed_teardown)
	const struct CMUnitTest tests[] = {
		BED(tar_tells_of_each_entry_what_its_header_says),
		BED(tar_reads_the_same_whatever_the_pieces_it_comes_in),
		BED(tar_takes_attributes_and_times_from_pax_headers),
		BED(tar_takes_long_names_before_those_of_pax_headers_in_either_order),
		BED(tar_ignores_a_long_name_that_is_empty),
		BED(tar_takes_of_several_pax_headers_the_last),
		BED(tar_drops_at_a_global_header_what_stands_before_it),
		BED(tar_ends_at_two_blocks_of_zeros_or_with_its_last_byte),
		BED(tar_names_the_offset_of_what_is_wrong),
		BED(tar_refuses_what_no_image_needs),
		BED(tar_refuses_a_file_that_ends_beyond_what_can_be_counted),
		BED(tar_refuses_a_sparse_file_whose_map_lies),
		BED(tar_takes_a_file_for_a_plain_one_that_is_not_sparse_as_go_knows_it),
		BED(tar_keeps_the_name_of_a_sparse_file_to_which_an_empty_one_is_given),
		BED(tar_reads_what_gnu_tar_writes_in_every_format),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
