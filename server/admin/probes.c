/* SPDX-License-Identifier: Apache-2.0 */
/* What a supervisor asks: is this process sound, and should clients be sent here? */
#include "server/admin/admin_internal.h"

#include "store/index.h"
#include "store/store.h"

static json_t *sound(struct admin *admin)
{
	json_t *reasons = json_array();

	if (index_is_broken(store_index(admin->store)))
		json_array_append_new(reasons, json_string("the store's index failed: restart larder"));
	return reasons;
}

static void answer(struct admin_visit *visit, const char *word, json_t *reasons)
{
	bool good = json_array_size(reasons) == 0;

	admin_reply_json(visit, good ? 200 : 503, json_pack("{s:b, s:o}", word, good, "reasons", reasons));
}

void admin_healthz(struct admin_visit *visit)
{
	answer(visit, "healthy", sound(visit->admin));
}

void admin_readyz(struct admin_visit *visit)
{
	struct admin *admin = visit->admin;
	json_t *reasons = sound(admin);
	struct err err;

	switch (__atomic_load_n(&admin->phase, __ATOMIC_RELAXED)) {
	case ADMIN_STARTING:
		json_array_append_new(reasons, json_string("larder is starting"));
		break;
	case ADMIN_STOPPING:
		json_array_append_new(reasons, json_string("larder is shutting down"));
		break;
	case ADMIN_SERVING:
		break;
	}
	if (store_probe(admin->store, &err))
		json_array_append_new(reasons, json_sprintf("the store cannot be written: %s", err.text));
	answer(visit, "ready", reasons);
}
