/* SPDX-License-Identifier: Apache-2.0 */
/* What each change does to the tables, inside a write transaction. All codes are LMDB's. */
#include "store/index_internal.h"

#include "store/schema.h"

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
	return store_value(txn, index->repositories, key.bytes, key.len, &value);
}

static int delete_prefix(MDB_txn *txn, MDB_dbi dbi, const struct schema_bytes *prefix)
{
	MDB_cursor *cursor;
	int code = mdb_cursor_open(txn, dbi, &cursor);

	if (code)
		return code;
	for (;;) {
		MDB_val key = {.mv_size = prefix->len, .mv_data = (void *)prefix->bytes};
		MDB_val value;

		code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
		if (code || key.mv_size < prefix->len || memcmp(key.mv_data, prefix->bytes, prefix->len) != 0)
			break;
		if ((code = mdb_cursor_del(cursor, 0)))
			break;
	}
	mdb_cursor_close(cursor);
	return code == MDB_NOTFOUND ? 0 : code;
}

/* A change of a tag, a link or a list of referrers: their keys start with the repository's number. */
static int apply_in_repository(struct index *index, MDB_txn *txn, const struct index_op *op)
{
	bool put = op->kind == INDEX_PUT_TAG || op->kind == INDEX_PUT_LINK || op->kind == INDEX_PUT_REFERRERS;
	struct schema_bytes key = {.len = 0};
	MDB_val mdb_key, value = op_value(op);
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
		return mdb_put(txn, index->tags, &mdb_key, &value, 0);
	case INDEX_PUT_LINK:
		return mdb_put(txn, index->links, &mdb_key, &value, 0);
	case INDEX_PUT_REFERRERS:
		return mdb_put(txn, index->referrers, &mdb_key, &value, 0);
	case INDEX_DELETE_TAG:
		return delete_prefix(txn, index->tags, &key);
	default:
		code = mdb_del(txn, index->links, &mdb_key, NULL);
		return code == MDB_NOTFOUND ? 0 : code;
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

static int apply_to_blob(struct index *index, MDB_txn *txn, const struct index_op *op)
{
	struct index_blob before = {0}, after;
	struct schema_bytes encoded;
	MDB_val mdb_key = {.mv_size = op->key_len, .mv_data = (void *)op_key(op)};
	MDB_val value = op_value(op), held;
	int code = mdb_get(txn, index->blobs, &mdb_key, &held);
	bool known = !code;

	if (code && code != MDB_NOTFOUND)
		return code;
	if (known && !schema_read_blob(held.mv_data, held.mv_size, &before))
		return MDB_CORRUPTED;
	if (!known && op->kind != INDEX_PUT_BLOB)
		return 0;
	if (op->kind == INDEX_DELETE_BLOB) {
		code = mdb_del(txn, index->blobs, &mdb_key, NULL);
		return code ? code : count_blob(index, txn, &before, NULL);
	}
	if (!schema_read_blob(value.mv_data, value.mv_size, &after))
		return MDB_CORRUPTED;
	if (op->kind == INDEX_USE_BLOB)
		after.size = before.size;
	schema_blob_value(&after, &encoded);
	code = store_value(txn, index->blobs, op_key(op), op->key_len, &encoded);
	if (code || (known && before.size == after.size))
		return code;
	return count_blob(index, txn, known ? &before : NULL, &after);
}

int index_apply(struct index *index, MDB_txn *txn, const struct index_op *ops)
{
	int code = 0;

	for (const struct index_op *op = ops; op && !code; op = op->next)
		code = op->name_len ? apply_in_repository(index, txn, op) : apply_to_blob(index, txn, op);
	return code;
}
