/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/store/shelf.h"

#include "store/images.h"
#include "store/pins.h"

/* One line an image: reference, what it means, sizes relative to what is asked for. */
static void list(const struct scratch *scratch, const struct images_filter *filter, struct buf *text)
{
	struct images *images = images_open(scratch->store, filter);
	char reference[IMAGE_REFERENCE_MAX];
	struct image image;
	int code;

	while ((code = images_next(images, &image, NULL)) == 0)
		buf_printf(text, "%s %s%s\n", image_format_reference(&image, false, reference),
			   image.held ? image.platforms : "not held", image.pins[0] ? " pinned" : "");
	assert_int_equal(code, ERR_NOT_FOUND);
	images_close(images);
}

static void expect_list(const struct scratch *scratch, const struct images_filter *filter, const char *wanted)
{
	_cleanup_(buf_dispose) struct buf text = {0};

	buf_append_text(&text, "");
	list(scratch, filter, &text);
	assert_string_equal(text.len ? text.data : "", wanted);
}

static void images_are_listed_by_tag_and_what_has_none_by_digest(void **state)
{
	static const char *const platforms[] = {"linux/amd64", "linux/arm64"};
	const struct index_pin pin = {.repository = shelf_app, .reference = "1"};
	struct scratch *scratch = *state;
	struct digest images[2], index, untagged, elsewhere = scratch_digest("not here", 8);
	char text[DIGEST_TEXT_MAX], wanted[1024];

	expect_list(scratch, &(struct images_filter){0}, "");
	images[0] = shelf_put_image(scratch, &shelf_app, "one", "linux/amd64", "base");
	images[1] = shelf_put_image(scratch, &shelf_app, "two", "linux/arm64", "base");
	index = shelf_put_index(scratch, &shelf_app, images, platforms, 2);
	untagged = shelf_put_image(scratch, &shelf_app, "three", "linux/s390x", "base");
	shelf_tag(scratch, &shelf_app, "1", &index, 7);
	shelf_tag(scratch, &shelf_app, "1", &index, 8); /* as other clients see it: the same */
	shelf_tag(scratch, &shelf_app, "1-amd64", &images[0], 7);
	shelf_tag(scratch, &shelf_app, "gone", &elsewhere, 7);
	shelf_put_image(scratch, &shelf_other, "three", "linux/s390x", "base");
	shelf_tag(scratch, &shelf_other, "latest", &untagged, 7);
	assert_int_equal(pin_add(scratch->store, "p", &pin, 1, NULL), 0);

	snprintf(wanted, sizeof(wanted),
		 "docker.io/library/other:latest linux/s390x\n"
		 "registry.test/team/app:1 linux/amd64,linux/arm64 pinned\n"
		 "registry.test/team/app:1-amd64 linux/amd64\n"
		 "registry.test/team/app:gone not held\n"
		 "registry.test/team/app@%s linux/s390x\n",
		 digest_format(&untagged, text));
	expect_list(scratch, &(struct images_filter){0}, wanted);
	expect_list(scratch, &(struct images_filter){.glob = "*other*"},
		    "docker.io/library/other:latest linux/s390x\n");
	expect_list(scratch, &(struct images_filter){.glob = "other"}, "docker.io/library/other:latest linux/s390x\n");
	expect_list(scratch, &(struct images_filter){.glob = "registry.test/team/app:1"},
		    "registry.test/team/app:1 linux/amd64,linux/arm64 pinned\n");
	expect_list(scratch, &(struct images_filter){.glob = "ther"}, "");
	expect_list(scratch, &(struct images_filter){.glob = "app:1*"},
		    "registry.test/team/app:1 linux/amd64,linux/arm64 pinned\n"
		    "registry.test/team/app:1-amd64 linux/amd64\n");
	expect_list(scratch, &(struct images_filter){.glob = "app:gone", .held_only = true}, "");
}

static void image_tells_its_sizes_and_its_ages(void **state)
{
	struct scratch *scratch = *state;
	struct digest image = shelf_put_image(scratch, &shelf_app, "one", "linux/amd64", "a base of both");
	struct index_change use = {.kind = INDEX_USE_BLOB, .digest = &image, .blob.last_use = 4000000000};
	const struct images_filter all = {.glob = "*:1"};
	struct images *images;
	struct index_blob own;
	struct image found;
	uint64_t size;

	shelf_tag(scratch, &shelf_app, "1", &image, 7);
	shelf_tag(scratch, &shelf_app, "1", &image, 9);
	assert_int_equal(index_write(scratch_index(scratch), &use, 1, NULL), 0);
	images = images_open(scratch->store, &all);
	assert_int_equal(images_next(images, &found, NULL), 0);
	assert_int_equal(found.blobs, 4);
	assert_int_equal(found.size, scratch_totals(scratch).bytes);
	assert_int_equal(found.unique_size, found.size);
	assert_int_equal(found.fetched, 1000);
	assert_int_equal(found.checked, 2009);
	assert_int_equal(found.last_use, 4000000000);
	assert_string_equal(found.media_type, SHELF_MANIFEST);
	assert_true(digest_equal(&found.digest, &image));
	size = found.size;
	images_close(images);

	shelf_put_image(scratch, &shelf_other, "two", "linux/amd64", "a base of both");
	images = images_open(scratch->store, &all);
	assert_int_equal(images_next(images, &found, NULL), 0);
	assert_int_equal(found.size, size);
	assert_int_equal(found.unique_size, size - strlen("a base of both"));
	images_close(images);
	assert_int_equal(index_get_blob(scratch_index(scratch), &image, &own, NULL), 0);
	expect_list(scratch, &(struct images_filter){.used_since = 4000000000},
		    "registry.test/team/app:1 linux/amd64\n");
	expect_list(scratch, &(struct images_filter){.used_since = 4000000001}, "");
}

/* Many names in many repositories, listed at once and in pages from any place on. */
static void walk_goes_on_behind_any_image(void **state)
{
	struct scratch *scratch = *state;
	_cleanup_(buf_dispose) struct buf whole = {0}, paged = {0};
	struct digest image = shelf_put_image(scratch, &shelf_app, "one", "linux/amd64", "base");
	struct image last, *after = NULL;
	char upstream[300], name[600], tag[200];
	bool more = true;

	for (int r = 0; r < 3; r++)
		for (int t = 0; t < 150; t++) {
			struct index_repository repository = {r == 2 ? "quay.io" : "docker.io", name};

			snprintf(name, sizeof(name), "org/r%d", r);
			snprintf(tag, sizeof(tag), "t%d", t);
			shelf_tag(scratch, &repository, tag, &image, 1);
		}
	list(scratch, &(struct images_filter){0}, &whole);
	while (more) {
		struct images_filter filter = {.after = after};
		struct images *images = images_open(scratch->store, &filter);
		char reference[IMAGE_REFERENCE_MAX];
		struct image image_now;

		more = false;
		for (int i = 0; i < 37 && images_next(images, &image_now, NULL) == 0; i++) {
			buf_printf(&paged, "%s %s\n", image_format_reference(&image_now, false, reference),
				   image_now.platforms);
			last = image_now;
			more = true;
		}
		if (more) {
			snprintf(upstream, sizeof(upstream), "%s", last.repository.upstream);
			snprintf(name, sizeof(name), "%s", last.repository.repository);
			snprintf(tag, sizeof(tag), "%s", last.tag);
			last.repository = (struct index_repository){upstream, name};
			last.tag = tag;
			after = &last;
		}
		images_close(images);
	}
	assert_string_equal(paged.data, whole.data);
	assert_non_null(strstr(whole.data, "docker.io/org/r1:t149"));
	assert_non_null(strstr(whole.data, "quay.io/org/r2:t99"));
}

static void lockfile_line_has_tag_and_digest(void **state)
{
	struct scratch *scratch = *state;
	struct image image = {
		.repository = shelf_app, .tag = "1", .digest = shelf_put(scratch, &shelf_app, "x", SHELF_MANIFEST)};
	char text[IMAGE_REFERENCE_MAX];

	assert_string_equal(
		image_format_reference(&image, true, text),
		"registry.test/team/app:1@sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(images_are_listed_by_tag_and_what_has_none_by_digest),
		scratch_test(image_tells_its_sizes_and_its_ages),
		scratch_test(walk_goes_on_behind_any_image),
		scratch_test(lockfile_line_has_tag_and_digest),
	};

	return cmocka_run_group_tests_name("images", tests, NULL, NULL);
}
