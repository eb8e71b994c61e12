/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stores of any size, for measuring, and what a store of that size costs.
 *
 *   bench-store fill STORE LISTS [BLOBS REPOSITORIES TAGS]   makes one, of 1000000, 10000 and 100000 when none are
 * given; request paths of five hundred of the images, for bench/load.c, go to LISTS.manifests, LISTS.tags and
 * LISTS.blobs bench-store measure STORE            opens it, looks up what it has, sweeps over all of it, evicts a
 * hundred images; prints what that took, "name value" a line
 *
 * Every tag is an image of its own: a manifest, a config and layers of a few bytes, all with their right digests,
 * linked and referenced as a pull does it. Files are not synced one by one: what is made here can be made again.
 */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/digest.h"
#include "store/evict_internal.h"
#include "store/index.h"
#include "store/remove.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MANIFEST_TYPE "application/vnd.oci.image.manifest.v1+json"
#define CONFIG_TYPE   "application/vnd.oci.image.config.v1+json"
#define LAYER_TYPE    "application/vnd.oci.image.layer.v1.tar+gzip"
#define UPSTREAM      "registry.test"
#define LAYERS_MAX    100
#define CHANGES_MAX   (4 * LAYERS_MAX)
#define LISTED        500
#define LOOKUPS       20000
#define EVICTED       100

struct size {
	unsigned long blobs, repositories, tags;
};

static void die(const char *what, const struct err *err)
{
	fprintf(stderr, "bench-store: %s%s%s\n", what, err ? ": " : "", err ? err->text : "");
	exit(1);
}

static struct store *open_store(const char *path)
{
	const struct store_options options = {.path = path};
	struct store *store;
	struct err err = {0};

	if (store_open(&options, &store, &err))
		die("cannot open the store", &err);
	return store;
}

/* Filling. */

struct image {
	struct digest digests[LAYERS_MAX + 2]; /* layers, config, manifest */
	struct index_change changes[CHANGES_MAX];
	struct index_tag tag;
	size_t change_count;
	char repository[64], tag_name[32];
};

static void put_file(struct store *store, const char *text, size_t len, struct digest *digest)
{
	char path[STORE_PATH_MAX];
	int fd;

	digest_of(DIGEST_SHA256, text, len, digest);
	fd = openat(store->root_fd, store_blob_path(digest, path), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
	if (fd < 0 || write(fd, text, len) != (ssize_t)len)
		die("cannot write a blob", NULL);
	close(fd);
}

static void add_change(struct image *image, struct index_change change)
{
	image->changes[image->change_count++] = change;
}

/* A blob that is held, linked and, unless it is the manifest itself, referenced. */
static void add_blob(struct image *image, const struct digest *digest, size_t size, int64_t last_use, const char *type,
		     const struct digest *manifest)
{
	const struct index_repository repository = {UPSTREAM, image->repository};
	struct index_change link = {.kind = INDEX_PUT_LINK, .repository = repository, .digest = digest};

	snprintf(link.link.media_type, sizeof(link.link.media_type), "%s", type);
	add_change(image, (struct index_change){
				  .kind = INDEX_PUT_BLOB, .digest = digest, .blob = {size, .last_use = last_use}});
	add_change(image, link);
	if (manifest)
		add_change(image,
			   (struct index_change){.kind = INDEX_PUT_REFERENCE, .digest = manifest, .child = digest});
}

static void describe(struct buf *manifest, const char *type, const struct digest *digest, size_t size)
{
	char text[DIGEST_TEXT_MAX];

	buf_printf(manifest, "{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%zu}", type, digest_format(digest, text),
		   size);
}

static void name_image(struct image *image, const struct size *size, unsigned long number)
{
	unsigned long repository = number % size->repositories;

	snprintf(image->repository, sizeof(image->repository), "team%lu/app%lu", repository / 100, repository);
	snprintf(image->tag_name, sizeof(image->tag_name), "v%lu", number / size->repositories);
}

struct lists {
	FILE *manifests, *tags, *blobs;
};

static void list_image(const struct lists *lists, const struct image *image, size_t layers)
{
	char text[DIGEST_TEXT_MAX];
	const char *repository = image->repository;

	fprintf(lists->tags, "/v2/%s/manifests/%s\n", repository, image->tag_name);
	fprintf(lists->manifests, "/v2/%s/manifests/%s\n", repository, digest_format(&image->tag.digest, text));
	for (size_t i = 0; i < layers; i++)
		fprintf(lists->blobs, "/v2/%s/blobs/%s\n", repository, digest_format(&image->digests[i], text));
}

static void put_image(struct store *store, const struct size *size, unsigned long number, const struct lists *lists)
{
	_cleanup_free_ struct image *image = mem_alloc(sizeof(*image));
	_cleanup_(buf_dispose) struct buf manifest = {0};
	size_t layers = size->blobs / size->tags - 2, lens[LAYERS_MAX + 1];
	struct digest *config = &image->digests[layers], *digest = &image->digests[layers + 1];
	int64_t used = clock_wall_s() - (int64_t)(size->tags - number);
	char text[128];

	name_image(image, size, number);
	for (size_t i = 0; i <= layers; i++) {
		lens[i] = (size_t)snprintf(text, sizeof(text), "{\"image\":%lu,\"part\":%zu}", number, i);
		put_file(store, text, lens[i], &image->digests[i]);
	}
	buf_printf(&manifest, "{\"schemaVersion\":2,\"mediaType\":\"%s\",\"config\":", MANIFEST_TYPE);
	describe(&manifest, CONFIG_TYPE, config, lens[layers]);
	for (size_t i = 0; i < layers; i++) {
		buf_append_text(&manifest, i ? "," : ",\"layers\":[");
		describe(&manifest, LAYER_TYPE, &image->digests[i], lens[i]);
	}
	buf_append_text(&manifest, "]}");
	put_file(store, manifest.data, manifest.len, digest);
	add_blob(image, digest, manifest.len, used, MANIFEST_TYPE, NULL);
	for (size_t i = 0; i <= layers; i++)
		add_blob(image, &image->digests[i], lens[i], used, "", digest);
	image->tag = (struct index_tag){.digest = *digest, .size = manifest.len, .fetched = used, .checked = used};
	snprintf(image->tag.media_type, sizeof(image->tag.media_type), "%s", MANIFEST_TYPE);
	add_change(image, (struct index_change){.kind = INDEX_PUT_TAG,
						.repository = {UPSTREAM, image->repository},
						.tag = image->tag_name,
						.tag_record = &image->tag});
	/* Of the younger half: measuring evicts the oldest. */
	if (number >= size->tags / 2 && number % (size->tags / 2 / LISTED + 1) == 0)
		list_image(lists, image, layers);
	while (index_write_later(store->index, image->changes, image->change_count) == ERR_LIMIT)
		if (index_write(store->index, NULL, 0, NULL))
			die("cannot write the index", NULL);
}

static void make_folders(struct store *store)
{
	char path[32];

	mkdirat(store->root_fd, "blobs/sha256", STORE_DIRECTORY_MODE);
	for (unsigned i = 0; i < 256; i++) {
		snprintf(path, sizeof(path), "blobs/sha256/%02x", i);
		mkdirat(store->root_fd, path, STORE_DIRECTORY_MODE);
	}
}

static FILE *open_list(const char *base, const char *name)
{
	_cleanup_free_ char *path = mem_printf("%s.%s", base, name);
	FILE *file = fopen(path, "w");

	if (!file)
		die("cannot write a list", NULL);
	return file;
}

static void fill(const char *path, const char *base, const struct size *size)
{
	struct lists lists = {open_list(base, "manifests"), open_list(base, "tags"), open_list(base, "blobs")};
	struct store *store = open_store(path);
	uint64_t began = clock_us();

	if (size->tags == 0 || size->repositories == 0 || size->blobs / size->tags < 3 ||
	    size->blobs / size->tags > LAYERS_MAX)
		die("a tag needs 3 to 100 blobs", NULL);
	make_folders(store);
	for (unsigned long i = 0; i < size->tags; i++)
		put_image(store, size, i, &lists);
	store_close(store);
	fclose(lists.manifests);
	fclose(lists.tags);
	fclose(lists.blobs);
	fprintf(stderr, "%lu images in %.0f s\n", size->tags, (double)(clock_us() - began) / 1e6);
}

/* Measuring. */

struct sample {
	struct digest *digests;
	size_t count;
};

static bool take_digest(void *arg, const struct digest *digest, const struct index_blob *blob)
{
	struct sample *sample = arg;

	(void)blob;
	sample->digests[sample->count++] = *digest;
	return false;
}

/* Digests spread over all there are. */
static void sample_blobs(struct store *store, struct sample *sample)
{
	unsigned seed = 1;

	sample->digests = mem_alloc(LOOKUPS * sizeof(*sample->digests));
	while (sample->count < LOOKUPS) {
		struct digest after = {.algorithm = DIGEST_SHA256};
		size_t before = sample->count;

		for (int i = 0; i < 8; i++)
			after.bytes[i] = (uint8_t)rand_r(&seed);
		if (index_list_blobs(store->index, &after, take_digest, sample, NULL))
			die("cannot list", NULL);
		if (sample->count == before && before == 0)
			die("the store is empty", NULL);
	}
}

static double us_each(uint64_t began, size_t count)
{
	return (double)(clock_us() - began) / (double)count;
}

static void measure_lookups(struct store *store)
{
	struct sample sample = {0};
	uint64_t began, size;

	sample_blobs(store, &sample);
	/* The second time it is warm. */
	for (int round = 0; round < 2; round++) {
		began = clock_us();
		for (size_t i = 0; i < sample.count; i++)
			if (store_find_blob(store, &sample.digests[i], &size, NULL))
				die("a blob is not found", NULL);
		printf("%s_lookup_us %.2f\n", round ? "warm" : "cold", us_each(began, sample.count));
	}
	free(sample.digests);
}

static void measure_sweep(struct store *store)
{
	struct sweep sweep = {0};
	uint64_t began = clock_us(), longest = 0;
	size_t steps = 0;
	bool more = true;

	while (more) {
		uint64_t step = clock_us();

		more = sweep_step(store, &sweep);
		step = clock_us() - step;
		longest = step > longest ? step : longest;
		steps++;
	}
	printf("sweep_steps %zu\nsweep_s %.2f\nsweep_step_max_ms %.2f\n", steps, (double)(clock_us() - began) / 1e6,
	       (double)longest / 1e3);
}

static bool take_root(void *arg, const struct index_root *root)
{
	*(struct index_root *)arg = *root;
	return false;
}

static void measure_eviction(struct store *store)
{
	uint64_t began = clock_us(), longest = 0;
	struct err err = {0};

	for (size_t i = 0; i < EVICTED; i++) {
		uint64_t one = clock_us();
		struct index_root root;

		if (index_list_roots(store->index, NULL, take_root, &root, &err) ||
		    remove_image(store, &root.digest, NULL, &err))
			die("cannot evict", &err);
		one = clock_us() - one;
		longest = one > longest ? one : longest;
	}
	printf("evict_ms_each %.2f\nevict_ms_max %.2f\n", us_each(began, EVICTED) / 1e3, (double)longest / 1e3);
}

static uint64_t rss_kib(const char *field)
{
	FILE *file = fopen("/proc/self/status", "r");
	unsigned long kib = 0;
	char line[128];

	while (file && fgets(line, sizeof(line), file))
		if (strncmp(line, field, strlen(field)) == 0)
			kib = strtoul(line + strlen(field), NULL, 10);
	if (file)
		fclose(file);
	return kib;
}

static void measure(const char *path)
{
	uint64_t began = clock_us();
	struct store *store = open_store(path);
	struct index_totals totals = {0};

	printf("open_ms %.2f\n", (double)(clock_us() - began) / 1e3);
	index_get_totals(store->index, &totals, NULL);
	printf("blobs %" PRIu64 "\n", totals.blobs);
	measure_lookups(store);
	measure_eviction(store);
	measure_sweep(store);
	printf("rss_anon_kib %" PRIu64 "\n", rss_kib("RssAnon:"));
	store_close(store);
}

int main(int argc, char **argv)
{
	struct size size = {1000000, 10000, 100000};

	if (argc == 7) {
		size.blobs = strtoul(argv[4], NULL, 10);
		size.repositories = strtoul(argv[5], NULL, 10);
		size.tags = strtoul(argv[6], NULL, 10);
	}
	if ((argc == 4 || argc == 7) && strcmp(argv[1], "fill") == 0)
		fill(argv[2], argv[3], &size);
	else if (argc == 3 && strcmp(argv[1], "measure") == 0)
		measure(argv[2]);
	else
		die("usage: bench-store fill STORE LISTS [BLOBS REPOSITORIES TAGS] | bench-store measure STORE", NULL);
	return 0;
}
