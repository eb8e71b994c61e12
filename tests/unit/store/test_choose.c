/* SPDX-License-Identifier: Apache-2.0 */
/* In which order images go. */
#include "tests/unit/store/shelf.h"

#include "base/clock.h"
#include "store/choose.h"
#include "store/closure.h"
#include "store/evict.h"
#include "store/gc.h"
#include "store/pins.h"

#define HOUR 3600

/* What came from docker.io cannot be had again. */
static bool is_dear(void *arg, const struct index_repository *repository)
{
	unsigned *asked = arg;

	(*asked)++;
	return strcmp(repository->upstream, shelf_other.upstream) == 0;
}

/* A blob that was last used so many seconds ago; of no repository when that is NULL. */
static struct digest put(const struct scratch *scratch, const struct index_repository *repository, const char *text,
			 int64_t age)
{
	struct digest digest = scratch_digest(text, strlen(text));
	struct index_change use = {.kind = INDEX_PUT_BLOB,
				   .digest = &digest,
				   .blob = {.size = strlen(text), .last_use = clock_wall_s() - age}};

	assert_int_equal(store_put_blob(scratch->store, &digest, text, strlen(text), NULL), 0);
	if (repository)
		shelf_put(scratch, repository, text, "");
	assert_int_equal(index_write(scratch_index(scratch), &use, 1, NULL), 0);
	return digest;
}

static void expect_next(struct chooser *chooser, const struct digest *digest, bool ahead)
{
	struct choice choice;

	assert_int_equal(choose_next(chooser, &choice, NULL), 0);
	assert_true(digest_equal(&choice.root.digest, digest));
	assert_int_equal(choice.ahead, ahead);
	choose_pass_over(chooser, &choice);
}

static void expect_no_more(struct chooser *chooser)
{
	struct choice choice;

	assert_int_equal(choose_next(chooser, &choice, NULL), ERR_NOT_FOUND);
}

static void age_alone_decides_where_nobody_is_asked(void **state)
{
	struct scratch *scratch = *state;
	struct digest dear = put(scratch, &shelf_other, "dear", 100 * HOUR);
	struct digest cheap = put(scratch, &shelf_app, "cheap", 99 * HOUR);
	struct chooser chooser = {.store = scratch->store};

	expect_next(&chooser, &dear, false);
	expect_next(&chooser, &cheap, false);
	expect_no_more(&chooser);
}

static void what_can_be_fetched_again_goes_before_what_cannot_where_ages_are_alike(void **state)
{
	struct scratch *scratch = *state;
	struct digest dear = put(scratch, &shelf_other, "dear", 100 * HOUR);
	struct digest also_dear = put(scratch, &shelf_other, "also dear", 99 * HOUR);
	struct digest cheap = put(scratch, &shelf_app, "cheap", 95 * HOUR);
	struct digest much_younger = put(scratch, &shelf_app, "much younger", 85 * HOUR);
	struct closure gone = {0};
	struct chooser chooser = {.store = scratch->store, .gone = &gone};
	unsigned asked = 0;

	evict_set_dear(scratch->store, is_dear, &asked);
	expect_next(&chooser, &cheap, true);
	closure_add(&gone, scratch->store, &cheap);
	expect_next(&chooser, &dear, false);
	expect_next(&chooser, &also_dear, false);
	expect_next(&chooser, &much_younger, false);
	expect_no_more(&chooser);
	closure_dispose(&gone);
}

static void ages_of_the_last_minute_are_alike(void **state)
{
	struct scratch *scratch = *state;
	struct digest dear = put(scratch, &shelf_other, "dear", 50);
	struct digest cheap = put(scratch, &shelf_app, "cheap", 1);
	struct chooser chooser = {.store = scratch->store};
	unsigned asked = 0;

	evict_set_dear(scratch->store, is_dear, &asked);
	expect_next(&chooser, &cheap, true);
	expect_next(&chooser, &dear, false);
}

static void blob_is_not_dear_while_one_repository_of_it_is_not_nor_where_nothing_names_it(void **state)
{
	struct scratch *scratch = *state;
	struct digest shared = put(scratch, &shelf_other, "shared", 100 * HOUR);
	struct digest nameless = put(scratch, NULL, "nameless", 99 * HOUR);
	struct chooser chooser = {.store = scratch->store};
	unsigned asked = 0;

	put(scratch, &shelf_app, "shared", 100 * HOUR);
	evict_set_dear(scratch->store, is_dear, &asked);
	expect_next(&chooser, &shared, false);
	expect_next(&chooser, &nameless, false);
	expect_no_more(&chooser);
}

static void pinned_stays_also_where_it_could_be_fetched_again(void **state)
{
	struct scratch *scratch = *state;
	struct digest dear = put(scratch, &shelf_other, "dear", 100 * HOUR);
	struct digest pinned = put(scratch, &shelf_app, "pinned", 99 * HOUR);
	struct digest cheap = put(scratch, &shelf_app, "cheap", 98 * HOUR);
	char text[DIGEST_TEXT_MAX];
	struct index_pin pin = {.repository = shelf_app, .reference = digest_format(&pinned, text)};
	struct closure gone = {0};
	struct chooser chooser = {.store = scratch->store, .gone = &gone};
	unsigned asked = 0;

	evict_set_dear(scratch->store, is_dear, &asked);
	assert_int_equal(pin_add(scratch->store, "p", &pin, 1, NULL), 0);
	expect_next(&chooser, &cheap, true);
	closure_add(&gone, scratch->store, &cheap);
	expect_next(&chooser, &dear, false);
	expect_no_more(&chooser);
	closure_dispose(&gone);
}

/* All upstreams are down, and there are many images. */
static void not_more_than_so_many_are_asked_about_in_a_pass(void **state)
{
	struct scratch *scratch = *state;
	struct chooser chooser = {.store = scratch->store};
	unsigned asked = 0, count = CHOOSE_LOOKS_MAX + 100;
	struct choice choice;

	for (unsigned i = 0; i < count; i++) {
		char text[32];
		struct digest digest = scratch_digest(text, (size_t)snprintf(text, sizeof(text), "blob %u", i));
		struct index_change changes[] = {
			{.kind = INDEX_PUT_BLOB, .digest = &digest, .blob = {.size = 1, .last_use = clock_wall_s()}},
			{.kind = INDEX_PUT_LINK, .repository = shelf_other, .digest = &digest}};

		assert_int_equal(index_write_later(scratch_index(scratch), changes, 2), 0);
	}
	scratch_settle(scratch);
	evict_set_dear(scratch->store, is_dear, &asked);
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(choose_next(&chooser, &choice, NULL), 0);
		assert_false(choice.ahead);
		choose_pass_over(&chooser, &choice);
	}
	expect_no_more(&chooser);
	assert_in_range(asked, CHOOSE_LOOKS_MAX, 2 * CHOOSE_LOOKS_MAX + 2);
}

static void take_item(void *arg, const struct gc_item *item)
{
	buf_printf(arg, "%s: %s\n", item->name, gc_reason_text(item->reason));
}

static void clean_up_says_that_it_spares_what_could_not_be_fetched_again(void **state)
{
	static const char wanted[] = "registry.test/team/app: as old as others that could not be fetched "
				     "again now, and the store is above its limits\n"
				     "docker.io/library/other: least recently used, and the store is above its "
				     "limits\n";
	struct scratch *scratch = *state;
	unsigned asked = 0;

	put(scratch, &shelf_other, "dear", 10 * HOUR);
	put(scratch, &shelf_app, "cheap", 10 * HOUR - 60);
	evict_set_dear(scratch->store, is_dear, &asked);
	evict_set_limits(scratch->store, &(struct evict_options){.max_size = 1});
	for (int dry_run = 1; dry_run >= 0; dry_run--) {
		_cleanup_(buf_dispose) struct buf text = {0};
		struct gc_options options = {.dry_run = dry_run, .each = take_item, .arg = &text};
		struct gc_result result;

		assert_int_equal(gc_run(scratch->store, &options, &result, &scratch->err), 0);
		assert_string_equal(text.data, wanted);
	}
	assert_int_equal(scratch_totals(scratch).blobs, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(age_alone_decides_where_nobody_is_asked),
		scratch_test(what_can_be_fetched_again_goes_before_what_cannot_where_ages_are_alike),
		scratch_test(ages_of_the_last_minute_are_alike),
		scratch_test(blob_is_not_dear_while_one_repository_of_it_is_not_nor_where_nothing_names_it),
		scratch_test(pinned_stays_also_where_it_could_be_fetched_again),
		scratch_test(not_more_than_so_many_are_asked_about_in_a_pass),
		scratch_test(clean_up_says_that_it_spares_what_could_not_be_fetched_again),
	};

	return cmocka_run_group_tests_name("choose", tests, NULL, NULL);
}
