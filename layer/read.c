/* SPDX-License-Identifier: Apache-2.0 */
#include "layer/read.h"

#include "layer/check.h"
#include "layer/window.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#define IN_BYTES   ((size_t)64 << 10)
#define SKIP_BYTES ((size_t)64 << 10)

struct layer_reader {
	const struct layer_index *index;
	struct layer_source source;
	bool placed;
	uint64_t out; /* of the next byte that comes out */
	uint64_t in;  /* of the next byte of the layer to be fetched */
	uint64_t inflated;

	bool fresh;       /* zlib reads a member with its header, else what is between */
	unsigned trailer; /* bytes of a member's trailer to be skipped */
	z_stream zlib;
	ZSTD_DCtx *zstd;

	const uint8_t *next; /* fetched, not yet used */
	size_t left;
	uint8_t buffer[IN_BYTES];
	uint8_t *span; /* fetched and checked, where the source is not verified */
	uint8_t skipped[SKIP_BYTES];
};

struct layer_reader *layer_reader_new(const struct layer_index *index, const struct layer_source *source)
{
	struct layer_reader *reader = mem_alloc(sizeof(*reader));

	assert(!index->failure);
	reader->index = index;
	reader->source = *source;
	reader->next = reader->buffer;
	if (index->compression == LAYER_GZIP && inflateInit2(&reader->zlib, -15) != Z_OK)
		abort(); /* memory */
	if (index->compression == LAYER_ZSTD) {
		reader->zstd = ZSTD_createDCtx();
		assert(reader->zstd);
	}
	return reader;
}

void layer_reader_free(struct layer_reader *reader)
{
	if (!reader)
		return;
	if (reader->index->compression == LAYER_GZIP)
		inflateEnd(&reader->zlib);
	ZSTD_freeDCtx(reader->zstd);
	free(reader->span);
	free(reader);
}

uint64_t layer_reader_inflated(const struct layer_reader *reader)
{
	return reader->inflated;
}

static int damaged(const struct layer_reader *reader, struct err *err)
{
	return err_set(err, ERR_INVALID, "the layer does not decompress as it did, at its byte %" PRIu64, reader->in);
}

/* Input. */

static int fetch(struct layer_reader *reader, uint64_t offset, uint8_t *data, size_t len, struct err *err)
{
	while (len > 0) {
		ssize_t got = reader->source.read(reader->source.arg, offset, data, len, err);

		if (got < 0)
			return (int)got;
		assert(got > 0 && (size_t)got <= len);
		data += got;
		offset += (uint64_t)got;
		len -= (size_t)got;
	}
	return 0;
}

/* The part in which `reader->in` lies, whole, and checked. */
static int fetch_span(struct layer_reader *reader, const struct layer_checkpoint *checkpoint, struct err *err)
{
	uint8_t check[LAYER_CHECK_BYTES];
	uint64_t start, end;
	int code;

	layer_index_span(reader->index, checkpoint, &start, &end);
	if (end - start > LAYER_SPAN_MAX)
		return err_set(err, ERR_UNSUPPORTED, "checkpoints of the layer are too far from one another");
	free(reader->span);
	reader->span = mem_alloc((size_t)(end - start));
	code = fetch(reader, start, reader->span, (size_t)(end - start), err);
	if (code)
		return code;
	check_of(reader->span, (size_t)(end - start), check);
	if (memcmp(check, checkpoint->check, sizeof(check)) != 0)
		return err_set(err, ERR_DIGEST,
			       "bytes %" PRIu64 " to %" PRIu64 " of the layer are not what was indexed", start, end);
	reader->next = reader->span + (reader->in - start);
	reader->left = (size_t)(end - reader->in);
	reader->in = end;
	return 0;
}

/* The last checkpoint at or before a byte of the layer. */
static const struct layer_checkpoint *find_by_in(const struct layer_index *index, uint64_t in)
{
	size_t low = 0, high = index->count;

	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (index->checkpoints[middle].in <= in)
			low = middle;
		else
			high = middle;
	}
	return &index->checkpoints[low];
}

/* More bytes of the layer; ERR_INVALID at its end. */
static int refill(struct layer_reader *reader, struct err *err)
{
	uint64_t rest = reader->index->in_size - reader->in;
	ssize_t got;

	if (rest == 0)
		return damaged(reader, err);
	if (!reader->source.verified)
		return fetch_span(reader, find_by_in(reader->index, reader->in), err);
	got = reader->source.read(reader->source.arg, reader->in, reader->buffer, rest < IN_BYTES ? rest : IN_BYTES,
				  err);
	if (got < 0)
		return (int)got;
	reader->next = reader->buffer;
	reader->left = (size_t)got;
	reader->in += (uint64_t)got;
	return 0;
}

static void use(struct layer_reader *reader, size_t len)
{
	reader->next += len;
	reader->left -= len;
}

/* gzip: within a member raw, so that a checkpoint and a member's beginning are read alike. */

static int begin_raw(struct layer_reader *reader, const struct layer_checkpoint *checkpoint, struct err *err)
{
	const struct buf *windows = &reader->index->windows;
	uint8_t window[LAYER_WINDOW], byte;
	size_t len = 0;
	int code;

	code = window_unpack(windows->data + checkpoint->window_at, checkpoint->window_len, window, &len, err);
	if (code)
		return code;
	reader->fresh = false;
	inflateReset2(&reader->zlib, -15);
	if (checkpoint->bits) {
		/* The byte that both sides share stands before `in`, and is this part's too. */
		reader->in--;
		code = reader->source.verified ? refill(reader, err) : fetch_span(reader, checkpoint, err);
		if (code)
			return code;
		byte = *reader->next;
		use(reader, 1);
		inflatePrime(&reader->zlib, checkpoint->bits, byte >> (8 - checkpoint->bits));
	}
	inflateSetDictionary(&reader->zlib, window, (uInt)len);
	return 0;
}

static void begin_member(struct layer_reader *reader)
{
	reader->fresh = true;
	inflateReset2(&reader->zlib, 15 + 16);
}

static int inflate_some(struct layer_reader *reader, uint8_t *data, size_t max, size_t *got, struct err *err)
{
	z_stream *zlib = &reader->zlib;
	int result;

	if (reader->trailer > 0) {
		size_t some = reader->left < reader->trailer ? reader->left : reader->trailer;

		use(reader, some);
		reader->trailer -= (unsigned)some;
		if (reader->trailer == 0)
			begin_member(reader);
		return 0;
	}
	zlib->next_in = (Bytef *)(uintptr_t)reader->next;
	zlib->avail_in = (uInt)reader->left;
	zlib->next_out = data;
	zlib->avail_out = (uInt)max;
	result = inflate(zlib, Z_NO_FLUSH);
	use(reader, reader->left - zlib->avail_in);
	*got = max - zlib->avail_out;
	if (result == Z_STREAM_END) {
		/* With its header read by zlib, its trailer was too. */
		if (reader->fresh)
			begin_member(reader);
		else
			reader->trailer = 8;
	} else if (result != Z_OK && result != Z_BUF_ERROR) {
		return damaged(reader, err);
	}
	return 0;
}

static int unzstd_some(struct layer_reader *reader, uint8_t *data, size_t max, size_t *got, struct err *err)
{
	ZSTD_inBuffer in = {.src = reader->next, .size = reader->left};
	ZSTD_outBuffer out = {.dst = data, .size = max};
	size_t result = ZSTD_decompressStream(reader->zstd, &out, &in);

	use(reader, in.pos);
	*got = out.pos;
	return ZSTD_isError(result) ? damaged(reader, err) : 0;
}

/* Output. */

static int produce(struct layer_reader *reader, uint8_t *data, size_t max, size_t *got, struct err *err)
{
	*got = 0;
	if (reader->index->compression == LAYER_GZIP)
		return inflate_some(reader, data, max, got, err);
	if (reader->index->compression == LAYER_ZSTD)
		return unzstd_some(reader, data, max, got, err);
	*got = reader->left < max ? reader->left : max;
	memcpy(data, reader->next, *got);
	use(reader, *got);
	return 0;
}

/* What is to come next, whole. A decoder may hold bytes of which the input was used already: it is asked before more is
 * fetched. */
static int produce_all(struct layer_reader *reader, uint8_t *data, size_t len, struct err *err)
{
	size_t got;
	int code;

	while (len > 0) {
		code = produce(reader, data, len, &got, err);
		if (!code && got == 0 && reader->left == 0)
			code = refill(reader, err);
		if (code)
			return code;
		data += got;
		len -= got;
		reader->out += got;
		reader->inflated += got;
	}
	return 0;
}

static int place(struct layer_reader *reader, uint64_t offset, struct err *err)
{
	const struct layer_checkpoint *checkpoint = layer_index_find(reader->index, offset);
	bool direct = reader->index->compression == LAYER_PLAIN && reader->source.verified;
	int code = 0;

	if (reader->placed &&
	    (reader->out == offset || (!direct && reader->out < offset && checkpoint->out <= reader->out)))
		return 0;
	reader->placed = false;
	reader->out = checkpoint->out;
	reader->in = checkpoint->in;
	reader->left = 0;
	reader->trailer = 0;
	if (reader->index->compression == LAYER_PLAIN) {
		if (direct)
			reader->in = reader->out = offset;
	} else if (reader->index->compression == LAYER_ZSTD) {
		ZSTD_DCtx_reset(reader->zstd, ZSTD_reset_session_only);
	} else if (checkpoint->fresh) {
		begin_member(reader);
	} else {
		code = begin_raw(reader, checkpoint, err);
	}
	reader->placed = code == 0;
	return code;
}

static int read_on(struct layer_reader *reader, uint64_t offset, void *data, size_t len, struct err *err)
{
	int code = place(reader, offset, err);

	while (!code && reader->out < offset) {
		uint64_t rest = offset - reader->out;

		code = produce_all(reader, reader->skipped, rest < SKIP_BYTES ? (size_t)rest : SKIP_BYTES, err);
	}
	return code ? code : produce_all(reader, data, len, err);
}

int layer_reader_read(struct layer_reader *reader, uint64_t offset, void *data, size_t len, struct err *err)
{
	int code;

	if (offset > reader->index->out_size || len > reader->index->out_size - offset)
		return err_set(err, ERR_INVALID, "the layer has no bytes there");
	code = read_on(reader, offset, data, len, err);
	if (code)
		reader->placed = false;
	return code;
}
