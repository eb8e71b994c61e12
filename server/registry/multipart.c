/* SPDX-License-Identifier: Apache-2.0 */
#include "server/registry/multipart.h"

#include "base/buf.h"
#include "base/err.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define BOUNDARY_BYTES 16
#define PART_TEXT_MAX  256

struct part {
	struct range range;
	uint64_t at; /* where its text begins in the body; the bytes follow the text */
};

struct multipart {
	struct multipart_source source;
	uint64_t size; /* of the representation */
	uint64_t length;
	bool unread;            /* the file failed … */
	uint64_t unread_offset; /* … here */
	char boundary[2 * BOUNDARY_BYTES + 1];
	char type[MULTIPART_TYPE_MAX];
	size_t current; /* where the last read ended */
	size_t count;
	struct part parts[]; /* and one more for the closing text */
};

/* The content is anyone's: a boundary that cannot be guessed is not in it. */
static void make_boundary(char *boundary)
{
	uint8_t random[BOUNDARY_BYTES];

	while (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		; /* a signal came before the kernel had any */
	for (size_t i = 0; i < BOUNDARY_BYTES; i++)
		snprintf(boundary + 2 * i, 3, "%02x", random[i]);
}

static size_t write_text(const struct multipart *multipart, size_t index, char text[PART_TEXT_MAX])
{
	const struct range *range = &multipart->parts[index].range;
	int len;

	if (index == multipart->count)
		len = snprintf(text, PART_TEXT_MAX, "\r\n--%s--\r\n", multipart->boundary);
	else
		len = snprintf(text, PART_TEXT_MAX,
			       "%s--%s\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes %" PRIu64
			       "-%" PRIu64 "/%" PRIu64 "\r\n\r\n",
			       index > 0 ? "\r\n" : "", multipart->boundary, range->start,
			       range->start + range->len - 1, multipart->size);
	assert(len > 0 && len < PART_TEXT_MAX);
	return (size_t)len;
}

struct multipart *multipart_new(const struct range_set *set, uint64_t size, const struct multipart_source *source)
{
	struct multipart *multipart = mem_alloc(sizeof(*multipart) + (set->count + 1) * sizeof(multipart->parts[0]));
	char text[PART_TEXT_MAX];

	multipart->source = *source;
	multipart->size = size;
	multipart->count = set->count;
	make_boundary(multipart->boundary);
	snprintf(multipart->type, sizeof(multipart->type), "multipart/byteranges; boundary=%s", multipart->boundary);
	for (size_t i = 0; i <= set->count; i++) {
		struct part *part = &multipart->parts[i];

		if (i < set->count)
			part->range = set->ranges[i];
		part->at = multipart->length;
		multipart->length += write_text(multipart, i, text) + part->range.len;
	}
	return multipart;
}

void multipart_free(struct multipart *multipart)
{
	if (!multipart)
		return;
	if (multipart->source.fd >= 0)
		close(multipart->source.fd);
	free(multipart);
}

const char *multipart_type(const struct multipart *multipart)
{
	return multipart->type;
}

uint64_t multipart_length(const struct multipart *multipart)
{
	return multipart->length;
}

/* The part that this position of the body is in. */
static size_t find_part(struct multipart *multipart, uint64_t position)
{
	size_t i = multipart->parts[multipart->current].at <= position ? multipart->current : 0;

	while (i < multipart->count && multipart->parts[i + 1].at <= position)
		i++;
	multipart->current = i;
	return i;
}

bool multipart_unread(const struct multipart *multipart, uint64_t *offset)
{
	*offset = multipart->unread_offset;
	return multipart->unread;
}

static ssize_t read_source(struct multipart *multipart, uint64_t offset, void *data, size_t max)
{
	const struct multipart_source *source = &multipart->source;
	ssize_t got;

	if (source->fd < 0)
		return source->read(source->arg, offset, data, max);
	do
		got = pread(source->fd, data, max, (off_t)offset);
	while (got < 0 && errno == EINTR);
	if (got > 0)
		return got;
	/* A published file is as long as it was when it was opened. */
	multipart->unread = true;
	multipart->unread_offset = offset;
	return ERR_IO;
}

/* What the part that `position` is in has from there on; with `only_text`, nothing where the source would be asked. */
static ssize_t read_part(struct multipart *multipart, uint64_t position, char *data, size_t max, bool only_text)
{
	size_t index = find_part(multipart, position);
	const struct part *part = &multipart->parts[index];
	uint64_t inside = position - part->at, left;
	char text[PART_TEXT_MAX];
	size_t text_len = write_text(multipart, index, text);

	if (inside < text_len) {
		size_t len = text_len - (size_t)inside < max ? text_len - (size_t)inside : max;

		memcpy(data, text + inside, len);
		return (ssize_t)len;
	}
	inside -= text_len;
	left = part->range.len - inside;
	if (only_text)
		return 0;
	return read_source(multipart, part->range.start + inside, data, left < max ? (size_t)left : max);
}

ssize_t multipart_read(struct multipart *multipart, uint64_t position, void *data, size_t max)
{
	bool may_wait = multipart->source.fd < 0;
	size_t used = 0;

	while (used < max && position + used < multipart->length) {
		ssize_t got =
			read_part(multipart, position + used, (char *)data + used, max - used, may_wait && used > 0);

		if (got <= 0)
			return used > 0 ? (ssize_t)used : got;
		used += (size_t)got;
	}
	return (ssize_t)used;
}
