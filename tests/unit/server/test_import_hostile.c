/* SPDX-License-Identifier: Apache-2.0 */
/* Archives by somebody who knows how they are read: what they say of sizes and names, what they nest, and how much they
 * make of a few bytes. Each is refused, and leaves nothing: no blob, no partial, and no tag that was moved. */
#include "tests/unit/server/bundle_bed.h"

#include "store/evict.h"
#include "store/manifest.h"

#include <zlib.h>

#define LONG_NAME (1ULL << 30)

/* A header whose size field is written by the test. */
static void add_sized(struct tarball *tarball, const char *path, char type, const uint8_t size[12], const char *data)
{
	uint8_t header[TAR_HEADER_MAX];

	tar_header(path, 0, header);
	memcpy(header + 124, size, 12);
	tarball_finish_header(header, type, "");
	buf_append(&tarball->data, header, TAR_BLOCK);
	buf_append(&tarball->data, data, strlen(data));
	tarball_pad(tarball, tar_padding(strlen(data)));
}

/* What stands in front of a file and says something of it, in a header of its own. */
static void add_extended(struct tarball *tarball, char type, const char *records)
{
	char octal[16];

	snprintf(octal, sizeof(octal), "%011zo", strlen(records));
	add_sized(tarball, "pax", type, (const uint8_t *)octal, records);
}

static void refuse(void **state, struct tarball *tarball, int code, const char *why)
{
	struct bed *bed = *state;

	bed_expect_refused(bed, tarball, code);
	if (!strstr(bed->there.err.text, why))
		fail_msg("%s", bed->there.err.text);
}

/* Headers. */

static void sizes_that_no_file_has_are_refused(void **state)
{
	/* An exbibyte, the most that 63 bits say, more than that, and less than nothing. */
	static const uint8_t sizes[][12] = {
		{0x80, 0, 0, 0, 0x10},
		{0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		{0x80, 0, 0, 1},
		{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xf0},
	};
	struct evict_options limits = {.max_size = 64 << 20};
	struct bed *bed = *state;

	assert_int_equal(evict_start(bed->there.store, &limits, &bed->there.err), 0);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		_cleanup_(tarball_end) struct tarball tarball = {0};

		add_sized(&tarball, "layer.tar", '0', sizes[i], "x");
		refuse(state, &tarball, i == 0 ? ERR_NO_SPACE : ERR_UPSTREAM, "");
	}
}

static void a_size_that_another_header_contradicts_is_no_way_to_bring_other_bytes(void **state)
{
	struct bed *bed = *state;
	_cleanup_(tarball_end) struct tarball shorter = {0}, longer = {0};
	struct import_report report;

	tarball_add_layout(&shorter, "a layer", 7);
	add_extended(&shorter, 'x', "9 size=1\n");
	tarball_add_blob(&shorter, "abcde");
	refuse(state, &shorter, ERR_DIGEST, "blobs/");
	tarball_add_layout(&longer, "a layer", 7);
	add_extended(&longer, 'x', "16 size=1000000\n");
	tarball_add_blob(&longer, "abcde");
	tarball_pad(&longer, TAR_END);
	/* It cannot be told from one that broke off: what was sound of it stays for the next time. */
	assert_int_equal(bed_import(&bed->there, &longer, NULL, &report), ERR_UPSTREAM);
	import_report_dispose(&report);
	bed_expect_sound(&bed->there);
}

static void a_name_as_long_as_a_disk_is_not_read(void **state)
{
	static const char types[] = "LKxg";

	for (size_t i = 0; i < strlen(types); i++) {
		_cleanup_(tarball_end) struct tarball tarball = {0};
		char octal[16];

		snprintf(octal, sizeof(octal), "%011llo", LONG_NAME);
		add_sized(&tarball, "././@LongLink", types[i], (const uint8_t *)octal, "a");
		refuse(state, &tarball, ERR_UPSTREAM, "no tar archive");
	}
}

static void holes_in_the_new_way_are_refused(void **state)
{
	_cleanup_(tarball_end) struct tarball tarball = {0};
	char map[TAR_BLOCK + 2];

	add_extended(&tarball, 'x',
		     "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n29 GNU.sparse.name=layer.tar\n"
		     "31 GNU.sparse.realsize=1048576\n");
	/* Where the data lies is a block of its own in front of it. */
	memcpy(map, "1\n1048575\n1\n", 12);
	memset(map + 12, '.', TAR_BLOCK - 11);
	map[TAR_BLOCK + 1] = '\0';
	tarball_add(&tarball, "x", map);
	refuse(state, &tarball, ERR_INVALID, "");
}

static void a_file_behind_a_link_is_not_the_one_that_the_link_leads_to(void **state)
{
	_cleanup_(tarball_end) struct tarball tarball = {0};

	tarball_add_special(&tarball, "way", '2', "elsewhere");
	tarball_add(&tarball, "way/layer.tar", "layer");
	tarball_add(&tarball, "ccc.json", "{}");
	tarball_add(&tarball, "manifest.json",
		    "[{\"Config\":\"ccc.json\",\"RepoTags\":[\"alpine:3\"],\"Layers\":[\"elsewhere/layer.tar\"]}]");
	refuse(state, &tarball, ERR_INVALID, "which it lacks");
}

static void a_file_of_two_contents_is_refused(void **state)
{
	_cleanup_(tarball_end) struct tarball tarball = {0};

	tarball_add(&tarball, "aaa/layer.tar", "one");
	tarball_add(&tarball, "aaa/../aaa/layer.tar", "two");
	refuse(state, &tarball, ERR_INVALID, "");
}

static void a_digest_of_an_algorithm_that_nobody_knows_is_refused(void **state)
{
	_cleanup_(tarball_end) struct tarball tarball = {0};

	tarball_add_layout(&tarball, "a layer", 7);
	tarball_add(&tarball, "blobs/md5/d41d8cd98f00b204e9800998ecf8427e", "");
	refuse(state, &tarball, ERR_INVALID, "is no blob");
}

/* Packing. */

static void pack(struct buf *data)
{
	z_stream stream = {.next_in = (unsigned char *)data->data, .avail_in = (unsigned)data->len};
	size_t room = data->len + 1024;
	_cleanup_free_ unsigned char *packed = mem_alloc(room);

	stream.next_out = packed;
	stream.avail_out = (unsigned)room;
	assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
	assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
	data->len = 0;
	buf_append(data, packed, stream.total_out);
	deflateEnd(&stream);
}

static void an_archive_that_is_packed_twice_is_refused(void **state)
{
	struct bed *bed = *state;
	_cleanup_(tarball_end) struct tarball tarball = {0};
	struct import_report report;

	tarball_add_layout(&tarball, "a layer", 7);
	tarball_pad(&tarball, TAR_END);
	pack(&tarball.data);
	pack(&tarball.data);
	assert_int_equal(bed_import(&bed->there, &tarball, NULL, &report), ERR_INVALID);
	import_report_dispose(&report);
	assert_non_null(strstr(bed->there.err.text, "more than once"));
	bed_expect_nothing(&bed->there);
}

static void an_archive_that_is_packed_in_another_way_is_refused(void **state)
{
	static const char *const starts[] = {"\x28\xb5\x2f\xfd", "\xfd\x37zXZ", "BZh9", "PK\3\4"};

	for (size_t i = 0; i < 4; i++) {
		_cleanup_(tarball_end) struct tarball tarball = {0};

		buf_append_text(&tarball.data, starts[i]);
		tarball_pad(&tarball, 4 * TAR_BLOCK);
		refuse(state, &tarball, ERR_UPSTREAM, "no tar archive");
	}
}

/* Texts and manifests. */

/* A layout whose index.json has these descriptors. */
static void add_index(struct tarball *tarball, const char *descriptors)
{
	_cleanup_free_ char *text = mem_printf("{\"schemaVersion\":2,\"manifests\":[%s]}", descriptors);

	tarball_add(tarball, "oci-layout", LAYOUT);
	tarball_add(tarball, "index.json", text);
}

static char *named(const char *type, const char *manifest, const char *name)
{
	struct digest digest = scratch_digest(manifest, strlen(manifest));
	_cleanup_free_ char *more = mem_printf(",\"annotations\":{\"org.opencontainers.image.ref.name\":\"%s\"}", name);

	return bed_descriptor(type, &digest, strlen(manifest), more);
}

static void a_text_that_is_nested_without_end_is_refused(void **state)
{
	_cleanup_(tarball_end) struct tarball tarball = {0};
	_cleanup_free_ char *text = mem_alloc(IMPORT_TEXT_MAX);

	memset(text, '[', IMPORT_TEXT_MAX - 1);
	tarball_add(&tarball, "oci-layout", LAYOUT);
	tarball_add(&tarball, "index.json", text);
	refuse(state, &tarball, ERR_INVALID, "malformed");
}

static void indexes_that_are_nested_too_deep_are_refused(void **state)
{
	_cleanup_(tarball_end) struct tarball tarball = {0};
	_cleanup_free_ char *text = mem_strdup("{\"layers\":[]}"), *root = NULL;
	const char *type = MANIFEST_TYPE;

	for (int depth = 0; depth <= WALK_DEPTH_MAX; depth++) {
		struct digest digest = scratch_digest(text, strlen(text));
		_cleanup_free_ char *below = bed_descriptor(type, &digest, strlen(text), "");

		tarball_add_blob(&tarball, text);
		free(text);
		text = mem_printf("{\"mediaType\":\"" INDEX_TYPE "\",\"manifests\":[%s]}", below);
		type = INDEX_TYPE;
	}
	tarball_add_blob(&tarball, text);
	root = named(INDEX_TYPE, text, "alpine:3");
	add_index(&tarball, root);
	refuse(state, &tarball, ERR_LIMIT, "deep");
}

static void a_manifest_as_long_as_a_layer_is_refused(void **state)
{
	_cleanup_(tarball_end) struct tarball tarball = {0};
	_cleanup_free_ char *text = mem_alloc(MANIFEST_BYTES_MAX + 2), *root = NULL;

	memset(text, ' ', MANIFEST_BYTES_MAX + 1);
	text[0] = '{';
	text[1] = '}';
	root = named(MANIFEST_TYPE, text, "alpine:3");
	add_index(&tarball, root);
	tarball_add_blob(&tarball, text);
	refuse(state, &tarball, ERR_INVALID, "too long for a manifest");
}

/* It would become a header of answers. */
static void a_type_with_a_line_break_is_refused(void **state)
{
	_cleanup_(tarball_end) struct tarball tarball = {0};
	_cleanup_free_ char *root = named("a/b\\r\\nSet-Cookie: c", "{\"layers\":[]}", "alpine:3");

	add_index(&tarball, root);
	tarball_add_blob(&tarball, "{\"layers\":[]}");
	refuse(state, &tarball, ERR_INVALID, "malformed descriptor");
}

/* A root is never one of the layers that clients fetch elsewhere. */
static void an_image_that_is_said_to_lie_elsewhere_is_missing(void **state)
{
	struct bed *bed = *state;
	struct digest digest = scratch_digest("x", 1);
	_cleanup_free_ char *root = bed_descriptor(
		MANIFEST_TYPE, &digest, 1,
		",\"urls\":[\"http://x/\"],\"annotations\":{\"org.opencontainers.image.ref.name\":\"alpine:3\"}");
	_cleanup_(tarball_end) struct tarball tarball = {0};
	struct import_report report;

	add_index(&tarball, root);
	tarball_pad(&tarball, TAR_END);
	assert_int_equal(bed_import(&bed->there, &tarball, NULL, &report), 0);
	assert_int_equal(report.missing_count, 1);
	import_report_dispose(&report);
}

static void an_image_of_more_names_than_anybody_needs_is_refused(void **state)
{
	_cleanup_(tarball_end) struct tarball tarball = {0};
	_cleanup_(buf_dispose) struct buf text = {0};

	buf_append_text(&text, "[{\"Config\":\"c\",\"Layers\":[],\"RepoTags\":[\"a:0\"");
	for (int i = 1; i <= IMPORT_NAMES_MAX; i++)
		buf_printf(&text, ",\"a:%d\"", i);
	buf_append_text(&text, "]}]");
	tarball_add(&tarball, "c", "{}");
	tarball_add(&tarball, "manifest.json", text.data);
	refuse(state, &tarball, ERR_LIMIT, "images");
}

static void more_paths_than_memory_should_hold_are_refused(void **state)
{
	_cleanup_(tarball_end) struct tarball tarball = {0};
	char path[100], link[100];

	for (unsigned i = 0; i <= IMPORT_PATHS_MAX / (2 * sizeof(path) - 2); i++) {
		snprintf(path, sizeof(path), "%099u", i);
		memset(link, 'a', sizeof(link) - 1);
		link[sizeof(link) - 1] = '\0';
		tarball_add_special(&tarball, path, '2', link);
	}
	refuse(state, &tarball, ERR_LIMIT, "paths");
}

/* What worked before. */

static bool anything(void *arg, const char *media_type)
{
	(void)arg;
	(void)media_type;
	return true;
}

static void a_tag_that_worked_before_still_does_after_a_refusal(void **state)
{
	static const char bad[] = "{\"layers\":[{}]}", good[] = "{\"layers\":[]}";
	struct bed *bed = *state;
	struct digest before = bed_image(&bed->there, "library/alpine", "3", "alpine");
	uint64_t blobs = scratch_totals(&bed->there).blobs;
	struct index_repository repository = {"docker.io", "library/alpine"};
	_cleanup_free_ char *first = named(MANIFEST_TYPE, good, "alpine:3");
	_cleanup_free_ char *second = named(MANIFEST_TYPE, bad, "busybox:1");
	_cleanup_free_ char *both = mem_printf("%s,%s", first, second);
	_cleanup_(tarball_end) struct tarball tarball = {0};
	struct import_report report;
	struct index_tag found;

	add_index(&tarball, both);
	tarball_add_blob(&tarball, good);
	tarball_add_blob(&tarball, bad);
	tarball_pad(&tarball, TAR_END);
	assert_int_equal(bed_import(&bed->there, &tarball, NULL, &report), ERR_INVALID);
	import_report_dispose(&report);
	assert_int_equal(index_get_tag_any(scratch_index(&bed->there), &repository, "3", anything, NULL, &found, NULL),
			 0);
	assert_true(digest_equal(&found.digest, &before));
	assert_int_equal(scratch_totals(&bed->there).blobs, blobs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(sizes_that_no_file_has_are_refused),
		bed_test(a_size_that_another_header_contradicts_is_no_way_to_bring_other_bytes),
		bed_test(a_name_as_long_as_a_disk_is_not_read),
		bed_test(holes_in_the_new_way_are_refused),
		bed_test(a_file_behind_a_link_is_not_the_one_that_the_link_leads_to),
		bed_test(a_file_of_two_contents_is_refused),
		bed_test(a_digest_of_an_algorithm_that_nobody_knows_is_refused),
		bed_test(an_archive_that_is_packed_twice_is_refused),
		bed_test(an_archive_that_is_packed_in_another_way_is_refused),
		bed_test(a_text_that_is_nested_without_end_is_refused),
		bed_test(indexes_that_are_nested_too_deep_are_refused),
		bed_test(a_manifest_as_long_as_a_layer_is_refused),
		bed_test(a_type_with_a_line_break_is_refused),
		bed_test(an_image_that_is_said_to_lie_elsewhere_is_missing),
		bed_test(an_image_of_more_names_than_anybody_needs_is_refused),
		bed_test(more_paths_than_memory_should_hold_are_refused),
		bed_test(a_tag_that_worked_before_still_does_after_a_refusal),
	};

	return cmocka_run_group_tests_name("import_hostile", tests, NULL, NULL);
}
