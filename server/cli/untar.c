/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/untar.h"

#include "base/buf.h"
#include "server/bundle/file_copy.h"
#include "server/bundle/tar.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum untar_state {
	UNTAR_HEADER,   /* a block that begins a file -> EXTENDED, CONTENT, END */
	UNTAR_EXTENDED, /* what a pax header says: the next header's path and size -> HEADER */
	UNTAR_CONTENT,  /* a file's bytes -> PADDING */
	UNTAR_PADDING,  /* up to the next block -> HEADER */
	UNTAR_END,      /* zeroes */
};

struct untar {
	enum untar_state state;
	uint8_t block[TAR_EXTENDED_MAX + 1]; /* of HEADER and EXTENDED, with a NUL */
	size_t want, have;                   /* of it */
	char path[TAR_PATH_MAX + 1];         /* as an extended header said; "" */
	bool sized;                          /* likewise */
	uint64_t size;
	uint64_t left; /* of CONTENT and PADDING */
	int fd;
};

struct untar *untar_new(void)
{
	struct untar *untar = mem_alloc(sizeof(*untar));

	untar->fd = -1;
	untar->want = TAR_BLOCK;
	return untar;
}

void untar_free(struct untar *untar)
{
	if (!untar)
		return;
	if (untar->fd >= 0)
		close(untar->fd);
	free(untar);
}

static int malformed(struct err *err)
{
	return err_set(err, ERR_INVALID, "what came is no bundle");
}

/* "LENGTH path=VALUE\n" and the like. */
static int read_extended(struct untar *untar, struct err *err)
{
	char *at = (char *)untar->block;

	untar->block[untar->want] = '\0';
	untar->want = TAR_BLOCK;
	while (*at) {
		size_t len = (size_t)strtoul(at, &at, 10);
		char *end = strchr(at, '\n');

		if (len == 0 || *at != ' ' || !end)
			return malformed(err);
		*end = '\0';
		if (strncmp(at + 1, "path=", 5) == 0 && strlen(at + 6) <= TAR_PATH_MAX) {
			strcpy(untar->path, at + 6);
		} else if (strncmp(at + 1, "size=", 5) == 0) {
			untar->size = strtoull(at + 6, NULL, 10);
			untar->sized = true;
		} else if (strncmp(at + 1, "comment=", 8) != 0) {
			return malformed(err);
		}
		at = end + 1;
	}
	untar->state = UNTAR_HEADER;
	return 0;
}

static bool path_is_own(const char *path)
{
	return path[0] && path[0] != '/' && !strstr(path, "..") && strlen(path) <= TAR_PATH_MAX;
}

static int read_header(struct untar *untar, int directory, struct err *err)
{
	char type = (char)untar->block[156];

	if (untar->block[0] == 0) {
		untar->state = UNTAR_END;
		return 0;
	}
	if (type == 'x') {
		uint64_t size = tar_read_size(untar->block);

		if (size == 0 || size > TAR_EXTENDED_MAX)
			return malformed(err);
		untar->want = (size_t)size + tar_padding(size);
		untar->state = UNTAR_EXTENDED;
		return 0;
	}
	if (!untar->path[0])
		snprintf(untar->path, sizeof(untar->path), "%.100s", (const char *)untar->block);
	if (!untar->sized)
		untar->size = tar_read_size(untar->block);
	if (type != '0' || !path_is_own(untar->path))
		return malformed(err);
	untar->left = untar->size;
	untar->state = UNTAR_CONTENT;
	return file_create(directory, untar->path, &untar->fd, err);
}

/* A file is whole: on to the next. */
static void end_content(struct untar *untar)
{
	close(untar->fd);
	untar->fd = -1;
	untar->left = tar_padding(untar->size);
	untar->path[0] = '\0';
	untar->sized = false;
	untar->state = UNTAR_PADDING;
}

static size_t least(uint64_t a, size_t b)
{
	return a < b ? (size_t)a : b;
}

/* Takes some of the bytes; *taken says how many. */
static int step(struct untar *untar, int directory, const uint8_t *data, size_t len, size_t *taken, struct err *err)
{
	switch (untar->state) {
	case UNTAR_HEADER:
	case UNTAR_EXTENDED:
		*taken = least(untar->want - untar->have, len);
		memcpy(untar->block + untar->have, data, *taken);
		untar->have += *taken;
		if (untar->have < untar->want)
			return 0;
		untar->have = 0;
		return untar->state == UNTAR_HEADER ? read_header(untar, directory, err) : read_extended(untar, err);
	case UNTAR_CONTENT:
		*taken = least(untar->left, len);
		untar->left -= *taken;
		return *taken > 0 ? file_write(untar->fd, data, *taken, err) : 0;
	case UNTAR_PADDING:
		*taken = least(untar->left, len);
		untar->left -= *taken;
		return 0;
	case UNTAR_END:
	default:
		*taken = len;
		return 0;
	}
}

int untar_take(struct untar *untar, int directory, const void *data, size_t len, struct err *err)
{
	const uint8_t *at = data;

	for (;;) {
		size_t taken = 0;
		int code;

		if (untar->state == UNTAR_CONTENT && untar->left == 0)
			end_content(untar);
		if (untar->state == UNTAR_PADDING && untar->left == 0)
			untar->state = UNTAR_HEADER;
		if (len == 0)
			return 0;
		code = step(untar, directory, at, len, &taken, err);
		if (code)
			return code;
		at += taken;
		len -= taken;
	}
}

int untar_finish(const struct untar *untar, struct err *err)
{
	return untar->state == UNTAR_END ? 0 : err_set(err, ERR_INVALID, "the bundle breaks off");
}
