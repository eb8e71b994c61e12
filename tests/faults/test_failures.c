/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One cold pull of an image, once for every call that larder makes on its store meanwhile, from opening it to closing
 * it: that call fails, or fails with all behind it, or larder is killed there. Whatever happens, nobody is given wrong
 * bytes, larder ends by itself and in order, the store is sound, and the next larder serves the image.
 *
 * FAULT_STRIDE=N takes each Nth call alone; 1 is all of them.
 */
#include "tests/faults/bed.h"
#include "tests/faults/sound.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define LAYERS     2
#define LAYER_SIZE 300000 /* with a range file written on the way */
#define ANSWERS    (2 + LAYERS)
#define CALLS_MAX  1000

static const char *const tags[] = {"v1", NULL};

static struct scripted *start_upstream(struct wire *wire)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	struct scripted_image image;

	scripted_add_image(upstream, "team/app", "v1",
			   &(struct scripted_image_options){.layers = LAYERS, .layer_size = LAYER_SIZE, .seed = 1},
			   &image);
	return upstream;
}

static unsigned stride(unsigned usual)
{
	const char *given = getenv("FAULT_STRIDE");

	return given ? (unsigned)strtoul(given, NULL, 10) : usual;
}

static bool ended_well(const struct faulted *faulted, const struct fault *fault)
{
	bool killer = strcmp(fault->kind, "kill") == 0 || strcmp(fault->kind, "torn") == 0;

	if (faulted->hung)
		return false;
	if (killer && faulted->calls >= fault->at)
		return WIFSIGNALED(faulted->status) && WTERMSIG(faulted->status) == SIGKILL;
	/* One that could not open its store says why, and that is an error too. */
	return WIFEXITED(faulted->status) && (WEXITSTATUS(faulted->status) == 0) == faulted->listened;
}

/* One life with the fault, a look at the store, and one without. The next life is to serve everything. */
static void try_fault(struct wire *wire, struct scripted *upstream, const struct fault *fault, struct faulted *first)
{
	_cleanup_free_ char *store = wire_path(wire, "store");
	struct faulted second;
	bool sound, good;

	bed_run(wire, upstream, fault, tags, NULL, first);
	sound = store_is_sound(store);
	bed_run(wire, upstream, &(struct fault){0}, tags, NULL, &second);
	good = ended_well(first, fault) && first->pull.wrong == 0 && sound && second.pull.right == ANSWERS &&
	       WIFEXITED(second.status) && WEXITSTATUS(second.status) == 0 && store_is_sound(store);
	if (!good)
		fail_msg(
			"%s%s at call %lu: status 0x%x%s, %u right, %u refused, %u wrong; the store is %s; then status "
			"0x%x, %u right, %u refused, %u wrong\n%s----\n%s",
			fault->kind, fault->lasts ? " from there on" : "", fault->at, (unsigned)first->status,
			first->hung ? " (hung)" : "", first->pull.right, first->pull.refused, first->pull.wrong,
			sound ? "sound" : "unsound", (unsigned)second.status, second.pull.right, second.pull.refused,
			second.pull.wrong, first->log, second.log);
	free(second.log);
	bed_remove(store);
}

/* Returns how many pulls that began did not get everything. */
static unsigned try_each_call(struct wire *wire, const char *kind, bool lasts, unsigned step)
{
	struct scripted *upstream = start_upstream(wire);
	unsigned tried = 0, unopened = 0, refused = 0;
	struct faulted faulted = {.calls = CALLS_MAX};

	/* Until a run ends before it comes to the point. */
	for (unsigned long at = 1; faulted.calls + step >= at; at += step) {
		const struct fault fault = {.at = at, .kind = kind, .lasts = lasts};

		try_fault(wire, upstream, &fault, &faulted);
		free(faulted.log);
		tried++;
		unopened += !faulted.listened;
		refused += faulted.listened && faulted.pull.right < ANSWERS;
	}
	print_message("%s%s: %u points, %lu calls at the last; the store was not opened at %u, and %u pulls did not "
		      "get everything\n",
		      kind, lasts ? " from there on" : "", tried, faulted.calls, unopened, refused);
	assert_true(tried >= 60 / step);
	return refused;
}

WIRE_TEST(each_call_that_fails_leaves_a_served_pull_and_a_sound_store)
{
	assert_int_equal(try_each_call(wire, "EIO", false, stride(2)), 0);
}

WIRE_TEST(disk_that_is_full_from_any_call_on_leaves_a_served_pull_and_a_sound_store)
{
	assert_int_equal(try_each_call(wire, "ENOSPC", true, stride(2)), 0);
}

WIRE_TEST(disk_that_is_read_only_from_any_call_on_leaves_a_served_pull_and_a_sound_store)
{
	assert_int_equal(try_each_call(wire, "EROFS", true, stride(2)), 0);
}

WIRE_TEST(kill_before_any_call_leaves_a_sound_store)
{
	try_each_call(wire, "kill", false, stride(2));
}

WIRE_TEST(kill_amid_any_call_leaves_a_sound_store)
{
	try_each_call(wire, "torn", false, stride(2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(each_call_that_fails_leaves_a_served_pull_and_a_sound_store),
		WIRE_CASE(disk_that_is_full_from_any_call_on_leaves_a_served_pull_and_a_sound_store),
		WIRE_CASE(disk_that_is_read_only_from_any_call_on_leaves_a_served_pull_and_a_sound_store),
		WIRE_CASE(kill_before_any_call_leaves_a_sound_store),
		WIRE_CASE(kill_amid_any_call_leaves_a_sound_store),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
