/* SPDX-License-Identifier: Apache-2.0 */
/* `larder receipt -o FILE`: what is held, for an export elsewhere to leave out. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "server/cli/admin_session.h"
#include "server/bundle/file_copy.h"
#include "server/bundle/receipt.h"
#include "server/cli/command.h"
#include "server/cli/show.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int say(int errno_value, const char *path)
{
	fprintf(stderr, "larder receipt: cannot write %s: %s\n", path, strerrordesc_np(errno_value));
	return EXIT_SOME_FAILED;
}

struct output {
	int fd;
	int errno_value; /* of a write that failed */
};

static int take(void *arg, const void *data, size_t len)
{
	struct output *out = arg;
	int code = admin_take_to_fd(&out->fd, data, len);

	out->errno_value = code ? errno : 0;
	return code;
}

static int write_to(const struct command_line *line, const char *path, int fd)
{
	_cleanup_(admin_session_close) struct admin_session session;
	struct output out = {.fd = fd};
	struct admin_request request = {.method = "GET", .target = "/api/v1/receipt", .take = take, .arg = &out};
	int status = admin_session_open(&session, line);

	if (status == EXIT_DONE)
		status = admin_session_stream(&session, &request);
	return out.errno_value ? say(out.errno_value, path) : status;
}

/* It is read again, so that nobody carries one away that is not whole. */
static int print_summary(const struct command_line *line, const char *path, int fd)
{
	struct receipt *receipt = NULL;
	struct err err = {0};
	char plain[SHOW_TEXT_MAX];

	if (receipt_open(fd, &receipt, &err)) {
		fprintf(stderr, "larder receipt: %s\n", err.text);
		return EXIT_SOME_FAILED;
	}
	if (command_has(line, "json"))
		printf("{\"blobs\":%" PRIu64 "}\n", receipt_count(receipt));
	else
		printf("%s: %" PRIu64 " blobs\n", show_plain(path, plain), receipt_count(receipt));
	receipt_free(receipt);
	return EXIT_DONE;
}

/* It gets its name when it is whole. */
static int write_file(const struct command_line *line, const char *path)
{
	_cleanup_free_ char *part = mem_printf("%s.part", path);
	int fd = open(part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	int status;

	if (fd < 0)
		return say(errno, part);
	status = write_to(line, path, fd);
	if (status == EXIT_DONE)
		status = print_summary(line, path, fd);
	if (close(fd) < 0 || (status == EXIT_DONE && rename(part, path) < 0))
		status = say(errno, path);
	if (status != EXIT_DONE)
		unlink(part);
	return status;
}

/* A pipe or a device is written to as it is. */
static int write_stream(const struct command_line *line, const char *path)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), status;

	if (fd < 0)
		return say(errno, path);
	status = write_to(line, path, fd);
	return close(fd) < 0 ? say(errno, path) : status;
}

int cmd_receipt(const struct command_line *line)
{
	const char *path = command_value(line, "output");

	if (!path)
		return command_usage_error(line->command->name, "say where to, with -o FILE");
	if (strcmp(path, "-") == 0 && isatty(STDOUT_FILENO))
		return command_usage_error(line->command->name, "a receipt is nothing for a terminal");
	if (strcmp(path, "-") == 0)
		return write_to(line, "standard output", STDOUT_FILENO);
	return file_is_stream(path) ? write_stream(line, path) : write_file(line, path);
}
