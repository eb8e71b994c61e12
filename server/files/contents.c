/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is in an image: its layers' indexes and the view of them. Making that takes a hundredth of a second for each few
 * thousand files, and who looks into an image looks again: so it is kept for a while, found by the manifest's digest
 * and shared by all who look. It is not used any more once the index of one of its layers has gone from the store.
 */
#include "server/files/files_internal.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/count.h"
#include "base/trim.h"
#include "store/layer_file.h"

#include <stdlib.h>
#include <utlist.h>

#define KEPT_BYTES_MAX ((size_t)64 << 20) /* of all that nobody looks into */
#define KEPT_MS        60000              /* since somebody did */

static void contents_free(struct contents *contents)
{
	layer_view_free(contents->view);
	for (size_t i = 0; i < contents->layer_count; i++)
		layer_index_free(contents->indexes[i]);
	free(contents->layers);
	free(contents->indexes);
	free(contents);
}

/* Under the lock: frees what has gone unused since `before_ms`, and then what is too much, the oldest first. Whether
 * there was any. */
static bool tidy(struct files *files, uint64_t before_ms)
{
	struct contents *contents, *next;
	bool freed = false;
	size_t kept = 0;

	DL_FOREACH_SAFE (files->contents, contents, next) {
		if (contents->users > 0)
			continue;
		kept += contents->bytes;
		if (contents->used_ms >= before_ms && kept <= KEPT_BYTES_MAX)
			continue;
		kept -= contents->bytes;
		DL_DELETE(files->contents, contents);
		contents_free(contents);
		freed = true;
	}
	return freed;
}

void files_tidy(struct files *files)
{
	uint64_t now = clock_ms();
	bool freed;

	pthread_mutex_lock(&files->lock);
	freed = tidy(files, now > KEPT_MS ? now - KEPT_MS : 0);
	pthread_mutex_unlock(&files->lock);
	if (freed)
		trim_memory();
}

static bool has_all_indexes(struct files *files, const struct contents *contents)
{
	for (size_t i = 0; i < contents->layer_count; i++)
		if (!layer_file_exists(files->store, &contents->layers[i]))
			return false;
	return true;
}

/* Under the lock. */
static struct contents *find(struct files *files, const struct digest *manifest)
{
	struct contents *contents;

	DL_FOREACH (files->contents, contents)
		if (digest_equal(&contents->manifest, manifest) && has_all_indexes(files, contents))
			break;
	return contents;
}

/* Under the lock. */
static void enter(struct files *files, struct contents *contents)
{
	contents->users++;
	DL_PREPEND(files->contents, contents);
}

static int make(const struct files_image *image, struct contents *contents, struct err *err)
{
	int code = 0;

	contents->manifest = image->manifest;
	contents->layers = mem_alloc(image->layer_count * sizeof(*contents->layers));
	contents->indexes = mem_alloc(image->layer_count * sizeof(*contents->indexes));
	contents->view = layer_view_new();
	for (size_t i = 0; i < image->layer_count && !code; i++) {
		contents->layers[i] = image->layers[i].digest;
		code = files_get_index(image->files, image->upstream, image->repository, &contents->layers[i], NULL,
				       &contents->indexes[i], err);
		if (code)
			break;
		contents->layer_count++;
		contents->bytes += layer_index_memory(contents->indexes[i]);
		code = layer_view_add(contents->view, &contents->indexes[i]->table, err);
	}
	layer_view_finish(contents->view);
	contents->bytes += layer_view_memory(contents->view);
	return code;
}

int contents_open(const struct files_image *image, struct contents **out, struct err *err)
{
	struct files *files = image->files;
	struct contents *contents;
	int code;

	pthread_mutex_lock(&files->lock);
	contents = find(files, &image->manifest);
	if (contents) {
		DL_DELETE(files->contents, contents);
		enter(files, contents);
	}
	pthread_mutex_unlock(&files->lock);
	if (contents) {
		count_add(&files->counts.views_kept, 1);
		*out = contents;
		return 0;
	}
	contents = mem_alloc(sizeof(*contents));
	code = make(image, contents, err);
	if (code) {
		contents_free(contents);
		return code;
	}
	count_add(&files->counts.views_made, 1);
	/* Two who made the same at once each keep theirs; one of them is soon not used any more. */
	pthread_mutex_lock(&files->lock);
	enter(files, contents);
	pthread_mutex_unlock(&files->lock);
	*out = contents;
	return 0;
}

void contents_close(struct files *files, struct contents *contents)
{
	if (!contents)
		return;
	pthread_mutex_lock(&files->lock);
	contents->used_ms = clock_ms();
	contents->users--;
	(void)tidy(files, 0);
	pthread_mutex_unlock(&files->lock);
}

void contents_free_all(struct files *files)
{
	struct contents *contents, *next;

	DL_FOREACH_SAFE (files->contents, contents, next)
		contents_free(contents);
	files->contents = NULL;
}
