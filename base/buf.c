/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include "base/err.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIRST_CAP 64

static _Noreturn void end_without_memory(void)
{
	static const char message[] = "larder: out of memory\n";
	/* The log allocates nothing, but its thread may be the one that failed. */
	ssize_t written = write(STDERR_FILENO, message, sizeof(message) - 1);
	(void)written;
	abort();
}

void *mem_alloc(size_t size)
{
	void *memory = calloc(1, size ? size : 1);
	if (!memory)
		end_without_memory();
	return memory;
}

void *mem_realloc(void *memory, size_t size)
{
	void *moved = realloc(memory, size ? size : 1);
	if (!moved)
		end_without_memory();
	return moved;
}

char *mem_strdup(const char *text)
{
	return text ? mem_strndup(text, strlen(text)) : NULL;
}

char *mem_copy(const void *data, size_t len)
{
	char *copy = mem_alloc(len + 1);
	if (len)
		memcpy(copy, data, len);
	return copy;
}

char *mem_strndup(const char *text, size_t len)
{
	return mem_copy(text, strnlen(text, len));
}

char *mem_printf(const char *format, ...)
{
	char *text = NULL;
	va_list args;
	va_start(args, format);
	int len = vasprintf(&text, format, args);
	va_end(args);
	if (len < 0)
		end_without_memory();
	return text;
}

/* Makes room for `extra` more bytes and the NUL. */
static int reserve(struct buf *buf, size_t extra)
{
	size_t max = buf->max ? buf->max : BUF_MAX_DEFAULT;
	if (buf->len > max || extra > max - buf->len)
		return ERR_LIMIT;
	size_t wanted = buf->len + extra + 1;
	if (wanted <= buf->cap)
		return 0;
	size_t cap = buf->cap ? buf->cap : FIRST_CAP;
	while (cap < wanted)
		cap = cap > SIZE_MAX / 2 ? wanted : cap * 2;
	if (cap > max + 1)
		cap = max + 1;
	buf->data = mem_realloc(buf->data, cap);
	buf->cap = cap;
	return 0;
}

int buf_append(struct buf *buf, const void *data, size_t len)
{
	int rc = reserve(buf, len);
	if (rc)
		return rc;
	if (len)
		memcpy(buf->data + buf->len, data, len);
	buf->len += len;
	buf->data[buf->len] = '\0';
	return 0;
}

int buf_append_text(struct buf *buf, const char *text)
{
	return buf_append(buf, text, strlen(text));
}

int buf_printf(struct buf *buf, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (len < 0)
		return ERR_LIMIT;
	int rc = reserve(buf, (size_t)len);
	if (rc)
		return rc;
	va_start(args, format);
	vsnprintf(buf->data + buf->len, (size_t)len + 1, format, args);
	va_end(args);
	buf->len += (size_t)len;
	return 0;
}

size_t buf_utf8_length(const char *text)
{
	const unsigned char *byte = (const unsigned char *)text;
	if (byte[0] < 0x80)
		return byte[0] ? 1 : 0;
	if (byte[0] < 0xc2 || byte[0] > 0xf4)
		return 0;
	/* RFC 3629, section 4: the second byte's range rules out overlong forms, surrogates and what lies past
	 * U+10FFFF. */
	unsigned char low = byte[0] == 0xe0 ? 0xa0 : byte[0] == 0xf0 ? 0x90 : 0x80;
	unsigned char high = byte[0] == 0xed ? 0x9f : byte[0] == 0xf4 ? 0x8f : 0xbf;
	if (byte[1] < low || byte[1] > high)
		return 0;
	size_t len = byte[0] < 0xe0 ? 2 : byte[0] < 0xf0 ? 3 : 4;
	for (size_t i = 2; i < len; i++) {
		if ((byte[i] & 0xc0) != 0x80)
			return 0;
	}
	return len;
}

bool buf_is_utf8(const char *text)
{
	size_t len;

	while ((len = buf_utf8_length(text)) > 0)
		text += len;
	return !*text;
}

/* Appends the escape of the byte at `text`, which cannot stand in a JSON string as it is. */
static int append_json_escape(struct buf *buf, unsigned char byte)
{
	static const char letters[] = "\"\\\b\f\n\r\t";
	static const char escapes[] = "\"\\bfnrt";
	const char *letter = memchr(letters, byte, sizeof(letters) - 1);
	if (letter) {
		char pair[2] = {'\\', escapes[letter - letters]};
		return buf_append(buf, pair, sizeof(pair));
	}
	if (byte < 0x80)
		return buf_printf(buf, "\\u%04x", byte);
	return buf_append_text(buf, "\\ufffd");
}

int buf_append_json(struct buf *buf, const char *text)
{
	size_t start = buf->len;
	int rc = buf_append(buf, "", 0);
	while (!rc && *text) {
		size_t plain = 0;
		for (;;) {
			unsigned char byte = (unsigned char)text[plain];
			size_t len = byte < 0x20 || byte == '"' || byte == '\\' || byte == 0x7f
					     ? 0
					     : buf_utf8_length(text + plain);
			if (!len)
				break;
			plain += len;
		}
		rc = buf_append(buf, text, plain);
		text += plain;
		if (!rc && *text)
			rc = append_json_escape(buf, (unsigned char)*text++);
	}
	if (rc && buf->data) {
		buf->len = start;
		buf->data[start] = '\0';
	}
	return rc;
}

void buf_clear(struct buf *buf)
{
	buf->len = 0;
	if (buf->data)
		buf->data[0] = '\0';
}

void buf_dispose(struct buf *buf)
{
	free(buf->data);
	*buf = (struct buf){.max = buf->max};
}
