/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of names: what a repository has, and what names a digest. */
#include "store/index_internal.h"

#include "base/cleanup.h"

int index_find_name(const struct index *index, MDB_txn *txn, uint64_t number, struct index_repository_name *name)
{
	struct schema_bytes key;
	struct schema_reader held;
	uint64_t same;
	size_t upstream;
	MDB_val value;
	int code;

	schema_number_key(number, &key);
	code = index_fetch(txn, index->repositories, key.bytes, key.len, &value);
	if (code)
		return code;
	if (!schema_read_repository(value.mv_data, value.mv_size, &same, &held) || same != number)
		return MDB_CORRUPTED;
	upstream = strnlen((const char *)held.at, held.left);
	if (upstream == held.left || upstream > REF_UPSTREAM_MAX)
		return MDB_CORRUPTED;
	memcpy(name->upstream, held.at, upstream + 1);
	held.at += upstream + 1;
	held.left -= upstream + 1;
	return schema_get_text(&held, name->repository, REF_REPOSITORY_MAX) ? 0 : MDB_CORRUPTED;
}

/* Copies what follows the number, up to its NUL, out of a key in tags. False when it is no tag's. */
static bool read_tag_key(const uint8_t *at, size_t left, char tag[REF_TAG_MAX + 1], uint64_t *accept)
{
	size_t len = strnlen((const char *)at, left);

	if (len == 0 || len > REF_TAG_MAX || left != len + 1 + 8)
		return false;
	memcpy(tag, at, len + 1);
	*accept = schema_u64_at(at + len + 1);
	return true;
}

/* What a repository has. */

struct tag_scan {
	struct index_scan scan;
	bool (*each)(void *arg, const char *name, const struct index_tag *tag);
};

static bool take_tag_record(struct index_scan *scan, const MDB_val *key, const MDB_val *value, bool *more)
{
	struct schema_reader rest = index_behind_prefix(scan, key);
	char name[REF_TAG_MAX + 1];
	struct index_tag tag;

	if (!read_tag_key(rest.at, rest.left, name, &tag.accept) ||
	    !schema_read_tag(value->mv_data, value->mv_size, &tag))
		return false;
	*more = ((struct tag_scan *)scan)->each(scan->lookup.arg, name, &tag);
	return true;
}

int index_list_tag_records(struct index *index, const struct index_repository *repository, const char *after,
			   bool (*each)(void *arg, const char *name, const struct index_tag *tag), void *arg,
			   struct err *err)
{
	struct tag_scan tags = {
		.scan = {.lookup = {.repository = repository}, .dbi = index->tags, .take = take_tag_record},
		.each = each};
	size_t len = strnlen(after, REF_TAG_MAX + 1);

	schema_put(&tags.scan.from, after, len);
	if (len > 0 && len <= REF_TAG_MAX)
		schema_put_u8(&tags.scan.from, 1); /* behind this tag under every accept, before any longer one */
	return index_run_scan(&tags.scan, index, arg, err);
}

static bool take_same_tag(struct index_scan *scan, const MDB_val *key, const MDB_val *value, bool *more)
{
	struct schema_reader rest = index_behind_prefix(scan, key);

	*more = rest.left > strlen(scan->lookup.tag) && strcmp((const char *)rest.at, scan->lookup.tag) == 0;
	return !*more || take_tag_record(scan, key, value, more);
}

int index_list_tag(struct index *index, const struct index_repository *repository, const char *name,
		   bool (*each)(void *arg, const char *name, const struct index_tag *tag), void *arg, struct err *err)
{
	struct tag_scan tags = {
		.scan = {.lookup = {.repository = repository, .tag = name}, .dbi = index->tags, .take = take_same_tag},
		.each = each};

	if (!schema_put_tag(&tags.scan.from, name))
		return ERR_NOT_FOUND;
	return index_run_scan(&tags.scan, index, arg, err);
}

struct link_scan {
	struct index_scan scan;
	bool (*each)(void *arg, const struct digest *digest, const struct index_link *link);
};

static bool take_link(struct index_scan *scan, const MDB_val *key, const MDB_val *value, bool *more)
{
	struct schema_reader rest = index_behind_prefix(scan, key);
	struct index_link link;
	struct digest digest;

	if (!schema_get_digest(&rest, &digest) || rest.left || !schema_read_link(value->mv_data, value->mv_size, &link))
		return false;
	*more = ((struct link_scan *)scan)->each(scan->lookup.arg, &digest, &link);
	return true;
}

int index_list_links(struct index *index, const struct index_repository *repository, const struct digest *after,
		     bool (*each)(void *arg, const struct digest *digest, const struct index_link *link), void *arg,
		     struct err *err)
{
	struct link_scan links = {.scan = {.lookup = {.repository = repository},
					   .dbi = index->links,
					   .take = take_link,
					   .behind = after != NULL},
				  .each = each};

	if (after)
		schema_put_digest(&links.scan.from, after);
	return index_run_scan(&links.scan, index, arg, err);
}

struct subject_scan {
	struct index_scan scan;
	bool (*each)(void *arg, const struct digest *subject);
};

static bool take_subject(struct index_scan *scan, const MDB_val *key, const MDB_val *value, bool *more)
{
	struct schema_reader rest = index_behind_prefix(scan, key);
	struct digest subject;

	(void)value;
	if (!schema_get_digest(&rest, &subject) || rest.left)
		return false;
	*more = ((struct subject_scan *)scan)->each(scan->lookup.arg, &subject);
	return true;
}

int index_list_subjects(struct index *index, const struct index_repository *repository, const struct digest *after,
			bool (*each)(void *arg, const struct digest *subject), void *arg, struct err *err)
{
	struct subject_scan subjects = {.scan = {.lookup = {.repository = repository},
						 .dbi = index->referrers,
						 .take = take_subject,
						 .behind = after != NULL},
					.each = each};

	if (after)
		schema_put_digest(&subjects.scan.from, after);
	return index_run_scan(&subjects.scan, index, arg, err);
}

/* Upstreams. */

/* The smallest name behind lookup->tag, from here to the end of the names that begin with `kind`. */
static int find_upstream(struct index_lookup *lookup, char kind)
{
	_cleanup_(index_close_cursor) MDB_cursor *cursor = NULL;
	char *best = lookup->found;
	struct schema_bytes from = {.len = 0};
	MDB_val key, value;
	int code = mdb_cursor_open(lookup->txn, lookup->index->repositories, &cursor);

	schema_put_u8(&from, (uint8_t)kind);
	if (kind == 'n' && *lookup->tag) {
		schema_put(&from, lookup->tag, strnlen(lookup->tag, REF_UPSTREAM_MAX));
		schema_put_u8(&from, 1); /* behind all repositories of this one */
	}
	key = (MDB_val){.mv_size = from.len, .mv_data = from.bytes};
	if (!code)
		code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
	for (; !code && *(const char *)key.mv_data == kind; code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
		struct schema_reader name;
		uint64_t number;
		size_t len;

		if (!schema_read_repository(value.mv_data, value.mv_size, &number, &name))
			return MDB_CORRUPTED;
		len = strnlen((const char *)name.at, name.left);
		if (len == 0 || len == name.left || len > REF_UPSTREAM_MAX)
			return MDB_CORRUPTED;
		if (strcmp((const char *)name.at, lookup->tag) <= 0)
			continue;
		if (!*best || strcmp((const char *)name.at, best) < 0)
			memcpy(best, name.at, len + 1);
		/* Keys are in order where they hold the name; under a hash they are in none. */
		if (kind == 'n')
			return 0;
	}
	return code == MDB_NOTFOUND ? 0 : code;
}

static int run_next_upstream(struct index_lookup *lookup)
{
	char *best = lookup->found;
	int code;

	*best = '\0';
	if ((code = find_upstream(lookup, 'n')) || (code = find_upstream(lookup, 'h')))
		return code;
	return *best ? 0 : MDB_NOTFOUND;
}

int index_next_upstream(struct index *index, const char *after, char upstream[REF_UPSTREAM_MAX + 1], struct err *err)
{
	struct index_lookup lookup = {.index = index, .run = run_next_upstream, .tag = after, .found = upstream};

	return index_look_up(&lookup, "upstream", err);
}

/* What names a digest. */

struct name_scan {
	struct index_scan scan;
	bool (*each)(void *arg, const struct index_name *name);
};

static bool take_name(struct index_scan *scan, const MDB_val *key, const MDB_val *value, bool *more)
{
	struct schema_reader rest = index_behind_prefix(scan, key);
	struct index_repository_name repository;
	struct index_name name = {.repository = {repository.upstream, repository.repository}};
	char tag[REF_TAG_MAX + 1];
	struct digest subject;
	uint64_t number, accept;
	uint8_t kind;

	(void)value;
	if (rest.left < 1 + 8)
		return false;
	kind = *rest.at++;
	rest.left--;
	if (!schema_get_u64(&rest, &number) ||
	    index_find_name(scan->lookup.index, scan->lookup.txn, number, &repository))
		return false;
	if (kind == SCHEMA_NAME_TAG) {
		if (!read_tag_key(rest.at, rest.left, tag, &accept))
			return false;
		name.tag = tag;
	} else if (kind == SCHEMA_NAME_REFERRERS) {
		if (!schema_get_digest(&rest, &subject))
			return false;
		name.subject = &subject;
	} else if (kind != SCHEMA_NAME_LINK) {
		return false;
	}
	*more = ((struct name_scan *)scan)->each(scan->lookup.arg, &name);
	return true;
}

int index_list_names(struct index *index, const struct digest *digest,
		     bool (*each)(void *arg, const struct index_name *name), void *arg, struct err *err)
{
	struct name_scan names = {.scan = {.dbi = index->names, .take = take_name}, .each = each};

	schema_put_digest(&names.scan.from, digest);
	names.scan.prefix_len = names.scan.from.len;
	return index_run_scan(&names.scan, index, arg, err);
}

/* All names, by digest. */

struct named_scan {
	struct index_scan scan;
	bool (*each)(void *arg, const struct digest *digest, int64_t checked, bool needed);
};

/* When upstream confirmed what a key in names stands for. */
static int find_checked(const struct index_scan *scan, const struct schema_reader *name, int64_t *checked)
{
	const struct index *index = scan->lookup.index;
	struct index_tag record;
	MDB_val value;
	int code;

	*checked = 0;
	if (name->left < 1 + 8)
		return MDB_CORRUPTED;
	if (name->at[0] == SCHEMA_NAME_LINK)
		return 0;
	code = index_fetch(scan->lookup.txn, name->at[0] == SCHEMA_NAME_TAG ? index->tags : index->referrers,
			   name->at + 1, name->left - 1, &value);
	if (code || !schema_read_tag(value.mv_data, value.mv_size, &record))
		return MDB_CORRUPTED;
	*checked = record.checked;
	return 0;
}

static bool take_named(struct index_scan *scan, const MDB_val *key, const MDB_val *value, bool *more)
{
	struct schema_reader rest;
	struct digest digest;
	int64_t checked;
	int code;

	(void)value;
	if (!schema_key_digest(key->mv_data, key->mv_size, &digest, &rest) || find_checked(scan, &rest, &checked))
		return false;
	code = index_graph_find_need(scan->lookup.index, scan->lookup.txn, &digest);
	if (code && code != MDB_NOTFOUND)
		return false;
	*more = ((struct named_scan *)scan)->each(scan->lookup.arg, &digest, checked, code == 0);
	return true;
}

int index_list_named(struct index *index, const struct digest *after,
		     bool (*each)(void *arg, const struct digest *digest, int64_t checked, bool needed), void *arg,
		     struct err *err)
{
	struct named_scan named = {.scan = {.dbi = index->names, .take = take_named}, .each = each};

	if (after)
		schema_put_digest(&named.scan.from, after);
	/* Behind every kind of name. */
	schema_put_u8(&named.scan.from, after ? UINT8_MAX : 0);
	return index_run_scan(&named.scan, index, arg, err);
}
