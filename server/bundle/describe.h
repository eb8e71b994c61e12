/* SPDX-License-Identifier: Apache-2.0 */
/* The texts of a bundle: what other tools read of it, and what it says of itself (docs/storage-format.md). The same
 * plan always gives the same bytes. */
#pragma once

#include "base/buf.h"
#include "server/bundle/plan.h"

#define BUNDLE_SELF      "larder-bundle.json"
#define BUNDLE_SIGNATURE "larder-bundle.sig"
#define BUNDLE_VERSION   1
#define BUNDLE_SELF_MAX  ((size_t)16 << 20)

#define LAYOUT_FILE       "oci-layout"
#define LAYOUT_INDEX      "index.json"
#define LAYOUT_TEXT       "{\"imageLayoutVersion\":\"1.0.0\"}"
#define DOCKER_MANIFEST   "manifest.json"
#define ANNOTATION_REF    "org.opencontainers.image.ref.name"
#define ANNOTATION_NAME   "io.containerd.image.name"
#define DESCRIBE_PATH_MAX 160

/* "blobs/sha256/HEX" */
const char *describe_blob_path(const struct digest *digest, char path[DESCRIBE_PATH_MAX]);

/* index.json of an OCI layout. */
void describe_index(const struct plan *plan, struct buf *text);
/* manifest.json of a docker archive. ERR_INVALID when an image is none that docker could load. */
int describe_docker(struct store *store, const struct plan *plan, struct buf *text, struct err *err);

struct described_file {
	const char *path;
	const struct buf *text;
};

/* What the bundle says of itself. ERR_LIMIT when that is too long. */
int describe_self(const struct plan *plan, const struct plan_options *options, const struct described_file *files,
		  size_t file_count, struct buf *text, struct err *err);
