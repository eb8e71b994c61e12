/* SPDX-License-Identifier: Apache-2.0 */
/* Walks over blobs and what they need: for eviction and the sweep. Each ends when its caller has enough, so that none
 * keeps a read transaction for long. */
#include "store/index_internal.h"

#include "base/cleanup.h"

int index_scan_in(struct index_scan *scan)
{
	_cleanup_(index_close_cursor) MDB_cursor *cursor = NULL;
	struct schema_bytes prefix = scan->from;
	MDB_val key = {.mv_size = scan->from.len, .mv_data = scan->from.bytes}, value;
	bool more = true;
	int code = mdb_cursor_open(scan->lookup.txn, scan->dbi, &cursor);

	prefix.len = scan->prefix_len;
	if (!code)
		code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
	if (!code && scan->behind && key.mv_size == scan->from.len && index_has_prefix(&key, &scan->from))
		code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
	while (!code && index_has_prefix(&key, &prefix)) {
		if (!scan->take(scan, &key, &value, &more))
			return MDB_CORRUPTED;
		if (!more)
			return 0;
		code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
	}
	return code == MDB_NOTFOUND ? 0 : code;
}

static int run_scan(struct index_lookup *lookup)
{
	struct index_scan *scan = (struct index_scan *)lookup;
	struct schema_bytes from = {.len = 0};
	int code;

	if (lookup->repository) {
		if ((code = index_start_key(lookup, &from)))
			return code;
		scan->prefix_len += from.len;
		schema_put(&from, scan->from.bytes, scan->from.len);
		scan->from = from;
	}
	return index_scan_in(scan);
}

int index_run_scan(struct index_scan *scan, struct index *index, void *arg, struct err *err)
{
	scan->lookup.index = index;
	scan->lookup.run = run_scan;
	scan->lookup.arg = arg;
	return index_look_up(&scan->lookup, "list", err);
}

struct root_scan {
	struct index_scan scan;
	bool (*each)(void *arg, const struct index_root *root);
};

static bool take_root(struct index_scan *scan, const MDB_val *key, const MDB_val *value, bool *more)
{
	struct schema_reader in = {.at = key->mv_data, .left = key->mv_size};
	struct index_root root;

	(void)value;
	if (!schema_get_i64(&in, &root.last_use) || !schema_get_digest(&in, &root.digest))
		return false;
	*more = ((struct root_scan *)scan)->each(scan->lookup.arg, &root);
	return true;
}

int index_list_roots(struct index *index, const struct index_root *after,
		     bool (*each)(void *arg, const struct index_root *root), void *arg, struct err *err)
{
	struct root_scan roots = {.scan = {.dbi = index->roots, .take = take_root, .behind = after != NULL},
				  .each = each};

	if (after)
		schema_root_key(after->last_use, &after->digest, &roots.scan.from);
	else
		schema_put_u64(&roots.scan.from, 0);
	return index_run_scan(&roots.scan, index, arg, err);
}

struct edge_scan {
	struct index_scan scan;
	bool (*each)(void *arg, const struct digest *digest, bool is_manifest);
};

static bool take_edge(struct index_scan *scan, const MDB_val *key, const MDB_val *value, bool *more)
{
	struct schema_reader rest = index_behind_prefix(scan, key);
	struct digest digest;
	bool manifest;

	if (!schema_get_digest(&rest, &digest) || !schema_read_edge(value->mv_data, value->mv_size, &manifest))
		return false;
	*more = ((struct edge_scan *)scan)->each(scan->lookup.arg, &digest, manifest);
	return true;
}

static int list_edges(struct index *index, MDB_dbi dbi, const struct digest *digest,
		      bool (*each)(void *arg, const struct digest *other, bool is_manifest), void *arg, struct err *err)
{
	struct edge_scan edges = {.scan = {.dbi = dbi, .take = take_edge}, .each = each};

	schema_put_digest(&edges.scan.from, digest);
	edges.scan.prefix_len = edges.scan.from.len;
	return index_run_scan(&edges.scan, index, arg, err);
}

int index_list_children(struct index *index, const struct digest *parent,
			bool (*each)(void *arg, const struct digest *child, bool is_manifest), void *arg,
			struct err *err)
{
	return list_edges(index, index->children, parent, each, arg, err);
}

int index_list_parents(struct index *index, const struct digest *child,
		       bool (*each)(void *arg, const struct digest *parent, bool is_manifest), void *arg,
		       struct err *err)
{
	return list_edges(index, index->parents, child, each, arg, err);
}

static bool take_tag(struct index_scan *scan, const MDB_val *key, const MDB_val *value, bool *more)
{
	(void)key;
	(void)value;
	*(bool *)scan->lookup.arg = true;
	*more = false;
	return true;
}

int index_find_tag_of(struct index *index, const struct digest *digest, struct err *err)
{
	struct index_scan scan = {.dbi = index->names, .take = take_tag};
	bool found = false;
	int code;

	schema_put_digest(&scan.from, digest);
	schema_put_u8(&scan.from, SCHEMA_NAME_TAG);
	scan.prefix_len = scan.from.len;
	code = index_run_scan(&scan, index, &found, err);
	return code || found ? code : ERR_NOT_FOUND;
}

struct blob_scan {
	struct index_scan scan;
	bool (*each)(void *arg, const struct digest *digest, const struct index_blob *blob);
};

static bool take_blob(struct index_scan *scan, const MDB_val *key, const MDB_val *value, bool *more)
{
	struct schema_reader rest;
	struct index_blob blob;
	struct digest digest;

	if (!schema_key_digest(key->mv_data, key->mv_size, &digest, &rest) ||
	    !schema_read_blob(value->mv_data, value->mv_size, &blob))
		return false;
	*more = ((struct blob_scan *)scan)->each(scan->lookup.arg, &digest, &blob);
	return true;
}

int index_list_blobs(struct index *index, const struct digest *after,
		     bool (*each)(void *arg, const struct digest *digest, const struct index_blob *blob), void *arg,
		     struct err *err)
{
	struct blob_scan blobs = {.scan = {.dbi = index->blobs, .take = take_blob, .behind = after != NULL},
				  .each = each};

	if (after)
		schema_put_digest(&blobs.scan.from, after);
	else
		schema_put_u8(&blobs.scan.from, 0);
	return index_run_scan(&blobs.scan, index, arg, err);
}
