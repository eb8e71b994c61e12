/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may pull what: users with bcrypt hashes (htpasswd.h), rules on UPSTREAM/REPOSITORY, and tokens for clients that
 * were told to get one. Knows neither HTTP nor registries: it is asked with an Authorization header and answers with a
 * verdict.
 *
 * Nobody waits on an event thread for a hash: what is not known yet is verified on a thread of this room's own, beside
 * which the asking request is paused. What was verified is remembered shortly, keyed by a MAC of the credentials, never
 * by themselves. An address that fails again and again is told to slow down (guesses.h).
 */
#pragma once

#include "base/err.h"
#include "base/waiter.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ACCESS_USER_MAX       64
#define ACCESS_PASSWORD_MAX   512
#define ACCESS_TOKEN_MAX      256
#define ACCESS_TOKEN_TTL_S    300
#define ACCESS_GOOD_TTL_MS    300000 /* how long a right password is remembered */
#define ACCESS_BAD_TTL_MS     10000  /* and a wrong one */
#define ACCESS_REMEMBERED_MAX 4096
#define ACCESS_WAITING_MAX    64  /* passwords that wait to be verified */
#define ACCESS_EVERYONE       "*" /* as a rule's `who`: whoever is logged in */
#define ACCESS_GROUP_PREFIX   '@'

struct access;

/* Some names and a list to each: a rule's globs by user, a group's members by group. */
struct access_list {
	const char *name;
	const char *const *items;
	size_t count;
};

struct access_options {
	const char *htpasswd; /* the file's text */
	const char *source;   /* its path, for messages */
	/* Globs on UPSTREAM/REPOSITORY that need no login. */
	const char *const *anonymous;
	size_t anonymous_count;
	/* "alice", "@ops", "*": what they may pull. None at all: every user may pull everything. */
	const struct access_list *rules;
	size_t rule_count;
	const struct access_list *groups;
	size_t group_count;
};

/* Copies all it needs. ERR_INVALID with "FILE:LINE: what is wrong; what would be right". */
int access_new(const struct access_options *options, struct access **out, struct err *err);
/* Takes new users and rules; what was remembered is forgotten. As access_new(); on error all stays as it was. Any
 * thread. */
int access_reload(struct access *access, const struct access_options *options, struct err *err);
/* Wakes what waits; from now on nobody waits, and every question is answered with ACCESS_LOGIN. */
void access_close(struct access *access);
/* Takes NULL. */
void access_free(struct access *access);

enum access_verdict {
	ACCESS_ALLOWED,
	ACCESS_WAIT,      /* the waiter was paused: ask again once woken */
	ACCESS_LOGIN,     /* nobody, or with a wrong password: 401 */
	ACCESS_DENIED,    /* known, and not allowed */
	ACCESS_SLOW_DOWN, /* too many failures: come again after retry_after_s */
};

struct access_answer {
	char user[ACCESS_USER_MAX + 1]; /* "" for who did not log in */
	int retry_after_s;
};

/*
 * `authorization` is the header (Basic, or Bearer with a token of ours) or NULL; `client` the address; `name` is
 * UPSTREAM/REPOSITORY, or NULL where only being somebody counts (/v2/, the catalog). Any thread; blocks only for a lock
 * held shortly.
 */
enum access_verdict access_ask(struct access *access, const char *authorization, const char *client, const char *name,
			       struct waiter *waiter, struct access_answer *answer);
/* Before a waiter ends that ACCESS_WAIT was said to last: one that waits for something else since is not ours to
 * forget. */
void access_forget(struct access *access, struct waiter *waiter);

/* Whether `user` ("" for nobody) may pull UPSTREAM/REPOSITORY. */
bool access_allows(struct access *access, const char *user, const char *name);

/* Whether some may stay anonymous. Clients must then be told to get a token, with which nobody can be told from
 * somebody: a client that is asked for a password and has none gives up. */
bool access_has_anonymous(struct access *access);
/* A token for the user ("" for nobody) that access_ask() takes for ACCESS_TOKEN_TTL_S. */
void access_make_token(struct access *access, const char *user, char token[ACCESS_TOKEN_MAX]);
