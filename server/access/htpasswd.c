/* SPDX-License-Identifier: Apache-2.0 */
#include "server/access/htpasswd.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "server/access/access.h"

#include <crypt.h>
#include <ctype.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#define BCRYPT_LEN 60 /* "$2y$10$", 22 characters of salt, 31 of hash */
#define COST_AT    4

struct user {
	char name[ACCESS_USER_MAX + 1];
	char hash[BCRYPT_LEN + 1];
	UT_hash_handle hh;
};

struct htpasswd {
	unsigned refs; /* atomic */
	struct user *users;
	char nobody[BCRYPT_LEN +
		    1]; /* a hash of the dearest cost there: a user who is not there takes as long as one who is */
};

static bool is_bcrypt(const char *hash)
{
	if (strlen(hash) != BCRYPT_LEN || strncmp(hash, "$2", 2) != 0 || !strchr("aby", hash[2]) || hash[3] != '$' ||
	    !isdigit((unsigned char)hash[4]) || !isdigit((unsigned char)hash[5]) || hash[6] != '$')
		return false;
	for (const char *at = hash + 7; *at; at++)
		if (!isalnum((unsigned char)*at) && *at != '.' && *at != '/')
			return false;
	return true;
}

static int take_line(struct htpasswd *users, char *line, const char *source, unsigned number, struct err *err)
{
	char *hash = strchr(line, ':');
	struct user *user;
	int cost;

	if (!hash || hash == line || hash - line > ACCESS_USER_MAX)
		return err_set(err, ERR_INVALID, "%s:%u: not USER:HASH with a name of at most %d characters", source,
			       number, ACCESS_USER_MAX);
	*hash++ = '\0';
	if (!is_bcrypt(hash))
		return err_set(err, ERR_INVALID, "%s:%u: the hash of '%s' is not bcrypt; make it with `htpasswd -B`",
			       source, number, line);
	cost = atoi(hash + COST_AT);
	if (cost < HTPASSWD_COST_MIN || cost > HTPASSWD_COST_MAX)
		return err_set(err, ERR_INVALID, "%s:%u: the cost of the hash of '%s' is %d; from %d to %d is taken",
			       source, number, line, cost, HTPASSWD_COST_MIN, HTPASSWD_COST_MAX);
	HASH_FIND_STR(users->users, line, user);
	if (user)
		return err_set(err, ERR_INVALID, "%s:%u: '%s' stands there twice", source, number, line);
	if (HASH_COUNT(users->users) >= HTPASSWD_USERS_MAX)
		return err_set(err, ERR_INVALID, "%s:%u: more than %d users", source, number, HTPASSWD_USERS_MAX);
	user = mem_alloc(sizeof(*user));
	strcpy(user->name, line);
	strcpy(user->hash, hash);
	HASH_ADD_STR(users->users, name, user);
	if (strncmp(hash + COST_AT, users->nobody + COST_AT, 2) > 0)
		strcpy(users->nobody, hash);
	return 0;
}

int htpasswd_read(const char *text, const char *source, struct htpasswd **out, struct err *err)
{
	_cleanup_free_ char *copy = mem_strdup(text);
	struct htpasswd *users = mem_alloc(sizeof(*users));
	char *rest = copy, *line;
	int code = 0;

	users->refs = 1;
	for (unsigned number = 1; code == 0 && (line = strsep(&rest, "\n")); number++) {
		line[strcspn(line, "\r")] = '\0';
		if (line[0] && line[0] != '#')
			code = take_line(users, line, source, number, err);
	}
	if (code == 0 && !users->users)
		code = err_set(err, ERR_INVALID, "%s: there is no user in it; add one with `htpasswd -B`", source);
	if (code) {
		htpasswd_release(users);
		return code;
	}
	*out = users;
	return 0;
}

struct htpasswd *htpasswd_hold(struct htpasswd *users)
{
	__atomic_add_fetch(&users->refs, 1, __ATOMIC_RELAXED);
	return users;
}

void htpasswd_release(struct htpasswd *users)
{
	struct user *user, *next;

	if (!users || __atomic_sub_fetch(&users->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	HASH_ITER (hh, users->users, user, next) {
		HASH_DEL(users->users, user);
		free(user);
	}
	free(users);
}

bool htpasswd_verify(const struct htpasswd *users, const char *user_name, const char *password)
{
	struct crypt_data *work = mem_alloc(sizeof(*work));
	struct user *user;
	const char *hash, *got;
	bool right;

	HASH_FIND_STR(users->users, user_name, user);
	hash = user ? user->hash : users->nobody;
	got = crypt_r(password, hash, work);
	right = got && strlen(got) == BCRYPT_LEN && gnutls_memcmp(got, hash, BCRYPT_LEN) == 0;
	explicit_bzero(work, sizeof(*work));
	free(work);
	return right && user;
}
