/* SPDX-License-Identifier: Apache-2.0 */
/* Files inside images: what is listed and read, and what that costs. */
#include "tests/unit/layer/tars.h"
#include "tests/wire/admin.h"
#include "tests/wire/expect.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#define FILE_BYTES ((size_t)1 << 20)

/* Bytes that do not compress, of file `number`. */
static void fill(unsigned char *data, size_t len, unsigned number)
{
	uint64_t state = 88172645463325252u + number;

	for (size_t i = 0; i < len; i++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		data[i] = (unsigned char)state;
	}
}

/* A tar of so many files, data/0, data/1, …, as a gzip layer. */
static void make_layer(unsigned files, struct buf *layer)
{
	_cleanup_(buf_dispose) struct buf tar = {.max = (size_t)128 << 20};
	_cleanup_free_ unsigned char *data = mem_alloc(FILE_BYTES);
	z_stream zlib = {0};
	char name[32];

	for (unsigned i = 0; i < files; i++) {
		snprintf(name, sizeof(name), "data/%u", i);
		fill(data, FILE_BYTES, i);
		tars_add(&tar, &(struct tars_header){.name = name, .size = FILE_BYTES}, data);
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

/* An image of these layers, as TAG of team/app; the digest of the last layer. */
static void add_image(struct scripted *upstream, const char *tag, const struct buf *layers, unsigned count,
		      char digest[SCRIPTED_DIGEST_MAX])
{
	struct scripted_bytes bytes[SCRIPTED_LAYERS_MAX];
	struct scripted_image image;

	for (unsigned i = 0; i < count; i++)
		bytes[i] = (struct scripted_bytes){layers[i].data, layers[i].len};
	scripted_add_image_of(upstream, "team/app", tag, bytes, count, &image);
	strcpy(digest, image.layer[count - 1]);
}

static struct larder *start(struct wire *wire, struct scripted *upstream, const char *config)
{
	_cleanup_free_ char *option = mem_printf("registry.test=%s", scripted_url(upstream, 0));

	return larder_with_admin(wire, "127.0.0.1:0", option, config);
}

static double indexed(struct larder *larder)
{
	_cleanup_free_ char *metrics = admin_metrics(larder);

	return metric_value(metrics, "larder_layers_indexed_total{outcome=\"made\"}");
}

static uint64_t upstream_bytes(struct larder *larder)
{
	_cleanup_free_ char *metrics = admin_metrics(larder);

	return (uint64_t)metric_sum(metrics, "larder_upstream_bytes_total", "");
}

static void get_file(struct larder *larder, const char *tag, unsigned number, const char *headers,
		     struct client_reply *reply)
{
	_cleanup_free_ char *target = mem_printf("/api/v1/file?ref=team/app:%s&path=/data/%u", tag, number);

	admin_ask(larder, "GET", target, headers, reply);
}

static void expect_file(struct larder *larder, const char *tag, unsigned number)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ unsigned char *data = mem_alloc(FILE_BYTES);

	get_file(larder, tag, number, NULL, &reply);
	assert_int_equal(reply.status, 200);
	assert_int_equal(reply.body_len, FILE_BYTES);
	fill(data, FILE_BYTES, number);
	assert_memory_equal(reply.body, data, FILE_BYTES);
}

WIRE_TEST(layer_that_images_share_is_indexed_once)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct scripted *upstream = wire_upstream(wire, NULL);
	struct buf layers[2] = {{0}, {0}};
	char digest[SCRIPTED_DIGEST_MAX];
	struct larder *larder;

	make_layer(3, &layers[0]);
	make_layer(1, &layers[1]);
	add_image(upstream, "base", layers, 1, digest);
	add_image(upstream, "app", layers, 2, digest);
	larder = start(wire, upstream, NULL);
	admin_ask(larder, "GET", "/api/v1/files?ref=team/app:base&path=data", NULL, &reply);
	assert_int_equal(reply.status, 200);
	assert_non_null(strstr(reply.body, "\"path\":\"/data/2\""));
	assert_true(indexed(larder) == 1);
	expect_file(larder, "app", 2);
	assert_true(indexed(larder) == 2);
	larder_stop(larder);
	larder_restart(larder);
	expect_file(larder, "app", 0);
	expect_file(larder, "base", 1);
	assert_true(indexed(larder) == 0);
	buf_dispose(&layers[0]);
	buf_dispose(&layers[1]);
}

WIRE_TEST(file_is_read_in_ranges)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct scripted *upstream = wire_upstream(wire, NULL);
	_cleanup_(buf_dispose) struct buf layer = {0};
	char digest[SCRIPTED_DIGEST_MAX];
	_cleanup_free_ unsigned char *data = mem_alloc(FILE_BYTES);
	struct larder *larder;

	make_layer(2, &layer);
	add_image(upstream, "v1", &layer, 1, digest);
	larder = start(wire, upstream, NULL);
	fill(data, FILE_BYTES, 1);
	get_file(larder, "v1", 1, "Range: bytes=1000-1999\r\n", &reply);
	assert_int_equal(reply.status, 206);
	expect_header(&reply, "Content-Range", "bytes 1000-1999/1048576");
	assert_int_equal(reply.body_len, 1000);
	assert_memory_equal(reply.body, data + 1000, 1000);
	client_reply_dispose(&reply);
	reply = (struct client_reply){0};
	get_file(larder, "v1", 1, "Range: bytes=-10\r\n", &reply);
	assert_int_equal(reply.status, 206);
	assert_memory_equal(reply.body, data + FILE_BYTES - 10, 10);
	client_reply_dispose(&reply);
	reply = (struct client_reply){0};
	get_file(larder, "v1", 1, "Range: bytes=1048576-\r\n", &reply);
	assert_int_equal(reply.status, 416);
	client_reply_dispose(&reply);
	reply = (struct client_reply){0};
	get_file(larder, "v1", 7, NULL, &reply);
	assert_int_equal(reply.status, 404);
}

WIRE_TEST(file_of_a_layer_that_is_not_held_costs_a_few_ranges)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	_cleanup_(buf_dispose) struct buf layer = {0};
	_cleanup_free_ char *target = NULL, *blob = NULL, *name = NULL;
	struct client_reply reply = {0};
	char digest[SCRIPTED_DIGEST_MAX];
	struct larder *larder;
	uint64_t before, all;

	make_layer(24, &layer);
	add_image(upstream, "v1", &layer, 1, digest);
	larder = start(wire, upstream, NULL);
	expect_file(larder, "v1", 0);
	larder_stop(larder);
	name = mem_printf("store/blobs/sha256/%.2s/%s", strchr(digest, ':') + 1, strchr(digest, ':') + 1);
	blob = wire_path(wire, name);
	assert_return_code(unlink(blob), 0);
	larder_restart(larder);

	all = upstream_bytes(larder);
	for (unsigned number = 0; number < 24; number += 5) {
		before = upstream_bytes(larder);
		expect_file(larder, "v1", number);
		assert_in_range(upstream_bytes(larder) - before, 1, 4 * MIB);
	}
	before = upstream_bytes(larder);
	expect_file(larder, "v1", 5);
	assert_int_equal(upstream_bytes(larder), before);
	/* The rest is fetched when a client wants the whole, and only the rest. */
	target = mem_printf("/v2/team/app/blobs/%s", digest);
	assert_true(larder_get(larder, target, &reply));
	assert_string_equal(reply.digest, digest);
	client_reply_dispose(&reply);
	assert_in_range(upstream_bytes(larder) - all, layer.len / 2, layer.len + 64 * 1024);
	expect_file(larder, "v1", 20);
	assert_true(indexed(larder) == 0);
}

WIRE_TEST(bytes_that_were_not_indexed_are_not_given)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	_cleanup_(buf_dispose) struct buf layer = {0};
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *blob = NULL, *name = NULL;
	char digest[SCRIPTED_DIGEST_MAX];
	struct larder *larder;

	make_layer(8, &layer);
	add_image(upstream, "v1", &layer, 1, digest);
	larder = start(wire, upstream, NULL);
	expect_file(larder, "v1", 0);
	larder_stop(larder);
	name = mem_printf("store/blobs/sha256/%.2s/%s", strchr(digest, ':') + 1, strchr(digest, ':') + 1);
	blob = wire_path(wire, name);
	assert_return_code(unlink(blob), 0);
	larder_restart(larder);
	scripted_add_rule(upstream,
			  &(struct scripted_rule){.path = "*/blobs/*", .flip = true, .flip_at = layer.len / 2});
	get_file(larder, "v1", 4, NULL, &reply);
	assert_int_not_equal(reply.status, 200);
	assert_non_null(strstr(reply.body, "not what was indexed"));
}

WIRE_TEST(layers_are_indexed_while_they_stream_in)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	_cleanup_(buf_dispose) struct buf layer = {0};
	struct client_reply reply = {0};
	_cleanup_free_ char *target = NULL;
	char digest[SCRIPTED_DIGEST_MAX];
	struct larder *larder;
	uint64_t until;

	make_layer(4, &layer);
	add_image(upstream, "v1", &layer, 1, digest);
	larder = start(wire, upstream, "layers: {index: while_filling}\n");
	target = mem_printf("/v2/team/app/blobs/%s", digest);
	assert_true(larder_get(larder, target, &reply));
	assert_int_equal(reply.status, 200);
	client_reply_dispose(&reply);
	until = clock_ms() + WIRE_WAIT_MS;
	while (indexed(larder) < 1 && clock_ms() < until)
		usleep(20000);
	assert_true(indexed(larder) == 1);
	expect_file(larder, "v1", 3);
	assert_true(indexed(larder) == 1);
}

WIRE_TEST(damaged_layer_is_named_and_still_served)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	_cleanup_(buf_dispose) struct buf layer = {0};
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct client_reply blob = {0};
	_cleanup_free_ char *target = NULL;
	char digest[SCRIPTED_DIGEST_MAX];
	struct larder *larder;

	make_layer(2, &layer);
	memset(layer.data + layer.len / 2, 0xff, 100);
	add_image(upstream, "v1", &layer, 1, digest);
	larder = start(wire, upstream, NULL);
	for (int i = 0; i < 2; i++) {
		get_file(larder, "v1", 0, NULL, &reply);
		assert_int_equal(reply.status, 422);
		assert_non_null(strstr(reply.body, digest));
		assert_non_null(strstr(reply.body, "bytes into the layer"));
		client_reply_dispose(&reply);
		reply = (struct client_reply){0};
		target = target ? target : mem_printf("/v2/team/app/blobs/%s", digest);
		assert_true(larder_get(larder, target, &blob));
		assert_string_equal(blob.digest, digest);
		client_reply_dispose(&blob);
		blob = (struct client_reply){0};
	}
}

/* A layer, not compressed, of small files with these names; each holds its own name. */
static void make_names(const char *const *names, struct buf *layer)
{
	layer->max = 1 << 20;
	for (size_t i = 0; names[i]; i++)
		tars_file(layer, names[i], names[i]);
	tars_end(layer);
}

/* With whose name a file is found that way. */
static void expect_text(struct larder *larder, const char *escaped, const char *text)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *target = mem_printf("/api/v1/file?ref=team/app:v1&path=%s", escaped);

	admin_ask(larder, "GET", target, NULL, &reply);
	assert_int_equal(reply.status, 200);
	assert_string_equal(reply.body, text);
}

WIRE_TEST(file_is_found_by_any_bytes_in_its_name)
{
	static const char *const names[] = {"a\nb", "\033[31m", "d/\xff\xfe", "d/\xef\xbf\xbd", "a+b&c=%41", NULL};
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct scripted *upstream = wire_upstream(wire, NULL);
	_cleanup_(buf_dispose) struct buf layer = {0};
	_cleanup_free_ char *admin = NULL, *listed = NULL, *printed = NULL;
	char digest[SCRIPTED_DIGEST_MAX];
	struct larder *larder;

	make_names(names, &layer);
	add_image(upstream, "v1", &layer, 1, digest);
	larder = start(wire, upstream, NULL);
	expect_text(larder, "a%0Ab", "a\nb");
	expect_text(larder, "%2F%1b%5b31m", "\033[31m");
	expect_text(larder, "d/%FF%fe", "d/\xff\xfe");
	expect_text(larder, "d/%EF%BF%BD", "d/\xef\xbf\xbd");
	expect_text(larder, "a%2Bb%26c%3D%2541", "a+b&c=%41");
	admin_ask(larder, "GET", "/api/v1/file?ref=team/app:v1&path=a%00b", NULL, &reply);
	assert_int_equal(reply.status, 400);
	/* Where the two are shown alike, the bytes stand beside. */
	admin_ask(larder, "GET", "/api/v1/files?ref=team/app:v1&path=d", NULL, &reply);
	assert_non_null(strstr(reply.body, "\"path\":\"/d/\\ufffd\\ufffd\",\"path_escaped\":\"%2Fd%2F%FF%FE\","));
	assert_non_null(strstr(reply.body, "\"path\":\"/d/\xef\xbf\xbd\",\"type\""));

	admin = mem_printf("http://127.0.0.1:%u", admin_port(larder));
	assert_int_equal(
		wire_run(wire, (const char *[]){"files", "--admin", admin, "-r", "team/app:v1", NULL}, &listed), 0);
	assert_string_equal(listed, "/\\033[31m\n/a\\012b\n/a+b&c=%41\n/d/\n/d/\xef\xbf\xbd\n/d/\\377\\376\n");
	assert_int_equal(
		wire_run(wire, (const char *[]){"cat", "--admin", admin, "team/app:v1", "/d/\xff\xfe", NULL}, &printed),
		0);
	assert_string_equal(printed, "d/\xff\xfe");
}

WIRE_TEST(file_is_found_by_a_path_as_long_as_they_may_be)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	_cleanup_(buf_dispose) struct buf layer = {.max = 1 << 20}, record = {0}, target = {0};
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	char digest[SCRIPTED_DIGEST_MAX], path[LAYER_PATH_MAX + 1] = "";
	struct larder *larder;

	/* Parts of 8 bytes, of which a URL has 24. */
	for (size_t i = 0; i < LAYER_PATH_MAX; i++)
		path[i] = (i + 1) % 8 ? '\x80' : '/';
	path[LAYER_PATH_MAX - 1] = 'x';
	buf_printf(&record, "%zu path=%s\n", LAYER_PATH_MAX + 11, path);
	tars_pax(&layer, record.data, record.len);
	tars_file(&layer, "short", "found");
	tars_end(&layer);
	add_image(upstream, "v1", &layer, 1, digest);
	larder = start(wire, upstream, NULL);
	buf_append_text(&target, "/api/v1/file?ref=team/app:v1&path=");
	for (const char *at = path; *at; at++)
		buf_printf(&target, "%%%02X", (unsigned char)*at);
	admin_ask(larder, "GET", target.data, NULL, &reply);
	assert_int_equal(reply.status, 200);
	assert_string_equal(reply.body, "found");
}

static double views(struct larder *larder, const char *outcome)
{
	_cleanup_free_ char *series = mem_printf("larder_image_views_total{outcome=\"%s\"}", outcome);
	_cleanup_free_ char *metrics = admin_metrics(larder);

	return metric_value(metrics, series);
}

WIRE_TEST(image_is_put_together_once_for_who_looks_again)
{
	static const char *const names[] = {"a", "b", NULL}, *const others[] = {"c", NULL};
	struct scripted *upstream = wire_upstream(wire, NULL);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct buf layers[2] = {{0}, {0}};
	_cleanup_free_ char *index = NULL, *name = NULL;
	char digest[SCRIPTED_DIGEST_MAX];
	struct larder *larder;

	make_names(names, &layers[0]);
	make_names(others, &layers[1]);
	add_image(upstream, "v1", layers, 1, digest);
	name = mem_printf("store/layers/sha256-%s", strchr(digest, ':') + 1);
	add_image(upstream, "v2", layers, 2, digest);
	larder = start(wire, upstream, NULL);
	expect_text(larder, "a", "a");
	expect_text(larder, "b", "b");
	assert_true(views(larder, "made") == 1);
	assert_true(views(larder, "kept") == 1);
	admin_ask(larder, "GET", "/api/v1/diff?from=team/app:v1&to=team/app:v2", NULL, &reply);
	assert_int_equal(reply.status, 200);
	assert_non_null(strstr(reply.body, "\"change\":\"added\",\"path\":\"/c\""));
	assert_true(views(larder, "made") == 2);
	assert_true(views(larder, "kept") == 2);
	/* What larder has forgotten of the layer is not answered out of memory. */
	index = wire_path(wire, name);
	assert_return_code(unlink(index), 0);
	expect_text(larder, "a", "a");
	assert_true(views(larder, "made") == 3);
	assert_true(indexed(larder) == 3);
	buf_dispose(&layers[0]);
	buf_dispose(&layers[1]);
}

WIRE_TEST(checkpoints_are_as_far_apart_as_the_option_says)
{
	static const char *const few[] = {"--admin", "127.0.0.1:0", "--checkpoint", "8MiB", NULL};
	static const char *const many[] = {"--admin", "127.0.0.1:0", "--checkpoint", "1MiB", NULL};
	struct scripted *upstream = wire_upstream(wire, NULL);
	_cleanup_free_ char *option = mem_printf("registry.test=%s", scripted_url(upstream, 0));
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_(buf_dispose) struct buf layer = {0};
	_cleanup_free_ char *said = NULL;
	char digest[SCRIPTED_DIGEST_MAX];
	struct larder *larder;

	make_layer(16, &layer);
	add_image(upstream, "v1", &layer, 1, digest);
	larder = wire_larder(wire, &(struct larder_options){.upstream = option, .arguments = few});
	admin_ask(larder, "GET", "/api/v1/files?ref=team/app:v1", NULL, &reply);
	assert_non_null(strstr(reply.body, "\"checkpoints\":3,"));
	larder_stop(larder);
	larder_restart(larder);
	admin_ask(larder, "GET", "/api/v1/files?ref=team/app:v1", NULL, &reply);
	assert_non_null(strstr(reply.body, "\"checkpoints\":3,"));
	assert_true(indexed(larder) == 0);
	larder_stop(larder);
	/* Another interval wants another index. */
	larder = wire_larder(wire, &(struct larder_options){.upstream = option, .arguments = many});
	admin_ask(larder, "GET", "/api/v1/files?ref=team/app:v1", NULL, &reply);
	assert_non_null(strstr(reply.body, "\"checkpoints\":17,"));
	assert_true(indexed(larder) == 1);
	expect_file(larder, "v1", 9);
	assert_int_equal(wire_run(wire, (const char *[]){"serve", "--checkpoint", "9MiB", NULL}, &said), 2);
	assert_non_null(strstr(said, "layers.checkpoint"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(layer_that_images_share_is_indexed_once),
		WIRE_CASE(file_is_read_in_ranges),
		WIRE_CASE(file_of_a_layer_that_is_not_held_costs_a_few_ranges),
		WIRE_CASE(bytes_that_were_not_indexed_are_not_given),
		WIRE_CASE(layers_are_indexed_while_they_stream_in),
		WIRE_CASE(damaged_layer_is_named_and_still_served),
		WIRE_CASE(file_is_found_by_any_bytes_in_its_name),
		WIRE_CASE(file_is_found_by_a_path_as_long_as_they_may_be),
		WIRE_CASE(image_is_put_together_once_for_who_looks_again),
		WIRE_CASE(checkpoints_are_as_far_apart_as_the_option_says),
	};
	return cmocka_run_group_tests_name("files", tests, NULL, NULL);
}
