/* SPDX-License-Identifier: Apache-2.0 */
/* A directory, such as an OCI image layout, as the tar archive that it would be: what a larder is sent in its place. */
#pragma once

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct layout_source;

/* Looks through the directory. ERR_INVALID when something in it is no file, ERR_IO. */
int layout_source_open(const char *path, struct layout_source **out, struct err *err);
/* Takes NULL. */
void layout_source_free(struct layout_source *source);

uint64_t layout_source_size(const struct layout_source *source);
/* An admin_request's give(); a file that changed meanwhile ends it. */
ssize_t layout_source_give(void *arg, void *data, size_t max);
