/* SPDX-License-Identifier: Apache-2.0 */
#include "store/pins.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "store/store_internal.h"

#include <stdlib.h>
#include <string.h>

#define ABOVE_MAX 1024 /* manifests above a digest that are looked at */

bool pin_name_valid(const char *name)
{
	return ref_tag_valid(name, strlen(name));
}

static int check(const char *name, const struct index_pin *references, size_t count, struct err *err)
{
	struct digest digest;

	if (!pin_name_valid(name))
		return err_set(err, ERR_INVALID, "a pin's name has up to %d letters, digits, '.', '_' and '-'",
			       INDEX_PIN_NAME_MAX);
	if (count > PIN_REFERENCES_MAX)
		return err_set(err, ERR_INVALID, "more than %d references at once", PIN_REFERENCES_MAX);
	for (size_t i = 0; i < count; i++) {
		const struct index_pin *pin = &references[i];

		if (!ref_repository_valid(pin->repository.repository, strlen(pin->repository.repository)) ||
		    (!ref_tag_valid(pin->reference, strlen(pin->reference)) && digest_parse(pin->reference, &digest)))
			return err_set(err, ERR_INVALID, "'%.120s:%.120s' is no reference", pin->repository.repository,
				       pin->reference);
	}
	return 0;
}

static int change(struct store *store, const char *name, enum index_change_kind kind, bool replace,
		  const struct index_pin *references, size_t count, struct err *err)
{
	_cleanup_free_ struct index_change *changes = mem_alloc((count + 1) * sizeof(*changes));
	size_t first = replace ? 1 : 0;
	int code = check(name, references, count, err);

	if (code)
		return code;
	if (replace)
		changes[0] = (struct index_change){.kind = INDEX_DELETE_PIN_SET, .pin = name};
	for (size_t i = 0; i < count; i++)
		changes[first + i] = (struct index_change){.kind = kind,
							   .pin = name,
							   .repository = references[i].repository,
							   .tag = references[i].reference,
							   .platforms = references[i].platforms};
	return index_write(store->index, changes, first + count, err);
}

int pin_add(struct store *store, const char *name, const struct index_pin *references, size_t count, struct err *err)
{
	return change(store, name, INDEX_PUT_PIN, false, references, count, err);
}

int pin_put(struct store *store, const char *name, const struct index_pin *references, size_t count, struct err *err)
{
	return change(store, name, INDEX_PUT_PIN, true, references, count, err);
}

static bool take_first(void *arg, const struct index_pin *pin)
{
	(void)pin;
	*(bool *)arg = true;
	return false;
}

int pin_remove(struct store *store, const char *name, const struct index_pin *references, size_t count, struct err *err)
{
	bool found = false;
	int code = check(name, references, count, err);

	if (!code)
		code = index_list_pin(store->index, name, take_first, &found, err);
	if (code)
		return code;
	if (!found)
		return err_set(err, ERR_NOT_FOUND, "there is no pin '%s'", name);
	return change(store, name, INDEX_DELETE_PIN, count == 0, references, count, err);
}

/* What is above. */

struct climb {
	struct digest *above; /* the digest itself first */
	size_t count;
	char *name;
};

static bool take_name(void *arg, const char *name)
{
	struct climb *climb = arg;

	strcpy(climb->name, name);
	return false;
}

static bool take_parent(void *arg, const struct digest *parent, bool is_manifest)
{
	struct climb *climb = arg;

	(void)is_manifest;
	for (size_t i = 0; i < climb->count; i++)
		if (digest_equal(&climb->above[i], parent))
			return true;
	climb->above[climb->count++] = *parent;
	return climb->count < ABOVE_MAX;
}

int pin_find(struct store *store, const struct digest *digest, char name[INDEX_PIN_NAME_MAX + 1], struct err *err)
{
	_cleanup_free_ struct digest *above = mem_alloc((ABOVE_MAX + 1) * sizeof(*above));
	struct climb climb = {.above = above, .count = 1, .name = name};
	int code = 0;

	*name = '\0';
	above[0] = *digest;
	for (size_t i = 0; i < climb.count && !code && !*name; i++) {
		code = index_list_pins_of(store->index, &above[i], take_name, &climb, err);
		if (!code && !*name && climb.count < ABOVE_MAX)
			code = index_list_parents(store->index, &above[i], take_parent, &climb, err);
	}
	if (code)
		return code;
	return *name ? 0 : err_set(err, ERR_NOT_FOUND, "not pinned");
}
