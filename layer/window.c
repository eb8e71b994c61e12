/* SPDX-License-Identifier: Apache-2.0 */
#include "layer/window.h"

#include "layer/index.h"
#include "layer/varint.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#define PACK_LEVEL 9
#define GAP_MIN    4                  /* shorter gaps are kept: telling of them would cost as much */
#define FEED_MAX   ((size_t)64 << 10) /* blocks that bring nothing must not keep a probe going */

/*
 * Each byte of the window is told by a pair that no literal gives: inflated with `low`, it comes out as the low byte of
 * its place; with `high`, as that plus one plus the high byte. Literals come out the same from both.
 */
struct probe_stream {
	z_stream zlib;
	uint8_t marks[LAYER_WINDOW];
	uint8_t out[LAYER_WINDOW];
	bool ended;
};

struct window_probe {
	struct probe_stream low, high;
	uint8_t window[LAYER_WINDOW];
	size_t len;
	size_t fed;
	bool runs;
};

static void stream_init(struct probe_stream *stream)
{
	int code = inflateInit2(&stream->zlib, -15);

	assert(code == Z_OK); /* memory, or a bug */
}

struct window_probe *window_probe_new(void)
{
	struct window_probe *probe = mem_alloc(sizeof(*probe));

	stream_init(&probe->low);
	stream_init(&probe->high);
	for (size_t i = 0; i < LAYER_WINDOW; i++) {
		probe->low.marks[i] = (uint8_t)i;
		probe->high.marks[i] = (uint8_t)(i + 1 + (i >> 8));
	}
	return probe;
}

void window_probe_free(struct window_probe *probe)
{
	if (!probe)
		return;
	inflateEnd(&probe->low.zlib);
	inflateEnd(&probe->high.zlib);
	free(probe);
}

static void stream_start(struct probe_stream *stream, uint8_t bits, uint8_t byte, size_t len)
{
	inflateReset(&stream->zlib);
	if (bits)
		inflatePrime(&stream->zlib, bits, byte >> (8 - bits));
	inflateSetDictionary(&stream->zlib, stream->marks, (uInt)len);
	stream->zlib.next_out = stream->out;
	stream->zlib.avail_out = LAYER_WINDOW;
	stream->ended = false;
}

void window_probe_start(struct window_probe *probe, uint8_t bits, uint8_t byte, const uint8_t *window, size_t len)
{
	memcpy(probe->window, window, len);
	probe->len = len;
	probe->fed = 0;
	probe->runs = true;
	stream_start(&probe->low, bits, byte, len);
	stream_start(&probe->high, bits, byte, len);
}

bool window_probe_runs(const struct window_probe *probe)
{
	return probe->runs;
}

static void stream_feed(struct probe_stream *stream, const uint8_t *data, size_t len)
{
	stream->zlib.next_in = (Bytef *)(uintptr_t)data;
	stream->zlib.avail_in = (uInt)len;
	stream->ended = stream->ended || inflate(&stream->zlib, Z_SYNC_FLUSH) != Z_OK || stream->zlib.avail_out == 0;
}

bool window_probe_feed(struct window_probe *probe, const uint8_t *data, size_t len)
{
	/* A block that ends where the chunk does: to zlib, nothing to read is an end. */
	if (len == 0)
		return false;
	if (len > FEED_MAX - probe->fed)
		len = FEED_MAX - probe->fed;
	probe->fed += len;
	stream_feed(&probe->low, data, len);
	stream_feed(&probe->high, data, len);
	return probe->low.ended || probe->high.ended || probe->fed == FEED_MAX;
}

/* Marks what came out of the window; all of it when it was not seen how far it is used. */
static void mark_used(const struct window_probe *probe, bool *used)
{
	size_t out = LAYER_WINDOW - probe->low.zlib.avail_out;
	const uint8_t *low = probe->low.out, *high = probe->high.out;

	if (probe->fed == FEED_MAX && !probe->low.ended) {
		memset(used, true, probe->len);
		return;
	}
	memset(used, false, LAYER_WINDOW);
	for (size_t i = 0; i < out; i++)
		if (low[i] != high[i]) {
			size_t place = (size_t)(uint8_t)(high[i] - low[i] - 1) << 8 | low[i];

			assert(place < probe->len);
			used[place] = true;
		}
}

/* The end of a run of bytes that are used, with gaps that are too short to tell of. */
static size_t run_end(const bool *used, size_t start, size_t len)
{
	size_t end = start, gap = 0;

	for (size_t i = start; i < len && gap < GAP_MIN; i++) {
		gap = used[i] ? 0 : gap + 1;
		if (used[i])
			end = i + 1;
	}
	return end;
}

/* The window's length, then how much to leave out and to take, in turn, up to a 0; then what is taken. All compressed
 * by zstd. */
void window_probe_pack(struct window_probe *probe, struct buf *packed)
{
	bool used[LAYER_WINDOW];
	struct buf plain = {0}, kept = {0};
	size_t at = 0, bound, len;

	mark_used(probe, used);
	probe->runs = false;
	varint_append(&plain, probe->len);
	while (at < probe->len) {
		size_t start = at, end;

		while (start < probe->len && !used[start])
			start++;
		if (start == probe->len)
			break;
		end = run_end(used, start, probe->len);
		varint_append(&plain, end - start);
		varint_append(&plain, start - at);
		buf_append(&kept, probe->window + start, end - start);
		at = end;
	}
	varint_append(&plain, 0);
	buf_append(&plain, kept.data, kept.len);
	bound = ZSTD_compressBound(plain.len);
	buf_clear(packed);
	packed->data = mem_realloc(packed->data, bound + 1);
	packed->cap = bound + 1;
	len = ZSTD_compress(packed->data, bound, plain.data, plain.len, PACK_LEVEL);
	assert(!ZSTD_isError(len));
	packed->len = len;
	buf_dispose(&plain);
	buf_dispose(&kept);
}

static int malformed(struct err *err)
{
	return err_set(err, ERR_INVALID, "a window of the index is damaged");
}

/* Two passes over the runs: `bytes` NULL only counts what they take. */
static bool walk_runs(struct varint_reader *reader, uint64_t len, uint8_t *window, const uint8_t *bytes,
		      uint64_t *taken)
{
	uint64_t at = 0, take, skip;

	*taken = 0;
	while (varint_read(reader, &take) && take > 0) {
		if (!varint_read(reader, &skip) || skip > len - at || take > len - at - skip)
			return false;
		if (bytes)
			memcpy(window + at + skip, bytes + *taken, take);
		at += skip + take;
		*taken += take;
	}
	return true;
}

int window_unpack(const void *packed, size_t packed_len, uint8_t *window, size_t *len, struct err *err)
{
	uint8_t plain[3 * LAYER_WINDOW];
	size_t plain_len = ZSTD_decompress(plain, sizeof(plain), packed, packed_len);
	struct varint_reader runs = {plain, plain + (ZSTD_isError(plain_len) ? 0 : plain_len)}, again;
	uint64_t said, taken;

	if (!varint_read(&runs, &said) || said > LAYER_WINDOW)
		return malformed(err);
	again = runs;
	memset(window, 0, LAYER_WINDOW);
	if (!walk_runs(&runs, said, window, NULL, &taken) || taken != (uint64_t)(runs.end - runs.at))
		return malformed(err);
	walk_runs(&again, said, window, runs.at, &taken);
	*len = (size_t)said;
	return 0;
}
