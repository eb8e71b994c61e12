/* SPDX-License-Identifier: Apache-2.0 */
#include "store/manifest.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "store/index.h"
#include "store/store.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define REFERENCES_AT_ONCE 64 /* in one commit */

static const char *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

static bool format_platform(const json_t *platform, char text[MANIFEST_PLATFORM_MAX])
{
	const char *variant = text_of(platform, "variant");

	*text = '\0';
	if (!*text_of(platform, "os") || !*text_of(platform, "architecture"))
		return false;
	snprintf(text, MANIFEST_PLATFORM_MAX, "%s/%s%s%s", text_of(platform, "os"), text_of(platform, "architecture"),
		 *variant ? "/" : "", variant);
	return true;
}

struct reading {
	void (*each)(void *arg, const struct manifest_part *part);
	void *arg;
	size_t count;
};

static void read_part(struct reading *reading, const json_t *descriptor, const char *digest,
		      enum manifest_part_kind kind)
{
	struct manifest_part part = {.kind = kind, .media_type = text_of(descriptor, "mediaType")};
	const json_t *size = json_object_get(descriptor, "size");
	char platform[MANIFEST_PLATFORM_MAX];

	if (digest_parse(text_of(descriptor, digest), &part.digest) || reading->count == MANIFEST_PARTS_MAX)
		return;
	reading->count++;
	part.size = json_is_integer(size) && json_integer_value(size) >= 0 ? (uint64_t)json_integer_value(size)
									   : MANIFEST_SIZE_UNKNOWN;
	format_platform(json_object_get(descriptor, "platform"), platform);
	part.platform = platform;
	part.foreign = kind == MANIFEST_LAYER &&
		       (strstr(part.media_type, ".foreign.") || strstr(part.media_type, ".nondistributable."));
	reading->each(reading->arg, &part);
}

void manifest_read(const void *data, size_t len, void (*each)(void *arg, const struct manifest_part *part), void *arg)
{
	static const struct {
		const char *list, *digest;
		enum manifest_part_kind kind;
	} lists[] = {{"layers", "digest", MANIFEST_LAYER},
		     {"fsLayers", "blobSum", MANIFEST_LAYER},
		     {"manifests", "digest", MANIFEST_MANIFEST},
		     {"blobs", "digest", MANIFEST_BLOB}};
	json_t *document = json_loadb(data, len, 0, NULL);
	struct reading reading = {.each = each, .arg = arg};
	json_t *descriptor;
	size_t i;

	read_part(&reading, json_object_get(document, "config"), "digest", MANIFEST_CONFIG);
	for (size_t list = 0; list < sizeof(lists) / sizeof(*lists); list++)
		json_array_foreach(json_object_get(document, lists[list].list), i, descriptor)
			read_part(&reading, descriptor, lists[list].digest, lists[list].kind);
	read_part(&reading, json_object_get(document, "subject"), "digest", MANIFEST_SUBJECT);
	json_decref(document);
}

const char *manifest_kind_name(enum manifest_part_kind kind)
{
	static const char *const names[] = {"config", "layer", "blob", "manifest", "subject"};

	return names[kind];
}

bool manifest_config_platform(const void *config, size_t len, char platform[MANIFEST_PLATFORM_MAX])
{
	json_t *document = json_loadb(config, len, 0, NULL);
	bool told = format_platform(document, platform);

	json_decref(document);
	return told;
}

bool manifest_platform_matches(const char *platform, const char *const *wanted, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		size_t len = strlen(wanted[i]);
		const char *slash = strchr(wanted[i], '/');

		if (strcmp(platform, wanted[i]) == 0 ||
		    (slash && !strchr(slash + 1, '/') && strncmp(platform, wanted[i], len) == 0 &&
		     platform[len] == '/'))
			return true;
	}
	return false;
}

/* Keeping. */

struct recording {
	struct store *store;
	const struct digest *digest;
	struct digest children[REFERENCES_AT_ONCE];
	struct index_change changes[REFERENCES_AT_ONCE];
	size_t count;
	int code;
	struct err *err;
};

static void write_references(struct recording *recording)
{
	if (recording->count > 0 && !recording->code)
		recording->code = index_write(store_index(recording->store), recording->changes, recording->count,
					      recording->err);
	recording->count = 0;
}

static void record_part(void *arg, const struct manifest_part *part)
{
	struct recording *recording = arg;
	struct digest *child = &recording->children[recording->count];

	if (part->kind == MANIFEST_SUBJECT)
		return;
	*child = part->digest;
	recording->changes[recording->count++] =
		(struct index_change){.kind = INDEX_PUT_REFERENCE,
				      .digest = recording->digest,
				      .child = child,
				      .child_is_manifest = part->kind == MANIFEST_MANIFEST};
	if (recording->count == REFERENCES_AT_ONCE)
		write_references(recording);
}

int manifest_record(struct store *store, const struct digest *digest, const void *data, size_t len, struct err *err)
{
	_cleanup_free_ struct recording *recording = mem_alloc(sizeof(*recording));

	recording->store = store;
	recording->digest = digest;
	recording->err = err;
	manifest_read(data, len, record_part, recording);
	write_references(recording);
	return recording->code;
}

char *manifest_load(struct store *store, const struct digest *digest, size_t *len)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *data = NULL;
	struct digest found;
	uint64_t size, done = 0;
	struct err err;

	if (store_open_blob(store, digest, &fd, &size, &err) || size > MANIFEST_BYTES_MAX)
		return NULL;
	data = mem_alloc(size + 1);
	while (done < size) {
		ssize_t got = pread(fd, data + done, size - done, (off_t)done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		done += (uint64_t)got;
	}
	digest_of(digest->algorithm, data, done, &found);
	if (!digest_equal(&found, digest)) {
		store_quarantine_blob(store, digest, done < size ? "it cannot be read" : "its content is damaged",
				      &err);
		return NULL;
	}
	*len = size;
	return take_pointer(data);
}
