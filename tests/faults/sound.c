/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/faults/sound.h"

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/log.h"
#include "store/evict_internal.h"
#include "store/index.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The walks below are nftw()'s, which passes no argument on: one store is looked at at a time. */
static struct sight {
	const char *path;
	struct store *store;
	uint64_t files, bytes;
	bool in_index; /* from here on each file has to be in the index */
	unsigned faults;
} sight;

static void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void complain(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("unsound: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	sight.faults++;
}

/* "…/sha256/ab/<hex>" */
static bool digest_of_path(const char *path, struct digest *digest)
{
	char text[DIGEST_TEXT_MAX + 1];
	const char *name = strrchr(path, '/') + 1;

	snprintf(text, sizeof(text), "%s:%.128s", strlen(name) == 128 ? "sha512" : "sha256", name);
	return digest_parse(text, digest) == 0;
}

static bool hash_file(const char *path, uint8_t algorithm, struct digest *digest)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct hasher *hasher;
	char data[65536];
	ssize_t got;

	if (fd < 0)
		return false;
	hasher = hasher_new(algorithm);
	while ((got = read(fd, data, sizeof(data))) > 0)
		hasher_update(hasher, data, (size_t)got);
	hasher_finish(hasher, digest);
	return got == 0;
}

static int look_at_blob(const char *path, const struct stat *found, int flag, struct FTW *place)
{
	struct digest named, computed;
	struct index_blob known;

	(void)place;
	if (flag == FTW_D)
		return 0;
	sight.files++;
	sight.bytes += (uint64_t)found->st_size;
	if (flag != FTW_F || !digest_of_path(path, &named))
		complain("%s has no business there", path);
	else if (!hash_file(path, named.algorithm, &computed) || !digest_equal(&named, &computed))
		complain("%s (%lld bytes) has another content", path, (long long)found->st_size);
	else if (sight.in_index && (index_get_blob(store_index(sight.store), &named, &known, NULL) ||
				    known.size != (uint64_t)found->st_size))
		complain("%s is not in the index as it is", path);
	return 0;
}

static void look_at_blobs(bool in_index)
{
	char path[512];

	sight.files = sight.bytes = 0;
	sight.in_index = in_index;
	snprintf(path, sizeof(path), "%s/blobs", sight.path);
	nftw(path, look_at_blob, 16, FTW_PHYS);
}

/* Before anything was mended: a blob without a file is not found. */
static bool look_for_file(void *arg, const struct digest *digest, const struct index_blob *blob)
{
	char path[STORE_PATH_MAX], text[DIGEST_TEXT_MAX];
	bool there = faccessat(sight.store->root_fd, store_blob_path(digest, path), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	uint64_t size = blob->size;
	int code = store_find_blob(sight.store, digest, &size, NULL);

	(void)arg;
	if (there != (code == 0))
		complain("the index has %s, the disk has it%s, and a lookup says %d", digest_format(digest, text),
			 there ? "" : " not", code);
	return true;
}

static bool count_blob(void *arg, const struct digest *digest, const struct index_blob *blob)
{
	struct index_totals *counted = arg;

	(void)digest;
	counted->blobs++;
	counted->bytes += blob->size;
	return true;
}

static void compare_with_index(void)
{
	struct index_totals counted = {0}, totals = {0};

	index_list_blobs(store_index(sight.store), NULL, count_blob, &counted, NULL);
	index_get_totals(store_index(sight.store), &totals, NULL);
	if (counted.blobs != sight.files || counted.bytes != sight.bytes)
		complain("%llu blobs of %llu bytes in the index, %llu of %llu on disk",
			 (unsigned long long)counted.blobs, (unsigned long long)counted.bytes,
			 (unsigned long long)sight.files, (unsigned long long)sight.bytes);
	if (totals.blobs != counted.blobs || totals.bytes != counted.bytes)
		complain("totals of %llu blobs, %llu bytes", (unsigned long long)totals.blobs,
			 (unsigned long long)totals.bytes);
}

/* What an open store may have beside blobs. */
static int look_for_leak(const char *path, const struct stat *found, int flag, struct FTW *place)
{
	static const char *const allowed[] = {"/VERSION",     "/lock",           "/index/data.mdb", "/index/lock.mdb",
					      "/partial/sha", "/quarantine/sha", "/blobs/",         "/jobs/"};
	const char *inside = path + strlen(sight.path), *ranges = strstr(inside, ".ranges"),
		   *mark = strstr(inside, ".mark");
	char partial[512];

	(void)found;
	(void)place;
	if (flag == FTW_D)
		return 0;
	if (ranges) {
		snprintf(partial, sizeof(partial), "%.*s", (int)(ranges - inside + (inside - path)), path);
		if (access(partial, F_OK) < 0)
			complain("%s is left", path);
	}
	for (size_t i = 0; !mark && i < sizeof(allowed) / sizeof(*allowed); i++)
		if (strncmp(inside, allowed[i], strlen(allowed[i])) == 0)
			return 0;
	complain("%s is left", path);
	return 0;
}

bool store_is_sound(const char *path)
{
	const struct store_options options = {.path = path};
	struct sweep sweep = {0};
	struct err err = {0};

	sight = (struct sight){.path = path};
	if (store_open(&options, &sight.store, &err)) {
		complain("%s does not open: %s", path, err.text);
		return false;
	}
	look_at_blobs(false);
	index_list_blobs(store_index(sight.store), NULL, look_for_file, NULL, NULL);
	while (sweep_step(sight.store, &sweep))
		;
	if (index_write(store_index(sight.store), NULL, 0, &err))
		complain("the index cannot be written: %s", err.text);
	look_at_blobs(true);
	compare_with_index();
	nftw(path, look_for_leak, 16, FTW_PHYS);
	store_close(sight.store);
	return sight.faults == 0;
}

static _Thread_local unsigned long long used;

static int add_blocks(const char *path, const struct stat *found, int flag, struct FTW *place)
{
	(void)path;
	(void)flag;
	(void)place;
	used += (unsigned long long)found->st_blocks * 512;
	return 0;
}

unsigned long long disk_use(const char *path)
{
	used = 0;
	nftw(path, add_blocks, 16, FTW_PHYS);
	return used;
}
