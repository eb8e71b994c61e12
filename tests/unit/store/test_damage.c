/* SPDX-License-Identifier: Apache-2.0 */
/* A damaged index costs what it knew, at most: never a crash, never a stored blob. */
#include "tests/unit/store/shelf.h"

#include "store/evict.h"
#include "store/index_internal.h"
#include "store/pins.h"

#include <time.h>

#define PAGE    4096
#define IMAGES  12
#define CHILD_S 12 /* a child that hangs dies by a signal */
#define ROUNDS  40 /* of random damage; LARDER_DAMAGE_ROUNDS sets another number */

static struct digest images[IMAGES];

static void fill(const struct scratch *scratch)
{
	const struct index_pin pin = {.repository = shelf_app, .reference = "t0"};
	char name[64];

	for (int i = 0; i < IMAGES; i++) {
		snprintf(name, sizeof(name), "image %d", i);
		images[i] = shelf_put_image(scratch, &shelf_app, name, "linux/amd64", "base of all");
		snprintf(name, sizeof(name), "t%d", i);
		shelf_tag(scratch, &shelf_app, name, &images[i], 7);
	}
	for (int i = 0; i < 300; i++) { /* so that there are more pages */
		snprintf(name, sizeof(name), "many/t%d", i);
		shelf_tag(scratch, &(struct index_repository){"docker.io", name}, "latest", &images[i % IMAGES], 7);
	}
	assert_int_equal(pin_add(scratch->store, "prod", &pin, 1, NULL), 0);
}

static void overwrite(const struct scratch *scratch, const void *data, size_t len, off_t at)
{
	char *path = scratch_path(scratch, "index/data.mdb");
	int fd = open(path, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, data, len, at), (ssize_t)len);
	close(fd);
	free(path);
}

static off_t index_size(const struct scratch *scratch)
{
	char *path = scratch_path(scratch, "index/data.mdb");
	struct stat file;

	assert_int_equal(stat(path, &file), 0);
	free(path);
	return file.st_size;
}

/* The test's own handlers would go on with the next test. Before the store is opened, which sets its own. */
static void die_of_signals(void)
{
	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
	signal(SIGABRT, SIG_DFL);
}

/* Uses whatever there is, and expects that in the end every blob is found, and what is put is there. */
static void use(struct scratch *scratch)
{
	struct digest base = scratch_digest("base of all", 11);
	struct index_tag tag = {.digest = base, .size = 1, .accept = 3, .media_type = SHELF_MANIFEST}, found;
	struct index_change put = {.kind = INDEX_PUT_TAG, .repository = shelf_app, .tag = "new", .tag_record = &tag};
	char pin[INDEX_PIN_NAME_MAX + 1];
	uint64_t size;
	int fd;

	alarm(CHILD_S);
	if (!scratch->store) {
		die_of_signals();
		if (scratch_open(scratch))
			_exit(1);
	}
	if (evict_start(scratch->store, &(struct evict_options){.max_size = 1 << 30}, NULL))
		_exit(2);
	for (int i = 0; i < IMAGES; i++) {
		char name[16];

		snprintf(name, sizeof(name), "t%d", i);
		(void)index_get_tag(scratch_index(scratch), &shelf_app, name, 7, &found, NULL);
		(void)pin_find(scratch->store, &images[i], pin, NULL);
		index_use_blob(scratch_index(scratch), &images[i]);
	}
	(void)index_write(scratch_index(scratch), &put, 1, NULL);
	(void)index_write_uses(scratch_index(scratch), NULL);
	/* By now, or in a moment, what was met is mended. */
	for (int i = 0; i < 1000 && (index_write(scratch_index(scratch), &put, 1, NULL) ||
				     index_get_tag(scratch_index(scratch), &shelf_app, "new", 3, &found, NULL));
	     i++)
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	if (index_get_tag(scratch_index(scratch), &shelf_app, "new", 3, &found, &scratch->err)) {
		print_error("%s\n", scratch->err.text);
		index_write(scratch_index(scratch), &put, 1, &scratch->err);
		print_error("%s\n", scratch->err.text);
		_exit(4);
	}
	if (store_open_blob(scratch->store, &base, &fd, &size, NULL))
		_exit(5);
	close(fd);
	for (int i = 0; i < IMAGES; i++)
		if (store_find_blob(scratch->store, &images[i], &size, NULL))
			_exit(6);
	store_close(scratch->store);
	_exit(0);
}

static void junk_in_place_of_the_index_is_replaced(void **state)
{
	struct scratch *scratch = *state;
	char junk[65536] = {0};

	fill(scratch);
	scratch_close(scratch);
	memset(junk, 0xa5, sizeof(junk));
	overwrite(scratch, junk, sizeof(junk), 0);
	assert_int_equal(scratch_in_child(scratch, use), 0);
	assert_int_equal(scratch_open(scratch), 0);
}

static void index_that_was_cut_off_is_replaced(void **state)
{
	struct scratch *scratch = *state;
	char *path = scratch_path(scratch, "index/data.mdb");

	fill(scratch);
	scratch_close(scratch);
	assert_int_equal(truncate(path, (off_t)2 * PAGE), 0);
	assert_int_equal(scratch_in_child(scratch, use), 0);
	assert_int_equal(truncate(path, 100), 0);
	assert_int_equal(scratch_in_child(scratch, use), 0);
	assert_int_equal(scratch_open(scratch), 0);
	free(path);
}

static void index_with_pages_of_zeros_is_replaced(void **state)
{
	struct scratch *scratch = *state;
	char *path = scratch_path(scratch, "index/data.mdb");
	off_t size;

	fill(scratch);
	scratch_close(scratch);
	size = index_size(scratch);
	assert_int_equal(truncate(path, (off_t)2 * PAGE), 0);
	assert_int_equal(truncate(path, size), 0);
	assert_int_equal(scratch_in_child(scratch, use), 0);
	free(path);
}

/* Random bytes in random pages, before the store is opened, or beneath one that is open. */
static bool beneath;

static void damage_pages(const struct scratch *scratch, unsigned seed)
{
	off_t pages = index_size(scratch) / PAGE;
	unsigned char junk[PAGE] = {0};

	srandom(seed);
	for (long k = 0; k < 1 + (long)(seed % 6); k++) {
		size_t len = random() % 2 ? sizeof(junk) : 1 + (size_t)random() % 64;

		for (size_t i = 0; i < len; i++)
			junk[i] = (unsigned char)random();
		overwrite(scratch, junk, len, (2 + random() % (pages - 2)) * PAGE + random() % (PAGE - (long)len + 1));
	}
}

static unsigned round_seed;

static void use_while_it_is_damaged(struct scratch *scratch)
{
	die_of_signals();
	if (scratch_open(scratch))
		_exit(7);
	damage_pages(scratch, round_seed);
	use(scratch);
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define UNDER_SANITIZER
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define UNDER_SANITIZER
#endif

static void damage_anywhere_is_survived_by_the_next_start_at_the_latest(void **state)
{
	struct scratch *scratch = *state;
	const char *wanted = getenv("LARDER_DAMAGE_ROUNDS");
	unsigned rounds = wanted ? (unsigned)strtoul(wanted, NULL, 10) : ROUNDS, died = 0;
	char *path = scratch_path(scratch, "index/data.mdb"), *copy = mem_printf("cp %s %s/copy", path, scratch->top);
	char *back = mem_printf("rm -rf %s/index.damaged && cp %s/copy %s", scratch->path, scratch->top, path);

#ifdef UNDER_SANITIZER
	print_message("skipped: the sanitizer ends the program where LMDB writes over its own memory\n");
	rounds = 0;
#endif
	fill(scratch);
	scratch_close(scratch);
	assert_int_equal(system(copy), 0);
	for (round_seed = 1; round_seed <= rounds; round_seed++) {
		int status;

		assert_int_equal(system(back), 0);
		beneath = round_seed % 2;
		if (!beneath)
			damage_pages(scratch, round_seed);
		status = scratch_in_child(scratch, beneath ? use_while_it_is_damaged : use);
		/* LMDB writes over its own memory after some damage to what it is about to write, which nobody can
		 * catch. The next start looks before it writes. */
		if (WIFSIGNALED(status) && WTERMSIG(status) != SIGALRM) {
			died++;
			status = scratch_in_child(scratch, use);
		}
		if (status)
			print_error("round %u\n", round_seed);
		assert_int_equal(status, 0);
	}
	print_message("%u of %u died and came back\n", died, rounds);
	assert_true(died <= rounds / 4);
	free(path);
	free(copy);
	free(back);
}

static void await_rescue(const struct scratch *scratch)
{
	for (int i = 0; i < 1000 && index_old(scratch_index(scratch)); i++)
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	assert_null(index_old(scratch_index(scratch)));
}

/* What was replaced for one damaged page is read but for that. */
static void pins_tags_and_links_are_rescued(void **state)
{
	struct scratch *scratch = *state;
	struct digest base = scratch_digest("base of all", 11);
	char pin[INDEX_PIN_NAME_MAX + 1], *damaged = scratch_path(scratch, "index.damaged");
	struct index_link link;
	struct index_tag tag;

	fill(scratch);
	index_note_damage(scratch_index(scratch));
	for (int i = 0; i < 1000 && !index_old(scratch_index(scratch)); i++)
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	assert_non_null(index_old(scratch_index(scratch)));
	assert_int_equal(index_get_tag(scratch_index(scratch), &shelf_app, "t0", 7, &tag, NULL), ERR_NOT_FOUND);
	/* It goes on after a restart. */
	assert_true(scratch_exists(damaged));
	scratch_reopen(scratch);
	assert_non_null(index_old(scratch_index(scratch)));
	assert_int_equal(evict_start(scratch->store, &(struct evict_options){0}, NULL), 0);
	await_rescue(scratch);
	assert_int_equal(index_get_tag(scratch_index(scratch), &shelf_app, "t0", 7, &tag, NULL), 0);
	assert_true(digest_equal(&tag.digest, &images[0]));
	assert_int_equal(tag.checked, 0); /* to be asked about */
	assert_int_equal(tag.fetched, 1000);
	assert_int_equal(index_get_link(scratch_index(scratch), &shelf_app, &images[3], &link, NULL), 0);
	assert_string_equal(link.media_type, SHELF_MANIFEST);
	for (int i = 0; i < 1000 && pin_find(scratch->store, &base, pin, NULL); i++) /* the sweep reads manifests */
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	assert_string_equal(pin, "prod");
	for (int i = 0; i < 1000 && scratch_exists(damaged); i++) /* which goes last of all */
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	assert_false(scratch_exists(damaged));
	free(damaged);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(junk_in_place_of_the_index_is_replaced),
		scratch_test(index_that_was_cut_off_is_replaced),
		scratch_test(index_with_pages_of_zeros_is_replaced),
		scratch_test(damage_anywhere_is_survived_by_the_next_start_at_the_latest),
		scratch_test(pins_tags_and_links_are_rescued),
	};

	return cmocka_run_group_tests_name("damage", tests, NULL, NULL);
}
