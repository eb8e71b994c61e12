/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Refuses to renegotiate. GnuTLS leaves the answer to a client of TLS 1.2 that asks for it to its user, which the HTTP
 * library does not know of: it closes the connection, and does not say why. So we look at the records on their way in
 * (RFC 5246, section 6.2.1: what a record is for stands in front of it, in the clear), and send the alert that says no.
 */
#pragma once

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stdint.h>

#define HTTP_TLS_HEADER 5

/* How far into a record what was read reaches. */
struct http_tls_input {
	gnutls_session_t session;
	int fd;
	uint8_t header[HTTP_TLS_HEADER];
	unsigned header_len;
	unsigned left;                  /* of the record behind its header */
	bool ciphers_changed, finished; /* by the client */
};

/* From now on the session reads `fd` through this, which lives as long. Before its handshake. */
void http_tls_input_begin(struct http_tls_input *input, gnutls_session_t session, int fd);
