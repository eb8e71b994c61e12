/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking images from an archive into the store: a bundle of larder's, an OCI image layout of anybody's, or what
 * `docker save` writes. Every byte is hashed as it comes, and a blob is published as soon as it is whole, so that an
 * import that was cut goes on when it is repeated: what is held already is read over. Names come last: an image is
 * linked, and its tag set, when all of it is there.
 *
 * What should not be trusted (a wrong digest, a path that leads out, a signature that is not the key's) is refused, and
 * then everything that came with it is removed again; so it is with what the store has no room for. An archive must
 * fit whole, beside nothing else. Of a bundle that is known before its first blob, and nothing cached goes for one that
 * does not; others are believed as far as they came.
 */
#pragma once

#include "server/bundle/archive.h"
#include "server/bundle/name.h"
#include "server/bundle/sign.h"

#define IMPORT_KEYS_MAX  2
#define IMPORT_FILES_MAX 100000       /* of one archive */
#define IMPORT_PATHS_MAX (16UL << 20) /* bytes of all their paths, and of where links lead */
#define IMPORT_NAMES_MAX 10000        /* of images */
#define IMPORT_ITEMS_MAX 500000       /* manifests and blobs of all images, under each of their names */
#define IMPORT_TEXT_MAX  (4UL << 20)  /* of index.json and manifest.json */

struct store;

struct import_options {
	struct bundle_locator locator;
	struct archive_source source;
	const char
		*as; /* the repository, and maybe tag, of images that do not say theirs; it also overrides; or NULL */
	const uint8_t *keys[IMPORT_KEYS_MAX]; /* each must have signed; NULL: none is wanted */
};

struct import_image {
	char text[BUNDLE_NAME_TEXT_MAX];
	struct digest digest;
	size_t missing; /* blobs; 0: it is whole, and was named */
};

struct import_missing {
	size_t image; /* of report->images */
	struct digest digest;
	bool promised; /* by the receipt that the bundle was made for: this store was said to hold it */
};

struct import_report {
	struct import_image *images;
	size_t image_count;
	struct import_missing *missing;
	size_t missing_count;
	uint64_t blobs_new, bytes_new;
	uint64_t blobs_held, bytes_held; /* that came and were there already */
	bool is_signed;                  /* and the signature was checked */
};

/*
 * Blocks for as long as the source brings bytes. 0, also when something is missing, which the report says. Refused:
 * ERR_INVALID, ERR_DIGEST, ERR_LIMIT, ERR_DENIED (the signature), ERR_NO_SPACE. What came before is kept: ERR_UPSTREAM
 * (it is no archive, or breaks off), ERR_IO, or what the source said. The report is to be disposed of in any case.
 */
int import_run(struct store *store, const struct import_options *options, struct import_report *report,
	       struct err *err);
void import_report_dispose(struct import_report *report);
