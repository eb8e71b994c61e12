/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing the index, and what LMDB's errors mean. Lookups are in index_read.c, changes in index_write.c. */
#include "store/index_internal.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* A damaged page's 16-bit offsets reach at most this far behind it. The file is kept longer by that much than what is
 * in use, since touching the map beyond the file's end would be a SIGBUS. */
#define INDEX_SLACK_BYTES ((uint64_t)256 << 10)

#define INDEX_CHECK_MS 40 /* an unclean end may cost so much of the next start */
#define INDEX_TABLES   12

int index_fail(const struct index *index, int code, const char *what, struct err *err)
{
	switch (code) {
	case MDB_NOTFOUND:
		return err_set(err, ERR_NOT_FOUND, "%s: not in the index", what);
	case MDB_MAP_FULL:
		return err_set(err, ERR_NO_SPACE, "%s: the index has reached its %zu GiB", what, INDEX_MAP_BYTES >> 30);
	case MDB_PANIC:
		return err_set(err, ERR_IO, "%s: the disk failed under the index %s; mend the disk and restart larder",
			       what, index->directory);
	default:
		break;
	}
	if (code > 0)
		return err_set_errno(err, ERR_IO, code, "%s: index %s", what, index->directory);
	return err_set(err, ERR_IO, "%s: the index %s is damaged (%s)", what, index->directory, mdb_strerror(code));
}

struct table {
	const char *name;
	MDB_dbi *dbi;
};

static void list_tables(struct index *index, struct table tables[INDEX_TABLES])
{
	const struct table list[INDEX_TABLES] = {
		{"repositories", &index->repositories},
		{"tags", &index->tags},
		{"links", &index->links},
		{"referrers", &index->referrers},
		{"blobs", &index->blobs},
		{"meta", &index->meta},
		{"children", &index->children},
		{"parents", &index->parents},
		{"roots", &index->roots},
		{"names", &index->names},
		{"pins", &index->pins},
		{"pinned", &index->pinned},
	};

	memcpy(tables, list, sizeof(list));
}

void index_swap_handles(struct index *index, struct index *other)
{
	struct table mine[INDEX_TABLES], others[INDEX_TABLES];
	MDB_env *env = index->env;

	list_tables(index, mine);
	list_tables(other, others);
	for (size_t i = 0; i < INDEX_TABLES; i++) {
		MDB_dbi dbi = *mine[i].dbi;

		*mine[i].dbi = *others[i].dbi;
		*others[i].dbi = dbi;
	}
	index->env = other->env;
	other->env = env;
}

static int open_tables(struct index *index, bool upgrade)
{
	struct table tables[INDEX_TABLES];
	MDB_txn *txn;
	int code = mdb_txn_begin(index->env, NULL, 0, &txn);

	if (code)
		return code;
	list_tables(index, tables);
	for (size_t i = 0; i < INDEX_TABLES && !code; i++)
		code = mdb_dbi_open(txn, tables[i].name, MDB_CREATE, tables[i].dbi);
	if (!code && upgrade)
		code = index_upgrade(index, txn);
	if (code) {
		mdb_txn_abort(txn);
		return code;
	}
	return mdb_txn_commit(txn);
}

/* Makes sure that no page that may be read lies behind the file's end. A truncated file then reads as zeros there,
 * which LMDB knows for damage. */
static int extend_file(struct index *index)
{
	MDB_envinfo info;
	MDB_stat stat_env;
	struct stat file;
	uint64_t wanted;
	int fd, code;

	if ((code = mdb_env_info(index->env, &info)))
		return code;
	if ((code = mdb_env_stat(index->env, &stat_env)) || (code = mdb_env_get_fd(index->env, &fd)))
		return code;
	wanted = ((uint64_t)info.me_last_pgno + 1) * stat_env.ms_psize + INDEX_SLACK_BYTES;
	if (wanted > INDEX_MAP_BYTES)
		wanted = INDEX_MAP_BYTES;
	if (fstat(fd, &file) < 0)
		return errno;
	if ((uint64_t)file.st_size < wanted && ftruncate(fd, (off_t)wanted) < 0)
		return errno;
	return 0;
}

/* Reads on through a table until the time is up. */
static int walk_table(MDB_txn *txn, MDB_dbi dbi, uint64_t until_ms)
{
	_cleanup_(index_close_cursor) MDB_cursor *cursor = NULL;
	MDB_val key, value;
	int code = mdb_cursor_open(txn, dbi, &cursor);

	if (!code)
		code = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
	while (!code && clock_ms() < until_ms)
		for (int i = 0; i < 1000 && !code; i++)
			code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
	return code == MDB_NOTFOUND ? 0 : code;
}

/* Looks for damage where that may have ended the last run: reading through it is safe, and writing is not. */
static int check_tables(struct index *index)
{
	struct table tables[INDEX_TABLES];
	uint64_t until_ms = clock_ms() + INDEX_CHECK_MS;
	MDB_txn *txn;
	int code = mdb_txn_begin(index->env, NULL, MDB_RDONLY, &txn);

	if (code)
		return code;
	list_tables(index, tables);
	for (size_t i = 0; i < INDEX_TABLES && !code; i++)
		code = walk_table(txn, *tables[i].dbi, until_ms);
	mdb_txn_abort(txn);
	return code;
}

struct opening {
	struct index *index;
	const struct index_options *options;
};

static int open_environment(void *arg)
{
	struct opening *opening = arg;
	struct index *index = opening->index;
	int code;

	if ((code = mdb_env_set_mapsize(index->env, INDEX_MAP_BYTES)) ||
	    (code = mdb_env_set_maxdbs(index->env, INDEX_TABLES)) ||
	    (code = mdb_env_set_maxreaders(index->env, INDEX_READERS_MAX)) ||
	    (code = mdb_env_set_assert(index->env, index_assertion_failed)) ||
	    (code = mdb_env_open(index->env, index->directory, MDB_NOTLS | MDB_NORDAHEAD, 0640)))
		return code;
	if ((code = extend_file(index)))
		return code;
	code = open_tables(index, opening->options->upgrade);
	return code || !opening->options->check ? code : check_tables(index);
}

int index_open_environment(struct index *index, const struct index_options *options)
{
	struct opening opening = {.index = index, .options = options};
	int code;

	index_install_guard();
	code = mdb_env_create(&index->env);
	return code ? code : index_guard(open_environment, &opening);
}

static void close_environment(struct index *index)
{
	if (index->env)
		mdb_env_close(index->env);
	index->env = NULL;
}

/* One that cannot be opened for damage makes way for a new one. */
static int open_or_replace(struct index *index, const struct index_options *options)
{
	int code = index_open_environment(index, options);

	if (!index_is_damage(code))
		return code;
	log_error("index: %s is damaged (%s); a new one is made of the blobs", index->directory, mdb_strerror(code));
	close_environment(index);
	code = index_move_aside(index->directory);
	if (!code && mkdir(index->directory, 0750) < 0)
		code = errno;
	return code ? code : index_open_environment(index, options);
}

int index_open(const char *directory, const struct index_options *options, struct index **index_out, struct err *err)
{
	struct index *index = mem_alloc(sizeof(*index));
	int code;

	index->directory = mem_strdup(directory);
	code = open_or_replace(index, options);
	if (code)
		code = index_fail(index, code, "cannot open the index", err);
	else
		code = index_start_writer(index, err);
	if (code) {
		close_environment(index);
		free(index->directory);
		free(index);
		return code;
	}
	*index_out = index;
	return 0;
}

bool index_is_broken(const struct index *index)
{
	return atomic_load(&index->broken);
}

void index_close(struct index *index)
{
	if (!index)
		return;
	index_stop_writer(index);
	index_await_no_lookup(index);
	/* A write that LMDB broke off by an assertion still holds what it held: closing could run into the same damage.
	 */
	if (!atomic_load(&index->broken))
		mdb_env_close(index->env);
	index_close_old(index->old);
	free(index->directory);
	free(index);
}
