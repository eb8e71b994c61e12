/* SPDX-License-Identifier: Apache-2.0 */
/* Small files that hold one text: certificates, keys, tokens. */
#pragma once

#include "base/err.h"

#include <stddef.h>

#define TEXT_FILE_MAX ((size_t)1 << 20)

/* The whole file, which must not be empty. Caller frees; NULL with ERR_IO, ERR_LIMIT or ERR_INVALID. */
char *text_file_read(const char *path, struct err *err);
/* Its first line, which must not be empty, without the line's end. Likewise. */
char *text_file_read_line(const char *path, struct err *err);
/* Wipes and frees a secret. Takes NULL. */
void text_file_free(char *text);
static inline void text_file_freep(char **text)
{
	text_file_free(*text);
}
