/* SPDX-License-Identifier: Apache-2.0 */
#include "store/gc.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "store/choose.h"
#include "store/closure.h"
#include "store/evict_internal.h"
#include "store/images.h"
#include "store/pins.h"
#include "store/remove.h"

#include <stdio.h>

struct gc {
	struct store *store;
	const struct gc_options *options;
	struct gc_result *result;
	struct closure gone; /* a dry run: what would be */
	struct index_root at;
};

static bool take_name(void *arg, const struct index_name *name)
{
	snprintf(arg, IMAGE_REFERENCE_MAX, "%s/%s%s%s", name->repository.upstream, name->repository.repository,
		 name->tag ? ":" : "", name->tag ? name->tag : "");
	return !name->tag;
}

/* Removes a root, or notes that it would go, and tells. ERR_NOT_FOUND: it has gone already. */
static int let_go(struct gc *gc, const struct index_root *root, enum gc_reason reason, struct err *err)
{
	char name[IMAGE_REFERENCE_MAX] = "";
	struct gc_item item = {.reason = reason, .digest = root->digest, .name = name, .last_use = root->last_use};
	struct removed removed = {0};
	size_t before = closure_count(&gc->gone);
	int code = 0;

	(void)index_list_names(gc->store->index, &root->digest, take_name, name, NULL);
	if (gc->options->dry_run) {
		removed.bytes = closure_add(&gc->gone, gc->store, &root->digest);
		removed.blobs = closure_count(&gc->gone) - before;
		code = removed.blobs > 0 ? 0 : ERR_NOT_FOUND;
	} else {
		code = remove_image(gc->store, &root->digest, &removed, err);
	}
	if (code)
		return code;
	item.bytes = removed.bytes;
	item.blobs = removed.blobs;
	gc->result->images++;
	gc->result->blobs += removed.blobs;
	gc->result->bytes += removed.bytes;
	if (gc->options->each)
		gc->options->each(gc->options->arg, &item);
	return 0;
}

static int check_on(const struct gc *gc, struct err *err)
{
	if (gc->options->go_on && !gc->options->go_on(gc->options->arg))
		return err_set(err, ERR_CANCELLED, "the clean-up was ended early");
	return 0;
}

/* Orphans. */

static bool take_root(void *arg, const struct index_root *root)
{
	((struct gc *)arg)->at = *root;
	return false;
}

static bool note(void *arg, const struct digest *digest, bool is_manifest)
{
	(void)digest;
	(void)is_manifest;
	*(bool *)arg = true;
	return false;
}

static bool note_name(void *arg, const struct index_name *name)
{
	(void)name;
	*(bool *)arg = true;
	return false;
}

/* A blob that nothing names, and that is no image: one of those may be named again by an upstream. */
static bool is_orphan(struct gc *gc, const struct index_root *root)
{
	bool wanted = false;

	return index_list_names(gc->store->index, &root->digest, note_name, &wanted, NULL) == 0 && !wanted &&
	       index_list_children(gc->store->index, &root->digest, note, &wanted, NULL) == 0 && !wanted;
}

static int drop_orphans(struct gc *gc, struct err *err)
{
	int64_t oldest = clock_wall_s() - GC_ORPHAN_AGE_S;
	struct index_root before = {0};
	int code = 0;

	while (!code) {
		gc->at.digest.algorithm = 0;
		code = index_list_roots(gc->store->index, before.digest.algorithm ? &before : NULL, take_root, gc, err);
		if (code || gc->at.digest.algorithm == 0 || gc->at.last_use > oldest)
			break;
		before = gc->at;
		if (is_orphan(gc, &before))
			code = let_go(gc, &before, GC_ORPHAN, err);
		code = code == ERR_NOT_FOUND ? 0 : code;
		if (!code)
			code = check_on(gc, err);
	}
	return code;
}

/* Limits. */

static uint64_t excess(struct gc *gc)
{
	uint64_t above = evict_excess(gc->store, false);
	uint64_t gone = 0;

	for (struct closure_member *member = gc->gone.members; member; member = member->hh.next)
		gone += member->size + ROOM_FILE_BYTES;
	return above > gone ? above - gone : 0;
}

static int drop_oldest(struct gc *gc, struct err *err)
{
	struct chooser chooser = {.store = gc->store, .gone = &gc->gone};
	struct choice choice;
	int code = index_write_uses(gc->store->index, err);

	while (!code && (gc->result->excess = excess(gc)) > 0) {
		code = choose_next(&chooser, &choice, err);
		if (code)
			break;
		code = let_go(gc, &choice.root, choice.ahead ? GC_FETCHED_AGAIN : GC_LEAST_RECENTLY_USED, err);
		if (code == ERR_NOT_FOUND || gc->options->dry_run)
			choose_pass_over(&chooser, &choice);
		code = code == ERR_NOT_FOUND ? 0 : code;
		if (!code)
			code = check_on(gc, err);
	}
	return code == ERR_NOT_FOUND ? 0 : code;
}

/* What tags and links say of what is not held, as the evicting thread does now and then. */
static int forget_names(struct gc *gc, struct err *err)
{
	struct digest after = {0};
	bool more = true;
	int code = 0;

	while (!code && more) {
		more = sweep_names(gc->store, &after);
		code = index_write(gc->store->index, NULL, 0, err);
		if (!code)
			code = check_on(gc, err);
	}
	return code;
}

int gc_run(struct store *store, const struct gc_options *options, struct gc_result *result, struct err *err)
{
	struct gc gc = {.store = store, .options = options, .result = result};
	struct sweep sweep = {0};
	int code = 0;

	*result = (struct gc_result){0};
	while (!options->dry_run && !code && sweep_step(store, &sweep))
		code = check_on(&gc, err);
	result->adopted = sweep.adopted;
	result->forgotten = sweep.missing;
	if (!code && !options->dry_run)
		code = index_write(store->index, NULL, 0, err); /* what the sweep found is in force */
	if (!code && !options->dry_run)
		result->leftover_bytes = evict_leftovers(store, false);
	if (!code)
		code = drop_orphans(&gc, err);
	if (!code)
		code = drop_oldest(&gc, err);
	if (!code && !options->dry_run)
		code = forget_names(&gc, err);
	closure_dispose(&gc.gone);
	return code;
}

const char *gc_reason_text(enum gc_reason reason)
{
	static const char *const texts[] = {
		[GC_ORPHAN] = "nothing names it",
		[GC_LEAST_RECENTLY_USED] = "least recently used, and the store is above its limits",
		[GC_FETCHED_AGAIN] =
			"as old as others that could not be fetched again now, and the store is above its limits",
	};

	return texts[reason];
}
