/* SPDX-License-Identifier: Apache-2.0 */
/* A growable byte buffer with a declared maximum. Its content is always followed by a NUL that does not count. On
 * memory of the caller's it does not grow: `{.data = memory, .cap = sizeof(memory), .max = sizeof(memory) - 1}`, never
 * disposed of. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct buf {
	char *data; /* NULL while nothing was appended */
	size_t len;
	size_t cap;
	size_t max; /* 0: BUF_MAX_DEFAULT */
};

#define BUF_MAX_DEFAULT ((size_t)64 << 20)

/* All append functions return 0, or ERR_LIMIT when the content would pass the maximum (nothing is appended then). */
int buf_append(struct buf *buf, const void *data, size_t len);
int buf_append_text(struct buf *buf, const char *text);
int buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Appends `text` as the inside of a JSON string: quotes, backslashes, control characters and invalid UTF-8 escaped. */
int buf_append_json(struct buf *buf, const char *text);

/* The length of the valid UTF-8 sequence at the start of `text`; 0 when there is none, or at the end of the text. */
size_t buf_utf8_length(const char *text);
/* Whether all of it is. */
bool buf_is_utf8(const char *text);

/* Empties the buffer and keeps its memory. */
void buf_clear(struct buf *buf);

/* Frees the content; the struct is empty and usable again. */
void buf_dispose(struct buf *buf);

/* Memory that cannot be had ends the program: what larder allocates is small and bounded, and a cache that limps on
 * without memory serves nobody. The store survives such an end as it survives kill -9. Never return NULL. */
void *mem_alloc(size_t size); /* zeroed */
void *mem_realloc(void *memory, size_t size);
char *mem_strdup(const char *text);              /* NULL gives NULL */
char *mem_strndup(const char *text, size_t len); /* up to its NUL, if that comes first */
char *mem_copy(const void *data, size_t len);    /* all of it, and a NUL behind it */
char *mem_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));
