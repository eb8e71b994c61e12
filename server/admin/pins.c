/* SPDX-License-Identifier: Apache-2.0 */
/* Pins: named sets of references that eviction leaves alone. */
#include "server/admin/admin_internal.h"

#include "base/cleanup.h"
#include "server/pull/pull.h"
#include "server/registry/route.h"
#include "store/pins.h"
#include "store/store.h"

#include <stdlib.h>
#include <string.h>

/* Listing. */

static bool add_reference(void *arg, const struct index_pin *pin)
{
	struct digest digest;

	json_array_append_new(
		arg, json_pack("{s:o, s:s, s:s, s:s, s:s}", "ref",
			       json_sprintf("%s/%s%s%s", pin->repository.upstream, pin->repository.repository,
					    digest_parse(pin->reference, &digest) ? ":" : "@", pin->reference),
			       "upstream", pin->repository.upstream, "repository", pin->repository.repository,
			       "reference", pin->reference, "platforms", pin->platforms ? pin->platforms : ""));
	return true;
}

static json_t *describe(struct admin *admin, const char *name)
{
	json_t *references = json_array();
	struct err err;

	index_list_pin(store_index(admin->store), name, add_reference, references, &err);
	return json_pack("{s:s, s:o}", "name", name, "references", references);
}

static bool add_name(void *arg, const char *name)
{
	json_array_append_new(arg, json_string(name));
	return true;
}

void admin_list_pins(struct admin_visit *visit)
{
	json_t *names = json_array(), *pins = json_array(), *name;
	struct err err = {0};
	size_t i;
	int code = index_list_pins(store_index(visit->admin->store), "", add_name, names, &err);

	json_array_foreach(names, i, name)
	{
		json_array_append_new(pins, describe(visit->admin, json_string_value(name)));
	}
	json_decref(names);
	if (code && code != ERR_NOT_FOUND) {
		json_decref(pins);
		admin_reply_err(visit, &err);
		return;
	}
	admin_reply_json(visit, 200, json_pack("{s:o}", "pins", pins));
}

/* The name in the path. An error is answered. */
static bool take_name(struct admin_visit *visit)
{
	if (pin_name_valid(visit->rest))
		return true;
	admin_reply_error(visit, 400, "invalid",
			  "a pin's name has letters, digits, dots, hyphens and underscores, at most 128");
	return false;
}

void admin_show_pin(struct admin_visit *visit)
{
	json_t *pin;

	if (!take_name(visit))
		return;
	pin = describe(visit->admin, visit->rest);
	if (json_array_size(json_object_get(pin, "references")) > 0) {
		admin_reply_json(visit, 200, pin);
		return;
	}
	json_decref(pin);
	admin_reply_error(visit, 404, "not_found", "there is no such pin");
}

/* Changing. */

/* References as the store has them. */
struct references {
	struct index_pin *list;
	struct route *routes; /* their texts */
	size_t count;
};

static void references_dispose(struct references *references)
{
	free(references->list);
	free(references->routes);
}

/* `body` has "references", a list of texts; for all of them one "platforms". */
static bool read_references(struct admin_visit *visit, const json_t *body, const char *platforms,
			    struct references *references)
{
	const json_t *list = json_object_get(body, "references"), *item;
	struct err err = {0};
	size_t i;

	if (!json_is_array(list) || json_array_size(list) == 0 || json_array_size(list) > PIN_REFERENCES_MAX) {
		admin_reply_error(visit, 400, "invalid", "the body has no list \"references\"");
		return false;
	}
	references->list = mem_alloc(json_array_size(list) * sizeof(*references->list));
	references->routes = mem_alloc(json_array_size(list) * sizeof(*references->routes));
	json_array_foreach(list, i, item)
	{
		struct route *route = &references->routes[i];
		const char *text = json_string_value(item);

		if (!text || !admin_find_reference(visit, text, route, &err)) {
			_cleanup_free_ char *message =
				mem_printf("'%.100s': %s", text ? text : "", text ? err.text : "it is no text");

			admin_reply_error(visit, 400, "invalid", message);
			return false;
		}
		references->list[i] = (struct index_pin){
			.repository = {pull_upstream_name(route->upstream), route->repository},
			.reference = route->reference,
			.platforms = platforms,
		};
		references->count++;
	}
	return true;
}

/* "platforms": a list of texts, as one with commas; NULL when it is none, which is answered. */
static char *read_platforms(struct admin_visit *visit, const json_t *body)
{
	const json_t *list = json_object_get(body, "platforms"), *item;
	_cleanup_(buf_dispose) struct buf text = {.max = INDEX_PLATFORMS_MAX};
	size_t i;
	int code = list && !json_is_null(list) && !json_is_array(list) ? ERR_INVALID : 0;

	buf_append_text(&text, "");
	json_array_foreach(list, i, item)
	{
		if (code == 0)
			code = json_is_string(item) ? buf_printf(&text, "%s%s", i ? "," : "", json_string_value(item))
						    : ERR_INVALID;
	}
	if (code == 0)
		return text.data ? take_pointer(text.data) : mem_strdup("");
	admin_reply_error(visit, 400, "invalid", "platforms is a list of texts such as linux/arm64");
	return NULL;
}

void admin_put_pin(struct admin_visit *visit)
{
	_cleanup_(references_dispose) struct references references = {0};
	_cleanup_free_ char *platforms = NULL;
	json_t *body;
	struct err err = {0};
	bool adds;
	int code;

	if (!take_name(visit))
		return;
	body = admin_body(visit);
	if (!body)
		return;
	platforms = read_platforms(visit, body);
	if (platforms && read_references(visit, body, platforms, &references)) {
		adds = json_is_true(json_object_get(body, "add"));
		code = (adds ? pin_add : pin_put)(visit->admin->store, visit->rest, references.list, references.count,
						  &err);
		if (code)
			admin_reply_err(visit, &err);
		else
			admin_reply_json(visit, 200, describe(visit->admin, visit->rest));
	}
	json_decref(body);
}

void admin_delete_pin(struct admin_visit *visit)
{
	_cleanup_(references_dispose) struct references references = {0};
	json_t *body, *query = NULL;
	char text[ADMIN_VALUE_MAX];
	struct err err = {0};
	bool some;
	int code;

	if (!take_name(visit) || !admin_parameter_optional(visit, "ref", text))
		return;
	body = admin_body(visit);
	if (!body)
		return;
	if (text[0])
		query = json_pack("{s:[s]}", "references", text);
	some = query || json_object_get(body, "references");
	if (!some || read_references(visit, query ? query : body, "", &references)) {
		code = pin_remove(visit->admin->store, visit->rest, references.list, references.count, &err);
		if (code)
			admin_reply_err(visit, &err);
		else
			admin_reply_json(visit, 200, describe(visit->admin, visit->rest));
	}
	json_decref(query);
	json_decref(body);
}
