/* SPDX-License-Identifier: Apache-2.0 */
/* Lists: lookups that walk. */
#include "store/index_internal.h"

#include "base/cleanup.h"

/* Tags. */

/* The key to start listing from. A name longer than any tag sorts among tags as its beginning does. */
static void put_after(struct schema_bytes *key, const char *after)
{
	size_t len = strnlen(after, REF_TAG_MAX + 1);

	schema_put(key, after, len);
	if (len > 0 && len <= REF_TAG_MAX)
		schema_put_u8(key, 1); /* behind this tag under every accept, before any longer one */
}

static int run_list_tags(struct index_lookup *lookup)
{
	_cleanup_(index_close_cursor) MDB_cursor *cursor = NULL;
	struct schema_bytes prefix, from;
	char tag[REF_TAG_MAX + 1];
	MDB_val key, value;
	int code = index_start_key(lookup, &prefix);

	if (code)
		return code;
	if ((code = mdb_cursor_open(lookup->txn, lookup->index->tags, &cursor)))
		return code;
	from = prefix;
	put_after(&from, lookup->tag);
	for (;;) {
		const char *name;
		size_t len;

		key = (MDB_val){.mv_size = from.len, .mv_data = from.bytes};
		code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
		if (code)
			return code == MDB_NOTFOUND ? 0 : code;
		if (!index_has_prefix(&key, &prefix))
			return 0;
		name = (const char *)key.mv_data + prefix.len;
		len = strnlen(name, key.mv_size - prefix.len);
		if (len == 0 || len > REF_TAG_MAX || key.mv_size != prefix.len + len + 1 + 8)
			return MDB_CORRUPTED;
		memcpy(tag, name, len);
		tag[len] = '\0';
		if (!lookup->each(lookup->arg, tag))
			return 0;
		from = prefix;
		put_after(&from, tag);
	}
}

int index_list_tags(struct index *index, const struct index_repository *repository, const char *after,
		    bool (*each)(void *arg, const char *tag), void *arg, struct err *err)
{
	struct index_lookup lookup = {
		.index = index, .run = run_list_tags, .repository = repository, .tag = after, .each = each, .arg = arg};

	return index_look_up(&lookup, repository->repository, err);
}

/* Repositories. */

struct walk {
	struct index_lookup *lookup;
	struct schema_bytes prefix; /* upstream NUL */
	char at[REF_REPOSITORY_MAX + 1];
	uint64_t number; /* of the one at `at` */
	/* Names too long for a key stand under their hash: the next one is looked for among them all. They are rare. */
	bool long_known, long_none;
	char long_name[REF_REPOSITORY_MAX + 1];
	uint64_t long_number;
};

/* Reads a repository's value: its name is the upstream's? */
static int read_repository(const struct walk *walk, const MDB_val *value, bool *ours, char name[REF_REPOSITORY_MAX + 1],
			   uint64_t *number)
{
	const struct schema_bytes *prefix = &walk->prefix;
	struct schema_reader in;

	if (!schema_read_repository(value->mv_data, value->mv_size, number, &in))
		return MDB_CORRUPTED;
	*ours = in.left > prefix->len && memcmp(in.at, prefix->bytes, prefix->len) == 0;
	if (!*ours)
		return 0;
	in.at += prefix->len;
	in.left -= prefix->len;
	return schema_get_text(&in, name, REF_REPOSITORY_MAX) ? 0 : MDB_CORRUPTED;
}

/* The first name behind walk->at among those in keys. MDB_NOTFOUND when there is none. */
static int next_short(const struct walk *walk, MDB_cursor *cursor, char name[REF_REPOSITORY_MAX + 1], uint64_t *number)
{
	struct schema_bytes from = {.len = 0};
	MDB_val key, value;
	bool ours;
	int code;

	schema_put_u8(&from, 'n');
	schema_put(&from, walk->prefix.bytes, walk->prefix.len);
	schema_put(&from, walk->at, strlen(walk->at));
	key = (MDB_val){.mv_size = from.len < SCHEMA_KEY_MAX ? from.len : SCHEMA_KEY_MAX, .mv_data = from.bytes};
	for (code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE); !code;
	     code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
		if (*(const uint8_t *)key.mv_data != 'n')
			return MDB_NOTFOUND;
		code = read_repository(walk, &value, &ours, name, number);
		if (code)
			return code;
		if (!ours)
			return MDB_NOTFOUND;
		if (strcmp(name, walk->at) > 0)
			return 0;
	}
	return code;
}

/* Likewise among those under their hash: into walk->long_name. */
static int find_long(struct walk *walk, MDB_cursor *cursor)
{
	char name[REF_REPOSITORY_MAX + 1], first[] = "h";
	MDB_val key = {.mv_size = 1, .mv_data = first}, value;
	uint64_t number;
	bool ours;
	int code;

	if (walk->long_none || (walk->long_known && strcmp(walk->long_name, walk->at) > 0))
		return 0;
	walk->long_known = false;
	for (code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE); !code && *(const uint8_t *)key.mv_data == 'h';
	     code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
		code = read_repository(walk, &value, &ours, name, &number);
		if (code)
			return code;
		if (!ours || strcmp(name, walk->at) <= 0 || (walk->long_known && strcmp(name, walk->long_name) > 0))
			continue;
		memcpy(walk->long_name, name, sizeof(name));
		walk->long_number = number;
		walk->long_known = true;
	}
	walk->long_none = !walk->long_known;
	return code == MDB_NOTFOUND ? 0 : code;
}

/* Moves walk->at on. MDB_NOTFOUND at the end. */
static int walk_on(struct walk *walk, MDB_cursor *cursor)
{
	char name[REF_REPOSITORY_MAX + 1];
	uint64_t number;
	int found = next_short(walk, cursor, name, &number);
	int code = found && found != MDB_NOTFOUND ? found : find_long(walk, cursor);

	if (code)
		return code;
	if (walk->long_known && (found || strcmp(walk->long_name, name) < 0)) {
		memcpy(walk->at, walk->long_name, sizeof(walk->at));
		walk->number = walk->long_number;
		return 0;
	}
	if (found)
		return found;
	memcpy(walk->at, name, sizeof(walk->at));
	walk->number = number;
	return 0;
}

/* Whether a table has anything of the repository. */
static int has_any(const struct walk *walk, MDB_dbi dbi, bool *any)
{
	_cleanup_(index_close_cursor) MDB_cursor *cursor = NULL;
	struct schema_bytes prefix = {.len = 0};
	MDB_val key, value;
	int code = mdb_cursor_open(walk->lookup->txn, dbi, &cursor);

	if (code)
		return code;
	schema_put_u64(&prefix, walk->number);
	key = (MDB_val){.mv_size = prefix.len, .mv_data = prefix.bytes};
	code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
	*any = *any || (!code && index_has_prefix(&key, &prefix));
	return code == MDB_NOTFOUND ? 0 : code;
}

static int run_list_repositories(struct index_lookup *lookup)
{
	_cleanup_(index_close_cursor) MDB_cursor *cursor = NULL;
	struct walk walk = {.lookup = lookup};
	size_t upstream = strnlen(lookup->repository->upstream, REF_UPSTREAM_MAX + 1);
	int code;

	if (upstream == 0 || upstream > REF_UPSTREAM_MAX)
		return MDB_NOTFOUND;
	schema_put(&walk.prefix, lookup->repository->upstream, upstream + 1);
	memcpy(walk.at, lookup->tag, strnlen(lookup->tag, REF_REPOSITORY_MAX));
	if ((code = mdb_cursor_open(lookup->txn, lookup->index->repositories, &cursor)))
		return code;
	while (!(code = walk_on(&walk, cursor))) {
		bool any = false;

		if ((code = has_any(&walk, lookup->index->tags, &any)) ||
		    (code = has_any(&walk, lookup->index->links, &any)))
			return code;
		if (any && !lookup->each(lookup->arg, walk.at))
			return 0;
	}
	return code == MDB_NOTFOUND ? 0 : code;
}

int index_list_repositories(struct index *index, const char *upstream, const char *after,
			    bool (*each)(void *arg, const char *repository), void *arg, struct err *err)
{
	const struct index_repository of = {.upstream = upstream};
	struct index_lookup lookup = {.index = index,
				      .run = run_list_repositories,
				      .repository = &of,
				      .tag = after,
				      .each = each,
				      .arg = arg};

	return index_look_up(&lookup, upstream, err);
}
