/* SPDX-License-Identifier: Apache-2.0 */
/* Images as they lie in a store after a pull: manifests with their parts, links and tags. */
#pragma once

#include "tests/unit/store/scratch.h"

#include "store/manifest.h"

#define SHELF_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define SHELF_INDEX    "application/vnd.oci.image.index.v1+json"

static const struct index_repository shelf_app = {"registry.test", "team/app"};
static const struct index_repository shelf_other = {"docker.io", "library/other"};

/* Stores text as a blob of the repository. */
static inline struct digest shelf_put(const struct scratch *scratch, const struct index_repository *repository,
				      const char *text, const char *media_type)
{
	struct digest digest = scratch_digest(text, strlen(text));
	struct index_change link = {.kind = INDEX_PUT_LINK, .repository = *repository, .digest = &digest};

	strcpy(link.link.media_type, media_type);
	assert_int_equal(store_put_blob(scratch->store, &digest, text, strlen(text), NULL), 0);
	if (*media_type)
		assert_int_equal(manifest_record(scratch->store, &digest, text, strlen(text), NULL), 0);
	assert_int_equal(index_write(scratch_index(scratch), &link, 1, NULL), 0);
	return digest;
}

/* An image for a platform ("linux/amd64") with two layers: one of the text `base`, one of its own. */
static inline struct digest shelf_put_image(const struct scratch *scratch, const struct index_repository *repository,
					    const char *name, const char *platform, const char *base)
{
	char config[256], layer[256], manifest[1024], digests[3][DIGEST_TEXT_MAX];
	const char *slash = strchr(platform, '/');
	struct digest parts[3];

	snprintf(config, sizeof(config), "{\"os\":\"%.*s\",\"architecture\":\"%s\",\"config\":\"%s\"}",
		 (int)(slash - platform), platform, slash + 1, name);
	snprintf(layer, sizeof(layer), "layer of %s", name);
	parts[0] = shelf_put(scratch, repository, config, "");
	parts[1] = shelf_put(scratch, repository, base, "");
	parts[2] = shelf_put(scratch, repository, layer, "");
	for (int i = 0; i < 3; i++)
		digest_format(&parts[i], digests[i]);
	snprintf(manifest, sizeof(manifest),
		 "{\"config\":{\"digest\":\"%s\",\"size\":%zu},\"layers\":[{\"digest\":\"%s\",\"size\":%zu},"
		 "{\"digest\":\"%s\",\"size\":%zu}]}",
		 digests[0], strlen(config), digests[1], strlen(base), digests[2], strlen(layer));
	return shelf_put(scratch, repository, manifest, SHELF_MANIFEST);
}

/* An index of images; `platforms` has as many entries. */
static inline struct digest shelf_put_index(const struct scratch *scratch, const struct index_repository *repository,
					    const struct digest *images, const char *const *platforms, size_t count)
{
	_cleanup_(buf_dispose) struct buf text = {0};
	char digest[DIGEST_TEXT_MAX];

	buf_append_text(&text, "{\"manifests\":[");
	for (size_t i = 0; i < count; i++) {
		const char *slash = strchr(platforms[i], '/');

		buf_printf(&text, "%s{\"digest\":\"%s\",\"platform\":{\"os\":\"%.*s\",\"architecture\":\"%s\"}}",
			   i ? "," : "", digest_format(&images[i], digest), (int)(slash - platforms[i]), platforms[i],
			   slash + 1);
	}
	buf_append_text(&text, "]}");
	return shelf_put(scratch, repository, text.data, SHELF_INDEX);
}

static inline void shelf_tag(const struct scratch *scratch, const struct index_repository *repository, const char *tag,
			     const struct digest *digest, uint64_t accept)
{
	struct index_tag record = {.digest = *digest,
				   .size = 1,
				   .fetched = 1000,
				   .checked = 2000 + (int64_t)accept,
				   .accept = accept,
				   .media_type = SHELF_MANIFEST};
	struct index_change change = {
		.kind = INDEX_PUT_TAG, .repository = *repository, .tag = tag, .tag_record = &record};

	assert_int_equal(index_write(scratch_index(scratch), &change, 1, NULL), 0);
}

/* Whether a blob is held, by the index and as a file alike. */
static inline bool shelf_holds(const struct scratch *scratch, const struct digest *digest)
{
	char *path = scratch_blob_path(scratch, digest);
	struct index_blob blob;
	bool file = scratch_exists(path);

	free(path);
	assert_int_equal(index_get_blob(scratch_index(scratch), digest, &blob, NULL) == 0, file);
	return file;
}
