/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `docker login` left behind: docker's config.json (docker/cli, "docker login: configuration") and the credential
 * helpers that it names (docker-credential-helpers, "Development": one word as argument, the server on standard input,
 * JSON on standard output). Functions here block on files and on programs, and so never run on the loop's thread.
 * Messages name file and key, and never what is secret or what a program wrote.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DOCKER_CONFIG_MAX     ((size_t)1 << 20)
#define DOCKER_HELPER_MAX     ((size_t)64 << 10) /* of a helper's output */
#define DOCKER_HELPER_NAME    64
#define DOCKER_HELPER_WAIT_MS 30000
#define LOGIN_MAX             ((size_t)32 << 10) /* of a user name, a password, a token */

/* Zeroed: nothing is known, ask as nobody. */
struct login {
	char *username; /* with a password, for Basic; both NULL otherwise */
	char *password;
	char *identity_token; /* an OAuth2 refresh token, for the token service alone */
};

/* Wipes and frees. */
void login_dispose(struct login *login);

/* What the file says of one registry. */
struct docker_login {
	struct login login;
	char *helper;        /* NULL, or NAME of docker-credential-NAME, which is to be asked … */
	char *server;        /* … for this */
	bool helper_decides; /* its "not found" is the last word; else `login` holds */
};

void docker_login_dispose(struct docker_login *found);

/*
 * Looks up the registry of this URL: a helper of its own in `credHelpers`, else the `credsStore`, and `auths`, whose
 * keys come with and without scheme, port and path. 0, with everything empty when the file has nothing for it;
 * ERR_INVALID or ERR_IO otherwise.
 */
int docker_config_find(const char *path, const char *registry_url, struct docker_login *found, struct err *err);

/*
 * Runs `docker-credential-NAME get`, without a shell. 0; ERR_NOT_FOUND when the helper knows of none; ERR_UPSTREAM when
 * it cannot be run, fails, takes longer than `wait_ms` or writes nonsense; ERR_CANCELLED once `abort_fd` can be read.
 */
int docker_helper_get(const char *name, const char *server, uint64_t wait_ms, int abort_fd, struct login *login,
		      struct err *err);
