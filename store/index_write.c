/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changing the index. A call's changes become one group, encoded at once (only a repository's number waits for the
 * transaction), and groups form a queue. The writer thread takes the whole queue, applies it in one transaction and
 * commits: what arrives during a commit shares the next one. A group is applied whole or not at all; when a transaction
 * of many fails, each group is tried in one of its own, so that one does not take the others down.
 */
#include "store/index_internal.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "store/schema.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define DAMAGE_RETRY_MS 1000

/* Where a thread waits for its group, on that thread's stack. */
struct index_ticket {
	pthread_cond_t done_cond;
	bool done;
	int code;
	struct err *err;
};

struct commit {
	struct index *index;
	struct index_group *groups; /* a list, or the one alone */
	bool alone;
};

/* Whether any lookup may find something else now. */
static bool changes_answers(const struct commit *commit)
{
	for (struct index_group *group = commit->groups; group; group = commit->alone ? NULL : group->next)
		for (struct index_op *op = group->ops; op; op = op->next)
			if (op->kind != INDEX_USE_BLOB)
				return true;
	return false;
}

static int run_commit(void *arg)
{
	struct commit *commit = arg;
	struct index *index = commit->index;
	MDB_txn *txn;
	int code = mdb_txn_begin(index->env, NULL, 0, &txn);

	if (code)
		return code;
	/* Set until the transaction has ended in an orderly way: an assertion leaves from any line between. */
	index->writing = true;
	for (struct index_group *group = commit->groups; group && !code; group = commit->alone ? NULL : group->next)
		code = index_apply(index, txn, group->ops);
	if (code)
		mdb_txn_abort(txn);
	else
		code = mdb_txn_commit(txn);
	index->writing = false;
	/* Behind the commit, and before anybody hears of it. */
	if (code == 0 && changes_answers(commit))
		atomic_fetch_add_explicit(&index->generation, 1, memory_order_release);
	return code;
}

static int commit_groups(struct index *index, struct index_group *groups, bool alone)
{
	struct commit commit = {.index = index, .groups = groups, .alone = alone};
	int code;

	if (atomic_load(&index->broken))
		return MDB_CORRUPTED;
	code = index_guard(run_commit, &commit);
	if (index->writing) {
		atomic_store(&index->broken, true);
		index->writing = false;
	}
	return code;
}

static void free_group(struct index_group *group)
{
	while (group->ops) {
		struct index_op *op = group->ops;

		group->ops = op->next;
		free(op);
	}
	free(group);
}

static void finish_group(struct index *index, struct index_group *group, int code)
{
	struct index_ticket *ticket = group->ticket;
	struct err err = {0};

	if (!ticket) {
		if (code && !index->failing) {
			index_fail(index, code, "a change was lost", &err);
			log_error("index: %s", err.text);
		}
		index->failing = code != 0;
	}
	free_group(group);
	if (!ticket)
		return;
	pthread_mutex_lock(&index->mutex);
	ticket->code = code ? index_fail(index, code, "cannot write the index", ticket->err) : 0;
	ticket->done = true;
	pthread_cond_signal(&ticket->done_cond);
	pthread_mutex_unlock(&index->mutex);
}

/* Takes the first groups off the list, up to INDEX_COMMIT_MAX changes, and at least one. */
static struct index_group *take_batch(struct index_group **groups)
{
	struct index_group *batch = *groups, *last = batch;
	size_t count = batch->count;

	while (last->next && count + last->next->count <= INDEX_COMMIT_MAX) {
		last = last->next;
		count += last->count;
	}
	*groups = last->next;
	last->next = NULL;
	return batch;
}

static void commit_batch(struct index *index, struct index_group *groups, int *sticking)
{
	int together = *sticking ? *sticking : commit_groups(index, groups, false);

	if (index_is_damage(together)) {
		atomic_store(&index->damaged, true);
		index_replace_damaged(index);
		together = commit_groups(index, groups, false);
	}

	while (groups) {
		struct index_group *group = groups;
		int code = *sticking;

		groups = group->next;
		/* Also for a group that was alone: LMDB reports the short write of a disk that just filled up as EIO,
		 * and what it really was only the next time. */
		if (together && !*sticking)
			code = commit_groups(index, group, true);
		/* Damage may lie in one group's way; anything else would stop the others just the same. */
		if (code != MDB_CORRUPTED)
			*sticking = code;
		finish_group(index, group, code);
	}
}

static void commit_all(struct index *index, struct index_group *groups)
{
	int sticking = 0;

	while (groups)
		commit_batch(index, take_batch(&groups), &sticking);
}

/* Waits for work, and a little longer when nobody waits for it. The mutex is held. */
static void wait_for_groups(struct index *index)
{
	bool damaged = atomic_load(&index->damaged);
	struct timespec until;
	int code = 0;

	/* A damaged index that cannot be replaced now is looked at again in a moment. */
	until = clock_after_ms(DAMAGE_RETRY_MS);
	while (!index->first && !index->stopping && code != ETIMEDOUT && atomic_load(&index->damaged) && damaged)
		code = pthread_cond_timedwait(&index->wake, &index->mutex, &until);
	while (!index->first && !index->stopping && code != ETIMEDOUT && !atomic_load(&index->damaged))
		code = index->uses ? pthread_cond_timedwait(&index->wake, &index->mutex, &index->uses_due)
				   : pthread_cond_wait(&index->wake, &index->mutex);
	if (!index->first)
		return;
	until = clock_after_ms(INDEX_GATHER_MS);
	code = 0;
	while (!index->waiting && !index->stopping && code != ETIMEDOUT)
		code = pthread_cond_timedwait(&index->wake, &index->mutex, &until);
}

/* The queue, with last uses behind it when they are due. The mutex is held. */
static struct index_group *take_groups(struct index *index)
{
	struct index_group *groups = index->first, *uses = index_take_uses(index, index->stopping);

	if (groups)
		index->last->next = uses;
	else
		groups = uses;
	index->first = index->last = NULL;
	index->queued = 0;
	index->waiting = 0;
	return groups;
}

static void *run_writer(void *arg)
{
	struct index *index = arg;

	pthread_setname_np(pthread_self(), "index");
	pthread_mutex_lock(&index->mutex);
	for (;;) {
		struct index_group *groups;

		wait_for_groups(index);
		groups = take_groups(index);
		if (!groups && index->stopping)
			break;
		pthread_mutex_unlock(&index->mutex);
		if (groups)
			commit_all(index, groups);
		index_replace_damaged(index);
		pthread_mutex_lock(&index->mutex);
	}
	pthread_mutex_unlock(&index->mutex);
	return NULL;
}

int index_start_writer(struct index *index, struct err *err)
{
	pthread_condattr_t attributes;
	int code;

	pthread_mutex_init(&index->mutex, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&index->wake, &attributes);
	pthread_condattr_destroy(&attributes);
	code = pthread_create(&index->writer, NULL, run_writer, index);
	if (code) {
		pthread_cond_destroy(&index->wake);
		pthread_mutex_destroy(&index->mutex);
		return err_set_errno(err, ERR_IO, code, "cannot start the index's writer thread");
	}
	return 0;
}

void index_stop_writer(struct index *index)
{
	pthread_mutex_lock(&index->mutex);
	index->stopping = true;
	pthread_cond_signal(&index->wake);
	pthread_mutex_unlock(&index->mutex);
	pthread_join(index->writer, NULL);
	pthread_cond_destroy(&index->wake);
	pthread_mutex_destroy(&index->mutex);
}

/* Fills in the key. False when a tag or digest is none. */
static bool encode_key(const struct index_change *change, struct schema_bytes *key)
{
	switch (change->kind) {
	case INDEX_PUT_TAG:
	case INDEX_DELETE_TAG:
		return schema_put_tag(key, change->tag);
	case INDEX_PUT_PIN:
	case INDEX_DELETE_PIN:
		schema_put(key, change->tag, strnlen(change->tag, DIGEST_TEXT_MAX));
		return change->tag[0] && strnlen(change->tag, DIGEST_TEXT_MAX) < DIGEST_TEXT_MAX;
	case INDEX_DELETE_PIN_SET:
	case INDEX_PUT_SCRUB:
		return true;
	default:
		if (!digest_algorithm_name(change->digest->algorithm))
			return false;
		schema_put_digest(key, change->digest);
		return true;
	}
}

/* Fills in the value, and what of it is in a tag's key. False when a digest is none, or a text too long. */
static bool encode_value(const struct index_change *change, struct schema_bytes *key, struct schema_bytes *value)
{
	switch (change->kind) {
	case INDEX_PUT_TAG:
	case INDEX_PUT_REFERRERS:
		if (!digest_algorithm_name(change->tag_record->digest.algorithm))
			return false;
		if (change->kind == INDEX_PUT_TAG)
			schema_put_u64(key, change->tag_record->accept);
		schema_tag_value(change->tag_record, value);
		return true;
	case INDEX_PUT_REFERENCE:
		if (!digest_algorithm_name(change->child->algorithm))
			return false;
		schema_put_digest(value, change->child);
		schema_put_u8(value, change->child_is_manifest ? 1 : 0);
		return true;
	case INDEX_PUT_LINK:
		schema_link_value(&change->link, value);
		return true;
	case INDEX_PUT_BLOB:
	case INDEX_USE_BLOB:
		schema_blob_value(&change->blob, value);
		return true;
	case INDEX_PUT_SCRUB:
		schema_scrub_value(&change->scrub, value);
		return true;
	case INDEX_PUT_PIN:
		schema_text_value(change->platforms ? change->platforms : "", INDEX_PLATFORMS_MAX + 1, value);
		return value->len <= 1 + INDEX_PLATFORMS_MAX;
	default:
		return true;
	}
}

/* Fills in what the change's kind needs. False when a name, tag or digest is none. */
static bool encode(const struct index_change *change, struct schema_bytes *name, struct schema_bytes *key,
		   struct schema_bytes *value)
{
	bool pin = change->kind >= INDEX_PUT_PIN && change->kind <= INDEX_DELETE_PIN_SET;
	bool named = change->kind < INDEX_PUT_BLOB || change->kind == INDEX_PUT_PIN || change->kind == INDEX_DELETE_PIN;

	name->len = key->len = value->len = 0;
	if (named && !schema_name(&change->repository, name))
		return false;
	if (pin && !schema_put_pin_name(key, change->pin))
		return false;
	return encode_key(change, key) && encode_value(change, key, value);
}

struct index_group *index_group_new(const struct index_change *changes, size_t count)
{
	struct index_group *group = mem_alloc(sizeof(*group));
	struct index_op **end = &group->ops;

	group->count = count;
	for (size_t i = 0; i < count; i++) {
		struct schema_bytes name, key, value;
		struct index_op *op;

		if (!encode(&changes[i], &name, &key, &value)) {
			free_group(group);
			return NULL;
		}
		op = mem_alloc(sizeof(*op) + name.len + key.len + value.len);
		op->kind = changes[i].kind;
		op->name_len = (uint16_t)name.len;
		op->key_len = (uint16_t)key.len;
		op->value_len = (uint16_t)value.len;
		memcpy(op->bytes, name.bytes, name.len);
		memcpy(op->bytes + name.len, key.bytes, key.len);
		memcpy(op->bytes + name.len + key.len, value.bytes, value.len);
		*end = op;
		end = &op->next;
	}
	return group;
}

/* The mutex is held. */
static void enqueue(struct index *index, struct index_group *group)
{
	assert(!index->stopping);
	if (!index->first || group->ticket)
		pthread_cond_signal(&index->wake);
	if (index->last)
		index->last->next = group;
	else
		index->first = group;
	index->last = group;
	index->queued += group->count;
	index->waiting += group->ticket ? 1 : 0;
}

/* The group has this ticket. The mutex is held. */
static int enqueue_and_wait(struct index *index, struct index_group *group, struct index_ticket *ticket)
{
	enqueue(index, group);
	while (!ticket->done)
		pthread_cond_wait(&ticket->done_cond, &index->mutex);
	pthread_cond_destroy(&ticket->done_cond);
	return ticket->code;
}

int index_write(struct index *index, const struct index_change *changes, size_t count, struct err *err)
{
	struct index_group *group = index_group_new(changes, count);
	struct index_ticket ticket = {.done_cond = PTHREAD_COND_INITIALIZER, .err = err};
	int code;

	if (!group)
		return err_set(err, ERR_INVALID, "a name, tag or digest cannot be put into the index");
	group->ticket = &ticket;
	pthread_mutex_lock(&index->mutex);
	code = enqueue_and_wait(index, group, &ticket);
	pthread_mutex_unlock(&index->mutex);
	return code;
}

int index_write_uses(struct index *index, struct err *err)
{
	struct index_ticket ticket = {.done_cond = PTHREAD_COND_INITIALIZER, .err = err};
	struct index_group *group;
	int code = 0;

	pthread_mutex_lock(&index->mutex);
	group = index_take_uses(index, true);
	if (group) {
		group->ticket = &ticket;
		code = enqueue_and_wait(index, group, &ticket);
	}
	pthread_mutex_unlock(&index->mutex);
	return code;
}

int index_write_later(struct index *index, const struct index_change *changes, size_t count)
{
	struct index_group *group = index_group_new(changes, count);
	int code = 0;

	if (!group)
		return ERR_INVALID;
	pthread_mutex_lock(&index->mutex);
	if (count > INDEX_QUEUE_MAX || index->queued > INDEX_QUEUE_MAX - count)
		code = ERR_LIMIT;
	else
		enqueue(index, group);
	pthread_mutex_unlock(&index->mutex);
	if (code)
		free_group(group);
	return code;
}
