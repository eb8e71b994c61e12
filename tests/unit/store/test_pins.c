/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/store/shelf.h"

#include "store/pins.h"

static struct index_pin reference(const struct index_repository *repository, const char *reference)
{
	return (struct index_pin){.repository = *repository, .reference = reference};
}

static void pin(const struct scratch *scratch, const char *name, const struct index_repository *repository,
		const char *tag)
{
	struct index_pin entry = reference(repository, tag);

	assert_int_equal(pin_add(scratch->store, name, &entry, 1, NULL), 0);
}

static const char *pin_of(const struct scratch *scratch, const struct digest *digest)
{
	static char name[INDEX_PIN_NAME_MAX + 1];
	int code = pin_find(scratch->store, digest, name, NULL);

	assert_true(code == 0 || code == ERR_NOT_FOUND);
	return name;
}

static bool take_name(void *arg, const char *name)
{
	buf_printf(arg, "%s ", name);
	return true;
}

static bool take_pin(void *arg, const struct index_pin *entry)
{
	buf_printf(arg, "%s/%s:%s[%s] ", entry->repository.upstream, entry->repository.repository, entry->reference,
		   entry->platforms);
	return true;
}

static void expect_pin(const struct scratch *scratch, const char *name, const char *wanted)
{
	_cleanup_(buf_dispose) struct buf text = {0};

	buf_append_text(&text, "");
	assert_int_equal(index_list_pin(scratch_index(scratch), name, take_pin, &text, NULL), 0);
	assert_string_equal(text.len ? text.data : "", wanted);
}

static void expect_pins(const struct scratch *scratch, const char *after, const char *wanted)
{
	_cleanup_(buf_dispose) struct buf text = {0};

	assert_int_equal(index_list_pins(scratch_index(scratch), after, take_name, &text, NULL), 0);
	assert_string_equal(text.len ? text.data : "", wanted);
}

static void pins_are_kept_by_name_with_their_references(void **state)
{
	struct scratch *scratch = *state;
	struct index_pin both[] = {reference(&shelf_app, "1"), reference(&shelf_other, "latest")};

	expect_pins(scratch, "", "");
	both[1].platforms = "linux/amd64,linux/arm64/v8";
	assert_int_equal(pin_add(scratch->store, "prod", both, 2, NULL), 0);
	pin(scratch, "pro", &shelf_app, "2");
	pin(scratch, "prod", &shelf_app, "10");
	pin(scratch, "prod-2", &shelf_app, "1");
	scratch_reopen(scratch);
	expect_pins(scratch, "", "pro prod prod-2 ");
	expect_pins(scratch, "pro", "prod prod-2 ");
	expect_pins(scratch, "prod", "prod-2 ");
	expect_pin(scratch, "prod",
		   "registry.test/team/app:1[] registry.test/team/app:10[] "
		   "docker.io/library/other:latest[linux/amd64,linux/arm64/v8] ");
	expect_pin(scratch, "pr", "");
	/* In place of what was there. */
	assert_int_equal(pin_put(scratch->store, "prod", both, 1, NULL), 0);
	expect_pin(scratch, "prod", "registry.test/team/app:1[] ");
	assert_int_equal(pin_remove(scratch->store, "prod", both, 1, NULL), 0);
	expect_pins(scratch, "", "pro prod-2 ");
	assert_int_equal(pin_remove(scratch->store, "pro", NULL, 0, NULL), 0);
	expect_pins(scratch, "", "prod-2 ");
	assert_int_equal(pin_remove(scratch->store, "pro", NULL, 0, &scratch->err), ERR_NOT_FOUND);
}

static void pin_refuses_what_is_no_name_or_reference(void **state)
{
	struct scratch *scratch = *state;
	struct index_pin entry = reference(&shelf_app, "1");
	char platforms[INDEX_PLATFORMS_MAX + 2];

	assert_int_equal(pin_add(scratch->store, "", &entry, 1, &scratch->err), ERR_INVALID);
	assert_int_equal(pin_add(scratch->store, "a b", &entry, 1, &scratch->err), ERR_INVALID);
	entry.reference = "sha256:12";
	assert_int_equal(pin_add(scratch->store, "a", &entry, 1, &scratch->err), ERR_INVALID);
	entry.reference = "1";
	memset(platforms, 'p', sizeof(platforms) - 1);
	platforms[sizeof(platforms) - 1] = '\0';
	entry.platforms = platforms;
	assert_int_equal(pin_add(scratch->store, "a", &entry, 1, &scratch->err), ERR_INVALID);
	expect_pins(scratch, "", "");
}

static void pin_follows_its_tag_and_keeps_all_below(void **state)
{
	static const char *const platforms[] = {"linux/amd64", "linux/arm64"};
	struct scratch *scratch = *state;
	struct digest images[2], index, base = scratch_digest("base", 4), image;

	pin(scratch, "prod", &shelf_app, "stable"); /* before there is any such thing */
	images[0] = shelf_put_image(scratch, &shelf_app, "one", "linux/amd64", "base");
	images[1] = shelf_put_image(scratch, &shelf_app, "two", "linux/arm64", "base");
	index = shelf_put_index(scratch, &shelf_app, images, platforms, 2);
	image = shelf_put_image(scratch, &shelf_app, "three", "linux/amd64", "another base");
	assert_string_equal(pin_of(scratch, &index), "");
	shelf_tag(scratch, &shelf_app, "stable", &index, 7);
	assert_string_equal(pin_of(scratch, &index), "prod");
	assert_string_equal(pin_of(scratch, &images[1]), "prod");
	assert_string_equal(pin_of(scratch, &base), "prod");
	assert_string_equal(pin_of(scratch, &image), "");
	/* Another tag, of which this one is the beginning, is no such tag. */
	shelf_tag(scratch, &shelf_app, "stable-2", &image, 7);
	assert_string_equal(pin_of(scratch, &image), "");
	shelf_tag(scratch, &shelf_app, "stable", &image, 7);
	assert_string_equal(pin_of(scratch, &image), "prod");
	assert_string_equal(pin_of(scratch, &index), "");
	assert_string_equal(pin_of(scratch, &base), "");
}

static void pin_by_digest_holds_in_its_repository(void **state)
{
	struct scratch *scratch = *state;
	struct digest image = shelf_put_image(scratch, &shelf_app, "one", "linux/amd64", "base");
	struct digest other = shelf_put_image(scratch, &shelf_other, "two", "linux/amd64", "other base");
	char text[DIGEST_TEXT_MAX];

	pin(scratch, "by-digest", &shelf_app, digest_format(&image, text));
	pin(scratch, "elsewhere", &shelf_app, digest_format(&other, text));
	assert_string_equal(pin_of(scratch, &image), "by-digest");
	assert_string_equal(pin_of(scratch, &other), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(pins_are_kept_by_name_with_their_references),
		scratch_test(pin_refuses_what_is_no_name_or_reference),
		scratch_test(pin_follows_its_tag_and_keeps_all_below),
		scratch_test(pin_by_digest_holds_in_its_repository),
	};

	return cmocka_run_group_tests_name("pins", tests, NULL, NULL);
}
