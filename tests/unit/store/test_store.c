/* SPDX-License-Identifier: Apache-2.0 */
#include "scratch.h"

#include <lmdb.h>

static void store_is_created_with_its_directories(void **state)
{
	static const char *const names[] = {"VERSION", "lock", "index/data.mdb", "blobs", "partial", "quarantine"};
	struct scratch *scratch = *state;
	struct stat found;

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		char *path = scratch_path(scratch, names[i]);

		assert_int_equal(stat(path, &found), 0);
		assert_int_equal(found.st_mode & 0007, 0);
		free(path);
	}
	assert_int_equal(stat(scratch->path, &found), 0);
	assert_int_equal(found.st_mode & 07777, 0750);
}

static void try_to_open(struct scratch *scratch)
{
	char holder[32];

	snprintf(holder, sizeof(holder), "process %ld;", (long)getppid());
	if (scratch_open(scratch) != ERR_BUSY)
		_exit(1);
	_exit(strstr(scratch->err.text, holder) ? 0 : 2);
}

static void store_refuses_a_second_process_and_names_the_first(void **state)
{
	struct scratch *scratch = *state;
	struct scratch second = *scratch;

	second.store = NULL;
	assert_int_equal(scratch_in_child(&second, try_to_open), 0);
}

static void store_refuses_a_second_opening_in_one_process(void **state)
{
	struct scratch *scratch = *state;
	struct scratch second = *scratch;

	assert_int_equal(scratch_open(&second), ERR_BUSY);
	assert_int_equal(scratch_count_files(scratch, "partial"), 0);
}

static void store_gives_its_lock_back(void **state)
{
	scratch_reopen(*state);
}

static void open_and_die(struct scratch *scratch)
{
	if (scratch_open(scratch) == 0)
		kill(getpid(), SIGKILL);
}

static void store_opens_after_its_holder_was_killed(void **state)
{
	struct scratch *scratch = *state;

	assert_true(WIFSIGNALED(scratch_in_child(scratch, open_and_die)));
	assert_int_equal(scratch_open(scratch), 0);
}

static int open_with_version(struct scratch *scratch, const char *text)
{
	char *path = scratch_path(scratch, "VERSION");

	scratch_close(scratch);
	scratch_write_file(path, text, strlen(text));
	free(path);
	return scratch_open(scratch);
}

static void store_refuses_a_newer_format(void **state)
{
	struct scratch *scratch = *state;

	assert_int_equal(open_with_version(scratch, "3\n"), ERR_UNSUPPORTED);
	assert_non_null(strstr(scratch->err.text, "format 3"));
	assert_int_equal(open_with_version(scratch, "11\n"), ERR_UNSUPPORTED);
	assert_int_equal(open_with_version(scratch, "2\n"), 0);
}

/* Takes out of the index what format 1 had not: repositories by number, and the tables of pins. */
static void make_format_1(struct scratch *scratch)
{
	char *path = scratch_path(scratch, "index");
	uint8_t number[] = {'i', 0, 0, 0, 0, 0, 0, 0, 1};
	MDB_val key = {.mv_size = sizeof(number), .mv_data = number};
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;

	scratch_close(scratch);
	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_set_maxdbs(env, 3), 0);
	assert_int_equal(mdb_env_open(env, path, 0, 0640), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, "repositories", 0, &dbi), 0);
	assert_int_equal(mdb_del(txn, dbi, &key, NULL), 0);
	assert_int_equal(mdb_dbi_open(txn, "pins", 0, &dbi), 0);
	assert_int_equal(mdb_drop(txn, dbi, 1), 0);
	assert_int_equal(mdb_dbi_open(txn, "pinned", 0, &dbi), 0);
	assert_int_equal(mdb_drop(txn, dbi, 1), 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
	free(path);
}

static bool take_repository(void *arg, const struct index_name *name)
{
	strcpy(arg, name->repository.repository);
	return true;
}

static void store_of_an_older_format_is_upgraded_in_place(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest("x", 1);
	struct index_change link = {
		.kind = INDEX_PUT_LINK, .repository = {"registry.test", "team/app"}, .digest = &digest};
	char name[REF_REPOSITORY_MAX + 1] = "", text[8] = "";
	char *path = scratch_path(scratch, "VERSION");
	FILE *version;

	assert_int_equal(index_write(scratch_index(scratch), &link, 1, NULL), 0);
	make_format_1(scratch);
	assert_int_equal(open_with_version(scratch, "1\n"), 0);
	assert_int_equal(index_list_names(scratch_index(scratch), &digest, take_repository, name, NULL), 0);
	assert_string_equal(name, "team/app");
	version = fopen(path, "re");
	assert_non_null(version);
	assert_non_null(fgets(text, sizeof(text), version));
	fclose(version);
	free(path);
	assert_string_equal(text, "2\n");
}

static void store_refuses_a_version_that_is_no_number(void **state)
{
	static const char *const texts[] = {
		"", "\n", "one\n", "1", "1\n1\n", "-1\n", "01\n", "0\n", "9999999999999999999\n"};
	struct scratch *scratch = *state;

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		assert_int_equal(open_with_version(scratch, texts[i]), ERR_INVALID);
		assert_non_null(strstr(scratch->err.text, "VERSION"));
	}
}

static void store_refuses_a_file_in_place_of_its_directory(void **state)
{
	struct scratch *scratch = *state;
	char *file = mem_printf("%s/file", scratch->top);

	scratch_close(scratch);
	scratch_write_file(file, "x", 1);
	snprintf(scratch->path, sizeof(scratch->path), "%s", file);
	assert_int_equal(scratch_open(scratch), ERR_IO);
	assert_non_null(strstr(scratch->err.text, "Not a directory"));
	snprintf(scratch->path, sizeof(scratch->path), "%s/below", file);
	assert_int_equal(scratch_open(scratch), ERR_IO);
	free(file);
}

static void store_refuses_a_file_in_place_of_an_inner_directory(void **state)
{
	struct scratch *scratch = *state;
	char *path = scratch_path(scratch, "partial");

	scratch_close(scratch);
	assert_int_equal(rmdir(path), 0);
	scratch_write_file(path, "x", 1);
	assert_int_equal(scratch_open(scratch), ERR_IO);
	assert_non_null(strstr(scratch->err.text, "partial"));
	free(path);
}

static void open_as_nobody(struct scratch *scratch)
{
	if (geteuid() == 0 && (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0))
		_exit(1);
	if (scratch_open(scratch) != ERR_IO)
		_exit(2);
	_exit(strstr(scratch->err.text, "Permission denied") && strstr(scratch->err.text, "--store") ? 0 : 3);
}

static void store_says_what_to_do_about_a_directory_it_may_not_write(void **state)
{
	struct scratch *scratch = *state;
	char *version = scratch_path(scratch, "VERSION");

	assert_int_equal(chmod(scratch->top, 0755), 0);
	scratch_close(scratch);
	assert_int_equal(chmod(scratch->path, 0555), 0);
	/* Its own store, but for the directory. */
	if (geteuid() == 0)
		assert_int_equal(lchown(version, 65534, 65534), 0);
	free(version);
	assert_int_equal(scratch_in_child(scratch, open_as_nobody), 0);
}

static void open_and_leave_all_as_it_was(struct scratch *scratch)
{
	char *lock = scratch_path(scratch, "lock");

	if (scratch_open(scratch) != ERR_IO || !strstr(scratch->err.text, "belongs to user 65534,"))
		_exit(1);
	_exit(scratch_exists(lock) ? 2 : 0);
}

static void store_refuses_a_user_who_is_not_its_owner_even_root(void **state)
{
	struct scratch *scratch = *state;
	char *version = scratch_path(scratch, "VERSION"), *lock = scratch_path(scratch, "lock");

	if (geteuid() != 0) {
		print_message("skipped: only root can give files away\n");
		skip();
	}
	scratch_close(scratch);
	assert_int_equal(unlink(lock), 0);
	assert_int_equal(lchown(version, 65534, 65534), 0);
	assert_int_equal(scratch_in_child(scratch, open_and_leave_all_as_it_was), 0);
	/* The directory alone says nothing: a volume's is root's. */
	assert_int_equal(lchown(version, 0, 0), 0);
	assert_int_equal(lchown(scratch->path, 65534, 65534), 0);
	assert_int_equal(scratch_open(scratch), 0);
	free(version);
	free(lock);
}

static void store_removes_what_is_worth_nothing_from_partial(void **state)
{
	struct scratch *scratch = *state;
	char *put = scratch_path(scratch, "partial/put.7");
	char *orphan = scratch_path(scratch, "partial/sha256-00.ranges");
	char *partial = scratch_path(scratch, "partial/sha256-11");
	char *ranges = scratch_path(scratch, "partial/sha256-11.ranges");

	scratch_write_file(put, "x", 1);
	scratch_write_file(orphan, "x", 1);
	scratch_write_file(partial, "x", 1);
	scratch_write_file(ranges, "x", 1);
	scratch_reopen(scratch);
	assert_false(scratch_exists(put));
	assert_false(scratch_exists(orphan));
	assert_true(scratch_exists(partial));
	assert_true(scratch_exists(ranges));
	free(put);
	free(orphan);
	free(partial);
	free(ranges);
}

static void blob_that_a_crash_kept_from_the_index_counts_once_the_store_is_open(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest("abc", 3);
	char *mark = scratch_partial_path(scratch, &digest, ".mark");
	struct index_change forget = {.kind = INDEX_DELETE_BLOB, .digest = &digest};

	assert_int_equal(store_put_blob(scratch->store, &digest, "abc", 3, &scratch->err), 0);
	assert_false(scratch_exists(mark));
	assert_int_equal(index_write(scratch_index(scratch), &forget, 1, &scratch->err), 0);
	scratch_write_file(mark, "", 0);
	scratch_reopen(scratch);
	assert_int_equal(scratch_totals(scratch).blobs, 1);
	assert_int_equal(scratch_totals(scratch).bytes, 3);
	assert_false(scratch_exists(mark));
	free(mark);
}

static void store_makes_a_new_index_again_when_it_was_cut_off(void **state)
{
	struct scratch *scratch = *state;
	char *index = scratch_path(scratch, "index/data.mdb");
	char *folder = scratch_path(scratch, "index.new"), *cut = scratch_path(scratch, "index.new/data.mdb");

	scratch_close(scratch);
	assert_int_equal(unlink(index), 0);
	assert_int_equal(mkdir(folder, 0750), 0);
	scratch_write_file(cut, "half a page", 11);
	assert_int_equal(scratch_open(scratch), 0);
	assert_false(scratch_exists(folder));
	free(index);
	free(folder);
	free(cut);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(store_is_created_with_its_directories),
		scratch_test(store_refuses_a_second_process_and_names_the_first),
		scratch_test(store_refuses_a_second_opening_in_one_process),
		scratch_test(store_gives_its_lock_back),
		scratch_test(store_opens_after_its_holder_was_killed),
		scratch_test(store_refuses_a_newer_format),
		scratch_test(store_of_an_older_format_is_upgraded_in_place),
		scratch_test(store_refuses_a_version_that_is_no_number),
		scratch_test(store_refuses_a_file_in_place_of_its_directory),
		scratch_test(store_refuses_a_file_in_place_of_an_inner_directory),
		scratch_test(store_says_what_to_do_about_a_directory_it_may_not_write),
		scratch_test(store_refuses_a_user_who_is_not_its_owner_even_root),
		scratch_test(store_removes_what_is_worth_nothing_from_partial),
		scratch_test(blob_that_a_crash_kept_from_the_index_counts_once_the_store_is_open),
		scratch_test(store_makes_a_new_index_again_when_it_was_cut_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
