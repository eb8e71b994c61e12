/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Power cuts. Once computed: larder's calls on its store are written down while it pulls images and makes room, and for
 * every call, and several fortunes of what was not synced, the store that is left is made and looked at. And once for
 * real: a file system in a file, of which a copy is mounted that has what was written to its device and nothing else.
 *
 * POWER_CUT_STRIDE=N takes each Nth call alone; 1 is all of them.
 */
#include "tests/faults/bed.h"
#include "tests/faults/replay.h"
#include "tests/faults/sound.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "tests/wire/harness_process.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define IMAGES     4
#define LAYERS     2
#define LAYER_SIZE 300000
#define ANSWERS    (2 + LAYERS)
#define MAX_SIZE   "2MiB" /* room for two of the images */
#define DICE       3

static const char *const tags[] = {"v0", "v1", "v2", "v3", NULL};
static const char *const limits[] = {"--max-size", MAX_SIZE, NULL};

static struct scripted *start_upstream(struct wire *wire)
{
	struct scripted *upstream = wire_upstream(wire, NULL);

	bed_add_images(upstream, IMAGES, LAYER_SIZE);
	return upstream;
}

static void expect_all_right(const struct faulted *faulted)
{
	if (!WIFEXITED(faulted->status) || WEXITSTATUS(faulted->status) != 0 || faulted->pull.right != IMAGES * ANSWERS)
		fail_msg("status 0x%x, %u right, %u refused, %u wrong\n%s", (unsigned)faulted->status,
			 faulted->pull.right, faulted->pull.refused, faulted->pull.wrong, faulted->log);
}

static size_t stride(size_t usual)
{
	const char *given = getenv("POWER_CUT_STRIDE");

	return given ? strtoul(given, NULL, 10) : usual;
}

/* What is left is sound, and sometimes a larder goes on with it. */
static void look_at(struct wire *wire, struct scripted *upstream, const struct replay *replay, size_t calls,
		    unsigned fortune, bool live)
{
	static const char *const names[] = {"all lost", "bytes lost", "some lost", "none lost"};
	_cleanup_free_ char *store = wire_path(wire, "store");
	enum replay_loss loss = fortune < REPLAY_SOME_LOST ? fortune : REPLAY_SOME_LOST;
	struct faulted next;

	if (!replay_make(replay, calls, loss, (unsigned)(calls * 100 + fortune), store))
		fail_msg("the store cannot be made");
	if (!store_is_sound(store))
		fail_msg("a power cut behind call %zu, %s (%u)", calls, names[loss], fortune);
	if (live) {
		bed_run(wire, upstream, &(struct fault){0}, tags, limits, &next);
		expect_all_right(&next);
		free(next.log);
	}
	bed_remove(store);
}

WIRE_TEST(power_cut_at_any_call_leaves_a_sound_store)
{
	struct scripted *upstream = start_upstream(wire);
	_cleanup_free_ char *store = wire_path(wire, "store"), *trace = wire_path(wire, "trace");
	size_t step = stride(3), images = 0;
	struct replay *replay;
	struct faulted first;

	bed_run(wire, upstream, &(struct fault){.trace = trace}, tags, limits, &first);
	expect_all_right(&first);
	assert_non_null(strstr(first.log, "listening"));
	free(first.log);
	bed_remove(store);
	replay = replay_open(trace);
	assert_non_null(replay);
	assert_true(replay_length(replay) > 200);
	for (size_t calls = 0; calls <= replay_length(replay); calls += step)
		for (unsigned fortune = 0; fortune < REPLAY_SOME_LOST + DICE; fortune++)
			look_at(wire, upstream, replay, calls, fortune, ++images % 29 == 0);
	print_message("%zu stores, of power cuts behind %zu calls\n", images, replay_length(replay));
	replay_close(replay);
}

/* A command in the test's directory. */
static bool run(const struct wire *wire, const char *command)
{
	_cleanup_free_ char *there = mem_printf("cd %s && { %s; }", wire->directory, command);

	return system(there) == 0;
}

static bool mount_disk(struct wire *wire)
{
	return run(wire, "mount -o loop disk store 2>/dev/null");
}

static int teardown_with_disk(void **state)
{
	run(*state, "umount -q store");
	return wire_teardown(state);
}

/* One life of a larder under traffic, up to the cut. */
static void live(struct wire *wire, struct scripted *upstream, unsigned round)
{
	struct traffic traffic = {.images = IMAGES, .seed = round};
	struct larder *larder = bed_start(wire, upstream, NULL, limits);

	traffic.port = bed_port(larder);
	assert_int_not_equal(traffic.port, 0);
	bed_start_traffic(&traffic);
	usleep(20000 + (unsigned)rand() % 300000);
	larder_kill(larder);
	bed_stop_traffic(&traffic);
	process_free(larder);
	assert_int_equal(traffic.wrong, 0);
	assert_true(traffic.right > 0);
}

WIRE_TEST(disk_that_lost_its_unsynced_writes_holds_a_sound_store)
{
	struct scripted *upstream = start_upstream(wire);
	_cleanup_free_ char *store = wire_path(wire, "store");
	const char *rounds = getenv("POWER_CUT_ROUNDS");

	if (!run(wire, "truncate -s 64M disk && mkfs.ext4 -q -F disk && mkdir store") || !mount_disk(wire)) {
		print_message("skipped: no file system can be made in a file and mounted here\n");
		skip();
	}
	for (unsigned round = 0; round < (rounds ? strtoul(rounds, NULL, 10) : 5); round++) {
		live(wire, upstream, round);
		/* What the kernel still holds in memory is not in the copy. */
		assert_true(run(wire, "cp disk cut && umount store"));
		assert_true(run(wire, "mv cut disk") && mount_disk(wire));
		assert_true(store_is_sound(store));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(power_cut_at_any_call_leaves_a_sound_store),
		cmocka_unit_test_setup_teardown(disk_that_lost_its_unsynced_writes_holds_a_sound_store, wire_setup,
						teardown_with_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
