/* SPDX-License-Identifier: Apache-2.0 */
#include "server/bundle/sign.h"

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <string.h>

static gnutls_datum_t datum(const void *data, size_t len)
{
	return (gnutls_datum_t){.data = (unsigned char *)(uintptr_t)data, .size = (unsigned)len};
}

static int not_ed25519(struct err *err)
{
	return err_set(err, ERR_INVALID,
		       "the key is no Ed25519 key in PEM; `openssl genpkey -algorithm ed25519` makes one");
}

static gnutls_privkey_t load_private(const char *pem)
{
	gnutls_datum_t text = datum(pem, strlen(pem));
	gnutls_privkey_t key;

	if (gnutls_privkey_init(&key))
		return NULL;
	if (gnutls_privkey_import_x509_raw(key, &text, GNUTLS_X509_FMT_PEM, NULL, 0) == 0 &&
	    gnutls_privkey_get_pk_algorithm(key, NULL) == GNUTLS_PK_EDDSA_ED25519)
		return key;
	gnutls_privkey_deinit(key);
	return NULL;
}

int sign_bytes(const char *pem, const void *data, size_t len, uint8_t signature[SIGN_SIGNATURE_BYTES], struct err *err)
{
	gnutls_privkey_t key = load_private(pem);
	gnutls_datum_t text = datum(data, len), made = {0};
	int code;

	if (!key)
		return not_ed25519(err);
	code = gnutls_privkey_sign_data2(key, GNUTLS_SIGN_EDDSA_ED25519, 0, &text, &made);
	gnutls_privkey_deinit(key);
	if (code == 0 && made.size == SIGN_SIGNATURE_BYTES)
		memcpy(signature, made.data, SIGN_SIGNATURE_BYTES);
	else
		code = err_set(err, ERR_INVALID, "cannot sign: %s", gnutls_strerror(code));
	gnutls_free(made.data);
	return code;
}

/* From a public key's PEM, else from a private one's. */
static int import_public(gnutls_pubkey_t public, const char *pem)
{
	gnutls_datum_t text = datum(pem, strlen(pem));
	gnutls_privkey_t private;
	int code;

	if (gnutls_pubkey_import(public, &text, GNUTLS_X509_FMT_PEM) == 0)
		return 0;
	private = load_private(pem);
	if (!private)
		return -1;
	code = gnutls_pubkey_import_privkey(public, private, 0, 0);
	gnutls_privkey_deinit(private);
	return code;
}

int sign_read_public_key(const char *pem, uint8_t key[SIGN_PUBLIC_KEY_BYTES], struct err *err)
{
	gnutls_ecc_curve_t curve = GNUTLS_ECC_CURVE_INVALID;
	gnutls_datum_t x = {0};
	gnutls_pubkey_t public;
	bool good;

	if (gnutls_pubkey_init(&public))
		return err_set(err, ERR_INVALID, "cannot read the key");
	good = import_public(public, pem) == 0 && gnutls_pubkey_export_ecc_raw(public, &curve, &x, NULL) == 0 &&
	       curve == GNUTLS_ECC_CURVE_ED25519 && x.size == SIGN_PUBLIC_KEY_BYTES;
	if (good)
		memcpy(key, x.data, SIGN_PUBLIC_KEY_BYTES);
	gnutls_free(x.data);
	gnutls_pubkey_deinit(public);
	return good ? 0 : not_ed25519(err);
}

int sign_verify(const uint8_t key[SIGN_PUBLIC_KEY_BYTES], const void *data, size_t len, const void *signature,
		size_t signature_len, struct err *err)
{
	gnutls_datum_t x = datum(key, SIGN_PUBLIC_KEY_BYTES), text = datum(data, len),
		       sig = datum(signature, signature_len);
	gnutls_pubkey_t public;
	bool good = false;

	if (gnutls_pubkey_init(&public) == 0) {
		good = signature_len == SIGN_SIGNATURE_BYTES &&
		       gnutls_pubkey_import_ecc_raw(public, GNUTLS_ECC_CURVE_ED25519, &x, NULL) == 0 &&
		       gnutls_pubkey_verify_data2(public, GNUTLS_SIGN_EDDSA_ED25519, 0, &text, &sig) >= 0;
		gnutls_pubkey_deinit(public);
	}
	return good ? 0 : err_set(err, ERR_DENIED, "the bundle's signature is not the configured key's");
}
