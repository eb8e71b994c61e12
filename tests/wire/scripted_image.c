/* SPDX-License-Identifier: Apache-2.0 */
/* Images and indexes, put together from the content functions of scripted.h. */
#include "tests/wire/scripted.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

static void put(struct buf *buf, int rc)
{
	assert(rc == 0 && buf->data);
}

static void append_descriptor(struct buf *buf, const char *media_type, const char *digest, uint64_t size)
{
	put(buf,
	    buf_printf(buf, "{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%" PRIu64 "}", media_type, digest, size));
}

/* Config and manifest of layers that were added. */
static void add_manifest(struct scripted *scripted, const char *repository, const char *tag,
			 const struct scripted_image_options *o, const uint64_t *sizes, struct scripted_image *image)
{
	const char *manifest_type = o->docker_types ? SCRIPTED_TYPE_DOCKER : SCRIPTED_TYPE_MANIFEST;
	const char *config_type =
		o->docker_types ? "application/vnd.docker.container.image.v1+json" : SCRIPTED_TYPE_CONFIG;
	const char *layer_type =
		o->docker_types ? "application/vnd.docker.image.rootfs.diff.tar.gzip" : SCRIPTED_TYPE_LAYER;
	_cleanup_(buf_dispose) struct buf config = {0}, manifest = {0};

	put(&config, buf_printf(&config,
				"{\"architecture\":\"%s\",\"os\":\"linux\",\"config\":{\"Labels\":{\"seed\":\"%" PRIu64
				"\"}},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[",
				o->architecture ? o->architecture : "amd64", o->seed));
	for (unsigned i = 0; i < image->layers; i++)
		put(&config, buf_printf(&config, "%s\"%s\"", i ? "," : "", image->layer[i]));
	put(&config, buf_append_text(&config, "]}}"));
	scripted_add_blob_bytes(scripted, repository, config.data, config.len, image->config);

	put(&manifest, buf_printf(&manifest, "{\"schemaVersion\":2,\"mediaType\":\"%s\",\"config\":", manifest_type));
	append_descriptor(&manifest, config_type, image->config, config.len);
	put(&manifest, buf_append_text(&manifest, ",\"layers\":["));
	for (unsigned i = 0; i < image->layers; i++) {
		put(&manifest, buf_append_text(&manifest, i ? "," : ""));
		append_descriptor(&manifest, layer_type, image->layer[i], sizes[i]);
		image->bytes += sizes[i];
	}
	put(&manifest, buf_append_text(&manifest, "]}"));
	image->bytes += config.len + manifest.len;
	scripted_add_manifest(scripted, repository, tag, manifest_type, manifest.data, manifest.len, image->manifest);
}

void scripted_add_image(struct scripted *scripted, const char *repository, const char *tag,
			const struct scripted_image_options *options, struct scripted_image *image)
{
	static const struct scripted_image_options defaults;
	const struct scripted_image_options *o = options ? options : &defaults;
	uint64_t sizes[SCRIPTED_LAYERS_MAX] = {0};

	*image = (struct scripted_image){.layers = o->layers ? o->layers : 1};
	assert(image->layers <= SCRIPTED_LAYERS_MAX);
	for (unsigned i = 0; i < image->layers; i++) {
		sizes[i] = o->sizes ? o->sizes[i] : o->layer_size ? o->layer_size : 1 << 20;
		scripted_add_blob(scripted, repository, o->seed * SCRIPTED_LAYERS_MAX + i, sizes[i], image->layer[i]);
	}
	add_manifest(scripted, repository, tag, o, sizes, image);
}

void scripted_add_image_of(struct scripted *scripted, const char *repository, const char *tag,
			   const struct scripted_bytes *layers, unsigned count, struct scripted_image *image)
{
	static const struct scripted_image_options defaults;
	uint64_t sizes[SCRIPTED_LAYERS_MAX] = {0};

	*image = (struct scripted_image){.layers = count};
	assert(count > 0 && count <= SCRIPTED_LAYERS_MAX);
	for (unsigned i = 0; i < count; i++) {
		sizes[i] = layers[i].len;
		scripted_add_blob_bytes(scripted, repository, layers[i].data, layers[i].len, image->layer[i]);
	}
	add_manifest(scripted, repository, tag, &defaults, sizes, image);
}

void scripted_add_index(struct scripted *scripted, const char *repository, const char *tag,
			const char *const *manifests, const char *const *architectures, size_t count,
			char digest[SCRIPTED_DIGEST_MAX])
{
	_cleanup_(buf_dispose) struct buf index = {0};
	put(&index,
	    buf_printf(&index, "{\"schemaVersion\":2,\"mediaType\":\"%s\",\"manifests\":[", SCRIPTED_TYPE_INDEX));
	for (size_t i = 0; i < count; i++) {
		uint64_t size;
		const char *media_type = scripted_manifest_type(scripted, repository, manifests[i], &size);
		assert(media_type && "scripted_add_index: no such manifest was added");
		put(&index, buf_printf(&index,
				       "%s{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%" PRIu64
				       ",\"platform\":{\"os\":\"linux\",\"architecture\":\"%s\"}}",
				       i ? "," : "", media_type, manifests[i], size, architectures[i]));
	}
	put(&index, buf_append_text(&index, "]}"));
	scripted_add_manifest(scripted, repository, tag, SCRIPTED_TYPE_INDEX, index.data, index.len, digest);
}
