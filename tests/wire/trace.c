/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/wire/trace.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct trace {
	pid_t strace;
	char *path;
	struct buf lines;
};

#define THREADS_MAX 16

/* What follows `wanted` in the first line that begins so of the thread's file in /proc, for the caller to free. */
static char *read_line(int pid, const char *thread, const char *name, const char *wanted)
{
	_cleanup_free_ char *path = mem_printf("/proc/%d/task/%s/%s", pid, thread, name);
	FILE *file = fopen(path, "re");
	char line[256], *found = NULL;

	while (file && !found && fgets(line, sizeof(line), file))
		if (strncmp(line, wanted, strlen(wanted)) == 0)
			found = mem_strndup(line + strlen(wanted), strcspn(line + strlen(wanted), "\n"));
	if (file)
		fclose(file);
	return found;
}

/* The ids of the threads of that name. */
static size_t find_threads(pid_t pid, const char *name, char *threads[THREADS_MAX])
{
	_cleanup_free_ char *folder = mem_printf("/proc/%d/task", (int)pid);
	DIR *tasks = opendir(folder);
	struct dirent *task;
	size_t count = 0;

	assert_non_null(tasks);
	while ((task = readdir(tasks)) && count < THREADS_MAX) {
		_cleanup_free_ char *found = read_line((int)pid, task->d_name, "comm", "");

		if (found && strcmp(found, name) == 0)
			threads[count++] = mem_strdup(task->d_name);
	}
	closedir(tasks);
	return count;
}

static bool is_traced(pid_t pid, const char *thread)
{
	_cleanup_free_ char *tracer = read_line((int)pid, thread, "status", "TracerPid:\t");

	return tracer && strcmp(tracer, "0") != 0;
}

static void run_strace(const struct trace *trace, const char *calls, char *threads[THREADS_MAX], size_t count)
{
	const char *arguments[16 + 2 * THREADS_MAX] = {"strace", "-qq", "-y", "-o", trace->path, "-e", calls};
	size_t used = 7;

	for (size_t i = 0; i < count; i++) {
		arguments[used++] = "-p";
		arguments[used++] = threads[i];
	}
	execvp("strace", (char *const *)(uintptr_t)arguments);
	_exit(127);
}

struct trace *trace_begin(struct wire *wire, const struct larder *larder, const char *name, const char *calls)
{
	struct trace *trace = mem_alloc(sizeof(*trace));
	uint64_t deadline = clock_ms() + WIRE_WAIT_MS;
	char *threads[THREADS_MAX];
	size_t count;
	int status = 0;

	/* A thread names itself once it runs. */
	while ((count = find_threads(larder_pid(larder), name, threads)) == 0) {
		assert_true(clock_ms() < deadline);
		usleep(1000);
	}
	trace->path = wire_path(wire, "strace");
	trace->strace = fork();
	if (trace->strace == 0)
		run_strace(trace, calls, threads, count);
	for (size_t i = 0; i < count; i++) {
		while (trace->strace > 0 && !is_traced(larder_pid(larder), threads[i])) {
			assert_true(clock_ms() < deadline);
			if (waitpid(trace->strace, &status, WNOHANG) == trace->strace)
				trace->strace = 0;
			usleep(1000);
		}
		free(threads[i]);
	}
	if (trace->strace > 0)
		return trace;
	print_message("skipped: %s\n", WIFEXITED(status) && WEXITSTATUS(status) == 127 ? "strace is not installed"
										       : "strace may not trace here");
	trace_free(trace);
	return NULL;
}

void trace_end(struct trace *trace)
{
	FILE *file;
	char block[65536];
	size_t got;
	int status;

	kill(trace->strace, SIGINT);
	assert_int_equal(waitpid(trace->strace, &status, 0), trace->strace);
	trace->strace = 0;
	file = fopen(trace->path, "re");
	assert_non_null(file);
	trace->lines.max = (size_t)256 << 20;
	while ((got = fread(block, 1, sizeof(block), file)) > 0)
		assert_int_equal(buf_append(&trace->lines, block, got), 0);
	fclose(file);
}

unsigned trace_count(const struct trace *trace, const char *call, const char *with)
{
	/* strace names the thread in front where there are several. */
	_cleanup_free_ char *wanted = mem_printf(" %s(", call);
	const char *line = trace->lines.data ? trace->lines.data : "";
	size_t name_len = strlen(wanted) - 1;
	unsigned count = 0;

	while (*line) {
		size_t len = strcspn(line, "\n");
		const char *found = memmem(line, len, wanted, strlen(wanted));

		if (!found && len >= name_len && memcmp(line, wanted + 1, name_len) == 0)
			found = line;
		if (found && (!with || memmem(line, len, with, strlen(with))))
			count++;
		line += len + (line[len] == '\n');
	}
	return count;
}

void trace_free(struct trace *trace)
{
	if (!trace)
		return;
	if (trace->strace > 0) {
		kill(trace->strace, SIGKILL);
		waitpid(trace->strace, NULL, 0);
	}
	buf_dispose(&trace->lines);
	free(trace->path);
	free(trace);
}
