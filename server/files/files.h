/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files inside images. Joins layer/ (what the bytes mean), the store (blobs, and the indexes beside them) and pull/
 * (what a reference means, and bytes that are not held).
 *
 * A layer is indexed once: when somebody first looks into it, or while it streams in (files_options.while_filling). An
 * image is opened with its layers' indexes, which makes one view of them, and files of it are read through a reader.
 * Both are kept in memory for a while, within bounds: who looks into an image looks again.
 * The functions here block, on the network too, unless they say otherwise: they belong on threads that may.
 *
 * Lifetime: files_new(), any number of images and readers, pull_close() (from now on everything fails with
 * ERR_CANCELLED), files_free().
 */
#pragma once

#include "base/digest.h"
#include "base/err.h"
#include "layer/index.h"
#include "layer/view.h"
#include "store/manifest.h"

#include <stdbool.h>
#include <stdint.h>

#define FILES_LAYERS_MAX 512 /* of one image */

struct files;
struct pull;
struct pull_upstream;
struct store;

struct files_options {
	struct pull *pull; /* borrowed, like the store */
	struct store *store;
	uint64_t interval;  /* between checkpoints: LAYER_INTERVAL_MIN to LAYER_INTERVAL_MAX */
	bool while_filling; /* layers are indexed as they stream in, on a thread that steps back for all others */
};

struct files *files_new(const struct files_options *options);
/* Takes NULL. pull_close() was called; no image or reader is left. */
void files_free(struct files *files);

/* Forgets what was kept of images that nobody has looked into for a while. To be called now and then. Any thread. */
void files_tidy(struct files *files);

/* Counted since the start; read with count_read(). */
struct files_counts {
	uint64_t indexed;      /* layers */
	uint64_t failed;       /* blobs that proved to be no layers, or damaged ones */
	uint64_t index_bytes;  /* stored, of indexes that were made */
	uint64_t sparse_bytes; /* read of layers that were not held */
	uint64_t sparse_reads; /* parts that were read so */
	uint64_t views_made;   /* of images */
	uint64_t views_kept;   /* looked into as they were kept */
};
const struct files_counts *files_counts(const struct files *files);

/* Where an image is looked for. */
struct files_place {
	struct pull_upstream *upstream;
	const char *repository;
	const char *reference; /* tag or digest */
	const char *platform;  /* "linux/arm64"; "" for this machine's, or else one that is held, or the first */
};

struct files_layer {
	struct digest digest;
	uint64_t size; /* MANIFEST_SIZE_UNKNOWN */
	char *media_type;
	const struct layer_index *index; /* NULL until the image's files are looked into */
};

struct files_image {
	struct files *files;
	struct pull_upstream *upstream;
	char *repository;
	struct digest manifest; /* of the one platform */
	char *media_type;
	char platform[MANIFEST_PLATFORM_MAX]; /* "" when the image is not one of several */
	struct digest config;                 /* algorithm 0: it has none */
	uint64_t config_size;
	struct files_layer *layers; /* the lowest first */
	size_t layer_count;
	struct contents *contents;     /* indexes and view, which are its own: */
	const struct layer_view *view; /* NULL until the image's files are looked into */
};

/* Opens what the reference means, for one platform: manifest and layers are known then. ERR_NOT_FOUND, ERR_UNSUPPORTED
 * (it is no image), ERR_INVALID, and what pulling it may say. */
int files_open_image(struct files *files, const struct files_place *place, struct files_image **out, struct err *err);
/* Gets all layers' indexes, makes those that are missing, and the view. An error names the layer. */
int files_look_into(struct files_image *image, struct err *err);
/* Takes NULL. */
void files_close_image(struct files_image *image);

/* The image's config, whole, with a NUL behind; the caller frees. */
int files_read_config(const struct files_image *image, char **config, size_t *len, struct err *err);

/* Reads files of one layer; remembers where it stands (layer/read.h). One thread at a time. */
struct files_reader;
int files_open_reader(const struct files_image *image, unsigned layer, struct files_reader **out, struct err *err);
/* As layer_reader_read_file(). */
int files_read(struct files_reader *reader, const struct layer_entry *entry, uint64_t offset, void *data, size_t len,
	       struct err *err);
/* Takes NULL. */
void files_close_reader(struct files_reader *reader);

static inline void files_close_imagep(struct files_image **image)
{
	files_close_image(*image);
}

static inline void files_close_readerp(struct files_reader **reader)
{
	files_close_reader(*reader);
}
