/* SPDX-License-Identifier: Apache-2.0 */
/* What the upstream holds: contents, found by holdings in one tree ordered by kind, repository and name. */
#include "tests/wire/scripted_internal.h"

#include "base/cleanup.h"

#include <assert.h>
#include <gnutls/crypto.h>
#include <search.h>
#include <string.h>

#define BLOB_PAGE  ((size_t)4096)
#define BLOB_PAGES ((size_t)256)

static unsigned char blob_base[BLOB_PAGES * BLOB_PAGE];
static pthread_once_t blob_base_once = PTHREAD_ONCE_INIT;

static uint64_t mix(uint64_t value)
{
	value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
	value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
	return value ^ (value >> 31);
}

static void blob_base_make(void)
{
	for (size_t i = 0; i < sizeof(blob_base); i += 8) {
		uint64_t word = mix((i + 8) * 0x9e3779b97f4a7c15u);
		memcpy(blob_base + i, &word, 8);
	}
}

/* Each page is one of 256 random ones behind a stamp of 16 bytes made from seed and page number: copying is as fast as
 * memory, and no two places of a blob, or of two blobs, are alike. */
void scripted_blob_fill(uint64_t seed, uint64_t offset, void *data, size_t len)
{
	pthread_once(&blob_base_once, blob_base_make);
	uint64_t key = mix(seed + 0x9e3779b97f4a7c15u);
	unsigned char *to = data;
	while (len > 0) {
		uint64_t page = offset / BLOB_PAGE;
		size_t at = offset % BLOB_PAGE;
		size_t n = BLOB_PAGE - at < len ? BLOB_PAGE - at : len;
		uint64_t stamp[2] = {mix(key ^ page), mix(key + page)};
		memcpy(to, blob_base + (page + key) % BLOB_PAGES * BLOB_PAGE + at, n);
		if (at < sizeof(stamp)) {
			size_t stamped = sizeof(stamp) - at < n ? sizeof(stamp) - at : n;
			memcpy(to, (const char *)stamp + at, stamped);
		}
		to += n;
		offset += n;
		len -= n;
	}
}

static void digest_print(const unsigned char hash[32], char digest[SCRIPTED_DIGEST_MAX])
{
	strcpy(digest, "sha256:");
	for (int i = 0; i < 32; i++)
		sprintf(digest + 7 + 2 * i, "%02x", hash[i]);
}

void scripted_blob_digest(uint64_t seed, uint64_t size, char digest[SCRIPTED_DIGEST_MAX])
{
	gnutls_hash_hd_t hash;
	unsigned char out[32];
	_cleanup_free_ char *block = mem_alloc(OUT_SIZE);
	int rc = gnutls_hash_init(&hash, GNUTLS_DIG_SHA256);
	assert(rc == 0);
	for (uint64_t offset = 0; offset < size;) {
		size_t n = size - offset < OUT_SIZE ? (size_t)(size - offset) : OUT_SIZE;
		scripted_blob_fill(seed, offset, block, n);
		gnutls_hash(hash, block, n);
		offset += n;
	}
	gnutls_hash_deinit(hash, out);
	digest_print(out, digest);
}

static void bytes_digest(const void *data, size_t len, char digest[SCRIPTED_DIGEST_MAX])
{
	unsigned char out[32];
	int rc = gnutls_hash_fast(GNUTLS_DIG_SHA256, data, len, out);
	assert(rc == 0);
	digest_print(out, digest);
}

void content_read(const struct content *content, uint64_t offset, void *data, size_t len)
{
	if (content->bytes)
		memcpy(data, content->bytes + offset, len);
	else
		scripted_blob_fill(content->seed, offset, data, len);
}

/* Keys sort by kind, then repository, then name: '\001' is less than what names are made of. */
static char *holding_key(enum holding_kind kind, const char *repository, const char *name)
{
	return mem_printf("%c\001%s\001%s", kind, repository ? repository : "", name);
}

static int holding_compare(const void *a, const void *b)
{
	return strcmp(((const struct holding *)a)->key, ((const struct holding *)b)->key);
}

static struct holding *holding_find(struct scripted *scripted, enum holding_kind kind, const char *repository,
				    const char *name)
{
	_cleanup_free_ char *key = holding_key(kind, repository, name);
	struct holding wanted = {.key = key};
	struct holding **found = tfind(&wanted, &scripted->holdings, holding_compare);
	return found ? *found : NULL;
}

static struct holding *holding_make(struct scripted *scripted, enum holding_kind kind, const char *repository,
				    const char *name)
{
	struct holding *holding = holding_find(scripted, kind, repository, name);
	if (holding)
		return holding;
	holding = mem_alloc(sizeof(*holding));
	holding->key = holding_key(kind, repository, name);
	void *node = tsearch(holding, &scripted->holdings, holding_compare);
	assert(node);
	return holding;
}

static void holding_add(struct holding *holding, struct content *content, const char *label)
{
	holding->variants = mem_realloc(holding->variants, (holding->count + 1) * sizeof(*holding->variants));
	holding->labels = mem_realloc(holding->labels, (holding->count + 1) * sizeof(*holding->labels));
	holding->variants[holding->count] = content;
	holding->labels[holding->count++] = mem_strdup(label);
}

static void holding_clear(struct holding *holding)
{
	for (size_t i = 0; i < holding->count; i++)
		free(holding->labels[i]);
	holding->count = 0;
}

static void holding_free(void *pointer)
{
	struct holding *holding = pointer;
	holding_clear(holding);
	free(holding->variants);
	free(holding->labels);
	free(holding->key);
	free(holding);
}

struct holding *content_find(struct scripted *scripted, enum holding_kind kind, const char *repository,
			     const char *name)
{
	struct holding *holding = holding_find(scripted, kind, repository, name);
	if ((!holding || holding->count == 0) && repository)
		holding = holding_find(scripted, kind, NULL, name);
	return holding && holding->count > 0 ? holding : NULL;
}

struct walk {
	char *prefix;
	size_t len;
	void (*each)(const char *name, const struct holding *holding, void *context);
	void *context;
};

static void walk_node(const void *node, VISIT visit, void *closure)
{
	const struct walk *walk = closure;
	const struct holding *holding = *(struct holding *const *)node;
	if ((visit == postorder || visit == leaf) && holding->count > 0 &&
	    strncmp(holding->key, walk->prefix, walk->len) == 0)
		walk->each(holding->key + walk->len, holding, walk->context);
}

void content_each(struct scripted *scripted, enum holding_kind kind, const char *repository,
		  void (*each)(const char *name, const struct holding *holding, void *context), void *context)
{
	_cleanup_free_ char *prefix = holding_key(kind, repository, "");
	struct walk walk = {prefix, strlen(prefix), each, context};
	twalk_r(scripted->holdings, walk_node, &walk);
}

static void note_found(const char *name, const struct holding *holding, void *context)
{
	(void)name;
	(void)holding;
	*(bool *)context = true;
}

bool content_has_repository(struct scripted *scripted, const char *repository)
{
	bool found = false;
	content_each(scripted, HOLDING_MANIFEST, repository, note_found, &found);
	if (!found)
		content_each(scripted, HOLDING_BLOB, repository, note_found, &found);
	return found;
}

static struct content *content_add(struct scripted *scripted, const char *media_type, const void *bytes, uint64_t seed,
				   uint64_t size, const char *digest)
{
	struct content *content = mem_alloc(sizeof(*content));
	content->media_type = mem_strdup(media_type);
	content->size = size;
	content->seed = seed;
	strcpy(content->digest, digest);
	if (bytes) {
		content->bytes = mem_alloc((size_t)size + 1);
		memcpy(content->bytes, bytes, (size_t)size);
	}
	content->next = scripted->contents;
	scripted->contents = content;
	return content;
}

/* Adds one content under (kind, repository, name) unless something is there already. */
static void content_put(struct scripted *scripted, enum holding_kind kind, const char *repository, const char *name,
			const char *media_type, const void *bytes, uint64_t seed, uint64_t size, const char *digest)
{
	scripted_lock(scripted);
	struct holding *holding = holding_make(scripted, kind, repository, name);
	if (holding->count == 0)
		holding_add(holding, content_add(scripted, media_type, bytes, seed, size, digest), NULL);
	scripted_unlock(scripted);
}

void scripted_add_blob(struct scripted *scripted, const char *repository, uint64_t seed, uint64_t size,
		       char digest[SCRIPTED_DIGEST_MAX])
{
	char made[SCRIPTED_DIGEST_MAX];
	scripted_blob_digest(seed, size, made);
	content_put(scripted, HOLDING_BLOB, repository, made, "application/octet-stream", NULL, seed, size, made);
	if (digest)
		strcpy(digest, made);
}

void scripted_add_blob_bytes(struct scripted *scripted, const char *repository, const void *data, size_t len,
			     char digest[SCRIPTED_DIGEST_MAX])
{
	char made[SCRIPTED_DIGEST_MAX];
	bytes_digest(data, len, made);
	content_put(scripted, HOLDING_BLOB, repository, made, "application/octet-stream", data, 0, len, made);
	if (digest)
		strcpy(digest, made);
}

void scripted_add_manifest(struct scripted *scripted, const char *repository, const char *tag, const char *media_type,
			   const void *data, size_t len, char digest[SCRIPTED_DIGEST_MAX])
{
	char made[SCRIPTED_DIGEST_MAX];
	bytes_digest(data, len, made);
	content_put(scripted, HOLDING_MANIFEST, repository, made, media_type, data, 0, len, made);
	if (tag)
		scripted_set_tag(scripted, repository, tag, made, false);
	if (digest)
		strcpy(digest, made);
}

const char *scripted_manifest_type(struct scripted *scripted, const char *repository, const char *digest,
				   uint64_t *size)
{
	scripted_lock(scripted);
	struct holding *holding = content_find(scripted, HOLDING_MANIFEST, repository, digest);
	const struct content *content = holding ? holding->variants[0] : NULL;
	scripted_unlock(scripted);
	*size = content ? content->size : 0;
	return content ? content->media_type : NULL;
}

void scripted_add_file(struct scripted *scripted, const char *target, const char *media_type, const void *data,
		       size_t len)
{
	char made[SCRIPTED_DIGEST_MAX];
	bytes_digest(data, len, made);
	scripted_lock(scripted);
	struct holding *holding = holding_make(scripted, HOLDING_FILE, NULL, target);
	holding_clear(holding);
	holding_add(holding, content_add(scripted, media_type, data, 0, len, made), NULL);
	scripted_unlock(scripted);
}

void scripted_set_tag(struct scripted *scripted, const char *repository, const char *tag, const char *digest,
		      bool variant)
{
	scripted_lock(scripted);
	struct holding *manifest = content_find(scripted, HOLDING_MANIFEST, repository, digest);
	assert(manifest && "scripted_set_tag: no such manifest was added");
	struct holding *holding = holding_make(scripted, HOLDING_TAG, repository, tag);
	if (!variant)
		holding_clear(holding);
	holding_add(holding, manifest->variants[0], NULL);
	scripted_unlock(scripted);
}

void scripted_remove_tag(struct scripted *scripted, const char *repository, const char *tag)
{
	scripted_lock(scripted);
	struct holding *holding = holding_find(scripted, HOLDING_TAG, repository, tag);
	if (holding)
		holding_clear(holding);
	scripted_unlock(scripted);
}

void scripted_add_referrer(struct scripted *scripted, const char *repository, const char *subject, const char *digest,
			   const char *artifact_type)
{
	scripted_lock(scripted);
	struct holding *manifest = content_find(scripted, HOLDING_MANIFEST, repository, digest);
	assert(manifest && "scripted_add_referrer: no such manifest was added");
	holding_add(holding_make(scripted, HOLDING_REFERRERS, repository, subject), manifest->variants[0],
		    artifact_type);
	scripted_unlock(scripted);
}

void content_free_all(struct scripted *scripted)
{
	tdestroy(scripted->holdings, holding_free);
	scripted->holdings = NULL;
	while (scripted->contents) {
		struct content *content = scripted->contents;
		scripted->contents = content->next;
		free(content->media_type);
		free(content->bytes);
		free(content);
	}
}
