/* SPDX-License-Identifier: Apache-2.0 */
/* Users and bcrypt hashes, a "user:hash" a line, as `htpasswd -B` writes it. Immutable once read: any thread. */
#pragma once

#include "base/err.h"

#include <stdbool.h>

#define HTPASSWD_COST_MIN 4
#define HTPASSWD_COST_MAX                                                                                              \
	14 /* a second and more of a core for each guess: rather a way to keep larder busy than a lock */
#define HTPASSWD_USERS_MAX 100000

struct htpasswd;

/* Reads the text of a file. ERR_INVALID with "SOURCE:LINE: what is wrong; what would be right". */
int htpasswd_read(const char *text, const char *source, struct htpasswd **out, struct err *err);
/* Another reference, for who goes on using it while newer users take its place. */
struct htpasswd *htpasswd_hold(struct htpasswd *users);
/* Gives a reference back. Takes NULL. */
void htpasswd_release(struct htpasswd *users);

/* Whether it is this user's password. Blocks for as long as the hash costs, for a user who is not there too. */
bool htpasswd_verify(const struct htpasswd *users, const char *user, const char *password);
