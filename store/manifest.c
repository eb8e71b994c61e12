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
#define PLATFORM_PIECE_MAX 31

static const char *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
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
	manifest_read_platform(json_object_get(descriptor, "platform"), platform);
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

/* Platforms. */

bool manifest_platform_valid(const char *text)
{
	unsigned pieces = 0;

	for (;;) {
		size_t len = strcspn(text, "/");

		if (len == 0 || len > PLATFORM_PIECE_MAX ||
		    strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_.-") < len)
			return false;
		pieces++;
		if (!text[len])
			return pieces == 2 || pieces == 3;
		text += len + 1;
	}
}

bool manifest_read_platform(const json_t *object, char platform[MANIFEST_PLATFORM_MAX])
{
	const char *variant = text_of(object, "variant");

	*platform = '\0';
	if (!*text_of(object, "os") || !*text_of(object, "architecture"))
		return false;
	snprintf(platform, MANIFEST_PLATFORM_MAX, "%s/%s%s%s", text_of(object, "os"), text_of(object, "architecture"),
		 *variant ? "/" : "", variant);
	return true;
}

bool manifest_config_platform(const void *config, size_t len, char platform[MANIFEST_PLATFORM_MAX])
{
	json_t *document = json_loadb(config, len, 0, NULL);
	bool told = manifest_read_platform(document, platform);

	json_decref(document);
	return told;
}

/* The variant that an architecture has when none is said, as containerd and docker read it. */
static bool is_plain_variant(const char *platform, size_t len, const char *variant)
{
	static const struct {
		const char *end, *variant;
	} plain[] = {{"/arm64", "/v8"}, {"/arm", "/v7"}, {"/amd64", "/v1"}};

	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
		size_t end = strlen(plain[i].end);

		if (len > end && strncmp(platform + len - end, plain[i].end, end) == 0)
			return strcmp(variant, plain[i].variant) == 0;
	}
	return false;
}

static bool matches(const char *platform, const char *wanted)
{
	const char *slash = strchr(wanted, '/'), *variant = slash ? strchr(slash + 1, '/') : NULL;
	size_t len = variant ? (size_t)(variant - wanted) : strlen(wanted);

	if (strncmp(platform, wanted, len) != 0)
		return false;
	platform += len;
	if (!variant)
		return *platform == '\0' || *platform == '/';
	return strcmp(platform, variant) == 0 || (*platform == '\0' && is_plain_variant(wanted, len, variant));
}

bool manifest_platform_matches(const char *platform, const char *const *wanted, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (matches(platform, wanted[i]))
			return true;
	return false;
}

static void take_config(void *arg, const struct manifest_part *part)
{
	if (part->kind == MANIFEST_CONFIG)
		*(struct digest *)arg = part->digest;
}

bool manifest_find_platform(struct store *store, const void *data, size_t len, char platform[MANIFEST_PLATFORM_MAX])
{
	_cleanup_free_ char *config = NULL;
	struct digest digest = {0};

	*platform = '\0';
	manifest_read(data, len, take_config, &digest);
	if (digest.algorithm)
		config = manifest_load(store, &digest, &len);
	return config && manifest_config_platform(config, len, platform);
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
