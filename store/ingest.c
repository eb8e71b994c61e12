/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of an ingest: writing, reading, hashing, verifying, publishing. Its files are ingest_file.c's. */
#include "store/ingest_internal.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/sendfile.h>

#define HASH_CHUNK ((size_t)256 << 10)

static int file_error(struct ingest *ingest, int errno_value, const char *what, struct err *err)
{
	char path[STORE_PATH_MAX];

	return err_set_errno(err, ERR_IO, errno_value, "cannot %s %s/%s", what, ingest->store->path,
			     store_partial_path(&ingest->digest, "", path));
}

uint64_t ingest_size(struct ingest *ingest)
{
	return ingest_read_number(ingest, &ingest->size);
}

int ingest_set_size(struct ingest *ingest, uint64_t size, struct err *err)
{
	uint64_t known, end;

	if (size > INT64_MAX)
		return err_set(err, ERR_INVALID, "no blob is as large as %llu bytes", (unsigned long long)size);
	pthread_mutex_lock(&ingest->mutex);
	known = ingest->size;
	end = ingest->ranges.count > 0 ? ingest->ranges.items[ingest->ranges.count - 1].end : 0;
	if (known == INGEST_SIZE_UNKNOWN && end <= size)
		ingest->size = size;
	pthread_mutex_unlock(&ingest->mutex);
	if (known == size)
		return 0;
	if (known != INGEST_SIZE_UNKNOWN)
		return err_set(err, ERR_INVALID, "the blob's size was %llu bytes and is now said to be %llu",
			       (unsigned long long)known, (unsigned long long)size);
	if (end > size)
		return err_set(err, ERR_INVALID, "the blob is said to have %llu bytes, and %llu are present",
			       (unsigned long long)size, (unsigned long long)end);
	ingest_write_journal(ingest);
	return 0;
}

void ingest_etag(struct ingest *ingest, char etag[INGEST_ETAG_MAX + 1])
{
	pthread_mutex_lock(&ingest->mutex);
	memcpy(etag, ingest->etag, sizeof(ingest->etag));
	pthread_mutex_unlock(&ingest->mutex);
}

void ingest_set_etag(struct ingest *ingest, const char *etag)
{
	size_t len = strlen(etag);
	bool differs;

	/* Half a validator would never match: better none. */
	if (len > INGEST_ETAG_MAX)
		len = 0;
	pthread_mutex_lock(&ingest->mutex);
	differs = strlen(ingest->etag) != len || memcmp(ingest->etag, etag, len) != 0;
	memcpy(ingest->etag, etag, len);
	ingest->etag[len] = '\0';
	pthread_mutex_unlock(&ingest->mutex);
	if (differs)
		ingest_write_journal(ingest);
}

/* The mutex is held by the callers of these two. */
static void claim_hash(struct ingest *ingest)
{
	assert(!ingest->hashing);
	ingest->hashing = true;
}

static void release_hash(struct ingest *ingest)
{
	ingest->hashing = false;
	pthread_cond_broadcast(&ingest->hash_free);
}

/* The next part of [*offset, end) that is not present: false when there is none. The mutex is held. */
static bool next_missing(const struct ingest *ingest, uint64_t *offset, uint64_t end, uint64_t *part_end)
{
	uint64_t next;

	*offset = ranges_end_of(&ingest->ranges, *offset);
	if (*offset >= end)
		return false;
	next = ranges_next_start(&ingest->ranges, *offset);
	*part_end = next < end ? next : end;
	return true;
}

/* Makes a written part known to readers, and hashes it when it begins at the hash position. */
static void add_part(struct ingest *ingest, uint64_t start, const uint8_t *data, size_t len)
{
	bool hash, journal;
	int code;

	pthread_mutex_lock(&ingest->mutex);
	code = ranges_add(&ingest->ranges, start, start + len);
	assert(code == 0);
	(void)code;
	ingest->journal_due += len;
	journal = ingest->journal_due >= INGEST_JOURNAL_BYTES;
	/* Decided here and not before the write: ingest_hash_behind() may have come up to this part meanwhile, and has
	 * then let go, since it was not present yet. */
	hash = !ingest->hashing && ingest->hashed == start;
	if (hash)
		claim_hash(ingest);
	pthread_mutex_unlock(&ingest->mutex);
	if (hash) {
		hasher_update(ingest->hasher, data, len);
		pthread_mutex_lock(&ingest->mutex);
		ingest->hashed += len;
		release_hash(ingest);
		pthread_mutex_unlock(&ingest->mutex);
	}
	if (journal)
		ingest_write_journal(ingest);
}

/* Whether [offset, end) may be written: within the size, and not one range too many. The mutex is held. */
static int check_write(const struct ingest *ingest, uint64_t offset, size_t len, struct err *err)
{
	uint64_t limit = ingest->size == INGEST_SIZE_UNKNOWN ? INT64_MAX : ingest->size;

	if (ingest->state == INGEST_FAILED)
		return err_set(err, ERR_DIGEST, "the bytes so far did not match the digest, and were not discarded");
	if (offset > limit || len > limit - offset)
		return err_set(err, ERR_LIMIT, "bytes at %llu lie beyond the blob's %llu", (unsigned long long)offset,
			       (unsigned long long)limit);
	if (!ranges_can_add(&ingest->ranges, offset, offset + len))
		return err_set(err, ERR_LIMIT, "more than %d separate ranges of one blob", INGEST_RANGES_MAX);
	return 0;
}

int ingest_write(struct ingest *ingest, uint64_t offset, const void *data, size_t len, struct err *err)
{
	const uint8_t *bytes = data;
	uint64_t at = offset, end = offset + len, part_end;
	bool more;
	int code;

	if (len == 0)
		return 0;
	pthread_mutex_lock(&ingest->mutex);
	code = check_write(ingest, offset, len, err);
	more = !code && next_missing(ingest, &at, end, &part_end);
	pthread_mutex_unlock(&ingest->mutex);
	while (more) {
		const uint8_t *part = bytes + (at - offset);

		code = ingest_write_at(ingest, at, part, (size_t)(part_end - at), err);
		if (code)
			break;
		add_part(ingest, at, part, (size_t)(part_end - at));
		pthread_mutex_lock(&ingest->mutex);
		more = next_missing(ingest, &at, end, &part_end);
		pthread_mutex_unlock(&ingest->mutex);
	}
	return code;
}

uint64_t ingest_present_from(struct ingest *ingest, uint64_t offset)
{
	uint64_t end;

	pthread_mutex_lock(&ingest->mutex);
	end = ranges_end_of(&ingest->ranges, offset);
	pthread_mutex_unlock(&ingest->mutex);
	return end - offset;
}

bool ingest_next_gap(struct ingest *ingest, uint64_t from, uint64_t *start, uint64_t *end)
{
	bool found;

	pthread_mutex_lock(&ingest->mutex);
	*start = from;
	found = next_missing(ingest, start, ingest->size, end);
	pthread_mutex_unlock(&ingest->mutex);
	return found;
}

uint64_t ingest_present_bytes(struct ingest *ingest)
{
	uint64_t bytes;

	pthread_mutex_lock(&ingest->mutex);
	bytes = ingest->ranges.bytes;
	pthread_mutex_unlock(&ingest->mutex);
	return bytes;
}

ssize_t ingest_read(struct ingest *ingest, uint64_t offset, void *data, size_t len)
{
	uint64_t present = ingest_present_from(ingest, offset);
	ssize_t got;

	if (len > present)
		len = (size_t)present;
	if (len == 0)
		return 0;
	got = ingest_read_at(ingest, offset, data, len);
	return got > 0 ? got : ERR_IO;
}

ssize_t ingest_send(struct ingest *ingest, uint64_t offset, int socket, size_t len)
{
	uint64_t present = ingest_present_from(ingest, offset);
	off_t at = (off_t)offset;
	ssize_t sent;
	int fd;

	if (len > present)
		len = (size_t)present;
	if (len == 0)
		return 0;
	fd = ingest_place(ingest, offset, &len);
	do
		sent = sendfile(socket, fd, &at, len);
	while (sent < 0 && errno == EINTR);
	if (sent > 0)
		return sent;
	return sent < 0 && errno == EAGAIN ? ERR_BUSY : ERR_IO;
}

bool ingest_hash_waits(struct ingest *ingest)
{
	bool waits;

	pthread_mutex_lock(&ingest->mutex);
	waits = ingest->state == INGEST_WRITING && !ingest->hashing &&
		ranges_end_of(&ingest->ranges, ingest->hashed) > ingest->hashed;
	pthread_mutex_unlock(&ingest->mutex);
	return waits;
}

/* Reads and hashes [start, end), at most HASH_CHUNK. */
static int hash_chunk(struct ingest *ingest, uint64_t start, uint64_t end, uint8_t *buffer, struct err *err)
{
	while (start < end) {
		ssize_t got = ingest_read_at(ingest, start, buffer, (size_t)(end - start));

		if (got <= 0)
			return file_error(ingest, got < 0 ? errno : EIO, "read", err);
		hasher_update(ingest->hasher, buffer, (size_t)got);
		start += (uint64_t)got;
	}
	return 0;
}

int ingest_hash_behind(struct ingest *ingest, struct err *err)
{
	_cleanup_free_ uint8_t *buffer = mem_alloc(HASH_CHUNK);
	unsigned generation;
	int code = 0;

	pthread_mutex_lock(&ingest->mutex);
	generation = ingest->generation;
	while (ingest->hashing)
		pthread_cond_wait(&ingest->hash_free, &ingest->mutex);
	if (ingest->state != INGEST_WRITING || generation != ingest->generation) {
		pthread_mutex_unlock(&ingest->mutex);
		return 0;
	}
	claim_hash(ingest);
	while (!code && generation == ingest->generation && !ingest->hash_stopped) {
		uint64_t start = ingest->hashed;
		uint64_t end = ranges_end_of(&ingest->ranges, start);

		if (start == end)
			break;
		if (end - start > HASH_CHUNK)
			end = start + HASH_CHUNK;
		pthread_mutex_unlock(&ingest->mutex);
		code = hash_chunk(ingest, start, end, buffer, err);
		pthread_mutex_lock(&ingest->mutex);
		if (!code)
			ingest->hashed = end;
	}
	release_hash(ingest);
	pthread_mutex_unlock(&ingest->mutex);
	return code;
}

void ingest_stop_hashing(struct ingest *ingest)
{
	pthread_mutex_lock(&ingest->mutex);
	ingest->hash_stopped = true;
	pthread_mutex_unlock(&ingest->mutex);
}

/* The partial is of no use any more. The caller hears of the digest, whatever becomes of the file. */
static int fail(struct ingest *ingest, const struct digest *computed, struct err *err)
{
	char path[STORE_PATH_MAX], text[DIGEST_TEXT_MAX], wanted[DIGEST_TEXT_MAX];
	struct err why;

	store_partial_path(&ingest->digest, "", path);
	if (!ingest->aside && store_quarantine_file(ingest->store, path, &ingest->digest, &why)) {
		log_warn("store: %s", why.text);
		unlinkat(ingest->store->root_fd, path, 0);
	}
	ingest_remove_journal(ingest);
	return err_set(err, ERR_DIGEST, "%s was wanted and %s came", digest_format(&ingest->digest, wanted),
		       digest_format(computed, text));
}

int ingest_verify(struct ingest *ingest, struct err *err)
{
	struct digest computed;
	enum ingest_state state;
	bool complete;

	pthread_mutex_lock(&ingest->mutex);
	state = ingest->state;
	complete = !ingest->hashing && ingest->hashed == ingest->size;
	if (state == INGEST_WRITING && complete) {
		hasher_finish(take_pointer(ingest->hasher), &computed);
		state = digest_equal(&computed, &ingest->digest) ? INGEST_VERIFIED : INGEST_FAILED;
		ingest->state = state;
		pthread_mutex_unlock(&ingest->mutex);
		return state == INGEST_VERIFIED ? 0 : fail(ingest, &computed, err);
	}
	pthread_mutex_unlock(&ingest->mutex);
	if (state == INGEST_FAILED)
		return err_set(err, ERR_DIGEST, "the bytes did not match the digest");
	if (state == INGEST_WRITING)
		return err_set(err, ERR_AGAIN, "the blob is not complete and hashed yet");
	return 0;
}

int ingest_publish(struct ingest *ingest, struct err *err)
{
	char path[STORE_PATH_MAX];
	int code;

	assert(ingest->state == INGEST_VERIFIED || ingest->state == INGEST_PUBLISHED);
	if (ingest->state == INGEST_PUBLISHED)
		return 0;
	if (ingest->spilled)
		return err_set(err, ERR_NO_SPACE, "the blob was passed on without being kept");
	if (ingest->lost)
		return err_set(err, ERR_IO, "the disk lost bytes of the blob");
	if (!ingest->renamed) {
		store_partial_path(&ingest->digest, "", path);
		code = store_sync_file(ingest->store, path, ingest->fd, err);
		ingest->lost = code != 0;
		if (!code)
			code = store_publish_file(ingest->store, path, &ingest->digest, ingest->size, err);
		if (code) {
			store_note_unwritable(ingest->store, err ? err->text : "a blob cannot be published");
			return code;
		}
		ingest->renamed = true;
		ingest_remove_journal(ingest);
	}
	code = store_record_blob(ingest->store, &ingest->digest, ingest->size, err);
	if (code)
		return code;
	/* The index counts it now. */
	ingest_give_room(ingest);
	store_note_kept(ingest->store);
	pthread_mutex_lock(&ingest->mutex);
	ingest->state = INGEST_PUBLISHED;
	pthread_mutex_unlock(&ingest->mutex);
	return 0;
}
