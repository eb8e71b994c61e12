/* SPDX-License-Identifier: Apache-2.0 */
/* What the body of a registry's refusal says beside its status (distribution-spec, "Error Codes"). Pure. */
#pragma once

#include <stddef.h>

#define COMPLAINT_MAX 4096 /* bytes of a body that are read */

enum complaint {
	COMPLAINT_NONE,          /* nothing that larder needs to know */
	COMPLAINT_MISSING,       /* MANIFEST_UNKNOWN, BLOB_UNKNOWN: the repository is there, and this is not in it */
	COMPLAINT_NO_REPOSITORY, /* NAME_UNKNOWN */
};

/* By the first of the errors. */
enum complaint complaint_read(const void *body, size_t len);
