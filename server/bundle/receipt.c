/* SPDX-License-Identifier: Apache-2.0 */
#include "server/bundle/receipt.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "store/index.h"
#include "store/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC         "larder-receipt\n\1"
#define MAGIC_BYTES   16
#define HEADER_BYTES  (MAGIC_BYTES + 2 * 8)
#define TRAILER_BYTES 32
#define WRITE_BYTES   65536

static const struct {
	uint8_t algorithm;
	size_t length;
} kinds[] = {{DIGEST_SHA256, 32}, {DIGEST_SHA512, 64}};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void put_u64(uint8_t *at, uint64_t value)
{
	for (int i = 0; i < 8; i++)
		at[i] = (uint8_t)(value >> (56 - 8 * i));
}

static uint64_t get_u64(const uint8_t *at)
{
	uint64_t value = 0;

	for (int i = 0; i < 8; i++)
		value = value << 8 | at[i];
	return value;
}

/* Writing: the index lists blobs in the order of algorithm and digest, which is the file's. */

struct writer {
	int fd;
	uint64_t counts[KINDS];
	size_t used;
	int failed; /* errno */
	uint8_t bytes[WRITE_BYTES];
};

static void flush(struct writer *writer)
{
	for (size_t done = 0; done < writer->used && !writer->failed;) {
		ssize_t written = write(writer->fd, writer->bytes + done, writer->used - done);

		if (written > 0)
			done += (size_t)written;
		else if (written == 0 || errno != EINTR)
			writer->failed = written < 0 ? errno : EIO;
	}
	writer->used = 0;
}

static bool take_blob(void *arg, const struct digest *digest, const struct index_blob *blob)
{
	struct writer *writer = arg;
	size_t len = digest_length(digest);

	(void)blob;
	for (size_t i = 0; i < KINDS; i++)
		writer->counts[i] += kinds[i].algorithm == digest->algorithm;
	if (writer->used + len > WRITE_BYTES)
		flush(writer);
	memcpy(writer->bytes + writer->used, digest->bytes, len);
	writer->used += len;
	return !writer->failed;
}

static int write_failed(const struct writer *writer, struct err *err)
{
	return err_set_errno(err, ERR_IO, writer->failed, "cannot write the receipt");
}

/* The hash is of the file, header and all, which is known last. */
static int write_checksum(struct writer *writer, struct err *err)
{
	struct hasher *hasher = hasher_new(DIGEST_SHA256);
	struct digest digest;
	off_t at = 0;
	ssize_t got;

	while ((got = pread(writer->fd, writer->bytes, WRITE_BYTES, at)) > 0) {
		hasher_update(hasher, writer->bytes, (size_t)got);
		at += got;
	}
	hasher_finish(hasher, &digest);
	if (got < 0)
		return err_set_errno(err, ERR_IO, errno, "cannot read the receipt");
	memcpy(writer->bytes, digest.bytes, TRAILER_BYTES);
	writer->used = TRAILER_BYTES;
	flush(writer);
	return writer->failed ? write_failed(writer, err) : 0;
}

int receipt_write(struct store *store, int fd, struct err *err)
{
	_cleanup_free_ struct writer *writer = mem_alloc(sizeof(*writer));
	uint8_t header[HEADER_BYTES] = MAGIC;
	int code;

	writer->fd = fd;
	writer->used = HEADER_BYTES; /* its place */
	code = index_list_blobs(store_index(store), NULL, take_blob, writer, err);
	if (code)
		return code;
	flush(writer);
	for (size_t i = 0; i < KINDS; i++)
		put_u64(header + MAGIC_BYTES + 8 * i, writer->counts[i]);
	if (!writer->failed && pwrite(fd, header, HEADER_BYTES, 0) != HEADER_BYTES)
		writer->failed = errno;
	return writer->failed ? write_failed(writer, err) : write_checksum(writer, err);
}

/* Reading. */

struct receipt {
	uint8_t *map;
	size_t size;
	uint64_t counts[KINDS];
	const uint8_t *digests[KINDS];
	struct digest checksum;
};

static int refuse(struct err *err, const char *why)
{
	return err_set(err, ERR_INVALID, "this is no receipt: %s", why);
}

static int read_header(struct receipt *receipt, struct err *err)
{
	uint64_t left;

	if (receipt->size < HEADER_BYTES + TRAILER_BYTES || memcmp(receipt->map, MAGIC, MAGIC_BYTES) != 0)
		return refuse(err, "it does not begin as one");
	left = receipt->size - HEADER_BYTES - TRAILER_BYTES;
	receipt->digests[0] = receipt->map + HEADER_BYTES;
	for (size_t i = 0; i < KINDS; i++) {
		receipt->counts[i] = get_u64(receipt->map + MAGIC_BYTES + 8 * i);
		if (receipt->counts[i] > left / kinds[i].length)
			return refuse(err, "it is shorter than it says");
		left -= receipt->counts[i] * kinds[i].length;
		if (i + 1 < KINDS)
			receipt->digests[i + 1] = receipt->digests[i] + receipt->counts[i] * kinds[i].length;
	}
	return left ? refuse(err, "it is longer than it says") : 0;
}

static int check_order(const struct receipt *receipt, struct err *err)
{
	for (size_t i = 0; i < KINDS; i++)
		for (uint64_t n = 1; n < receipt->counts[i]; n++) {
			const uint8_t *at = receipt->digests[i] + n * kinds[i].length;

			if (memcmp(at - kinds[i].length, at, kinds[i].length) >= 0)
				return refuse(err, "its digests are not in order");
		}
	return 0;
}

static int check(struct receipt *receipt, struct err *err)
{
	int code = read_header(receipt, err);

	if (code)
		return code;
	digest_of(DIGEST_SHA256, receipt->map, receipt->size - TRAILER_BYTES, &receipt->checksum);
	if (memcmp(receipt->checksum.bytes, receipt->map + receipt->size - TRAILER_BYTES, TRAILER_BYTES) != 0)
		return refuse(err, "its checksum is wrong");
	return check_order(receipt, err);
}

int receipt_open(int fd, struct receipt **out, struct err *err)
{
	struct receipt *receipt;
	struct stat file;
	void *map;
	int code;

	if (fstat(fd, &file) < 0)
		return err_set_errno(err, ERR_IO, errno, "cannot look at the receipt");
	if (!S_ISREG(file.st_mode) || file.st_size == 0)
		return refuse(err, "it is empty, or no file");
	map = mmap(NULL, (size_t)file.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		return err_set_errno(err, ERR_IO, errno, "cannot map the receipt");
	receipt = mem_alloc(sizeof(*receipt));
	receipt->map = map;
	receipt->size = (size_t)file.st_size;
	code = check(receipt, err);
	if (code)
		receipt_free(receipt);
	else
		*out = receipt;
	return code;
}

void receipt_free(struct receipt *receipt)
{
	if (!receipt)
		return;
	munmap(receipt->map, receipt->size);
	free(receipt);
}

bool receipt_has(const struct receipt *receipt, const struct digest *digest)
{
	for (size_t i = 0; i < KINDS; i++) {
		uint64_t low = 0, high = receipt->counts[i];

		if (kinds[i].algorithm != digest->algorithm)
			continue;
		while (low < high) {
			uint64_t middle = low + (high - low) / 2;
			int order =
				memcmp(digest->bytes, receipt->digests[i] + middle * kinds[i].length, kinds[i].length);

			if (order == 0)
				return true;
			if (order < 0)
				high = middle;
			else
				low = middle + 1;
		}
	}
	return false;
}

uint64_t receipt_count(const struct receipt *receipt)
{
	uint64_t count = 0;

	for (size_t i = 0; i < KINDS; i++)
		count += receipt->counts[i];
	return count;
}

const struct digest *receipt_digest(const struct receipt *receipt)
{
	return &receipt->checksum;
}
