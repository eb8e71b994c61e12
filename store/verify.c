/* SPDX-License-Identifier: Apache-2.0 */
#include "store/verify.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/count.h"
#include "store/index.h"
#include "store/store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHUNK         ((size_t)1 << 20)
#define ALIGNMENT     4096 /* of memory, places and lengths that bypass the page cache */
#define BLOBS_AT_ONCE 256
#define NAP_MS        100                  /* the longest sleep between two questions whether to go on */
#define BLOB_COST     ((uint64_t)16 << 10) /* of opening one, in bytes that could be read meanwhile */

static int cancelled(struct err *err)
{
	return err_set(err, ERR_CANCELLED, "the verification was ended early");
}

struct pace {
	const struct verify_options *options;
	struct verify_pace *shared;
};

static bool goes_on(const struct verify_options *options)
{
	return !options->go_on || options->go_on(options->arg);
}

/* Sleeps until so many more bytes are due. False: end early. */
static bool keep_pace(struct pace *pace, uint64_t bytes)
{
	const struct verify_options *options = pace->options;
	double now = (double)clock_ms(), *due = &pace->shared->due_ms;

	if (options->bytes_per_s > 0) {
		/* Time that was not used is not made up for. */
		*due = (*due > now ? *due : now) + (double)bytes / (double)options->bytes_per_s * 1000;
		while (goes_on(options) && *due - now >= 1) {
			double nap = *due - now < NAP_MS ? *due - now : NAP_MS;

			nanosleep(&(struct timespec){.tv_nsec = (long)(nap * 1e6)}, NULL);
			now = (double)clock_ms();
		}
	}
	return goes_on(options);
}

/* Past the page cache where that can be: it is the disk that is asked, and what is served stays cached. */
static int open_past_cache(struct store *store, const struct digest *digest)
{
	char path[STORE_PATH_MAX];
	int fd = openat(store->root_fd, store_blob_path(digest, path), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_DIRECT);

	if (fd < 0 && errno == EINVAL)
		fd = openat(store->root_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd;
}

/* 0 with the digest of all that is in the file; ERR_IO; ERR_CANCELLED. */
static int hash_file(int fd, struct digest *digest, struct pace *pace, struct verify_result *result, struct err *err)
{
	_cleanup_free_ void *chunk = NULL;
	struct hasher *hasher = hasher_new(digest->algorithm);
	off_t at = 0;
	ssize_t got;
	int code = 0;

	if (posix_memalign(&chunk, ALIGNMENT, CHUNK))
		abort();
	while (!code && (got = pread(fd, chunk, CHUNK, at)) != 0) {
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			code = err_set_errno(err, ERR_IO, errno, "cannot be read at %lld", (long long)at);
			break;
		}
		hasher_update(hasher, chunk, (size_t)got);
		at += got;
		count_add(&result->bytes, (uint64_t)got);
		/* What is not aligned any more is the end. */
		if (!keep_pace(pace, (uint64_t)got))
			code = cancelled(err);
		else if (at % ALIGNMENT != 0)
			break;
	}
	if (code)
		hasher_free(hasher);
	else
		hasher_finish(hasher, digest);
	return code;
}

/* `opened` gets the descriptor of what was looked at, or a negative. */
static int check_content(struct store *store, const struct digest *digest, int *opened, struct pace *pace,
			 struct verify_result *result, struct err *err)
{
	int fd = *opened = open_past_cache(store, digest), code;
	struct digest found = {.algorithm = digest->algorithm};

	if (fd < 0 && errno == ENOENT)
		return err_set(err, ERR_NOT_FOUND, "it is not held");
	if (fd < 0)
		return err_set_errno(err, ERR_IO, errno, "cannot be opened");
	if (!keep_pace(pace, BLOB_COST))
		return cancelled(err);
	code = hash_file(fd, &found, pace, result, err);
	if (!code && !digest_equal(&found, digest))
		code = err_set(err, ERR_DIGEST, "its content does not match its digest");
	return code;
}

static int verify_one(struct store *store, const struct digest *digest, struct pace *pace, struct verify_result *result,
		      struct err *err)
{
	struct verify_item item = {.digest = *digest};
	_cleanup_close_ int fd = -1;
	struct err why = {0}, failed;
	int code = store_find_blob(store, digest, &item.size, &why);

	/* A file of another size is in quarantine by now. */
	if (code == 0)
		code = check_content(store, digest, &fd, pace, result, &why);
	if (code == 0)
		count_add(&result->blobs, 1);
	else if (fd >= 0 && code != ERR_CANCELLED && !store_is_blob(store, digest, fd))
		code = err_set(&why, ERR_NOT_FOUND, "it was damaged, and has been put away meanwhile");
	if (code == 0 || code == ERR_NOT_FOUND || code == ERR_CANCELLED) {
		if (err)
			*err = why;
		return code;
	}
	if (store_quarantine_blob(store, digest, why.text, &failed))
		err_set(&why, code, "%s", failed.text);
	count_add(&result->damaged, 1);
	item.code = code;
	item.why = why.text;
	if (pace->options->each)
		pace->options->each(pace->options->arg, &item);
	if (err)
		*err = why;
	return code;
}

int verify_blob(struct store *store, const struct digest *digest, const struct verify_options *options,
		struct verify_result *result, struct err *err)
{
	struct verify_pace own = {0};
	struct pace pace = {.options = options, .shared = options->pace ? options->pace : &own};

	return verify_one(store, digest, &pace, result, err);
}

/* All. */

struct chunk {
	struct digest digests[BLOBS_AT_ONCE];
	size_t count;
};

static bool take_blob(void *arg, const struct digest *digest, const struct index_blob *blob)
{
	struct chunk *chunk = arg;

	(void)blob;
	chunk->digests[chunk->count++] = *digest;
	return chunk->count < BLOBS_AT_ONCE;
}

int verify_run(struct store *store, const struct verify_options *options, struct verify_result *result, struct err *err)
{
	struct verify_pace own = {0};
	struct pace pace = {.options = options, .shared = options->pace ? options->pace : &own};
	_cleanup_free_ struct chunk *chunk = mem_alloc(sizeof(*chunk));
	struct digest after = {0};
	int code;

	*result = (struct verify_result){0};
	do {
		chunk->count = 0;
		code = index_list_blobs(store->index, after.algorithm ? &after : NULL, take_blob, chunk, err);
		for (size_t i = 0; i < chunk->count && !code; i++) {
			after = chunk->digests[i];
			if (!goes_on(options))
				return cancelled(err);
			if (verify_one(store, &after, &pace, result, err) == ERR_CANCELLED)
				return ERR_CANCELLED;
		}
	} while (!code && chunk->count == BLOBS_AT_ONCE);
	return code;
}

/* What is lost. */

static bool take_named(void *arg, const struct digest *digest, int64_t checked, bool needed)
{
	struct chunk *chunk = arg;
	size_t last = chunk->count;

	(void)checked;
	if (!needed || (last > 0 && digest_equal(&chunk->digests[last - 1], digest)))
		return true;
	chunk->digests[chunk->count++] = *digest;
	return chunk->count < BLOBS_AT_ONCE;
}

struct losses {
	struct store *store;
	struct digest found[STORE_QUARANTINE_MAX];
	size_t count;
};

static bool note_any(void *arg)
{
	*(bool *)arg = true;
	return false;
}

static bool note_name(void *arg, const struct index_name *name)
{
	(void)name;
	return note_any(arg);
}

static bool note_parent(void *arg, const struct digest *parent, bool is_manifest)
{
	(void)parent, (void)is_manifest;
	return note_any(arg);
}

/* What a manifest needs was told already. */
static bool take_quarantined(void *arg, const struct digest *digest)
{
	struct losses *losses = arg;
	struct index *index = losses->store->index;
	bool needed = false, named = false;

	for (size_t i = 0; i < losses->count; i++)
		if (digest_equal(&losses->found[i], digest))
			return true;
	if (index_list_parents(index, digest, note_parent, &needed, NULL) == 0 && !needed &&
	    index_list_names(index, digest, note_name, &named, NULL) == 0 && named)
		losses->found[losses->count++] = *digest;
	return losses->count < STORE_QUARANTINE_MAX;
}

/* False: `each` said so. */
static bool tell_lost(struct store *store, const struct digest *digest,
		      bool (*each)(void *arg, const struct digest *digest), void *arg)
{
	struct index_blob blob;

	return index_get_blob(store->index, digest, &blob, NULL) != ERR_NOT_FOUND || each(arg, digest);
}

int verify_list_lost(struct store *store, bool (*each)(void *arg, const struct digest *digest), void *arg,
		     struct err *err)
{
	_cleanup_free_ struct chunk *chunk = mem_alloc(sizeof(*chunk));
	struct losses losses = {.store = store};
	struct digest after = {0};
	int code;

	do {
		chunk->count = 0;
		code = index_list_named(store->index, after.algorithm ? &after : NULL, take_named, chunk, err);
		for (size_t i = 0; i < chunk->count && !code; i++) {
			after = chunk->digests[i];
			if (!tell_lost(store, &after, each, arg))
				return 0;
		}
	} while (!code && chunk->count == BLOBS_AT_ONCE);
	if (code)
		return code;
	store_list_quarantined(store, take_quarantined, &losses);
	for (size_t i = 0; i < losses.count; i++)
		if (!tell_lost(store, &losses.found[i], each, arg))
			break;
	return 0;
}
