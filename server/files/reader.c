/* SPDX-License-Identifier: Apache-2.0 */
/* Where a layer's bytes come from: the store, a flight, or the few parts of it that are needed. */
#include "server/files/files_internal.h"

#include "base/buf.h"
#include "base/count.h"
#include "server/pull/sparse.h"
#include "store/layer_file.h"
#include "store/store.h"

#include <stdlib.h>

struct files_reader {
	struct files *files;
	struct pull_upstream *upstream;
	const char *repository;
	const struct files_layer *layer;
	struct files_blob blob; /* opened; else parts are fetched */
	bool sparse;
	struct layer_reader *reader;
};

static ssize_t read_source(void *arg, uint64_t offset, void *data, size_t max, struct err *err)
{
	struct files_reader *reader = arg;
	struct sparse_query query = {.upstream = reader->upstream,
				     .repository = reader->repository,
				     .digest = &reader->layer->digest,
				     .size = reader->layer->index->in_size,
				     .offset = offset,
				     .len = max};
	int code;

	if (!reader->sparse)
		return files_read_blob(&reader->blob, offset, data, max, err);
	code = pull_read_sparse(reader->files->pull, &query, data, err);
	if (code)
		return code;
	count_add(&reader->files->counts.sparse_reads, 1);
	count_add(&reader->files->counts.sparse_bytes, max);
	return (ssize_t)max;
}

static void begin(struct files_reader *reader, bool verified)
{
	struct layer_source source = {.read = read_source, .arg = reader, .verified = verified};

	layer_reader_free(reader->reader);
	reader->reader = layer_reader_new(reader->layer->index, &source);
}

static int open_blob(struct files_reader *reader, enum files_opening opening, struct err *err)
{
	int code = files_open_blob(reader->files, reader->upstream, reader->repository, &reader->layer->digest, opening,
				   &reader->blob, err);

	reader->sparse = false;
	if (!code)
		begin(reader, reader->blob.fd >= 0);
	return code;
}

int files_open_reader(const struct files_image *image, unsigned layer, struct files_reader **out, struct err *err)
{
	struct files_reader *reader = mem_alloc(sizeof(*reader));
	uint64_t size;
	int code;

	reader->files = image->files;
	reader->upstream = image->upstream;
	reader->repository = image->repository;
	reader->layer = &image->layers[layer];
	reader->blob.fd = -1;
	code = open_blob(reader, FILES_PRESENT, err);
	/* Held for another repository: the upstream is asked whether it belongs here. */
	if (code == ERR_NOT_FOUND && store_find_blob(reader->files->store, &reader->layer->digest, &size, NULL) == 0)
		code = open_blob(reader, FILES_FETCH, err);
	if (code == ERR_NOT_FOUND) {
		reader->sparse = true;
		begin(reader, false);
		code = 0;
	}
	if (code) {
		files_close_reader(reader);
		return code;
	}
	*out = reader;
	return 0;
}

int files_read(struct files_reader *reader, const struct layer_entry *entry, uint64_t offset, void *data, size_t len,
	       struct err *err)
{
	int code = layer_reader_read_file(reader->reader, entry, offset, data, len, err);

	/* Parts cannot be had, or not checked: then the whole. */
	if ((code == ERR_UNSUPPORTED || code == ERR_BUSY) && reader->blob.fd < 0) {
		files_close_blob(&reader->blob);
		code = open_blob(reader, FILES_WHOLE, err);
		if (!code)
			code = layer_reader_read_file(reader->reader, entry, offset, data, len, err);
	}
	/* The bytes are not those that were indexed: the index is of no use, and is made anew the next time. */
	if (code == ERR_DIGEST)
		layer_file_remove(reader->files->store, &reader->layer->digest);
	return code;
}

void files_close_reader(struct files_reader *reader)
{
	if (!reader)
		return;
	layer_reader_free(reader->reader);
	files_close_blob(&reader->blob);
	free(reader);
}
