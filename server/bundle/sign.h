/* SPDX-License-Identifier: Apache-2.0 */
/* Signatures of bundles: Ed25519 (RFC 8032) over the bytes of the bundle's own manifest. Keys are PEM, as
 * `openssl genpkey -algorithm ed25519` makes them. Any thread. */
#pragma once

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

#define SIGN_SIGNATURE_BYTES  64
#define SIGN_PUBLIC_KEY_BYTES 32
#define SIGN_KEY_FILE_MAX     16384

/* Reads the private key in PEM and signs. ERR_INVALID when it is no Ed25519 key. */
int sign_bytes(const char *pem, const void *data, size_t len, uint8_t signature[SIGN_SIGNATURE_BYTES], struct err *err);

/* Reads a public key in PEM; of a private one, the public half. ERR_INVALID. */
int sign_read_public_key(const char *pem, uint8_t key[SIGN_PUBLIC_KEY_BYTES], struct err *err);

/* 0, or ERR_DENIED when the signature is not this key's over these bytes. */
int sign_verify(const uint8_t key[SIGN_PUBLIC_KEY_BYTES], const void *data, size_t len, const void *signature,
		size_t signature_len, struct err *err);
