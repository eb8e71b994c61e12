/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <cmocka.h>

#include "layer/tar.h"
#include "layer/view.h"
#include "tests/unit/layer/tars.h"

#include <stdio.h>
#include <stdlib.h>

#define LAYERS_MAX 4

struct bed {
	struct buf tars[LAYERS_MAX];
	struct layer_table tables[LAYERS_MAX];
	unsigned layers;
	struct layer_view *view;
	struct err err;
};

static int bed_setup(void **state)
{
	*state = mem_alloc(sizeof(struct bed));
	return 0;
}

static int bed_teardown(void **state)
{
	struct bed *bed = *state;

	layer_view_free(bed->view);
	for (unsigned i = 0; i < LAYERS_MAX; i++) {
		buf_dispose(&bed->tars[i]);
		layer_table_dispose(&bed->tables[i]);
	}
	free(bed);
	return 0;
}

/* "path…" of everything in the view, with a slash behind directories and the layer of each, in order. */
static void expect(struct bed *bed, const char *wanted)
{
	const struct layer_node *root, *node;
	struct buf list = {0};

	layer_view_free(bed->view);
	bed->view = layer_view_new();
	for (unsigned i = 0; i < bed->layers; i++) {
		layer_table_dispose(&bed->tables[i]);
		assert_int_equal(tar_read(bed->tars[i].data, bed->tars[i].len, &bed->tables[i], &bed->err), 0);
		assert_int_equal(layer_view_add(bed->view, &bed->tables[i], &bed->err), 0);
	}
	layer_view_finish(bed->view);
	root = node = layer_view_root(bed->view);
	while ((node = layer_node_next(root, node, true))) {
		_cleanup_free_ char *path = layer_node_path(node);

		buf_printf(&list, "%s%s%s", list.len ? " " : "", path,
			   layer_node_type(node) == LAYER_DIRECTORY ? "/" : "");
		if (node->entry)
			buf_printf(&list, ":%u", node->layer);
	}
	assert_string_equal(list.data ? list.data : "", wanted);
	buf_dispose(&list);
}

static struct buf *next_layer(struct bed *bed)
{
	assert_true(bed->layers < LAYERS_MAX);
	return &bed->tars[bed->layers++];
}

static void view_lays_one_layer_on_another(void **state)
{
	struct bed *bed = *state;
	struct buf *tar = next_layer(bed);

	tars_directory(tar, "./etc/");
	tars_file(tar, "./etc/passwd", "old");
	tars_file(tar, "etc/hosts", "x");
	tar = next_layer(bed);
	tars_file(tar, "/etc/passwd", "new");
	tars_file(tar, "var/log//a", "new");
	expect(bed, "etc/:0 etc/hosts:0 etc/passwd:1 var/ var/log/ var/log/a:1");
}

static void view_hides_what_a_whiteout_names_and_only_from_below(void **state)
{
	struct bed *bed = *state;
	struct buf *tar = next_layer(bed);

	tars_file(tar, "a/one", "");
	tars_file(tar, "a/two", "");
	tars_file(tar, "b/c/three", "");
	tar = next_layer(bed);
	tars_file(tar, "a/one", "again");
	tars_file(tar, "a/.wh.one", "");
	tars_file(tar, "a/.wh.two", "");
	tars_file(tar, ".wh.b", "");
	tars_file(tar, "nowhere/.wh.x", "");
	tars_file(tar, "a/.wh..wh.plnk", "");
	expect(bed, "a/ a/one:1");
}

static void view_takes_a_whiteout_that_is_written_as_a_directory(void **state)
{
	struct bed *bed = *state;
	struct buf *tar = next_layer(bed);

	tars_file(tar, "a/one", "");
	tars_file(tar, "a/two", "");
	tars_file(tar, "a/three", "");
	tars_file(tar, "b/old", "");
	tar = next_layer(bed);
	tars_directory(tar, "a/.wh.one/");
	tars_directory(tar, "a/.wh.two/.");
	tars_directory(tar, "nowhere/.wh.x/");
	tars_directory(tar, "b/.wh..wh..opq/");
	expect(bed, "a/ a/three:0 b/");
}

static void view_empties_an_opaque_directory_wherever_that_is_said(void **state)
{
	struct bed *bed = *state;
	struct buf *tar = next_layer(bed);

	tars_file(tar, "d/old", "");
	tars_file(tar, "d/sub/old", "");
	tars_file(tar, "d/gone/old", "");
	tar = next_layer(bed);
	tars_file(tar, "d/first", "");
	tars_file(tar, "d/sub/first", "");
	tars_file(tar, "d/.wh..wh..opq", "");
	tars_file(tar, "d/last", "");
	expect(bed, "d/ d/first:1 d/last:1 d/sub/ d/sub/first:1");
}

static void view_hides_a_directory_but_not_what_its_own_layer_puts_there(void **state)
{
	static const char *const orders[][2] = {{".wh.d", "d/new"}, {"d/new", ".wh.d"}};
	struct bed *bed = *state;
	struct buf *tar = next_layer(bed);

	tars_directory(tar, "d");
	tars_directory(tar, "d/sub");
	tars_file(tar, "d/old", "");
	/* The directory itself is hidden too: the layer says nothing of it, whichever comes first. */
	for (int i = 0; i < 2; i++) {
		bed->layers = 1;
		tar = next_layer(bed);
		buf_clear(tar);
		tars_file(tar, orders[i][0], "");
		tars_file(tar, orders[i][1], "");
		expect(bed, "d/ d/new:1");
	}
	buf_clear(tar);
	tars_file(tar, "d/sub/new", "");
	tars_file(tar, "d/.wh..wh..opq", "");
	expect(bed, "d/:0 d/sub/ d/sub/new:1");
	buf_clear(tar);
	tars_file(tar, "d/.wh..wh..opq", "");
	tars_file(tar, ".wh.d", "");
	expect(bed, "");
}

/* It would take hours if each time all were looked at. */
static void view_hides_no_more_for_being_told_again(void **state)
{
	struct bed *bed = *state;
	struct buf *tar = next_layer(bed);
	char name[32];

	tar->max = (size_t)1 << 30;
	for (int i = 0; i < 100000; i++) {
		snprintf(name, sizeof(name), "d/%06d", i);
		tars_add(tar, &(struct tars_header){.name = name}, NULL);
	}
	for (int i = 0; i < 100000; i++)
		tars_add(tar, &(struct tars_header){.name = i % 2 ? ".wh.d" : "d/.wh..wh..opq"}, NULL);
	assert_int_equal(tar_read(tar->data, tar->len, &bed->tables[0], &bed->err), 0);
	bed->view = layer_view_new();
	assert_int_equal(layer_view_add(bed->view, &bed->tables[0], &bed->err), 0);
	assert_int_equal(layer_view_find(bed->view, "d/099999", true, &(const struct layer_node *){NULL}, &bed->err),
			 0);
}

static void view_replaces_a_directory_by_a_file_and_back(void **state)
{
	struct bed *bed = *state;
	struct buf *tar = next_layer(bed);

	tars_directory(tar, "d");
	tars_file(tar, "d/a", "");
	tar = next_layer(bed);
	tars_file(tar, "d", "file");
	expect(bed, "d:1");
	tar = next_layer(bed);
	tars_directory(tar, "d");
	tars_file(tar, "d/b", "");
	expect(bed, "d/:2 d/b:2");
	tar = next_layer(bed);
	tars_directory(tar, "d");
	expect(bed, "d/:3 d/b:2");
}

static void view_gives_a_hard_link_what_its_target_has(void **state)
{
	struct bed *bed = *state;
	const struct layer_node *node;
	struct buf *tar = next_layer(bed);

	tars_file(tar, "a", "text");
	tar = next_layer(bed);
	tars_link(tar, '1', "b", "a");
	tars_link(tar, '1', "c", "./b");
	tars_file(tar, ".wh.a", "");
	tars_link(tar, '1', "lost", "nothing");
	tars_link(tar, '1', "self", "self");
	expect(bed, "b:1 c:1 lost:1 self:1");
	assert_int_equal(layer_view_find(bed->view, "c", true, &node, &bed->err), 0);
	assert_int_equal(layer_node_type(node), LAYER_FILE);
	assert_int_equal(node->content_layer, 0);
	assert_int_equal(node->content->size, 4);
	assert_int_equal(layer_view_find(bed->view, "lost", true, &node, &bed->err), 0);
	assert_null(node->content);
	assert_int_equal(layer_node_type(node), LAYER_HARDLINK);
}

static void view_leads_paths_through_symbolic_links_within_the_root(void **state)
{
	struct bed *bed = *state;
	const struct layer_node *node;
	struct buf *tar = next_layer(bed);

	tars_directory(tar, "usr/bin");
	tars_link(tar, '2', "bin", "usr/bin");
	tars_link(tar, '2', "up", "../../usr");
	tars_link(tar, '2', "loop", "pool");
	tars_link(tar, '2', "pool", "loop");
	tar = next_layer(bed);
	tars_file(tar, "bin/sh", "x");
	tars_file(tar, "up/lib/c", "x");
	tars_file(tar, "loop/x", "x");
	tars_file(tar, "../../etc/shadow", "x");
	expect(bed, "bin:0 etc/ etc/shadow:1 loop:0 pool:0 up:0 usr/ usr/bin/:0 usr/bin/sh:1 usr/lib/ usr/lib/c:1");
	assert_int_equal(layer_view_find(bed->view, "/bin/../bin/sh", true, &node, &bed->err), 0);
	assert_int_equal(layer_view_find(bed->view, "/bin", false, &node, &bed->err), 0);
	assert_int_equal(layer_node_type(node), LAYER_SYMLINK);
	assert_int_equal(layer_view_find(bed->view, "/bin", true, &node, &bed->err), 0);
	assert_int_equal(layer_node_type(node), LAYER_DIRECTORY);
	assert_int_equal(layer_view_find(bed->view, "loop", true, &node, &bed->err), ERR_INVALID);
	assert_int_equal(layer_view_find(bed->view, "bin/bash", true, &node, &bed->err), ERR_NOT_FOUND);
	assert_int_equal(layer_view_find(bed->view, "bin/sh/x", true, &node, &bed->err), ERR_NOT_FOUND);
}

static void view_replaces_a_symbolic_link_by_the_directory_of_that_name(void **state)
{
	struct bed *bed = *state;
	struct buf *tar = next_layer(bed);

	tars_file(tar, "real/kept", "");
	tars_link(tar, '2', "name", "real");
	tar = next_layer(bed);
	tars_directory(tar, "name/");
	tars_file(tar, "name/.wh..wh..opq", "");
	tars_file(tar, "name/new", "");
	expect(bed, "name/:1 name/new:1 real/ real/kept:0");
}

static void view_refuses_to_go_deeper_than_any_image(void **state)
{
	struct bed *bed = *state;
	struct buf *tar = next_layer(bed), path = {0};
	char name[16];

	/* Each link leads 400 directories below where the one before leads. */
	for (int i = 0; i <= LAYER_NODE_DEPTH_MAX / 400; i++) {
		buf_clear(&path);
		snprintf(name, sizeof(name), "s%d", i - 1);
		buf_append_text(&path, i ? name : ".");
		for (int k = 0; k < 400; k++)
			buf_append_text(&path, "/d");
		snprintf(name, sizeof(name), "s%d", i);
		tars_add(tar, &(struct tars_header){.name = "long", .type = 'K', .size = path.len, .gnu = true},
			 path.data);
		tars_link(tar, '2', name, "");
	}
	snprintf(name, sizeof(name), "s%d/x", LAYER_NODE_DEPTH_MAX / 400);
	tars_file(tar, name, "");
	assert_int_equal(tar_read(tar->data, tar->len, &bed->tables[0], &bed->err), 0);
	bed->view = layer_view_new();
	assert_int_equal(layer_view_add(bed->view, &bed->tables[0], &bed->err), ERR_LIMIT);
	buf_dispose(&path);
}

/* Of forty links each leads a long way to the next; then a few thousand files stand behind the first. */
static void view_refuses_paths_that_would_take_hours_to_follow(void **state)
{
	struct bed *bed = *state;
	struct buf *tar = next_layer(bed), path = {0};
	char name[32];

	tar->max = (size_t)1 << 30;
	tars_directory(tar, "a");
	for (int i = LAYER_FOLLOW_MAX - 2; i >= 0; i--) {
		buf_clear(&path);
		for (int k = 0; k < 250; k++)
			buf_append_text(&path, "a/../");
		buf_printf(&path, "l%d", i + 1);
		snprintf(name, sizeof(name), "l%d", i);
		tars_add(tar, &(struct tars_header){.name = "long", .type = 'K', .size = path.len, .gnu = true},
			 path.data);
		tars_link(tar, '2', name, "");
	}
	snprintf(name, sizeof(name), "l%d", LAYER_FOLLOW_MAX - 1);
	tars_directory(tar, name);
	for (int i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "l0/%d", i);
		tars_add(tar, &(struct tars_header){.name = name}, NULL);
	}
	assert_int_equal(tar_read(tar->data, tar->len, &bed->tables[0], &bed->err), 0);
	bed->view = layer_view_new();
	assert_int_equal(layer_view_add(bed->view, &bed->tables[0], &bed->err), ERR_LIMIT);
	buf_dispose(&path);
}

int main(void)
{
#define BED(test) cmocka_unit_test_setup_teardown(test, bed_setup, bed_teardown)
	const struct CMUnitTest tests[] = {
		BED(view_lays_one_layer_on_another),
		BED(view_hides_what_a_whiteout_names_and_only_from_below),
		BED(view_takes_a_whiteout_that_is_written_as_a_directory),
		BED(view_empties_an_opaque_directory_wherever_that_is_said),
		BED(view_hides_a_directory_but_not_what_its_own_layer_puts_there),
		BED(view_hides_no_more_for_being_told_again),
		BED(view_replaces_a_directory_by_a_file_and_back),
		BED(view_gives_a_hard_link_what_its_target_has),
		BED(view_leads_paths_through_symbolic_links_within_the_root),
		BED(view_replaces_a_symbolic_link_by_the_directory_of_that_name),
		BED(view_refuses_to_go_deeper_than_any_image),
		BED(view_refuses_paths_that_would_take_hours_to_follow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
