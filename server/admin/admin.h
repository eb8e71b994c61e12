/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The admin API: an HTTP handler for an address of its own, on top of pull/ and the store. What it answers is in one
 * table (routes.c). JSON, with errors as {"error": {"code", "message"}}; a bearer token where one is configured.
 *
 * Life: admin_new(), admin_resume() where jobs are to outlive the process, http_start() with admin_handler(),
 * admin_set_phase() as larder comes up and goes down, admin_stop(), http_stop() with admin_close(), admin_free(). Any
 * thread, unless said otherwise.
 */
#pragma once

#include "server/http/http.h"

struct admin;
struct files;
struct pull;
struct store;
struct traffic;

struct admin_options {
	struct pull *pull; /* borrowed, like all but the token */
	struct store *store;
	struct files *files;
	const struct traffic *traffic; /* what clients asked for */
	const char *token;             /* NULL: whoever reaches the address may ask */
	/* The Ed25519 key, 32 bytes, that must have signed what is imported; NULL: nobody need have. Copied. */
	const uint8_t *verify_key;
};

enum admin_phase { ADMIN_STARTING, ADMIN_SERVING, ADMIN_STOPPING };

struct admin *admin_new(const struct admin_options *options);
/* Takes NULL. */
void admin_free(struct admin *admin);

/* A set of images to keep warm. */
struct admin_scheduled {
	uint64_t every_ms;
	const char *const *images;
	size_t image_count;
	const char *const *platforms; /* none: all */
	size_t platform_count;
	const char *pin; /* NULL: none */
	bool referrers;
};

/* Takes up the jobs that an earlier process left unfinished in this directory, and keeps its own there; begins with the
 * schedule, which is copied. Blocks. */
void admin_resume(struct admin *admin, const char *jobs_directory, const struct admin_scheduled *schedule,
		  size_t count);
/* Tells jobs to end, which go on at the next start, and ends streams of events. Before pull_close(). */
void admin_stop(struct admin *admin);
/* For http_stop(): wakes all who wait, and from then on nobody does. */
void admin_close(void *admin);

/* Another token, copied, in place of the one that there is. */
void admin_set_token(struct admin *admin, const char *token);
void admin_set_phase(struct admin *admin, enum admin_phase phase);
struct http_handler admin_handler(struct admin *admin);
