/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/bundle_local.h"

#include "base/cleanup.h"
#include "base/digest.h"
#include "server/bundle/describe.h"
#include "server/bundle/tar.h"
#include "server/cli/show.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sys/stat.h>
#include <unistd.h>

bool bundle_local_readable(const char *store)
{
	_cleanup_free_ char *path = mem_printf("%s/blobs/sha256", store);

	return access(path, R_OK | X_OK) == 0;
}

/* Where docs/storage-format.md says that it is. */
static char *blob_path(const char *store, const struct digest *digest)
{
	char hex[DIGEST_TEXT_MAX];

	digest_hex(digest, hex);
	return mem_printf("%s/blobs/%s/%.2s/%s", store, digest_algorithm_name(digest->algorithm), hex, hex);
}

static bool is_there(const char *store, const json_t *blob)
{
	struct digest digest;
	_cleanup_free_ char *path = NULL;
	struct stat found;

	if (digest_parse(show_text(blob, "digest"), &digest))
		return false;
	path = blob_path(store, &digest);
	return access(path, R_OK) == 0 && stat(path, &found) == 0 &&
	       (uint64_t)found.st_size == show_number(blob, "size");
}

static int copy_blob(struct bundle_sink *sink, const char *store, const json_t *blob)
{
	struct digest digest = {0};
	char name[DESCRIBE_PATH_MAX];
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int fd = -1;

	(void)digest_parse(show_text(blob, "digest"), &digest);
	path = blob_path(store, &digest);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set_errno(&sink->err, ERR_IO, errno, "cannot open %s", path);
	return bundle_sink_copy(sink, fd, describe_blob_path(&digest, name), show_number(blob, "size"));
}

/* The first member's text. */
static json_t *read_self(const struct buf *texts)
{
	uint64_t size = texts->len >= TAR_BLOCK ? tar_read_size((const uint8_t *)texts->data) : 0;

	return size <= texts->len - TAR_BLOCK ? json_loadb(texts->data + TAR_BLOCK, (size_t)size, 0, NULL) : NULL;
}

bool bundle_local_copy(struct bundle_sink *sink, const char *store, const struct buf *texts)
{
	json_t *self = texts->len >= TAR_BLOCK ? read_self(texts) : NULL;
	const json_t *blobs = json_object_get(self, "blobs"), *blob;
	bool there = json_is_array(blobs);
	int code = 0;
	size_t i;

	json_array_foreach(blobs, i, blob) there = there && is_there(store, blob);
	/* The archive's end comes behind the blobs. */
	if (there)
		code = bundle_sink_take(sink, texts->data, texts->len - TAR_END);
	json_array_foreach(blobs, i, blob) if (there && code == 0) code = copy_blob(sink, store, blob);
	/* What goes wrong from here on, the sink remembers. */
	if (there && code == 0)
		(void)bundle_sink_end(sink);
	json_decref(self);
	return there;
}
