/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A damaged index. Damage is met in the middle of LMDB, which answers with an error, fails an assertion, or touches
 * memory of the map that is not there: index_guard() makes an error of each. From then on the index is in question: the
 * writer thread puts an empty one in its place, between two commits and with no lookup under way, and what can still be
 * read of the old one is rescued from behind (rescue.c).
 */
#include "store/index_internal.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define REPLACE_PAUSE_MS 60000 /* an index that is damaged again at once is no use to anybody */

/* Guarding. */

static _Thread_local jmp_buf *guard;
static struct sigaction previous_segv, previous_bus;

/* Damage leads LMDB to places of the map where the file has nothing, and to pages that it has not got. A fault outside
 * of the guards is a bug, and ends the program as ever: back there it comes again, and meets who was there before. */
static void on_fault(int number, siginfo_t *info, void *context)
{
	(void)info;
	(void)context;
	if (guard)
		longjmp(*guard, 1);
	sigaction(number, number == SIGBUS ? &previous_bus : &previous_segv, NULL);
}

static void install(int number, struct sigaction *previous)
{
	struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK}, now;

	sigemptyset(&action.sa_mask);
	sigaction(number, NULL, &now);
	if (now.sa_sigaction == on_fault)
		return;
	*previous = now;
	sigaction(number, &action, NULL);
}

void index_install_guard(void)
{
	install(SIGSEGV, &previous_segv);
	install(SIGBUS, &previous_bus);
}

void index_assertion_failed(MDB_env *env, const char *message)
{
	(void)env;
	log_error("index: damaged: %s", message);
	if (guard)
		longjmp(*guard, 1);
}

int index_guard(int (*body)(void *arg), void *arg)
{
	jmp_buf here, *volatile outer = guard;
	int code;

	guard = &here;
	if (setjmp(here))
		code = MDB_CORRUPTED;
	else
		code = body(arg);
	guard = outer;
	return code;
}

bool index_is_damage(int code)
{
	return code == MDB_CORRUPTED || code == MDB_PAGE_NOTFOUND || code == MDB_INVALID ||
	       code == MDB_VERSION_MISMATCH || code == MDB_CURSOR_FULL || code == MDB_PAGE_FULL ||
	       code == MDB_INCOMPATIBLE || code == MDB_BAD_TXN;
}

void index_note_damage(struct index *index)
{
	if (atomic_exchange(&index->damaged, true) || index->is_old)
		return;
	log_error("index: %s is damaged; a new one is made of the blobs, and of what can still be read",
		  index->directory);
	pthread_mutex_lock(&index->mutex);
	pthread_cond_signal(&index->wake);
	pthread_mutex_unlock(&index->mutex);
}

/* Replacing. */

static void remove_directory(const char *directory)
{
	static const char *const files[] = {"data.mdb", "lock.mdb"};

	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		_cleanup_free_ char *path = mem_printf("%s/%s", directory, files[i]);

		unlink(path);
	}
	rmdir(directory);
}

/* Ends all idle read transactions, until there are none that are not idle. */
void index_await_no_lookup(struct index *index)
{
	while (atomic_load(&index->txns) > 0) {
		for (size_t i = 0; i < INDEX_READERS_MAX; i++) {
			MDB_txn *txn = atomic_exchange(&index->slots[i].txn, NULL);

			if (txn) {
				mdb_txn_abort(txn);
				atomic_fetch_sub(&index->txns, 1);
			}
		}
		sched_yield();
	}
}

int index_move_aside(const char *directory)
{
	_cleanup_free_ char *aside = mem_printf("%s" INDEX_DAMAGED_SUFFIX, directory);

	remove_directory(aside);
	return rename(directory, aside) < 0 ? errno : 0;
}

/* Opens an empty index beside, puts it in the place of the one there is, and gives that back; NULL: not now. */
static struct index *swap(struct index *index)
{
	_cleanup_free_ char *beside = mem_printf("%s.fresh", index->directory);
	struct index *other = mem_alloc(sizeof(*other));
	int code;

	remove_directory(beside);
	other->is_old = true;
	other->directory = beside;
	code = mkdir(beside, 0750) < 0 ? errno : index_open_environment(other, &(struct index_options){0});
	other->directory = NULL;
	atomic_store(&index->closing, true);
	index_await_no_lookup(index);
	if (!code)
		code = index_move_aside(index->directory);
	if (!code && rename(beside, index->directory) < 0)
		code = errno;
	if (!code) {
		index_swap_handles(index, other);
		other->directory = mem_printf("%s" INDEX_DAMAGED_SUFFIX, index->directory);
		atomic_store(&other->broken, atomic_exchange(&index->broken, false));
		atomic_store(&index->damaged, false);
		atomic_fetch_add(&index->generation, 1);
	}
	atomic_store(&index->closing, false);
	if (!code)
		return other;
	log_error("index: no new one can be made: %s", code > 0 ? strerrordesc_np(code) : mdb_strerror(code));
	if (other->env)
		mdb_env_close(other->env);
	free(other);
	return NULL;
}

void index_replace_damaged(struct index *index)
{
	struct index *old;

	if (!atomic_load(&index->damaged) || atomic_load(&index->old) ||
	    (index->replaced_ms > 0 && clock_ms() - index->replaced_ms < REPLACE_PAUSE_MS))
		return;
	old = swap(index);
	index->replaced_ms = clock_ms();
	if (old)
		atomic_store(&index->old, old);
}

/* What was replaced. */

struct index *index_old(struct index *index)
{
	return atomic_load(&index->old);
}

struct index *index_open_old(const char *directory)
{
	struct index *old = mem_alloc(sizeof(*old));

	old->is_old = true;
	old->directory = mem_strdup(directory);
	if (index_open_environment(old, &(struct index_options){0}) == 0)
		return old;
	index_close_old(old);
	return NULL;
}

struct index *index_take_old(struct index *index, struct index *old)
{
	return atomic_exchange(&index->old, old);
}

void index_close_old(struct index *old)
{
	if (!old)
		return;
	index_await_no_lookup(old);
	/* A write that was broken off in the middle still holds what it held: closing could run into the same damage.
	 */
	if (old->env && !atomic_load(&old->broken))
		mdb_env_close(old->env);
	free(old->directory);
	free(old);
}

void index_remove_damaged(struct index *index)
{
	_cleanup_free_ char *aside = mem_printf("%s" INDEX_DAMAGED_SUFFIX, index->directory);

	remove_directory(aside);
}
