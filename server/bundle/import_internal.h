/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of an import share. */
#pragma once

#include "base/buf.h"
#include "server/bundle/import.h"
#include "server/bundle/walk.h"
#include "store/stage.h"
#include "store/store.h"

#include <jansson.h>
#include <uthash.h>

#define IMPORT_HEAD_BYTES 4 /* of a file's beginning that are remembered: enough to tell how a layer is packed */

/* A file of the archive that is no text. */
struct import_file {
	char *path;
	char *link; /* of a link */
	struct digest digest;
	uint64_t size;
	uint8_t head[IMPORT_HEAD_BYTES];
	struct stage *stage; /* of one whose path is no digest: what it is good for is not known yet */
	UT_hash_handle hh;
};

/* A text of the archive that is kept. */
struct import_text {
	const char *path;
	size_t max;
	bool came;
	struct buf data;
};

enum { TEXT_SELF, TEXT_SIGNATURE, TEXT_LAYOUT, TEXT_INDEX, TEXT_DOCKER, TEXTS };

enum promise {
	PROMISE_NONE,
	PROMISE_CARRIED,  /* the bundle says that it has it */
	PROMISE_LEFT_OUT, /* the bundle says that this store has it */
};

struct import_promise {
	struct digest digest;
	uint64_t size; /* UINT64_MAX: not said */
	enum promise promise;
	UT_hash_handle hh;
};

struct import {
	struct store *store;
	const struct import_options *options;
	struct import_report *report;
	struct archive_reader *reader;
	struct import_text texts[TEXTS];
	struct import_file *files; /* by path */
	size_t path_bytes;         /* of all of them */
	json_t *self;              /* what a bundle says of itself; NULL: there is no such text */
	struct import_promise *promises;
	struct digest *came; /* blobs that were not held before */
	size_t came_count;
	uint64_t room; /* that its blobs take, as far as they are known */
	bool judging;  /* images are looked at, and nothing is named yet */
	size_t walked; /* items of all images, so far */
};

/* Counts a blob that was not held before, and is removed again should the archive be refused. */
void import_note_blob(struct import *import, const struct digest *digest, uint64_t size);

/* Counts a blob of so many bytes, held or not, before it is taken: ERR_NO_SPACE when the store, emptied of all else,
 * could not hold it beside those that were counted. */
int import_want_room(struct import *import, uint64_t size, struct err *err);

/* What a bundle says of itself (import_self.c). */
/* Reads it, once it is there. ERR_INVALID. */
int import_read_self(struct import *import, struct err *err);
/* Checks the signature by every key. ERR_DENIED. */
int import_check_signature(struct import *import, struct err *err);
/* What was promised of a digest; *size as the bundle says, UINT64_MAX when it does not. */
enum promise import_promised(const struct import *import, const struct digest *digest, uint64_t *size);
/* Whether a text is what the bundle says. ERR_INVALID. */
int import_check_text(const struct import *import, const struct import_text *text, struct err *err);
void import_forget_self(struct import *import);

/* Names and links (import_link.c). */
/* Where an image that is said to be called `text` belongs; `text` may be NULL, or a tag alone. ERR_INVALID when that
 * does not say it. */
int import_name(const struct import *import, const char *text, const struct digest *digest, struct bundle_name *name,
		struct err *err);
/* Links what is held of an image, and sets its tag when it is whole; else the report says what is missing. While images
 * are judged, it does no more than that. */
int import_link_image(struct import *import, const struct bundle_name *name, const struct walk_item *root,
		      struct err *err);
/* The images of index.json, and the referrers of a bundle. */
int import_link_layout(struct import *import, struct err *err);

/* Docker's archives (import_docker.c): makes the manifests that they lack. */
int import_link_docker(struct import *import, struct err *err);
