/* SPDX-License-Identifier: Apache-2.0 */
/* gzip (RFC 1952), members one after another: what comes out, and where reading may go on. */
#include "layer/build_internal.h"
#include "layer/window.h"

#include <assert.h>
#include <stdlib.h>
#include <zlib.h>

#define OUT_BYTES ((size_t)256 << 10)

enum gzip_state {
	GZIP_MEMBER,   /* within one                                          -> BETWEEN */
	GZIP_BETWEEN,  /* one has ended, perhaps another follows              -> MEMBER, TRAILING */
	GZIP_TRAILING, /* what follows is no gzip: ignored, as gzip -d does */
};

struct gzip_scan {
	struct layer_builder *builder;
	enum gzip_state state;
	z_stream zlib;
	uint64_t in; /* of the layer, up to and with what zlib has taken */
	struct window_probe *probe;
	struct buf packed;
	uint8_t window[LAYER_WINDOW];
	uint8_t out[OUT_BYTES];
};

struct gzip_scan *gzip_scan_new(struct layer_builder *builder)
{
	struct gzip_scan *scan = mem_alloc(sizeof(*scan));
	int code = inflateInit2(&scan->zlib, 15 + 16);

	assert(code == Z_OK); /* memory, or a bug */
	scan->builder = builder;
	scan->probe = window_probe_new();
	return scan;
}

void gzip_scan_free(struct gzip_scan *scan)
{
	if (!scan)
		return;
	inflateEnd(&scan->zlib);
	window_probe_free(scan->probe);
	buf_dispose(&scan->packed);
	free(scan);
}

static int end_probe(struct gzip_scan *scan, struct err *err)
{
	if (!window_probe_runs(scan->probe))
		return 0;
	window_probe_pack(scan->probe, &scan->packed);
	return builder_add_window(scan->builder, &scan->packed, err);
}

/* zlib stands between two blocks: what it has not taken of the chunk is what the probe gets first. */
static int reach_block(struct gzip_scan *scan, struct err *err)
{
	uint8_t bits = (uint8_t)(scan->zlib.data_type & 7);
	uInt len = LAYER_WINDOW;
	int code = 0;

	if (window_probe_runs(scan->probe))
		return 0; /* the last checkpoint is less than a window away */
	if (!builder_wants_checkpoint(scan->builder))
		return 0;
	inflateGetDictionary(&scan->zlib, scan->window, &len);
	builder_add_checkpoint(scan->builder, scan->in, bits, false);
	window_probe_start(scan->probe, bits, bits ? builder_byte_before(scan->builder, scan->in) : 0, scan->window,
			   len);
	if (window_probe_feed(scan->probe, scan->zlib.next_in, scan->zlib.avail_in))
		code = end_probe(scan, err);
	return code;
}

/* Inflates up to the next block, or as far as there are bytes and room. */
static int inflate_some(struct gzip_scan *scan, struct err *err)
{
	uInt before = scan->zlib.avail_in;
	int result, code;

	scan->zlib.next_out = scan->out;
	scan->zlib.avail_out = OUT_BYTES;
	result = inflate(&scan->zlib, Z_BLOCK);
	scan->in += before - scan->zlib.avail_in;
	if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
		return err_set(err, ERR_INVALID, "the gzip stream is damaged: %s",
			       scan->zlib.msg ? scan->zlib.msg : "no dictionary");
	code = builder_output(scan->builder, scan->out, OUT_BYTES - scan->zlib.avail_out, err);
	if (code)
		return code;
	if (result == Z_STREAM_END) {
		scan->state = GZIP_BETWEEN;
		return end_probe(scan, err);
	}
	/* Not behind the header, and not before the trailer. */
	if ((scan->zlib.data_type & 128) && !(scan->zlib.data_type & 64) && scan->zlib.total_out > 0)
		return reach_block(scan, err);
	return 0;
}

static void begin_member(struct gzip_scan *scan)
{
	if (*scan->zlib.next_in != 0x1f) {
		scan->state = GZIP_TRAILING;
		return;
	}
	inflateReset(&scan->zlib);
	scan->state = GZIP_MEMBER;
	if (builder_wants_checkpoint(scan->builder))
		builder_add_checkpoint(scan->builder, scan->in, 0, true);
}

int gzip_scan_feed(struct gzip_scan *scan, const uint8_t *data, size_t len, struct err *err)
{
	int code = 0;

	scan->zlib.next_in = (Bytef *)(uintptr_t)data;
	scan->zlib.avail_in = (uInt)len;
	if (window_probe_runs(scan->probe) && window_probe_feed(scan->probe, data, len))
		code = end_probe(scan, err);
	/* A full buffer may have left something in zlib. */
	while (!code && scan->state != GZIP_TRAILING && !builder_has_all(scan->builder) &&
	       (scan->zlib.avail_in > 0 || (scan->state == GZIP_MEMBER && scan->zlib.avail_out == 0))) {
		if (scan->state == GZIP_BETWEEN)
			begin_member(scan);
		else
			code = inflate_some(scan, err);
	}
	/* Nothing more is fed behind the end of the tar: a checkpoint just before it has what it needs of its window.
	 */
	return !code && builder_has_all(scan->builder) ? end_probe(scan, err) : code;
}

int gzip_scan_finish(struct gzip_scan *scan, struct err *err)
{
	if (scan->state == GZIP_MEMBER)
		return err_set(err, ERR_INVALID, "the gzip stream ends too early");
	return 0;
}
