/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A partial on disk, and the range file beside it:
 *
 *   magic "LRNG", version u32, size u64, etag length u32, etag, count u32, count times (start u64, end u64), CRC-32 u32
 *
 * all big-endian, the CRC over everything before it. It is overwritten in place by one pwrite(); one that was torn
 * fails its CRC, and the partial starts over. Bytes behind the CRC belong to an earlier, longer version.
 */
#include "store/ingest_internal.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <utlist.h>
#include <zlib.h>

#define JOURNAL_MAGIC   0x4c524e47u
#define JOURNAL_VERSION 1
#define JOURNAL_MAX     (4 + 4 + 8 + 4 + INGEST_ETAG_MAX + 4 + 16 * INGEST_RANGES_MAX + 4)

struct journal {
	size_t len; /* written, or read so far */
	size_t end; /* of what there is to read */
	uint8_t bytes[JOURNAL_MAX];
};

static void put_number(struct journal *journal, uint64_t value, int bytes)
{
	while (bytes-- > 0)
		journal->bytes[journal->len++] = (uint8_t)(value >> (8 * bytes));
}

static bool get_number(struct journal *journal, uint64_t *value, int bytes)
{
	*value = 0;
	if (journal->end - journal->len < (size_t)bytes)
		return false;
	while (bytes-- > 0)
		*value = *value << 8 | journal->bytes[journal->len++];
	return true;
}

static uint32_t checksum(const struct journal *journal)
{
	return (uint32_t)crc32(crc32(0, NULL, 0), journal->bytes, (uInt)journal->len);
}

/* `mutex` is held. */
static void encode_journal(const struct ingest *ingest, struct journal *journal)
{
	const struct ranges *ranges = ingest_disk_ranges(ingest);
	size_t etag_len = strlen(ingest->etag);

	journal->len = 0;
	put_number(journal, JOURNAL_MAGIC, 4);
	put_number(journal, JOURNAL_VERSION, 4);
	put_number(journal, ingest->size, 8);
	put_number(journal, etag_len, 4);
	memcpy(journal->bytes + journal->len, ingest->etag, etag_len);
	journal->len += etag_len;
	put_number(journal, ranges->count, 4);
	for (size_t i = 0; i < ranges->count; i++) {
		put_number(journal, ranges->items[i].start, 8);
		put_number(journal, ranges->items[i].end, 8);
	}
	put_number(journal, checksum(journal), 4);
}

/* False for anything that encode_journal() would not have written. */
static bool decode_journal(struct ingest *ingest, struct journal *journal)
{
	uint64_t number, count, start, end, crc, before = 0;
	uint32_t sum;

	if (!get_number(journal, &number, 4) || number != JOURNAL_MAGIC || !get_number(journal, &number, 4) ||
	    number != JOURNAL_VERSION || !get_number(journal, &ingest->size, 8) || !get_number(journal, &number, 4) ||
	    number > INGEST_ETAG_MAX || journal->end - journal->len < number)
		return false;
	memcpy(ingest->etag, journal->bytes + journal->len, number);
	ingest->etag[number] = '\0';
	journal->len += number;
	if (!get_number(journal, &count, 4) || count > INGEST_RANGES_MAX)
		return false;
	for (uint64_t i = 0; i < count; i++) {
		if (!get_number(journal, &start, 8) || !get_number(journal, &end, 8) || start >= end ||
		    (i > 0 && start <= before) || end > ingest->size || end > INT64_MAX ||
		    ranges_add(&ingest->ranges, start, end))
			return false;
		before = end;
	}
	sum = checksum(journal);
	return get_number(journal, &crc, 4) && crc == sum;
}

static void forget(struct ingest *ingest)
{
	ingest->size = INGEST_SIZE_UNKNOWN;
	ingest->etag[0] = '\0';
	memset(&ingest->ranges, 0, sizeof(ingest->ranges));
	memset(&ingest->disk_ranges, 0, sizeof(ingest->disk_ranges));
	hasher_free(ingest->hasher);
	ingest->hasher = hasher_new(ingest->digest.algorithm);
	ingest->hashed = ingest->forgotten = 0;
	ingest->journal_due = 0;
}

void ingest_write_journal(struct ingest *ingest)
{
	char path[STORE_PATH_MAX];
	struct journal journal;
	ssize_t written = -1;
	bool nothing;

	if (ingest->fd < 0)
		return;

	pthread_mutex_lock(&ingest->journal_mutex);
	pthread_mutex_lock(&ingest->mutex);
	encode_journal(ingest, &journal);
	ingest->journal_due = 0;
	nothing = ingest_disk_ranges(ingest)->count == 0;
	pthread_mutex_unlock(&ingest->mutex);
	/* Without bytes there is nothing to go on from: many a blob ends without ever needing the file. */
	if (nothing && ingest->journal_fd < 0) {
		pthread_mutex_unlock(&ingest->journal_mutex);
		return;
	}
	store_partial_path(&ingest->digest, STORE_RANGES_SUFFIX, path);
	if (ingest->journal_fd < 0)
		ingest->journal_fd =
			openat(ingest->store->root_fd, path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (ingest->journal_fd >= 0)
		written = pwrite(ingest->journal_fd, journal.bytes, journal.len, 0);
	if (written != (ssize_t)journal.len)
		log_debug("store: cannot write %s: %s", path, strerrordesc_np(errno));
	pthread_mutex_unlock(&ingest->journal_mutex);
}

void ingest_remove_journal(struct ingest *ingest)
{
	char path[STORE_PATH_MAX];

	if (ingest->aside)
		return;
	pthread_mutex_lock(&ingest->journal_mutex);
	if (ingest->journal_fd >= 0)
		close(ingest->journal_fd);
	ingest->journal_fd = -1;
	unlinkat(ingest->store->root_fd, store_partial_path(&ingest->digest, STORE_RANGES_SUFFIX, path), 0);
	pthread_mutex_unlock(&ingest->journal_mutex);
}

/* Takes up what an earlier run left; without a good range file nothing is known of the bytes, and they go. */
static int take_up(struct ingest *ingest, struct err *err)
{
	char path[STORE_PATH_MAX];
	struct journal journal = {.len = 0};
	struct stat file;
	ssize_t len = -1;

	if (fstat(ingest->fd, &file) < 0)
		return err_set_errno(err, ERR_IO, errno, "cannot look at a partial in %s", ingest->store->path);
	store_partial_path(&ingest->digest, STORE_RANGES_SUFFIX, path);
	ingest->journal_fd = openat(ingest->store->root_fd, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (ingest->journal_fd >= 0)
		len = pread(ingest->journal_fd, journal.bytes, sizeof(journal.bytes), 0);
	journal.end = len > 0 ? (size_t)len : 0;
	if (decode_journal(ingest, &journal))
		ranges_cut(&ingest->ranges, (uint64_t)file.st_size);
	else
		forget(ingest);
	if (ingest->ranges.count > 0)
		return 0;
	forget(ingest);
	if (ingest->journal_fd >= 0)
		ingest_remove_journal(ingest);
	if (file.st_size > 0 && ftruncate(ingest->fd, 0) < 0)
		return err_set_errno(err, ERR_IO, errno, "cannot truncate a partial in %s", ingest->store->path);
	return 0;
}

/* The descriptor, or a negative code; *disk_failed tells whether the disk is why. */
static int open_partial(struct ingest *ingest, bool *disk_failed, struct err *err)
{
	const int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW;
	int root = ingest->store->root_fd, fd;
	char path[STORE_PATH_MAX];

	store_partial_path(&ingest->digest, "", path);
	fd = openat(root, path, flags, 0640);
	/* It was about to be published, and is read-only already. */
	if (fd < 0 && errno == EACCES && fchmodat(root, path, 0640, 0) == 0)
		fd = openat(root, path, flags, 0640);
	*disk_failed = fd < 0 && ingest_is_disk_error(errno);
	if (fd < 0)
		return err_set_errno(err, ERR_IO, errno, "cannot open %s/%s", ingest->store->path, path);
	return fd;
}

/* From here on eviction leaves the partial alone. */
static void enter_room(struct ingest *ingest)
{
	struct room *room = &ingest->store->room;

	pthread_mutex_lock(&room->mutex);
	LL_PREPEND(room->ingests, ingest);
	pthread_mutex_unlock(&room->mutex);
}

/* What is on disk already is reserved without asking: it was a leftover until now. */
static void reserve_present(struct ingest *ingest)
{
	struct room *room = &ingest->store->room;
	uint64_t present = ingest_present_bytes(ingest);

	pthread_mutex_lock(&room->mutex);
	ingest->reserved = present;
	room->reserved += present;
	room->leftover -= room->leftover < present ? room->leftover : present;
	pthread_mutex_unlock(&room->mutex);
}

static void leave_room(struct ingest *ingest, uint64_t left)
{
	struct room *room = &ingest->store->room;

	pthread_mutex_lock(&room->mutex);
	LL_DELETE(room->ingests, ingest);
	room->leftover += left;
	pthread_mutex_unlock(&room->mutex);
	ingest_give_room(ingest);
}

void ingest_give_room(struct ingest *ingest)
{
	struct room *room = &ingest->store->room;
	uint64_t reserved;

	pthread_mutex_lock(&room->mutex);
	reserved = ingest->reserved;
	ingest->reserved = 0;
	pthread_mutex_unlock(&room->mutex);
	room_give(ingest->store, reserved);
}

/* Only the owner changes what an ingest has reserved; the mutex is for those who count. */
int ingest_reserve(struct ingest *ingest, uint64_t size, uint64_t wait_ms, struct err *err)
{
	struct room *room = &ingest->store->room;
	uint64_t wanted = size + 2 * ROOM_FILE_BYTES; /* the partial and its range file */
	int code;

	if (wanted <= ingest->reserved)
		return 0;
	code = room_take(ingest->store, wanted - ingest->reserved, wait_ms, err);
	if (code)
		return code;
	pthread_mutex_lock(&room->mutex);
	ingest->reserved = wanted;
	pthread_mutex_unlock(&room->mutex);
	return 0;
}

int ingest_check_room(struct ingest *ingest, uint64_t size, struct err *err)
{
	uint64_t wanted = size + 2 * ROOM_FILE_BYTES;

	return wanted <= ingest->reserved ? 0 : room_check(ingest->store, wanted - ingest->reserved, false, err);
}

/* Opens the partial and takes up what is there; where the disk refuses, everything goes to memory. */
static int open_files(struct ingest *ingest, struct err *err)
{
	struct err why = {0};
	bool disk_failed;
	int code;

	ingest->fd = open_partial(ingest, &disk_failed, &why);
	if (disk_failed)
		return ingest_spill(ingest, why.text, err);
	if (ingest->fd < 0) {
		*err = why;
		return why.code;
	}
	code = take_up(ingest, err);
	if (code == 0)
		reserve_present(ingest);
	return code;
}

static int open_ingest(struct store *store, const struct digest *digest, bool aside, struct ingest **ingest_out,
		       struct err *err)
{
	struct ingest *ingest = mem_alloc(sizeof(*ingest));
	int code;

	ingest->aside = aside;
	ingest->store = store;
	ingest->digest = *digest;
	ingest->journal_fd = ingest->memory_fd = ingest->fd = -1;
	pthread_mutex_init(&ingest->mutex, NULL);
	pthread_mutex_init(&ingest->journal_mutex, NULL);
	pthread_cond_init(&ingest->hash_free, NULL);
	forget(ingest);
	enter_room(ingest);
	code = aside ? ingest_spill(ingest, "readers are too far apart", err) : open_files(ingest, err);
	if (code) {
		/* As a failed one it leaves on disk what is there. */
		ingest->state = INGEST_FAILED;
		ingest_close(ingest);
		return code;
	}
	*ingest_out = ingest;
	return 0;
}

int ingest_open(struct store *store, const struct digest *digest, struct ingest **ingest, struct err *err)
{
	return open_ingest(store, digest, false, ingest, err);
}

int ingest_open_aside(struct store *store, const struct digest *digest, struct ingest **ingest, struct err *err)
{
	return open_ingest(store, digest, true, ingest, err);
}

void ingest_close(struct ingest *ingest)
{
	char path[STORE_PATH_MAX];
	uint64_t left = 0;

	if (!ingest)
		return;
	assert(!ingest->hashing);
	if (ingest->state < INGEST_PUBLISHED && !ingest->renamed && !ingest->aside) {
		if (ingest_disk_ranges(ingest)->count > 0 && !ingest->lost) {
			ingest_write_journal(ingest);
			left = ingest_disk_ranges(ingest)->bytes;
		} else {
			unlinkat(ingest->store->root_fd, store_partial_path(&ingest->digest, "", path), 0);
			ingest_remove_journal(ingest);
		}
	}
	leave_room(ingest, left);
	if (ingest->journal_fd >= 0)
		close(ingest->journal_fd);
	if (ingest->fd >= 0)
		close(ingest->fd);
	ingest_close_memory(ingest);
	hasher_free(ingest->hasher);
	pthread_cond_destroy(&ingest->hash_free);
	pthread_mutex_destroy(&ingest->journal_mutex);
	pthread_mutex_destroy(&ingest->mutex);
	free(ingest);
}

/* After a failed digest the file is in quarantine, and a new one takes its place behind the same descriptor. */
static int replace_file(struct ingest *ingest, struct err *err)
{
	bool disk_failed;
	_cleanup_close_ int fd = open_partial(ingest, &disk_failed, err);

	if (fd < 0)
		return fd;
	if (dup3(fd, ingest->fd, O_CLOEXEC) < 0)
		return err_set_errno(err, ERR_IO, errno, "cannot open a partial in %s", ingest->store->path);
	return 0;
}

int ingest_discard(struct ingest *ingest, struct err *err)
{
	int code = 0;

	pthread_mutex_lock(&ingest->mutex);
	assert(ingest->state != INGEST_PUBLISHED && !ingest->renamed);
	ingest->generation++;
	while (ingest->hashing)
		pthread_cond_wait(&ingest->hash_free, &ingest->mutex);
	if (ingest->state == INGEST_FAILED && !ingest->spilled)
		code = replace_file(ingest, err);
	ingest_clear_memory(ingest);
	if (!code && ingest->fd >= 0 && ftruncate(ingest->fd, 0) < 0)
		code = err_set_errno(err, ERR_IO, errno, "cannot truncate a partial in %s", ingest->store->path);
	if (!code) {
		forget(ingest);
		ingest->state = INGEST_WRITING;
	}
	pthread_mutex_unlock(&ingest->mutex);
	if (!code)
		ingest_remove_journal(ingest);
	return code;
}
