/* SPDX-License-Identifier: Apache-2.0 */
/* Indexes of layers: kept beside the blob, made when they are missing, by one thread for all who want them. */
#include "server/files/aside.h"
#include "server/files/files_internal.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/count.h"
#include "base/log.h"
#include "layer/build.h"
#include "store/layer_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_BYTES ((size_t)256 << 10)

static void builder_freep(struct layer_builder **builder)
{
	layer_builder_free(*builder);
}

/* What is kept. One of another version, or with other checkpoints, counts as missing, like a damaged one. */
static int load(struct files *files, const struct digest *digest, struct layer_index **index, struct err *err)
{
	_cleanup_(buf_dispose) struct buf data = {.max = LAYER_INDEX_MAX};
	int code = layer_file_read(files->store, digest, &data, err);

	if (code)
		return code;
	if (layer_index_decode(data.data, data.len, index, err))
		return ERR_NOT_FOUND;
	if (!(*index)->failure && (*index)->interval != files->interval) {
		layer_index_free(*index);
		*index = NULL;
		return err_set(err, ERR_NOT_FOUND, "the index has checkpoints elsewhere");
	}
	return 0;
}

static void keep(struct files *files, const struct digest *digest, const struct layer_index *index)
{
	_cleanup_(buf_dispose) struct buf data = {.max = LAYER_INDEX_MAX};
	char text[DIGEST_TEXT_MAX];
	struct err err = {0};

	if (layer_index_encode(index, &data, &err) ||
	    layer_file_write(files->store, digest, data.data, data.len, &err)) {
		log_warn("cannot keep the index of layer %s: %s", digest_format(digest, text), err.text);
		return;
	}
	count_add(&files->counts.index_bytes, data.len);
}

/* Waits until larder has processors to spare, or somebody waits for the index: then, false, there is no leisure. */
static bool wait_for_leisure(struct files *files, const struct building *building)
{
	struct timespec until;
	bool wanted;

	pthread_mutex_lock(&files->lock);
	while (!building->wanted && aside_must_wait(building->aside)) {
		until = clock_after_ms(ASIDE_LOOK_MS);
		pthread_cond_clockwait(&files->built, &files->lock, CLOCK_MONOTONIC, &until);
	}
	wanted = building->wanted;
	pthread_mutex_unlock(&files->lock);
	return !wanted;
}

static int feed(struct files *files, const struct building *building, struct layer_builder *builder, const void *data,
		size_t len, struct err *err)
{
	if (building->aside && wait_for_leisure(files, building))
		return aside_feed(building->aside, builder, data, len, err);
	return layer_builder_feed(builder, data, len, err);
}

static int feed_blob(struct files *files, const struct building *building, const struct files_blob *blob,
		     struct layer_builder *builder, bool *is_failure, struct err *err)
{
	_cleanup_free_ uint8_t *piece = mem_alloc(PIECE_BYTES);
	uint64_t offset = 0;
	int code = 0;

	while (offset < blob->size && !code) {
		uint64_t rest = blob->size - offset;
		ssize_t got;

		if (pull_is_closing(files->pull))
			return err_set(err, ERR_CANCELLED, "larder is shutting down");
		got = files_read_blob(blob, offset, piece, rest < PIECE_BYTES ? (size_t)rest : PIECE_BYTES, err);
		if (got < 0)
			return (int)got;
		offset += (uint64_t)got;
		code = feed(files, building, builder, piece, (size_t)got, err);
		*is_failure = code != 0;
	}
	return code;
}

/* Makes an index of the blob's bytes. Those of a flight are verified once the last of them has come. */
static int build(struct files *files, const struct building *building, const struct files_blob *blob,
		 struct layer_index **index, struct err *err)
{
	const struct digest *digest = &building->digest;
	_cleanup_(builder_freep) struct layer_builder *builder = layer_builder_new(files->interval);
	uint64_t began = clock_ms();
	char text[DIGEST_TEXT_MAX];
	bool is_failure = false;
	int code = feed_blob(files, building, blob, builder, &is_failure, err);

	if (!code) {
		code = layer_builder_finish(builder, index, err);
		is_failure = code != 0;
	}
	if (!code) {
		count_add(&files->counts.indexed, 1);
		log_debug("indexed layer %s: %zu entries, %zu checkpoints, %" PRIu64 " ms", digest_format(digest, text),
			  (*index)->table.count, (*index)->count, clock_ms() - began);
		keep(files, digest, *index);
	} else if (is_failure) {
		count_add(&files->counts.failed, 1);
		/* That bytes yet to be verified make no layer proves nothing. */
		if (blob->fd >= 0) {
			struct layer_index *failed = layer_index_failed(blob->size, err->text);

			keep(files, digest, failed);
			layer_index_free(failed);
		}
	}
	return code;
}

/* Waits until nobody else builds it. What was begun at leisure has none from now on. */
static void claim(struct files *files, struct building *building)
{
	struct building *at;

	pthread_mutex_lock(&files->lock);
	for (;;) {
		for (at = files->building; at && !digest_equal(&at->digest, &building->digest); at = at->next)
			;
		if (!at)
			break;
		if (!building->aside && !at->wanted) {
			at->wanted = true;
			pthread_cond_broadcast(&files->built);
		}
		pthread_cond_wait(&files->built, &files->lock);
	}
	building->next = files->building;
	files->building = building;
	pthread_mutex_unlock(&files->lock);
}

static void release(struct files *files, struct building *building)
{
	struct building **at;

	pthread_mutex_lock(&files->lock);
	for (at = &files->building; *at != building; at = &(*at)->next)
		;
	*at = building->next;
	pthread_cond_broadcast(&files->built);
	pthread_mutex_unlock(&files->lock);
}

static int name_layer(const struct digest *digest, int code, const char *why, struct err *err)
{
	char text[DIGEST_TEXT_MAX], copy[ERR_TEXT_MAX];

	snprintf(copy, sizeof(copy), "%s", why);
	return err_set(err, code, "layer %s: %s", digest_format(digest, text), copy);
}

int files_get_index(struct files *files, struct pull_upstream *upstream, const char *repository,
		    const struct digest *digest, struct aside *aside, struct layer_index **index, struct err *err)
{
	struct building building = {.digest = *digest, .aside = aside};
	struct files_blob blob = {.fd = -1};
	struct err why = {0};
	int code;

	*index = NULL;
	code = load(files, digest, index, &why);
	if (code == ERR_NOT_FOUND) {
		claim(files, &building);
		/* Somebody may just have made it. */
		code = load(files, digest, index, &why);
		if (code == ERR_NOT_FOUND)
			code = files_open_blob(files, upstream, repository, digest, aside ? FILES_PRESENT : FILES_FETCH,
					       &blob, &why);
		if (!code && !*index)
			code = build(files, &building, &blob, index, &why);
		files_close_blob(&blob);
		release(files, &building);
	}
	if (!code && (*index)->failure) {
		code = err_set(&why, ERR_INVALID, "%s", (*index)->failure);
		layer_index_free(*index);
		*index = NULL;
	}
	return code ? name_layer(digest, code, why.text, err) : 0;
}
