/* SPDX-License-Identifier: Apache-2.0 */
#include "server/bundle/tar.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define NAME_MAX_PLAIN 100             /* what the old header has room for */
#define SIZE_MAX_PLAIN 077777777777ULL /* likewise: 8 GiB - 1 */

struct header {
	char name[100];
	char mode[8];
	char uid[8];
	char gid[8];
	char size[12];
	char mtime[12];
	char checksum[8];
	char type;
	char link[100];
	char magic[8];
	char user[32];
	char group[32];
	char major[8];
	char minor[8];
	char prefix[155];
	char padding[12];
};

_Static_assert(sizeof(struct header) == TAR_BLOCK, "a tar header is one block");

static void fill(struct header *header, const char *name, char type, uint64_t size)
{
	unsigned sum = 0;

	memset(header, 0, sizeof(*header));
	memcpy(header->name, name, strnlen(name, sizeof(header->name)));
	memcpy(header->mode, "0000644", 8);
	memcpy(header->uid, "0000000", 8);
	memcpy(header->gid, "0000000", 8);
	snprintf(header->size, sizeof(header->size), "%011llo",
		 (unsigned long long)(size <= SIZE_MAX_PLAIN ? size : 0));
	memcpy(header->mtime, "00000000000", 12);
	header->type = type;
	memcpy(header->magic, "ustar\00000", 8);
	memset(header->checksum, ' ', sizeof(header->checksum));
	for (size_t i = 0; i < sizeof(*header); i++)
		sum += ((const unsigned char *)header)[i];
	snprintf(header->checksum, sizeof(header->checksum), "%06o", sum);
}

/* "27 path=blobs/…\n": the number counts the whole record, itself included. */
static size_t put_record(char *out, size_t room, const char *key, const char *value)
{
	size_t len = strlen(key) + strlen(value) + 3, digits = 1;

	while (snprintf(NULL, 0, "%zu", len + digits) != (int)digits)
		digits++;
	return (size_t)snprintf(out, room, "%zu %s=%s\n", len + digits, key, value);
}

/* A record of just this length that says nothing. */
static void put_comment(char *out, size_t len)
{
	int used = snprintf(out, len, "%zu comment=", len);

	assert(used > 0 && (size_t)used < len);
	memset(out + used, ' ', len - (size_t)used - 1);
	out[len - 1] = '\n';
}

/* A header that is at least so long, by a comment. */
static size_t put_header(const char *path, uint64_t size, size_t min, uint8_t out[TAR_HEADER_MAX])
{
	struct header header;
	char records[TAR_EXTENDED_MAX] = "", number[32];
	size_t used = 0, len = TAR_BLOCK;

	assert(strlen(path) <= TAR_PATH_MAX && min <= TAR_HEADER_MAX);
	if (strlen(path) > NAME_MAX_PLAIN)
		used += put_record(records, sizeof(records), "path", path);
	if (size > SIZE_MAX_PLAIN) {
		snprintf(number, sizeof(number), "%llu", (unsigned long long)size);
		used += put_record(records + used, sizeof(records) - used, "size", number);
	}
	if (used > 0)
		len = used + tar_padding(used) + 2 * TAR_BLOCK;
	if (len < min) {
		put_comment(records + used, min - 2 * TAR_BLOCK - used);
		used = min - 2 * TAR_BLOCK;
		len = min;
	}
	if (used > 0) {
		fill(&header, "pax", 'x', used);
		memcpy(out, &header, TAR_BLOCK);
		memcpy(out + TAR_BLOCK, records, len - 2 * TAR_BLOCK);
	}
	fill(&header, path, '0', size);
	memcpy(out + len - TAR_BLOCK, &header, TAR_BLOCK);
	return len;
}

size_t tar_header(const char *path, uint64_t size, uint8_t out[TAR_HEADER_MAX])
{
	return put_header(path, size, 0, out);
}

/* A header so long that a page is full with it, of which there are `other` bytes already. */
static size_t fill_page(const char *path, uint64_t size, uint64_t other, uint8_t out[TAR_HEADER_MAX])
{
	size_t plain = tar_header(path, size, out), rest = (size_t)((other + plain) % TAR_PAGE), want;

	if (rest == 0)
		return plain;
	want = plain + TAR_PAGE - rest;
	/* A comment has two blocks of its own at least. */
	return put_header(path, size, want < 3 * TAR_BLOCK ? want + TAR_PAGE : want, out);
}

size_t tar_header_at(const char *path, uint64_t size, uint64_t position, uint8_t out[TAR_HEADER_MAX])
{
	return size < TAR_PAGED_MIN ? tar_header(path, size, out) : fill_page(path, size, position, out);
}

size_t tar_header_even(const char *path, uint64_t size, uint8_t out[TAR_HEADER_MAX])
{
	return fill_page(path, size, size + tar_padding(size), out);
}

size_t tar_padding(uint64_t size)
{
	return (size_t)((TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK);
}

uint64_t tar_read_size(const uint8_t block[TAR_BLOCK])
{
	struct header header;
	uint64_t size = 0;

	memcpy(&header, block, sizeof(header));
	for (size_t i = 0; i < sizeof(header.size) && header.size[i] >= '0' && header.size[i] <= '7'; i++)
		size = size * 8 + (uint64_t)(header.size[i] - '0');
	return size;
}
