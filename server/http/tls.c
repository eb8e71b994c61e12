/* SPDX-License-Identifier: Apache-2.0 */
#include "server/http/tls.h"

#include "base/buf.h"

#include <gnutls/x509.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct generation {
	gnutls_certificate_credentials_t credentials;
	bool asks_clients;
	struct generation *older;
};

struct http_tls {
	struct generation *newest; /* atomic */
};

static void generation_free(struct generation *generation)
{
	if (generation->credentials)
		gnutls_certificate_free_credentials(generation->credentials);
	free(generation);
}

void http_tls_free(struct http_tls *tls)
{
	if (!tls)
		return;
	while (tls->newest) {
		struct generation *generation = tls->newest;

		tls->newest = generation->older;
		generation_free(generation);
	}
	free(tls);
}

static gnutls_datum_t datum_of(const char *text)
{
	return (gnutls_datum_t){.data = (unsigned char *)(uintptr_t)text, .size = (unsigned)strlen(text)};
}

static int fill(struct generation *generation, const char *cert, const char *key, const char *client_ca,
		struct err *err)
{
	gnutls_datum_t cert_pem = datum_of(cert), key_pem = datum_of(key), ca_pem;
	int failed = gnutls_certificate_allocate_credentials(&generation->credentials);

	if (failed == 0)
		failed = gnutls_certificate_set_x509_key_mem(generation->credentials, &cert_pem, &key_pem,
							     GNUTLS_X509_FMT_PEM);
	if (failed < 0)
		return err_set(
			err, ERR_INVALID,
			"cannot serve TLS with this certificate and key (%s); they must be PEM, and belong together",
			gnutls_strerror(failed));
	if (!client_ca)
		return 0;
	ca_pem = datum_of(client_ca);
	failed = gnutls_certificate_set_x509_trust_mem(generation->credentials, &ca_pem, GNUTLS_X509_FMT_PEM);
	if (failed <= 0)
		return err_set(err, ERR_INVALID, "there is no certificate (PEM) in tls.client_ca%s%s",
			       failed ? ": " : "", failed ? gnutls_strerror(failed) : "");
	generation->asks_clients = true;
	return 0;
}

int http_tls_check(const char *cert, const char *key, const char *client_ca, struct err *err)
{
	struct generation *generation = mem_alloc(sizeof(*generation));
	int code = fill(generation, cert, key, client_ca, err);

	generation_free(generation);
	return code;
}

int http_tls_load(struct http_tls **tls, const char *cert, const char *key, const char *client_ca, struct err *err)
{
	struct generation *generation = mem_alloc(sizeof(*generation));
	int code = fill(generation, cert, key, client_ca, err);

	if (code) {
		generation_free(generation);
		return code;
	}
	if (!*tls)
		*tls = mem_alloc(sizeof(**tls));
	generation->older = (*tls)->newest;
	__atomic_store_n(&(*tls)->newest, generation, __ATOMIC_RELEASE);
	return 0;
}

void http_tls_begin(struct http_tls *tls, gnutls_session_t session)
{
	static gnutls_typed_vdata_st client_purpose = {.type = GNUTLS_DT_KEY_PURPOSE_OID,
						       .data = (unsigned char *)(uintptr_t)GNUTLS_KP_TLS_WWW_CLIENT};
	const struct generation *generation = __atomic_load_n(&tls->newest, __ATOMIC_ACQUIRE);

	gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, generation->credentials);
	if (generation->asks_clients) {
		gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUIRE);
		/* The handshake fails where the client's is not signed by one of ours, is outdated, or is a server's.
		 */
		gnutls_session_set_verify_cert2(session, &client_purpose, 1, 0);
	}
}

ssize_t http_tls_send(gnutls_session_t session, const char *data, size_t len, bool *record_waits)
{
	size_t done = 0;

	do {
		ssize_t sent = *record_waits ? gnutls_record_send(session, NULL, 0)
					     : gnutls_record_send(session, data + done, len - done);

		if (sent == GNUTLS_E_AGAIN || sent == GNUTLS_E_INTERRUPTED) {
			*record_waits = true;
			return (ssize_t)done;
		}
		if (sent <= 0)
			return ERR_IO;
		*record_waits = false;
		done += (size_t)sent;
	} while (done < len);
	return (ssize_t)done;
}
