/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lookups. Each claims an idle read transaction by one atomic exchange, renews it (no lock, no system call), and gives
 * it back reset; the transactions are bound to no thread (MDB_NOTLS). A new one is begun only when none is idle, so
 * there are as many as lookups have ever run side by side.
 */
#include "store/index_internal.h"

#include "base/cleanup.h"
#include "store/schema.h"

#include <sched.h>

/* Where this thread looks first, so that threads seldom meet in one slot. */
static size_t first_slot(void)
{
	static atomic_size_t threads;
	static _Thread_local size_t mine;

	if (!mine)
		mine = 1 + atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed);
	return mine;
}

static MDB_txn *take_idle(struct index *index)
{
	size_t first = first_slot();

	for (size_t i = 0; i < INDEX_READERS_MAX; i++) {
		struct index_slot *slot = &index->slots[(first + i) % INDEX_READERS_MAX];
		MDB_txn *txn = NULL;

		if (atomic_load_explicit(&slot->txn, memory_order_relaxed))
			txn = atomic_exchange_explicit(&slot->txn, NULL, memory_order_acquire);
		if (txn)
			return txn;
	}
	return NULL;
}

/*
 * LMDB learns the number of the last commit, and then copies the roots from the one of two places where that commit put
 * them. A thread that is kept from running in between may find them overwritten by the commit after the next. Then it
 * looks again; else it could see a change, and the next time not yet.
 */
static int renew(struct index *index, MDB_txn *txn)
{
	for (;;) {
		MDB_envinfo info;
		int code = mdb_txn_renew(txn);

		if (code || (code = mdb_env_info(index->env, &info)))
			return code;
		if (info.me_last_txnid < mdb_txn_id(txn) + 2)
			return 0;
		mdb_txn_reset(txn);
	}
}

/* A new one, reset. Counted before it is looked whether the index is being replaced: who replaces it says so, and looks
 * at the count then. */
static int begin_txn(struct index *index, MDB_txn **txn)
{
	int code = MDB_READERS_FULL;

	atomic_fetch_add(&index->txns, 1);
	if (!atomic_load(&index->closing))
		code = mdb_txn_begin(index->env, NULL, MDB_RDONLY, txn);
	if (code) {
		atomic_fetch_sub(&index->txns, 1);
		*txn = NULL;
		return code;
	}
	mdb_txn_reset(*txn);
	return 0;
}

static int claim_txn(struct index *index, MDB_txn **txn)
{
	int code = 0;

	while (!(*txn = take_idle(index))) {
		code = begin_txn(index, txn);
		if (!code)
			break;
		if (code != MDB_READERS_FULL)
			return code;
		/* Lookups are short: with all readers in use, one of them is idle in a moment; or the index is being
		 * replaced, which does not take long either. */
		sched_yield();
	}
	return renew(index, *txn);
}

static void release_txn(struct index *index, MDB_txn *txn)
{
	size_t first = first_slot();

	mdb_txn_reset(txn);
	for (size_t i = 0; i < INDEX_READERS_MAX; i++) {
		MDB_txn *expected = NULL;

		if (atomic_compare_exchange_strong_explicit(&index->slots[(first + i) % INDEX_READERS_MAX].txn,
							    &expected, txn, memory_order_release, memory_order_relaxed))
			return;
	}
	mdb_txn_abort(txn);
	atomic_fetch_sub(&index->txns, 1);
}

static int run_lookup(void *arg)
{
	struct index_lookup *lookup = arg;

	return lookup->run(lookup);
}

int index_look_up(struct index_lookup *lookup, const char *what, struct err *err)
{
	struct index *index = lookup->index;
	int code = claim_txn(index, &lookup->txn);

	if (!code)
		code = index_guard(run_lookup, lookup);
	/* As long as it is this one that is in question: it is replaced when no lookup runs. */
	if (index_is_damage(code))
		index_note_damage(index);
	if (lookup->txn && !index_is_damage(code)) {
		release_txn(index, lookup->txn);
	} else if (lookup->txn) {
		mdb_txn_abort(lookup->txn);
		atomic_fetch_sub(&index->txns, 1);
	}
	return code ? index_fail(index, code, what, err) : 0;
}

int index_fetch(MDB_txn *txn, MDB_dbi dbi, const void *key, size_t len, MDB_val *value)
{
	MDB_val mdb_key = {.mv_size = len, .mv_data = (void *)key};

	return mdb_get(txn, dbi, &mdb_key, value);
}

int index_find_repository(const struct index *index, MDB_txn *txn, const void *name, size_t len, uint64_t *number)
{
	struct schema_bytes key;
	struct schema_reader held;
	MDB_val value;
	int code;

	schema_repository_key(name, len, &key);
	code = index_fetch(txn, index->repositories, key.bytes, key.len, &value);
	if (code)
		return code;
	if (!schema_read_repository(value.mv_data, value.mv_size, number, &held) || held.left != len ||
	    memcmp(held.at, name, len) != 0)
		return MDB_CORRUPTED;
	return 0;
}

int index_start_key(struct index_lookup *lookup, struct schema_bytes *key)
{
	struct schema_bytes name;
	uint64_t number;
	int code;

	if (!schema_name(lookup->repository, &name))
		return MDB_NOTFOUND;
	code = index_find_repository(lookup->index, lookup->txn, name.bytes, name.len, &number);
	if (code)
		return code;
	key->len = 0;
	schema_put_u64(key, number);
	return 0;
}

static int run_get_tag(struct index_lookup *lookup)
{
	struct index_tag *found = lookup->found;
	struct schema_bytes key;
	MDB_val value;
	int code = index_start_key(lookup, &key);

	if (code)
		return code;
	if (!schema_put_tag(&key, lookup->tag))
		return MDB_NOTFOUND;
	schema_put_u64(&key, lookup->accept);
	code = index_fetch(lookup->txn, lookup->index->tags, key.bytes, key.len, &value);
	if (code)
		return code;
	found->accept = lookup->accept;
	return schema_read_tag(value.mv_data, value.mv_size, found) ? 0 : MDB_CORRUPTED;
}

int index_get_tag(struct index *index, const struct index_repository *repository, const char *tag, uint64_t accept,
		  struct index_tag *found, struct err *err)
{
	struct index_lookup lookup = {.index = index,
				      .run = run_get_tag,
				      .repository = repository,
				      .tag = tag,
				      .accept = accept,
				      .found = found};

	return index_look_up(&lookup, tag, err);
}

static int run_get_tag_any(struct index_lookup *lookup)
{
	_cleanup_(index_close_cursor) MDB_cursor *cursor = NULL;
	struct index_tag *found = lookup->found, record;
	struct schema_bytes prefix;
	MDB_val key, value;
	bool any = false;
	int code = index_start_key(lookup, &prefix);

	if (code)
		return code;
	if (!schema_put_tag(&prefix, lookup->tag))
		return MDB_NOTFOUND;
	if ((code = mdb_cursor_open(lookup->txn, lookup->index->tags, &cursor)))
		return code;
	key = (MDB_val){.mv_size = prefix.len, .mv_data = prefix.bytes};
	for (code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE); !code && index_has_prefix(&key, &prefix);
	     code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
		if (key.mv_size != prefix.len + 8 || !schema_read_tag(value.mv_data, value.mv_size, &record))
			return MDB_CORRUPTED;
		record.accept = schema_u64_at((const uint8_t *)key.mv_data + prefix.len);
		if ((any && record.checked <= found->checked) || !lookup->acceptable(lookup->arg, record.media_type))
			continue;
		*found = record;
		any = true;
	}
	if (code && code != MDB_NOTFOUND)
		return code;
	return any ? 0 : MDB_NOTFOUND;
}

int index_get_tag_any(struct index *index, const struct index_repository *repository, const char *tag,
		      bool (*acceptable)(void *arg, const char *media_type), void *arg, struct index_tag *found,
		      struct err *err)
{
	struct index_lookup lookup = {.index = index,
				      .run = run_get_tag_any,
				      .repository = repository,
				      .tag = tag,
				      .acceptable = acceptable,
				      .arg = arg,
				      .found = found};

	return index_look_up(&lookup, tag, err);
}

static int run_get_link(struct index_lookup *lookup)
{
	struct schema_bytes key;
	MDB_val value;
	int code = index_start_key(lookup, &key);

	if (code)
		return code;
	schema_put_digest(&key, lookup->digest);
	code = index_fetch(lookup->txn, lookup->index->links, key.bytes, key.len, &value);
	if (code)
		return code;
	return schema_read_link(value.mv_data, value.mv_size, lookup->found) ? 0 : MDB_CORRUPTED;
}

int index_get_link(struct index *index, const struct index_repository *repository, const struct digest *digest,
		   struct index_link *found, struct err *err)
{
	struct index_lookup lookup = {
		.index = index, .run = run_get_link, .repository = repository, .digest = digest, .found = found};

	return index_look_up(&lookup, "link", err);
}

static int run_get_referrers(struct index_lookup *lookup)
{
	struct index_tag *found = lookup->found;
	struct schema_bytes key;
	MDB_val value;
	int code = index_start_key(lookup, &key);

	if (code)
		return code;
	schema_put_digest(&key, lookup->digest);
	code = index_fetch(lookup->txn, lookup->index->referrers, key.bytes, key.len, &value);
	if (code)
		return code;
	found->accept = 0;
	return schema_read_tag(value.mv_data, value.mv_size, found) ? 0 : MDB_CORRUPTED;
}

int index_get_referrers(struct index *index, const struct index_repository *repository, const struct digest *subject,
			struct index_tag *found, struct err *err)
{
	struct index_lookup lookup = {
		.index = index, .run = run_get_referrers, .repository = repository, .digest = subject, .found = found};

	return index_look_up(&lookup, "referrers", err);
}

static int run_get_blob(struct index_lookup *lookup)
{
	struct schema_bytes key = {.len = 0};
	MDB_val value;
	int code;

	schema_put_digest(&key, lookup->digest);
	code = index_fetch(lookup->txn, lookup->index->blobs, key.bytes, key.len, &value);
	if (code)
		return code;
	return schema_read_blob(value.mv_data, value.mv_size, lookup->found) ? 0 : MDB_CORRUPTED;
}

int index_get_blob(struct index *index, const struct digest *digest, struct index_blob *found, struct err *err)
{
	struct index_lookup lookup = {.index = index, .run = run_get_blob, .digest = digest, .found = found};

	return index_look_up(&lookup, "blob", err);
}

static int run_get_totals(struct index_lookup *lookup)
{
	struct index_totals *totals = lookup->found;
	MDB_val value;
	int code = index_fetch(lookup->txn, lookup->index->meta, SCHEMA_TOTALS, strlen(SCHEMA_TOTALS), &value);

	*totals = (struct index_totals){0};
	if (code)
		return code == MDB_NOTFOUND ? 0 : code;
	return schema_read_totals(value.mv_data, value.mv_size, totals) ? 0 : MDB_CORRUPTED;
}

int index_get_totals(struct index *index, struct index_totals *totals, struct err *err)
{
	struct index_lookup lookup = {.index = index, .run = run_get_totals, .found = totals};

	return index_look_up(&lookup, "totals", err);
}

static int run_get_scrub(struct index_lookup *lookup)
{
	MDB_val value;
	int code = index_fetch(lookup->txn, lookup->index->meta, SCHEMA_SCRUB, strlen(SCHEMA_SCRUB), &value);

	if (code)
		return code;
	return schema_read_scrub(value.mv_data, value.mv_size, lookup->found) ? 0 : MDB_CORRUPTED;
}

int index_get_scrub(struct index *index, struct index_scrub *scrub, struct err *err)
{
	struct index_lookup lookup = {.index = index, .run = run_get_scrub, .found = scrub};

	return index_look_up(&lookup, "scrub", err);
}
