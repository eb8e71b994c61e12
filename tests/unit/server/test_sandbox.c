/* SPDX-License-Identifier: Apache-2.0 */
/* Each case runs in a child of its own, since what a process gave up it does not get back. */
#include "server/cli/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char root[] = "/tmp/larder-sandbox-XXXXXX";
static char store[64], store_a[72], store_b[72], outside[72], configured[72];

enum { CHILD_FINE = 0, CHILD_UNSUPPORTED = 77 };

/* What a child may find: the number of the check that failed, which the test then prints. */
#define CHECK(condition)                                                                                               \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #condition, strerror(errno));          \
			_exit(1);                                                                                      \
		}                                                                                                      \
	} while (0)

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static int make_folders(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(root));
	snprintf(store, sizeof(store), "%s/store", root);
	snprintf(store_a, sizeof(store_a), "%s/a", store);
	snprintf(store_b, sizeof(store_b), "%s/b", store);
	snprintf(outside, sizeof(outside), "%s/outside", root);
	snprintf(configured, sizeof(configured), "%s/password", root);
	mkdir(store, 0750);
	mkdir(store_a, 0750);
	mkdir(store_b, 0750);
	write_file(outside, "secret of another\n");
	write_file(configured, "ours\n");
	return 0;
}

static int remove_folders(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", root);
	return system(command);
}

static void enter(bool runs_programs)
{
	const char *writable[] = {store}, *readable[] = {configured, "/no/such/file"};
	struct sandbox_options options = {.writable = writable,
					  .writable_count = 1,
					  .readable = readable,
					  .readable_count = 2,
					  .runs_programs = runs_programs};
	struct err err = {0};
	int code = sandbox_enter(&options, &err);

	if (code == ERR_UNSUPPORTED)
		_exit(CHILD_UNSUPPORTED);
	CHECK(code == 0);
}

static void in_child(void (*run)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		run();
		_exit(CHILD_FINE);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == CHILD_UNSUPPORTED) {
		print_message("skipped: this kernel has no Landlock\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), CHILD_FINE);
}

/* Whether it can be opened; errno says why not. */
static bool can_open(const char *path, int flags, mode_t mode)
{
	int fd = open(path, flags, mode);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static void *opens_outside(void *arg)
{
	(void)arg;
	return !can_open(outside, O_RDONLY, 0) && errno == EACCES ? NULL : (void *)1;
}

static void store_works_and_the_rest_does_not(void)
{
	char from[96], to[96];
	int fd;

	enter(false);
	snprintf(from, sizeof(from), "%s/file", store_a);
	snprintf(to, sizeof(to), "%s/file", store_b);
	fd = open(from, O_RDWR | O_CREAT | O_EXCL, 0600);
	CHECK(fd >= 0 && write(fd, "x", 1) == 1 && ftruncate(fd, 0) == 0);
	CHECK(rename(from, to) == 0 && unlink(to) == 0);
	CHECK(can_open(configured, O_RDONLY, 0));
	CHECK(can_open("/etc/hosts", O_RDONLY, 0));
	CHECK(!can_open(configured, O_WRONLY, 0) && errno == EACCES);
	CHECK(!can_open(outside, O_RDONLY, 0) && errno == EACCES);
	CHECK(unlink(outside) < 0 && errno == EACCES);
	CHECK(!can_open("/etc/larder-was-here", O_WRONLY | O_CREAT, 0600));
	snprintf(from, sizeof(from), "%s/link", store);
	CHECK(symlink(outside, from) < 0);
}

static void threads_are_bound_too(void)
{
	pthread_t thread;
	void *opened;

	enter(false);
	CHECK(pthread_create(&thread, NULL, opens_outside, NULL) == 0);
	pthread_join(thread, &opened);
	CHECK(opened == NULL);
}

static void calls_are_refused(void)
{
	char *arguments[] = {"true", NULL};

	enter(false);
	CHECK(execv("/bin/true", arguments) < 0 && (errno == EPERM || errno == EACCES));
	CHECK(mount("none", "/tmp", "tmpfs", 0, NULL) < 0 && errno == EPERM);
	CHECK(unshare(CLONE_NEWUSER) < 0 && errno == EPERM);
	CHECK(syscall(SYS_clone, (long)CLONE_NEWNET, 0L, 0L, 0L, 0L) < 0 && errno == EPERM);
	CHECK(syscall(SYS_process_vm_readv, getppid(), NULL, 0L, NULL, 0L, 0L) < 0 && errno == EPERM);
	CHECK(syscall(SYS_bpf, 0, NULL, 0) < 0 && errno == EPERM);
	CHECK(syscall(SYS_io_uring_setup, 1, NULL) < 0 && errno == EPERM);
}

static void helpers_run(void)
{
	char *arguments[] = {"true", NULL};

	enter(true);
	CHECK(can_open(outside, O_RDONLY, 0));
	CHECK(can_open(outside, O_WRONLY, 0));
	CHECK(mount("none", "/tmp", "tmpfs", 0, NULL) < 0 && errno == EPERM);
	execv("/bin/true", arguments);
	CHECK(!"run");
}

/* The address sanitizer is there: its search for leaks traces the process, which must let it. */
extern void __asan_init(void) __attribute__((weak));

static void no_core_is_written(void)
{
	enter(false);
	CHECK(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == (__asan_init ? 1 : 0));
}

static void memory_goes_into_no_core(void **state)
{
	(void)state;
	in_child(no_core_is_written);
}

static void the_store_is_written_and_other_files_are_not_even_read(void **state)
{
	(void)state;
	in_child(store_works_and_the_rest_does_not);
}

static void a_thread_started_later_is_bound_too(void **state)
{
	(void)state;
	in_child(threads_are_bound_too);
}

static void calls_that_no_cache_needs_are_refused(void **state)
{
	(void)state;
	in_child(calls_are_refused);
}

static void credential_helpers_run_where_they_are_configured(void **state)
{
	(void)state;
	in_child(helpers_run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_store_is_written_and_other_files_are_not_even_read),
		cmocka_unit_test(a_thread_started_later_is_bound_too),
		cmocka_unit_test(memory_goes_into_no_core),
		cmocka_unit_test(calls_that_no_cache_needs_are_refused),
		cmocka_unit_test(credential_helpers_run_where_they_are_configured),
	};

	return cmocka_run_group_tests(tests, make_folders, remove_folders);
}
