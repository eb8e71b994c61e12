/* SPDX-License-Identifier: Apache-2.0 */
/* Archives that should not be trusted: refused, and nothing is left of them. */
#include "tests/unit/server/bundle_bed.h"

#include "store/evict.h"
#include "store/manifest.h"

#include <zlib.h>

#define EMPTY_BLOB "blobs/sha256/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* The same layout is spoiled by the tests below. */
static void a_layout_that_is_sound_is_taken(void **state)
{
	struct bed *bed = *state;
	_cleanup_(tarball_end) struct tarball tarball = {0};
	struct import_report report;

	tarball_add_layout(&tarball, "a layer", 7);
	tarball_pad(&tarball, TAR_END);
	assert_int_equal(bed_import(&bed->there, &tarball, NULL, &report), 0);
	assert_int_equal(report.blobs_new, 3);
	assert_int_equal(report.missing_count, 0);
	import_report_dispose(&report);
}

/* A layout that is good up to the one file that is added. */
#define REFUSES(name, code, added)                                                                                     \
	static void name(void **state)                                                                                 \
	{                                                                                                              \
		_cleanup_(tarball_end) struct tarball tarball = {0};                                                   \
                                                                                                                       \
		tarball_add_layout(&tarball, "a layer", 7);                                                            \
		added;                                                                                                 \
		bed_expect_refused(*state, &tarball, code);                                                            \
	}

REFUSES(a_path_with_dots_is_refused, ERR_INVALID, tarball_add(&tarball, "blobs/../../etc/passwd", "x"))
REFUSES(a_path_from_the_root_is_refused, ERR_INVALID, tarball_add(&tarball, "/etc/passwd", "x"))
REFUSES(a_path_with_a_control_character_is_refused, ERR_INVALID, tarball_add(&tarball, "a\nb", "x"))
REFUSES(a_path_with_a_backslash_is_refused, ERR_INVALID, tarball_add(&tarball, "..\\x", "x"))
REFUSES(a_hard_link_is_refused, ERR_INVALID, tarball_add_special(&tarball, "x", '1', "index.json"))
REFUSES(a_device_is_refused, ERR_INVALID, tarball_add_special(&tarball, "x", '3', ""))
REFUSES(a_pipe_is_refused, ERR_INVALID, tarball_add_special(&tarball, "x", '6', ""))
REFUSES(a_link_that_leads_out_is_refused, ERR_INVALID, tarball_add_special(&tarball, "x/y", '2', "../../etc/passwd"))
REFUSES(a_link_from_the_root_is_refused, ERR_INVALID, tarball_add_special(&tarball, "x", '2', "/etc/passwd"))
REFUSES(a_link_as_a_blob_is_refused, ERR_INVALID, tarball_add_special(&tarball, EMPTY_BLOB, '2', "../../index.json"))
REFUSES(a_blob_whose_name_is_no_digest_is_refused, ERR_INVALID, tarball_add(&tarball, "blobs/sha256/abc", "x"))
REFUSES(a_blob_under_the_digest_of_another_is_refused, ERR_DIGEST, tarball_add(&tarball, EMPTY_BLOB, "x"))
REFUSES(a_blob_that_comes_twice_is_refused, ERR_INVALID, tarball_add_blob(&tarball, "{}"))
REFUSES(a_text_that_comes_twice_is_refused, ERR_INVALID, tarball_add(&tarball, "./index.json", "{}"))
REFUSES(a_bundles_own_text_that_comes_late_is_refused, ERR_INVALID,
	tarball_add(&tarball, "larder-bundle.json", "{\"larderBundle\":1}"))
REFUSES(a_signature_of_nothing_is_refused, ERR_INVALID, tarball_add(&tarball, "larder-bundle.sig", "x"))

static void a_manifest_that_lies_about_a_size_is_refused(void **state)
{
	_cleanup_(tarball_end) struct tarball tarball = {0};

	tarball_add_layout(&tarball, "a layer", 8);
	bed_expect_refused(*state, &tarball, ERR_INVALID);
}

static void an_archive_that_is_no_layout_is_refused(void **state)
{
	static const char *const layouts[] = {"{\"imageLayoutVersion\":\"2.0.0\"}", "[[[[", LAYOUT};

	for (size_t i = 0; i < 3; i++) {
		_cleanup_(tarball_end) struct tarball tarball = {0};

		tarball_add(&tarball, "oci-layout", layouts[i]); /* and no index.json */
		bed_expect_refused(*state, &tarball, ERR_INVALID);
	}
}

static void a_manifest_of_another_type_than_said_is_refused(void **state)
{
	static const char text[] = "{\"mediaType\":\"a/b\"}";
	struct digest digest = scratch_digest(text, strlen(text));
	_cleanup_free_ char *root =
		bed_descriptor(INDEX_TYPE, &digest, strlen(text),
			       ",\"annotations\":{\"io.containerd.image.name\":\"docker.io/library/x:1\"}");
	_cleanup_free_ char *index = mem_printf("{\"manifests\":[%s]}", root);
	_cleanup_(tarball_end) struct tarball tarball = {0};

	tarball_add(&tarball, "oci-layout", LAYOUT);
	tarball_add(&tarball, "index.json", index);
	tarball_add_blob(&tarball, text);
	bed_expect_refused(*state, &tarball, ERR_INVALID);
}

static void a_text_that_is_too_long_is_refused(void **state)
{
	_cleanup_(tarball_end) struct tarball tarball = {0};

	tarball_add_claiming(&tarball, "index.json", "{", IMPORT_TEXT_MAX + 1);
	bed_expect_refused(*state, &tarball, ERR_LIMIT);
}

static void a_file_with_holes_is_refused(void **state)
{
	_cleanup_(tarball_end) struct tarball tarball = {0};
	uint8_t header[TAR_HEADER_MAX];

	/* GNU's old way: the map of what is there is in the header. */
	tar_header("layer.tar", 1, header);
	memcpy(header + 257, "ustar  ", 8);
	memset(header + 345, 0, TAR_BLOCK - 345);
	memcpy(header + 386, "00000000000\00000000000001", 24);
	memcpy(header + 483, "00000001000", 12); /* its real size */
	tarball_finish_header(header, 'S', "");
	buf_append(&tarball.data, header, TAR_BLOCK);
	buf_append(&tarball.data, "x", 1);
	tarball_pad(&tarball, TAR_BLOCK - 1);
	bed_expect_refused(*state, &tarball, ERR_INVALID);
}

/* Bombs. */

static void limit_store(struct bed *bed)
{
	struct evict_options limits = {.max_size = 64 << 20};

	assert_int_equal(evict_start(bed->there.store, &limits, &bed->there.err), 0);
}

static void a_size_that_the_store_has_no_room_for_is_refused_before_a_byte_is_written(void **state)
{
	_cleanup_(tarball_end) struct tarball tarball = {0};

	limit_store(*state);
	tarball_add_claiming(&tarball, EMPTY_BLOB, "x", (size_t)1 << 50);
	bed_expect_refused(*state, &tarball, ERR_NO_SPACE);
}

/* A gigabyte of zeroes in a megabyte. */
static void a_packed_bomb_is_refused_by_the_room_that_it_wants(void **state)
{
	_cleanup_(tarball_end) struct tarball tarball = {0};
	_cleanup_free_ unsigned char *packed = mem_alloc(2 << 20), *zeroes = mem_alloc(1 << 20);
	uint8_t header[TAR_HEADER_MAX];
	z_stream stream = {.next_out = packed, .avail_out = 2 << 20, .next_in = header};

	assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
	stream.avail_in = (unsigned)tar_header("layer.tar", 1 << 30, header);
	deflate(&stream, Z_NO_FLUSH);
	for (int i = 0; i < 1024; i++) {
		stream.next_in = zeroes;
		stream.avail_in = 1 << 20;
		deflate(&stream, i == 1023 ? Z_FINISH : Z_NO_FLUSH);
	}
	buf_append(&tarball.data, packed, stream.total_out);
	deflateEnd(&stream);
	limit_store(*state);
	bed_expect_refused(*state, &tarball, ERR_NO_SPACE);
}

/* What is no lie. */

static void what_an_archive_that_breaks_off_had_is_kept_for_the_next_time(void **state)
{
	struct bed *bed = *state;
	_cleanup_(tarball_end) struct tarball tarball = {0};
	struct import_report report;
	size_t whole;

	tarball_add_layout(&tarball, "a layer", 7);
	whole = tarball.data.len;
	tarball.data.len -= TAR_BLOCK + 100; /* within the header of the layer */
	assert_int_equal(bed_import(&bed->there, &tarball, NULL, &report), ERR_UPSTREAM);
	assert_int_equal(report.blobs_new, 2);
	import_report_dispose(&report);
	assert_int_equal(scratch_count_files(&bed->there, "partial"), 0);
	tarball.data.len = whole;
	tarball_pad(&tarball, TAR_END);
	assert_int_equal(bed_import(&bed->there, &tarball, NULL, &report), 0);
	assert_int_equal(report.blobs_held, 2);
	assert_int_equal(report.blobs_new, 1);
	import_report_dispose(&report);
}

static void what_is_no_archive_is_refused(void **state)
{
	struct bed *bed = *state;
	_cleanup_(tarball_end) struct tarball tarball = {0};
	struct import_report report;

	assert_int_equal(bed_import(&bed->there, &tarball, NULL, &report), ERR_UPSTREAM);
	import_report_dispose(&report);
	for (int i = 0; i < 100; i++)
		buf_append_text(&tarball.data, "These are only words, and more of them than a tar header has bytes. ");
	assert_int_equal(bed_import(&bed->there, &tarball, NULL, &report), ERR_UPSTREAM);
	import_report_dispose(&report);
	bed_expect_nothing(&bed->there);
}

static void an_image_without_a_repository_needs_to_be_given_one(void **state)
{
	static const char *const as[] = {"quay.io/org/app", "quay.io/org/app:v2"};
	static const char *const named[] = {"quay.io/org/app:v1", "quay.io/org/app:v2"};
	struct bed *bed = *state;
	struct digest digest = scratch_digest("{\"layers\":[]}", 13);
	_cleanup_free_ char *root = bed_descriptor(MANIFEST_TYPE, &digest, 13,
						   ",\"annotations\":{\"org.opencontainers.image.ref.name\":\"v1\"}");
	_cleanup_free_ char *index = mem_printf("{\"manifests\":[%s]}", root);
	_cleanup_(tarball_end) struct tarball tarball = {0};
	struct import_report report;

	tarball_add(&tarball, "oci-layout", LAYOUT);
	tarball_add(&tarball, "index.json", index);
	tarball_add_blob(&tarball, "{\"layers\":[]}");
	tarball_pad(&tarball, TAR_END);
	assert_int_equal(bed_import(&bed->there, &tarball, NULL, &report), ERR_INVALID);
	assert_non_null(strstr(bed->there.err.text, "--as"));
	import_report_dispose(&report);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(bed_import(&bed->there, &tarball, as[i], &report), 0);
		assert_string_equal(report.images[0].text, named[i]);
		import_report_dispose(&report);
	}
}

/* What `docker save` writes: folders of layers, links between them, the manifest last. */
static void an_old_docker_archive_is_taken_and_its_junk_is_not(void **state)
{
	struct bed *bed = *state;
	struct digest config = scratch_digest("{}", 2), layer = scratch_digest("layer", 5);
	_cleanup_(tarball_end) struct tarball tarball = {0};
	struct import_report report;
	uint64_t size;

	tarball_add_special(&tarball, "aaa/", '5', "");
	tarball_add(&tarball, "aaa/VERSION", "1.0");
	tarball_add(&tarball, "aaa/layer.tar", "layer");
	tarball_add_special(&tarball, "bbb/layer.tar", '2', "../aaa/layer.tar");
	tarball_add(&tarball, "ccc.json", "{}");
	tarball_add(&tarball, "manifest.json",
		    "[{\"Config\":\"ccc.json\",\"RepoTags\":[\"alpine:3\"],"
		    "\"Layers\":[\"aaa/layer.tar\",\"bbb/layer.tar\"]}]");
	tarball_pad(&tarball, TAR_END);
	assert_int_equal(bed_import(&bed->there, &tarball, NULL, &report), 0);
	assert_int_equal(report.image_count, 1);
	assert_int_equal(report.missing_count, 0);
	assert_string_equal(report.images[0].text, "docker.io/library/alpine:3");
	import_report_dispose(&report);
	assert_int_equal(store_find_blob(bed->there.store, &config, &size, NULL), 0);
	assert_int_equal(store_find_blob(bed->there.store, &layer, &size, NULL), 0);
	assert_int_equal(scratch_totals(&bed->there).blobs, 3); /* these, and the manifest that was made */
	assert_int_equal(scratch_count_files(&bed->there, "partial"), 0);
}

/* The same archive always makes the same manifest, whatever of it is held. */
static void a_docker_archive_that_is_held_already_gives_the_same_manifest(void **state)
{
	static const char layer[] = "\x1f\x8b packed";
	struct bed *bed = *state;
	struct digest digest = scratch_digest(layer, strlen(layer));
	_cleanup_(tarball_end) struct tarball tarball = {0};
	_cleanup_free_ char *text = NULL, *manifest = NULL;
	struct import_report report;
	struct digest first;
	char hex[DIGEST_TEXT_MAX];
	size_t len;

	text = mem_printf("[{\"Config\":\"ccc.json\",\"RepoTags\":[\"alpine:3\"],\"Layers\":[\"blobs/sha256/%s\"]}]",
			  digest_hex(&digest, hex));
	tarball_add_blob(&tarball, layer);
	tarball_add(&tarball, "ccc.json", "{}");
	tarball_add(&tarball, "manifest.json", text);
	tarball_pad(&tarball, TAR_END);
	assert_int_equal(bed_import(&bed->there, &tarball, NULL, &report), 0);
	first = report.images[0].digest;
	import_report_dispose(&report);
	assert_int_equal(bed_import(&bed->there, &tarball, NULL, &report), 0);
	assert_true(digest_equal(&report.images[0].digest, &first));
	import_report_dispose(&report);
	manifest = manifest_load(bed->there.store, &first, &len);
	assert_non_null(manifest);
	assert_non_null(strstr(manifest, "\"mediaType\":\"" LAYER_TYPE "\""));
}

static void a_docker_archive_that_names_what_it_lacks_is_refused(void **state)
{
	_cleanup_(tarball_end) struct tarball tarball = {0};

	tarball_add(&tarball, "ccc.json", "{}");
	tarball_add_special(&tarball, "a/ring", '2', "ring");
	tarball_add(&tarball, "manifest.json",
		    "[{\"Config\":\"ccc.json\",\"RepoTags\":[\"alpine:3\"],\"Layers\":[\"a/ring\"]}]");
	bed_expect_refused(*state, &tarball, ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(a_layout_that_is_sound_is_taken),
		bed_test(a_path_with_dots_is_refused),
		bed_test(a_path_from_the_root_is_refused),
		bed_test(a_path_with_a_control_character_is_refused),
		bed_test(a_path_with_a_backslash_is_refused),
		bed_test(a_hard_link_is_refused),
		bed_test(a_device_is_refused),
		bed_test(a_pipe_is_refused),
		bed_test(a_link_that_leads_out_is_refused),
		bed_test(a_link_from_the_root_is_refused),
		bed_test(a_link_as_a_blob_is_refused),
		bed_test(a_blob_whose_name_is_no_digest_is_refused),
		bed_test(a_blob_under_the_digest_of_another_is_refused),
		bed_test(a_blob_that_comes_twice_is_refused),
		bed_test(a_text_that_comes_twice_is_refused),
		bed_test(a_bundles_own_text_that_comes_late_is_refused),
		bed_test(a_signature_of_nothing_is_refused),
		bed_test(a_manifest_that_lies_about_a_size_is_refused),
		bed_test(an_archive_that_is_no_layout_is_refused),
		bed_test(a_manifest_of_another_type_than_said_is_refused),
		bed_test(a_text_that_is_too_long_is_refused),
		bed_test(a_file_with_holes_is_refused),
		bed_test(a_size_that_the_store_has_no_room_for_is_refused_before_a_byte_is_written),
		bed_test(a_packed_bomb_is_refused_by_the_room_that_it_wants),
		bed_test(what_an_archive_that_breaks_off_had_is_kept_for_the_next_time),
		bed_test(what_is_no_archive_is_refused),
		bed_test(an_image_without_a_repository_needs_to_be_given_one),
		bed_test(an_old_docker_archive_is_taken_and_its_junk_is_not),
		bed_test(a_docker_archive_that_is_held_already_gives_the_same_manifest),
		bed_test(a_docker_archive_that_names_what_it_lacks_is_refused),
	};

	return cmocka_run_group_tests_name("import", tests, NULL, NULL);
}
