/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of references in a file: one a line, with empty lines and comments ('#' at the start or behind a blank). */
#pragma once

#include "base/err.h"

#include <jansson.h>

#define LIST_FILE_LINE_MAX 4096
#define LIST_FILE_MAX      100000 /* references */

/* Appends the texts of the file, "-" for standard input, to a JSON array. ERR_IO, ERR_INVALID (a line that is no
 * UTF-8), ERR_LIMIT. */
int list_file_read(const char *path, json_t *array, struct err *err);
