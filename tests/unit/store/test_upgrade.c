/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store that a larder of format 1 left, opened by today's: format-1.tar.gz. It was made by the last commit of that
 * format, which pulled one image of three layers by its tag, and was stopped.
 */
#include "tests/unit/store/scratch.h"

#include "store/check.h"
#include "store/evict.h"
#include "store/gc.h"
#include "store/pins.h"
#include "store/verify.h"

#define BLOBS 5 /* manifest, config, layers */

static const struct index_repository repository = {"registry.test", "team/app"};

/* Puts the old store in the place of the scratch one. */
static void unpack(struct scratch *scratch)
{
	pid_t child;
	int status;

	scratch_close(scratch);
	nftw(scratch->path, scratch_remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	assert_int_equal(mkdir(scratch->path, 0750), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		execlp("tar", "tar", "-xzf", FORMAT_1, "--no-same-owner", "-C", scratch->path, (char *)NULL);
		_exit(1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void open_old(struct scratch *scratch)
{
	unpack(scratch);
	assert_int_equal(scratch_open(scratch), 0);
}

static struct check_result expect_whole_image(const struct scratch *scratch)
{
	struct check_options options = {0};
	struct check_result result;

	assert_int_equal(check_image(scratch->store, &repository, "v1", &options, NULL, NULL, &result, NULL), 0);
	assert_true(result.known && result.complete);
	assert_int_equal(result.parts, BLOBS);
	return result;
}

static void expect_right_blobs(const struct scratch *scratch)
{
	struct verify_result result;

	assert_int_equal(verify_run(scratch->store, &(struct verify_options){0}, &result, NULL), 0);
	assert_int_equal(result.blobs, BLOBS);
	assert_int_equal(result.damaged, 0);
	assert_int_equal(scratch_totals(scratch).blobs, BLOBS);
}

static void expect_version(const struct scratch *scratch, const char *wanted)
{
	_cleanup_free_ char *path = scratch_path(scratch, "VERSION");
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[8] = "";

	assert_true(read(fd, text, sizeof(text) - 1) > 0);
	assert_string_equal(text, wanted);
}

static void store_of_format_1_serves_what_it_held(void **state)
{
	struct scratch *scratch = *state;

	unpack(scratch);
	expect_version(scratch, "1\n");
	assert_int_equal(scratch_open(scratch), 0);
	for (int times = 0; times < 2; times++) {
		expect_whole_image(scratch);
		expect_right_blobs(scratch);
		expect_version(scratch, "2\n");
		scratch_reopen(scratch);
	}
}

static bool take_repository(void *arg, const struct index_name *name)
{
	if (name->tag)
		snprintf(arg, REF_REPOSITORY_MAX + 1, "%s", name->repository.repository);
	return true;
}

/* What came with format 2 holds for what is older. */
static void store_of_format_1_knows_names_and_keeps_pins(void **state)
{
	const struct index_pin pin = {.repository = repository, .reference = "v1"};
	struct scratch *scratch = *state;
	char name[REF_REPOSITORY_MAX + 1] = "";
	struct check_result image;
	struct gc_result result;

	open_old(scratch);
	image = expect_whole_image(scratch);
	assert_int_equal(index_list_names(scratch_index(scratch), &image.digest, take_repository, name, NULL), 0);
	assert_string_equal(name, repository.repository);
	assert_int_equal(pin_add(scratch->store, "p", &pin, 1, NULL), 0);
	evict_set_limits(scratch->store, &(struct evict_options){.max_size = 1});
	assert_int_equal(gc_run(scratch->store, &(struct gc_options){0}, &result, NULL), 0);
	assert_int_equal(result.images, 0);
	assert_int_equal(pin_remove(scratch->store, "p", &pin, 1, NULL), 0);
	assert_int_equal(gc_run(scratch->store, &(struct gc_options){0}, &result, NULL), 0);
	assert_int_equal(result.images, 1);
	assert_int_equal(scratch_totals(scratch).blobs, 0);
}

static void open_and_die(struct scratch *scratch)
{
	(void)scratch_open(scratch);
	_exit(0);
}

static void upgrade_is_repeated_after_a_kill(void **state)
{
	struct scratch *scratch = *state;
	_cleanup_free_ char *version = NULL;

	unpack(scratch);
	assert_int_equal(scratch_in_child(scratch, open_and_die), 0);
	/* As if that had come between the index and VERSION. */
	version = scratch_path(scratch, "VERSION");
	scratch_write_file(version, "1\n", 2);
	assert_int_equal(scratch_open(scratch), 0);
	expect_whole_image(scratch);
	expect_right_blobs(scratch);
	expect_version(scratch, "2\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(store_of_format_1_serves_what_it_held),
		scratch_test(store_of_format_1_knows_names_and_keeps_pins),
		scratch_test(upgrade_is_repeated_after_a_kill),
	};

	return cmocka_run_group_tests_name("upgrade", tests, NULL, NULL);
}
