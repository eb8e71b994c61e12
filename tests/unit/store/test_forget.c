/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/store/shelf.h"

#include "store/forget.h"
#include "store/pins.h"

static void tag_goes_with_the_image_that_it_meant(void **state)
{
	struct scratch *scratch = *state;
	struct digest one = shelf_put_image(scratch, &shelf_app, "one", "linux/amd64", "base");
	struct digest two = shelf_put_image(scratch, &shelf_app, "two", "linux/amd64", "base");
	struct digest base = scratch_digest("base", 4), layer = scratch_digest("layer of one", 12);
	struct forgotten forgotten;
	struct index_link link;
	uint64_t before;

	shelf_tag(scratch, &shelf_app, "1", &one, 7);
	shelf_tag(scratch, &shelf_app, "1", &one, 8);
	shelf_tag(scratch, &shelf_app, "2", &two, 7);
	before = scratch_totals(scratch).bytes;
	assert_int_equal(forget_tag(scratch->store, &shelf_app, "1", false, &forgotten, NULL), 0);
	assert_int_equal(forgotten.tags, 1);
	assert_int_equal(forgotten.blobs, 3);
	assert_int_equal(forgotten.bytes, before - scratch_totals(scratch).bytes);
	assert_false(shelf_holds(scratch, &one));
	assert_false(shelf_holds(scratch, &layer));
	assert_true(shelf_holds(scratch, &base));
	assert_true(shelf_holds(scratch, &two));
	assert_int_equal(index_get_link(scratch_index(scratch), &shelf_app, &one, &link, NULL), ERR_NOT_FOUND);
	assert_int_equal(forget_tag(scratch->store, &shelf_app, "1", false, &forgotten, &scratch->err), ERR_NOT_FOUND);
	assert_int_equal(forget_tag(scratch->store, &shelf_other, "1", false, &forgotten, &scratch->err),
			 ERR_NOT_FOUND);
}

static void image_with_another_name_loses_only_the_tag(void **state)
{
	struct scratch *scratch = *state;
	struct digest one = shelf_put_image(scratch, &shelf_app, "one", "linux/amd64", "base");
	struct forgotten forgotten;

	shelf_tag(scratch, &shelf_app, "1", &one, 7);
	shelf_tag(scratch, &shelf_app, "latest", &one, 7);
	assert_int_equal(forget_tag(scratch->store, &shelf_app, "1", false, &forgotten, NULL), 0);
	assert_true(shelf_holds(scratch, &one));
	/* In another repository it was pulled by digest. */
	shelf_put_image(scratch, &shelf_other, "one", "linux/amd64", "base");
	assert_int_equal(forget_tag(scratch->store, &shelf_app, "latest", false, &forgotten, NULL), 0);
	assert_int_equal(forgotten.blobs, 0);
	assert_true(shelf_holds(scratch, &one));
}

static void repository_goes_with_all_but_what_others_share(void **state)
{
	static const char *const platforms[] = {"linux/amd64", "linux/arm64"};
	struct scratch *scratch = *state;
	struct digest images[2], index, base = scratch_digest("base", 4), shared, list = scratch_digest("list", 4);
	struct index_tag record = {.digest = list, .size = 4, .media_type = SHELF_INDEX};
	struct index_change referrers = {.kind = INDEX_PUT_REFERRERS, .repository = shelf_app, .tag_record = &record};
	struct forgotten forgotten;
	struct index_tag found;

	for (int i = 0; i < 300; i++) { /* more than one batch */
		char name[32];

		snprintf(name, sizeof(name), "alone %d", i);
		shelf_put(scratch, &shelf_app, name, "");
	}
	images[0] = shelf_put_image(scratch, &shelf_app, "one", "linux/amd64", "base");
	images[1] = shelf_put_image(scratch, &shelf_app, "two", "linux/arm64", "base");
	index = shelf_put_index(scratch, &shelf_app, images, platforms, 2);
	shelf_tag(scratch, &shelf_app, "1", &index, 7);
	shelf_tag(scratch, &shelf_app, "1-amd64", &images[0], 7);
	assert_int_equal(store_put_blob(scratch->store, &list, "list", 4, NULL), 0);
	referrers.digest = &index;
	assert_int_equal(index_write(scratch_index(scratch), &referrers, 1, NULL), 0);
	shared = shelf_put_image(scratch, &shelf_other, "three", "linux/amd64", "base");

	assert_int_equal(forget_repository(scratch->store, &shelf_app, false, &forgotten, NULL), 0);
	assert_int_equal(forgotten.tags, 2);
	assert_int_equal(scratch_totals(scratch).blobs, 4);
	assert_true(shelf_holds(scratch, &shared));
	assert_true(shelf_holds(scratch, &base));
	assert_false(shelf_holds(scratch, &list));
	assert_int_equal(index_get_referrers(scratch_index(scratch), &shelf_app, &index, &found, NULL), ERR_NOT_FOUND);
	assert_int_equal(forget_repository(scratch->store, &shelf_app, false, &forgotten, &scratch->err),
			 ERR_NOT_FOUND);
}

static void digest_goes_whoever_names_it(void **state)
{
	struct scratch *scratch = *state;
	struct digest one = shelf_put_image(scratch, &shelf_app, "one", "linux/amd64", "base");
	struct digest base = scratch_digest("base", 4), layer = scratch_digest("layer of one", 12);
	struct digest named = scratch_digest("only named", 10);
	struct forgotten forgotten;
	struct index_link link;

	assert_int_equal(forget_digest(scratch->store, &layer, false, &forgotten, NULL), 0);
	assert_int_equal(forgotten.blobs, 1);
	assert_false(shelf_holds(scratch, &layer));
	assert_true(shelf_holds(scratch, &one));
	assert_int_equal(index_get_link(scratch_index(scratch), &shelf_app, &layer, &link, NULL), ERR_NOT_FOUND);
	shelf_put_image(scratch, &shelf_other, "two", "linux/amd64", "base");
	assert_int_equal(forget_digest(scratch->store, &one, false, &forgotten, NULL), 0);
	assert_false(shelf_holds(scratch, &one));
	assert_true(shelf_holds(scratch, &base));
	shelf_tag(scratch, &shelf_app, "1", &named, 7);
	assert_int_equal(forget_digest(scratch->store, &named, false, &forgotten, NULL), 0);
	assert_int_equal(index_find_tag_of(scratch_index(scratch), &named, NULL), ERR_NOT_FOUND);
	assert_int_equal(forget_digest(scratch->store, &named, false, &forgotten, &scratch->err), ERR_NOT_FOUND);
}

static void manifest_goes_from_one_repository_alone(void **state)
{
	struct scratch *scratch = *state;
	struct digest one = shelf_put_image(scratch, &shelf_app, "one", "linux/amd64", "base");
	struct forgotten forgotten;
	struct index_link link;

	shelf_put_image(scratch, &shelf_other, "one", "linux/amd64", "base");
	shelf_tag(scratch, &shelf_app, "1", &one, 7);
	assert_int_equal(forget_in_repository(scratch->store, &shelf_app, &one, false, &forgotten, NULL), 0);
	assert_int_equal(forgotten.tags, 1);
	assert_true(shelf_holds(scratch, &one));
	assert_int_equal(index_get_link(scratch_index(scratch), &shelf_app, &one, &link, NULL), ERR_NOT_FOUND);
	assert_int_equal(forget_in_repository(scratch->store, &shelf_app, &one, false, &forgotten, &scratch->err),
			 ERR_NOT_FOUND);
	assert_int_equal(forget_in_repository(scratch->store, &shelf_other, &one, false, &forgotten, NULL), 0);
	assert_int_equal(scratch_totals(scratch).blobs, 0);
}

static void pinned_things_are_refused_unless_forced(void **state)
{
	const struct index_pin pin = {.repository = shelf_app, .reference = "1"};
	struct scratch *scratch = *state;
	struct digest one = shelf_put_image(scratch, &shelf_app, "one", "linux/amd64", "base");
	struct digest base = scratch_digest("base", 4);
	struct forgotten forgotten;
	struct index_tag tag;

	shelf_tag(scratch, &shelf_app, "1", &one, 7);
	shelf_tag(scratch, &shelf_app, "2", &one, 7);
	assert_int_equal(pin_add(scratch->store, "prod", &pin, 1, NULL), 0);
	assert_int_equal(forget_tag(scratch->store, &shelf_app, "1", false, &forgotten, &scratch->err), ERR_BUSY);
	assert_non_null(strstr(scratch->err.text, "'prod'"));
	assert_int_equal(forget_repository(scratch->store, &shelf_app, false, &forgotten, &scratch->err), ERR_BUSY);
	assert_int_equal(forget_digest(scratch->store, &base, false, &forgotten, &scratch->err), ERR_BUSY);
	assert_int_equal(forget_in_repository(scratch->store, &shelf_app, &one, false, &forgotten, &scratch->err),
			 ERR_BUSY);
	assert_int_equal(index_get_tag(scratch_index(scratch), &shelf_app, "1", 7, &tag, NULL), 0);
	/* A tag beside it goes, what it means does not. */
	assert_int_equal(forget_tag(scratch->store, &shelf_app, "2", false, &forgotten, NULL), 0);
	assert_int_equal(forgotten.blobs, 0);
	assert_int_equal(forget_tag(scratch->store, &shelf_app, "1", true, &forgotten, NULL), 0);
	assert_int_equal(scratch_totals(scratch).blobs, 0);
}

static void reader_keeps_what_is_forgotten(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = shelf_put(scratch, &shelf_app, "being sent", "");
	struct forgotten forgotten;
	char text[16] = "";
	uint64_t size;
	int fd;

	assert_int_equal(store_open_blob(scratch->store, &digest, &fd, &size, NULL), 0);
	assert_int_equal(forget_digest(scratch->store, &digest, false, &forgotten, NULL), 0);
	assert_int_equal(pread(fd, text, sizeof(text), 0), 10);
	assert_string_equal(text, "being sent");
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(tag_goes_with_the_image_that_it_meant),
		scratch_test(image_with_another_name_loses_only_the_tag),
		scratch_test(repository_goes_with_all_but_what_others_share),
		scratch_test(digest_goes_whoever_names_it),
		scratch_test(manifest_goes_from_one_repository_alone),
		scratch_test(pinned_things_are_refused_unless_forced),
		scratch_test(reader_keeps_what_is_forgotten),
	};

	return cmocka_run_group_tests_name("forget", tests, NULL, NULL);
}
