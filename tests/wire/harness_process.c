/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/wire/harness_process.h"

#include "tests/wire/harness.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define START_MS     20000
#define STOP_MS      30000 /* running answers get 25 s */
#define REPORT_EXIT  99    /* what a sanitizer's report makes of the exit status */
#define OUTPUT_MAX   ((size_t)64 << 20)
#define READY_LINE   "listening on "
#define REPORT_CHECK 8

struct larder {
	char **arguments;
	unsigned listeners;
	pid_t pid; /* 0: not running */
	int status;
	bool killed; /* by the test */
	int pipes[2];
	pthread_t reader;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Under the lock. */
	struct buf output[2];
	size_t started_at[2]; /* what it wrote since it was started begins here */
	bool ended;           /* both streams are at their end */
	char *addresses[WIRE_LARDERS_MAX];
};

struct larder *process_new(const char *const *arguments, unsigned listeners)
{
	struct larder *larder = mem_alloc(sizeof(*larder));
	pthread_condattr_t monotonic;
	size_t count = 0;
	while (arguments[count])
		count++;
	larder->arguments = mem_alloc((count + 1) * sizeof(char *));
	for (size_t i = 0; i < count; i++)
		larder->arguments[i] = mem_strdup(arguments[i]);
	larder->listeners = listeners;
	larder->output[0].max = larder->output[1].max = OUTPUT_MAX;
	pthread_mutex_init(&larder->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&larder->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	return larder;
}

static void *read_output(void *argument)
{
	struct larder *larder = argument;
	struct pollfd fds[2] = {{.fd = larder->pipes[0], .events = POLLIN}, {.fd = larder->pipes[1], .events = POLLIN}};
	while (fds[0].fd >= 0 || fds[1].fd >= 0) {
		char data[16384];
		if (poll(fds, 2, -1) < 0)
			continue;
		for (int i = 0; i < 2; i++) {
			if (fds[i].fd < 0 || !fds[i].revents)
				continue;
			ssize_t n = read(fds[i].fd, data, sizeof(data));
			if (n <= 0)
				fds[i].fd = -1;
			pthread_mutex_lock(&larder->lock);
			if (n > 0 && buf_append(&larder->output[i], data, (size_t)n) != 0)
				buf_clear(&larder->output[i]); /* a flood: what is newest says most */
			pthread_cond_broadcast(&larder->changed);
			pthread_mutex_unlock(&larder->lock);
		}
	}
	pthread_mutex_lock(&larder->lock);
	larder->ended = true;
	pthread_cond_broadcast(&larder->changed);
	pthread_mutex_unlock(&larder->lock);
	return NULL;
}

/* Only what is safe after fork: the sanitizers' options were made before. */
static _Noreturn void become(char *const *arguments, char *const *environment, const int streams[2], pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	dup2(streams[0], STDOUT_FILENO);
	dup2(streams[1], STDERR_FILENO);
	execve(arguments[0], arguments, environment);
	_exit(127);
}

/* This process's environment, with sanitizer reports told apart from other failures. Freed with environment_free(). */
static char **environment_make(void)
{
	static const char *const names[] = {"ASAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS"};
	size_t count = 0;
	size_t kept = 0;
	while (environ[count])
		count++;
	char **made = mem_alloc((count + 5) * sizeof(char *));
	for (size_t i = 0; i < count; i++) {
		if (!strstr(environ[i], "SAN_OPTIONS="))
			made[kept++] = mem_strdup(environ[i]);
	}
	for (size_t i = 0; i < 4; i++) {
		const char *own = getenv(names[i]);
		made[kept++] = mem_printf("%s=%s%sexitcode=%d", names[i], own ? own : "", own ? ":" : "", REPORT_EXIT);
	}
	return made;
}

static void environment_free(char **made)
{
	for (size_t i = 0; made[i]; i++)
		free(made[i]);
	free(made);
}

static struct timespec deadline_in(unsigned ms)
{
	uint64_t at_us = clock_us() + (uint64_t)ms * 1000;
	return (struct timespec){.tv_sec = (time_t)(at_us / 1000000), .tv_nsec = (long)(at_us % 1000000) * 1000};
}

/* Takes down the addresses of the listening lines written so far; how many there are. Under the lock. */
static unsigned note_addresses(struct larder *larder)
{
	const struct buf *log = &larder->output[1];
	const char *at = log->data ? log->data + larder->started_at[1] : "";
	unsigned count = 0;
	while ((at = strstr(at, READY_LINE)) && strchr(at, '\n') && count < WIRE_LARDERS_MAX) {
		at += strlen(READY_LINE);
		free(larder->addresses[count]);
		larder->addresses[count++] = mem_strndup(at, strcspn(at, " \r\n\","));
	}
	return count;
}

static void wait_ready(struct larder *larder)
{
	struct timespec deadline = deadline_in(START_MS);
	bool ready = false;
	bool waits = true;
	pthread_mutex_lock(&larder->lock);
	while (!ready && waits) {
		ready = note_addresses(larder) >= larder->listeners;
		waits = ready ||
			(!larder->ended && pthread_cond_timedwait(&larder->changed, &larder->lock, &deadline) == 0);
	}
	pthread_mutex_unlock(&larder->lock);
	if (!ready)
		fail_msg("%s did not say \"%s\" %u times", larder->arguments[0], READY_LINE, larder->listeners);
}

void process_start(struct larder *larder)
{
	int out[2];
	int err[2];
	assert_int_equal(larder->pid, 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	assert_int_equal(pipe2(err, O_CLOEXEC), 0);
	char **environment = environment_make();
	pid_t parent = getpid();
	larder->pid = fork();
	if (larder->pid == 0)
		become(larder->arguments, environment, (int[]){out[1], err[1]}, parent);
	environment_free(environment);
	close(out[1]);
	close(err[1]);
	larder->pipes[0] = out[0];
	larder->pipes[1] = err[0];
	larder->killed = false;
	larder->ended = false;
	larder->started_at[0] = larder->output[0].len;
	larder->started_at[1] = larder->output[1].len;
	assert_true(larder->pid > 0);
	assert_int_equal(pthread_create(&larder->reader, NULL, read_output, larder), 0);
	if (larder->listeners > 0)
		wait_ready(larder);
}

/* Waits until it has ended and takes it down. False when it did not. */
static bool reap(struct larder *larder, unsigned deadline_ms)
{
	int pidfd = (int)syscall(SYS_pidfd_open, larder->pid, 0);
	struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};
	uint64_t deadline_us = clock_us() + (uint64_t)deadline_ms * 1000;
	int rc;
	do {
		uint64_t now_us = clock_us();
		rc = poll(&poll_fd, 1, deadline_us > now_us ? (int)((deadline_us - now_us) / 1000) : 0);
	} while (rc < 0 && errno == EINTR);
	close(pidfd);
	if (rc <= 0)
		return false;
	waitpid(larder->pid, &larder->status, 0);
	pthread_join(larder->reader, NULL);
	close(larder->pipes[0]);
	close(larder->pipes[1]);
	larder->pid = 0;
	return true;
}

/* NULL, or what was wrong with how it ended. */
static const char *end_fault(const struct larder *larder)
{
	static const char *const reports[REPORT_CHECK] = {"ERROR: AddressSanitizer", "ERROR: LeakSanitizer",
							  "WARNING: ThreadSanitizer", "runtime error:"};
	for (size_t i = 0; i < REPORT_CHECK && reports[i]; i++) {
		if (larder->output[1].data && strstr(larder->output[1].data, reports[i]))
			return reports[i];
	}
	if (larder->killed)
		return NULL;
	if (WIFSIGNALED(larder->status))
		return strsignal(WTERMSIG(larder->status));
	return WEXITSTATUS(larder->status) == REPORT_EXIT ? "a sanitizer's report" : NULL;
}

bool process_finish(struct larder *larder, unsigned deadline_ms, int *status)
{
	bool ended = true;
	if (larder->pid > 0) {
		kill(larder->pid, SIGTERM);
		ended = reap(larder, deadline_ms);
		if (!ended) {
			print_error("larder does not end after SIGTERM\n");
			larder->killed = true;
			kill(larder->pid, SIGKILL);
			reap(larder, STOP_MS);
		}
	}
	*status = larder->status;
	return ended;
}

bool process_end(struct larder *larder)
{
	if (larder->pid > 0) {
		int status;
		if (!process_finish(larder, STOP_MS, &status))
			return false;
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
			print_error("larder ended with wait status 0x%x after SIGTERM\n", (unsigned)status);
			return false;
		}
	}
	const char *fault = end_fault(larder);
	if (fault)
		print_error("larder ended by: %s\n", fault);
	return !fault;
}

void process_print(struct larder *larder)
{
	for (int i = 0; i < 2; i++)
		print_error("---- %s of %s:\n%s\n", i ? "stderr" : "stdout", larder->arguments[0],
			    larder->output[i].data ? larder->output[i].data : "");
}

void process_free(struct larder *larder)
{
	for (size_t i = 0; larder->arguments[i]; i++)
		free(larder->arguments[i]);
	free(larder->arguments);
	for (size_t i = 0; i < WIRE_LARDERS_MAX; i++)
		free(larder->addresses[i]);
	buf_dispose(&larder->output[0]);
	buf_dispose(&larder->output[1]);
	pthread_cond_destroy(&larder->changed);
	pthread_mutex_destroy(&larder->lock);
	free(larder);
}

uint16_t larder_port(const struct larder *larder)
{
	const char *colon = strrchr(larder_address(larder, 0), ':');
	return (uint16_t)(colon ? strtoul(colon + 1, NULL, 10) : 0);
}

const char *larder_address(const struct larder *larder, unsigned nth)
{
	assert_true(nth < WIRE_LARDERS_MAX && larder->addresses[nth]);
	return larder->addresses[nth];
}

pid_t larder_pid(const struct larder *larder)
{
	return larder->pid;
}

static uint64_t status_kib(const struct larder *larder, const char *field)
{
	_cleanup_free_ char *path = mem_printf("/proc/%d/status", (int)larder->pid);
	char line[256];
	unsigned long kib = 0;
	FILE *file = fopen(path, "r");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		if (strncmp(line, field, strlen(field)) == 0)
			kib = strtoul(line + strlen(field), NULL, 10);
	}
	fclose(file);
	assert_true(kib > 0);
	return kib;
}

uint64_t larder_rss(const struct larder *larder)
{
	return status_kib(larder, "VmRSS:") * 1024;
}

uint64_t larder_rss_peak(const struct larder *larder)
{
	return status_kib(larder, "VmHWM:") * 1024;
}

void larder_signal(struct larder *larder, int signal)
{
	assert_true(larder->pid > 0);
	assert_int_equal(kill(larder->pid, signal), 0);
}

int larder_wait(struct larder *larder, unsigned deadline_ms)
{
	assert_true(larder->pid > 0);
	if (!reap(larder, deadline_ms))
		fail_msg("larder did not end within %u ms", deadline_ms);
	const char *fault = end_fault(larder);
	if (fault)
		fail_msg("larder ended by: %s", fault);
	return WEXITSTATUS(larder->status);
}

void larder_stop(struct larder *larder)
{
	larder_signal(larder, SIGTERM);
	assert_int_equal(larder_wait(larder, STOP_MS), 0);
}

void larder_kill(struct larder *larder)
{
	larder->killed = true;
	larder_signal(larder, SIGKILL);
	if (!reap(larder, STOP_MS))
		fail_msg("larder survived SIGKILL");
}

void larder_restart(struct larder *larder)
{
	process_start(larder);
}

bool larder_wait_output(struct larder *larder, const char *text, unsigned deadline_ms)
{
	struct timespec deadline = deadline_in(deadline_ms);
	bool found = false;
	bool waits = true;
	pthread_mutex_lock(&larder->lock);
	while (!found && waits) {
		for (int i = 0; i < 2; i++) {
			const struct buf *output = &larder->output[i];
			found |= output->len > larder->started_at[i] &&
				 strstr(output->data + larder->started_at[i], text);
		}
		waits = found ||
			(!larder->ended && pthread_cond_timedwait(&larder->changed, &larder->lock, &deadline) == 0);
	}
	pthread_mutex_unlock(&larder->lock);
	return found;
}

char *larder_output(struct larder *larder, int stream)
{
	assert_true(stream == 1 || stream == 2);
	pthread_mutex_lock(&larder->lock);
	char *copy = mem_strdup(larder->output[stream - 1].data ? larder->output[stream - 1].data : "");
	pthread_mutex_unlock(&larder->lock);
	return copy;
}
