/* SPDX-License-Identifier: Apache-2.0 */
#include "server/files/files_internal.h"

#include "base/buf.h"

#include <assert.h>
#include <stdlib.h>

struct files *files_new(const struct files_options *options)
{
	struct files *files = mem_alloc(sizeof(*files));

	assert(options->interval >= LAYER_INTERVAL_MIN && options->interval <= LAYER_INTERVAL_MAX);
	files->pull = options->pull;
	files->store = options->store;
	files->interval = options->interval;
	pthread_mutex_init(&files->lock, NULL);
	pthread_cond_init(&files->built, NULL);
	if (options->while_filling)
		files->filling = filling_start(files);
	return files;
}

void files_free(struct files *files)
{
	if (!files)
		return;
	filling_stop(files->filling);
	assert(!files->building);
	contents_free_all(files);
	pthread_cond_destroy(&files->built);
	pthread_mutex_destroy(&files->lock);
	free(files);
}

const struct files_counts *files_counts(const struct files *files)
{
	return &files->counts;
}
