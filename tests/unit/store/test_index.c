/* SPDX-License-Identifier: Apache-2.0 */
#include "scratch.h"

#include "store/index_internal.h"
#include "store/schema.h"

#include <pthread.h>
#include <stdatomic.h>

#define MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define LIST     "application/vnd.docker.distribution.manifest.list.v2+json"

static const struct index_repository alpine = {"docker.io", "library/alpine"};
static const struct index_repository other = {"quay.io", "library/alpine"};

static struct index_tag make_tag(uint64_t accept, int64_t checked, const char *media_type)
{
	struct index_tag tag = {.size = 528, .fetched = 1700000000, .checked = checked, .accept = accept};

	tag.digest = scratch_digest(&accept, sizeof(accept));
	snprintf(tag.media_type, sizeof(tag.media_type), "%s", media_type);
	return tag;
}

static int put_tag(struct scratch *scratch, const struct index_repository *repository, const char *name,
		   const struct index_tag *tag)
{
	struct index_change change = {.kind = INDEX_PUT_TAG, .repository = *repository, .tag = name, .tag_record = tag};

	return index_write(scratch_index(scratch), &change, 1, &scratch->err);
}

static bool any_type(void *arg, const char *media_type)
{
	return !arg || strcmp(arg, media_type) == 0;
}

static void index_knows_nothing_at_first(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest("x", 1);
	struct index_tag tag;
	struct index_link link;
	struct index_blob blob;

	assert_int_equal(index_get_tag(scratch_index(scratch), &alpine, "3.20", 0, &tag, NULL), ERR_NOT_FOUND);
	assert_int_equal(index_get_tag_any(scratch_index(scratch), &alpine, "3.20", any_type, NULL, &tag, NULL),
			 ERR_NOT_FOUND);
	assert_int_equal(index_get_link(scratch_index(scratch), &alpine, &digest, &link, NULL), ERR_NOT_FOUND);
	assert_int_equal(index_get_blob(scratch_index(scratch), &digest, &blob, NULL), ERR_NOT_FOUND);
	assert_int_equal(index_list_tags(scratch_index(scratch), &alpine, "", NULL, NULL, NULL), ERR_NOT_FOUND);
	assert_int_equal(scratch_totals(scratch).blobs, 0);
}

static void index_gives_a_tag_back_as_it_was_put(void **state)
{
	struct scratch *scratch = *state;
	struct index_tag tag = make_tag(7, 1700000100, MANIFEST), found;

	digest_of(DIGEST_SHA512, "x", 1, &tag.digest);
	assert_int_equal(put_tag(scratch, &alpine, "3.20", &tag), 0);
	scratch_reopen(scratch);
	assert_int_equal(index_get_tag(scratch_index(scratch), &alpine, "3.20", 7, &found, NULL), 0);
	assert_true(digest_equal(&found.digest, &tag.digest));
	assert_int_equal(found.size, 528);
	assert_int_equal(found.fetched, 1700000000);
	assert_int_equal(found.checked, 1700000100);
	assert_int_equal(found.accept, 7);
	assert_string_equal(found.media_type, MANIFEST);
	assert_int_equal(index_get_tag(scratch_index(scratch), &alpine, "3.2", 7, &found, NULL), ERR_NOT_FOUND);
	assert_int_equal(index_get_tag(scratch_index(scratch), &alpine, "3.20", 8, &found, NULL), ERR_NOT_FOUND);
	assert_int_equal(index_get_tag(scratch_index(scratch), &other, "3.20", 7, &found, NULL), ERR_NOT_FOUND);
}

static bool count_meaning(void *arg, const char *name, const struct index_tag *tag)
{
	(void)name;
	(void)tag;
	++*(unsigned *)arg;
	return true;
}

/* Whoever asks under one Accept after the other fills nothing. */
static void index_keeps_so_many_meanings_of_a_tag_those_confirmed_last(void **state)
{
	struct scratch *scratch = *state;
	struct index_tag neighbour = make_tag(5, 1, MANIFEST), found;
	unsigned count = 0;

	assert_int_equal(put_tag(scratch, &alpine, "3", &neighbour), 0);
	assert_int_equal(put_tag(scratch, &alpine, "3.20.1", &neighbour), 0);
	for (unsigned i = 0; i < 3 * INDEX_MEANINGS_MAX; i++) {
		struct index_tag tag = make_tag(1000 - i, 1000 + i, MANIFEST);

		assert_int_equal(put_tag(scratch, &alpine, "3.20", &tag), 0);
		/* In use all along. */
		tag = make_tag(7, 1000 + i, MANIFEST);
		assert_int_equal(put_tag(scratch, &alpine, "3.20", &tag), 0);
	}
	index_list_tag(scratch_index(scratch), &alpine, "3.20", count_meaning, &count, NULL);
	assert_int_equal(count, INDEX_MEANINGS_MAX);
	assert_int_equal(index_get_tag(scratch_index(scratch), &alpine, "3.20", 7, &found, NULL), 0);
	for (unsigned i = 0; i < 3 * INDEX_MEANINGS_MAX; i++)
		assert_int_equal(index_get_tag(scratch_index(scratch), &alpine, "3.20", 1000 - i, &found, NULL),
				 i > 2 * INDEX_MEANINGS_MAX ? 0 : ERR_NOT_FOUND);
	assert_int_equal(index_get_tag(scratch_index(scratch), &alpine, "3", 5, &found, NULL), 0);
	assert_int_equal(index_get_tag(scratch_index(scratch), &alpine, "3.20.1", 5, &found, NULL), 0);
}

/* Beside the bound, as a larder without one wrote them: under the accepts from 1 on, each confirmed later than the one
 * before. The first is there. */
static void write_meanings(struct index *index, unsigned count)
{
	MDB_txn *txn;
	MDB_cursor *cursor;
	MDB_val key, value;
	struct schema_bytes name = {.len = 0}, record;

	assert_int_equal(mdb_txn_begin(index->env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_cursor_open(txn, index->tags, &cursor), 0);
	assert_int_equal(mdb_cursor_get(cursor, &key, &value, MDB_FIRST), 0);
	schema_put(&name, key.mv_data, key.mv_size - sizeof(uint64_t));
	mdb_cursor_close(cursor);
	for (unsigned i = 2; i <= count; i++) {
		struct index_tag tag = make_tag(i, 1000 + i, MANIFEST);
		struct schema_bytes own = name;

		schema_put_u64(&own, i);
		schema_tag_value(&tag, &record);
		key = (MDB_val){.mv_size = own.len, .mv_data = own.bytes};
		value = (MDB_val){.mv_size = record.len, .mv_data = record.bytes};
		assert_int_equal(mdb_put(txn, index->tags, &key, &value, MDB_NOOVERWRITE), 0);
		assert_int_equal(index_graph_put_name(index, txn, &tag.digest, SCHEMA_NAME_TAG, own.bytes, own.len), 0);
	}
	assert_int_equal(mdb_txn_commit(txn), 0);
}

static void index_cuts_a_tag_with_more_meanings_from_before_at_its_next_write(void **state)
{
	enum { BEFORE = 500 };
	struct scratch *scratch = *state;
	struct index_tag tag = make_tag(1, 1001, MANIFEST), found;
	unsigned count = 0;

	assert_int_equal(put_tag(scratch, &alpine, "3.20", &tag), 0);
	write_meanings(scratch_index(scratch), BEFORE);
	index_list_tag(scratch_index(scratch), &alpine, "3.20", count_meaning, &count, NULL);
	assert_int_equal(count, BEFORE);
	/* What is put stays, were it the oldest. */
	tag = make_tag(BEFORE + 1, 1, MANIFEST);
	assert_int_equal(put_tag(scratch, &alpine, "3.20", &tag), 0);
	count = 0;
	index_list_tag(scratch_index(scratch), &alpine, "3.20", count_meaning, &count, NULL);
	assert_int_equal(count, INDEX_MEANINGS_MAX);
	for (unsigned i = 1; i <= BEFORE + 1; i++)
		assert_int_equal(index_get_tag(scratch_index(scratch), &alpine, "3.20", i, &found, NULL),
				 i > BEFORE + 1 - INDEX_MEANINGS_MAX ? 0 : ERR_NOT_FOUND);
}

static void index_finds_the_newest_acceptable_answer_of_a_tag(void **state)
{
	struct scratch *scratch = *state;
	struct index_tag first = make_tag(1, 300, MANIFEST), second = make_tag(UINT64_MAX, 200, LIST),
			 third = make_tag(3, 100, LIST), longer = make_tag(4, 900, LIST), found;
	struct index *index = scratch_index(scratch);

	assert_int_equal(put_tag(scratch, &alpine, "3", &first), 0);
	assert_int_equal(put_tag(scratch, &alpine, "3", &second), 0);
	assert_int_equal(put_tag(scratch, &alpine, "3", &third), 0);
	assert_int_equal(put_tag(scratch, &alpine, "3.20", &longer), 0);
	assert_int_equal(index_get_tag_any(index, &alpine, "3", any_type, NULL, &found, NULL), 0);
	assert_int_equal(found.accept, 1);
	assert_int_equal(index_get_tag_any(index, &alpine, "3", any_type, LIST, &found, NULL), 0);
	assert_int_equal(found.accept, UINT64_MAX);
	assert_int_equal(found.checked, 200);
	assert_int_equal(index_get_tag_any(index, &alpine, "3", any_type, "text/plain", &found, NULL), ERR_NOT_FOUND);
}

static void index_deletes_a_tag_under_every_accept(void **state)
{
	struct scratch *scratch = *state;
	struct index_change change = {.kind = INDEX_DELETE_TAG, .repository = alpine, .tag = "3"};
	struct index_tag found;

	for (uint64_t accept = 0; accept < 5; accept++) {
		struct index_tag tag = make_tag(accept, 100, MANIFEST);

		assert_int_equal(put_tag(scratch, &alpine, "3", &tag), 0);
		assert_int_equal(put_tag(scratch, &alpine, "3.20", &tag), 0);
	}
	assert_int_equal(index_write(scratch_index(scratch), &change, 1, NULL), 0);
	assert_int_equal(index_get_tag_any(scratch_index(scratch), &alpine, "3", any_type, NULL, &found, NULL),
			 ERR_NOT_FOUND);
	assert_int_equal(index_get_tag(scratch_index(scratch), &alpine, "3.20", 4, &found, NULL), 0);
	change.repository = other;
	assert_int_equal(index_write(scratch_index(scratch), &change, 1, NULL), 0);
}

static void index_keeps_links_apart_by_repository(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest("x", 1);
	struct index_change change = {
		.kind = INDEX_PUT_LINK, .repository = alpine, .digest = &digest, .link = {.media_type = MANIFEST}};
	struct index_link found;

	assert_int_equal(index_write(scratch_index(scratch), &change, 1, NULL), 0);
	assert_int_equal(index_get_link(scratch_index(scratch), &alpine, &digest, &found, NULL), 0);
	assert_string_equal(found.media_type, MANIFEST);
	assert_int_equal(index_get_link(scratch_index(scratch), &other, &digest, &found, NULL), ERR_NOT_FOUND);
	change.kind = INDEX_DELETE_LINK;
	assert_int_equal(index_write(scratch_index(scratch), &change, 1, NULL), 0);
	assert_int_equal(index_write(scratch_index(scratch), &change, 1, NULL), 0);
	assert_int_equal(index_get_link(scratch_index(scratch), &alpine, &digest, &found, NULL), ERR_NOT_FOUND);
}

static void index_takes_the_longest_names(void **state)
{
	struct scratch *scratch = *state;
	char upstream[REF_UPSTREAM_MAX + 2], name[REF_REPOSITORY_MAX + 2], tag_name[REF_TAG_MAX + 2];
	struct index_repository longest = {upstream, name};
	struct index_tag tag = make_tag(1, 100, MANIFEST), found;

	memset(upstream, 'u', REF_UPSTREAM_MAX);
	memset(name, 'n', REF_REPOSITORY_MAX);
	memset(tag_name, 't', REF_TAG_MAX);
	upstream[REF_UPSTREAM_MAX] = name[REF_REPOSITORY_MAX] = tag_name[REF_TAG_MAX] = '\0';
	memset(tag.media_type, 'm', INDEX_MEDIA_TYPE_MAX);
	assert_int_equal(put_tag(scratch, &longest, tag_name, &tag), 0);
	scratch_reopen(scratch);
	assert_int_equal(index_get_tag(scratch_index(scratch), &longest, tag_name, 1, &found, NULL), 0);
	assert_string_equal(found.media_type, tag.media_type);
	name[REF_REPOSITORY_MAX - 1] = 'o';
	assert_int_equal(index_get_tag(scratch_index(scratch), &longest, tag_name, 1, &found, NULL), ERR_NOT_FOUND);
	strcpy(name + REF_REPOSITORY_MAX, "n");
	assert_int_equal(put_tag(scratch, &longest, "t", &tag), ERR_INVALID);
	assert_int_equal(index_get_tag(scratch_index(scratch), &longest, "t", 1, &found, NULL), ERR_NOT_FOUND);
	strcpy(tag_name + REF_TAG_MAX, "t");
	assert_int_equal(put_tag(scratch, &alpine, tag_name, &tag), ERR_INVALID);
	assert_int_equal(index_get_tag(scratch_index(scratch), &alpine, tag_name, 1, &found, NULL), ERR_NOT_FOUND);
}

static void index_counts_blobs_and_bytes(void **state)
{
	struct scratch *scratch = *state;
	struct digest first = scratch_digest("1", 1), second = scratch_digest("2", 1);
	struct index_blob found;
	struct index_change changes[] = {
		{.kind = INDEX_PUT_BLOB, .digest = &first, .blob = {.size = 100, .last_use = 5}},
		{.kind = INDEX_PUT_BLOB, .digest = &second, .blob = {.size = 7, .last_use = 5}},
		{.kind = INDEX_PUT_BLOB, .digest = &first, .blob = {.size = 90, .last_use = 6}},
		{.kind = INDEX_USE_BLOB, .digest = &first, .blob = {.last_use = 9}},
	};
	struct index_change unknown = {.kind = INDEX_USE_BLOB, .digest = &second, .blob = {.last_use = 9}};
	struct index_change deletion = {.kind = INDEX_DELETE_BLOB, .digest = &second};

	assert_int_equal(index_write(scratch_index(scratch), changes, 4, NULL), 0);
	assert_int_equal(scratch_totals(scratch).blobs, 2);
	assert_int_equal(scratch_totals(scratch).bytes, 97);
	assert_int_equal(index_get_blob(scratch_index(scratch), &first, &found, NULL), 0);
	assert_int_equal(found.size, 90);
	assert_int_equal(found.last_use, 9);
	assert_int_equal(index_write(scratch_index(scratch), &deletion, 1, NULL), 0);
	assert_int_equal(index_write(scratch_index(scratch), &deletion, 1, NULL), 0);
	assert_int_equal(index_write(scratch_index(scratch), &unknown, 1, NULL), 0);
	scratch_reopen(scratch);
	assert_int_equal(scratch_totals(scratch).blobs, 1);
	assert_int_equal(scratch_totals(scratch).bytes, 90);
	assert_int_equal(index_get_blob(scratch_index(scratch), &second, &found, NULL), ERR_NOT_FOUND);
}

struct page {
	size_t limit;
	size_t count;
	char names[8][REF_TAG_MAX + 1];
};

static bool take_name(void *arg, const char *tag)
{
	struct page *page = arg;

	strcpy(page->names[page->count++], tag);
	return page->count < page->limit;
}

static void index_lists_tags_in_order_page_by_page(void **state)
{
	static const char *const names[] = {"3.20", "3", "latest", "edge", "3.2", "A"};
	struct scratch *scratch = *state;
	struct index *index = scratch_index(scratch);
	struct page page = {.limit = 8};
	char beyond[600];

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		for (uint64_t accept = 0; accept < 3; accept++) {
			struct index_tag tag = make_tag(accept * 0x0101010101010101u, 100, MANIFEST);

			assert_int_equal(put_tag(scratch, &alpine, names[i], &tag), 0);
			assert_int_equal(put_tag(scratch, &other, "foreign", &tag), 0);
		}
	assert_int_equal(index_list_tags(index, &alpine, "", take_name, &page, NULL), 0);
	assert_int_equal(page.count, 6);
	assert_string_equal(page.names[0], "3");
	assert_string_equal(page.names[1], "3.2");
	assert_string_equal(page.names[2], "3.20");
	assert_string_equal(page.names[3], "A");
	assert_string_equal(page.names[5], "latest");
	page = (struct page){.limit = 2};
	assert_int_equal(index_list_tags(index, &alpine, "3", take_name, &page, NULL), 0);
	assert_int_equal(page.count, 2);
	assert_string_equal(page.names[0], "3.2");
	assert_string_equal(page.names[1], "3.20");
	page = (struct page){.limit = 8};
	assert_int_equal(index_list_tags(index, &alpine, "B", take_name, &page, NULL), 0);
	assert_int_equal(page.count, 2);
	assert_string_equal(page.names[0], "edge");
	memset(beyond, 'e', sizeof(beyond) - 1);
	beyond[sizeof(beyond) - 1] = '\0';
	page = (struct page){.limit = 8};
	assert_int_equal(index_list_tags(index, &alpine, beyond, take_name, &page, NULL), 0);
	assert_int_equal(page.count, 1);
	page = (struct page){.limit = 8};
	assert_int_equal(index_list_tags(index, &alpine, "latest", take_name, &page, NULL), 0);
	assert_int_equal(page.count, 0);
}

static void index_applies_later_changes_in_order_and_before_closing(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest("x", 1);
	struct index_change put = {.kind = INDEX_PUT_BLOB, .digest = &digest, .blob = {.size = 10}};
	struct index_change deletion = {.kind = INDEX_DELETE_BLOB, .digest = &digest};
	struct digest none = {0};
	struct index_change malformed = {.kind = INDEX_PUT_BLOB, .digest = &none};

	assert_int_equal(index_write_later(scratch_index(scratch), &put, 1), 0);
	assert_int_equal(index_write_later(scratch_index(scratch), &deletion, 1), 0);
	put.blob.size = 20;
	assert_int_equal(index_write_later(scratch_index(scratch), &put, 1), 0);
	assert_int_equal(index_write_later(scratch_index(scratch), &malformed, 1), ERR_INVALID);
	scratch_reopen(scratch);
	assert_int_equal(scratch_totals(scratch).blobs, 1);
	assert_int_equal(scratch_totals(scratch).bytes, 20);
}

static void index_bounds_its_queue(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = scratch_digest("x", 1);
	struct index_change *changes = mem_alloc((INDEX_QUEUE_MAX + 1) * sizeof(*changes));

	for (size_t i = 0; i <= INDEX_QUEUE_MAX; i++)
		changes[i] = (struct index_change){.kind = INDEX_USE_BLOB, .digest = &digest, .blob = {.last_use = 1}};
	assert_int_equal(index_write_later(scratch_index(scratch), changes, INDEX_QUEUE_MAX + 1), ERR_LIMIT);
	assert_int_equal(index_write_later(scratch_index(scratch), changes, INDEX_QUEUE_MAX), 0);
	scratch_settle(scratch);
	assert_int_equal(index_write_later(scratch_index(scratch), changes, 1), 0);
	free(changes);
}

static void write_and_die(struct scratch *scratch)
{
	struct index_tag tag = make_tag(1, 100, MANIFEST);

	if (scratch_open(scratch) == 0 && put_tag(scratch, &alpine, "3", &tag) == 0)
		kill(getpid(), SIGKILL);
}

static void index_keeps_what_was_committed_before_a_kill(void **state)
{
	struct scratch *scratch = *state;
	struct index_tag found;

	assert_true(WIFSIGNALED(scratch_in_child(scratch, write_and_die)));
	assert_int_equal(scratch_open(scratch), 0);
	assert_int_equal(index_get_tag(scratch_index(scratch), &alpine, "3", 1, &found, NULL), 0);
}

#define WRITERS     4
#define READERS     8
#define WRITES_EACH 50

struct crowd {
	struct scratch *scratch;
	pthread_barrier_t start;
	atomic_uint number;
	atomic_bool done;
	atomic_uint failures;
};

static void *write_blobs(void *arg)
{
	struct crowd *crowd = arg;
	unsigned mine = atomic_fetch_add(&crowd->number, 1);

	pthread_barrier_wait(&crowd->start);
	for (unsigned i = 0; i < WRITES_EACH; i++) {
		unsigned name[2] = {mine, i};
		struct digest digest = scratch_digest(name, sizeof(name));
		struct index_change changes[] = {
			{.kind = INDEX_PUT_BLOB, .digest = &digest, .blob = {.size = 10}},
			{.kind = INDEX_PUT_LINK, .repository = alpine, .digest = &digest},
		};

		if (index_write(scratch_index(crowd->scratch), changes, 2, NULL))
			atomic_fetch_add(&crowd->failures, 1);
	}
	return NULL;
}

static void *read_totals(void *arg)
{
	struct crowd *crowd = arg;
	uint64_t before = 0;

	pthread_barrier_wait(&crowd->start);
	while (!atomic_load(&crowd->done)) {
		struct index_totals totals;

		if (index_get_totals(scratch_index(crowd->scratch), &totals, NULL) || totals.blobs < before ||
		    totals.bytes != totals.blobs * 10 || index_is_broken(scratch_index(crowd->scratch)))
			atomic_fetch_add(&crowd->failures, 1);
		before = totals.blobs;
	}
	return NULL;
}

static void index_is_read_beside_writers_and_always_consistent(void **state)
{
	struct crowd crowd = {.scratch = *state};
	pthread_t writers[WRITERS], readers[READERS];

	pthread_barrier_init(&crowd.start, NULL, WRITERS + READERS);
	for (int i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&readers[i], NULL, read_totals, &crowd), 0);
	for (int i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_create(&writers[i], NULL, write_blobs, &crowd), 0);
	for (int i = 0; i < WRITERS; i++)
		pthread_join(writers[i], NULL);
	atomic_store(&crowd.done, true);
	for (int i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);
	pthread_barrier_destroy(&crowd.start);
	assert_int_equal(atomic_load(&crowd.failures), 0);
	assert_int_equal(scratch_totals(crowd.scratch).blobs, WRITERS * WRITES_EACH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(index_knows_nothing_at_first),
		scratch_test(index_gives_a_tag_back_as_it_was_put),
		scratch_test(index_keeps_so_many_meanings_of_a_tag_those_confirmed_last),
		scratch_test(index_cuts_a_tag_with_more_meanings_from_before_at_its_next_write),
		scratch_test(index_finds_the_newest_acceptable_answer_of_a_tag),
		scratch_test(index_deletes_a_tag_under_every_accept),
		scratch_test(index_keeps_links_apart_by_repository),
		scratch_test(index_takes_the_longest_names),
		scratch_test(index_counts_blobs_and_bytes),
		scratch_test(index_lists_tags_in_order_page_by_page),
		scratch_test(index_applies_later_changes_in_order_and_before_closing),
		scratch_test(index_bounds_its_queue),
		scratch_test(index_keeps_what_was_committed_before_a_kill),
		scratch_test(index_is_read_beside_writers_and_always_consistent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
