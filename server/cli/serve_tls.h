/* SPDX-License-Identifier: Apache-2.0 */
/* The texts that the configuration's `tls` names. */
#pragma once

#include "base/err.h"

struct config;

struct serve_tls {
	char *cert, *key, *client_ca; /* PEM; all NULL for plain HTTP, the last where any client may come */
};

/* Reads the files as they are now, and tries them: http_reload_tls() takes what came. The caller disposes of the texts,
 * on error too. ERR_IO, ERR_LIMIT, ERR_INVALID. */
int serve_tls_read(const struct config *config, struct serve_tls *texts, struct err *err);
/* Wipes and frees. */
void serve_tls_dispose(struct serve_tls *texts);
