/* SPDX-License-Identifier: Apache-2.0 */
/* What walking an index costs that names much, or the same over and over. */
#include "tests/unit/server/bundle_bed.h"

#include "server/bundle/walk.h"
#include "store/manifest.h"

#define DESCRIPTORS 2000

/* The linker leads walk.c's calls here (tests.cmake). */
json_t *__real_json_array_get(const json_t *array, size_t i);
json_t *__wrap_json_array_get(const json_t *array, size_t i);
char *__real_manifest_load(struct store *store, const struct digest *digest, size_t *len);
char *__wrap_manifest_load(struct store *store, const struct digest *digest, size_t *len);

static size_t looks, loads;

json_t *__wrap_json_array_get(const json_t *array, size_t i)
{
	looks++;
	return __real_json_array_get(array, i);
}

char *__wrap_manifest_load(struct store *store, const struct digest *digest, size_t *len)
{
	loads++;
	return __real_manifest_load(store, digest, len);
}

/* Walks an index that has `last` behind many of `descriptor`, for linux/arm64. */
static int walk_many(struct scratch *scratch, const char *descriptor, const char *last, size_t *items)
{
	static const char *const platforms[] = {"linux/arm64"};
	struct walk *walk = walk_new(scratch->store);
	struct walk_item root = {.size = UINT64_MAX};
	_cleanup_(buf_dispose) struct buf text = {0};
	int code;

	buf_append_text(&text, "{\"manifests\":[");
	for (size_t i = 0; i < DESCRIPTORS; i++)
		buf_printf(&text, "%s,", descriptor);
	buf_printf(&text, "%s]}", last);
	root.digest = bed_put(scratch, text.data);
	looks = loads = 0;
	code = walk_image(walk, &root, &(struct walk_platforms){.items = platforms, .count = 1}, &scratch->err);
	walk_items(walk, items);
	walk_free(walk);
	return code;
}

static void attestations_are_not_searched_for_what_they_are_about(void **state)
{
	static const char attestation[] = "{\"annotations\":{\"vnd.docker.reference.digest\":\"a\"}}";
	struct bed *bed = *state;
	_cleanup_free_ char *image =
		bed_manifest(&bed->here, "{\"os\":\"linux\",\"architecture\":\"arm64\"}", "a layer", "another", "");
	size_t items;

	assert_int_equal(walk_many(&bed->here, attestation, image, &items), 0);
	assert_int_equal(items, 5); /* the index, and one image */
	assert_in_range(looks, DESCRIPTORS, 4 * DESCRIPTORS);
}

static void a_manifest_that_is_named_over_and_over_is_read_once(void **state)
{
	struct bed *bed = *state;
	_cleanup_free_ char *image =
		bed_manifest(&bed->here, "{\"os\":\"linux\",\"architecture\":\"amd64\"}", "a layer", "another", "");
	size_t items;

	assert_int_equal(walk_many(&bed->here, image, image, &items), ERR_NOT_FOUND);
	assert_int_equal(items, 1);
	assert_in_range(loads, 1, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(attestations_are_not_searched_for_what_they_are_about),
		bed_test(a_manifest_that_is_named_over_and_over_is_read_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
