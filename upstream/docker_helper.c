/* SPDX-License-Identifier: Apache-2.0 */
/* The running of credential helpers. */
#include "upstream/docker_config.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* docker-credential-helpers, credentials/error.go */
#define NOT_FOUND_TEXT "credentials not found in native keychain"
/* The user name of what is an identity token (docker/cli, native store). */
#define IDENTITY_USER "<token>"

/* A helper that runs. */
struct helper {
	const char *name;
	pid_t pid;
	int pid_fd;
	int to, from; /* its standard input and output */
	uint64_t deadline_ms;
	int abort_fd;
};

static void pair_close(int pair[2])
{
	if (pair[0] >= 0)
		close(pair[0]);
	if (pair[1] >= 0)
		close(pair[1]);
}

/* In a process group of its own, with nothing of ours but two pipes: no descriptor, no blocked signal, no standard
 * error that would mix with the log. */
static int spawn_with(struct helper *helper, int input, int output)
{
	_cleanup_free_ char *program = mem_printf("docker-credential-%s", helper->name);
	char *const arguments[] = {program, (char *)(uintptr_t) "get", NULL};
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	sigset_t none, ignored;
	int failed;

	sigemptyset(&none);
	sigemptyset(&ignored);
	sigaddset(&ignored, SIGPIPE);
	posix_spawn_file_actions_init(&files);
	posix_spawnattr_init(&attributes);
	posix_spawn_file_actions_adddup2(&files, input, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
	posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &ignored);
	posix_spawnattr_setpgroup(&attributes, 0);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
	failed = posix_spawnp(&helper->pid, program, &files, &attributes, arguments, environ);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&files);
	return failed;
}

static int helper_start(struct helper *helper, struct err *err)
{
	int input[2] = {-1, -1}, output[2] = {-1, -1};
	int failed = pipe2(input, O_CLOEXEC) || pipe2(output, O_CLOEXEC) ? errno : 0;

	if (!failed)
		failed = spawn_with(helper, input[0], output[1]);
	if (failed) {
		pair_close(input);
		pair_close(output);
		return err_set_errno(err, ERR_UPSTREAM, failed, "docker-credential-%s: cannot be run", helper->name);
	}
	close(input[0]);
	close(output[1]);
	helper->to = input[1];
	helper->from = output[0];
	/* Should there be none (too many open files), the wait for it ends at the deadline. */
	helper->pid_fd = (int)syscall(SYS_pidfd_open, helper->pid, 0);
	return 0;
}

/* Waits until `fd` is ready; the deadline and the order to give up end it. */
static int helper_wait(const struct helper *helper, int fd, short events, struct err *err)
{
	struct pollfd fds[2] = {{.fd = fd, .events = events}, {.fd = helper->abort_fd, .events = POLLIN}};

	for (;;) {
		uint64_t now = clock_ms();
		int ready;

		if (now >= helper->deadline_ms)
			return err_set(err, ERR_UPSTREAM, "docker-credential-%s: does not answer in time",
				       helper->name);
		ready = poll(fds, 2, (int)(helper->deadline_ms - now));
		if (ready > 0 && fds[1].revents)
			return err_set(err, ERR_CANCELLED, "larder is shutting down");
		if (ready > 0)
			return 0;
		if (ready < 0 && errno != EINTR)
			return err_set_errno(err, ERR_UPSTREAM, errno, "docker-credential-%s: cannot be waited for",
					     helper->name);
	}
}

/* The server's name is far shorter than a pipe holds, so that writing it never waits. */
static int helper_tell(struct helper *helper, const char *server, struct err *err)
{
	_cleanup_free_ char *line = mem_printf("%s\n", server);
	ssize_t written = write(helper->to, line, strlen(line));

	close(helper->to);
	helper->to = -1;
	/* One that does not listen may answer all the same: EPIPE says nothing yet. */
	if (written < 0 && errno != EPIPE)
		return err_set_errno(err, ERR_UPSTREAM, errno, "docker-credential-%s: cannot be asked", helper->name);
	return 0;
}

static int helper_read(struct helper *helper, struct buf *output, struct err *err)
{
	char piece[4096];
	ssize_t got;
	int code;

	for (;;) {
		code = helper_wait(helper, helper->from, POLLIN, err);
		if (code)
			return code;
		got = read(helper->from, piece, sizeof(piece));
		if (got > 0)
			code = buf_append(output, piece, (size_t)got);
		explicit_bzero(piece, sizeof(piece));
		if (code)
			return err_set(err, ERR_UPSTREAM, "docker-credential-%s: writes more than %zu bytes",
				       helper->name, output->max);
		if (got == 0 || (got < 0 && errno != EINTR))
			return 0;
	}
}

/* It and what it started are ended, unless it ended by itself: then *status says how. */
static int helper_end(struct helper *helper, int code, int *status, struct err *err)
{
	if (code == 0)
		code = helper_wait(helper, helper->pid_fd, POLLIN, err);
	if (code)
		kill(-helper->pid, SIGKILL);
	while (waitpid(helper->pid, status, 0) < 0 && errno == EINTR)
		;
	if (helper->to >= 0)
		close(helper->to);
	close(helper->from);
	if (helper->pid_fd >= 0)
		close(helper->pid_fd);
	return code;
}

static int helper_run(struct helper *helper, const char *server, struct buf *output, int *status, struct err *err)
{
	int code = helper_start(helper, err);

	if (code)
		return code;
	code = helper_tell(helper, server, err);
	if (code == 0)
		code = helper_read(helper, output, err);
	return helper_end(helper, code, status, err);
}

static int take_output(const char *name, const struct buf *output, struct login *login, struct err *err)
{
	json_t *answer = json_loadb(output->data ? output->data : "", output->len, 0, NULL);
	const char *username = json_string_value(json_object_get(answer, "Username"));
	const char *secret = json_string_value(json_object_get(answer, "Secret"));
	int code = 0;

	if (!username || !secret || !*username || strchr(username, ':') || strlen(username) > LOGIN_MAX ||
	    strlen(secret) > LOGIN_MAX) {
		code = err_set(err, ERR_UPSTREAM, "docker-credential-%s: its answer is no Username and Secret", name);
	} else if (!*secret) {
		code = err_set(err, ERR_NOT_FOUND, "docker-credential-%s: has no secret", name);
	} else if (strcmp(username, IDENTITY_USER) == 0) {
		login->identity_token = mem_strdup(secret);
	} else {
		login->username = mem_strdup(username);
		login->password = mem_strdup(secret);
	}
	json_decref(answer);
	return code;
}

int docker_helper_get(const char *name, const char *server, uint64_t wait_ms, int abort_fd, struct login *login,
		      struct err *err)
{
	struct helper helper = {.name = name,
				.pid_fd = -1,
				.to = -1,
				.from = -1,
				.deadline_ms = clock_ms() + wait_ms,
				.abort_fd = abort_fd};
	struct buf output = {.max = DOCKER_HELPER_MAX};
	int status = 0;
	int code = helper_run(&helper, server, &output, &status, err);

	if (code == 0 && WIFSIGNALED(status))
		code = err_set(err, ERR_UPSTREAM, "docker-credential-%s: ended by signal %d", name, WTERMSIG(status));
	else if (code == 0 && WEXITSTATUS(status) != 0 && output.data && strstr(output.data, NOT_FOUND_TEXT))
		code = err_set(err, ERR_NOT_FOUND, "docker-credential-%s: knows no credentials", name);
	else if (code == 0 && WEXITSTATUS(status) != 0)
		code = err_set(err, ERR_UPSTREAM, "docker-credential-%s: ended with status %d%s", name,
			       WEXITSTATUS(status), WEXITSTATUS(status) == 127 ? " (is it installed?)" : "");
	else if (code == 0)
		code = take_output(name, &output, login, err);
	if (output.data)
		explicit_bzero(output.data, output.cap);
	buf_dispose(&output);
	return code;
}
