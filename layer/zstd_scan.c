/* SPDX-License-Identifier: Apache-2.0 */
/* zstd (RFC 8878), frames one after another. Reading can go on only where a frame begins. */
#include "layer/build_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <zstd.h>

#define OUT_BYTES ((size_t)256 << 10)

struct zstd_scan {
	struct layer_builder *builder;
	ZSTD_DCtx *context; /* takes windows of up to 128 MiB (ZSTD_d_windowLogMax), as those who unpack do */
	uint64_t in;
	bool within; /* a frame */
	uint8_t out[OUT_BYTES];
};

struct zstd_scan *zstd_scan_new(struct layer_builder *builder)
{
	struct zstd_scan *scan = mem_alloc(sizeof(*scan));

	scan->builder = builder;
	scan->context = ZSTD_createDCtx();
	assert(scan->context); /* memory */
	return scan;
}

void zstd_scan_free(struct zstd_scan *scan)
{
	if (!scan)
		return;
	ZSTD_freeDCtx(scan->context);
	free(scan);
}

int zstd_scan_feed(struct zstd_scan *scan, const uint8_t *data, size_t len, struct err *err)
{
	ZSTD_inBuffer in = {.src = data, .size = len};
	bool full = false;
	int code = 0;

	/* A full buffer may have left something in the decoder. */
	while (!code && (in.pos < in.size || (full && scan->within)) && !builder_has_all(scan->builder)) {
		ZSTD_outBuffer out = {.dst = scan->out, .size = OUT_BYTES};
		size_t before = in.pos, result;

		if (!scan->within && scan->in > 0 && builder_wants_checkpoint(scan->builder))
			builder_add_checkpoint(scan->builder, scan->in, 0, true);
		result = ZSTD_decompressStream(scan->context, &out, &in);
		if (ZSTD_isError(result))
			return err_set(err, ERR_INVALID, "the zstd stream is damaged: %s", ZSTD_getErrorName(result));
		scan->in += in.pos - before;
		scan->within = result != 0;
		full = out.pos == out.size;
		code = builder_output(scan->builder, scan->out, out.pos, err);
	}
	return code;
}

int zstd_scan_finish(struct zstd_scan *scan, struct err *err)
{
	if (scan->within)
		return err_set(err, ERR_INVALID, "the zstd stream ends too early");
	return 0;
}
