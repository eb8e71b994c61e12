/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates of the bed: a CA made at run time, a server certificate for 127.0.0.1, 127.0.0.2 and localhost (so that
 * 127.0.0.3 is a host whose name does not match), and a client certificate. Nothing of it outlives the directory.
 */
#pragma once

#include "base/err.h"

struct scripted_tls;

/* Makes everything, written as ca.pem, server.pem, server.key, client.pem and client.key into `directory`. NULL with
 * *err on failure. */
struct scripted_tls *scripted_tls_new(const char *directory, struct err *err);

/* Reads a server certificate and key instead; no client certificate can be demanded then. */
struct scripted_tls *scripted_tls_read(const char *cert, const char *key, struct err *err);

/* "DIRECTORY/ca.pem". Borrowed. */
const char *scripted_tls_ca(const struct scripted_tls *tls);

/* Takes NULL. Only after every instance that listens with it. */
void scripted_tls_free(struct scripted_tls *tls);
