/* SPDX-License-Identifier: Apache-2.0 */
/* Interests of pull/ for threads that may block: each waits until it is woken. */
#include "server/files/files_internal.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/sleeper.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct sleeper *sleeper_new(void)
{
	struct sleeper *sleeper = mem_alloc(sizeof(*sleeper));

	sleeper_init(sleeper);
	return sleeper;
}

static void sleeper_free(struct sleeper *sleeper)
{
	if (!sleeper)
		return;
	sleeper_dispose(sleeper);
	free(sleeper);
}

/* Blobs. */

static struct pull_blob *open_pull_blob(struct files *files, struct pull_upstream *upstream, const char *repository,
					const struct digest *digest, enum files_opening opening)
{
	if (opening == FILES_PRESENT)
		return pull_blob_open_present(files->pull, upstream, repository, digest);
	if (opening == FILES_WHOLE)
		return pull_blob_open_ahead(files->pull, upstream, repository, digest);
	return pull_blob_open(files->pull, upstream, repository, digest, false);
}

static int await_blob(const struct files_blob *blob, struct err *err)
{
	int code;

	while ((code = pull_blob_poll(blob->pull, &blob->sleeper->waiter, err)) == ERR_AGAIN)
		sleeper_wait(blob->sleeper);
	return code;
}

int files_open_blob(struct files *files, struct pull_upstream *upstream, const char *repository,
		    const struct digest *digest, enum files_opening opening, struct files_blob *blob, struct err *err)
{
	int code;

	*blob = (struct files_blob){.fd = -1, .sleeper = sleeper_new()};
	blob->pull = open_pull_blob(files, upstream, repository, digest, opening);
	code = await_blob(blob, err);
	if (!code && opening == FILES_WHOLE) {
		/* It is in the store now, and is opened there. */
		pull_blob_close(blob->pull);
		blob->pull = open_pull_blob(files, upstream, repository, digest, FILES_PRESENT);
		code = await_blob(blob, err);
	}
	if (code) {
		files_close_blob(blob);
		return code;
	}
	blob->size = pull_blob_size(blob->pull);
	blob->fd = pull_blob_take_fd(blob->pull);
	return 0;
}

ssize_t files_read_blob(const struct files_blob *blob, uint64_t offset, void *data, size_t max, struct err *err)
{
	ssize_t got;

	if (blob->fd >= 0) {
		got = pread(blob->fd, data, max, (off_t)offset);
		return got > 0 ? got : err_set_errno(err, ERR_IO, got < 0 ? errno : EIO, "cannot read a stored blob");
	}
	while ((got = pull_blob_read(blob->pull, offset, data, max, &blob->sleeper->waiter)) == ERR_AGAIN)
		sleeper_wait(blob->sleeper);
	return got > 0 ? got : err_set(err, got < 0 ? (int)got : ERR_IO, "the transfer of the blob failed");
}

void files_close_blob(struct files_blob *blob)
{
	pull_blob_close(blob->pull);
	sleeper_free(blob->sleeper);
	blob->pull = NULL;
	blob->sleeper = NULL;
	if (blob->fd >= 0)
		close(blob->fd);
	blob->fd = -1;
}

/* Manifests. */

int files_fetch_manifest(struct files *files, const struct files_place *place, const char *reference, char **data,
			 size_t *len, struct digest *digest, char media_type[PULL_MEDIA_TYPE_MAX + 1], struct err *err)
{
	struct pull_manifest *manifest =
		pull_manifest_open(files->pull, place->upstream, place->repository, reference, NULL, false);
	struct sleeper *sleeper = sleeper_new();
	int code;

	while ((code = pull_manifest_poll(manifest, &sleeper->waiter, err)) == ERR_AGAIN)
		sleeper_wait(sleeper);
	if (!code) {
		*len = (size_t)pull_manifest_size(manifest);
		*data = mem_alloc(*len + 1);
		memcpy(*data, pull_manifest_data(manifest), *len);
		*digest = *pull_manifest_digest(manifest);
		snprintf(media_type, PULL_MEDIA_TYPE_MAX + 1, "%s", pull_manifest_media_type(manifest));
	}
	pull_manifest_close(manifest);
	sleeper_free(sleeper);
	return code;
}
