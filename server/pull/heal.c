/* SPDX-License-Identifier: Apache-2.0 */
#include "server/pull/heal.h"

#include "base/buf.h"
#include "base/sleeper.h"
#include "server/pull/pull_internal.h"

#include <stdlib.h>

#define PLACES_MAX 16 /* repositories that are tried */

/* A repository that may have it. */
struct place {
	struct pull_upstream *upstream;
	char *repository;
};

struct places {
	struct pull *pull;
	struct place places[PLACES_MAX];
	size_t count;
};

static bool take_link(void *arg, const struct index_name *name)
{
	struct places *places = arg;
	struct pull_upstream *upstream =
		pull_find_upstream(places->pull, name->repository.upstream, strlen(name->repository.upstream));

	if (name->tag || name->subject || !upstream || !pull_upstream_allows(upstream, name->repository.repository))
		return true;
	places->places[places->count++] =
		(struct place){.upstream = upstream, .repository = mem_strdup(name->repository.repository)};
	return places->count < PLACES_MAX;
}

static int fetch_blob(const struct place *place, const struct digest *digest, struct sleeper *sleeper, struct err *err)
{
	struct pull_blob *blob =
		pull_blob_open_ahead(place->upstream->pull, place->upstream, place->repository, digest);
	int code;

	while ((code = pull_blob_poll(blob, &sleeper->waiter, err)) == ERR_AGAIN)
		sleeper_wait(sleeper);
	pull_blob_close(blob);
	return code;
}

static int fetch_manifest(const struct place *place, const struct digest *digest, struct sleeper *sleeper,
			  struct err *err)
{
	char reference[DIGEST_TEXT_MAX];
	struct pull_manifest *manifest = pull_manifest_open(place->upstream->pull, place->upstream, place->repository,
							    digest_format(digest, reference), NULL, false);
	int code;

	while ((code = pull_manifest_poll(manifest, &sleeper->waiter, err)) == ERR_AGAIN)
		sleeper_wait(sleeper);
	/* It is written down behind the answer. */
	if (!code)
		while ((code = pull_manifest_poll_kept(manifest, &sleeper->waiter, err)) == ERR_AGAIN)
			sleeper_wait(sleeper);
	pull_manifest_close(manifest);
	return code;
}

static int fetch_from(const struct place *place, const struct digest *digest, struct err *err)
{
	struct index_repository repository = {place->upstream->name, place->repository};
	struct sleeper sleeper;
	struct index_link link = {0};
	int code;

	sleeper_init(&sleeper);
	(void)index_get_link(place->upstream->pull->index, &repository, digest, &link, NULL);
	code = link.media_type[0] ? fetch_manifest(place, digest, &sleeper, err)
				  : fetch_blob(place, digest, &sleeper, err);
	sleeper_dispose(&sleeper);
	return code;
}

int pull_heal(struct pull *pull, const struct digest *digest, struct err *err)
{
	struct places places = {.pull = pull};
	char text[DIGEST_TEXT_MAX];
	int code = index_list_names(pull->index, digest, take_link, &places, err);
	uint64_t size;

	if (!code)
		code = store_find_blob(pull->store, digest, &size, err);
	if (code == ERR_NOT_FOUND)
		err_set(err, code, "no repository is known to have %s", digest_format(digest, text));
	for (size_t i = 0; i < places.count; i++) {
		if (code && code != ERR_CANCELLED)
			code = fetch_from(&places.places[i], digest, err);
		free(places.places[i].repository);
	}
	return code;
}
