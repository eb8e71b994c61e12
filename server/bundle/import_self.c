/* SPDX-License-Identifier: Apache-2.0 */
/* What a bundle says of itself: every file is held to it. */
#include "server/bundle/import_internal.h"

#include "server/bundle/describe.h"

#include <string.h>

static int malformed(struct err *err)
{
	return err_set(err, ERR_INVALID, "the bundle's " BUNDLE_SELF " is malformed");
}

static int take_promises(struct import *import, const char *name, enum promise promise, struct err *err)
{
	const json_t *list = json_object_get(import->self, name), *entry;
	size_t i;

	if (!json_is_array(list) || json_array_size(list) > WALK_ITEMS_MAX)
		return malformed(err);
	json_array_foreach(list, i, entry)
	{
		const char *text = json_string_value(json_object_get(entry, "digest"));
		const json_t *size = json_object_get(entry, "size");
		struct import_promise *made, *before;
		struct digest digest;

		if (!text || digest_parse(text, &digest) || (size && json_integer_value(size) < 0))
			return malformed(err);
		HASH_FIND(hh, import->promises, &digest, sizeof(digest), before);
		if (before)
			return err_set(err, ERR_INVALID, "the bundle names %.150s twice", text);
		made = mem_alloc(sizeof(*made));
		made->digest = digest;
		made->size = json_is_integer(size) ? (uint64_t)json_integer_value(size) : UINT64_MAX;
		made->promise = promise;
		HASH_ADD(hh, import->promises, digest, sizeof(made->digest), made);
	}
	return 0;
}

/* All that is to come, before anything of it is written and something else goes for it. */
static int want_room(struct import *import, struct err *err)
{
	struct import_promise *promise, *next;
	int code = 0;

	HASH_ITER (hh, import->promises, promise, next)
		if (!code && promise->promise == PROMISE_CARRIED)
			code = import_want_room(import, promise->size, err);
	return code;
}

int import_read_self(struct import *import, struct err *err)
{
	const struct buf *text = &import->texts[TEXT_SELF].data;
	const json_t *version;
	int code;

	import->self = json_loadb(text->data, text->len, JSON_REJECT_DUPLICATES, NULL);
	version = json_object_get(import->self, "larderBundle");
	if (!json_is_integer(version) || !json_is_array(json_object_get(import->self, "files")))
		return malformed(err);
	if (json_integer_value(version) != BUNDLE_VERSION)
		return err_set(err, ERR_INVALID, "the bundle is of version %lld, and this larder knows %d",
			       (long long)json_integer_value(version), BUNDLE_VERSION);
	code = take_promises(import, "blobs", PROMISE_CARRIED, err);
	if (code == 0)
		code = take_promises(import, "leftOut", PROMISE_LEFT_OUT, err);
	return code ? code : want_room(import, err);
}

int import_check_signature(struct import *import, struct err *err)
{
	const struct buf *self = &import->texts[TEXT_SELF].data, *signature = &import->texts[TEXT_SIGNATURE].data;
	int code = 0;

	if (!import->texts[TEXT_SELF].came)
		return err_set(err, ERR_INVALID, "the archive has a signature of nothing");
	for (size_t i = 0; i < IMPORT_KEYS_MAX && !code; i++) {
		if (!import->options->keys[i])
			continue;
		code = sign_verify(import->options->keys[i], self->data, self->len, signature->data, signature->len,
				   err);
		import->report->is_signed = code == 0;
	}
	return code;
}

enum promise import_promised(const struct import *import, const struct digest *digest, uint64_t *size)
{
	struct import_promise *found;

	HASH_FIND(hh, import->promises, digest, sizeof(*digest), found);
	*size = found ? found->size : UINT64_MAX;
	return found ? found->promise : PROMISE_NONE;
}

int import_check_text(const struct import *import, const struct import_text *text, struct err *err)
{
	const json_t *files = json_object_get(import->self, "files"), *file;
	char digest_text[DIGEST_TEXT_MAX];
	struct digest digest;
	size_t i;

	if (!import->self || text == &import->texts[TEXT_SELF] || text == &import->texts[TEXT_SIGNATURE])
		return 0;
	digest_of(DIGEST_SHA256, text->data.data, text->data.len, &digest);
	digest_format(&digest, digest_text);
	json_array_foreach(files, i, file)
	{
		const char *path = json_string_value(json_object_get(file, "path"));
		const char *said = json_string_value(json_object_get(file, "digest"));

		if (path && said && strcmp(path, text->path) == 0 && strcmp(said, digest_text) == 0)
			return 0;
	}
	return err_set(err, ERR_INVALID, "the bundle's %s is not what it says", text->path);
}

void import_forget_self(struct import *import)
{
	struct import_promise *promise, *next;

	HASH_ITER (hh, import->promises, promise, next) {
		HASH_DEL(import->promises, promise);
		free(promise);
	}
	json_decref(import->self);
}
