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

size_t tar_header(const char *path, uint64_t size, uint8_t out[TAR_HEADER_MAX])
{
	struct header header;
	char records[TAR_BLOCK + 1] = "", number[32];
	size_t used = 0, at = 0;

	assert(strlen(path) <= TAR_PATH_MAX);
	if (strlen(path) > NAME_MAX_PLAIN)
		used += put_record(records, sizeof(records), "path", path);
	if (size > SIZE_MAX_PLAIN) {
		snprintf(number, sizeof(number), "%llu", (unsigned long long)size);
		used += put_record(records + used, sizeof(records) - used, "size", number);
	}
	if (used > 0) {
		fill(&header, "pax", 'x', used);
		memcpy(out, &header, TAR_BLOCK);
		memset(out + TAR_BLOCK, 0, TAR_BLOCK);
		memcpy(out + TAR_BLOCK, records, used);
		at = 2 * TAR_BLOCK;
	}
	fill(&header, path, '0', size);
	memcpy(out + at, &header, TAR_BLOCK);
	return at + TAR_BLOCK;
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
