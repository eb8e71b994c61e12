/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client shows in order to pull what is its own: credentials that are none of larder's, and go to the registry
 * that they are for and to its token service, nowhere else (registry.h, token.h). Held by those who ask with them, and
 * wiped with the last of them. Tables that are about a login are keyed by a MAC of it, under a key that this process
 * made and shows nobody: neither can be guessed from the other.
 *
 * Any thread.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define CLIENT_LOGIN_BYTES_MAX 8192 /* of the header: a token in a password's place may have some thousand */
#define CLIENT_LOGIN_KEY_MAX   65   /* with the NUL */

struct client_login;

/* From an Authorization header; NULL, or Basic with neither name nor password, is nobody's. ERR_INVALID when it is not
 * Basic (RFC 7617), malformed or too long. */
int client_login_read(const char *authorization, struct client_login **out);
/* Another reference; NULL for NULL. */
struct client_login *client_login_hold(struct client_login *login);
/* Gives one back. Takes NULL. */
void client_login_release(struct client_login *login);

/* "Basic <base64>"; NULL: nobody's. Borrowed. */
const char *client_login_basic(const struct client_login *login);
/* Tells logins apart, in letters and digits; "" for NULL. Borrowed. */
const char *client_login_key(const struct client_login *login);
