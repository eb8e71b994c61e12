/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which blob needs which, as tables that follow the others in each transaction:
 *
 *   children, parents   the references of held manifests, both ways
 *   roots               held blobs without parents, by their last use: what eviction begins with
 *   names               tags, links and lists of referrers by the digest that they mean
 *
 * A manifest's references go with it. What then has no parent any more becomes a root with a last use of its own, so
 * that whatever is held is always below a root, wherever an eviction was broken off.
 */
#include "store/index_internal.h"

#include "base/cleanup.h"

#define USE_DEPTH_MAX   4  /* an index in an index in an index */
#define USE_PARENTS_MAX 64 /* of one manifest; what more there are keep the last use they have */

static int put_key(MDB_txn *txn, MDB_dbi dbi, const struct schema_bytes *key, const struct schema_bytes *value)
{
	MDB_val mdb_key = {.mv_size = key->len, .mv_data = (void *)key->bytes};
	MDB_val mdb_value = {.mv_size = value->len, .mv_data = (void *)value->bytes};

	return mdb_put(txn, dbi, &mdb_key, &mdb_value, 0);
}

static int delete_key(MDB_txn *txn, MDB_dbi dbi, const struct schema_bytes *key)
{
	MDB_val mdb_key = {.mv_size = key->len, .mv_data = (void *)key->bytes};
	int code = mdb_del(txn, dbi, &mdb_key, NULL);

	return code == MDB_NOTFOUND ? 0 : code;
}

/* The first key that begins with `prefix`, copied: 0, MDB_NOTFOUND, or another code. */
static int first_with_prefix(MDB_txn *txn, MDB_dbi dbi, const struct schema_bytes *prefix, struct schema_bytes *found)
{
	_cleanup_(index_close_cursor) MDB_cursor *cursor = NULL;
	MDB_val key = {.mv_size = prefix->len, .mv_data = (void *)prefix->bytes}, value;
	int code = mdb_cursor_open(txn, dbi, &cursor);

	if (!code)
		code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
	if (code)
		return code;
	if (!index_has_prefix(&key, prefix))
		return MDB_NOTFOUND;
	if (key.mv_size > SCHEMA_KEY_MAX)
		return MDB_CORRUPTED;
	found->len = 0;
	schema_put(found, key.mv_data, key.mv_size);
	return 0;
}

/* What follows the prefix. */
static struct schema_reader behind(const struct schema_bytes *key, const struct schema_bytes *prefix)
{
	return (struct schema_reader){.at = key->bytes + prefix->len, .left = key->len - prefix->len};
}

static int fetch_blob(struct index *index, MDB_txn *txn, const struct digest *digest, struct index_blob *blob)
{
	struct schema_bytes key = {.len = 0};
	MDB_val value;
	int code;

	schema_put_digest(&key, digest);
	code = index_fetch(txn, index->blobs, key.bytes, key.len, &value);
	if (code)
		return code;
	return schema_read_blob(value.mv_data, value.mv_size, blob) ? 0 : MDB_CORRUPTED;
}

/* Roots. */

static int put_root(struct index *index, MDB_txn *txn, const struct digest *digest, int64_t last_use)
{
	struct schema_bytes key, value;

	schema_root_key(last_use, digest, &key);
	schema_empty_value(&value);
	return put_key(txn, index->roots, &key, &value);
}

static int delete_root(struct index *index, MDB_txn *txn, const struct digest *digest, int64_t last_use)
{
	struct schema_bytes key;

	schema_root_key(last_use, digest, &key);
	return delete_key(txn, index->roots, &key);
}

/* 0 when it has one, MDB_NOTFOUND when it has none. */
static int find_parent(struct index *index, MDB_txn *txn, const struct digest *digest)
{
	struct schema_bytes prefix = {.len = 0}, found;

	schema_put_digest(&prefix, digest);
	return first_with_prefix(txn, index->parents, &prefix, &found);
}

int index_graph_put_blob(struct index *index, MDB_txn *txn, const struct digest *digest,
			 const struct index_blob *before, const struct index_blob *after)
{
	int code = find_parent(index, txn, digest);

	if (code != MDB_NOTFOUND)
		return code;
	if (before && (code = delete_root(index, txn, digest, before->last_use)) != 0)
		return code;
	return put_root(index, txn, digest, after->last_use);
}

/* Use. */

/* The manifests' parents among the edges of `child`, at most USE_PARENTS_MAX. */
static int list_indexes(struct index *index, MDB_txn *txn, const struct digest *child, struct digest *parents,
			size_t *count)
{
	_cleanup_(index_close_cursor) MDB_cursor *cursor = NULL;
	struct schema_bytes prefix = {.len = 0};
	MDB_val key, value;
	int code = mdb_cursor_open(txn, index->parents, &cursor);

	*count = 0;
	schema_put_digest(&prefix, child);
	key = (MDB_val){.mv_size = prefix.len, .mv_data = prefix.bytes};
	if (!code)
		code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
	for (; !code && index_has_prefix(&key, &prefix) && *count < USE_PARENTS_MAX;
	     code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
		struct schema_reader rest = {.at = (const uint8_t *)key.mv_data + prefix.len,
					     .left = key.mv_size - prefix.len};
		bool manifest;

		if (!schema_read_edge(value.mv_data, value.mv_size, &manifest) ||
		    !schema_get_digest(&rest, &parents[*count]))
			return MDB_CORRUPTED;
		/* All edges of a child are of one kind but where a manifest is somebody's layer. */
		if (manifest)
			++*count;
	}
	return code == MDB_NOTFOUND ? 0 : code;
}

static int use_blob(struct index *index, MDB_txn *txn, const struct digest *digest, int64_t last_use, bool *changed)
{
	struct index_blob before, after;
	struct schema_bytes key = {.len = 0}, value;
	int code = fetch_blob(index, txn, digest, &before);

	*changed = false;
	if (code || before.last_use >= last_use)
		return code == MDB_NOTFOUND ? 0 : code;
	after = before;
	after.last_use = last_use;
	schema_put_digest(&key, digest);
	schema_blob_value(&after, &value);
	*changed = true;
	code = put_key(txn, index->blobs, &key, &value);
	return code ? code : index_graph_put_blob(index, txn, digest, &before, &after);
}

static int use_parents(struct index *index, MDB_txn *txn, const struct digest *digest, int64_t last_use, int depth)
{
	struct digest parents[USE_PARENTS_MAX];
	size_t count;
	int code = list_indexes(index, txn, digest, parents, &count);

	for (size_t i = 0; !code && i < count; i++) {
		bool changed;

		code = use_blob(index, txn, &parents[i], last_use, &changed);
		if (!code && changed && depth > 1)
			code = use_parents(index, txn, &parents[i], last_use, depth - 1);
	}
	return code;
}

int index_graph_use_parents(struct index *index, MDB_txn *txn, const struct digest *digest, int64_t last_use)
{
	return use_parents(index, txn, digest, last_use, USE_DEPTH_MAX);
}

/* References. */

int index_graph_put_edge(struct index *index, MDB_txn *txn, const struct digest *parent, const struct digest *child,
			 bool manifest)
{
	struct schema_bytes down, up, value;
	struct index_blob held;
	int code;

	schema_edge_key(parent, child, &down);
	schema_edge_key(child, parent, &up);
	schema_edge_value(manifest, &value);
	if ((code = put_key(txn, index->children, &down, &value)) || (code = put_key(txn, index->parents, &up, &value)))
		return code;
	code = fetch_blob(index, txn, child, &held);
	if (code)
		return code == MDB_NOTFOUND ? 0 : code;
	return delete_root(index, txn, child, held.last_use);
}

/* The edge goes; a held child that nothing else references is a root from now on. */
static int drop_edge(struct index *index, MDB_txn *txn, const struct digest *parent, const struct digest *child)
{
	struct schema_bytes down, up;
	struct index_blob held;
	int code;

	schema_edge_key(parent, child, &down);
	schema_edge_key(child, parent, &up);
	if ((code = delete_key(txn, index->children, &down)) || (code = delete_key(txn, index->parents, &up)))
		return code;
	code = find_parent(index, txn, child);
	if (code != MDB_NOTFOUND)
		return code;
	code = fetch_blob(index, txn, child, &held);
	if (code)
		return code == MDB_NOTFOUND ? 0 : code;
	return put_root(index, txn, child, held.last_use);
}

int index_graph_delete_blob(struct index *index, MDB_txn *txn, const struct digest *digest,
			    const struct index_blob *before)
{
	struct schema_bytes prefix = {.len = 0}, edge;
	int code = delete_root(index, txn, digest, before->last_use);

	schema_put_digest(&prefix, digest);
	while (!code && !(code = first_with_prefix(txn, index->children, &prefix, &edge))) {
		struct schema_reader rest = behind(&edge, &prefix);
		struct digest child;

		if (!schema_get_digest(&rest, &child))
			return MDB_CORRUPTED;
		code = drop_edge(index, txn, digest, &child);
	}
	return code == MDB_NOTFOUND ? 0 : code;
}

/* Names. */

static void name_key(const struct digest *digest, char kind, const void *key, size_t len, struct schema_bytes *out)
{
	out->len = 0;
	schema_put_digest(out, digest);
	schema_put_u8(out, (uint8_t)kind);
	schema_put(out, key, len);
}

int index_graph_put_name(struct index *index, MDB_txn *txn, const struct digest *digest, char kind, const void *key,
			 size_t len)
{
	struct schema_bytes name, value;

	name_key(digest, kind, key, len, &name);
	schema_empty_value(&value);
	return put_key(txn, index->names, &name, &value);
}

int index_graph_delete_name(struct index *index, MDB_txn *txn, const struct digest *digest, char kind, const void *key,
			    size_t len)
{
	struct schema_bytes name;

	name_key(digest, kind, key, len, &name);
	return delete_key(txn, index->names, &name);
}

int index_graph_find_need(struct index *index, MDB_txn *txn, const struct digest *digest)
{
	struct index_blob held;
	int code = fetch_blob(index, txn, digest, &held);

	return code == MDB_NOTFOUND ? find_parent(index, txn, digest) : code;
}

/* Deletes what a name stands for. */
static int delete_named(struct index *index, MDB_txn *txn, const struct digest *digest, struct schema_reader name)
{
	struct schema_bytes key = {.len = 0};

	if (name.left < 1 + 8)
		return MDB_CORRUPTED;
	schema_put(&key, name.at + 1, name.left - 1);
	switch (name.at[0]) {
	case SCHEMA_NAME_TAG:
		return delete_key(txn, index->tags, &key);
	case SCHEMA_NAME_REFERRERS:
		return delete_key(txn, index->referrers, &key);
	case SCHEMA_NAME_LINK:
		schema_put_digest(&key, digest);
		return delete_key(txn, index->links, &key);
	default:
		return MDB_CORRUPTED;
	}
}

int index_graph_forget_names(struct index *index, MDB_txn *txn, const struct digest *digest)
{
	struct schema_bytes prefix = {.len = 0}, name;
	int code = 0;

	schema_put_digest(&prefix, digest);
	while (!code && !(code = first_with_prefix(txn, index->names, &prefix, &name))) {
		code = delete_named(index, txn, digest, behind(&name, &prefix));
		if (!code)
			code = delete_key(txn, index->names, &name);
	}
	return code == MDB_NOTFOUND ? 0 : code;
}
