/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry API, downstream (OCI distribution-spec; Registry V2): an HTTP handler on top of pull/. Each request has
 * a struct visit from its first handle() to its ended(); a request that waits is handled again after each wake-up, from
 * where it was.
 */
#pragma once

#include "server/http/http.h"

struct access;
struct crowd;
struct guesses;
struct hot;
struct pull;
struct traffic;

struct registry_api {
	struct pull *pull;
	struct hot *hot;         /* what is answered again and again */
	struct traffic *traffic; /* counts what is answered */
	struct access *access;   /* who may pull; NULL: whoever reaches the port */
	struct guesses *guesses; /* who shows registries wrong passwords (`auth: client`) */
	struct crowd *crowd;     /* what each user has under way */
	bool tls;                /* it is reached by HTTPS */
};

/* The handler for http_start(). `api`, and what it names, is borrowed. */
struct http_handler registry_handler(struct registry_api *api);
