/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The credentials for one registry, asked for when they are needed: a user name and password that the configuration
 * gives, or what `docker login` left (docker_config.h). The latter is read on a thread of its own, as files and helper
 * programs block, once however many wait, and kept for a while. It is read anew after that while, so that a login is
 * noticed without a restart, and at once when the registry refuses what was held: helpers' secrets are short-lived.
 *
 * States of what docker_config says:
 *   UNKNOWN  nothing read yet, or reading failed  -> READING
 *   READING  the thread runs                      -> HELD, UNKNOWN
 *   HELD     good until a time, or until refused  -> READING
 *
 * Loop thread only.
 */
#pragma once

#include "base/err.h"
#include "upstream/loop.h"

#include <stdbool.h>
#include <stdint.h>

/* How long what was read is used before it is read again; and where a program has to be run for it. */
#define CREDENTIALS_FRESH_MS  60000
#define CREDENTIALS_HELPER_MS 600000
/* Refused, read again and found the same: a refusal starts no reading for so long. */
#define CREDENTIALS_SETTLED_MS 10000
/* A failure to read is the answer for so long. */
#define CREDENTIALS_FAILED_MS 2000

struct credentials;

struct credentials_options {
	const char *registry_url;
	const char *username; /* with a password it goes before docker_config; NULL: none */
	const char *password;
	const char *docker_config;  /* path of a config.json; NULL: none */
	uint64_t helper_timeout_ms; /* 0: DOCKER_HELPER_WAIT_MS */
};

/* Both NULL: there are none. */
struct credential {
	const char *basic;          /* "Basic <base64>" */
	const char *identity_token; /* an OAuth2 refresh token */
};

struct credentials_waiter {
	/* `credential` is borrowed during the call; NULL when `err` says why it is not known. */
	void (*ready)(struct credentials_waiter *waiter, const struct credential *credential, const struct err *err);
	struct credentials_waiter *prev, *next; /* credentials' own */
	bool waiting;
};

/* Any thread. Never NULL; reads nothing yet. */
struct credentials *credentials_new(struct loop *loop, const struct credentials_options *options);
/* Waiters are told ERR_CANCELLED; a helper that runs is ended. Takes NULL. */
void credentials_free(struct credentials *credentials);

/* ready() may be called before this returns. */
void credentials_get(struct credentials *credentials, struct credentials_waiter *waiter);
/* Gives up waiting; harmless when it does not wait. */
void credentials_cancel(struct credentials *credentials, struct credentials_waiter *waiter);
/* The registry refused this "Basic …" or identity token. True when credentials_get() may bring another one. */
bool credentials_refused(struct credentials *credentials, const char *refused);

/* Whether the configuration names any credentials at all. */
bool credentials_configured(const struct credentials *credentials);
