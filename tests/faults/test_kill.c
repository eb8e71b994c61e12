/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Larder killed at random moments, while clients pull and room is made: it opens again each time, nobody is ever given
 * wrong bytes, and the store stays sound and within its limit.
 *
 * KILLS=N is how often; KILL_SEED=N the seed of the moments.
 */
#include "tests/faults/bed.h"
#include "tests/faults/sound.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "tests/wire/expect.h"
#include "tests/wire/harness_process.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define IMAGES     24
#define LAYER_SIZE (MIB / 2)
#define MAX_SIZE   (8 * MIB) /* room for a third of them */
#define LOOK_EACH  10        /* lives between looks at the store */

static const char *const limits[] = {"--max-size", "8MiB", NULL};

static unsigned long from_environment(const char *name, unsigned long usual)
{
	const char *given = getenv(name);

	return given ? strtoul(given, NULL, 10) : usual;
}

static void look_at_store(struct wire *wire, unsigned life)
{
	_cleanup_free_ char *store = wire_path(wire, "store");

	if (!store_is_sound(store) || disk_use(store) > MAX_SIZE)
		fail_msg("after life %u: %llu bytes on disk", life, disk_use(store));
}

WIRE_TEST(larder_killed_at_random_moments_opens_again_and_serves_no_wrong_bytes)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	unsigned kills = (unsigned)from_environment("KILLS", 25), lives = 0, early = 0;
	unsigned seed = (unsigned)from_environment("KILL_SEED", (unsigned long)getpid());
	unsigned long right = 0, refused = 0;

	print_message("KILL_SEED=%u\n", seed);
	bed_add_images(upstream, IMAGES, LAYER_SIZE);
	for (; lives < kills; lives++) {
		struct larder *larder = bed_start(wire, upstream, NULL, limits);
		struct traffic traffic = {.images = IMAGES, .seed = seed};

		if (rand_r(&seed) % 5 == 0) {
			/* While it opens. */
			usleep((unsigned)rand_r(&seed) % 20000);
			larder_kill(larder);
			early++;
		} else {
			traffic.port = bed_port(larder);
			if (traffic.port == 0)
				process_print(larder);
			assert_int_not_equal(traffic.port, 0);
			bed_start_traffic(&traffic);
			usleep((unsigned)rand_r(&seed) % 400000);
			larder_kill(larder);
			bed_stop_traffic(&traffic);
		}
		process_free(larder);
		assert_int_equal(traffic.wrong, 0);
		right += traffic.right;
		refused += traffic.refused;
		if (lives % LOOK_EACH == LOOK_EACH - 1)
			look_at_store(wire, lives);
	}
	look_at_store(wire, lives);
	print_message("killed %u times, %u of them while it opened; %lu right answers, %lu cut short or refused\n",
		      lives, early, right, refused);
	assert_true(right > lives);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(larder_killed_at_random_moments_opens_again_and_serves_no_wrong_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
