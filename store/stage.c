/* SPDX-License-Identifier: Apache-2.0 */
#include "store/stage.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "store/store_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

struct stage {
	struct store *store;
	char path[STORE_PATH_MAX];
	int fd;
	struct hasher *hasher;
	uint64_t size, written;
	uint64_t reserved;
	struct digest digest;
	bool published;
};

static int stage_error(const struct stage *stage, const char *what, struct err *err)
{
	return err_set_errno(err, ERR_IO, errno, "cannot %s %s/%s", what, stage->store->path, stage->path);
}

/* What is written is no longer counted as staged before it is no longer reserved: in between it counts twice. */
static void give_room(struct stage *stage)
{
	if (stage->reserved > 0)
		atomic_fetch_sub(&stage->store->room.staged, stage->written);
	room_give(stage->store, stage->reserved);
	stage->reserved = 0;
}

int stage_open(struct store *store, uint8_t algorithm, uint64_t size, struct stage **out, struct err *err)
{
	struct stage *stage = mem_alloc(sizeof(*stage));
	int code;

	*stage = (struct stage){.store = store, .fd = -1, .size = size};
	code = size > INT64_MAX ? err_set(err, ERR_LIMIT, "no blob has %llu bytes", (unsigned long long)size)
				: room_take(store, size + ROOM_FILE_BYTES, STORE_ROOM_WAIT_MS, err);
	if (code == 0) {
		stage->reserved = size + ROOM_FILE_BYTES;
		snprintf(stage->path, sizeof(stage->path), "partial/" STORE_PUT_PREFIX "%u",
			 atomic_fetch_add(&store->puts, 1));
		stage->fd =
			openat(store->root_fd, stage->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
		if (stage->fd < 0)
			code = stage_error(stage, "create", err);
	}
	if (code) {
		stage_close(stage);
		return code;
	}
	stage->hasher = hasher_new(algorithm);
	*out = stage;
	return 0;
}

void stage_close(struct stage *stage)
{
	if (!stage)
		return;
	if (stage->path[0] && !stage->published)
		unlinkat(stage->store->root_fd, stage->path, 0);
	if (stage->fd >= 0)
		close(stage->fd);
	give_room(stage);
	hasher_free(stage->hasher);
	free(stage);
}

int stage_write(struct stage *stage, const void *data, size_t len, struct err *err)
{
	const uint8_t *at = data;

	if (len > stage->size - stage->written)
		return err_set(err, ERR_LIMIT, "more than the %llu bytes that were said come",
			       (unsigned long long)stage->size);
	hasher_update(stage->hasher, data, len);
	while (len > 0) {
		ssize_t written = write(stage->fd, at, len);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return stage_error(stage, "write", err);
		at += written;
		len -= (size_t)written;
		stage->written += (uint64_t)written;
		atomic_fetch_add(&stage->store->room.staged, (uint64_t)written);
	}
	return 0;
}

int stage_finish(struct stage *stage, struct err *err)
{
	if (stage->written != stage->size)
		return err_set(err, ERR_INVALID, "%llu of %llu bytes came", (unsigned long long)stage->written,
			       (unsigned long long)stage->size);
	hasher_finish(take_pointer(stage->hasher), &stage->digest);
	close(take_fd(stage->fd));
	return 0;
}

const struct digest *stage_digest(const struct stage *stage)
{
	return &stage->digest;
}

int stage_publish(struct stage *stage, struct err *err)
{
	struct store *store = stage->store;
	_cleanup_close_ int fd = -1;
	int code;

	assert(stage->digest.algorithm);
	if (!stage->published) {
		fd = openat(store->root_fd, stage->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		if (fd < 0)
			return stage_error(stage, "open", err);
		code = store_sync_file(store, stage->path, fd, err);
		if (!code)
			code = store_publish_file(store, stage->path, &stage->digest, stage->size, err);
		if (code)
			return code;
		stage->published = true;
	}
	code = store_record_blob(store, &stage->digest, stage->size, err);
	if (code)
		return code;
	/* The index counts it now. */
	give_room(stage);
	return 0;
}
