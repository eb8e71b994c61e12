/* SPDX-License-Identifier: Apache-2.0 */
/* What is in the files that a configuration names, looked at before anything is served by it. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "server/access/htpasswd.h"
#include "server/bundle/sign.h"
#include "server/cli/config_keys.h"
#include "server/cli/text_file.h"

#include <gnutls/x509.h>

/* Where the problems go. */
struct inspector {
	config_report_fn *report;
	void *context;
};

/* `path` is the configuration's key; without authorities, NULL, all is well. */
static void inspect_authorities(const struct inspector *inspector, const char *path, const char *authorities)
{
	gnutls_certificate_credentials_t credentials;
	_cleanup_free_ char *text = NULL;
	int found;

	if (!authorities || gnutls_certificate_allocate_credentials(&credentials) < 0)
		return;
	found = gnutls_certificate_set_x509_trust_file(credentials, authorities, GNUTLS_X509_FMT_PEM);
	gnutls_certificate_free_credentials(credentials);
	if (found > 0)
		return;
	text = mem_printf("'%s' holds no certificate that can be read; name a CA bundle in PEM", authorities);
	inspector->report(inspector->context, path, text);
}

static void inspect_pair(const struct inspector *inspector, const char *path, const char *cert, const char *key)
{
	gnutls_certificate_credentials_t credentials;
	_cleanup_free_ char *text = NULL;
	int failed;

	if (!cert || gnutls_certificate_allocate_credentials(&credentials) < 0)
		return;
	failed = gnutls_certificate_set_x509_key_file(credentials, cert, key, GNUTLS_X509_FMT_PEM);
	gnutls_certificate_free_credentials(credentials);
	if (failed >= 0)
		return;
	text = mem_printf("'%s' does not do with '%s' (%s); both must be PEM, and belong together", cert, key,
			  gnutls_strerror(failed));
	inspector->report(inspector->context, path, text);
}

/* `advice` may be NULL: the text has its own. */
static void report_with_advice(const struct inspector *inspector, const char *path, const struct err *err,
			       const char *advice)
{
	_cleanup_free_ char *text = mem_printf("%s%s%s", err->text, advice ? "; " : "", advice ? advice : "");

	inspector->report(inspector->context, path, text);
}

static void inspect_token(const struct inspector *inspector, const char *file)
{
	struct err err = {0};
	_cleanup_(text_file_freep) char *token = file ? text_file_read_line(file, &err) : NULL;

	if (file && !token)
		report_with_advice(inspector, "admin.token_file", &err, "it must hold the token, in one line");
}

static void inspect_users(const struct inspector *inspector, const char *file)
{
	struct err err = {0};
	_cleanup_(text_file_freep) char *text = file ? text_file_read(file, &err) : NULL;
	struct htpasswd *users = NULL;

	if (file && (!text || htpasswd_read(text, file, &users, &err)))
		report_with_advice(inspector, "access.htpasswd", &err, text ? NULL : "add a user with `htpasswd -B`");
	htpasswd_release(users);
}

static void inspect_verify_key(const struct inspector *inspector, const char *file)
{
	struct err err = {0};
	uint8_t key[SIGN_PUBLIC_KEY_BYTES];
	_cleanup_(text_file_freep) char *pem = file ? text_file_read(file, &err) : NULL;

	if (file && (!pem || sign_read_public_key(pem, key, &err)))
		inspector->report(inspector->context, "import.verify_key", err.text);
}

static void inspect_upstream(const struct inspector *inspector, const struct config_upstream *upstream)
{
	_cleanup_free_ char *ca = mem_printf("upstreams.%s.ca", upstream->name);
	_cleanup_free_ char *client_cert = mem_printf("upstreams.%s.client_cert", upstream->name);

	inspect_authorities(inspector, ca, upstream->ca);
	inspect_pair(inspector, client_cert, upstream->client_cert, upstream->client_key);
}

void config_inspect(const struct config *config, config_report_fn *report, void *context)
{
	const struct inspector inspector = {report, context};

	inspect_pair(&inspector, "tls.cert", config->tls.cert, config->tls.key);
	inspect_authorities(&inspector, "tls.client_ca", config->tls.client_ca);
	inspect_token(&inspector, config->admin.token_file);
	inspect_users(&inspector, config->access.htpasswd);
	inspect_verify_key(&inspector, config->import.verify_key);
	for (size_t i = 0; i < config->upstream_count; i++)
		inspect_upstream(&inspector, &config->upstreams[i]);
}
