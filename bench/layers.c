/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What indexing a layer costs, and what it saves: bench-layers LAYER prints, for a layer's file, how long `gzip -dc`
 * and indexing take, how large the index is, and how long 1,000 random reads of 4 KiB take through it, beside inflating
 * from the start each time (measured on a few, and averaged). Reads are compared with what gzip gives.
 */
#include "base/buf.h"
#include "base/clock.h"
#include "layer/build.h"
#include "layer/read.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READS      1000
#define FROM_START 5
#define READ_BYTES 4096
#define PIECE      ((size_t)1 << 20)

static ssize_t read_file(void *arg, uint64_t offset, void *data, size_t max, struct err *err)
{
	ssize_t got = pread(*(int *)arg, data, max, (off_t)offset);

	return got > 0 ? got : err_set(err, ERR_IO, "cannot read the layer");
}

static void must(int code, const struct err *err)
{
	if (!code)
		return;
	fprintf(stderr, "bench-layers: %s\n", err->text);
	exit(1);
}

static double seconds_since(uint64_t began_us)
{
	return (double)(clock_us() - began_us) / 1e6;
}

static struct layer_index *build(int fd, uint64_t size)
{
	struct layer_builder *builder = layer_builder_new(LAYER_INTERVAL);
	struct layer_index *index = NULL;
	char *piece = mem_alloc(PIECE);
	struct err err = {0};
	ssize_t got;

	for (uint64_t at = 0; at < size; at += (uint64_t)got) {
		got = read_file(&fd, at, piece, PIECE, &err);
		must(got < 0 ? (int)got : 0, &err);
		must(layer_builder_feed(builder, piece, (size_t)got, &err), &err);
	}
	must(layer_builder_finish(builder, &index, &err), &err);
	layer_builder_free(builder);
	free(piece);
	return index;
}

/* Runs `gzip -dc` on the layer: how long it takes. `keep` gets what it writes. */
static double gunzip(const char *path, const char *keep)
{
	char *command = mem_printf("gzip -dc '%s' > '%s'", path, keep);
	uint64_t began = clock_us();

	if (system(command) != 0)
		exit(1);
	free(command);
	return seconds_since(began);
}

static double read_randomly(const struct layer_index *index, int fd, int plain_fd, int reads, bool from_start)
{
	struct layer_source source = {.read = read_file, .arg = &fd, .verified = true};
	struct layer_index start = *index;
	char data[READ_BYTES], wanted[READ_BYTES];
	struct err err = {0};
	double seconds = 0;

	start.count = 1;
	for (int i = 0; i < reads; i++) {
		struct layer_reader *reader = layer_reader_new(from_start ? &start : index, &source);
		uint64_t offset = ((uint64_t)random() << 20 ^ (uint64_t)random()) % (index->out_size - READ_BYTES);
		uint64_t began = clock_us();

		must(layer_reader_read(reader, offset, data, READ_BYTES, &err), &err);
		seconds += seconds_since(began);
		layer_reader_free(reader);
		if (pread(plain_fd, wanted, READ_BYTES, (off_t)offset) != READ_BYTES ||
		    memcmp(data, wanted, READ_BYTES) != 0) {
			fprintf(stderr, "bench-layers: wrong bytes at %" PRIu64 "\n", offset);
			exit(1);
		}
	}
	return seconds / reads;
}

/* Each file of the layer, from a random place in it to its end at most a megabyte on. */
static size_t read_every_file(const struct layer_index *index, int fd, int plain_fd)
{
	struct layer_source source = {.read = read_file, .arg = &fd, .verified = false};
	struct layer_reader *reader = layer_reader_new(index, &source);
	char *data = mem_alloc(PIECE), *wanted = mem_alloc(PIECE);
	struct err err = {0};
	size_t files = 0;

	for (size_t i = 0; i < index->table.count; i++) {
		const struct layer_entry *entry = &index->table.entries[i];
		uint64_t offset, len;

		if (entry->type != LAYER_FILE || entry->size == 0 || entry->extents)
			continue;
		offset = (uint64_t)random() % entry->size;
		len = entry->size - offset < PIECE ? entry->size - offset : PIECE;
		must(layer_reader_read_file(reader, entry, offset, data, (size_t)len, &err), &err);
		if (pread(plain_fd, wanted, (size_t)len, (off_t)(entry->offset + offset)) != (ssize_t)len ||
		    memcmp(data, wanted, (size_t)len) != 0) {
			fprintf(stderr, "bench-layers: %s is wrong\n", entry->path);
			exit(1);
		}
		files++;
	}
	layer_reader_free(reader);
	free(data);
	free(wanted);
	return files;
}

int main(int argc, char **argv)
{
	struct buf encoded = {.max = LAYER_INDEX_MAX};
	double gzip_s, index_s, read_s, start_s;
	struct layer_index *index;
	struct err err = {0};
	struct stat found;
	uint64_t began;
	int fd, plain;
	char *keep;

	if (argc != 2 || (fd = open(argv[1], O_RDONLY)) < 0 || fstat(fd, &found) < 0) {
		fprintf(stderr, "usage: bench-layers LAYER.tar.gz\n");
		return 2;
	}
	keep = mem_printf("/tmp/bench-layers.%d", (int)getpid());
	gunzip(argv[1], "/dev/null");
	gzip_s = gunzip(argv[1], "/dev/null");
	began = clock_us();
	index = build(fd, (uint64_t)found.st_size);
	must(layer_index_encode(index, &encoded, &err), &err);
	index_s = seconds_since(began);
	gunzip(argv[1], keep);
	plain = open(keep, O_RDONLY);
	unlink(keep);
	printf("layer      %" PRIu64 " bytes, %" PRIu64 " uncompressed, %zu entries, %zu checkpoints\n", index->in_size,
	       index->out_size, index->table.count, index->count);
	printf("index      %zu bytes, %.3f %% of the layer\n", encoded.len,
	       100.0 * (double)encoded.len / (double)index->in_size);
	printf("gzip -dc   %.2f s\nindexing   %.2f s, %.2f times the speed of gzip -dc\n", gzip_s, index_s,
	       gzip_s / index_s);
	read_s = read_randomly(index, fd, plain, READS, false);
	start_s = read_randomly(index, fd, plain, FROM_START, true);
	printf("reads      %d of 4 KiB: %.2f ms each; from the start %.0f ms each, %.0f times as long\n", READS,
	       read_s * 1e3, start_s * 1e3, start_s / read_s);
	printf("files      %zu read at random places, each as it is in the tar\n", read_every_file(index, fd, plain));
	layer_index_free(index);
	buf_dispose(&encoded);
	free(keep);
	return 0;
}
