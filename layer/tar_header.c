/* SPDX-License-Identifier: Apache-2.0 */
#include "layer/tar_internal.h"

#include <string.h>

/* POSIX.1-2017, "ustar Interchange Format". */
enum field {
	NAME = 0,
	MODE = 100,
	UID = 108,
	GID = 116,
	SIZE = 124,
	MTIME = 136,
	CHECKSUM = 148,
	TYPE = 156,
	LINK = 157,
	MAGIC = 257,
	USER = 265,
	GROUP = 297,
	MAJOR = 329,
	MINOR = 337,
	PREFIX = 345,
};

bool tar_is_zero(const uint8_t block[TAR_BLOCK])
{
	return block[0] == 0 && memcmp(block, block + 1, TAR_BLOCK - 1) == 0;
}

/* GNU's base 256: two's complement, the topmost bit of the first byte aside. */
static int base256(const uint8_t *field, size_t len, int64_t *number, struct err *err)
{
	bool negative = field[0] & 0x40;
	uint64_t value = negative ? UINT64_MAX : 0;

	for (size_t i = 0; i < len; i++) {
		uint8_t byte = i == 0 ? (uint8_t)((field[0] & 0x7f) | (negative ? 0x80 : 0)) : field[i];

		if (value >> 55 != (negative ? 0x1ff : 0))
			return err_set(err, ERR_INVALID, "a number is too large");
		value = value << 8 | byte;
	}
	*number = (int64_t)value;
	return 0;
}

static int signed_number(const uint8_t *field, size_t len, int64_t *number, struct err *err)
{
	uint64_t value = 0;
	size_t i = 0;

	if (field[0] & 0x80)
		return base256(field, len, number, err);
	while (i < len && (field[i] == ' ' || field[i] == '\0'))
		i++;
	for (; i < len && field[i] >= '0' && field[i] <= '7'; i++) {
		if (value >> 60)
			return err_set(err, ERR_INVALID, "a number is too large");
		value = value << 3 | (uint64_t)(field[i] - '0');
	}
	while (i < len && (field[i] == ' ' || field[i] == '\0'))
		i++;
	if (i < len)
		return err_set(err, ERR_INVALID, "a number is none");
	*number = (int64_t)value;
	return 0;
}

int tar_number(const uint8_t *field, size_t len, uint64_t *number, struct err *err)
{
	int64_t value = 0;
	int code = signed_number(field, len, &value, err);

	if (!code && value < 0)
		code = err_set(err, ERR_INVALID, "a number is below 0");
	*number = (uint64_t)value;
	return code;
}

/* The sum of all bytes, with the checksum's own taken as blanks; old writers took them as signed. */
static int check_sum(const uint8_t block[TAR_BLOCK], struct err *err)
{
	uint64_t said = 0;
	int64_t plain = 0, as_signed = 0;

	for (size_t i = 0; i < TAR_BLOCK; i++) {
		uint8_t byte = i >= CHECKSUM && i < CHECKSUM + 8 ? ' ' : block[i];

		plain += byte;
		as_signed += (int8_t)byte;
	}
	if (tar_number(block + CHECKSUM, 8, &said, NULL) || ((int64_t)said != plain && (int64_t)said != as_signed))
		return err_set(err, ERR_INVALID, "what should be a header has a wrong checksum");
	return 0;
}

static size_t text_len(const uint8_t *field, size_t len)
{
	const uint8_t *end = memchr(field, 0, len);

	return end ? (size_t)(end - field) : len;
}

static void join_path(const uint8_t block[TAR_BLOCK], size_t prefix_len, char *path)
{
	size_t name_len = text_len(block + NAME, 100), len = 0;

	if (prefix_len > 0) {
		memcpy(path, block + PREFIX, prefix_len);
		len = prefix_len;
		path[len++] = '/';
	}
	memcpy(path + len, block + NAME, name_len);
	path[len + name_len] = '\0';
}

/* How long the prefix is: GNU has times there, and what came before ustar nothing. */
static size_t prefix_length(const uint8_t block[TAR_BLOCK])
{
	if (memcmp(block + MAGIC, "ustar\0", 6) != 0)
		return 0;
	/* Schilling's tar has times behind a shorter one. */
	return text_len(block + PREFIX, memcmp(block + TAR_BLOCK - 4, "tar", 4) == 0 ? 131 : 155);
}

static int read_numbers(const uint8_t block[TAR_BLOCK], struct tar_header *header, struct err *err)
{
	uint64_t mode = 0, major = 0, minor = 0;
	int code = tar_number(block + SIZE, 12, &header->size, err);

	if (!code)
		code = tar_number(block + MODE, 8, &mode, err);
	if (!code)
		code = tar_number(block + UID, 8, &header->uid, err);
	if (!code)
		code = tar_number(block + GID, 8, &header->gid, err);
	if (!code)
		code = signed_number(block + MTIME, 12, &header->mtime_s, err);
	if (!code && (header->type == '3' || header->type == '4')) {
		code = tar_number(block + MAJOR, 8, &major, err);
		if (!code)
			code = tar_number(block + MINOR, 8, &minor, err);
	}
	header->mode = (uint32_t)mode & 07777;
	header->major = (uint32_t)major;
	header->minor = (uint32_t)minor;
	if (!code && header->size > INT64_MAX - TAR_BLOCK)
		code = err_set(err, ERR_INVALID, "no file is that large");
	return code;
}

int tar_header_read(const uint8_t block[TAR_BLOCK], struct tar_header *header, struct err *err)
{
	bool has_users = memcmp(block + MAGIC, "ustar", 5) == 0;
	int code = check_sum(block, err);

	if (code)
		return code;
	*header = (struct tar_header){.type = (char)block[TYPE],
				      .link = (const char *)block + LINK,
				      .link_len = text_len(block + LINK, 100),
				      .user = (const char *)block + USER,
				      .group = (const char *)block + GROUP};
	if (has_users) {
		header->user_len = text_len(block + USER, 32);
		header->group_len = text_len(block + GROUP, 32);
	}
	join_path(block, prefix_length(block), header->path);
	return read_numbers(block, header, err);
}
