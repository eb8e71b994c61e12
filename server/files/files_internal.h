/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this room share. */
#pragma once

#include "layer/read.h"
#include "server/files/files.h"
#include "server/pull/pull.h"

#include <pthread.h>

struct aside;
struct filling;
struct sleeper;

/* A layer that is being indexed: whoever else wants that waits. */
struct building {
	struct digest digest;
	struct aside *aside; /* NULL: it is indexed as fast as can be … */
	bool wanted;         /* … as it is when somebody waits for it; under files->lock, like `next` */
	struct building *next;
};

struct files {
	struct pull *pull;
	struct store *store;
	uint64_t interval;
	struct files_counts counts;
	struct filling *filling; /* NULL: layers are indexed when they are looked into */

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t built;
	struct building *building;
	struct contents *contents; /* the last used first */
};

/* What is in an image (contents.c): shared by all who look into it, and kept a while. Once made it does not change, but
 * for what is under files->lock. */
struct contents {
	struct digest manifest;
	struct layer_view *view;
	struct digest *layers;
	struct layer_index **indexes; /* one a layer */
	size_t layer_count;
	size_t bytes; /* of memory, about */

	/* Under the lock. */
	unsigned users;
	uint64_t used_ms; /* when the last of them left */
	struct contents *prev, *next;
};

/* Those of an image whose layers are known: kept, or made now. An error names the layer. */
int contents_open(const struct files_image *image, struct contents **out, struct err *err);
/* Takes NULL. */
void contents_close(struct files *files, struct contents *contents);
/* The end of all; nobody uses them. */
void contents_free_all(struct files *files);

/* A blob as it is read: from the store, or while it flies. */
struct files_blob {
	struct pull_blob *pull;
	struct sleeper *sleeper;
	int fd; /* -1: in flight */
	uint64_t size;
};

/* How a blob is opened. */
enum files_opening {
	FILES_PRESENT, /* held or in flight, else ERR_NOT_FOUND */
	FILES_FETCH,   /* fetched where it is not held */
	FILES_WHOLE,   /* the same, and waited for until it is verified and in the store */
};

/* Opens it, and waits until its size is known. */
int files_open_blob(struct files *files, struct pull_upstream *upstream, const char *repository,
		    const struct digest *digest, enum files_opening opening, struct files_blob *blob, struct err *err);
/* Up to `max` bytes at an offset within the size: at least one, or an error. Waits for them. */
ssize_t files_read_blob(const struct files_blob *blob, uint64_t offset, void *data, size_t max, struct err *err);
/* Takes one that was not opened: all zeros but fd -1. */
void files_close_blob(struct files_blob *blob);

/* A manifest by tag or digest, as a client would get it: `*data` is the caller's, with a NUL behind. */
int files_fetch_manifest(struct files *files, const struct files_place *place, const char *reference, char **data,
			 size_t *len, struct digest *digest, char media_type[PULL_MEDIA_TYPE_MAX + 1], struct err *err);

/* The index of a layer: what is kept, or made now. With `aside` of what is held or in flight alone, and beside all else
 * that larder does, until somebody waits for it. ERR_INVALID: it is no layer, or a damaged one; the text begins with
 * its digest. */
int files_get_index(struct files *files, struct pull_upstream *upstream, const char *repository,
		    const struct digest *digest, struct aside *aside, struct layer_index **index, struct err *err);

/* Indexing layers as they stream in (filling.c). */
struct filling *filling_start(struct files *files);
void filling_stop(struct filling *filling);
