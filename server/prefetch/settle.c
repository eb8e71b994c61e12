/* SPDX-License-Identifier: Apache-2.0 */
#include "server/prefetch/prefetch_internal.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <stdlib.h>
#include <utlist.h>

#define LOOK_AGAIN_MS 1000

void settle_failure(struct run *run, struct image *image, const struct part *part, const struct err *err)
{
	static const char *const kinds[] = {[PART_MANIFEST] = "manifest",
					    [PART_CONFIG] = "configuration",
					    [PART_LAYER] = "layer",
					    [PART_REFERRERS] = "list of referrers of",
					    [PART_SIGNATURE] = "signature of"};
	char text[DIGEST_TEXT_MAX];

	if (part_is_blob(part))
		job_add(run->job, JOB_LAYERS_FAILED, 1);
	pthread_mutex_lock(&run->lock);
	if (image->err.code == 0 && part->digest.algorithm)
		err_set(&image->err, err->code, "%s %s: %s", kinds[part->kind], digest_format(&part->digest, text),
			err->text);
	else if (image->err.code == 0)
		image->err = *err;
	pthread_mutex_unlock(&run->lock);
}

void settle_image(struct run *run, struct image *image)
{
	_cleanup_free_ char *name = image_name(image);
	bool last;

	pthread_mutex_lock(&run->lock);
	last = --image->open == 0;
	pthread_mutex_unlock(&run->lock);
	if (!last || job_is_stopping(run->job))
		return;
	if (image->err.code)
		job_fail(run->job, name, &image->err);
	job_add(run->job, image->err.code ? JOB_IMAGES_FAILED : JOB_IMAGES_DONE, 1);
}

void settle(struct run *run, const struct fetched *fetched)
{
	struct settler *settler = &run->settler;
	struct fetched *own = mem_alloc(sizeof(*own));

	*own = *fetched;
	call_init(&own->call, &settler->baton);
	pthread_mutex_lock(&run->lock);
	while (settler->count >= SETTLING_MAX && !job_is_stopping(run->job))
		pthread_cond_wait(&settler->room, &run->lock);
	own->image->open++;
	settler->count++;
	DL_APPEND(settler->arrivals, own);
	pthread_mutex_unlock(&run->lock);
	baton_wake(&settler->baton);
}

static void fetched_free(struct fetched *fetched)
{
	pull_blob_close(fetched->blob);
	pull_manifest_close(fetched->manifest);
	free(fetched);
}

/* It is published, or cannot be. */
static void end(struct run *run, struct fetched *fetched, int code, const struct err *err)
{
	if (code == 0 && fetched->blob && fetched->counts)
		job_add(run->job, JOB_LAYERS_DONE, 1);
	if (code)
		job_add(run->job, JOB_BYTES_FETCHED, -(int64_t)fetched->arrived);
	if (code)
		settle_failure(run, fetched->image, &fetched->part, err);
	settle_image(run, fetched->image);
	fetched_free(fetched);
	pthread_mutex_lock(&run->lock);
	run->settler.count--;
	pthread_cond_signal(&run->settler.room);
	pthread_mutex_unlock(&run->lock);
}

/* Looks at those that were woken. Whether any has ended. */
static bool look(struct run *run, struct fetched **list)
{
	struct fetched *fetched, *next;
	bool moved = false;

	DL_FOREACH_SAFE (*list, fetched, next) {
		struct err err = {0};
		int code;

		if (!call_take(&fetched->call))
			continue;
		code = fetched->blob ? pull_blob_poll(fetched->blob, &fetched->call.waiter, &err)
				     : pull_manifest_poll_kept(fetched->manifest, &fetched->call.waiter, &err);
		if (code == ERR_AGAIN)
			continue;
		DL_DELETE(*list, fetched);
		end(run, fetched, code, &err);
		moved = true;
	}
	return moved;
}

void *settler_main(void *arg)
{
	struct run *run = arg;
	struct settler *settler = &run->settler;
	struct fetched *list = NULL, *fetched, *next;
	bool over = false;

	pthread_setname_np(pthread_self(), "prefetch-settle");
	while (!over) {
		bool moved = look(run, &list);

		pthread_mutex_lock(&run->lock);
		moved |= settler->arrivals != NULL;
		DL_CONCAT(list, settler->arrivals);
		settler->arrivals = NULL;
		over = (settler->ending && !list) || (settler->ending && job_is_stopping(run->job));
		pthread_mutex_unlock(&run->lock);
		if (!moved && !over)
			baton_wait(&settler->baton, LOOK_AGAIN_MS);
	}
	DL_FOREACH_SAFE (list, fetched, next)
		fetched_free(fetched);
	return NULL;
}

void settler_end(struct run *run)
{
	pthread_mutex_lock(&run->lock);
	run->settler.ending = true;
	pthread_mutex_unlock(&run->lock);
	baton_wake(&run->settler.baton);
}
