/* SPDX-License-Identifier: Apache-2.0 */
/* What index.c (open), index_read.c (lookups), index_list.c (lists), index_write.c (queue, writer thread) and
 * index_uses.c (last uses), index_apply.c and index_graph.c (changes) share. Nobody else includes this. */
#pragma once

#include "store/index.h"
#include "store/schema.h"

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#define INDEX_READERS_MAX 126
/* Changes in one transaction, unless a group has more by itself: LMDB holds every page that they touch until it
 * commits, and the memory for ever. */
#define INDEX_COMMIT_MAX 512
#define INDEX_GATHER_MS  20 /* how long changes that nobody waits for are gathered before they are committed */

/* One change. `bytes` holds the repository's name (none for blobs), the key (behind the repository's number), the
 * value. */
struct index_op {
	struct index_op *next;
	enum index_change_kind kind;
	uint16_t name_len;
	uint16_t key_len;
	uint16_t value_len;
	uint8_t bytes[];
};

/* The changes of one call: applied whole or not at all. */
struct index_group {
	struct index_group *next;
	struct index_op *ops;
	size_t count;
	struct index_ticket *ticket; /* where a thread waits for it; NULL: nobody waits */
};

/* One idle read transaction, on a cache line of its own. NULL: in use, or never made. */
struct index_slot {
	_Alignas(64) _Atomic(MDB_txn *) txn;
};

struct index {
	MDB_env *env;
	char *directory;
	MDB_dbi repositories;
	MDB_dbi tags;
	MDB_dbi links;
	MDB_dbi referrers;
	MDB_dbi blobs;
	MDB_dbi children;
	MDB_dbi parents;
	MDB_dbi roots;
	MDB_dbi names;
	MDB_dbi pins;
	MDB_dbi pinned;
	MDB_dbi meta;
	struct index_slot slots[INDEX_READERS_MAX];
	atomic_uint txns; /* read transactions, idle or in use */

	atomic_bool damaged;         /* it is to be replaced */
	atomic_bool closing;         /* it is being replaced: lookups wait for that */
	_Atomic(struct index *) old; /* the one that was replaced, until what can be read of it was rescued */
	bool is_old;                 /* it is such a one: looked up, never written */
	uint64_t replaced_ms;        /* the writer's: when it was replaced last */

	pthread_t writer;
	pthread_mutex_t mutex; /* guards what follows */
	pthread_cond_t wake;   /* the writer waits on it */
	struct index_group *first;
	struct index_group *last;
	size_t queued;            /* changes in the list */
	size_t waiting;           /* groups in the list that a thread waits for */
	struct index_use *uses;   /* last uses, by digest */
	struct timespec uses_due; /* when there are some: when they are to be written */
	bool stopping;
	bool failing; /* the last commit failed: the writer's alone, so that a full disk is logged once */
	_Atomic uint64_t generation;
	bool writing;       /* inside a transaction: the writer's alone */
	atomic_bool broken; /* LMDB failed an assertion inside a write: its state is unknown, nothing more is written */
};

/* The changes of one call, encoded; NULL when one is malformed. */
struct index_group *index_group_new(const struct index_change *changes, size_t count);

/* Takes what was gathered of last uses, as a list of groups, NULL when it is not due yet: when `all`, it is. The mutex
 * is held.
 */
struct index_group *index_take_uses(struct index *index, bool all);

/* Starts and ends the writer. The end commits what is queued. */
int index_start_writer(struct index *index, struct err *err);
void index_stop_writer(struct index *index);

/* Translates an LMDB code. `what` begins the text. */
int index_fail(const struct index *index, int code, const char *what, struct err *err);

/*
 * Damage (index_damage.c).
 */
/* Runs `body` and returns what it returns. LMDB meets some damage with an assertion, or touches the map where the file
 * has nothing; inside `body` that ends in MDB_CORRUPTED. What `body` held is then left as it is. */
int index_guard(int (*body)(void *arg), void *arg);
void index_install_guard(void);
void index_assertion_failed(MDB_env *env, const char *message);
/* Whether an LMDB code means it. */
bool index_is_damage(int code);
/* Damage was met: the writer is to replace the index. Any thread, without the mutex. */
void index_note_damage(struct index *index);
/* The writer's thread: replaces the index if that is called for. */
void index_replace_damaged(struct index *index);
/* Renames the index's directory, in place of what was there under that name. An errno value. */
#define INDEX_DAMAGED_SUFFIX ".damaged"
int index_move_aside(const char *directory);
/* Waits until no lookup runs, and ends all read transactions. No new lookup may come, or `closing` is set. */
void index_await_no_lookup(struct index *index);

/* Opens environment and tables in index->directory. An LMDB code; the environment is closed by the caller. */
int index_open_environment(struct index *index, const struct index_options *options);
/* Exchanges the environments and tables of two. No lookup runs. */
void index_swap_handles(struct index *index, struct index *other);

/* The repository's number, in any transaction: 0, MDB_NOTFOUND, or an LMDB error. */
int index_find_repository(const struct index *index, MDB_txn *txn, const void *name, size_t len, uint64_t *number);

/* mdb_get() on a key in memory. */
int index_fetch(MDB_txn *txn, MDB_dbi dbi, const void *key, size_t len, MDB_val *value);

/* One lookup: what it is given, and what it finds. */
struct index_lookup {
	struct index *index;
	MDB_txn *txn;
	int (*run)(struct index_lookup *lookup);
	const struct index_repository *repository; /* of a list of repositories: the upstream alone */
	const char *tag;                           /* of a list: what it begins behind */
	const struct digest *digest;
	uint64_t accept;
	bool (*acceptable)(void *arg, const char *media_type);
	bool (*each)(void *arg, const char *name);
	void *arg;
	void *found;
};

/* Calls lookup->run() within a read transaction. `what` begins the text of an error. */
int index_look_up(struct index_lookup *lookup, const char *what, struct err *err);
/* Begins a key in tags, links or referrers with the number of the lookup's repository. */
int index_start_key(struct index_lookup *lookup, struct schema_bytes *key);

/* A lookup that walks over neighbouring keys. Part of a larger struct where `take` needs more. */
struct index_scan {
	struct index_lookup lookup; /* with a repository: its number is put before `from` */
	MDB_dbi dbi;
	struct schema_bytes from; /* begin here … */
	size_t prefix_len;        /* … and go on while the keys share so many bytes with it */
	bool behind;              /* pass over the one that begins with all of `from` */
	/* Looks at one: false when it is damaged. `more` is true. */
	bool (*take)(struct index_scan *scan, const MDB_val *key, const MDB_val *value, bool *more);
};

int index_run_scan(struct index_scan *scan, struct index *index, void *arg, struct err *err);
/* The same within a transaction, with nothing of `lookup` but index and txn. An LMDB code. */
int index_scan_in(struct index_scan *scan);
/* What follows the scan's prefix in a key. */
static inline struct schema_reader index_behind_prefix(const struct index_scan *scan, const MDB_val *key)
{
	return (struct schema_reader){.at = (const uint8_t *)key->mv_data + scan->prefix_len,
				      .left = key->mv_size - scan->prefix_len};
}

/* The name of a repository, by its number, in any transaction: 0, MDB_NOTFOUND, or another code. */
struct index_repository_name {
	char upstream[REF_UPSTREAM_MAX + 1];
	char repository[REF_REPOSITORY_MAX + 1];
};
int index_find_name(const struct index *index, MDB_txn *txn, uint64_t number, struct index_repository_name *name);

static inline bool index_has_prefix(const MDB_val *key, const struct schema_bytes *prefix)
{
	return key->mv_size >= prefix->len && memcmp(key->mv_data, prefix->bytes, prefix->len) == 0;
}

static inline void index_close_cursor(MDB_cursor **cursor)
{
	if (*cursor)
		mdb_cursor_close(*cursor);
}

/*
 * The graph (index_graph.c): what references what, which blobs are roots, what names a digest. Called by index_apply()
 * in its transaction, in step with the tables that they follow. All codes are LMDB's.
 */
/* A held blob came, was used (`before` differs from `after`) or goes (NULL). */
int index_graph_put_blob(struct index *index, MDB_txn *txn, const struct digest *digest,
			 const struct index_blob *before, const struct index_blob *after);
int index_graph_delete_blob(struct index *index, MDB_txn *txn, const struct digest *digest,
			    const struct index_blob *before);
/* Passes a manifest's use on to the indexes that reference it. */
int index_graph_use_parents(struct index *index, MDB_txn *txn, const struct digest *digest, int64_t last_use);
int index_graph_put_edge(struct index *index, MDB_txn *txn, const struct digest *parent, const struct digest *child,
			 bool manifest);
/* A name of `digest`: `kind` and what follows it in the table. */
int index_graph_put_name(struct index *index, MDB_txn *txn, const struct digest *digest, char kind, const void *key,
			 size_t len);
int index_graph_delete_name(struct index *index, MDB_txn *txn, const struct digest *digest, char kind, const void *key,
			    size_t len);
/* 0 when the digest is held, or a held manifest references it; MDB_NOTFOUND when neither. */
int index_graph_find_need(struct index *index, MDB_txn *txn, const struct digest *digest);
/* Deletes every tag, link and list of referrers that names it. */
int index_graph_forget_names(struct index *index, MDB_txn *txn, const struct digest *digest);

/* Changes of pins (index_pins.c). `key` is the pin's name, NUL, and the reference. */
int index_pins_put(struct index *index, MDB_txn *txn, uint64_t repository, const MDB_val *key, MDB_val *value);
int index_pins_delete(struct index *index, MDB_txn *txn, uint64_t repository, const MDB_val *key);
int index_pins_delete_set(struct index *index, MDB_txn *txn, const MDB_val *name);

/* Fills what format 2 has and format 1 had not. */
int index_upgrade(struct index *index, MDB_txn *txn);

/* Applies changes; after a failure the transaction must be aborted. */
int index_apply(struct index *index, MDB_txn *txn, const struct index_op *ops);
