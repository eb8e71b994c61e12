/* SPDX-License-Identifier: Apache-2.0 */
/* Files inside images: what is listed, found, read and compared. */
#include "tests/wire/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

WIRE_TEST(file_is_read_in_ranges)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct scripted *upstream = wire_upstream(wire, NULL);
	_cleanup_(buf_dispose) struct buf layer = {0};
	char digest[SCRIPTED_DIGEST_MAX];
	_cleanup_free_ unsigned char *data = mem_alloc(FILES_BYTES);
	struct larder *larder;

	files_make_layer(2, &layer);
	files_add_image(upstream, "v1", &layer, 1, digest);
	larder = files_start(wire, upstream, NULL);
	files_fill(data, 1);
	files_get(larder, "v1", 1, "Range: bytes=1000-1999\r\n", &reply);
	assert_int_equal(reply.status, 206);
	expect_header(&reply, "Content-Range", "bytes 1000-1999/1048576");
	assert_int_equal(reply.body_len, 1000);
	assert_memory_equal(reply.body, data + 1000, 1000);
	client_reply_dispose(&reply);
	reply = (struct client_reply){0};
	files_get(larder, "v1", 1, "Range: bytes=-10\r\n", &reply);
	assert_int_equal(reply.status, 206);
	assert_memory_equal(reply.body, data + FILES_BYTES - 10, 10);
	client_reply_dispose(&reply);
	reply = (struct client_reply){0};
	files_get(larder, "v1", 1, "Range: bytes=1048576-\r\n", &reply);
	assert_int_equal(reply.status, 416);
	client_reply_dispose(&reply);
	reply = (struct client_reply){0};
	files_get(larder, "v1", 7, NULL, &reply);
	assert_int_equal(reply.status, 404);
}

WIRE_TEST(file_that_the_client_has_is_not_sent_again)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	struct client_reply reply = {0};
	struct buf layers[2] = {{0}, {0}};
	_cleanup_free_ char *etag = NULL, *headers = NULL;
	char digest[SCRIPTED_DIGEST_MAX];
	struct larder *larder;

	files_make_layer(1, &layers[0]);
	files_make_layer(2, &layers[1]);
	files_add_image(upstream, "v1", &layers[0], 1, digest);
	files_add_image(upstream, "v2", &layers[1], 1, digest);
	larder = files_start(wire, upstream, NULL);
	files_get(larder, "v1", 0, NULL, &reply);
	etag = client_reply_header(&reply, "ETag");
	assert_non_null(etag);
	client_reply_dispose(&reply);
	headers = mem_printf("Range: bytes=1000-\r\nIf-Range: %s\r\n", etag);
	reply = (struct client_reply){0};
	files_get(larder, "v1", 0, headers, &reply);
	assert_int_equal(reply.status, 206);
	expect_header(&reply, "ETag", etag);
	client_reply_dispose(&reply);
	reply = (struct client_reply){0};
	/* Of another layer. */
	files_get(larder, "v2", 0, headers, &reply);
	assert_int_equal(reply.status, 200);
	assert_int_equal(reply.body_len, FILES_BYTES);
	client_reply_dispose(&reply);
	free(headers);
	/* What the client has goes before what it wants of it. */
	headers = mem_printf("Range: bytes=1000-\r\nIf-None-Match: \"other\", W/%s\r\n", etag);
	reply = (struct client_reply){0};
	files_get(larder, "v1", 0, headers, &reply);
	assert_int_equal(reply.status, 304);
	assert_int_equal(reply.body_len, 0);
	expect_header(&reply, "ETag", etag);
	client_reply_dispose(&reply);
	reply = (struct client_reply){0};
	files_get(larder, "v2", 0, headers, &reply);
	assert_int_equal(reply.status, 206);
	client_reply_dispose(&reply);
	buf_dispose(&layers[0]);
	buf_dispose(&layers[1]);
}

WIRE_TEST(diff_reads_files_that_look_alike)
{
	static const char *const alike = "{\"change\":\"changed\",\"path\":\"/version\",\"what\":[\"content\"],";
	struct scripted *upstream = wire_upstream(wire, NULL);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct buf layers[2] = {{.max = 1 << 20}, {.max = 1 << 20}};
	char digest[SCRIPTED_DIGEST_MAX];
	struct larder *larder;

	/* Of one size and one time, as builds are that can be repeated. */
	for (int i = 0; i < 2; i++) {
		tars_file(&layers[i], "same", "text");
		tars_file(&layers[i], "version", i ? "1.2.4" : "1.2.3");
		tars_end(&layers[i]);
	}
	files_add_image(upstream, "v1", &layers[0], 1, digest);
	files_add_image(upstream, "v2", &layers[1], 1, digest);
	larder = files_start(wire, upstream, NULL);
	admin_ask(larder, "GET", "/api/v1/diff?from=team/app:v1&to=team/app:v2", NULL, &reply);
	assert_int_equal(reply.status, 200);
	assert_non_null(strstr(reply.body, alike));
	assert_null(strstr(reply.body, "/same"));
	buf_dispose(&layers[0]);
	buf_dispose(&layers[1]);
}

/* Of 9e18 bytes, of which the last two alone are in the layer. */
static void make_holes(const char *text, const char *beside, struct buf *layer)
{
	static const char map[] = "22 GNU.sparse.major=0\n22 GNU.sparse.minor=1\n"
				  "39 GNU.sparse.size=9000000000000000000\n"
				  "40 GNU.sparse.map=8999999999999999998,2\n";

	layer->max = 1 << 20;
	tars_pax(layer, map, strlen(map));
	tars_file(layer, "holes", text);
	tars_file(layer, beside, "");
	tars_end(layer);
}

WIRE_TEST(diff_passes_over_what_is_a_hole_in_both)
{
	static const char *const texts[] = {"ab", "ab", "ac"}, *const beside[] = {"a", "b", "c"};
	struct scripted *upstream = wire_upstream(wire, NULL);
	struct client_reply reply = {0};
	struct buf layers[3] = {{0}, {0}, {0}};
	char digest[SCRIPTED_DIGEST_MAX];
	struct larder *larder;

	for (int i = 0; i < 3; i++)
		make_holes(texts[i], beside[i], &layers[i]);
	files_add_image(upstream, "v1", &layers[0], 1, digest);
	files_add_image(upstream, "v2", &layers[1], 1, digest);
	files_add_image(upstream, "v3", &layers[2], 1, digest);
	larder = files_start(wire, upstream, NULL);
	admin_ask(larder, "GET", "/api/v1/diff?from=team/app:v1&to=team/app:v2", NULL, &reply);
	assert_int_equal(reply.status, 200);
	assert_non_null(strstr(reply.body, "\"change\":\"added\",\"path\":\"/b\""));
	assert_null(strstr(reply.body, "/holes"));
	client_reply_dispose(&reply);
	reply = (struct client_reply){0};
	admin_ask(larder, "GET", "/api/v1/diff?from=team/app:v1&to=team/app:v3", NULL, &reply);
	assert_int_equal(reply.status, 200);
	assert_non_null(strstr(reply.body, "\"path\":\"/holes\",\"what\":[\"content\"]"));
	client_reply_dispose(&reply);
	for (int i = 0; i < 3; i++)
		buf_dispose(&layers[i]);
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
	files_add_image(upstream, "v1", &layer, 1, digest);
	larder = files_start(wire, upstream, NULL);
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
	files_add_image(upstream, "v1", &layer, 1, digest);
	larder = files_start(wire, upstream, NULL);
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
	files_add_image(upstream, "v1", layers, 1, digest);
	name = mem_printf("store/layers/sha256-%s", strchr(digest, ':') + 1);
	files_add_image(upstream, "v2", layers, 2, digest);
	larder = files_start(wire, upstream, NULL);
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
	assert_true(files_indexed(larder) == 3);
	buf_dispose(&layers[0]);
	buf_dispose(&layers[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(file_is_read_in_ranges),
		WIRE_CASE(file_that_the_client_has_is_not_sent_again),
		WIRE_CASE(diff_reads_files_that_look_alike),
		WIRE_CASE(diff_passes_over_what_is_a_hole_in_both),
		WIRE_CASE(file_is_found_by_any_bytes_in_its_name),
		WIRE_CASE(file_is_found_by_a_path_as_long_as_they_may_be),
		WIRE_CASE(image_is_put_together_once_for_who_looks_again),
	};
	return cmocka_run_group_tests_name("files", tests, NULL, NULL);
}
