/* SPDX-License-Identifier: Apache-2.0 */
#include "base/digest.h"

#include "base/buf.h"
#include "base/err.h"

#include <assert.h>
#include <gnutls/crypto.h>
#include <stdlib.h>
#include <string.h>

struct hasher {
	gnutls_hash_hd_t handle;
	uint8_t algorithm;
};

static const struct algorithm {
	const char *name;
	size_t length;
	gnutls_digest_algorithm_t gnutls;
} algorithms[] = {
	[DIGEST_SHA256] = {"sha256", 32, GNUTLS_DIG_SHA256},
	[DIGEST_SHA512] = {"sha512", 64, GNUTLS_DIG_SHA512},
};

static const struct algorithm *find(uint8_t algorithm)
{
	if (algorithm != DIGEST_SHA256 && algorithm != DIGEST_SHA512)
		return NULL;
	return &algorithms[algorithm];
}

/* Upper case is not a digest: OCI image-spec, descriptor.md, "[a-f0-9]{64}". */
static int hex_value(char letter)
{
	if (letter >= '0' && letter <= '9')
		return letter - '0';
	if (letter >= 'a' && letter <= 'f')
		return letter - 'a' + 10;
	return -1;
}

int digest_parse(const char *text, struct digest *digest)
{
	struct digest parsed = {0};
	const char *hex = strchr(text, ':');
	if (!hex)
		return ERR_INVALID;
	size_t name_len = (size_t)(hex++ - text);
	for (uint8_t i = DIGEST_SHA256; i <= DIGEST_SHA512; i++) {
		if (strlen(algorithms[i].name) == name_len && !memcmp(text, algorithms[i].name, name_len))
			parsed.algorithm = i;
	}
	size_t length = digest_length(&parsed);
	if (!length)
		return ERR_INVALID;
	for (size_t i = 0; i < length; i++) {
		int high = hex_value(hex[2 * i]);
		int low = high < 0 ? -1 : hex_value(hex[2 * i + 1]);
		if (low < 0)
			return ERR_INVALID;
		parsed.bytes[i] = (uint8_t)(high << 4 | low);
	}
	if (hex[2 * length])
		return ERR_INVALID;
	*digest = parsed;
	return 0;
}

const char *digest_hex(const struct digest *digest, char text[DIGEST_TEXT_MAX])
{
	static const char letters[] = "0123456789abcdef";
	size_t length = digest_length(digest);
	for (size_t i = 0; i < length; i++) {
		text[2 * i] = letters[digest->bytes[i] >> 4];
		text[2 * i + 1] = letters[digest->bytes[i] & 15];
	}
	text[2 * length] = '\0';
	return text;
}

const char *digest_format(const struct digest *digest, char text[DIGEST_TEXT_MAX])
{
	const char *name = digest_algorithm_name(digest->algorithm);
	char *at = stpcpy(text, name ? name : "");
	if (name)
		*at++ = ':';
	digest_hex(digest, at);
	return text;
}

const char *digest_algorithm_name(uint8_t algorithm)
{
	const struct algorithm *found = find(algorithm);
	return found ? found->name : NULL;
}

size_t digest_length(const struct digest *digest)
{
	const struct algorithm *found = find(digest->algorithm);
	return found ? found->length : 0;
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
	return a->algorithm == b->algorithm && !memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

struct hasher *hasher_new(uint8_t algorithm)
{
	const struct algorithm *found = find(algorithm);
	assert(found);
	struct hasher *hasher = mem_alloc(sizeof(*hasher));
	hasher->algorithm = algorithm;
	/* Both algorithms are always compiled in, so that only memory can be what is missing. */
	if (gnutls_hash_init(&hasher->handle, found->gnutls))
		abort();
	return hasher;
}

void hasher_update(struct hasher *hasher, const void *data, size_t len)
{
	if (!len)
		return;
	int rc = gnutls_hash(hasher->handle, data, len);
	assert(rc == 0);
	(void)rc;
}

void hasher_finish(struct hasher *hasher, struct digest *digest)
{
	*digest = (struct digest){.algorithm = hasher->algorithm};
	gnutls_hash_deinit(hasher->handle, digest->bytes);
	free(hasher);
}

void hasher_free(struct hasher *hasher)
{
	if (!hasher)
		return;
	gnutls_hash_deinit(hasher->handle, NULL);
	free(hasher);
}

void digest_of(uint8_t algorithm, const void *data, size_t len, struct digest *digest)
{
	struct hasher *hasher = hasher_new(algorithm);
	hasher_update(hasher, data, len);
	hasher_finish(hasher, digest);
}
