/* SPDX-License-Identifier: Apache-2.0 */
/* Images in a scratch store, archives in memory that are well or ill made, and imports of them. */
#pragma once

#include "tests/unit/store/scratch.h"

#include "base/cleanup.h"
#include "server/bundle/bundle.h"
#include "server/bundle/import.h"
#include "server/bundle/tar.h"

#define INDEX_TYPE    "application/vnd.oci.image.index.v1+json"
#define MANIFEST_TYPE "application/vnd.oci.image.manifest.v1+json"
#define CONFIG_TYPE   "application/vnd.oci.image.config.v1+json"
#define LAYER_TYPE    "application/vnd.oci.image.layer.v1.tar+gzip"
#define LAYOUT        "{\"imageLayoutVersion\":\"1.0.0\"}"

static const struct bundle_locator plainly = {.locate = bundle_locate_plainly};

/* Two stores: `scratch`, and one beside it that is empty. */
struct bed {
	struct scratch here, there;
};

static inline int bed_setup(void **state)
{
	struct bed *bed = mem_alloc(sizeof(*bed));
	void *here, *there;

	scratch_setup(&here);
	scratch_setup(&there);
	bed->here = *(struct scratch *)here;
	bed->there = *(struct scratch *)there;
	free(here);
	free(there);
	*state = bed;
	return 0;
}

static inline void bed_end(const struct scratch *scratch)
{
	void *copy = mem_alloc(sizeof(*scratch));

	memcpy(copy, scratch, sizeof(*scratch));
	scratch_teardown(&copy);
}

static inline int bed_teardown(void **state)
{
	struct bed *bed = *state;

	bed_end(&bed->here);
	bed_end(&bed->there);
	free(bed);
	return 0;
}

#define bed_test(name) cmocka_unit_test_setup_teardown(name, bed_setup, bed_teardown)

/* Images. */

static inline struct digest bed_put(struct scratch *scratch, const char *data)
{
	struct digest digest = scratch_digest(data, strlen(data));

	assert_int_equal(store_put_blob(scratch->store, &digest, data, strlen(data), &scratch->err), 0);
	return digest;
}

static inline char *bed_descriptor(const char *type, const struct digest *digest, size_t size, const char *more)
{
	char text[DIGEST_TEXT_MAX];

	return mem_printf("{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%zu%s}", type, digest_format(digest, text),
			  size, more);
}

static inline char *bed_blob(struct scratch *scratch, const char *type, const char *data, const char *more)
{
	struct digest digest = bed_put(scratch, data);

	return bed_descriptor(type, &digest, strlen(data), more);
}

/* A manifest of a config and layers that are one text each, as a descriptor. */
static inline char *bed_manifest(struct scratch *scratch, const char *config, const char *layer_a, const char *layer_b,
				 const char *more)
{
	_cleanup_free_ char *c = bed_blob(scratch, CONFIG_TYPE, config, "");
	_cleanup_free_ char *a = bed_blob(scratch, LAYER_TYPE, layer_a, "");
	_cleanup_free_ char *b = bed_blob(scratch, LAYER_TYPE, layer_b, "");
	_cleanup_free_ char *text = mem_printf(
		"{\"schemaVersion\":2,\"mediaType\":\"" MANIFEST_TYPE "\",\"config\":%s,\"layers\":[%s,%s]}", c, a, b);

	return bed_blob(scratch, MANIFEST_TYPE, text, more);
}

static inline char *bed_index_text(const char *manifest_a, const char *manifest_b)
{
	return mem_printf("{\"schemaVersion\":2,\"mediaType\":\"" INDEX_TYPE "\",\"manifests\":[%s,%s]}", manifest_a,
			  manifest_b);
}

static inline void bed_tag(struct scratch *scratch, const char *repository, const char *tag, const char *type,
			   const struct digest *digest, size_t size)
{
	struct index_tag record = {.digest = *digest, .size = size, .fetched = 1, .checked = 1};
	struct index_change changes[] = {
		{.kind = INDEX_PUT_LINK, .repository = {"docker.io", repository}, .digest = digest},
		{.kind = INDEX_PUT_TAG, .repository = {"docker.io", repository}, .tag = tag, .tag_record = &record},
	};

	snprintf(record.media_type, sizeof(record.media_type), "%s", type);
	snprintf(changes[0].link.media_type, sizeof(changes[0].link.media_type), "%s", type);
	assert_int_equal(index_write(scratch_index(scratch), changes, 2, &scratch->err), 0);
}

/* An image for amd64 and arm64, tagged in library/REPOSITORY; `layer` tells one version from another. */
static inline struct digest bed_image(struct scratch *scratch, const char *repository, const char *tag,
				      const char *layer)
{
	_cleanup_free_ char *arm_layer = mem_printf("%s for arm", layer);
	_cleanup_free_ char *config = mem_printf("{\"of\":\"%s\"}", layer);
	_cleanup_free_ char *amd = bed_manifest(scratch, config, "the base", layer,
						",\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"}");
	_cleanup_free_ char *arm =
		bed_manifest(scratch, "{\"architecture\":\"arm64\"}", "the base for arm", arm_layer,
			     ",\"platform\":{\"os\":\"linux\",\"architecture\":\"arm64\",\"variant\":\"v8\"}");
	_cleanup_free_ char *text = bed_index_text(amd, arm);
	struct digest digest = bed_put(scratch, text);

	bed_tag(scratch, repository, tag, INDEX_TYPE, &digest, strlen(text));
	return digest;
}

/* Bundles. */

static inline struct plan_options bed_options(const char *const *references, size_t count)
{
	return (struct plan_options){.locator = plainly, .references = references, .reference_count = count};
}

static inline struct bundle *bed_bundle(struct scratch *scratch, const struct plan_options *options)
{
	struct bundle *bundle = NULL;
	struct plan *plan;
	struct err err = {0};

	if (plan_make(scratch->store, options, &plan, &err) ||
	    bundle_make(scratch->store, plan, options, &bundle, &err))
		fail_msg("%s", err.text);
	return bundle;
}

/* Archives in memory. */

struct tarball {
	struct buf data;
	size_t at; /* read so far */
};

static inline void tarball_end(struct tarball *tarball)
{
	buf_dispose(&tarball->data);
}

static inline void tarball_pad(struct tarball *tarball, size_t size)
{
	static const char zeroes[4 * TAR_BLOCK];

	assert_true(size <= sizeof(zeroes));
	assert_int_equal(buf_append(&tarball->data, zeroes, size), 0);
}

/* `claimed` is the size in the header. */
static inline void tarball_add_claiming(struct tarball *tarball, const char *path, const char *data, size_t claimed)
{
	uint8_t header[TAR_HEADER_MAX];

	buf_append(&tarball->data, header, tar_header(path, claimed, header));
	buf_append(&tarball->data, data, strlen(data));
	tarball_pad(tarball, tar_padding(strlen(data)));
}

static inline void tarball_add(struct tarball *tarball, const char *path, const char *data)
{
	tarball_add_claiming(tarball, path, data, strlen(data));
}

/* Makes a header one of another type: '1' a hard link, '2' a symbolic one, '3' a device, … */
static inline void tarball_finish_header(uint8_t header[TAR_BLOCK], char type, const char *link)
{
	unsigned sum = 0;

	header[156] = (uint8_t)type;
	memcpy(header + 157, link, strlen(link)); /* NOLINT(bugprone-not-null-terminated-result): a field */
	memset(header + 148, ' ', 8);
	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += header[i];
	snprintf((char *)header + 148, 8, "%06o", sum);
}

static inline void tarball_add_special(struct tarball *tarball, const char *path, char type, const char *link)
{
	uint8_t header[TAR_HEADER_MAX];

	tar_header(path, 0, header);
	tarball_finish_header(header, type, link);
	buf_append(&tarball->data, header, TAR_BLOCK);
}

static inline void tarball_add_blob(struct tarball *tarball, const char *data)
{
	struct digest digest = scratch_digest(data, strlen(data));
	char hex[DIGEST_TEXT_MAX];
	_cleanup_free_ char *path = mem_printf("blobs/sha256/%s", digest_hex(&digest, hex));

	tarball_add(tarball, path, data);
}

/* A layout of one image, of one platform: `layer_size` is what its manifest says of its layer. */
static inline void tarball_add_layout(struct tarball *tarball, const char *layer, size_t layer_size)
{
	struct digest config = scratch_digest("{}", 2), digest = scratch_digest(layer, strlen(layer)), manifest;
	_cleanup_free_ char *c = bed_descriptor(CONFIG_TYPE, &config, 2, "");
	_cleanup_free_ char *l = bed_descriptor(LAYER_TYPE, &digest, layer_size, "");
	_cleanup_free_ char *text =
		mem_printf("{\"mediaType\":\"" MANIFEST_TYPE "\",\"config\":%s,\"layers\":[%s]}", c, l);
	_cleanup_free_ char *root = NULL, *index = NULL;

	manifest = scratch_digest(text, strlen(text));
	root = bed_descriptor(
		MANIFEST_TYPE, &manifest, strlen(text),
		",\"annotations\":{\"org.opencontainers.image.ref.name\":\"docker.io/library/alpine:3\"}");
	index = mem_printf("{\"schemaVersion\":2,\"manifests\":[%s]}", root);
	tarball_add(tarball, "oci-layout", LAYOUT);
	tarball_add(tarball, "index.json", index);
	tarball_add_blob(tarball, text);
	tarball_add_blob(tarball, "{}");
	tarball_add_blob(tarball, layer);
}

static inline void tarball_of(struct tarball *tarball, struct bundle *bundle)
{
	char block[700]; /* so that nothing falls together with tar's blocks */
	struct err err = {0};
	ssize_t got;

	while ((got = bundle_read(bundle, tarball->data.len, block, sizeof(block), &err)) > 0)
		assert_int_equal(buf_append(&tarball->data, block, (size_t)got), 0);
	assert_int_equal(got, 0);
	assert_int_equal(tarball->data.len, bundle_size(bundle));
}

static inline ssize_t tarball_read(void *arg, void *data, size_t max)
{
	struct tarball *tarball = arg;
	size_t len = tarball->data.len - tarball->at;

	len = len < max ? len : max;
	if (len == 0)
		return 0;
	memcpy(data, tarball->data.data + tarball->at, len);
	tarball->at += len;
	return (ssize_t)len;
}

static inline int bed_import(struct scratch *scratch, struct tarball *tarball, const char *as,
			     struct import_report *report)
{
	struct import_options options = {.locator = plainly, .source = {tarball_read, tarball}, .as = as};

	tarball->at = 0;
	scratch->err = (struct err){0};
	return import_run(scratch->store, &options, report, &scratch->err);
}

static inline void bed_expect_nothing(struct scratch *scratch)
{
	assert_int_equal(scratch_totals(scratch).blobs, 0);
	assert_int_equal(scratch_count_files(scratch, "partial"), 0);
}

/* Such an archive, up to its end. */
static inline void bed_expect_refused(struct bed *bed, struct tarball *tarball, int code)
{
	struct import_report report;

	tarball_pad(tarball, TAR_END);
	assert_int_equal(bed_import(&bed->there, tarball, NULL, &report), code);
	import_report_dispose(&report);
	bed_expect_nothing(&bed->there);
}

/* Every blob is what its digest says. */

static inline bool bed_blob_is_sound(void *arg, const struct digest *digest, const struct index_blob *blob)
{
	struct scratch *scratch = arg;
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *data = mem_alloc(blob->size + 1);
	struct digest found;
	uint64_t size;

	assert_int_equal(store_open_blob(scratch->store, digest, &fd, &size, NULL), 0);
	assert_int_equal(size, blob->size);
	assert_int_equal(pread(fd, data, size, 0), (ssize_t)size);
	digest_of(digest->algorithm, data, size, &found);
	assert_true(digest_equal(&found, digest));
	return true;
}

static inline void bed_expect_sound(struct scratch *scratch)
{
	assert_int_equal(index_list_blobs(scratch_index(scratch), NULL, bed_blob_is_sound, scratch, NULL), 0);
	assert_int_equal(scratch_count_files(scratch, "partial"), 0);
}
