/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz.h"

#include "server/bundle/archive.h"

struct bytes {
	const uint8_t *at;
	size_t left;
};

static ssize_t give(void *arg, void *data, size_t max)
{
	struct bytes *bytes = arg;
	size_t count = bytes->left < max ? bytes->left : max;

	memcpy(data, bytes->at, count);
	bytes->at += count;
	bytes->left -= count;
	return (ssize_t)count;
}

/* An archive to import: no file of it has a path that leads out of it. */
FUZZ_BYTES(data, len)
{
	struct bytes bytes = {.at = data, .left = len};
	const struct archive_source source = {.read = give, .arg = &bytes};
	struct archive_reader *reader = archive_reader_new(&source);
	struct archive_file file;
	struct err err;
	const void *piece;
	size_t piece_len;

	while (archive_next(reader, &file, &err) == 0) {
		FUZZ_HOLDS(file.path[0] && file.path[0] != '/' && strncmp(file.path, "../", 3) != 0 &&
			   !strstr(file.path, "/../"));
		while (archive_data(reader, &piece, &piece_len, &err) == 0 && piece_len > 0)
			;
	}
	archive_reader_free(reader);
}
