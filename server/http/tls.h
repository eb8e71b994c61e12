/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The certificates that larder serves with. The library keeps those that it was started with; each new connection is
 * given the newest ones instead, so that they can change while connections go on. Older ones live as long as the
 * server, since nobody counts the connections that use them: a change is rare, and a few KiB.
 */
#pragma once

#include "base/err.h"

#include <gnutls/gnutls.h>
#include <stdbool.h>

struct http_tls;

/* Takes NULL. */
void http_tls_free(struct http_tls *tls);

/* Texts in PEM: certificate chain, its key, and the authorities whose clients may come (NULL: any client may). New
 * connections have them from now on; *tls is made when it is NULL. ERR_INVALID: all stays as it was. Any thread. */
int http_tls_load(struct http_tls **tls, const char *cert, const char *key, const char *client_ca, struct err *err);

/* Whether http_tls_load() would take these. */
int http_tls_check(const char *cert, const char *key, const char *client_ca, struct err *err);

/* Before a connection's handshake. Any thread. */
void http_tls_begin(struct http_tls *tls, gnutls_session_t session);

/* Encrypts and sends on a socket that does not block: how many bytes went out; 0: it takes none now; ERR_IO. Where
 * *record_waits is set thereby, a record is encrypted and not yet out: the next call gets no data, and returns what of
 * the data it was made of. On the connection's thread. */
ssize_t http_tls_send(gnutls_session_t session, const char *data, size_t len, bool *record_waits);
