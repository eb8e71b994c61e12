/* SPDX-License-Identifier: Apache-2.0 */
#include "store/forget.h"

#include "base/cleanup.h"
#include "store/pins.h"
#include "store/remove.h"
#include "store/store_internal.h"

#include <stdlib.h>
#include <string.h>

#define AT_ONCE 256 /* names that go in one commit */

/* One call of this header. */
struct forgetting {
	struct store *store;
	const struct index_repository *repository;
	bool force;
	struct forgotten *forgotten;
	/* What was named, to be looked at once its names are gone. */
	struct digest digests[AT_ONCE];
	size_t count;
	uint64_t names; /* that went, of all kinds */
	char tag[REF_TAG_MAX + 1];
	bool found; /* something else names it */
};

/* Pins. */

static bool take_pin(void *arg, const char *name)
{
	strcpy(arg, name);
	return false;
}

static int refuse(const char *what, const char *pin, struct err *err)
{
	return err_set(err, ERR_BUSY, "%.120s is kept by the pin '%s'", what, pin);
}

/* 0 when no pin has this reference (NULL: any) of the repository. */
static int check_reference(const struct forgetting *forgetting, const char *reference, struct err *err)
{
	char pin[INDEX_PIN_NAME_MAX + 1] = "";
	int code;

	if (forgetting->force)
		return 0;
	code = index_list_pins_in(forgetting->store->index, forgetting->repository, reference, take_pin, pin, err);
	if (code == ERR_NOT_FOUND || (code == 0 && !*pin))
		return 0;
	return code ? code : refuse(reference ? reference : forgetting->repository->repository, pin, err);
}

static int check_digest(const struct forgetting *forgetting, const struct digest *digest, struct err *err)
{
	char pin[INDEX_PIN_NAME_MAX + 1], text[DIGEST_TEXT_MAX];
	int code;

	if (forgetting->force)
		return 0;
	code = pin_find(forgetting->store, digest, pin, err);
	if (code == ERR_NOT_FOUND)
		return 0;
	return code ? code : refuse(digest_format(digest, text), pin, err);
}

/* What has lost its names. */

static bool note_other_name(void *arg, const struct index_name *name)
{
	struct forgetting *forgetting = arg;

	forgetting->found = name->tag || strcmp(name->repository.upstream, forgetting->repository->upstream) != 0 ||
			    strcmp(name->repository.repository, forgetting->repository->repository) != 0;
	return !forgetting->found;
}

static bool note_parent(void *arg, const struct digest *parent, bool is_manifest)
{
	(void)parent;
	(void)is_manifest;
	((struct forgetting *)arg)->found = true;
	return false;
}

/* Whether something but a link of this repository wants it: a tag, another repository, a manifest, a pin. */
static int is_wanted(struct forgetting *forgetting, const struct digest *digest, struct err *err)
{
	struct index *index = forgetting->store->index;
	char pin[INDEX_PIN_NAME_MAX + 1];
	int code;

	forgetting->found = false;
	code = index_list_names(index, digest, note_other_name, forgetting, err);
	if (!code && !forgetting->found)
		code = index_list_parents(index, digest, note_parent, forgetting, err);
	if (!code && !forgetting->found && !forgetting->force) {
		code = pin_find(forgetting->store, digest, pin, err);
		forgetting->found = code == 0;
		code = code == ERR_NOT_FOUND ? 0 : code;
	}
	return code;
}

static int remove_it(struct forgetting *forgetting, const struct digest *digest, struct err *err)
{
	struct removed removed = {0};
	int code = remove_image(forgetting->store, digest, &removed, err);

	forgetting->forgotten->bytes += removed.bytes;
	forgetting->forgotten->blobs += removed.blobs;
	return code;
}

/* Removes what was named, with its image, where nothing else wants it. */
static int drop(struct forgetting *forgetting, struct err *err)
{
	int code = 0;

	for (size_t i = 0; i < forgetting->count && !code; i++) {
		code = is_wanted(forgetting, &forgetting->digests[i], err);
		if (code || forgetting->found)
			continue;
		code = remove_it(forgetting, &forgetting->digests[i], err);
		code = code == ERR_NOT_FOUND ? 0 : code; /* not held, or gone with another */
	}
	return code;
}

/* Tags. */

static bool take_meaning(void *arg, const char *name, const struct index_tag *tag)
{
	struct forgetting *forgetting = arg;

	(void)name;
	forgetting->digests[forgetting->count++] = tag->digest;
	return forgetting->count < AT_ONCE;
}

static int drop_tag(struct forgetting *forgetting, const char *tag, struct err *err)
{
	struct index_change change = {.kind = INDEX_DELETE_TAG, .repository = *forgetting->repository, .tag = tag};
	struct index *index = forgetting->store->index;
	int code;

	forgetting->count = 0;
	code = index_list_tag(index, forgetting->repository, tag, take_meaning, forgetting, err);
	if (code == ERR_NOT_FOUND || (!code && forgetting->count == 0))
		return err_set(err, ERR_NOT_FOUND, "the tag '%s' of %s/%s is not cached", tag,
			       forgetting->repository->upstream, forgetting->repository->repository);
	if (!code)
		code = index_write(index, &change, 1, err);
	if (code)
		return code;
	forgetting->forgotten->tags++;
	forgetting->names++;
	return drop(forgetting, err);
}

int forget_tag(struct store *store, const struct index_repository *repository, const char *tag, bool force,
	       struct forgotten *forgotten, struct err *err)
{
	struct forgetting forgetting = {
		.store = store, .repository = repository, .force = force, .forgotten = forgotten};
	int code = check_reference(&forgetting, tag, err);

	*forgotten = (struct forgotten){0};
	return code ? code : drop_tag(&forgetting, tag, err);
}

static bool take_tag_name(void *arg, const char *tag)
{
	strcpy(((struct forgetting *)arg)->tag, tag);
	return false;
}

/* Tags one by one, from the first on. */
static int drop_tags(struct forgetting *forgetting, struct err *err)
{
	int code;

	do {
		forgetting->tag[0] = '\0';
		code = index_list_tags(forgetting->store->index, forgetting->repository, "", take_tag_name, forgetting,
				       err);
		if (!code && *forgetting->tag)
			code = drop_tag(forgetting, forgetting->tag, err);
	} while (!code && *forgetting->tag);
	return code;
}

/* Links, and lists of referrers: both are named by a digest, and taken a batch at a time. */

static bool take_subject(void *arg, const struct digest *subject)
{
	struct forgetting *forgetting = arg;

	forgetting->digests[forgetting->count++] = *subject;
	return forgetting->count < AT_ONCE;
}

static bool take_link(void *arg, const struct digest *digest, const struct index_link *link)
{
	(void)link;
	return take_subject(arg, digest);
}

static int delete_names(struct forgetting *forgetting, enum index_change_kind kind, struct err *err)
{
	struct index_change changes[AT_ONCE];

	forgetting->names += forgetting->count;
	for (size_t i = 0; i < forgetting->count; i++)
		changes[i] = (struct index_change){
			.kind = kind, .repository = *forgetting->repository, .digest = &forgetting->digests[i]};
	return index_write(forgetting->store->index, changes, forgetting->count, err);
}

/* The lists themselves become blobs that nobody names. */
static int drop_referrers(struct forgetting *forgetting, struct err *err)
{
	struct index *index = forgetting->store->index;
	struct digest lists[AT_ONCE] = {0};
	struct index_tag list;
	size_t count, taken;
	int code;

	do {
		forgetting->count = count = 0;
		code = index_list_subjects(index, forgetting->repository, NULL, take_subject, forgetting, err);
		for (size_t i = 0; i < forgetting->count && !code; i++)
			if (index_get_referrers(index, forgetting->repository, &forgetting->digests[i], &list, NULL) ==
			    0)
				lists[count++] = list.digest;
		if (!code)
			code = delete_names(forgetting, INDEX_DELETE_REFERRERS, err);
		taken = forgetting->count;
		forgetting->count = count;
		memcpy(forgetting->digests, lists, count * sizeof(*lists));
		if (!code)
			code = drop(forgetting, err);
	} while (!code && taken > 0);
	return code;
}

static int drop_links(struct forgetting *forgetting, struct err *err)
{
	int code;

	do {
		forgetting->count = 0;
		code = index_list_links(forgetting->store->index, forgetting->repository, NULL, take_link, forgetting,
					err);
		if (!code)
			code = delete_names(forgetting, INDEX_DELETE_LINK, err);
		if (!code)
			code = drop(forgetting, err);
	} while (!code && forgetting->count > 0);
	return code;
}

int forget_repository(struct store *store, const struct index_repository *repository, bool force,
		      struct forgotten *forgotten, struct err *err)
{
	struct forgetting forgetting = {
		.store = store, .repository = repository, .force = force, .forgotten = forgotten};
	int code = check_reference(&forgetting, NULL, err);

	*forgotten = (struct forgotten){0};
	if (!code)
		code = drop_tags(&forgetting, err);
	if (!code)
		code = drop_referrers(&forgetting, err);
	if (!code)
		code = drop_links(&forgetting, err);
	if (code == ERR_NOT_FOUND || (!code && forgetting.names == 0))
		return err_set(err, ERR_NOT_FOUND, "nothing of %s/%s is cached", repository->upstream,
			       repository->repository);
	return code;
}

/* Digests. */

struct tags_of {
	const struct index_repository *repository; /* NULL: of none */
	char tag[REF_TAG_MAX + 1];
	bool any; /* name at all */
};

static bool take_tag_of(void *arg, const struct index_name *name)
{
	struct tags_of *tags = arg;

	tags->any = true;
	if (!tags->repository || !name->tag || strcmp(name->repository.upstream, tags->repository->upstream) != 0 ||
	    strcmp(name->repository.repository, tags->repository->repository) != 0)
		return true;
	strcpy(tags->tag, name->tag);
	return false;
}

int forget_in_repository(struct store *store, const struct index_repository *repository, const struct digest *digest,
			 bool force, struct forgotten *forgotten, struct err *err)
{
	struct forgetting forgetting = {
		.store = store, .repository = repository, .force = force, .forgotten = forgotten};
	struct index_change unlink = {.kind = INDEX_DELETE_LINK, .repository = *repository, .digest = digest};
	struct tags_of tags = {.repository = repository};
	struct index_link link;
	char text[DIGEST_TEXT_MAX];
	int code = check_digest(&forgetting, digest, err);

	*forgotten = (struct forgotten){0};
	if (!code && index_get_link(store->index, repository, digest, &link, err) == ERR_NOT_FOUND)
		return err_set(err, ERR_NOT_FOUND, "%s is not cached for %s/%s", digest_format(digest, text),
			       repository->upstream, repository->repository);
	while (!code) {
		tags.tag[0] = '\0';
		code = index_list_names(store->index, digest, take_tag_of, &tags, err);
		if (code || !*tags.tag)
			break;
		code = drop_tag(&forgetting, tags.tag, err);
	}
	if (!code)
		code = index_write(store->index, &unlink, 1, err);
	forgetting.digests[0] = *digest;
	forgetting.count = 1;
	return code ? code : drop(&forgetting, err);
}

int forget_digest(struct store *store, const struct digest *digest, bool force, struct forgotten *forgotten,
		  struct err *err)
{
	struct forgetting forgetting = {.store = store, .force = force, .forgotten = forgotten};
	struct index_change change = {.kind = INDEX_FORGET_BLOB, .digest = digest};
	struct tags_of tags = {0};
	char text[DIGEST_TEXT_MAX];
	int code = check_digest(&forgetting, digest, err);

	*forgotten = (struct forgotten){0};
	if (!code)
		code = remove_it(&forgetting, digest, err);
	if (code != ERR_NOT_FOUND)
		return code;
	/* Not held, but known by name. */
	code = index_list_names(store->index, digest, take_tag_of, &tags, err);
	if (code || tags.any)
		return code ? code : index_write(store->index, &change, 1, err);
	return err_set(err, ERR_NOT_FOUND, "%s is not cached", digest_format(digest, text));
}
