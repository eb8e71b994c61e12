/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/bundle_sink.h"

#include "base/cleanup.h"
#include "server/bundle/describe.h"
#include "server/bundle/file_copy.h"
#include "server/bundle/sign.h"
#include "server/bundle/tar.h"
#include "server/cli/untar.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int bundle_sink_open(struct bundle_sink *sink)
{
	uint8_t signature[SIGN_SIGNATURE_BYTES];

	sink->fd = -1;
	sink->head.max = BUNDLE_SELF_MAX + 2 * TAR_HEADER_MAX;
	/* A key that is none is said before gigabytes have come. */
	if (sink->key && sign_bytes(sink->key, "", 0, signature, &sink->err))
		return sink->err.code;
	if (sink->directory) {
		sink->untar = untar_new();
		return file_open_empty_directory(sink->path, &sink->fd, &sink->err);
	}
	if (strcmp(sink->path, "-") == 0) {
		sink->fd = STDOUT_FILENO;
		return 0;
	}
	sink->part = mem_printf("%s.part", sink->path);
	sink->fd = open(sink->part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (sink->fd < 0)
		return err_set_errno(&sink->err, ERR_IO, errno, "cannot create %s", sink->part);
	return 0;
}

static int put(struct bundle_sink *sink, const void *data, size_t len)
{
	sink->bytes += len;
	return sink->directory ? untar_take(sink->untar, sink->fd, data, len, &sink->err)
			       : file_write(sink->fd, data, len, &sink->err);
}

/* The archive's first member begins with a plain header: how long it is with all, 0 while that is not known. */
static size_t head_length(const struct bundle_sink *sink)
{
	uint64_t size;

	if (sink->head.len < TAR_BLOCK)
		return 0;
	size = tar_read_size((const uint8_t *)sink->head.data);
	return size > BUNDLE_SELF_MAX ? SIZE_MAX : TAR_BLOCK + (size_t)size + tar_padding(size);
}

const char *bundle_sink_self(const struct bundle_sink *sink, size_t *len)
{
	*len = sink->head_done ? (size_t)tar_read_size((const uint8_t *)sink->head.data) : 0;
	return sink->head_done ? sink->head.data + TAR_BLOCK : "";
}

static int put_signature(struct bundle_sink *sink)
{
	uint8_t signature[SIGN_SIGNATURE_BYTES], header[TAR_HEADER_MAX], zeroes[TAR_BLOCK] = {0};
	size_t len;
	const char *self = bundle_sink_self(sink, &len);
	int code = sign_bytes(sink->key, self, len, signature, &sink->err);

	if (code == 0)
		code = put(sink, header, tar_header_even(BUNDLE_SIGNATURE, sizeof(signature), header));
	if (code == 0)
		code = put(sink, signature, sizeof(signature));
	return code ? code : put(sink, zeroes, tar_padding(sizeof(signature)));
}

/* Gathers the first member, and passes it on with its signature. How many bytes were taken, or an error. */
static ssize_t take_head(struct bundle_sink *sink, const char *data, size_t len)
{
	size_t want, taken = 0;
	int code = 0;

	while (taken < len && (want = head_length(sink) ? head_length(sink) : TAR_BLOCK) > sink->head.len) {
		size_t count = want - sink->head.len < len - taken ? want - sink->head.len : len - taken;

		if (buf_append(&sink->head, data + taken, count))
			return err_set(&sink->err, ERR_INVALID, "what came is no bundle");
		taken += count;
	}
	if (head_length(sink) == 0 || sink->head.len < head_length(sink))
		return (ssize_t)taken;
	if (strncmp(sink->head.data, BUNDLE_SELF, sizeof(BUNDLE_SELF)) != 0)
		return err_set(&sink->err, ERR_INVALID, "what came is no bundle");
	sink->head_done = true;
	code = put(sink, sink->head.data, sink->head.len);
	if (code == 0 && sink->key)
		code = put_signature(sink);
	return code ? code : (ssize_t)taken;
}

int bundle_sink_take(void *arg, const void *data, size_t len)
{
	struct bundle_sink *sink = arg;
	const char *at = data;

	if (!sink->head_done) {
		ssize_t taken = take_head(sink, at, len);

		if (taken < 0)
			return (int)taken;
		at += taken;
		len -= (size_t)taken;
	}
	return len > 0 ? put(sink, at, len) : 0;
}

int bundle_sink_copy(struct bundle_sink *sink, int fd, const char *path, uint64_t size)
{
	uint8_t header[TAR_HEADER_MAX], zeroes[TAR_BLOCK] = {0};
	_cleanup_close_ int file = -1;
	int code;

	if (sink->directory) {
		sink->bytes += size;
		code = file_create(sink->fd, path, &file, &sink->err);
		return code ? code : file_copy(fd, file, size, &sink->err);
	}
	code = put(sink, header, tar_header_at(path, size, sink->bytes, header));
	sink->bytes += size;
	if (code == 0)
		code = file_copy(fd, sink->fd, size, &sink->err);
	return code ? code : put(sink, zeroes, tar_padding(size));
}

int bundle_sink_end(struct bundle_sink *sink)
{
	static const uint8_t zeroes[TAR_END];

	return put(sink, zeroes, sizeof(zeroes));
}

int bundle_sink_finish(struct bundle_sink *sink)
{
	if (!sink->head_done)
		return err_set(&sink->err, ERR_INVALID, "what came is no bundle");
	if (sink->directory)
		return untar_finish(sink->untar, &sink->err);
	if (!sink->part)
		return 0;
	if (close(sink->fd) < 0 || rename(sink->part, sink->path) < 0) {
		sink->fd = -1;
		return err_set_errno(&sink->err, ERR_IO, errno, "cannot write %s", sink->path);
	}
	sink->fd = -1;
	free(sink->part);
	sink->part = NULL;
	return 0;
}

void bundle_sink_dispose(struct bundle_sink *sink)
{
	if (sink->part)
		unlink(sink->part);
	if (sink->fd > STDERR_FILENO)
		close(sink->fd);
	untar_free(sink->untar);
	buf_dispose(&sink->head);
	free(sink->part);
}
