/* SPDX-License-Identifier: Apache-2.0 */
#include "store/remove.h"

#include "base/cleanup.h"
#include "store/closure.h"
#include "store/index.h"
#include "store/layer_file.h"
#include "store/store_internal.h"

#include <errno.h>
#include <string.h>

int remove_blob_files(struct store *store, const struct digest *digest, struct err *err)
{
	char path[STORE_PATH_MAX];

	if (unlinkat(store->root_fd, store_blob_path(digest, path), 0) < 0 && errno != ENOENT)
		return err_set_errno(err, ERR_IO, errno, "cannot remove %s/%s", store->path, path);
	layer_file_remove(store, digest);
	return 0;
}

static int remove_files(struct store *store, const struct digest *digests, unsigned *count, struct err *err)
{
	for (unsigned i = 0; i < *count; i++) {
		int code = remove_blob_files(store, &digests[i], err);

		if (code) {
			*count = i;
			return code;
		}
	}
	return 0;
}

static uint64_t bytes_of(struct store *store, const struct digest *digests, unsigned count)
{
	struct index_blob blob;
	uint64_t bytes = 0;

	for (unsigned i = 0; i < count; i++)
		if (index_get_blob(store->index, &digests[i], &blob, NULL) == 0)
			bytes += blob.size;
	return bytes;
}

/* What is being removed is noted, so that nobody takes a file that is still there for one that the index has lost. */
static int remove_batch(struct store *store, const struct digest *digests, unsigned count, struct removed *removed,
			struct err *err)
{
	struct index_change changes[ROOM_REMOVING_MAX];
	struct room *room = &store->room;
	uint64_t held = bytes_of(store, digests, count);
	unsigned gone = count;
	int code, forgotten = 0;

	pthread_mutex_lock(&room->mutex);
	while (room->removing_count > 0)
		pthread_cond_wait(&room->freed, &room->mutex);
	memcpy(room->removing, digests, count * sizeof(*digests));
	room->removing_count = count;
	pthread_mutex_unlock(&room->mutex);

	code = remove_files(store, digests, &gone, err);
	for (unsigned i = 0; i < gone; i++)
		changes[i] = (struct index_change){.kind = INDEX_FORGET_BLOB, .digest = &digests[i]};
	if (gone > 0)
		forgotten = index_write(store->index, changes, gone, code ? NULL : err);

	pthread_mutex_lock(&room->mutex);
	room->removing_count = 0;
	pthread_cond_broadcast(&room->freed);
	pthread_mutex_unlock(&room->mutex);
	if (code == 0 && removed) {
		removed->bytes += held;
		removed->blobs += count;
	}
	return code ? code : forgotten;
}

int remove_blobs(struct store *store, const struct digest *digests, size_t count, struct removed *removed,
		 struct err *err)
{
	int code = 0;

	for (size_t done = 0; done < count && !code; done += ROOM_REMOVING_MAX) {
		size_t batch = count - done < ROOM_REMOVING_MAX ? count - done : ROOM_REMOVING_MAX;

		code = remove_batch(store, digests + done, (unsigned)batch, removed, err);
	}
	return code;
}

int remove_image(struct store *store, const struct digest *root, struct removed *removed, struct err *err)
{
	_cleanup_(closure_dispose) struct closure image = {0};
	struct digest batch[ROOM_REMOVING_MAX];
	unsigned count = 0;
	int code = 0;

	closure_add(&image, store, root);
	if (!image.members)
		return err_set(err, ERR_NOT_FOUND, "it is not held");
	for (struct closure_member *at = image.members; at && !code; at = at->hh.next) {
		batch[count++] = at->digest;
		if (count < ROOM_REMOVING_MAX && at->hh.next)
			continue;
		code = remove_batch(store, batch, count, removed, err);
		count = 0;
	}
	return code;
}
