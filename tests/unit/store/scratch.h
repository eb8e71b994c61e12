/* SPDX-License-Identifier: Apache-2.0 */
/* A directory of a test's own with a store in it, and child processes that die in it. */
#pragma once

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/err.h"
#include "store/index.h"
#include "store/ingest.h"
#include "store/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct scratch {
	char path[64]; /* the store */
	char top[48];  /* what is removed at the end */
	struct store *store;
	struct err err;
};

static inline struct digest scratch_digest(const void *data, size_t len)
{
	struct digest digest;

	digest_of(DIGEST_SHA256, data, len, &digest);
	return digest;
}

static inline int scratch_open(struct scratch *scratch)
{
	const struct store_options options = {.path = scratch->path};

	scratch->err = (struct err){0};
	return store_open(&options, &scratch->store, &scratch->err);
}

static inline void scratch_close(struct scratch *scratch)
{
	store_close(scratch->store);
	scratch->store = NULL;
}

static inline void scratch_reopen(struct scratch *scratch)
{
	scratch_close(scratch);
	assert_int_equal(scratch_open(scratch), 0);
}

static inline struct index *scratch_index(const struct scratch *scratch)
{
	return store_index(scratch->store);
}

/* The path of something in the store; the caller frees it. */
static inline char *scratch_path(const struct scratch *scratch, const char *name)
{
	return mem_printf("%s/%s", scratch->path, name);
}

static inline char *scratch_blob_path(const struct scratch *scratch, const struct digest *digest)
{
	char hex[DIGEST_TEXT_MAX];

	digest_hex(digest, hex);
	return mem_printf("%s/blobs/%s/%.2s/%s", scratch->path, digest_algorithm_name(digest->algorithm), hex, hex);
}

static inline char *scratch_partial_path(const struct scratch *scratch, const struct digest *digest, const char *suffix)
{
	char hex[DIGEST_TEXT_MAX];

	return mem_printf("%s/partial/%s-%s%s", scratch->path, digest_algorithm_name(digest->algorithm),
			  digest_hex(digest, hex), suffix);
}

static inline void scratch_write_file(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), (ssize_t)len);
	close(fd);
}

static inline bool scratch_exists(const char *path)
{
	return access(path, F_OK) == 0;
}

static inline size_t scratch_count_files(const struct scratch *scratch, const char *directory)
{
	char *path = scratch_path(scratch, directory);
	DIR *opened = opendir(path);
	struct dirent *entry;
	size_t count = 0;

	assert_non_null(opened);
	while ((entry = readdir(opened)))
		count += entry->d_name[0] != '.';
	closedir(opened);
	free(path);
	return count;
}

/* Runs `body` in a child with the store closed here, and returns how it ended (as waitpid() says). */
static inline int scratch_in_child(struct scratch *scratch, void (*body)(struct scratch *scratch))
{
	int status;
	pid_t child;

	scratch_close(scratch);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		body(scratch);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

/* Lets everything that was queued for the index come into force. */
static inline void scratch_settle(const struct scratch *scratch)
{
	assert_int_equal(index_write(scratch_index(scratch), NULL, 0, NULL), 0);
}

static inline struct index_totals scratch_totals(const struct scratch *scratch)
{
	struct index_totals totals;

	assert_int_equal(index_get_totals(scratch_index(scratch), &totals, NULL), 0);
	return totals;
}

static inline int scratch_remove_entry(const char *path, const struct stat *found, int flag, struct FTW *place)
{
	(void)found;
	(void)flag;
	(void)place;
	return remove(path);
}

static inline int scratch_setup(void **state)
{
	struct scratch *scratch = mem_alloc(sizeof(*scratch));

	strcpy(scratch->top, "/tmp/larder-test-XXXXXX");
	assert_non_null(mkdtemp(scratch->top));
	snprintf(scratch->path, sizeof(scratch->path), "%s/a/store", scratch->top);
	assert_int_equal(scratch_open(scratch), 0);
	*state = scratch;
	return 0;
}

static inline int scratch_teardown(void **state)
{
	struct scratch *scratch = *state;

	scratch_close(scratch);
	nftw(scratch->top, scratch_remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	free(scratch);
	return 0;
}

#define scratch_test(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)
