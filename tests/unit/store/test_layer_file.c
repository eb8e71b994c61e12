/* SPDX-License-Identifier: Apache-2.0 */
/* What is kept of a layer beside its blob: how it is read and replaced, what it counts, and what sweeps it away. */
#include "store/layer_file.h"
#include "store/store_internal.h"
#include "tests/unit/store/scratch.h"

static struct digest keep(const struct scratch *scratch, const char *layer)
{
	struct digest digest = scratch_digest(layer, strlen(layer));

	assert_int_equal(layer_file_write(scratch->store, &digest, layer, strlen(layer), NULL), 0);
	return digest;
}

static void put_blob(const struct scratch *scratch, const char *text)
{
	struct digest digest = scratch_digest(text, strlen(text));

	assert_int_equal(store_put_blob(scratch->store, &digest, text, strlen(text), NULL), 0);
}

static void layer_file_reads_what_was_written_last(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest = keep(scratch, "first"), none = scratch_digest("none", 4);
	char memory[7];
	struct buf whole = {0}, small = {.data = memory, .cap = sizeof(memory), .max = sizeof(memory) - 1};

	assert_int_equal(layer_file_write(scratch->store, &digest, "another", 7, NULL), 0);
	assert_int_equal(layer_file_read(scratch->store, &digest, &whole, NULL), 0);
	assert_string_equal(whole.data, "another");
	buf_dispose(&whole);
	assert_int_equal(layer_file_read(scratch->store, &digest, &small, NULL), ERR_LIMIT);
	assert_true(layer_file_exists(scratch->store, &digest));
	assert_false(layer_file_exists(scratch->store, &none));
	assert_int_equal(layer_file_read(scratch->store, &none, &whole, NULL), ERR_NOT_FOUND);
	layer_file_remove(scratch->store, &digest);
	layer_file_remove(scratch->store, &digest);
	assert_false(layer_file_exists(scratch->store, &digest));
}

static void sweep_keeps_what_is_held_named_or_coming(void **state)
{
	struct scratch *scratch = *state;
	struct digest held = keep(scratch, "held"), named = keep(scratch, "named"), coming = keep(scratch, "coming"),
		      published = keep(scratch, "published"), orphan = keep(scratch, "orphan"),
		      parent = scratch_digest("parent", 6);
	struct index_change forget = {.kind = INDEX_DELETE_BLOB, .digest = &published},
			    name = {.kind = INDEX_PUT_REFERENCE, .digest = &parent, .child = &named};
	struct ingest *ingest = NULL;

	put_blob(scratch, "held");
	put_blob(scratch, "parent");
	assert_int_equal(index_write(scratch_index(scratch), &name, 1, NULL), 0);
	/* Between its rename and its commit a blob is in its place, and not in the index. */
	put_blob(scratch, "published");
	assert_int_equal(index_write(scratch_index(scratch), &forget, 1, NULL), 0);
	assert_int_equal(ingest_open(scratch->store, &coming, &ingest, NULL), 0);
	assert_int_equal(ingest_set_size(ingest, 6, NULL), 0);
	assert_int_equal(ingest_write(ingest, 0, "com", 3, NULL), 0);
	layer_file_sweep(scratch->store);
	assert_true(layer_file_exists(scratch->store, &held));
	assert_true(layer_file_exists(scratch->store, &named));
	assert_true(layer_file_exists(scratch->store, &coming));
	assert_true(layer_file_exists(scratch->store, &published));
	assert_false(layer_file_exists(scratch->store, &orphan));
	ingest_close(ingest);
}

static void layer_files_are_counted_again_when_the_store_is_opened(void **state)
{
	struct scratch *scratch = *state;
	uint64_t before = scratch->store->room.layers, kept;

	keep(scratch, "one");
	keep(scratch, "two");
	kept = scratch->store->room.layers;
	assert_true(kept > before);
	scratch_reopen(scratch);
	assert_int_equal(scratch->store->room.layers, kept);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(layer_file_reads_what_was_written_last),
		scratch_test(sweep_keeps_what_is_held_named_or_coming),
		scratch_test(layer_files_are_counted_again_when_the_store_is_opened),
	};

	return cmocka_run_group_tests_name("layer_file", tests, NULL, NULL);
}
