/* SPDX-License-Identifier: Apache-2.0 */
/* An import that is killed, ten times at random moments, and then repeated. */
#include "tests/unit/server/bundle_bed.h"

#include "base/clock.h"

#include <time.h>

#define KILLS  10
#define IMAGES 12

/* Some images of several sizes, the largest layers of a few megabytes. */
static void fill(struct scratch *scratch, const char *references[IMAGES], char names[IMAGES][64])
{
	for (int i = 0; i < IMAGES; i++) {
		size_t len = (size_t)(i * i) * 20000 + 10;
		_cleanup_free_ char *layer = mem_alloc(len + 1);
		char repository[32];

		memset(layer, 'a' + i, len);
		snprintf(repository, sizeof(repository), "library/image-%02d", i);
		bed_image(scratch, repository, "1", layer);
		snprintf(names[i], sizeof(names[i]), "docker.io/%s:1", repository);
		references[i] = names[i];
	}
}

/* In a process of its own, which may be killed. */
static pid_t begin_import(struct scratch *scratch, struct tarball *tarball)
{
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		struct import_report report;

		if (scratch_open(scratch) || bed_import(scratch, tarball, NULL, &report))
			_exit(1);
		scratch_close(scratch);
		_exit(0);
	}
	return child;
}

static int end_import(pid_t child)
{
	int status;

	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void expect_sound(struct scratch *scratch)
{
	assert_int_equal(scratch_open(scratch), 0);
	bed_expect_sound(scratch);
	scratch_close(scratch);
}

static void killed_at_ten_random_moments_and_repeated_it_ends_the_same(void **state)
{
	struct bed *bed = *state;
	struct scratch *here = &bed->here, *there = &bed->there;
	char names[IMAGES][64];
	const char *references[IMAGES];
	struct plan_options options = bed_options(references, IMAGES);
	_cleanup_(tarball_end) struct tarball tarball = {0};
	unsigned seed = (unsigned)clock_wall_ms(), killed = 0;
	uint64_t began, whole_us;
	struct bundle *bundle;
	char *other;

	print_message("seed %u\n", seed);
	fill(here, references, names);
	bundle = bed_bundle(here, &options);
	tarball_of(&tarball, bundle);
	bundle_free(bundle);
	scratch_close(here); /* a child has none of its threads */
	scratch_close(there);

	/* How long it takes, into a store of its own. */
	other = mem_printf("%s/other", there->top);
	snprintf(there->path, sizeof(there->path), "%s", other);
	began = clock_us();
	assert_int_equal(end_import(begin_import(there, &tarball)), 0);
	whole_us = clock_us() - began;
	snprintf(there->path, sizeof(there->path), "%s/a/store", there->top);
	free(other);

	for (int i = 0; i < KILLS; i++) {
		pid_t child = begin_import(there, &tarball);
		uint64_t us = (uint64_t)rand_r(&seed) * whole_us / RAND_MAX;
		struct timespec pause = {.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000};

		nanosleep(&pause, NULL);
		kill(child, SIGKILL);
		killed += WIFSIGNALED(end_import(child));
		expect_sound(there);
	}
	assert_true(killed > 0);
	assert_int_equal(end_import(begin_import(there, &tarball)), 0);
	expect_sound(there);
	assert_int_equal(scratch_open(here), 0);
	assert_int_equal(scratch_open(there), 0);
	assert_int_equal(scratch_totals(there).blobs, scratch_totals(here).blobs);
	assert_int_equal(scratch_totals(there).bytes, scratch_totals(here).bytes);
	for (int i = 0; i < IMAGES; i++) {
		struct bundle_name name;
		struct walk_item one, two;

		assert_int_equal(bundle_name_parse(&plainly, references[i], &name, NULL), 0);
		assert_int_equal(plan_find_root(here->store, &name, &one, NULL), 0);
		assert_int_equal(plan_find_root(there->store, &name, &two, NULL), 0);
		assert_true(digest_equal(&one.digest, &two.digest));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(killed_at_ten_random_moments_and_repeated_it_ends_the_same),
	};

	return cmocka_run_group_tests_name("import_killed", tests, NULL, NULL);
}
