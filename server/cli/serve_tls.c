/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/serve_tls.h"

#include "server/cli/config.h"
#include "server/cli/text_file.h"
#include "server/http/tls.h"

void serve_tls_dispose(struct serve_tls *texts)
{
	text_file_free(texts->cert);
	text_file_free(texts->key);
	text_file_free(texts->client_ca);
}

static int read_texts(const struct config *config, struct serve_tls *texts, struct err *err)
{
	texts->cert = text_file_read(config->tls.cert, err);
	texts->key = texts->cert ? text_file_read(config->tls.key, err) : NULL;
	if (!texts->key)
		return err->code;
	if (!config->tls.client_ca)
		return 0;
	texts->client_ca = text_file_read(config->tls.client_ca, err);
	return texts->client_ca ? 0 : err->code;
}

int serve_tls_read(const struct config *config, struct serve_tls *texts, struct err *err)
{
	int code = config->tls.cert ? read_texts(config, texts, err) : 0;

	if (code == 0 && texts->cert)
		code = http_tls_check(texts->cert, texts->key, texts->client_ca, err);
	return code;
}
