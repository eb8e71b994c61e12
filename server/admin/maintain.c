/* SPDX-License-Identifier: Apache-2.0 */
/* Cleaning up and verifying, as jobs. */
#include "server/admin/admin_internal.h"

#include "base/cleanup.h"
#include "base/count.h"
#include "server/pull/heal.h"
#include "store/gc.h"
#include "store/index.h"
#include "store/store.h"
#include "store/verify.h"

#include <string.h>

#define ITEMS_MAX 10000 /* that a result lists */

static json_t *number(uint64_t value)
{
	return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

/* What a job knows while it runs. */
struct work_on {
	struct admin *admin;
	struct job *job;
	json_t *items;
	bool heal;
	uint64_t healed;
	struct verify_result found;
	uint64_t shown_blobs, shown_bytes; /* as the job's counts */
};

static bool go_on(void *arg)
{
	return !job_is_stopping(((const struct work_on *)arg)->job);
}

/* Cleaning up. */

static void note_removed(void *arg, const struct gc_item *item)
{
	struct work_on *on = arg;
	char digest[DIGEST_TEXT_MAX];

	job_add(on->job, JOB_IMAGES_TOTAL, 1);
	job_add(on->job, JOB_IMAGES_DONE, 1);
	if (json_array_size(on->items) < ITEMS_MAX)
		json_array_append_new(on->items,
				      json_pack("{s:s, s:s, s:s, s:o, s:o, s:I}", "image", item->name, "digest",
						digest_format(&item->digest, digest), "reason",
						gc_reason_text(item->reason), "bytes", number(item->bytes), "blobs",
						number(item->blobs), "last_use", (json_int_t)item->last_use));
}

int admin_run_gc(void *arg, struct job *job, const json_t *request, struct err *err)
{
	struct admin *admin = arg;
	struct work_on on = {.admin = admin, .job = job, .items = json_array()};
	struct gc_options options = {.dry_run = json_is_true(json_object_get(request, "dry_run")),
				     .each = note_removed,
				     .go_on = go_on,
				     .arg = &on};
	struct gc_result result = {0};
	int code = gc_run(admin->store, &options, &result, err);

	job_set_result(job, json_pack("{s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "dry_run", options.dry_run,
				      "images", number(result.images), "blobs", number(result.blobs), "bytes",
				      number(result.bytes), "leftover_bytes", number(result.leftover_bytes), "adopted",
				      number(result.adopted), "forgotten", number(result.forgotten), "excess",
				      number(result.excess), "items", on.items));
	return code;
}

/* Verifying. */

/* Beside what is read. */
static void note_fetched(struct work_on *on, uint64_t size)
{
	job_add(on->job, JOB_BYTES_TOTAL, (int64_t)size);
	job_add(on->job, JOB_BYTES_FETCHED, (int64_t)size);
}

static void note_damaged(void *arg, const struct verify_item *item)
{
	struct work_on *on = arg;
	char digest[DIGEST_TEXT_MAX];
	struct err err = {0}, why;
	int code = on->heal ? pull_heal(on->admin->pull, &item->digest, &err) : 0;
	bool healed = on->heal && code == 0;

	err_set(&why, item->code, "%s%s%s", item->why, code ? "; not healed: " : "", code ? err.text : "");
	digest_format(&item->digest, digest);
	job_add(on->job, healed ? JOB_LAYERS_DONE : JOB_LAYERS_FAILED, 1);
	on->healed += healed;
	if (healed)
		note_fetched(on, item->size);
	else
		job_fail(on->job, digest, &why);
	if (json_array_size(on->items) < ITEMS_MAX)
		json_array_append_new(on->items,
				      json_pack("{s:s, s:o, s:o, s:b}", "digest", digest, "size", number(item->size),
						"why", admin_words(why.text), "healed", healed));
}

/* What was found, and set aside, before this job. */
static bool heal_lost(void *arg, const struct digest *digest)
{
	struct work_on *on = arg;
	char text[DIGEST_TEXT_MAX];
	struct err err = {0};
	uint64_t size = 0;
	int code = pull_heal(on->admin->pull, digest, &err);

	digest_format(digest, text);
	if (code) {
		err_set(&err, code, "it is lost; not healed: %s", err.text);
		job_fail(on->job, text, &err);
	} else if (store_find_blob(on->admin->store, digest, &size, &err) == 0) {
		on->healed++;
		note_fetched(on, size);
	}
	if (json_array_size(on->items) < ITEMS_MAX)
		json_array_append_new(on->items, json_pack("{s:s, s:o, s:s, s:b}", "digest", text, "size", number(size),
							   "why", "it was lost before", "healed", code == 0));
	return go_on(on);
}

static void show_verified(struct work_on *on)
{
	uint64_t blobs = count_read(&on->found.blobs), bytes = count_read(&on->found.bytes);

	job_add(on->job, JOB_LAYERS_DONE, (int64_t)(blobs - on->shown_blobs));
	job_add(on->job, JOB_BYTES_HELD, (int64_t)(bytes - on->shown_bytes));
	on->shown_blobs = blobs;
	on->shown_bytes = bytes;
}

static bool show_and_go_on(void *arg)
{
	show_verified(arg);
	return go_on(arg);
}

int admin_run_verify(void *arg, struct job *job, const json_t *request, struct err *err)
{
	struct admin *admin = arg;
	struct work_on on = {.admin = admin,
			     .job = job,
			     .items = json_array(),
			     .heal = json_is_true(json_object_get(request, "heal"))};
	struct verify_options options = {.each = note_damaged, .go_on = show_and_go_on, .arg = &on};
	struct index_totals totals = {0};
	struct err ignored;
	int code = 0;

	if (on.heal)
		code = verify_list_lost(admin->store, heal_lost, &on, err);
	index_get_totals(store_index(admin->store), &totals, &ignored);
	job_add(job, JOB_LAYERS_TOTAL, (int64_t)totals.blobs);
	job_add(job, JOB_BYTES_TOTAL, (int64_t)totals.bytes);
	if (code == 0)
		code = verify_run(admin->store, &options, &on.found, err);
	show_verified(&on);
	job_set_result(job, json_pack("{s:b, s:o, s:o, s:o, s:o, s:o}", "heal", on.heal, "blobs",
				      number(on.found.blobs), "bytes", number(on.found.bytes), "damaged",
				      number(on.found.damaged), "healed", number(on.healed), "items", on.items));
	return code;
}

/* Routes. */

/* A body that may say one thing, yes or no. */
static void start_with_flag(struct admin_visit *visit, const char *kind, const char *flag)
{
	json_t *request = admin_body(visit), *value;
	_cleanup_free_ char *message = NULL;
	const char *key;

	if (!request)
		return;
	json_object_foreach(request, key, value)
	{
		if (strcmp(key, flag) == 0 && json_is_boolean(value))
			continue;
		message = mem_printf("the body may say \"%s\": true or false, and nothing else", flag);
		admin_reply_error(visit, 400, "invalid", message);
		json_decref(request);
		return;
	}
	admin_start_job(visit, kind, request);
}

void admin_start_gc(struct admin_visit *visit)
{
	start_with_flag(visit, "gc", "dry_run");
}

void admin_start_verify(struct admin_visit *visit)
{
	start_with_flag(visit, "verify", "heal");
}
