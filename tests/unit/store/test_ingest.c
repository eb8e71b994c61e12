/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/store/content.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>

static void ingest_publishes_what_arrives_in_order(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest(content, SIZE);
	struct ingest *ingest = open_ingest(scratch, &digest);
	uint8_t back[100];
	uint64_t size;

	assert_int_equal(ingest_size(ingest), INGEST_SIZE_UNKNOWN);
	assert_int_equal(ingest_set_size(ingest, SIZE, NULL), 0);
	for (size_t at = 0; at < SIZE; at += 65536) {
		assert_int_equal(ingest_verify(ingest, NULL), ERR_AGAIN);
		write_part(ingest, at, at + 65536);
		assert_false(ingest_hash_waits(ingest));
		assert_int_equal(ingest_present_from(ingest, 0), at + 65536);
	}
	assert_int_equal(ingest_verify(ingest, NULL), 0);
	assert_int_equal(store_find_blob(scratch->store, &digest, &size, NULL), ERR_NOT_FOUND);
	assert_int_equal(ingest_publish(ingest, NULL), 0);
	assert_int_equal(ingest_publish(ingest, NULL), 0);
	assert_int_equal(ingest_read(ingest, 777, back, sizeof(back)), sizeof(back));
	assert_memory_equal(back, content + 777, sizeof(back));
	ingest_close(ingest);
	assert_content_of(scratch, &digest);
	assert_int_equal(scratch_count_files(scratch, "partial"), 0);
	assert_int_equal(scratch_totals(scratch).bytes, SIZE);
}

static void ingest_publishes_a_blob_of_no_bytes(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest("", 0);
	struct ingest *ingest = open_ingest(scratch, &digest);
	uint64_t size = 1, start, end;

	assert_int_equal(ingest_verify(ingest, NULL), ERR_AGAIN);
	assert_int_equal(ingest_set_size(ingest, 0, NULL), 0);
	assert_false(ingest_next_gap(ingest, 0, &start, &end));
	assert_int_equal(ingest_verify(ingest, NULL), 0);
	assert_int_equal(ingest_publish(ingest, NULL), 0);
	ingest_close(ingest);
	assert_int_equal(store_find_blob(scratch->store, &digest, &size, NULL), 0);
	assert_int_equal(size, 0);
	assert_int_equal(scratch_count_files(scratch, "partial"), 0);
}

static void ingest_refuses_a_short_body(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest(content, SIZE);
	struct ingest *ingest = open_ingest(scratch, &digest);

	assert_int_equal(ingest_set_size(ingest, SIZE, NULL), 0);
	write_part(ingest, 0, SIZE - 1);
	assert_int_equal(ingest_verify(ingest, NULL), ERR_AGAIN);
	ingest_close(ingest);
}

static void ingest_takes_bytes_in_any_order(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest(content, SIZE);
	struct ingest *ingest = open_ingest(scratch, &digest);
	uint64_t start, end;

	assert_int_equal(ingest_set_size(ingest, SIZE, NULL), 0);
	write_part(ingest, 1000, 2000);
	write_part(ingest, 5000, SIZE);
	assert_false(ingest_hash_waits(ingest));
	assert_true(ingest_next_gap(ingest, 0, &start, &end));
	assert_int_equal(start, 0);
	assert_int_equal(end, 1000);
	assert_true(ingest_next_gap(ingest, 1500, &start, &end));
	assert_int_equal(start, 2000);
	assert_int_equal(end, 5000);
	assert_false(ingest_next_gap(ingest, 5000, &start, &end));
	assert_int_equal(ingest_present_from(ingest, 1999), 1);
	assert_int_equal(ingest_present_from(ingest, 2000), 0);
	write_part(ingest, 0, 1000);
	assert_true(ingest_hash_waits(ingest));
	assert_int_equal(ingest_hash_behind(ingest, NULL), 0);
	assert_false(ingest_hash_waits(ingest));
	/* A write that spans what is there and closes the last gap. */
	write_part(ingest, 900, 6000);
	assert_int_equal(ingest_present_bytes(ingest), SIZE);
	assert_int_equal(ingest_verify(ingest, NULL), ERR_AGAIN);
	assert_int_equal(ingest_hash_behind(ingest, NULL), 0);
	assert_int_equal(ingest_verify(ingest, NULL), 0);
	assert_int_equal(ingest_publish(ingest, NULL), 0);
	ingest_close(ingest);
	assert_content_of(scratch, &digest);
}

static void ingest_keeps_the_first_bytes_to_come(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest("abcdef", 6);
	struct ingest *ingest = open_ingest(scratch, &digest);
	char back[6];

	assert_int_equal(ingest_set_size(ingest, 6, NULL), 0);
	assert_int_equal(ingest_write(ingest, 2, "cd", 2, NULL), 0);
	assert_int_equal(ingest_write(ingest, 0, "abXXef", 6, NULL), 0);
	assert_int_equal(ingest_read(ingest, 0, back, 6), 6);
	assert_memory_equal(back, "abcdef", 6);
	assert_int_equal(ingest_hash_behind(ingest, NULL), 0);
	assert_int_equal(ingest_verify(ingest, NULL), 0);
	ingest_close(ingest);
}

static void ingest_refuses_bytes_beyond_the_size(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest("abc", 3);
	struct ingest *ingest = open_ingest(scratch, &digest);

	assert_int_equal(ingest_write(ingest, UINT64_MAX - 1, "abcd", 4, NULL), ERR_LIMIT);
	assert_int_equal(ingest_set_size(ingest, 3, NULL), 0);
	assert_int_equal(ingest_write(ingest, 0, "abcd", 4, NULL), ERR_LIMIT);
	assert_int_equal(ingest_write(ingest, 3, "d", 1, NULL), ERR_LIMIT);
	assert_int_equal(ingest_write(ingest, UINT64_MAX, "d", 1, NULL), ERR_LIMIT);
	assert_int_equal(ingest_present_bytes(ingest), 0);
	assert_int_equal(ingest_write(ingest, 0, "abc", 3, NULL), 0);
	assert_int_equal(ingest_verify(ingest, NULL), 0);
	ingest_close(ingest);
}

static void ingest_refuses_another_size(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest("abc", 3);
	struct ingest *ingest = open_ingest(scratch, &digest);

	assert_int_equal(ingest_write(ingest, 5, "f", 1, NULL), 0);
	assert_int_equal(ingest_set_size(ingest, 5, NULL), ERR_INVALID);
	assert_int_equal(ingest_size(ingest), INGEST_SIZE_UNKNOWN);
	assert_int_equal(ingest_set_size(ingest, 6, NULL), 0);
	assert_int_equal(ingest_set_size(ingest, 6, NULL), 0);
	assert_int_equal(ingest_set_size(ingest, 7, NULL), ERR_INVALID);
	assert_int_equal(ingest_size(ingest), 6);
	ingest_close(ingest);
}

static void ingest_bounds_its_ranges(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest(content, SIZE);
	struct ingest *ingest = open_ingest(scratch, &digest);

	for (size_t i = 0; i < INGEST_RANGES_MAX; i++)
		write_part(ingest, i * 10, i * 10 + 5);
	assert_int_equal(ingest_write(ingest, INGEST_RANGES_MAX * 10, content, 5, NULL), ERR_LIMIT);
	assert_int_equal(ingest_present_bytes(ingest), INGEST_RANGES_MAX * 5);
	write_part(ingest, 5, 10);
	write_part(ingest, INGEST_RANGES_MAX * 10, INGEST_RANGES_MAX * 10 + 5);
	ingest_close(ingest);
	ingest = open_ingest(scratch, &digest);
	assert_int_equal(ingest_present_bytes(ingest), INGEST_RANGES_MAX * 5 + 10);
	ingest_close(ingest);
}

static void ingest_quarantines_a_wrong_digest_and_can_begin_again(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest("right", 5);
	struct ingest *ingest = open_ingest(scratch, &digest);
	uint64_t size;

	assert_int_equal(ingest_set_size(ingest, 5, NULL), 0);
	assert_int_equal(ingest_write(ingest, 0, "wrong", 5, NULL), 0);
	assert_int_equal(ingest_verify(ingest, &scratch->err), ERR_DIGEST);
	assert_int_equal(ingest_verify(ingest, NULL), ERR_DIGEST);
	assert_int_equal(scratch_count_files(scratch, "partial"), 0);
	assert_int_equal(scratch_count_files(scratch, "quarantine"), 1);
	assert_int_equal(ingest_write(ingest, 0, "right", 5, NULL), ERR_DIGEST);
	assert_int_equal(ingest_discard(ingest, NULL), 0);
	assert_int_equal(ingest_present_bytes(ingest), 0);
	assert_int_equal(ingest_set_size(ingest, 5, NULL), 0);
	assert_int_equal(ingest_write(ingest, 0, "right", 5, NULL), 0);
	assert_int_equal(ingest_verify(ingest, NULL), 0);
	assert_int_equal(ingest_publish(ingest, NULL), 0);
	ingest_close(ingest);
	assert_int_equal(store_find_blob(scratch->store, &digest, &size, NULL), 0);
	assert_int_equal(scratch_count_files(scratch, "quarantine"), 1);
}

static void ingest_failed_leaves_nothing_to_go_on_from(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest("right", 5);
	struct ingest *ingest = open_ingest(scratch, &digest);

	assert_int_equal(ingest_set_size(ingest, 5, NULL), 0);
	assert_int_equal(ingest_write(ingest, 0, "wrong", 5, NULL), 0);
	assert_int_equal(ingest_verify(ingest, NULL), ERR_DIGEST);
	ingest_close(ingest);
	assert_int_equal(scratch_count_files(scratch, "partial"), 0);
	ingest = open_ingest(scratch, &digest);
	assert_int_equal(ingest_present_bytes(ingest), 0);
	ingest_close(ingest);
}

static void ingest_forgets_everything_when_discarded(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest(content, SIZE);
	struct ingest *ingest;
	char etag[INGEST_ETAG_MAX + 1];

	leave_partial(scratch, &digest);
	ingest = open_ingest(scratch, &digest);
	assert_int_equal(ingest_hash_behind(ingest, NULL), 0);
	assert_int_equal(ingest_discard(ingest, NULL), 0);
	ingest_etag(ingest, etag);
	assert_string_equal(etag, "");
	assert_int_equal(ingest_size(ingest), INGEST_SIZE_UNKNOWN);
	assert_int_equal(ingest_present_bytes(ingest), 0);
	assert_false(ingest_hash_waits(ingest));
	assert_int_equal(ingest_set_size(ingest, SIZE, NULL), 0);
	write_part(ingest, 0, SIZE);
	assert_int_equal(ingest_verify(ingest, NULL), 0);
	assert_int_equal(ingest_discard(ingest, NULL), 0);
	ingest_close(ingest);
	assert_int_equal(scratch_count_files(scratch, "partial"), 0);
}

static void ingest_finds_its_blob_already_published(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest("abc", 3);
	struct ingest *ingest = open_ingest(scratch, &digest);
	char back[3];

	assert_int_equal(ingest_set_size(ingest, 3, NULL), 0);
	assert_int_equal(ingest_write(ingest, 0, "abc", 3, NULL), 0);
	assert_int_equal(ingest_verify(ingest, NULL), 0);
	assert_int_equal(store_put_blob(scratch->store, &digest, "abc", 3, NULL), 0);
	assert_int_equal(ingest_publish(ingest, NULL), 0);
	assert_int_equal(ingest_read(ingest, 0, back, 3), 3);
	ingest_close(ingest);
	assert_int_equal(scratch_totals(scratch).blobs, 1);
	assert_int_equal(scratch_count_files(scratch, "partial"), 0);
	assert_int_equal(scratch_count_files(scratch, "quarantine"), 0);
}

static void ingest_keeps_its_partial_when_publishing_fails(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest("abc", 3);
	struct ingest *ingest = open_ingest(scratch, &digest);
	char *in_the_way = scratch_path(scratch, "blobs/sha256");

	scratch_write_file(in_the_way, "x", 1);
	assert_int_equal(ingest_set_size(ingest, 3, NULL), 0);
	assert_int_equal(ingest_write(ingest, 0, "abc", 3, NULL), 0);
	assert_int_equal(ingest_verify(ingest, NULL), 0);
	assert_int_equal(ingest_publish(ingest, NULL), ERR_IO);
	assert_int_equal(unlink(in_the_way), 0);
	assert_int_equal(ingest_publish(ingest, NULL), 0);
	ingest_close(ingest);
	assert_int_equal(scratch_totals(scratch).blobs, 1);
	free(in_the_way);
}

#define FILE_LIMIT 200000

/* A limit on file sizes stands in for a full disk: the write comes out short, and the next one fails. */
static void write_beyond_the_limit(struct scratch *scratch)
{
	const struct rlimit limit = {FILE_LIMIT, RLIM_INFINITY}, none = {RLIM_INFINITY, RLIM_INFINITY};
	struct digest digest = scratch_digest(content, SIZE);
	struct ingest *ingest = NULL;

	signal(SIGXFSZ, SIG_IGN);
	if (scratch_open(scratch) || ingest_open(scratch->store, &digest, &ingest, NULL) ||
	    ingest_set_size(ingest, SIZE, NULL) || ingest_write(ingest, 0, content, 1000, NULL))
		_exit(1);
	setrlimit(RLIMIT_FSIZE, &limit);
	if (ingest_write(ingest, 1000, content + 1000, SIZE - 1000, &scratch->err) != ERR_IO)
		_exit(2);
	if (ingest_present_bytes(ingest) != 1000 || !strstr(scratch->err.text, "partial/"))
		_exit(3);
	setrlimit(RLIMIT_FSIZE, &none);
	if (ingest_write(ingest, 1000, content + 1000, SIZE - 1000, NULL) || ingest_verify(ingest, NULL) ||
	    ingest_publish(ingest, NULL))
		_exit(4);
	ingest_close(ingest);
	scratch_close(scratch);
}

static void ingest_keeps_what_was_present_when_a_write_fails(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest(content, SIZE);

	assert_int_equal(scratch_in_child(scratch, write_beyond_the_limit), 0);
	assert_int_equal(scratch_open(scratch), 0);
	assert_content_of(scratch, &digest);
}

struct crew {
	struct ingest *ingest;
	pthread_barrier_t start;
	atomic_bool written;
	atomic_uint failures;
};

static void *hash_along(void *arg)
{
	struct crew *crew = arg;

	pthread_barrier_wait(&crew->start);
	while (!atomic_load(&crew->written) || ingest_hash_waits(crew->ingest))
		if (ingest_hash_waits(crew->ingest) && ingest_hash_behind(crew->ingest, NULL))
			atomic_fetch_add(&crew->failures, 1);
	return NULL;
}

static void *read_along(void *arg)
{
	struct crew *crew = arg;
	uint8_t back[8192];
	size_t at = 0;

	pthread_barrier_wait(&crew->start);
	while (at < SIZE) {
		ssize_t got = ingest_read(crew->ingest, at, back, sizeof(back));

		if (got < 0 || memcmp(back, content + at, (size_t)got) != 0) {
			atomic_fetch_add(&crew->failures, 1);
			break;
		}
		at += (size_t)got;
	}
	return NULL;
}

/* Pairs of blocks in the wrong order, so that every other write closes a gap and the hash is now the writer's, now the
 * other thread's. */
static void ingest_is_hashed_and_read_beside_its_writer(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest(content, SIZE);
	struct crew crew = {.ingest = open_ingest(scratch, &digest)};
	pthread_t threads[4];

	assert_int_equal(ingest_set_size(crew.ingest, SIZE, NULL), 0);
	pthread_barrier_init(&crew.start, NULL, 5);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, i < 2 ? hash_along : read_along, &crew), 0);
	pthread_barrier_wait(&crew.start);
	for (size_t at = 0; at < SIZE; at += 8192) {
		if ((at / 8192) % 3 == 0) {
			write_part(crew.ingest, at, at + 8192);
		} else {
			write_part(crew.ingest, at + 4096, at + 8192);
			write_part(crew.ingest, at, at + 4096);
		}
	}
	atomic_store(&crew.written, true);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&crew.start);
	assert_int_equal(atomic_load(&crew.failures), 0);
	assert_int_equal(ingest_hash_behind(crew.ingest, NULL), 0);
	assert_int_equal(ingest_verify(crew.ingest, NULL), 0);
	assert_int_equal(ingest_publish(crew.ingest, NULL), 0);
	ingest_close(crew.ingest);
	assert_content_of(scratch, &digest);
}

static void *hash_once(void *arg)
{
	struct crew *crew = arg;

	pthread_barrier_wait(&crew->start);
	if (ingest_hash_behind(crew->ingest, NULL))
		atomic_fetch_add(&crew->failures, 1);
	return NULL;
}

static void ingest_is_discarded_beside_its_hashing(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest(content, SIZE);
	struct crew crew = {.ingest = NULL};
	pthread_t thread;

	for (int i = 0; i < 20; i++) {
		leave_partial(scratch, &digest);
		crew.ingest = open_ingest(scratch, &digest);
		pthread_barrier_init(&crew.start, NULL, 2);
		assert_int_equal(pthread_create(&thread, NULL, hash_once, &crew), 0);
		pthread_barrier_wait(&crew.start);
		assert_int_equal(ingest_discard(crew.ingest, NULL), 0);
		assert_int_equal(ingest_set_size(crew.ingest, SIZE, NULL), 0);
		pthread_join(thread, NULL);
		write_part(crew.ingest, 0, SIZE);
		assert_int_equal(ingest_verify(crew.ingest, NULL), 0);
		assert_int_equal(ingest_discard(crew.ingest, NULL), 0);
		ingest_close(crew.ingest);
		pthread_barrier_destroy(&crew.start);
	}
	assert_int_equal(atomic_load(&crew.failures), 0);
}
int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(ingest_publishes_what_arrives_in_order),
		scratch_test(ingest_publishes_a_blob_of_no_bytes),
		scratch_test(ingest_refuses_a_short_body),
		scratch_test(ingest_takes_bytes_in_any_order),
		scratch_test(ingest_keeps_the_first_bytes_to_come),
		scratch_test(ingest_refuses_bytes_beyond_the_size),
		scratch_test(ingest_refuses_another_size),
		scratch_test(ingest_bounds_its_ranges),
		scratch_test(ingest_quarantines_a_wrong_digest_and_can_begin_again),
		scratch_test(ingest_failed_leaves_nothing_to_go_on_from),
		scratch_test(ingest_forgets_everything_when_discarded),
		scratch_test(ingest_finds_its_blob_already_published),
		scratch_test(ingest_keeps_its_partial_when_publishing_fails),
		scratch_test(ingest_keeps_what_was_present_when_a_write_fails),
		scratch_test(ingest_is_hashed_and_read_beside_its_writer),
		scratch_test(ingest_is_discarded_beside_its_hashing),
	};

	return cmocka_run_group_tests(tests, make_content, NULL);
}
