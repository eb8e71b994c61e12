/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can still be read of a damaged index, into the one that took its place: pins, tags, links and lists of
 * referrers, repository by repository. Each record was read whole, and names a blob that is held: anything else is
 * learnt again from upstream, as are the tags' ages, so that they are asked about at the next pull. What blobs need of
 * one another is found in the manifests, by the sweep.
 */
#include "store/evict_internal.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "store/pins.h"

#include <string.h>

struct rescue {
	struct store *store;
	struct index *old;
	struct index_repository repository;
	uint64_t count; /* records */
	char pin[INDEX_PIN_NAME_MAX + 1];
};

static bool is_held(const struct rescue *rescue, const struct digest *digest)
{
	uint64_t size;

	return store_find_blob(rescue->store, digest, &size, NULL) == 0;
}

static void write_change(struct rescue *rescue, const struct index_change *change)
{
	/* The queue has an end; behind it, the writer sets the pace. */
	if (index_write_later(rescue->store->index, change, 1) == ERR_LIMIT)
		(void)index_write(rescue->store->index, change, 1, NULL);
	rescue->count++;
}

static bool take_pin(void *arg, const struct index_pin *pin)
{
	struct rescue *rescue = arg;

	if (pin_add(rescue->store, rescue->pin, pin, 1, NULL) == 0)
		rescue->count++;
	return true;
}

static bool take_pin_name(void *arg, const char *name)
{
	strcpy(((struct rescue *)arg)->pin, name);
	return false;
}

static void rescue_pins(struct rescue *rescue)
{
	char before[INDEX_PIN_NAME_MAX + 1];

	do {
		strcpy(before, rescue->pin);
		if (index_list_pins(rescue->old, before, take_pin_name, rescue, NULL))
			return;
		if (strcmp(before, rescue->pin) != 0)
			(void)index_list_pin(rescue->old, rescue->pin, take_pin, rescue, NULL);
	} while (strcmp(before, rescue->pin) != 0);
}

static bool take_tag(void *arg, const char *name, const struct index_tag *tag)
{
	struct rescue *rescue = arg;
	struct index_tag record = *tag;
	struct index_change change = {
		.kind = INDEX_PUT_TAG, .repository = rescue->repository, .tag = name, .tag_record = &record};

	record.checked = 0;
	if (ref_tag_valid(name, strlen(name)) && is_held(rescue, &tag->digest))
		write_change(rescue, &change);
	return true;
}

static bool take_link(void *arg, const struct digest *digest, const struct index_link *link)
{
	struct rescue *rescue = arg;
	struct index_change change = {
		.kind = INDEX_PUT_LINK, .repository = rescue->repository, .digest = digest, .link = *link};

	if (is_held(rescue, digest))
		write_change(rescue, &change);
	return true;
}

static bool take_subject(void *arg, const struct digest *subject)
{
	struct rescue *rescue = arg;
	struct index_tag list;
	struct index_change change = {
		.kind = INDEX_PUT_REFERRERS, .repository = rescue->repository, .digest = subject, .tag_record = &list};

	if (index_get_referrers(rescue->old, &rescue->repository, subject, &list, NULL) ||
	    !is_held(rescue, &list.digest))
		return true;
	list.checked = 0;
	write_change(rescue, &change);
	return true;
}

/* Where one list ends in damage, the next may do better. */
static bool take_repository(void *arg, const char *name)
{
	struct rescue *rescue = arg;

	if (!ref_repository_valid(name, strlen(name)))
		return true;
	rescue->repository.repository = name;
	(void)index_list_tag_records(rescue->old, &rescue->repository, "", take_tag, rescue, NULL);
	(void)index_list_links(rescue->old, &rescue->repository, NULL, take_link, rescue, NULL);
	(void)index_list_subjects(rescue->old, &rescue->repository, NULL, take_subject, rescue, NULL);
	return !evict_is_stopping(rescue->store);
}

static uint64_t rescue_names(struct store *store, struct index *old)
{
	char upstream[REF_UPSTREAM_MAX + 1] = "", before[REF_UPSTREAM_MAX + 1];
	struct rescue rescue = {.store = store, .old = old};

	rescue_pins(&rescue);
	for (;;) {
		strcpy(before, upstream);
		if (evict_is_stopping(store) || index_next_upstream(rescue.old, before, upstream, NULL))
			break;
		rescue.repository.upstream = upstream;
		(void)index_list_repositories(rescue.old, upstream, "", take_repository, &rescue, NULL);
	}
	return rescue.count;
}

/* Manifests are read before anything else happens: what a pin keeps must not go meanwhile. */
void rescue_index(struct store *store)
{
	struct index *old = index_old(store->index);
	struct sweep sweep = {.rebuilding = true};
	uint64_t rescued = 0;

	/* Its new name is durable before anything is written that follows from it. */
	(void)fsync(store->root_fd);
	if (old)
		rescued = rescue_names(store, old);
	while (!evict_is_stopping(store) && sweep_step(store, &sweep))
		;
	if (evict_is_stopping(store))
		return;
	(void)index_write(store->index, NULL, 0, NULL);
	log_warn("store: the index is made anew: %u blobs, and %llu pins, tags and links of the damaged one",
		 sweep.adopted, (unsigned long long)rescued);
	atomic_store(&store->rebuilding, false);
	index_close_old(index_take_old(store->index, NULL));
	index_remove_damaged(store->index);
}
