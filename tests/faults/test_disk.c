/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk that stops taking writes under a running larder, and later takes them again: it is full, fails, or was
 * remounted read-only. Pulls go on, larder says once that it keeps nothing and once that it does again, and it needs
 * nobody's help.
 */
#include "tests/faults/bed.h"
#include "tests/faults/sound.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "tests/wire/expect.h"
#include "tests/wire/harness_process.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define IMAGES     4
#define LAYER_SIZE MIB
#define ANSWERS    4

/* The last that was said of it. */
static bool ends_with_room(const char *log)
{
	static const char bad[] = "passed on without being kept", good[] = "takes blobs again";
	const char *last_bad = strstr(log, bad), *last_good = strstr(log, good);

	assert_non_null(last_bad);
	while (last_bad && strstr(last_bad + 1, bad))
		last_bad = strstr(last_bad + 1, bad);
	while (last_good && strstr(last_good + 1, good))
		last_good = strstr(last_good + 1, good);
	return last_good > last_bad;
}

static void expect_image(uint16_t port, const char *tag)
{
	struct pull_result result = {0};

	bed_pull(port, tag, &result);
	assert_int_equal(result.right, ANSWERS);
}

/* Bytes of layers that the upstream had to send for one pull of the image. */
static uint64_t upstream_bytes(struct scripted *upstream, uint16_t port, const char *tag)
{
	scripted_clear_log(upstream);
	expect_image(port, tag);
	return scripted_body_sent(upstream, "GET", "*/blobs/*");
}

/* It is written behind the answers. */
static void expect_kept_soon(struct scripted *upstream, uint16_t port, const char *tag)
{
	for (unsigned waited = 0; upstream_bytes(upstream, port, tag) > 0 && waited < 100; waited++)
		usleep(50000);
	assert_int_equal(upstream_bytes(upstream, port, tag), 0);
}

static void go_through(struct wire *wire, const char *kind)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	_cleanup_free_ char *store = wire_path(wire, "store"), *flag = wire_path(wire, "bad");
	_cleanup_free_ char *log = NULL;
	struct fault fault = {.kind = kind, .during = flag};
	struct larder *larder;
	uint16_t port;
	int status;

	bed_add_images(upstream, IMAGES, LAYER_SIZE);
	larder = bed_start(wire, upstream, &fault, NULL);
	port = bed_port(larder);
	assert_int_not_equal(port, 0);
	expect_kept_soon(upstream, port, "v0");

	free(wire_write_file(wire, "bad", ""));
	expect_image(port, "v1");
	expect_image(port, "v2");
	/* What was kept is served, and what was not is fetched again. */
	assert_int_equal(upstream_bytes(upstream, port, "v0"), 0);
	assert_true(upstream_bytes(upstream, port, "v1") >= 2 * LAYER_SIZE);

	assert_int_equal(unlink(flag), 0);
	expect_kept_soon(upstream, port, "v3");
	expect_kept_soon(upstream, port, "v1");

	assert_true(process_finish(larder, WIRE_WAIT_MS, &status));
	assert_int_equal(status, 0);
	log = larder_output(larder, 2);
	assert_true(ends_with_room(log));
	process_free(larder);
	assert_true(store_is_sound(store));
}

WIRE_TEST(full_disk_is_passed_by_until_there_is_room_again)
{
	go_through(wire, "ENOSPC");
}

WIRE_TEST(read_only_disk_is_passed_by_until_it_can_be_written_again)
{
	go_through(wire, "EROFS");
}

WIRE_TEST(failing_disk_is_passed_by_until_it_works_again)
{
	go_through(wire, "EIO");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(full_disk_is_passed_by_until_there_is_room_again),
		WIRE_CASE(read_only_disk_is_passed_by_until_it_can_be_written_again),
		WIRE_CASE(failing_disk_is_passed_by_until_it_works_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
