/* SPDX-License-Identifier: Apache-2.0 */
/* Indexes of layers: when they are made, and what reading through them costs. */
#include "tests/wire/files.h"

#include "base/clock.h"

#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static uint64_t upstream_bytes(struct larder *larder)
{
	_cleanup_free_ char *metrics = admin_metrics(larder);

	return (uint64_t)metric_sum(metrics, "larder_upstream_bytes_total", "");
}

/* Takes the layer's bytes out of the store; its index stays. */
static void lose_layer(struct wire *wire, struct larder *larder, const char *digest)
{
	const char *hex = strchr(digest, ':') + 1;
	_cleanup_free_ char *name = mem_printf("store/blobs/sha256/%.2s/%s", hex, hex), *blob = wire_path(wire, name);

	larder_stop(larder);
	assert_return_code(unlink(blob), 0);
	larder_restart(larder);
}

WIRE_TEST(layer_that_images_share_is_indexed_once)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct scripted *upstream = wire_upstream(wire, NULL);
	struct buf layers[2] = {{0}, {0}};
	char digest[SCRIPTED_DIGEST_MAX];
	struct larder *larder;

	files_make_layer(3, &layers[0]);
	files_make_layer(1, &layers[1]);
	files_add_image(upstream, "base", layers, 1, digest);
	files_add_image(upstream, "app", layers, 2, digest);
	larder = files_start(wire, upstream, NULL);
	admin_ask(larder, "GET", "/api/v1/files?ref=team/app:base&path=data", NULL, &reply);
	assert_int_equal(reply.status, 200);
	assert_non_null(strstr(reply.body, "\"path\":\"/data/2\""));
	assert_true(files_indexed(larder) == 1);
	files_expect(larder, "app", 2);
	assert_true(files_indexed(larder) == 2);
	larder_stop(larder);
	larder_restart(larder);
	files_expect(larder, "app", 0);
	files_expect(larder, "base", 1);
	assert_true(files_indexed(larder) == 0);
	buf_dispose(&layers[0]);
	buf_dispose(&layers[1]);
}

WIRE_TEST(file_of_a_layer_that_is_not_held_costs_a_few_ranges)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	_cleanup_(buf_dispose) struct buf layer = {0};
	_cleanup_free_ char *target = NULL;
	struct client_reply reply = {0};
	char digest[SCRIPTED_DIGEST_MAX];
	struct larder *larder;
	uint64_t before, all;

	files_make_layer(24, &layer);
	files_add_image(upstream, "v1", &layer, 1, digest);
	larder = files_start(wire, upstream, NULL);
	files_expect(larder, "v1", 0);
	lose_layer(wire, larder, digest);

	all = upstream_bytes(larder);
	for (unsigned number = 0; number < 24; number += 5) {
		before = upstream_bytes(larder);
		files_expect(larder, "v1", number);
		assert_in_range(upstream_bytes(larder) - before, 1, 4 * MIB);
	}
	before = upstream_bytes(larder);
	files_expect(larder, "v1", 5);
	assert_int_equal(upstream_bytes(larder), before);
	/* The rest is fetched when a client wants the whole, and only the rest. */
	target = mem_printf("/v2/team/app/blobs/%s", digest);
	assert_true(larder_get(larder, target, &reply));
	assert_string_equal(reply.digest, digest);
	client_reply_dispose(&reply);
	assert_in_range(upstream_bytes(larder) - all, layer.len / 2, layer.len + 64 * 1024);
	files_expect(larder, "v1", 20);
	assert_true(files_indexed(larder) == 0);
}

/* The first file of a layer that is not held, of an upstream that answers this to the ranges: it is given all the same,
 * and the layer is held whole then. */
static void expect_whole_instead(struct wire *wire, struct scripted_rule rule)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	_cleanup_(buf_dispose) struct buf layer = {0};
	_cleanup_free_ char *name = NULL, *blob = NULL;
	char digest[SCRIPTED_DIGEST_MAX];
	const char *hex = digest + strlen("sha256:");
	struct larder *larder;
	int id;

	files_make_layer(8, &layer);
	files_add_image(upstream, "v1", &layer, 1, digest);
	larder = files_start(wire, upstream, NULL);
	files_expect(larder, "v1", 0);
	lose_layer(wire, larder, digest);
	name = mem_printf("store/blobs/sha256/%.2s/%s", hex, hex);
	blob = wire_path(wire, name);
	rule.path = "*/blobs/*";
	rule.with_header = "Range";
	rule.no_length = true;
	id = scripted_add_rule(upstream, &rule);
	files_expect(larder, "v1", 0);
	/* The part, and perhaps the rest of the whole. */
	assert_in_range(scripted_rule_applied(upstream, id), 1, 2);
	assert_return_code(access(blob, F_OK), 0);
}

WIRE_TEST(range_that_is_answered_with_nothing_is_not_asked_for_again)
{
	expect_whole_instead(wire, (struct scripted_rule){.status = 200, .body = ""});
}

WIRE_TEST(range_that_is_answered_with_the_whole_is_not_written_beyond_its_end)
{
	expect_whole_instead(wire, (struct scripted_rule){.ignore_range = true});
}

WIRE_TEST(bytes_that_were_not_indexed_are_not_given)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	_cleanup_(buf_dispose) struct buf layer = {0};
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	char digest[SCRIPTED_DIGEST_MAX];
	struct larder *larder;

	files_make_layer(8, &layer);
	files_add_image(upstream, "v1", &layer, 1, digest);
	larder = files_start(wire, upstream, NULL);
	files_expect(larder, "v1", 0);
	lose_layer(wire, larder, digest);
	scripted_add_rule(upstream,
			  &(struct scripted_rule){.path = "*/blobs/*", .flip = true, .flip_at = layer.len / 2});
	files_get(larder, "v1", 4, NULL, &reply);
	assert_int_not_equal(reply.status, 200);
	assert_non_null(strstr(reply.body, "not what was indexed"));
}

/* Those that run only where no other wants to. */
static int idle_threads(struct larder *larder)
{
	_cleanup_free_ char *path = mem_printf("/proc/%d/task", (int)larder_pid(larder));
	DIR *threads = opendir(path);
	struct dirent *thread;
	int count = 0;

	assert_non_null(threads);
	while ((thread = readdir(threads)))
		count += thread->d_name[0] != '.' && sched_getscheduler(atoi(thread->d_name)) == SCHED_IDLE;
	closedir(threads);
	return count;
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

	files_make_layer(4, &layer);
	files_add_image(upstream, "v1", &layer, 1, digest);
	larder = files_start(wire, upstream, "layers: {index: while_filling}\n");
	target = mem_printf("/v2/team/app/blobs/%s", digest);
	assert_true(larder_get(larder, target, &reply));
	assert_int_equal(reply.status, 200);
	client_reply_dispose(&reply);
	until = clock_ms() + WIRE_WAIT_MS;
	while (files_indexed(larder) < 1 && clock_ms() < until)
		usleep(20000);
	assert_true(files_indexed(larder) == 1);
	assert_int_equal(idle_threads(larder), 1);
	files_expect(larder, "v1", 3);
	assert_true(files_indexed(larder) == 1);
}

WIRE_TEST(layer_that_is_being_indexed_is_waited_for_and_not_indexed_twice)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	_cleanup_(buf_dispose) struct buf layer = {0};
	_cleanup_free_ char *target = NULL;
	_cleanup_free_ unsigned char *data = mem_alloc(FILES_BYTES);
	struct client_reply pulled = {0}, looked = {0};
	struct client *puller, *looker;
	char digest[SCRIPTED_DIGEST_MAX], first;
	struct larder *larder;
	int rule;

	files_make_layer(8, &layer);
	files_add_image(upstream, "v1", &layer, 1, digest);
	larder = files_start(wire, upstream, "layers: {index: while_filling}\n");
	rule = scripted_add_rule(
		upstream, &(struct scripted_rule){.path = "*/blobs/*", .stall = true, .stall_at = layer.len / 2});
	target = mem_printf("/v2/team/app/blobs/%s", digest);
	puller = client_connect("127.0.0.1", larder_port(larder), WIRE_WAIT_MS);
	assert_true(client_send(puller, &(struct client_request){.target = target}));
	assert_true(client_read_head(puller, &pulled));
	assert_int_equal(client_read_body(puller, &first, 1), 1);
	looker = client_connect("127.0.0.1", admin_port(larder), WIRE_WAIT_MS);
	assert_true(
		client_send(looker, &(struct client_request){.target = "/api/v1/file?ref=team/app:v1&path=/data/7"}));
	scripted_release(upstream, rule);
	assert_true(client_read_head(looker, &looked));
	assert_int_equal(looked.status, 200);
	for (size_t done = 0; done < FILES_BYTES;) {
		ssize_t got = client_read_body(looker, data + done, FILES_BYTES - done);

		assert_true(got > 0);
		done += (size_t)got;
	}
	files_expect_bytes(data, 7);
	assert_true(files_indexed(larder) == 1);
	client_close(puller);
	client_close(looker);
	client_reply_dispose(&pulled);
	client_reply_dispose(&looked);
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

	files_make_layer(2, &layer);
	memset(layer.data + layer.len / 2, 0xff, 100);
	files_add_image(upstream, "v1", &layer, 1, digest);
	larder = files_start(wire, upstream, NULL);
	for (int i = 0; i < 2; i++) {
		files_get(larder, "v1", 0, NULL, &reply);
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

	files_make_layer(16, &layer);
	files_add_image(upstream, "v1", &layer, 1, digest);
	larder = wire_larder(wire, &(struct larder_options){.upstream = option, .arguments = few});
	admin_ask(larder, "GET", "/api/v1/files?ref=team/app:v1", NULL, &reply);
	assert_non_null(strstr(reply.body, "\"checkpoints\":3,"));
	larder_stop(larder);
	larder_restart(larder);
	admin_ask(larder, "GET", "/api/v1/files?ref=team/app:v1", NULL, &reply);
	assert_non_null(strstr(reply.body, "\"checkpoints\":3,"));
	assert_true(files_indexed(larder) == 0);
	larder_stop(larder);
	/* Another interval wants another index. */
	larder = wire_larder(wire, &(struct larder_options){.upstream = option, .arguments = many});
	admin_ask(larder, "GET", "/api/v1/files?ref=team/app:v1", NULL, &reply);
	assert_non_null(strstr(reply.body, "\"checkpoints\":17,"));
	assert_true(files_indexed(larder) == 1);
	files_expect(larder, "v1", 9);
	assert_int_equal(wire_run(wire, (const char *[]){"serve", "--checkpoint", "9MiB", NULL}, &said), 2);
	assert_non_null(strstr(said, "layers.checkpoint"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(layer_that_images_share_is_indexed_once),
		WIRE_CASE(file_of_a_layer_that_is_not_held_costs_a_few_ranges),
		WIRE_CASE(range_that_is_answered_with_nothing_is_not_asked_for_again),
		WIRE_CASE(range_that_is_answered_with_the_whole_is_not_written_beyond_its_end),
		WIRE_CASE(bytes_that_were_not_indexed_are_not_given),
		WIRE_CASE(layers_are_indexed_while_they_stream_in),
		WIRE_CASE(layer_that_is_being_indexed_is_waited_for_and_not_indexed_twice),
		WIRE_CASE(damaged_layer_is_named_and_still_served),
		WIRE_CASE(checkpoints_are_as_far_apart_as_the_option_says),
	};
	return cmocka_run_group_tests_name("layers", tests, NULL, NULL);
}
