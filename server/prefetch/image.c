/* SPDX-License-Identifier: Apache-2.0 */
/* One image: its manifests and blobs, some of them side by side. Layers have as many slots as were asked for; what is
 * small, and costs a round trip rather than bytes, has as many again, so that it does not wait behind them. A slot is
 * free once its bytes are here and right: that they are published is settle.c's to see. */
#include "server/prefetch/prefetch_internal.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "server/pull/referrers_list.h"
#include "store/manifest.h"
#include "store/pins.h"
#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#define PROGRESS_MS 250

/* A part that is being fetched. */
struct slot {
	struct call call;        /* first */
	const struct part *part; /* NULL: free */
	struct part copy;        /* as the list may move */
	struct pull_manifest *manifest;
	struct pull_blob *blob;
	struct pull_referrers *referrers;
	bool counts;      /* the run meets it for the first time */
	uint64_t arrived; /* counted so far */
};

struct fetch {
	struct run *run;
	struct baton *baton;
	struct image *image;
	const char *name; /* the image's */
	struct parts parts;
	struct slot *slots;
	struct digest digest; /* of the image; algorithm 0: not known yet */
	bool inside;          /* run_enter() let it in */
	uint64_t bytes, held; /* of a dry run */
};

static unsigned slot_count(const struct fetch *fetch)
{
	return 2 * fetch->run->wanted.layers_at_once;
}

/* Counting. */

static void count_whole(struct fetch *fetch, uint64_t size, bool held)
{
	struct job *job = fetch->run->job;

	job_add(job, JOB_BYTES_TOTAL, (int64_t)size);
	job_add(job, held ? JOB_BYTES_HELD : JOB_BYTES_FETCHED, (int64_t)size);
}

/* What has arrived of a blob counts as it comes. */
static void count_arrived(struct fetch *fetch, struct slot *slot, uint64_t arrived)
{
	if (!slot->counts)
		return;
	job_add(fetch->run->job, JOB_BYTES_FETCHED, (int64_t)(arrived - slot->arrived));
	slot->arrived = arrived;
}

/* Manifests. */

/* The list of what refers to a manifest; and what cosign keeps beside it instead, under tags made of the digest. */
static void add_companions(struct fetch *fetch, const struct digest *subject)
{
	struct part part = {.kind = PART_REFERRERS, .digest = *subject, .optional = true};
	char tag[REFERRERS_TAG_MAX];
	struct err err;

	if (!fetch->run->wanted.referrers)
		return;
	parts_add(&fetch->parts, &part, &err);
	part.kind = PART_SIGNATURE;
	for (size_t i = 1; i < REFERRERS_SUFFIXES; i++) {
		referrers_tag(&part.digest, referrers_suffixes[i], tag);
		part.reference = mem_strdup(tag);
		if (parts_add(&fetch->parts, &part, &err))
			free(part.reference);
	}
}

/* Before what is pinned comes, so that nothing of it is evicted again. */
static void pin(struct fetch *fetch, const struct part *part)
{
	const struct image *image = fetch->image;
	const struct wanted *wanted = &fetch->run->wanted;
	_cleanup_free_ char *platforms = wanted_platforms(wanted);
	struct index_pin reference = {.repository = {pull_upstream_name(image->upstream), image->repository},
				      .reference = image->reference,
				      .platforms = platforms};
	struct err err;

	if (wanted->pin && !wanted->dry_run && pin_add(fetch->run->store, wanted->pin, &reference, 1, &err)) {
		log_warn("cannot pin %s/%s: %s", reference.repository.upstream, image->repository, err.text);
		settle_failure(fetch->run, fetch->image, part, &err);
	}
}

static int take_manifest(struct fetch *fetch, struct slot *slot, struct err *err)
{
	const struct pull_status *status = pull_manifest_status(slot->manifest);
	const struct digest *digest = pull_manifest_digest(slot->manifest);
	uint64_t size = pull_manifest_size(slot->manifest);
	bool first = fetch->digest.algorithm == 0;

	if (status->outcome == PULL_STALE)
		return err_set(err, ERR_UPSTREAM, "the upstream cannot be asked what it means now: %.150s",
			       status->why);
	if (run_meet(fetch->run, digest))
		count_whole(fetch, size, status->outcome == PULL_HIT);
	fetch->bytes += size;
	fetch->held += status->outcome == PULL_HIT ? size : 0;
	if (first) {
		fetch->digest = *digest;
		add_companions(fetch, digest);
		pin(fetch, slot->part);
	}
	if (slot->part->platform && fetch->run->wanted.platform_referrers)
		add_companions(fetch, digest);
	return parts_read_manifest(&fetch->parts, &fetch->run->wanted, pull_manifest_data(slot->manifest), size,
				   slot->part, err);
}

/* The rest of an image follows when its config, which is held by now, says a platform that is wanted. */
static int take_platform(struct fetch *fetch, const struct part *config, struct err *err)
{
	char platform[MANIFEST_PLATFORM_MAX] = "";
	size_t len;
	_cleanup_free_ char *data = manifest_load(fetch->run->store, &config->digest, &len);

	if (data)
		manifest_config_platform(data, len, platform);
	if (wanted_has_platform(&fetch->run->wanted, platform))
		return parts_read_rest(&fetch->parts, config, err);
	return config->depth > 0
		       ? 0
		       : err_set(err, ERR_NOT_FOUND, "it is of %s, which is none of the platforms asked for", platform);
}

/* There is one: HEAD said so. */
static int take_signature(struct fetch *fetch, struct slot *slot, struct err *err)
{
	struct part part = {
		.kind = PART_MANIFEST, .reference = mem_strdup(slot->part->reference), .depth = 1, .judged = true};
	int code = parts_add(&fetch->parts, &part, err);

	if (code)
		free(part.reference);
	return code;
}

static int take_referrers(struct fetch *fetch, struct slot *slot, struct err *err)
{
	size_t len;
	const char *data = pull_referrers_data(slot->referrers, &len);

	return parts_read_referrers(&fetch->parts, data, len, slot->part->depth, err);
}

/* Slots. */

static void open_manifest(struct fetch *fetch, struct slot *slot)
{
	const struct image *image = fetch->image;
	const struct part *part = slot->part;
	char digest[DIGEST_TEXT_MAX];

	slot->manifest = pull_manifest_open(fetch->run->pull, image->upstream, image->repository,
					    part->reference ? part->reference : digest_format(&part->digest, digest),
					    NULL, part->kind == PART_SIGNATURE);
	pull_manifest_defer(slot->manifest);
}

static void open_blob(struct fetch *fetch, struct slot *slot)
{
	struct run *run = fetch->run;
	const struct part *part = slot->part;

	slot->counts = run_meet(run, &part->digest);
	if (slot->counts) {
		job_add(run->job, JOB_LAYERS_TOTAL, 1);
		job_add(run->job, JOB_BYTES_TOTAL, (int64_t)part->size);
	}
	slot->blob = pull_blob_open_ahead(run->pull, fetch->image->upstream, fetch->image->repository, &part->digest);
}

static void slot_open(struct fetch *fetch, struct slot *slot, const struct part *part)
{
	struct pull *pull = fetch->run->pull;
	const struct image *image = fetch->image;

	*slot = (struct slot){.copy = *part};
	slot->part = &slot->copy;
	call_init(&slot->call, fetch->baton);
	switch (part->kind) {
	case PART_MANIFEST:
	case PART_SIGNATURE:
		open_manifest(fetch, slot);
		break;
	case PART_CONFIG:
	case PART_LAYER:
		open_blob(fetch, slot);
		break;
	case PART_REFERRERS:
		slot->referrers = pull_referrers_open(pull, image->upstream, image->repository, &part->digest, NULL);
		pull_referrers_defer(slot->referrers);
		break;
	}
}

static void slot_close(struct slot *slot)
{
	pull_manifest_close(slot->manifest);
	pull_blob_close(slot->blob);
	pull_referrers_close(slot->referrers);
	*slot = (struct slot){0};
}

static int slot_poll(struct slot *slot, struct err *err)
{
	struct waiter *waiter = &slot->call.waiter;

	if (slot->blob && slot->part->manifest)
		return pull_blob_poll(slot->blob, waiter, err); /* it is read before more is fetched */
	if (slot->blob)
		return pull_blob_poll_fetched(slot->blob, waiter, err);
	return slot->manifest ? pull_manifest_poll(slot->manifest, waiter, err)
			      : pull_referrers_poll(slot->referrers, waiter, err);
}

/* It is here, if it was not before. */
static void count_blob(struct fetch *fetch, struct slot *slot)
{
	bool held = pull_blob_status(slot->blob)->outcome == PULL_HIT;
	uint64_t size = pull_blob_size(slot->blob);

	if (!slot->counts)
		return;
	job_add(fetch->run->job, JOB_BYTES_TOTAL, (int64_t)(size - slot->part->size)); /* if it was not told */
	if (held)
		job_add(fetch->run->job, JOB_BYTES_HELD, (int64_t)size);
	else
		count_arrived(fetch, slot, size);
}

/* What is fetched leaves the slot to the next; until it is held too, the settler has it. */
static void hand_over(struct fetch *fetch, struct slot *slot)
{
	struct fetched fetched = {.image = fetch->image,
				  .part = {.kind = slot->part->kind, .digest = slot->part->digest},
				  .counts = slot->counts,
				  .arrived = slot->arrived};

	fetched.blob = take_pointer(slot->blob);
	fetched.manifest = take_pointer(slot->manifest);
	settle(fetch->run, &fetched);
}

static void slot_done(struct fetch *fetch, struct slot *slot, int code, struct err *err)
{
	const struct part *part = slot->part;

	if (code == 0) {
		switch (part->kind) {
		case PART_MANIFEST:
			code = take_manifest(fetch, slot, err);
			if (code == 0)
				hand_over(fetch, slot);
			break;
		case PART_CONFIG:
		case PART_LAYER:
			count_blob(fetch, slot);
			hand_over(fetch, slot);
			if (part->manifest && take_platform(fetch, part, err))
				settle_failure(fetch->run, fetch->image, &(struct part){.kind = PART_MANIFEST}, err);
			break;
		case PART_REFERRERS:
			code = take_referrers(fetch, slot, err);
			break;
		case PART_SIGNATURE:
			code = take_signature(fetch, slot, err);
			break;
		}
	}
	if (code && slot->blob)
		count_arrived(fetch, slot, 0);
	/* A registry need not know of signatures at all. */
	if (code && !(part->optional && (code == ERR_NOT_FOUND || code == ERR_DENIED)) && part->kind != PART_SIGNATURE)
		settle_failure(fetch->run, fetch->image, part, err);
}

/* A dry run asks for manifests alone, which say what the rest would be. */
static bool is_only_told(struct fetch *fetch, const struct part *part)
{
	struct run *run = fetch->run;
	uint64_t size;
	struct err err;
	bool held;

	if (!run->wanted.dry_run || !part_is_blob(part))
		return false;
	held = store_find_blob(run->store, &part->digest, &size, &err) == 0;
	fetch->bytes += part->size;
	fetch->held += held ? part->size : 0;
	if (run_meet(run, &part->digest)) {
		job_add(run->job, JOB_LAYERS_TOTAL, 1);
		job_add(run->job, JOB_BYTES_TOTAL, (int64_t)part->size);
		job_add(run->job, JOB_BYTES_HELD, held ? (int64_t)part->size : 0);
	}
	return true;
}

/* The image. */

/* The next part for a slot, layers in the even ones. What may be asked ahead of the image's turn is its own manifest,
 * and whether there is something that refers to it. */
static const struct part *next_part(struct fetch *fetch, unsigned slot)
{
	const struct part *part = NULL;

	if (!fetch->inside && run_enter(fetch->run, fetch->image)) {
		fetch->inside = true;
		job_begin(fetch->run->job, fetch->name);
	}
	if (slot % 2 == 0)
		return fetch->inside ? parts_next(&fetch->parts, PARTS_LAYERS) : NULL;
	if (fetch->inside || !fetch->digest.algorithm)
		part = parts_next(&fetch->parts, PARTS_SMALL);
	return part ? part : parts_next(&fetch->parts, PARTS_COMPANIONS);
}

/* Fills free slots and looks at those that were woken. False: nothing is left to do. */
static bool turn(struct fetch *fetch, bool *moved)
{
	bool any = false;

	for (unsigned i = 0; i < slot_count(fetch); i++) {
		struct slot *slot = &fetch->slots[i];
		const struct part *part;
		struct err err = {0};
		int code;

		while (!slot->part && (part = next_part(fetch, i)))
			if (!is_only_told(fetch, part))
				slot_open(fetch, slot, part);
		any |= slot->part != NULL;
		if (!slot->part || !call_take(&slot->call))
			continue;
		code = slot_poll(slot, &err);
		if (code == ERR_AGAIN)
			continue;
		slot_done(fetch, slot, code, &err);
		slot_close(slot);
		*moved = true;
	}
	return any || (fetch->digest.algorithm && !fetch->inside);
}

static void show_progress(struct fetch *fetch)
{
	for (unsigned i = 0; i < slot_count(fetch); i++)
		if (fetch->slots[i].blob)
			count_arrived(fetch, &fetch->slots[i], pull_blob_arrived(fetch->slots[i].blob));
}

static void fetch_parts(struct fetch *fetch)
{
	fetch->slots = mem_alloc(slot_count(fetch) * sizeof(*fetch->slots));
	while (!job_is_stopping(fetch->run->job)) {
		bool moved = false;

		if (!turn(fetch, &moved))
			break;
		if (!moved) {
			show_progress(fetch);
			baton_wait(fetch->baton, PROGRESS_MS);
		}
	}
	for (unsigned i = 0; i < slot_count(fetch); i++)
		slot_close(&fetch->slots[i]);
	free(fetch->slots);
	parts_dispose(&fetch->parts);
	if (fetch->inside)
		job_end(fetch->run->job, fetch->name);
	run_leave(fetch->run, fetch->image);
}

static void note_plan(struct fetch *fetch)
{
	char text[DIGEST_TEXT_MAX];
	struct run *run = fetch->run;

	pthread_mutex_lock(&run->lock);
	if (fetch->image->err.code == 0)
		json_array_append_new(run->plan, json_pack("{s:s, s:s, s:I, s:I}", "image", fetch->name, "digest",
							   digest_format(&fetch->digest, text), "bytes",
							   (json_int_t)fetch->bytes, "held", (json_int_t)fetch->held));
	pthread_mutex_unlock(&run->lock);
}

void image_fetch(struct run *run, struct baton *baton, struct image *image)
{
	_cleanup_free_ char *name = image_name(image);
	struct fetch fetch = {.run = run, .baton = baton, .image = image, .name = name};
	struct part first = {.kind = PART_MANIFEST, .reference = mem_strdup(image->reference)};
	struct err err;

	parts_add(&fetch.parts, &first, &err);
	fetch_parts(&fetch);
	if (fetch.digest.algorithm && run->wanted.dry_run && !job_is_stopping(run->job))
		note_plan(&fetch);
	settle_image(run, image);
}
