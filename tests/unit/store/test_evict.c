/* SPDX-License-Identifier: Apache-2.0 */
/* What goes when room is needed, what stays, and that nothing is lost track of wherever it is broken off. */
#include "tests/unit/store/scratch.h"

#include "base/clock.h"
#include "store/evict_internal.h"
#include "store/pins.h"
#include "store/remove.h"

#include <stdatomic.h>
#include <sys/syscall.h>

/* In a child, every write to the index and every removal of a file is a step, and it dies at one of them. */
static atomic_int steps_left = INT32_MAX;

static void step(void)
{
	if (atomic_load(&steps_left) != INT32_MAX && atomic_fetch_sub(&steps_left, 1) == 0)
		_exit(77);
}

/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name): the library's are reserved */
int unlinkat(int directory, const char *path, int flags)
{
	step();
	return (int)syscall(SYS_unlinkat, directory, path, flags);
}

int fdatasync(int fd)
{
	step();
	return (int)syscall(SYS_fdatasync, fd);
}

ssize_t pwrite64(int fd, const void *data, size_t len, off64_t offset)
{
	step();
	return syscall(SYS_pwrite64, fd, data, len, offset);
}
/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */

static const struct index_repository repository = {"registry.test", "team/app"};

static struct digest put(const struct scratch *scratch, const char *text, int64_t last_use)
{
	struct digest digest = scratch_digest(text, strlen(text));
	struct index_change use = {
		.kind = INDEX_PUT_BLOB, .digest = &digest, .blob = {.size = strlen(text), .last_use = last_use}};

	assert_int_equal(store_put_blob(scratch->store, &digest, text, strlen(text), NULL), 0);
	assert_int_equal(index_write(scratch_index(scratch), &use, 1, NULL), 0);
	return digest;
}

static void reference(const struct scratch *scratch, const struct digest *parent, const struct digest *child,
		      bool manifest)
{
	struct index_change change = {
		.kind = INDEX_PUT_REFERENCE, .digest = parent, .child = child, .child_is_manifest = manifest};

	assert_int_equal(index_write(scratch_index(scratch), &change, 1, NULL), 0);
}

static void name(const struct scratch *scratch, const char *tag, const struct digest *digest)
{
	struct index_tag record = {.digest = *digest, .size = 1, .media_type = "application/x"};
	struct index_change changes[] = {
		{.kind = INDEX_PUT_TAG, .repository = repository, .tag = tag, .tag_record = &record},
		{.kind = INDEX_PUT_LINK, .repository = repository, .digest = digest}};

	assert_int_equal(index_write(scratch_index(scratch), changes, 2, NULL), 0);
}

static bool held(const struct scratch *scratch, const struct digest *digest)
{
	char *path = scratch_blob_path(scratch, digest);
	struct index_blob blob;
	bool file = scratch_exists(path);

	free(path);
	assert_int_equal(index_get_blob(scratch_index(scratch), digest, &blob, NULL) == 0, file);
	return file;
}

static bool take_first(void *arg, const struct index_root *root)
{
	*(struct index_root *)arg = *root;
	return false;
}

static bool oldest(const struct scratch *scratch, struct index_root *root)
{
	root->digest.algorithm = 0;
	assert_int_equal(index_list_roots(scratch_index(scratch), NULL, take_first, root, NULL), 0);
	return root->digest.algorithm != 0;
}

static void evict_oldest(const struct scratch *scratch)
{
	struct index_root root;

	assert_true(oldest(scratch, &root));
	assert_int_equal(remove_image(scratch->store, &root.digest, NULL, NULL), 0);
}

/* An index of two platforms that share a layer; an image that shares the base with the first; a blob alone. */
struct shelf {
	struct digest index, amd64, arm64, base, both, only_amd64;
	struct digest image, top;
	struct digest lonely;
};

static struct shelf fill(const struct scratch *scratch)
{
	struct shelf shelf = {
		.lonely = put(scratch, "lonely", 50),
		.index = put(scratch, "index", 100),
		.amd64 = put(scratch, "amd64", 90),
		.arm64 = put(scratch, "arm64", 91),
		.base = put(scratch, "base", 10),
		.both = put(scratch, "both", 11),
		.only_amd64 = put(scratch, "only amd64", 12),
		.image = put(scratch, "image", 200),
		.top = put(scratch, "top", 13),
	};

	reference(scratch, &shelf.amd64, &shelf.base, false);
	reference(scratch, &shelf.amd64, &shelf.both, false);
	reference(scratch, &shelf.amd64, &shelf.only_amd64, false);
	reference(scratch, &shelf.arm64, &shelf.both, false);
	reference(scratch, &shelf.index, &shelf.amd64, true);
	reference(scratch, &shelf.index, &shelf.arm64, true);
	reference(scratch, &shelf.image, &shelf.base, false);
	reference(scratch, &shelf.image, &shelf.top, false);
	name(scratch, "latest", &shelf.index);
	name(scratch, "old", &shelf.index);
	name(scratch, "image", &shelf.image);
	return shelf;
}

static void images_go_by_last_use_with_what_only_they_need(void **state)
{
	struct scratch *scratch = *state;
	struct shelf shelf = fill(scratch);
	struct index_tag tag;
	struct index_link link;

	evict_oldest(scratch);
	assert_false(held(scratch, &shelf.lonely));
	assert_true(held(scratch, &shelf.index));

	evict_oldest(scratch);
	assert_false(held(scratch, &shelf.index));
	assert_false(held(scratch, &shelf.amd64));
	assert_false(held(scratch, &shelf.arm64));
	assert_false(held(scratch, &shelf.both));
	assert_false(held(scratch, &shelf.only_amd64));
	assert_true(held(scratch, &shelf.base));
	assert_true(held(scratch, &shelf.image));
	assert_int_equal(index_get_tag(scratch_index(scratch), &repository, "latest", 0, &tag, NULL), ERR_NOT_FOUND);
	assert_int_equal(index_get_tag(scratch_index(scratch), &repository, "old", 0, &tag, NULL), ERR_NOT_FOUND);
	assert_int_equal(index_get_link(scratch_index(scratch), &repository, &shelf.index, &link, NULL), ERR_NOT_FOUND);
	assert_int_equal(index_get_tag(scratch_index(scratch), &repository, "image", 0, &tag, NULL), 0);

	evict_oldest(scratch);
	assert_int_equal(scratch_totals(scratch).blobs, 0);
	assert_int_equal(scratch_totals(scratch).bytes, 0);
}

static void using_a_manifest_uses_the_index_above_it(void **state)
{
	struct scratch *scratch = *state;
	struct shelf shelf = fill(scratch);
	struct digest outer = put(scratch, "index of indexes", 60);
	struct index_change use = {.kind = INDEX_USE_BLOB, .digest = &shelf.arm64, .blob.last_use = 300};
	struct index_root root;

	reference(scratch, &outer, &shelf.index, true);
	evict_oldest(scratch); /* the lonely one */
	assert_true(oldest(scratch, &root));
	assert_true(digest_equal(&root.digest, &outer));
	assert_int_equal(index_write(scratch_index(scratch), &use, 1, NULL), 0);
	assert_true(oldest(scratch, &root));
	assert_true(digest_equal(&root.digest, &shelf.image));
	/* A layer's use is not its manifests': the next image may share it. */
	use.digest = &shelf.top;
	use.blob.last_use = 400;
	assert_int_equal(index_write(scratch_index(scratch), &use, 1, NULL), 0);
	assert_true(oldest(scratch, &root));
	assert_true(digest_equal(&root.digest, &shelf.image));
}

static void platform_with_a_tag_of_its_own_stays_when_its_index_goes(void **state)
{
	struct scratch *scratch = *state;
	struct shelf shelf = fill(scratch);

	name(scratch, "amd64", &shelf.amd64);
	assert_int_equal(remove_image(scratch->store, &shelf.index, NULL, NULL), 0);
	assert_false(held(scratch, &shelf.index));
	assert_false(held(scratch, &shelf.arm64));
	assert_true(held(scratch, &shelf.amd64));
	assert_true(held(scratch, &shelf.both));
	assert_true(held(scratch, &shelf.only_amd64));
	assert_int_equal(remove_image(scratch->store, &shelf.amd64, NULL, NULL), 0);
	assert_false(held(scratch, &shelf.both));
	assert_true(held(scratch, &shelf.base));
}

static void tag_that_moved_does_not_go_with_what_it_meant(void **state)
{
	struct scratch *scratch = *state;
	struct shelf shelf = fill(scratch);
	struct index_tag tag;

	name(scratch, "latest", &shelf.image);
	assert_int_equal(remove_image(scratch->store, &shelf.index, NULL, NULL), 0);
	assert_int_equal(index_get_tag(scratch_index(scratch), &repository, "latest", 0, &tag, NULL), 0);
	assert_int_equal(index_get_tag(scratch_index(scratch), &repository, "old", 0, &tag, NULL), ERR_NOT_FOUND);
}

static void reference_of_a_manifest_that_is_gone_keeps_nothing(void **state)
{
	struct scratch *scratch = *state;
	struct digest gone = scratch_digest("gone", 4), layer = put(scratch, "layer", 1);
	struct index_root root;

	reference(scratch, &gone, &layer, false);
	assert_true(oldest(scratch, &root));
	assert_true(digest_equal(&root.digest, &layer));
}

static void blob_that_comes_after_its_manifest_is_no_root(void **state)
{
	struct scratch *scratch = *state;
	struct digest manifest = put(scratch, "manifest", 100), layer = scratch_digest("layer", 5);
	struct index_root root;

	reference(scratch, &manifest, &layer, false);
	put(scratch, "layer", 1);
	assert_true(oldest(scratch, &root));
	assert_true(digest_equal(&root.digest, &manifest));
	assert_int_equal(remove_image(scratch->store, &manifest, NULL, NULL), 0);
	assert_false(held(scratch, &layer));
}

static void reader_keeps_what_goes_under_it(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = put(scratch, "being sent", 1);
	char text[16] = "";
	uint64_t size;
	int fd;

	assert_int_equal(store_open_blob(scratch->store, &digest, &fd, &size, NULL), 0);
	evict_oldest(scratch);
	assert_int_equal(store_find_blob(scratch->store, &digest, &size, NULL), ERR_NOT_FOUND);
	assert_int_equal(pread(fd, text, sizeof(text), 0), 10);
	assert_string_equal(text, "being sent");
	close(fd);
}

static void sweep_all(struct scratch *scratch)
{
	struct sweep sweep = {0};

	while (sweep_step(scratch->store, &sweep))
		;
	scratch_settle(scratch);
}

static bool expect_file(void *arg, const struct digest *digest, const struct index_blob *blob)
{
	struct scratch *scratch = arg;
	char *path = scratch_blob_path(scratch, digest);

	(void)blob;
	assert_true(scratch_exists(path));
	free(path);
	return true;
}

static void sweep_brings_files_and_index_together(void **state)
{
	struct scratch *scratch = *state;
	struct digest lost = put(scratch, "without a file", 5), unknown = put(scratch, "not in the index", 6);
	struct index_change forget = {.kind = INDEX_DELETE_BLOB, .digest = &unknown};
	char *path = scratch_blob_path(scratch, &lost);

	assert_int_equal(index_write(scratch_index(scratch), &forget, 1, NULL), 0);
	assert_int_equal(unlink(path), 0);
	free(path);
	sweep_all(scratch);
	assert_false(held(scratch, &lost));
	assert_true(held(scratch, &unknown));
	assert_int_equal(scratch_totals(scratch).blobs, 1);
}

static struct digest name_only(const struct scratch *scratch, const char *tag, int64_t checked)
{
	struct digest digest = scratch_digest(tag, strlen(tag));
	struct index_tag record = {.digest = digest, .size = 1, .checked = checked, .media_type = "application/x"};
	struct index_change changes[] = {
		{.kind = INDEX_PUT_LINK, .repository = repository, .digest = &digest},
		{.kind = INDEX_PUT_TAG, .repository = repository, .tag = tag, .tag_record = &record}};

	assert_int_equal(index_write_later(scratch_index(scratch), changes, checked ? 2 : 1), 0);
	return digest;
}

static bool is_linked(const struct scratch *scratch, const struct digest *digest)
{
	struct index_link link;

	return index_get_link(scratch_index(scratch), &repository, digest, &link, NULL) == 0;
}

static bool is_tag(const struct scratch *scratch, const char *tag)
{
	struct index_tag found;

	return index_get_tag(scratch_index(scratch), &repository, tag, 0, &found, NULL) == 0;
}

static void names_of_what_is_not_held_are_forgotten_with_age(void **state)
{
	struct scratch *scratch = *state;
	int64_t now = clock_wall_s(), old = now - SWEEP_NAMES_AGE_S - 60;
	struct digest image = put(scratch, "image", 5), after = {0};
	struct digest layer = name_only(scratch, "a layer to come", 0), lone = name_only(scratch, "lone", 0);
	struct digest aged = name_only(scratch, "aged", old), young = name_only(scratch, "young", now);
	struct index_tag record = {.digest = young, .size = 1, .checked = old, .media_type = "application/x"};
	struct index_change second = {
		.kind = INDEX_PUT_TAG, .repository = repository, .tag = "second", .tag_record = &record};
	char tag[16];

	reference(scratch, &image, &layer, false);
	name(scratch, "held", &image); /* confirmed in 1970 */
	/* More than one look sees. */
	for (unsigned i = 0; i < 1500; i++) {
		snprintf(tag, sizeof(tag), "old-%u", i);
		name_only(scratch, tag, old);
	}
	/* What has a new name beside an old one keeps both. */
	assert_int_equal(index_write(scratch_index(scratch), &second, 1, NULL), 0);
	assert_true(sweep_names(scratch->store, &after));
	while (sweep_names(scratch->store, &after))
		;
	assert_int_equal(after.algorithm, 0);
	scratch_settle(scratch);
	assert_false(is_linked(scratch, &lone));
	assert_false(is_linked(scratch, &aged));
	assert_false(is_tag(scratch, "aged"));
	assert_false(is_tag(scratch, "old-0"));
	assert_false(is_tag(scratch, "old-1499"));
	assert_true(is_linked(scratch, &young));
	assert_true(is_tag(scratch, "young"));
	assert_true(is_tag(scratch, "second"));
	assert_true(is_linked(scratch, &layer));
	assert_true(is_tag(scratch, "held"));
}

static void names_are_swept_behind_each_start(void **state)
{
	struct scratch *scratch = *state;
	struct digest lone = name_only(scratch, "lone", 0);

	scratch_settle(scratch);
	assert_true(is_linked(scratch, &lone));
	assert_int_equal(evict_start(scratch->store, &(struct evict_options){0}, NULL), 0);
	for (unsigned wait = 0; wait < 2000 && is_linked(scratch, &lone); wait++)
		usleep(10000);
	assert_false(is_linked(scratch, &lone));
}

static void names_of_what_came_meanwhile_stay(void **state)
{
	struct scratch *scratch = *state;
	struct digest image = put(scratch, "image", 5), layer = name_only(scratch, "layer", 0);
	struct index_change changes[] = {{.kind = INDEX_FORGET_NAMES, .digest = &image},
					 {.kind = INDEX_FORGET_NAMES, .digest = &layer}};

	name(scratch, "latest", &image);
	reference(scratch, &image, &layer, false);
	assert_int_equal(index_write(scratch_index(scratch), changes, 2, NULL), 0);
	assert_true(held(scratch, &image));
	assert_true(is_tag(scratch, "latest"));
	assert_true(is_linked(scratch, &layer));
}

static int steps_wanted;

static void evict_and_die(struct scratch *scratch)
{
	struct digest index = scratch_digest("index", 5);

	if (scratch_open(scratch))
		_exit(1);
	atomic_store(&steps_left, steps_wanted);
	if (remove_image(scratch->store, &index, NULL, NULL))
		_exit(2);
	atomic_store(&steps_left, INT32_MAX);
	store_close(scratch->store);
	_exit(0);
}

static void crash_at_any_step_loses_track_of_nothing(void **state)
{
	struct scratch *scratch = *state;
	int died = 0, status = 0;

	for (steps_wanted = 0; steps_wanted < 100; steps_wanted++) {
		struct index_root root;
		struct shelf shelf = fill(scratch);

		status = scratch_in_child(scratch, evict_and_die);
		assert_true(WIFEXITED(status));
		assert_int_equal(scratch_open(scratch), 0);
		if (WEXITSTATUS(status) == 0)
			break;
		assert_int_equal(WEXITSTATUS(status), 77);
		died++;
		sweep_all(scratch);
		assert_int_equal(index_list_blobs(scratch_index(scratch), NULL, expect_file, scratch, NULL), 0);
		/* What another image needs is there whatever happened, and all that is left can go. */
		assert_true(held(scratch, &shelf.base));
		while (oldest(scratch, &root))
			evict_oldest(scratch);
		assert_int_equal(scratch_totals(scratch).blobs, 0);
		assert_false(held(scratch, &shelf.both));
		assert_false(held(scratch, &shelf.only_amd64));
		assert_false(held(scratch, &shelf.amd64));
		assert_false(held(scratch, &shelf.base));
	}
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_true(died >= 6); /* five files and a commit */
}

static void room_is_made_for_what_is_reserved(void **state)
{
	struct scratch *scratch = *state;
	struct evict_options options = {.max_size = 1 << 20};
	char *data = mem_alloc(100000);
	struct digest first = {0}, last = {0};
	struct err err;

	assert_int_equal(evict_start(scratch->store, &options, NULL), 0);
	for (int i = 0; i < 40; i++) {
		data[0] = (char)i;
		last = scratch_digest(data, 100000);
		if (i == 0)
			first = last;
		assert_int_equal(store_put_blob(scratch->store, &last, data, 100000, NULL), 0);
	}
	free(data);
	assert_true(scratch_totals(scratch).bytes <= 1 << 20);
	assert_false(held(scratch, &first));
	/* More than it may ever hold. */
	struct ingest *ingest;
	uint64_t evicted = evict_total_bytes(scratch->store);

	assert_int_equal(ingest_open(scratch->store, &first, &ingest, NULL), 0);
	assert_int_equal(ingest_reserve(ingest, 2 << 20, 10000, &err), ERR_NO_SPACE);
	ingest_close(ingest);
	assert_int_equal(evict_total_bytes(scratch->store), evicted);
}

static void pinned_image_stays_whatever_its_age(void **state)
{
	const struct index_pin pin = {.repository = repository, .reference = "stable"};
	struct scratch *scratch = *state;
	struct shelf shelf = fill(scratch);

	assert_int_equal(pin_add(scratch->store, "prod", &pin, 1, NULL), 0);
	name(scratch, "stable", &shelf.index);
	scratch->store->room.max_size = 1;
	evict_pass(scratch->store);
	scratch->store->room.max_size = 0;
	assert_true(held(scratch, &shelf.index));
	assert_true(held(scratch, &shelf.base));
	assert_false(held(scratch, &shelf.image));
	assert_false(held(scratch, &shelf.lonely));
}

static void leftovers_go_before_images_and_flights_stay(void **state)
{
	struct scratch *scratch = *state;
	struct digest old = scratch_digest("old", 3), flying = scratch_digest("flying", 6);
	struct ingest *ingest;
	char *old_path = scratch_partial_path(scratch, &old, "");
	char *flying_path = scratch_partial_path(scratch, &flying, "");

	assert_int_equal(ingest_open(scratch->store, &flying, &ingest, NULL), 0);
	assert_int_equal(ingest_write(ingest, 0, "fly", 3, NULL), 0);
	scratch_write_file(old_path, "old", 3);
	evict_pass(scratch->store);
	assert_true(scratch_exists(old_path)); /* there is no need */
	scratch->store->room.max_size = 1;
	evict_pass(scratch->store);
	scratch->store->room.max_size = 0;
	assert_false(scratch_exists(old_path));
	assert_true(scratch_exists(flying_path));
	ingest_close(ingest);
	free(old_path);
	free(flying_path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(images_go_by_last_use_with_what_only_they_need),
		scratch_test(using_a_manifest_uses_the_index_above_it),
		scratch_test(platform_with_a_tag_of_its_own_stays_when_its_index_goes),
		scratch_test(tag_that_moved_does_not_go_with_what_it_meant),
		scratch_test(reference_of_a_manifest_that_is_gone_keeps_nothing),
		scratch_test(blob_that_comes_after_its_manifest_is_no_root),
		scratch_test(reader_keeps_what_goes_under_it),
		scratch_test(sweep_brings_files_and_index_together),
		scratch_test(names_of_what_is_not_held_are_forgotten_with_age),
		scratch_test(names_are_swept_behind_each_start),
		scratch_test(names_of_what_came_meanwhile_stay),
		scratch_test(crash_at_any_step_loses_track_of_nothing),
		scratch_test(room_is_made_for_what_is_reserved),
		scratch_test(pinned_image_stays_whatever_its_age),
		scratch_test(leftovers_go_before_images_and_flights_stay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
