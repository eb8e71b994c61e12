/* SPDX-License-Identifier: Apache-2.0 */
/* Unpacks the tar archives that larder itself makes (server/bundle/tar.h), as their bytes come, into a directory that
 * was empty. Anything else is refused. */
#pragma once

#include "base/err.h"

#include <stddef.h>

struct untar;

struct untar *untar_new(void);
/* Takes NULL. */
void untar_free(struct untar *untar);

/* Takes the next bytes. ERR_INVALID, ERR_IO, ERR_NO_SPACE. */
int untar_take(struct untar *untar, int directory, const void *data, size_t len, struct err *err);
/* All has come. ERR_INVALID when it breaks off. */
int untar_finish(const struct untar *untar, struct err *err);
