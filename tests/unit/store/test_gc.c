/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/store/shelf.h"

#include "store/evict.h"
#include "store/gc.h"
#include "store/pins.h"

static void take_item(void *arg, const struct gc_item *item)
{
	buf_printf(arg, "%s: %s\n", *item->name ? item->name : "-", gc_reason_text(item->reason));
}

static struct gc_result run(struct scratch *scratch, bool dry_run, const char *wanted)
{
	_cleanup_(buf_dispose) struct buf text = {0};
	struct gc_options options = {.dry_run = dry_run, .each = take_item, .arg = &text};
	struct gc_result result;

	assert_int_equal(gc_run(scratch->store, &options, &result, &scratch->err), 0);
	assert_string_equal(text.len ? text.data : "", wanted);
	return result;
}

/* Sets when a blob was used last, against the rule that this only grows. */
static void use(const struct scratch *scratch, const struct digest *digest, int64_t when)
{
	struct index_change change = {.kind = INDEX_PUT_BLOB, .digest = digest, .blob.last_use = when};
	struct index_blob blob;

	assert_int_equal(index_get_blob(scratch_index(scratch), digest, &blob, NULL), 0);
	change.blob.size = blob.size;
	assert_int_equal(index_write(scratch_index(scratch), &change, 1, NULL), 0);
}

#define LRU "least recently used, and the store is above its limits\n"

static void limits_take_the_oldest_but_the_pinned_and_a_dry_run_says_so_before(void **state)
{
	const struct index_pin pin = {.repository = shelf_app, .reference = "1"};
	struct scratch *scratch = *state;
	struct digest images[4];
	struct gc_result said, done;
	char name[16];

	for (int i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "%d", i);
		images[i] = shelf_put_image(scratch, &shelf_app, name, "linux/amd64", "base");
		shelf_tag(scratch, &shelf_app, name, &images[i], 7);
		use(scratch, &images[i], 4000 - i); /* the last is the oldest */
	}
	assert_int_equal(pin_add(scratch->store, "p", &pin, 1, NULL), 0);
	assert_int_equal(run(scratch, false, "").excess, 0);
	evict_set_limits(scratch->store, &(struct evict_options){.max_size = 1});
	said = run(scratch, true,
		   "registry.test/team/app:3: " LRU "registry.test/team/app:2: " LRU "registry.test/team/app:0: " LRU);
	assert_int_equal(scratch_totals(scratch).blobs, 13);
	done = run(scratch, false,
		   "registry.test/team/app:3: " LRU "registry.test/team/app:2: " LRU "registry.test/team/app:0: " LRU);
	assert_int_equal(done.images, 3);
	assert_int_equal(done.blobs, 9);
	assert_int_equal(said.blobs, done.blobs);
	assert_int_equal(said.bytes, done.bytes);
	assert_true(done.excess > 0); /* what is pinned stays */
	assert_true(shelf_holds(scratch, &images[1]));
	assert_int_equal(scratch_totals(scratch).blobs, 4);
}

static void orphans_go_and_images_without_a_name_stay(void **state)
{
	struct scratch *scratch = *state;
	struct digest old = scratch_digest("old", 3), fresh = scratch_digest("fresh", 5), image;
	struct index_change unlink_image = {.kind = INDEX_DELETE_LINK, .repository = shelf_app, .digest = &image};

	assert_int_equal(store_put_blob(scratch->store, &old, "old", 3, NULL), 0);
	assert_int_equal(store_put_blob(scratch->store, &fresh, "fresh", 5, NULL), 0);
	use(scratch, &old, 1000);
	image = shelf_put_image(scratch, &shelf_app, "one", "linux/amd64", "base");
	use(scratch, &image, 1000);
	assert_int_equal(index_write(scratch_index(scratch), &unlink_image, 1, NULL), 0);
	run(scratch, true, "-: nothing names it\n");
	assert_true(shelf_holds(scratch, &old));
	assert_int_equal(run(scratch, false, "-: nothing names it\n").bytes, 3);
	assert_false(shelf_holds(scratch, &old));
	assert_true(shelf_holds(scratch, &fresh));
	assert_true(shelf_holds(scratch, &image));
}

static void files_and_index_are_brought_together(void **state)
{
	struct scratch *scratch = *state;
	struct digest lost = shelf_put(scratch, &shelf_app, "lost", ""), found = scratch_digest("found", 5);
	struct index_change forget = {.kind = INDEX_DELETE_BLOB, .digest = &found};
	char *path = scratch_blob_path(scratch, &lost);
	struct gc_result result;

	assert_int_equal(store_put_blob(scratch->store, &found, "found", 5, NULL), 0);
	assert_int_equal(index_write(scratch_index(scratch), &forget, 1, NULL), 0);
	assert_int_equal(unlink(path), 0);
	free(path);
	result = run(scratch, false, "");
	assert_int_equal(result.adopted, 1);
	assert_int_equal(result.forgotten, 1);
	assert_true(shelf_holds(scratch, &found));
	assert_false(shelf_holds(scratch, &lost));
}

static bool count_name(void *arg, const struct index_name *name)
{
	(void)name;
	(*(size_t *)arg)++;
	return true;
}

static size_t count_names(const struct scratch *scratch, const struct digest *digest)
{
	size_t count = 0;

	assert_int_equal(index_list_names(scratch_index(scratch), digest, count_name, &count, NULL), 0);
	return count;
}

static void names_of_what_is_not_held_are_forgotten(void **state)
{
	struct scratch *scratch = *state;
	struct digest asked = scratch_digest("asked for by HEAD", 17),
		      held = shelf_put(scratch, &shelf_app, "held", "");
	struct index_change link = {.kind = INDEX_PUT_LINK, .repository = shelf_app, .digest = &asked};

	assert_int_equal(index_write(scratch_index(scratch), &link, 1, NULL), 0);
	shelf_tag(scratch, &shelf_app, "old", &asked, 1); /* upstream confirmed it long ago */
	assert_int_equal(count_names(scratch, &asked), 2);
	run(scratch, true, "");
	assert_int_equal(count_names(scratch, &asked), 2);
	run(scratch, false, "");
	assert_int_equal(count_names(scratch, &asked), 0);
	assert_int_equal(count_names(scratch, &held), 1);
}

static bool never(void *arg)
{
	(void)arg;
	return false;
}

static void clean_up_ends_early_when_told(void **state)
{
	struct scratch *scratch = *state;
	struct gc_options options = {.go_on = never};
	struct digest digest = scratch_digest("abc", 3);
	struct gc_result result;

	assert_int_equal(store_put_blob(scratch->store, &digest, "abc", 3, NULL), 0);
	assert_int_equal(gc_run(scratch->store, &options, &result, &scratch->err), ERR_CANCELLED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(limits_take_the_oldest_but_the_pinned_and_a_dry_run_says_so_before),
		scratch_test(orphans_go_and_images_without_a_name_stay),
		scratch_test(files_and_index_are_brought_together),
		scratch_test(names_of_what_is_not_held_are_forgotten),
		scratch_test(clean_up_ends_early_when_told),
	};

	return cmocka_run_group_tests_name("gc", tests, NULL, NULL);
}
