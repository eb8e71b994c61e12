/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/systemd.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* A socket as the manager has it; "@" stands for the abstract namespace. */
static int open_manager(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, name);
	if (name[0] == '@')
		address.sun_path[0] = '\0';
	assert_int_equal(bind(fd, (struct sockaddr *)&address,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))),
			 0);
	setenv("NOTIFY_SOCKET", name, 1);
	return fd;
}

static void expect_said(int fd, const char *text)
{
	char said[128] = "";

	assert_true(recv(fd, said, sizeof(said) - 1, MSG_DONTWAIT) >= 0);
	assert_int_equal(strncmp(said, text, strlen(text)), 0);
}

static void the_manager_is_told_on_both_kinds_of_sockets(void **state)
{
	char directory[] = "/tmp/larder-notify-XXXXXX", path[64], abstract[64];
	int fd;

	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/socket", directory);
	fd = open_manager(path);
	systemd_notify("READY=1");
	expect_said(fd, "READY=1");
	systemd_notify_reloading();
	expect_said(fd, "RELOADING=1\nMONOTONIC_USEC=");
	close(fd);
	unlink(path);
	rmdir(directory);

	snprintf(abstract, sizeof(abstract), "@larder-notify-%d", (int)getpid());
	fd = open_manager(abstract);
	systemd_notify("STOPPING=1");
	expect_said(fd, "STOPPING=1");
	close(fd);
	unsetenv("NOTIFY_SOCKET");
	systemd_notify("READY=1"); /* nobody listens, nothing happens */
}

static void the_watchdog_is_fed_twice_as_often_as_it_asks(void **state)
{
	char pid[16];

	(void)state;
	unsetenv("WATCHDOG_PID");
	setenv("WATCHDOG_USEC", "60000000", 1);
	assert_int_equal(systemd_watchdog_ms(), 30000);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("WATCHDOG_PID", pid, 1);
	assert_int_equal(systemd_watchdog_ms(), 30000);
	setenv("WATCHDOG_PID", "1", 1);
	assert_int_equal(systemd_watchdog_ms(), 0);
	unsetenv("WATCHDOG_PID");
	setenv("WATCHDOG_USEC", "soon", 1);
	assert_int_equal(systemd_watchdog_ms(), 0);
	unsetenv("WATCHDOG_USEC");
	assert_int_equal(systemd_watchdog_ms(), 0);
}

/* In a child, where descriptor 3 is ours to fill. */
static void take_listeners(void)
{
	char pid[16];
	int fds[4], listener = socket(AF_INET, SOCK_STREAM, 0);

	if (listen(listener, 1) || dup2(listener, 3) != 3)
		_exit(2);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "1", 1);
	if (systemd_listeners(fds, 4) != 1 || fds[0] != 3 || !(fcntl(3, F_GETFD) & FD_CLOEXEC))
		_exit(3);
	/* They are taken once, and not by a child. */
	if (getenv("LISTEN_FDS") || systemd_listeners(fds, 4) != 0)
		_exit(4);
	setenv("LISTEN_PID", "1", 1);
	setenv("LISTEN_FDS", "1", 1);
	_exit(systemd_listeners(fds, 4) == 0 ? 0 : 5);
}

static void sockets_that_are_passed_are_taken_once(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0)
		take_listeners();
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_manager_is_told_on_both_kinds_of_sockets),
		cmocka_unit_test(the_watchdog_is_fed_twice_as_often_as_it_asks),
		cmocka_unit_test(sockets_that_are_passed_are_taken_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
