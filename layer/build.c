/* SPDX-License-Identifier: Apache-2.0 */
#include "layer/build_internal.h"

#include "base/cleanup.h"
#include "layer/check.h"
#include "layer/tar.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC_BYTES 4

struct layer_builder {
	struct layer_index *index;
	struct tar *tar;
	struct spacing spacing;
	uint64_t in, out;

	uint8_t magic[MAGIC_BYTES]; /* the first bytes, until it is known what they begin */
	size_t magic_len;
	struct gzip_scan *gzip;
	struct zstd_scan *zstd;

	const uint8_t *chunk; /* what is being fed … */
	uint64_t chunk_at;    /* … and where it begins */
	uint8_t last_byte;    /* of the chunk before */
	struct hasher *hasher;
	uint64_t hashed;
};

static void builder_freep(struct layer_builder **builder)
{
	layer_builder_free(*builder);
}

struct layer_builder *layer_builder_new(uint64_t interval)
{
	struct layer_builder *builder = mem_alloc(sizeof(*builder));

	builder->index = mem_alloc(sizeof(*builder->index));
	builder->index->interval = interval;
	builder->index->windows.max = LAYER_INDEX_MAX;
	builder->spacing.interval = interval;
	builder->tar = tar_new(&builder->index->table);
	builder_add_checkpoint(builder, 0, 0, true);
	return builder;
}

void layer_builder_free(struct layer_builder *builder)
{
	if (!builder)
		return;
	gzip_scan_free(builder->gzip);
	zstd_scan_free(builder->zstd);
	tar_free(builder->tar);
	hasher_free(builder->hasher);
	layer_index_free(builder->index);
	free(builder);
}

/* Checkpoints. */

static void end_check(struct layer_builder *builder, uint64_t in)
{
	struct layer_index *index = builder->index;

	if (in > builder->hashed)
		hasher_update(builder->hasher, builder->chunk + (builder->hashed - builder->chunk_at),
			      (size_t)(in - builder->hashed));
	check_finish(take_pointer(builder->hasher), index->checkpoints[index->count - 1].check);
	builder->hashed = in;
}

uint8_t builder_byte_before(const struct layer_builder *builder, uint64_t in)
{
	return in > builder->chunk_at ? builder->chunk[in - builder->chunk_at - 1] : builder->last_byte;
}

void builder_add_checkpoint(struct layer_builder *builder, uint64_t in, uint8_t bits, bool fresh)
{
	struct layer_index *index = builder->index;
	uint8_t shared;

	if (index->count > 0)
		end_check(builder, in);
	if (index->count == index->cap) {
		index->cap = index->cap ? index->cap * 2 : 16;
		index->checkpoints = mem_realloc(index->checkpoints, index->cap * sizeof(*index->checkpoints));
	}
	index->checkpoints[index->count++] =
		(struct layer_checkpoint){.in = in, .out = builder->out, .bits = bits, .fresh = fresh};
	builder->hasher = hasher_new(DIGEST_SHA256);
	if (bits) {
		shared = builder_byte_before(builder, in);
		hasher_update(builder->hasher, &shared, 1);
	}
}

int builder_add_window(struct layer_builder *builder, const struct buf *packed, struct err *err)
{
	struct layer_index *index = builder->index;
	struct layer_checkpoint *checkpoint = &index->checkpoints[index->count - 1];

	checkpoint->window_at = index->windows.len;
	checkpoint->window_len = packed->len;
	return buf_append(&index->windows, packed->data, packed->len)
		       ? err_set(err, ERR_LIMIT, "the index is larger than %zu MiB", LAYER_INDEX_MAX >> 20)
		       : 0;
}

bool builder_wants_checkpoint(struct layer_builder *builder)
{
	return spacing_reach(&builder->spacing, builder->out);
}

/* Output. */

bool builder_has_all(const struct layer_builder *builder)
{
	return tar_has_ended(builder->tar);
}

int builder_output(struct layer_builder *builder, const void *data, size_t len, struct err *err)
{
	builder->out += len;
	if (builder->out > LAYER_BOMB_BYTES && builder->out / LAYER_BOMB_RATIO > builder->in)
		return err_set(err, ERR_LIMIT, "%" PRIu64 " bytes become more than %" PRIu64, builder->in,
			       builder->out);
	return tar_feed(builder->tar, data, len, err);
}

static int feed_plain(struct layer_builder *builder, const uint8_t *data, size_t len, struct err *err)
{
	uint64_t interval = builder->index->interval;
	int code = 0;

	while (len > 0 && !code) {
		uint64_t to_next = interval - builder->out % interval;
		size_t some = to_next < len ? (size_t)to_next : len;

		if (builder->out > 0 && builder->out % interval == 0)
			builder_add_checkpoint(builder, builder->out, 0, true);
		code = builder_output(builder, data, some, err);
		data += some;
		len -= some;
	}
	return code;
}

/* Input. */

/* RFC 1952; RFC 8878, frames and skippable frames. */
static void detect(struct layer_builder *builder)
{
	static const uint8_t gzip[] = {0x1f, 0x8b}, zstd[] = {0x28, 0xb5, 0x2f, 0xfd}, skippable[] = {0x2a, 0x4d, 0x18};
	const uint8_t *magic = builder->magic;

	if (memcmp(magic, gzip, sizeof(gzip)) == 0)
		builder->gzip = gzip_scan_new(builder);
	else if (memcmp(magic, zstd, sizeof(zstd)) == 0 ||
		 ((magic[0] & 0xf0) == 0x50 && memcmp(magic + 1, skippable, sizeof(skippable)) == 0))
		builder->zstd = zstd_scan_new(builder);
	builder->index->compression = builder->gzip ? LAYER_GZIP : builder->zstd ? LAYER_ZSTD : LAYER_PLAIN;
}

static int decompress(struct layer_builder *builder, const uint8_t *data, size_t len, struct err *err)
{
	if (builder->gzip)
		return gzip_scan_feed(builder->gzip, data, len, err);
	if (builder->zstd)
		return zstd_scan_feed(builder->zstd, data, len, err);
	return feed_plain(builder, data, len, err);
}

static int feed_chunk(struct layer_builder *builder, const uint8_t *data, size_t len, struct err *err)
{
	int code = 0;

	builder->chunk = data;
	builder->chunk_at = builder->in;
	builder->in += len;
	if (!builder_has_all(builder))
		code = decompress(builder, data, len, err);
	if (code)
		return code;
	hasher_update(builder->hasher, data + (builder->hashed - builder->chunk_at),
		      (size_t)(builder->in - builder->hashed));
	builder->hashed = builder->in;
	builder->last_byte = data[len - 1];
	return 0;
}

static int feed(struct layer_builder *builder, const uint8_t *data, size_t len, struct err *err)
{
	int code;

	while (builder->magic_len < MAGIC_BYTES && len > 0) {
		builder->magic[builder->magic_len++] = *data++;
		len--;
		if (builder->magic_len < MAGIC_BYTES)
			continue;
		detect(builder);
		code = feed_chunk(builder, builder->magic, MAGIC_BYTES, err);
		if (code)
			return code;
	}
	return len ? feed_chunk(builder, data, len, err) : 0;
}

/* Which side of the decompression the text tells the offset of: both are said. */
static int at_offset(const struct layer_builder *builder, const struct err *why, struct err *err)
{
	return err_set(err, why->code, "%s (%" PRIu64 " bytes into the layer)", why->text, builder->in);
}

int layer_builder_feed(struct layer_builder *builder, const void *data, size_t len, struct err *err)
{
	struct err why;
	int code = feed(builder, data, len, &why);

	return code ? at_offset(builder, &why, err) : 0;
}

static int finish(struct layer_builder *builder, struct err *err)
{
	int code = 0;

	if (builder->magic_len < MAGIC_BYTES)
		return err_set(err, ERR_INVALID, "it is no layer");
	if (!builder_has_all(builder) && builder->gzip)
		code = gzip_scan_finish(builder->gzip, err);
	else if (!builder_has_all(builder) && builder->zstd)
		code = zstd_scan_finish(builder->zstd, err);
	return code ? code : tar_finish(builder->tar, err);
}

int layer_builder_finish(struct layer_builder *builder, struct layer_index **index, struct err *err)
{
	struct err why;
	int code = finish(builder, &why);

	if (code)
		return at_offset(builder, &why, err);
	end_check(builder, builder->in);
	builder->index->in_size = builder->in;
	builder->index->out_size = builder->out;
	*index = take_pointer(builder->index);
	return 0;
}

int layer_build(const void *data, size_t len, uint64_t interval, struct layer_index **index, struct err *err)
{
	_cleanup_(builder_freep) struct layer_builder *builder = layer_builder_new(interval);
	int code = layer_builder_feed(builder, data, len, err);

	return code ? code : layer_builder_finish(builder, index, err);
}

struct layer_index *layer_index_failed(uint64_t in_size, const char *why)
{
	struct layer_index *index = mem_alloc(sizeof(*index));

	index->in_size = in_size;
	index->failure = mem_strdup(why);
	return index;
}
