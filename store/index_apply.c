/* SPDX-License-Identifier: Apache-2.0 */
/* What each change does to the tables, inside a write transaction. All codes are LMDB's. */
#include "store/index_internal.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "store/schema.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t *op_key(const struct index_op *op)
{
	return op->bytes + op->name_len;
}

static MDB_val op_value(const struct index_op *op)
{
	return (MDB_val){.mv_size = op->value_len, .mv_data = (void *)(op->bytes + op->name_len + op->key_len)};
}

static int store_value(MDB_txn *txn, MDB_dbi dbi, const void *key, size_t len, const struct schema_bytes *value)
{
	MDB_val mdb_key = {.mv_size = len, .mv_data = (void *)key};
	MDB_val mdb_value = {.mv_size = value->len, .mv_data = (void *)value->bytes};

	return mdb_put(txn, dbi, &mdb_key, &mdb_value, 0);
}

static int add_repository(struct index *index, MDB_txn *txn, const struct index_op *op, uint64_t *number)
{
	struct schema_bytes key, value;
	MDB_val held;
	int code = index_find_repository(index, txn, op->bytes, op->name_len, number);

	if (code != MDB_NOTFOUND)
		return code;
	code = index_fetch(txn, index->meta, SCHEMA_NEXT_REPOSITORY, strlen(SCHEMA_NEXT_REPOSITORY), &held);
	if (code == MDB_NOTFOUND)
		*number = 1;
	else if (code)
		return code;
	else if (!schema_read_number(held.mv_data, held.mv_size, number))
		return MDB_CORRUPTED;
	schema_number_value(*number + 1, &value);
	code = store_value(txn, index->meta, SCHEMA_NEXT_REPOSITORY, strlen(SCHEMA_NEXT_REPOSITORY), &value);
	if (code)
		return code;
	schema_repository_key(op->bytes, op->name_len, &key);
	schema_repository_value(*number, op->bytes, op->name_len, &value);
	code = store_value(txn, index->repositories, key.bytes, key.len, &value);
	if (code)
		return code;
	schema_number_key(*number, &key);
	return store_value(txn, index->repositories, key.bytes, key.len, &value);
}

/* Repositories by their number. Done again after a crash it changes nothing. */
int index_upgrade(struct index *index, MDB_txn *txn)
{
	_cleanup_(index_close_cursor) MDB_cursor *cursor = NULL;
	MDB_val key, value;
	int code = mdb_cursor_open(txn, index->repositories, &cursor);

	if (!code)
		code = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
	for (; !code; code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
		struct schema_bytes copy = {.len = 0}, number_key;
		struct schema_reader name;
		uint64_t number;

		if (*(const char *)key.mv_data == 'i')
			continue;
		if (!schema_read_repository(value.mv_data, value.mv_size, &number, &name))
			return MDB_CORRUPTED;
		schema_put(&copy, value.mv_data, value.mv_size);
		schema_number_key(number, &number_key);
		if ((code = store_value(txn, index->repositories, number_key.bytes, number_key.len, &copy)))
			return code;
	}
	return code == MDB_NOTFOUND ? 0 : code;
}

/* The digest that a tag or a list of referrers means. */
static int value_digest(const void *data, size_t len, struct digest *digest)
{
	struct index_tag tag;

	if (!schema_read_tag(data, len, &tag))
		return MDB_CORRUPTED;
	*digest = tag.digest;
	return 0;
}

/* Deletes all tags or lists of referrers whose keys begin with `prefix`, and their names in the graph. */
static int delete_meanings(struct index *index, MDB_txn *txn, MDB_dbi dbi, char kind, const MDB_val *prefix)
{
	_cleanup_(index_close_cursor) MDB_cursor *cursor = NULL;
	struct schema_bytes from = {.len = 0};
	int code = mdb_cursor_open(txn, dbi, &cursor);

	schema_put(&from, prefix->mv_data, prefix->mv_size);
	while (!code) {
		struct schema_bytes name = {.len = 0};
		MDB_val key = *prefix, value;
		struct digest digest;

		code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
		if (code || !index_has_prefix(&key, &from))
			break;
		/* Copied: deleting moves the page that the key lies in. */
		schema_put(&name, key.mv_data, key.mv_size);
		if ((code = value_digest(value.mv_data, value.mv_size, &digest)) || (code = mdb_cursor_del(cursor, 0)))
			break;
		code = index_graph_delete_name(index, txn, &digest, kind, name.bytes, name.len);
	}
	return code == MDB_NOTFOUND ? 0 : code;
}

/* Puts a tag or a list of referrers, and moves its name to the digest that it means now. */
static int put_meaning(struct index *index, MDB_txn *txn, MDB_dbi dbi, char kind, MDB_val *key, MDB_val *value)
{
	struct digest before, after;
	MDB_val held;
	int code = mdb_get(txn, dbi, key, &held);
	bool known = !code;

	if (code && code != MDB_NOTFOUND)
		return code;
	if ((known && (code = value_digest(held.mv_data, held.mv_size, &before))) ||
	    (code = value_digest(value->mv_data, value->mv_size, &after)) || (code = mdb_put(txn, dbi, key, value, 0)))
		return code;
	if (known && digest_equal(&before, &after))
		return 0;
	if (known && (code = index_graph_delete_name(index, txn, &before, kind, key->mv_data, key->mv_size)))
		return code;
	return index_graph_put_name(index, txn, &after, kind, key->mv_data, key->mv_size);
}

/* One of a tag's: its key is the tag's and then the accept. */
struct meaning {
	int64_t checked;
	uint8_t accept[sizeof(uint64_t)];
};

struct meanings {
	struct meaning *list;
	size_t count, capacity;
};

static void meanings_dispose(struct meanings *meanings)
{
	free(meanings->list);
}

static struct meaning *add_meaning(struct meanings *meanings)
{
	if (meanings->count == meanings->capacity) {
		meanings->capacity = meanings->capacity ? 2 * meanings->capacity : 2 * INDEX_MEANINGS_MAX;
		meanings->list = mem_realloc(meanings->list, meanings->capacity * sizeof(*meanings->list));
	}
	return &meanings->list[meanings->count++];
}

static int compare_meanings(const void *a, const void *b)
{
	int64_t one = ((const struct meaning *)a)->checked, other = ((const struct meaning *)b)->checked;

	return (one > other) - (one < other);
}

/* All that the tag has but the one that was put just now. */
static int find_other_meanings(struct index *index, MDB_txn *txn, const struct schema_bytes *put, size_t prefix_len,
			       struct meanings *meanings)
{
	_cleanup_(index_close_cursor) MDB_cursor *cursor = NULL;
	struct schema_bytes prefix = {.len = 0};
	MDB_val key, value;
	int code = mdb_cursor_open(txn, index->tags, &cursor);

	if (code)
		return code;
	schema_put(&prefix, put->bytes, prefix_len);
	key = (MDB_val){.mv_size = prefix.len, .mv_data = prefix.bytes};
	for (code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE); !code && index_has_prefix(&key, &prefix);
	     code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
		struct meaning *meaning;
		struct index_tag tag;

		if (key.mv_size != put->len || !schema_read_tag(value.mv_data, value.mv_size, &tag))
			return MDB_CORRUPTED;
		if (memcmp(key.mv_data, put->bytes, put->len) == 0)
			continue;
		meaning = add_meaning(meanings);
		meaning->checked = tag.checked;
		memcpy(meaning->accept, (const uint8_t *)key.mv_data + prefix_len, sizeof(meaning->accept));
	}
	return code == MDB_NOTFOUND ? 0 : code;
}

/* A client may ask for a tag under any Accept, and as many of them: of more than there are kinds of clients, those
 * confirmed longest ago go. One at a time, but of a tag that has more from before there was a bound. */
static int bound_meanings(struct index *index, MDB_txn *txn, const struct schema_bytes *put)
{
	_cleanup_(meanings_dispose) struct meanings others = {0};
	size_t prefix_len = put->len - sizeof(uint64_t); /* up to the accept */
	int code = find_other_meanings(index, txn, put, prefix_len, &others);

	if (code || others.count < INDEX_MEANINGS_MAX)
		return code;
	qsort(others.list, others.count, sizeof(*others.list), compare_meanings);
	for (size_t i = 0; !code && i <= others.count - INDEX_MEANINGS_MAX; i++) {
		struct schema_bytes name = {.len = 0};
		MDB_val key;

		schema_put(&name, put->bytes, prefix_len);
		schema_put(&name, others.list[i].accept, sizeof(others.list[i].accept));
		key = (MDB_val){.mv_size = name.len, .mv_data = name.bytes};
		code = delete_meanings(index, txn, index->tags, SCHEMA_NAME_TAG, &key);
	}
	return code;
}

static int put_link(struct index *index, MDB_txn *txn, const struct index_op *op, MDB_val *key, MDB_val *value)
{
	struct schema_reader rest;
	struct digest digest;
	int code = mdb_put(txn, index->links, key, value, 0);

	if (code)
		return code;
	if (!schema_key_digest(op_key(op), op->key_len, &digest, &rest))
		return MDB_CORRUPTED;
	return index_graph_put_name(index, txn, &digest, SCHEMA_NAME_LINK, key->mv_data, 8);
}

static int delete_link(struct index *index, MDB_txn *txn, const struct index_op *op, MDB_val *key)
{
	struct schema_reader rest;
	struct digest digest;
	int code = mdb_del(txn, index->links, key, NULL);

	if (code)
		return code == MDB_NOTFOUND ? 0 : code;
	if (!schema_key_digest(op_key(op), op->key_len, &digest, &rest))
		return MDB_CORRUPTED;
	return index_graph_delete_name(index, txn, &digest, SCHEMA_NAME_LINK, key->mv_data, 8);
}

/* A change of a tag, a link or a list of referrers: their keys start with the repository's number. */
static int apply_in_repository(struct index *index, MDB_txn *txn, const struct index_op *op)
{
	bool put = op->kind == INDEX_PUT_TAG || op->kind == INDEX_PUT_LINK || op->kind == INDEX_PUT_REFERRERS ||
		   op->kind == INDEX_PUT_PIN;
	struct schema_bytes key = {.len = 0};
	MDB_val mdb_key, own_key = {.mv_size = op->key_len, .mv_data = (void *)op_key(op)}, value = op_value(op);
	uint64_t number;
	int code = put ? add_repository(index, txn, op, &number)
		       : index_find_repository(index, txn, op->bytes, op->name_len, &number);

	if (code)
		return code == MDB_NOTFOUND ? 0 : code;
	schema_put_u64(&key, number);
	schema_put(&key, op_key(op), op->key_len);
	mdb_key = (MDB_val){.mv_size = key.len, .mv_data = key.bytes};
	switch (op->kind) {
	case INDEX_PUT_TAG:
		code = put_meaning(index, txn, index->tags, SCHEMA_NAME_TAG, &mdb_key, &value);
		return code ? code : bound_meanings(index, txn, &key);
	case INDEX_PUT_LINK:
		return put_link(index, txn, op, &mdb_key, &value);
	case INDEX_PUT_REFERRERS:
		return put_meaning(index, txn, index->referrers, SCHEMA_NAME_REFERRERS, &mdb_key, &value);
	case INDEX_DELETE_TAG:
		return delete_meanings(index, txn, index->tags, SCHEMA_NAME_TAG, &mdb_key);
	case INDEX_DELETE_REFERRERS:
		return delete_meanings(index, txn, index->referrers, SCHEMA_NAME_REFERRERS, &mdb_key);
	case INDEX_PUT_PIN:
		return index_pins_put(index, txn, number, &own_key, &value);
	case INDEX_DELETE_PIN:
		return index_pins_delete(index, txn, number, &own_key);
	default:
		return delete_link(index, txn, op, &mdb_key);
	}
}

/* Totals follow every change of a blob, in its transaction. */
static int count_blob(struct index *index, MDB_txn *txn, const struct index_blob *before,
		      const struct index_blob *after)
{
	struct index_totals totals = {0};
	struct schema_bytes value;
	MDB_val held;
	int code = index_fetch(txn, index->meta, SCHEMA_TOTALS, strlen(SCHEMA_TOTALS), &held);

	if (code && code != MDB_NOTFOUND)
		return code;
	if (!code && !schema_read_totals(held.mv_data, held.mv_size, &totals))
		return MDB_CORRUPTED;
	if (before) {
		if (totals.blobs == 0 || totals.bytes < before->size)
			return MDB_CORRUPTED;
		totals.blobs--;
		totals.bytes -= before->size;
	}
	if (after) {
		totals.blobs++;
		totals.bytes += after->size;
	}
	schema_totals_value(&totals, &value);
	return store_value(txn, index->meta, SCHEMA_TOTALS, strlen(SCHEMA_TOTALS), &value);
}

static int delete_blob(struct index *index, MDB_txn *txn, const struct index_op *op, const struct digest *digest,
		       const struct index_blob *before)
{
	MDB_val key = {.mv_size = op->key_len, .mv_data = (void *)op_key(op)};
	int code = mdb_del(txn, index->blobs, &key, NULL);

	if (!code)
		code = index_graph_delete_blob(index, txn, digest, before);
	return code ? code : count_blob(index, txn, before, NULL);
}

static int put_blob(struct index *index, MDB_txn *txn, const struct index_op *op, const struct digest *digest,
		    const struct index_blob *before)
{
	struct index_blob after;
	struct schema_bytes encoded;
	MDB_val value = op_value(op);
	int code;

	if (!schema_read_blob(value.mv_data, value.mv_size, &after))
		return MDB_CORRUPTED;
	if (op->kind == INDEX_USE_BLOB) {
		assert(before);
		if (after.last_use <= before->last_use)
			return 0;
		after.size = before->size;
	}
	schema_blob_value(&after, &encoded);
	code = store_value(txn, index->blobs, op_key(op), op->key_len, &encoded);
	if (!code)
		code = index_graph_put_blob(index, txn, digest, before, &after);
	if (!code && op->kind == INDEX_USE_BLOB)
		code = index_graph_use_parents(index, txn, digest, after.last_use);
	if (code || (before && before->size == after.size))
		return code;
	return count_blob(index, txn, before, &after);
}

static int put_reference(struct index *index, MDB_txn *txn, const struct index_op *op, const struct digest *parent)
{
	MDB_val value = op_value(op);
	struct schema_reader rest;
	struct digest child;

	if (!schema_key_digest(value.mv_data, value.mv_size, &child, &rest) || rest.left != 1)
		return MDB_CORRUPTED;
	return index_graph_put_edge(index, txn, parent, &child, rest.at[0] == 1);
}

static int apply_to_blob(struct index *index, MDB_txn *txn, const struct index_op *op)
{
	MDB_val key = {.mv_size = op->key_len, .mv_data = (void *)op_key(op)}, held;
	struct schema_reader rest;
	struct index_blob before;
	struct digest digest;
	int code = mdb_get(txn, index->blobs, &key, &held);
	bool known = !code;

	if (code && code != MDB_NOTFOUND)
		return code;
	if (!schema_key_digest(op_key(op), op->key_len, &digest, &rest) ||
	    (known && !schema_read_blob(held.mv_data, held.mv_size, &before)))
		return MDB_CORRUPTED;
	switch (op->kind) {
	case INDEX_PUT_BLOB:
		return put_blob(index, txn, op, &digest, known ? &before : NULL);
	case INDEX_USE_BLOB:
		return known ? put_blob(index, txn, op, &digest, &before) : 0;
	case INDEX_PUT_REFERENCE:
		/* One whose manifest went in the meantime would keep its child for ever. */
		return known ? put_reference(index, txn, op, &digest) : 0;
	case INDEX_FORGET_BLOB:
		code = index_graph_forget_names(index, txn, &digest);
		return code || !known ? code : delete_blob(index, txn, op, &digest, &before);
	case INDEX_FORGET_NAMES:
		code = index_graph_find_need(index, txn, &digest);
		return code == MDB_NOTFOUND ? index_graph_forget_names(index, txn, &digest) : code;
	default:
		return known ? delete_blob(index, txn, op, &digest, &before) : 0;
	}
}

static int put_scrub(struct index *index, MDB_txn *txn, MDB_val *value)
{
	MDB_val key = {.mv_size = strlen(SCHEMA_SCRUB), .mv_data = SCHEMA_SCRUB};

	return mdb_put(txn, index->meta, &key, value, 0);
}

int index_apply(struct index *index, MDB_txn *txn, const struct index_op *ops)
{
	int code = 0;

	for (const struct index_op *op = ops; op && !code; op = op->next) {
		MDB_val key = {.mv_size = op->key_len, .mv_data = (void *)op_key(op)};

		MDB_val value = op_value(op);

		if (op->kind == INDEX_PUT_SCRUB)
			code = put_scrub(index, txn, &value);
		else if (op->kind == INDEX_DELETE_PIN_SET)
			code = index_pins_delete_set(index, txn, &key);
		else
			code = op->name_len ? apply_in_repository(index, txn, op) : apply_to_blob(index, txn, op);
	}
	return code;
}
