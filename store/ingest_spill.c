/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where an ingest's bytes are: in its partial, and once the disk takes no more, in memory. The memory is a file without
 * a name, with bytes at the offsets that they have in the blob, so that nobody who reads needs to know which is which
 * but ingest_read_at(). What the partial had stays there, to go on from when there is room again. A window is the same
 * file with a hole up to where all readers are.
 */
#include "store/ingest_internal.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

bool ingest_is_disk_error(int errno_value)
{
	return errno_value == ENOSPC || errno_value == EDQUOT || errno_value == EIO || errno_value == EROFS;
}

void store_note_unwritable(struct store *store, const char *why)
{
	if (!atomic_exchange(&store->unwritable, true))
		log_error("store: %s; until that changes, what is pulled is passed on without being kept", why);
}

void store_note_kept(struct store *store)
{
	if (atomic_load_explicit(&store->unwritable, memory_order_relaxed) &&
	    atomic_exchange(&store->unwritable, false))
		log_warn("store: %s takes blobs again", store->path);
}

static bool read_flag(struct ingest *ingest, const bool *flag)
{
	bool value;

	pthread_mutex_lock(&ingest->mutex);
	value = *flag;
	pthread_mutex_unlock(&ingest->mutex);
	return value;
}

bool ingest_is_spilled(struct ingest *ingest)
{
	return read_flag(ingest, &ingest->spilled);
}

bool ingest_is_kept(struct ingest *ingest)
{
	return !ingest_is_spilled(ingest) && !atomic_load_explicit(&ingest->store->unwritable, memory_order_relaxed);
}

bool ingest_is_windowed(struct ingest *ingest)
{
	return read_flag(ingest, &ingest->windowed);
}

uint64_t ingest_forgotten(struct ingest *ingest)
{
	return ingest_read_number(ingest, &ingest->forgotten);
}

uint64_t ingest_window_end(struct ingest *ingest, uint64_t offset)
{
	uint64_t end;

	pthread_mutex_lock(&ingest->mutex);
	end = offset < ingest->hashed ? offset : ingest->hashed;
	if (end < ingest->forgotten)
		end = ingest->forgotten;
	pthread_mutex_unlock(&ingest->mutex);
	return end + INGEST_WINDOW;
}

void ingest_forget(struct ingest *ingest, uint64_t offset)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t from, to;

	pthread_mutex_lock(&ingest->mutex);
	from = ingest->forgotten;
	to = offset < ingest->hashed ? offset : ingest->hashed;
	if (ingest->windowed && to > from)
		ingest->forgotten = to;
	else
		to = from;
	pthread_mutex_unlock(&ingest->mutex);
	from -= from % page;
	to -= to % page;
	if (to > from && fallocate(ingest->memory_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
				   (off_t)(to - from)) < 0)
		log_debug("store: cannot free memory: %s", strerrordesc_np(errno));
}

/* Makes so many bytes of memory this ingest's, while all have no more than `limit`. */
static bool reserve_memory(struct ingest *ingest, uint64_t bytes, uint64_t limit)
{
	struct store *store = ingest->store;
	uint64_t held = atomic_load(&store->spilled_bytes);

	do {
		if (bytes > limit || held > limit - bytes)
			return false;
	} while (!atomic_compare_exchange_weak(&store->spilled_bytes, &held, held + bytes));
	ingest->memory_reserved += bytes;
	return true;
}

int ingest_spill(struct ingest *ingest, const char *why, struct err *err)
{
	uint64_t size = ingest_size(ingest), present = ingest_present_bytes(ingest);
	bool whole;

	if (ingest->spilled)
		return 0;
	store_note_unwritable(ingest->store, why);
	whole = !ingest->aside && size != INGEST_SIZE_UNKNOWN &&
		reserve_memory(ingest, size - present, INGEST_WHOLE_MAX);
	if (!whole && !reserve_memory(ingest, INGEST_WINDOW, INGEST_SPILL_MAX))
		return err_set(err, ERR_NO_SPACE, "%s; and all of %llu MiB of memory for such blobs is taken", why,
			       (unsigned long long)(INGEST_SPILL_MAX >> 20));
	ingest->memory_fd = memfd_create("larder-blob", MFD_CLOEXEC);
	if (ingest->memory_fd < 0)
		return err_set_errno(err, ERR_NO_SPACE, errno, "cannot hold a blob in memory");
	pthread_mutex_lock(&ingest->mutex);
	ingest->disk_ranges = ingest->ranges;
	ingest->windowed = !whole;
	ingest->spilled = true;
	pthread_mutex_unlock(&ingest->mutex);
	return 0;
}

void ingest_clear_memory(struct ingest *ingest)
{
	if (ingest->memory_fd >= 0 && ftruncate(ingest->memory_fd, 0) < 0)
		log_debug("store: cannot free memory: %s", strerrordesc_np(errno));
}

void ingest_close_memory(struct ingest *ingest)
{
	if (ingest->memory_fd >= 0)
		close(ingest->memory_fd);
	atomic_fetch_sub(&ingest->store->spilled_bytes, ingest->memory_reserved);
}

/* 0, or the errno. */
static int write_fully(int fd, uint64_t offset, const uint8_t *data, size_t len)
{
	while (len > 0) {
		ssize_t written = pwrite(fd, data, len, (off_t)offset);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return errno;
		offset += (uint64_t)written;
		data += written;
		len -= (size_t)written;
	}
	return 0;
}

static int write_to_memory(struct ingest *ingest, uint64_t offset, const uint8_t *data, size_t len, struct err *err)
{
	int errno_value;

	if (ingest_is_windowed(ingest) && offset + len > ingest_window_end(ingest, 0))
		return err_set(err, ERR_AGAIN, "readers are behind");
	errno_value = write_fully(ingest->memory_fd, offset, data, len);
	return errno_value ? err_set_errno(err, ERR_NO_SPACE, errno_value, "cannot hold a blob in memory") : 0;
}

int ingest_write_at(struct ingest *ingest, uint64_t offset, const uint8_t *data, size_t len, struct err *err)
{
	char path[STORE_PATH_MAX];
	struct err why;
	int code;

	if (!ingest->spilled) {
		int errno_value = write_fully(ingest->fd, offset, data, len);

		if (errno_value == 0)
			return 0;
		err_set_errno(&why, ERR_IO, errno_value, "cannot write %s/%s", ingest->store->path,
			      store_partial_path(&ingest->digest, "", path));
		if (!ingest_is_disk_error(errno_value)) {
			*err = why;
			return why.code;
		}
		code = ingest_spill(ingest, why.text, err);
		if (code)
			return code;
	}
	return write_to_memory(ingest, offset, data, len, err);
}

int ingest_place(struct ingest *ingest, uint64_t offset, size_t *len)
{
	uint64_t end;
	int fd;

	pthread_mutex_lock(&ingest->mutex);
	fd = ingest->fd;
	if (ingest->spilled) {
		end = ranges_end_of(&ingest->disk_ranges, offset);
		if (end == offset) {
			fd = offset < ingest->forgotten ? -1 : ingest->memory_fd;
			end = ranges_next_start(&ingest->disk_ranges, offset);
		}
		if (*len > end - offset)
			*len = (size_t)(end - offset);
	}
	pthread_mutex_unlock(&ingest->mutex);
	return fd;
}

ssize_t ingest_read_at(struct ingest *ingest, uint64_t offset, void *data, size_t len)
{
	int fd = ingest_place(ingest, offset, &len);
	ssize_t got;

	do
		got = pread(fd, data, len, (off_t)offset);
	while (got < 0 && errno == EINTR);
	return got;
}
