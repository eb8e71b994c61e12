/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/wire/scripted_tls.h"

#include "tests/wire/scripted_internal.h"

#include "base/cleanup.h"

#include <arpa/inet.h>
#include <assert.h>
#include <gnutls/x509.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define VALID_S (24 * 3600)

struct scripted_tls {
	gnutls_certificate_credentials_t credentials;
	gnutls_priority_t priority;
	char *ca_path;
};

struct identity {
	gnutls_x509_crt_t cert;
	gnutls_x509_privkey_t key;
};

static void identity_dispose(struct identity *identity)
{
	if (identity->cert)
		gnutls_x509_crt_deinit(identity->cert);
	if (identity->key)
		gnutls_x509_privkey_deinit(identity->key);
}

static int add_names(gnutls_x509_crt_t cert)
{
	static const char *const addresses[] = {"127.0.0.1", "127.0.0.2"};
	int rc = gnutls_x509_crt_set_subject_alt_name(cert, GNUTLS_SAN_DNSNAME, "localhost", 9, GNUTLS_FSAN_SET);
	for (size_t i = 0; rc >= 0 && i < 2; i++) {
		struct in_addr address;
		inet_pton(AF_INET, addresses[i], &address);
		rc = gnutls_x509_crt_set_subject_alt_name(cert, GNUTLS_SAN_IPADDRESS, &address, sizeof(address),
							  GNUTLS_FSAN_APPEND);
	}
	return rc;
}

/* Makes key and certificate, signed by `ca`, or a CA that signs itself when that is NULL. A GnuTLS code. */
static int identity_make(struct identity *identity, const char *name, unsigned char serial, const struct identity *ca,
			 bool server)
{
	time_t now = time(NULL);
	int rc = gnutls_x509_privkey_init(&identity->key);
	if (rc >= 0)
		rc = gnutls_x509_privkey_generate(identity->key, GNUTLS_PK_ECDSA,
						  GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
	if (rc >= 0)
		rc = gnutls_x509_crt_init(&identity->cert);
	if (rc < 0)
		return rc;
	gnutls_x509_crt_t cert = identity->cert;
	gnutls_x509_crt_set_version(cert, 3);
	gnutls_x509_crt_set_serial(cert, &serial, 1);
	gnutls_x509_crt_set_activation_time(cert, now - VALID_S);
	gnutls_x509_crt_set_expiration_time(cert, now + VALID_S);
	gnutls_x509_crt_set_dn_by_oid(cert, GNUTLS_OID_X520_COMMON_NAME, 0, name, (unsigned)strlen(name));
	gnutls_x509_crt_set_basic_constraints(cert, ca == NULL, -1);
	gnutls_x509_crt_set_key_usage(cert, ca ? GNUTLS_KEY_DIGITAL_SIGNATURE : GNUTLS_KEY_KEY_CERT_SIGN);
	if (server)
		rc = add_names(cert);
	if (rc >= 0)
		rc = gnutls_x509_crt_set_key(cert, identity->key);
	if (rc >= 0)
		rc = gnutls_x509_crt_sign2(cert, ca ? ca->cert : cert, ca ? ca->key : identity->key, GNUTLS_DIG_SHA256,
					   0);
	return rc;
}

static int write_pem(const char *directory, const char *name, const char *suffix, gnutls_datum_t *pem)
{
	_cleanup_free_ char *path = mem_printf("%s/%s.%s", directory, name, suffix);
	FILE *file = fopen(path, "w");
	bool whole = file && fwrite(pem->data, 1, pem->size, file) == pem->size;
	if (file && fclose(file) != 0)
		whole = false;
	gnutls_free(pem->data);
	chmod(path, 0600);
	return whole ? 0 : GNUTLS_E_FILE_ERROR;
}

static int identity_write(const struct identity *identity, const char *directory, const char *name)
{
	gnutls_datum_t pem;
	int rc = gnutls_x509_crt_export2(identity->cert, GNUTLS_X509_FMT_PEM, &pem);
	if (rc >= 0)
		rc = write_pem(directory, name, "pem", &pem);
	if (rc >= 0)
		rc = gnutls_x509_privkey_export2(identity->key, GNUTLS_X509_FMT_PEM, &pem);
	if (rc >= 0)
		rc = write_pem(directory, name, "key", &pem);
	return rc;
}

static struct scripted_tls *tls_with(const char *ca, const char *cert, const char *key, struct err *err)
{
	struct scripted_tls *tls = mem_alloc(sizeof(*tls));
	int rc = gnutls_certificate_allocate_credentials(&tls->credentials);
	if (rc >= 0)
		rc = gnutls_priority_init(&tls->priority, NULL, NULL);
	if (rc >= 0 && ca)
		rc = gnutls_certificate_set_x509_trust_file(tls->credentials, ca, GNUTLS_X509_FMT_PEM);
	if (rc >= 0)
		rc = gnutls_certificate_set_x509_key_file(tls->credentials, cert, key, GNUTLS_X509_FMT_PEM);
	tls->ca_path = mem_strdup(ca);
	if (rc >= 0)
		return tls;
	err_set(err, ERR_INVALID, "%s: %s", cert, gnutls_strerror(rc));
	scripted_tls_free(tls);
	return NULL;
}

struct scripted_tls *scripted_tls_new(const char *directory, struct err *err)
{
	_cleanup_(identity_dispose) struct identity ca = {0}, server = {0}, client = {0};
	int rc = identity_make(&ca, "scripted test CA", 1, NULL, false);
	if (rc >= 0)
		rc = identity_make(&server, "localhost", 2, &ca, true);
	if (rc >= 0)
		rc = identity_make(&client, "scripted test client", 3, &ca, false);
	if (rc >= 0)
		rc = identity_write(&ca, directory, "ca");
	if (rc >= 0)
		rc = identity_write(&server, directory, "server");
	if (rc >= 0)
		rc = identity_write(&client, directory, "client");
	if (rc < 0) {
		err_set(err, ERR_IO, "cannot make certificates in %s: %s", directory, gnutls_strerror(rc));
		return NULL;
	}
	_cleanup_free_ char *ca_path = mem_printf("%s/ca.pem", directory);
	_cleanup_free_ char *cert = mem_printf("%s/server.pem", directory);
	_cleanup_free_ char *key = mem_printf("%s/server.key", directory);
	return tls_with(ca_path, cert, key, err);
}

struct scripted_tls *scripted_tls_read(const char *cert, const char *key, struct err *err)
{
	return tls_with(NULL, cert, key, err);
}

const char *scripted_tls_ca(const struct scripted_tls *tls)
{
	return tls->ca_path;
}

void scripted_tls_free(struct scripted_tls *tls)
{
	if (!tls)
		return;
	if (tls->credentials)
		gnutls_certificate_free_credentials(tls->credentials);
	if (tls->priority)
		gnutls_priority_deinit(tls->priority);
	free(tls->ca_path);
	free(tls);
}

gnutls_session_t scripted_tls_session(const struct listener *listener)
{
	gnutls_datum_t protocols[] = {{(unsigned char *)"h2", 2}, {(unsigned char *)"http/1.1", 8}};
	gnutls_session_t session;
	int rc = gnutls_init(&session, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);
	assert(rc == 0);
	gnutls_priority_set(session, listener->tls->priority);
	gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, listener->tls->credentials);
	gnutls_certificate_server_set_request(session,
					      listener->client_certificate ? GNUTLS_CERT_REQUIRE : GNUTLS_CERT_IGNORE);
	gnutls_alpn_set_protocols(session, listener->h2 ? protocols : protocols + 1, listener->h2 ? 2 : 1,
				  GNUTLS_ALPN_SERVER_PRECEDENCE);
	gnutls_handshake_set_timeout(session, GNUTLS_INDEFINITE_TIMEOUT);
	return session;
}

bool scripted_tls_admits(const struct listener *listener, gnutls_session_t session)
{
	unsigned status = 0;
	if (!listener->client_certificate)
		return true;
	return gnutls_certificate_verify_peers2(session, &status) == 0 && status == 0;
}
