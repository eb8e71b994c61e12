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
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int bundle_sink_open(struct bundle_sink *sink)
{
	uint8_t signature[SIGN_SIGNATURE_BYTES];

	sink->fd = -1;
	/* A key that is none is said before gigabytes have come. */
	if (sink->key && sign_bytes(sink->key, "", 0, signature, &sink->err))
		return sink->err.code;
	if (sink->directory) {
		sink->untar = untar_new();
		sink->made = access(sink->path, F_OK) < 0;
		return file_open_empty_directory(sink->path, &sink->fd, &sink->err);
	}
	if (strcmp(sink->path, "-") == 0) {
		sink->fd = STDOUT_FILENO;
		return 0;
	}
	if (!file_is_stream(sink->path))
		sink->part = mem_printf("%s.part", sink->path);
	sink->fd = sink->part ? open(sink->part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)
			      : open(sink->path, O_WRONLY | O_CLOEXEC);
	if (sink->fd < 0)
		return err_set_errno(&sink->err, ERR_IO, errno, "cannot create %s",
				     sink->part ? sink->part : sink->path);
	return 0;
}

static void note(struct bundle_sink *sink, uint64_t bytes)
{
	sink->bytes += bytes;
	if (sink->meter)
		meter_show(sink->meter, sink->bytes);
}

static void describe(struct bundle_sink *sink)
{
	size_t len;
	const char *self = bundle_head_self(&sink->head, &len);

	if (sink->meter)
		meter_describe(sink->meter, self, len);
}

static int put(struct bundle_sink *sink, const void *data, size_t len)
{
	note(sink, len);
	return sink->directory ? untar_take(sink->untar, sink->fd, data, len, &sink->err)
			       : file_write(sink->fd, data, len, &sink->err);
}

static int put_signature(struct bundle_sink *sink)
{
	uint8_t signature[SIGN_SIGNATURE_BYTES], header[TAR_HEADER_MAX], zeroes[TAR_BLOCK] = {0};
	size_t len;
	const char *self = bundle_head_self(&sink->head, &len);
	int code = sign_bytes(sink->key, self, len, signature, &sink->err);

	if (code == 0)
		code = put(sink, header, tar_header_even(BUNDLE_SIGNATURE, sizeof(signature), header));
	if (code == 0)
		code = put(sink, signature, sizeof(signature));
	return code ? code : put(sink, zeroes, tar_padding(sizeof(signature)));
}

/* Gathers the first member, and passes it on with its signature. How many bytes were taken, or an error. */
static ssize_t take_head(struct bundle_sink *sink, const void *data, size_t len)
{
	ssize_t taken = bundle_head_take(&sink->head, data, len, &sink->err);
	int code = 0;

	if (taken < 0 || !sink->head.done)
		return taken;
	describe(sink);
	code = put(sink, sink->head.text.data, sink->head.text.len);
	if (code == 0 && sink->key)
		code = put_signature(sink);
	return code ? code : taken;
}

int bundle_sink_take(void *arg, const void *data, size_t len)
{
	struct bundle_sink *sink = arg;
	const char *at = data;

	if (!sink->head.done) {
		ssize_t taken = take_head(sink, at, len);

		if (taken < 0)
			return (int)taken;
		at += taken;
		len -= (size_t)taken;
	}
	return len > 0 ? put(sink, at, len) : 0;
}

static void note_copied(void *arg, uint64_t bytes)
{
	note(arg, bytes);
}

int bundle_sink_copy(struct bundle_sink *sink, int fd, const char *path, uint64_t size)
{
	uint8_t header[TAR_HEADER_MAX], zeroes[TAR_BLOCK] = {0};
	size_t header_len = tar_header_at(path, size, sink->bytes, header);
	struct file_watch watch = {note_copied, sink};
	_cleanup_close_ int file = -1;
	int code;

	if (sink->directory) {
		note(sink, header_len + tar_padding(size)); /* as if it were an archive */
		code = file_create(sink->fd, path, &file, &sink->err);
		return code ? code : file_copy(fd, file, size, &watch, &sink->err);
	}
	code = put(sink, header, header_len);
	if (code == 0)
		code = file_copy(fd, sink->fd, size, &watch, &sink->err);
	return code ? code : put(sink, zeroes, tar_padding(size));
}

int bundle_sink_end(struct bundle_sink *sink)
{
	static const uint8_t zeroes[TAR_END];

	return put(sink, zeroes, sizeof(zeroes));
}

int bundle_sink_finish(struct bundle_sink *sink)
{
	if (!sink->head.done)
		return err_set(&sink->err, ERR_INVALID, "what came is no bundle");
	sink->finished = true;
	if (sink->directory && untar_finish(sink->untar, &sink->err))
		sink->finished = false;
	if (!sink->part)
		return sink->err.code;
	if (close(sink->fd) < 0 || rename(sink->part, sink->path) < 0) {
		sink->fd = -1;
		return err_set_errno(&sink->err, ERR_IO, errno, "cannot write %s", sink->path);
	}
	sink->fd = -1;
	free(sink->part);
	sink->part = NULL;
	return 0;
}

/* All that is in it: it was empty, or not there. */
static void remove_directory(const struct bundle_sink *sink)
{
	char *const paths[] = {(char *)(uintptr_t)sink->path, NULL};
	FTS *tree = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	FTSENT *entry;

	while (tree && (entry = fts_read(tree))) {
		if (entry->fts_info == FTS_F)
			unlink(entry->fts_accpath);
		else if (entry->fts_info == FTS_DP && (entry->fts_level > 0 || sink->made))
			rmdir(entry->fts_accpath);
	}
	if (tree)
		fts_close(tree);
}

void bundle_sink_dispose(struct bundle_sink *sink)
{
	if (sink->part)
		unlink(sink->part);
	if (sink->directory && sink->fd >= 0 && !sink->finished)
		remove_directory(sink);
	if (sink->fd > STDERR_FILENO)
		close(sink->fd);
	untar_free(sink->untar);
	buf_dispose(&sink->head.text);
	free(sink->part);
}
