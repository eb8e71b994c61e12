/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/wire/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

void files_fill(unsigned char *data, unsigned number)
{
	uint64_t state = 88172645463325252u + number;

	for (size_t i = 0; i < FILES_BYTES; i++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		data[i] = (unsigned char)state;
	}
}

void files_make_layer(unsigned files, struct buf *layer)
{
	_cleanup_(buf_dispose) struct buf tar = {.max = (size_t)128 << 20};
	_cleanup_free_ unsigned char *data = mem_alloc(FILES_BYTES);
	z_stream zlib = {0};
	char name[32];

	for (unsigned i = 0; i < files; i++) {
		snprintf(name, sizeof(name), "data/%u", i);
		files_fill(data, i);
		tars_add(&tar, &(struct tars_header){.name = name, .size = FILES_BYTES}, data);
	}
	tars_end(&tar);
	assert_int_equal(deflateInit2(&zlib, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
	layer->cap = deflateBound(&zlib, tar.len) + 64;
	layer->data = mem_alloc(layer->cap + 1);
	zlib.next_in = (Bytef *)tar.data;
	zlib.avail_in = (uInt)tar.len;
	zlib.next_out = (Bytef *)layer->data;
	zlib.avail_out = (uInt)layer->cap;
	assert_int_equal(deflate(&zlib, Z_FINISH), Z_STREAM_END);
	layer->len = layer->cap - zlib.avail_out;
	deflateEnd(&zlib);
}

void files_add_image(struct scripted *upstream, const char *tag, const struct buf *layers, unsigned count,
		     char digest[SCRIPTED_DIGEST_MAX])
{
	struct scripted_bytes bytes[SCRIPTED_LAYERS_MAX];
	struct scripted_image image;

	for (unsigned i = 0; i < count; i++)
		bytes[i] = (struct scripted_bytes){layers[i].data, layers[i].len};
	scripted_add_image_of(upstream, "team/app", tag, bytes, count, &image);
	strcpy(digest, image.layer[count - 1]);
}

struct larder *files_start(struct wire *wire, struct scripted *upstream, const char *config)
{
	_cleanup_free_ char *option = mem_printf("registry.test=%s", scripted_url(upstream, 0));

	return larder_with_admin(wire, "127.0.0.1:0", option, config);
}

double files_indexed(struct larder *larder)
{
	_cleanup_free_ char *metrics = admin_metrics(larder);

	return metric_value(metrics, "larder_layers_indexed_total{outcome=\"made\"}");
}

void files_get(struct larder *larder, const char *tag, unsigned number, const char *headers, struct client_reply *reply)
{
	_cleanup_free_ char *target = mem_printf("/api/v1/file?ref=team/app:%s&path=/data/%u", tag, number);

	admin_ask(larder, "GET", target, headers, reply);
}

void files_expect_bytes(const void *data, unsigned number)
{
	_cleanup_free_ unsigned char *wanted = mem_alloc(FILES_BYTES);

	files_fill(wanted, number);
	assert_memory_equal(data, wanted, FILES_BYTES);
}

void files_expect(struct larder *larder, const char *tag, unsigned number)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	files_get(larder, tag, number, NULL, &reply);
	assert_int_equal(reply.status, 200);
	assert_int_equal(reply.body_len, FILES_BYTES);
	files_expect_bytes(reply.body, number);
}
