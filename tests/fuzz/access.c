/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz.h"

#include "server/access/access_internal.h"
#include "server/access/htpasswd.h"

/* A file of users, and tokens that somebody made up: none is taken. */
FUZZ_TEXT(text)
{
	static const uint8_t key[ACCESS_KEY_BYTES] = {1, 2, 3};
	char user[ACCESS_USER_MAX + 1];
	struct htpasswd *users = NULL;
	struct err err;

	if (htpasswd_read(text, "users", &users, &err) == 0)
		htpasswd_release(users);
	FUZZ_HOLDS(!token_read(key, text, 0, user));
}
