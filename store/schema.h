/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the index encodes its keys and values. Every integer is big-endian, so that keys sort as numbers do; every value
 * starts with a version byte. Keys stay below LMDB's limit of 511 bytes.
 *
 *   table          key                                              value behind the version byte
 *   repositories   'n' upstream NUL repository                      number u64, name (upstream NUL repository)
 *                  'h' sha256 of the name, when it is too long      the same: the name there tells a collision
 *                  'i' repository u64                               the same: a repository by its number
 *   tags           repository u64, tag, NUL, accept u64             algorithm u8, digest, size u64, fetched i64,
 *                                                                   checked i64, media type
 *   links          repository u64, algorithm u8, digest             media type
 *   referrers      repository u64, algorithm u8, digest of the      as a tag's: digest of the list
 *                  subject
 *   blobs          algorithm u8, digest                             size u64, last use i64
 *   children       digest of a held manifest, digest of a blob      1 when that is a manifest too, else 0: u8
 *                  that it references (both with algorithm)
 *   parents        the same, the other way round                    the same
 *   roots          last use u64, algorithm u8, digest               (nothing): held blobs that no held manifest
 *                                                                   references, the least recently used first
 *   names          algorithm u8, digest, 't', key in tags           (nothing): what names a digest
 *                  algorithm u8, digest, 'l', repository u64        (nothing)
 *                  algorithm u8, digest, 'r', key in referrers      (nothing)
 *   pins           name of the pin, NUL, repository u64,            platforms, as a text
 *                  reference (a tag, or a digest as text)
 *   pinned         repository u64, reference, NUL, name of the pin  (nothing)
 *   meta           "totals"                                         blobs u64, bytes u64
 *                  "scrub"                                          began i64, done u8, and where a pass is under
 *                                                                   way the last digest that was read
 *                  "next-repository"                                number u64
 *
 * The encoders cannot fail; the decoders answer false for anything that they would not have written themselves.
 */
#pragma once

#include "store/index.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define SCHEMA_VERSION   1
#define SCHEMA_KEY_MAX   511
#define SCHEMA_NAME_MAX  (REF_UPSTREAM_MAX + 1 + REF_REPOSITORY_MAX)
#define SCHEMA_BYTES_MAX 800 /* the longest value: a repository's */

#define SCHEMA_TOTALS          "totals"
#define SCHEMA_NEXT_REPOSITORY "next-repository"
#define SCHEMA_SCRUB           "scrub"

/* Kinds of names. */
#define SCHEMA_NAME_TAG       't'
#define SCHEMA_NAME_LINK      'l'
#define SCHEMA_NAME_REFERRERS 'r'

struct schema_bytes {
	size_t len;
	uint8_t bytes[SCHEMA_BYTES_MAX];
};

/* What is left of a value while it is read. */
struct schema_reader {
	const uint8_t *at;
	size_t left;
};

static inline void schema_put(struct schema_bytes *out, const void *data, size_t len)
{
	memcpy(out->bytes + out->len, data, len);
	out->len += len;
}

static inline void schema_put_u8(struct schema_bytes *out, uint8_t value)
{
	out->bytes[out->len++] = value;
}

static inline void schema_put_u64(struct schema_bytes *out, uint64_t value)
{
	for (int shift = 56; shift >= 0; shift -= 8)
		schema_put_u8(out, (uint8_t)(value >> shift));
}

static inline void schema_put_digest(struct schema_bytes *out, const struct digest *digest)
{
	schema_put_u8(out, digest->algorithm);
	schema_put(out, digest->bytes, digest_length(digest));
}

static inline uint64_t schema_u64_at(const uint8_t *at)
{
	uint64_t value = 0;

	for (int i = 0; i < 8; i++)
		value = value << 8 | at[i];
	return value;
}

static inline bool schema_get_u64(struct schema_reader *in, uint64_t *value)
{
	if (in->left < 8)
		return false;
	*value = schema_u64_at(in->at);
	in->at += 8;
	in->left -= 8;
	return true;
}

static inline bool schema_get_i64(struct schema_reader *in, int64_t *value)
{
	uint64_t bits;

	if (!schema_get_u64(in, &bits))
		return false;
	*value = (int64_t)bits;
	return true;
}

static inline bool schema_get_digest(struct schema_reader *in, struct digest *digest)
{
	size_t len;

	memset(digest, 0, sizeof(*digest));
	if (in->left < 1 || !digest_algorithm_name(in->at[0]))
		return false;
	digest->algorithm = in->at[0];
	len = digest_length(digest);
	if (in->left < 1 + len)
		return false;
	memcpy(digest->bytes, in->at + 1, len);
	in->at += 1 + len;
	in->left -= 1 + len;
	return true;
}

/* The rest of a value as a text. */
static inline bool schema_get_text(struct schema_reader *in, char *text, size_t max)
{
	if (in->left > max || memchr(in->at, 0, in->left))
		return false;
	memcpy(text, in->at, in->left);
	text[in->left] = '\0';
	in->left = 0;
	return true;
}

/* Starts reading a value: false when it is of an unknown version, or of a length that no value has. */
static inline bool schema_open_value(const void *data, size_t len, struct schema_reader *in)
{
	const uint8_t *bytes = data;

	if (len < 1 || len > SCHEMA_BYTES_MAX || bytes[0] != SCHEMA_VERSION)
		return false;
	in->at = bytes + 1;
	in->left = len - 1;
	return true;
}

/* Names: false when a part is empty or longer than it may be. */
static inline bool schema_name(const struct index_repository *repository, struct schema_bytes *out)
{
	size_t upstream = strnlen(repository->upstream, REF_UPSTREAM_MAX + 1);
	size_t name = strnlen(repository->repository, REF_REPOSITORY_MAX + 1);

	out->len = 0;
	if (upstream == 0 || upstream > REF_UPSTREAM_MAX || name == 0 || name > REF_REPOSITORY_MAX)
		return false;
	schema_put(out, repository->upstream, upstream + 1);
	schema_put(out, repository->repository, name);
	return true;
}

static inline void schema_repository_key(const void *name, size_t len, struct schema_bytes *out)
{
	struct digest digest;

	out->len = 0;
	if (1 + len <= SCHEMA_KEY_MAX) {
		schema_put_u8(out, 'n');
		schema_put(out, name, len);
		return;
	}
	digest_of(DIGEST_SHA256, name, len, &digest);
	schema_put_u8(out, 'h');
	schema_put(out, digest.bytes, digest_length(&digest));
}

static inline void schema_number_key(uint64_t number, struct schema_bytes *out)
{
	out->len = 0;
	schema_put_u8(out, 'i');
	schema_put_u64(out, number);
}

static inline void schema_repository_value(uint64_t number, const void *name, size_t len, struct schema_bytes *out)
{
	out->len = 0;
	schema_put_u8(out, SCHEMA_VERSION);
	schema_put_u64(out, number);
	schema_put(out, name, len);
}

/* `name` is then the rest of the value, borrowed. */
static inline bool schema_read_repository(const void *data, size_t len, uint64_t *number, struct schema_reader *name)
{
	return schema_open_value(data, len, name) && schema_get_u64(name, number) && name->left <= SCHEMA_NAME_MAX;
}

/* The part of a tag's key behind the repository's number and before the accept. False for a tag of a forbidden length.
 */
static inline bool schema_put_tag(struct schema_bytes *out, const char *tag)
{
	size_t len = strnlen(tag, REF_TAG_MAX + 1);

	if (len == 0 || len > REF_TAG_MAX)
		return false;
	schema_put(out, tag, len + 1);
	return true;
}

static inline void schema_tag_value(const struct index_tag *tag, struct schema_bytes *out)
{
	out->len = 0;
	schema_put_u8(out, SCHEMA_VERSION);
	schema_put_digest(out, &tag->digest);
	schema_put_u64(out, tag->size);
	schema_put_u64(out, (uint64_t)tag->fetched);
	schema_put_u64(out, (uint64_t)tag->checked);
	schema_put(out, tag->media_type, strnlen(tag->media_type, INDEX_MEDIA_TYPE_MAX));
}

/* A pin's name, which a key begins with. False for one of a forbidden length. */
static inline bool schema_put_pin_name(struct schema_bytes *out, const char *name)
{
	size_t len = strnlen(name, INDEX_PIN_NAME_MAX + 1);

	if (len == 0 || len > INDEX_PIN_NAME_MAX)
		return false;
	schema_put(out, name, len + 1);
	return true;
}

static inline void schema_pin_key(const void *name, size_t name_len, uint64_t repository, const void *reference,
				  size_t len, struct schema_bytes *out)
{
	out->len = 0;
	schema_put(out, name, name_len);
	schema_put_u8(out, 0);
	schema_put_u64(out, repository);
	schema_put(out, reference, len);
}

static inline void schema_pinned_key(uint64_t repository, const void *reference, size_t len, const void *name,
				     size_t name_len, struct schema_bytes *out)
{
	out->len = 0;
	schema_put_u64(out, repository);
	schema_put(out, reference, len);
	schema_put_u8(out, 0);
	schema_put(out, name, name_len);
}

static inline void schema_text_value(const char *text, size_t max, struct schema_bytes *out)
{
	out->len = 0;
	schema_put_u8(out, SCHEMA_VERSION);
	schema_put(out, text, strnlen(text, max));
}

static inline bool schema_read_text(const void *data, size_t len, char *text, size_t max)
{
	struct schema_reader in;

	return schema_open_value(data, len, &in) && schema_get_text(&in, text, max);
}

/* Everything but `accept`, which is in the key. */
static inline bool schema_read_tag(const void *data, size_t len, struct index_tag *tag)
{
	struct schema_reader in;

	return schema_open_value(data, len, &in) && schema_get_digest(&in, &tag->digest) &&
	       schema_get_u64(&in, &tag->size) && schema_get_i64(&in, &tag->fetched) &&
	       schema_get_i64(&in, &tag->checked) && schema_get_text(&in, tag->media_type, INDEX_MEDIA_TYPE_MAX);
}

static inline void schema_link_value(const struct index_link *link, struct schema_bytes *out)
{
	schema_text_value(link->media_type, INDEX_MEDIA_TYPE_MAX, out);
}

static inline bool schema_read_link(const void *data, size_t len, struct index_link *link)
{
	return schema_read_text(data, len, link->media_type, INDEX_MEDIA_TYPE_MAX);
}

static inline void schema_blob_value(const struct index_blob *blob, struct schema_bytes *out)
{
	out->len = 0;
	schema_put_u8(out, SCHEMA_VERSION);
	schema_put_u64(out, blob->size);
	schema_put_u64(out, (uint64_t)blob->last_use);
}

static inline bool schema_read_blob(const void *data, size_t len, struct index_blob *blob)
{
	struct schema_reader in;

	return schema_open_value(data, len, &in) && schema_get_u64(&in, &blob->size) &&
	       schema_get_i64(&in, &blob->last_use) && in.left == 0;
}

static inline void schema_totals_value(const struct index_totals *totals, struct schema_bytes *out)
{
	out->len = 0;
	schema_put_u8(out, SCHEMA_VERSION);
	schema_put_u64(out, totals->blobs);
	schema_put_u64(out, totals->bytes);
}

static inline bool schema_read_totals(const void *data, size_t len, struct index_totals *totals)
{
	struct schema_reader in;

	return schema_open_value(data, len, &in) && schema_get_u64(&in, &totals->blobs) &&
	       schema_get_u64(&in, &totals->bytes) && in.left == 0;
}

static inline void schema_scrub_value(const struct index_scrub *scrub, struct schema_bytes *out)
{
	out->len = 0;
	schema_put_u8(out, SCHEMA_VERSION);
	schema_put_u64(out, (uint64_t)scrub->began);
	schema_put_u8(out, scrub->done ? 1 : 0);
	if (scrub->after.algorithm)
		schema_put_digest(out, &scrub->after);
}

static inline bool schema_read_scrub(const void *data, size_t len, struct index_scrub *scrub)
{
	struct schema_reader in;

	*scrub = (struct index_scrub){0};
	if (!schema_open_value(data, len, &in) || !schema_get_i64(&in, &scrub->began) || in.left < 1 || in.at[0] > 1)
		return false;
	scrub->done = in.at[0] == 1;
	in.at++;
	in.left--;
	return in.left == 0 || (schema_get_digest(&in, &scrub->after) && in.left == 0);
}

static inline void schema_empty_value(struct schema_bytes *out)
{
	out->len = 0;
	schema_put_u8(out, SCHEMA_VERSION);
}

/* An edge's key, in children from the parent, in parents from the child. */
static inline void schema_edge_key(const struct digest *from, const struct digest *to, struct schema_bytes *out)
{
	out->len = 0;
	schema_put_digest(out, from);
	schema_put_digest(out, to);
}

static inline void schema_edge_value(bool manifest, struct schema_bytes *out)
{
	schema_empty_value(out);
	schema_put_u8(out, manifest ? 1 : 0);
}

static inline bool schema_read_edge(const void *data, size_t len, bool *manifest)
{
	struct schema_reader in;

	if (!schema_open_value(data, len, &in) || in.left != 1 || in.at[0] > 1)
		return false;
	*manifest = in.at[0] == 1;
	return true;
}

/* A clock that was set before 1970 sorts as 1970. */
static inline void schema_root_key(int64_t last_use, const struct digest *digest, struct schema_bytes *out)
{
	out->len = 0;
	schema_put_u64(out, last_use > 0 ? (uint64_t)last_use : 0);
	schema_put_digest(out, digest);
}

/* A digest alone in a key, or at its beginning. */
static inline bool schema_key_digest(const void *data, size_t len, struct digest *digest, struct schema_reader *rest)
{
	*rest = (struct schema_reader){.at = data, .left = len};
	return schema_get_digest(rest, digest);
}

static inline void schema_number_value(uint64_t number, struct schema_bytes *out)
{
	out->len = 0;
	schema_put_u8(out, SCHEMA_VERSION);
	schema_put_u64(out, number);
}

static inline bool schema_read_number(const void *data, size_t len, uint64_t *number)
{
	struct schema_reader in;

	return schema_open_value(data, len, &in) && schema_get_u64(&in, number) && in.left == 0;
}
