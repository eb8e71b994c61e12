/* SPDX-License-Identifier: Apache-2.0 */
/* Headers of a tar archive (POSIX.1-2001, "pax"): one file after the other, always the same bytes for the same files. A
 * header is all that larder writes of a tar: a file's bytes go from disk to disk without passing through a library,
 * and how long the archive will be is known before it is written. Pure functions. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define TAR_BLOCK        512
#define TAR_EXTENDED_MAX (8 * TAR_BLOCK) /* what a pax header says */
#define TAR_HEADER_MAX   (TAR_EXTENDED_MAX + 2 * TAR_BLOCK)
#define TAR_END          (2 * TAR_BLOCK) /* zeroes behind the last file */
#define TAR_PATH_MAX     255
#define TAR_PAGE         4096              /* where the bytes of larger files begin: */
#define TAR_PAGED_MIN    ((uint64_t)65536) /* file systems share whole blocks alone, and copy whole pages faster */

/* Writes what stands in front of a file, and returns its length. */
size_t tar_header(const char *path, uint64_t size, uint8_t out[TAR_HEADER_MAX]);

/* Likewise, of a file whose header is at `position` in the archive: where that pays, a comment puts its bytes at a
 * whole page. */
size_t tar_header_at(const char *path, uint64_t size, uint64_t position, uint8_t out[TAR_HEADER_MAX]);

/* Likewise, of a file that takes whole pages with its header: what is behind it keeps its place in its page, with it or
 * without. */
size_t tar_header_even(const char *path, uint64_t size, uint8_t out[TAR_HEADER_MAX]);

/* The size in a plain header, such as tar_header() writes. */
uint64_t tar_read_size(const uint8_t block[TAR_BLOCK]);

/* How many zeroes follow a file of this size. */
size_t tar_padding(uint64_t size);
