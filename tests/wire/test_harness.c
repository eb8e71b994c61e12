/* SPDX-License-Identifier: Apache-2.0 */
/* The harness itself, with shell scripts in larder's place. */
#include "tests/wire/harness.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <signal.h>
#include <string.h>
#include <sys/stat.h>

/* The scripts get `serve --listen ADDRESS --store DIR …` as larder does. */
static struct larder *script_start(struct wire *wire, const char *text)
{
	_cleanup_free_ char *path = wire_write_file(wire, "program", text);
	struct larder_options options = {.program = path, .listeners = 2};
	assert_int_equal(chmod(path, 0700), 0);
	return wire_larder(wire, &options);
}

/* Once a program says that it listens, it must be ready for signals too. */
#define SHELL "#!/bin/sh\n"
#define LISTENS                                                                                                        \
	"echo \"info: listening on 127.0.0.1:4711\" >&2\n"                                                             \
	"echo \"listening on 127.0.0.1:4712 (admin)\" >&2\n"
#define STAYS "while :; do read x <\"$7.fifo\"; done\n"

WIRE_TEST(harness_learns_the_ports_from_the_log)
{
	struct larder *larder =
		script_start(wire, SHELL "trap 'exit 0' TERM\nmkfifo \"$7.fifo\"\n" LISTENS "echo \"$@\"\n" STAYS);
	_cleanup_free_ char *said =
		mem_printf("serve --listen 127.0.0.1:0 --admin off --store %s/store", wire->directory);
	assert_int_equal(larder_port(larder), 4711);
	assert_string_equal(larder_address(larder, 1), "127.0.0.1:4712");
	assert_true(larder_wait_output(larder, said, WIRE_WAIT_MS));
	assert_true(larder_rss(larder) > 0);
	larder_stop(larder);
	larder_restart(larder);
	assert_int_equal(larder_port(larder), 4711);
}

WIRE_TEST(harness_tells_exit_statuses)
{
	struct larder *larder = script_start(wire, SHELL LISTENS "exit 5\n");
	assert_int_equal(larder_wait(larder, WIRE_WAIT_MS), 5);
}

WIRE_TEST(harness_kills_and_starts_again)
{
	struct larder *larder = script_start(wire, SHELL "trap '' TERM\nmkfifo \"$7.fifo\"\n" LISTENS STAYS);
	larder_kill(larder);
	larder_restart(larder);
	larder_kill(larder);
}

/* Faults of the program are faults of the test: shown by running a test's teardown on a wire of our own. */
static int teardown_after(const char *script)
{
	struct wire *inner = NULL;
	assert_int_equal(wire_setup((void **)&inner), 0);
	struct larder *larder = script_start(inner, script);
	larder_wait_output(larder, "never said", 200);
	inner->passed = true;
	return wire_teardown((void **)&inner);
}

WIRE_TEST(harness_fails_a_test_whose_larder_crashes)
{
	(void)wire;
	assert_int_equal(teardown_after(SHELL LISTENS "kill -SEGV $$\n"), -1);
	assert_int_equal(teardown_after(SHELL LISTENS "exit 99\n"), -1);
	assert_int_equal(teardown_after(SHELL LISTENS "echo 'x.c:1: runtime error: y' >&2; exit 0\n"), -1);
	assert_int_equal(teardown_after(SHELL LISTENS "exit 0\n"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(harness_learns_the_ports_from_the_log),
		WIRE_CASE(harness_tells_exit_statuses),
		WIRE_CASE(harness_kills_and_starts_again),
		WIRE_CASE(harness_fails_a_test_whose_larder_crashes),
	};
	return cmocka_run_group_tests_name("harness", tests, NULL, NULL);
}
