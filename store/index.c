/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing the index, and what LMDB's errors mean. Lookups are in index_read.c, changes in index_write.c. */
#include "store/index_internal.h"

#include "base/buf.h"
#include "base/log.h"

#include <errno.h>
#include <setjmp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* A damaged page's 16-bit offsets reach at most this far behind it. The file is kept longer by that much than what is
 * in use, since touching the map beyond the file's end would be a SIGBUS. */
#define INDEX_SLACK_BYTES ((uint64_t)256 << 10)

#define INDEX_TABLES 12

static _Thread_local jmp_buf *guard_target;

int index_guard(int (*body)(void *arg), void *arg)
{
	jmp_buf target;
	int code;

	guard_target = &target;
	if (setjmp(target))
		code = MDB_CORRUPTED;
	else
		code = body(arg);
	guard_target = NULL;
	return code;
}

static void assertion_failed(MDB_env *env, const char *message)
{
	(void)env;
	log_error("index: damaged: %s", message);
	if (guard_target)
		longjmp(*guard_target, 1);
}

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
	return err_set(
		err, ERR_IO,
		"%s: the index is damaged (%s); stop larder, move %s away and start again: stored blobs are kept", what,
		mdb_strerror(code), index->directory);
}

static int open_tables(struct index *index, bool upgrade)
{
	const struct {
		const char *name;
		MDB_dbi *dbi;
	} tables[INDEX_TABLES] = {
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
	MDB_txn *txn;
	int code = mdb_txn_begin(index->env, NULL, 0, &txn);

	if (code)
		return code;
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

	if ((code = mdb_env_info(index->env, &info)) || (code = mdb_env_stat(index->env, &stat_env)) ||
	    (code = mdb_env_get_fd(index->env, &fd)))
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

struct opening {
	struct index *index;
	bool upgrade;
};

static int open_environment(void *arg)
{
	struct opening *opening = arg;
	struct index *index = opening->index;
	int code;

	if ((code = mdb_env_set_mapsize(index->env, INDEX_MAP_BYTES)) ||
	    (code = mdb_env_set_maxdbs(index->env, INDEX_TABLES)) ||
	    (code = mdb_env_set_maxreaders(index->env, INDEX_READERS_MAX)) ||
	    (code = mdb_env_set_assert(index->env, assertion_failed)) ||
	    (code = mdb_env_open(index->env, index->directory, MDB_NOTLS | MDB_NORDAHEAD, 0640)))
		return code;
	if ((code = extend_file(index)))
		return code;
	return open_tables(index, opening->upgrade);
}

int index_open(const char *directory, bool upgrade, struct index **index_out, struct err *err)
{
	struct index *index = mem_alloc(sizeof(*index));
	struct opening opening = {.index = index, .upgrade = upgrade};
	int code;

	index->directory = mem_strdup(directory);
	code = mdb_env_create(&index->env);
	if (!code)
		code = index_guard(open_environment, &opening);
	if (code)
		code = index_fail(index, code, "cannot open the index", err);
	else
		code = index_start_writer(index, err);
	if (code) {
		if (index->env)
			mdb_env_close(index->env);
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
	for (size_t i = 0; i < INDEX_READERS_MAX; i++) {
		MDB_txn *txn = atomic_exchange(&index->slots[i].txn, NULL);

		if (txn)
			mdb_txn_abort(txn);
	}
	/* A write that LMDB broke off by an assertion still holds what it held: closing could run into the same damage.
	 */
	if (!atomic_load(&index->broken))
		mdb_env_close(index->env);
	free(index->directory);
	free(index);
}
