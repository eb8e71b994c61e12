/* SPDX-License-Identifier: Apache-2.0 */
/* Content digests (OCI image-spec, descriptor.md, "Digests"): sha256 and sha512, parsed, printed and computed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum digest_algorithm {
	DIGEST_SHA256 = 1, /* values are stored on disk: do not renumber */
	DIGEST_SHA512 = 2,
};

#define DIGEST_BYTES_MAX 64
#define DIGEST_TEXT_MAX  (sizeof("sha512:") + 2 * DIGEST_BYTES_MAX) /* with the NUL */

struct digest {
	uint8_t algorithm;               /* enum digest_algorithm; 0: none */
	uint8_t bytes[DIGEST_BYTES_MAX]; /* unused tail is zero, so that digests compare by memcmp */
};

/* Parses "sha256:<64 lower-case hex>" or "sha512:<128>". 0, or ERR_INVALID. */
int digest_parse(const char *text, struct digest *digest);

/* Prints "algorithm:hex" into `text` and returns it. */
const char *digest_format(const struct digest *digest, char text[DIGEST_TEXT_MAX]);

/* Prints the hex alone into `text` and returns it. */
const char *digest_hex(const struct digest *digest, char text[DIGEST_TEXT_MAX]);

const char *digest_algorithm_name(uint8_t algorithm); /* "sha256"; NULL when unknown */
size_t digest_length(const struct digest *digest);    /* bytes in use: 32 or 64 */
bool digest_equal(const struct digest *a, const struct digest *b);

/* A running hash. One thread at a time. */
struct hasher;
struct hasher *hasher_new(uint8_t algorithm);
void hasher_update(struct hasher *hasher, const void *data, size_t len);
/* Ends the hash and frees the hasher. */
void hasher_finish(struct hasher *hasher, struct digest *digest);
void hasher_free(struct hasher *hasher);

/* The digest of bytes in memory. */
void digest_of(uint8_t algorithm, const void *data, size_t len, struct digest *digest);
