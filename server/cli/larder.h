/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A larder put together, but for the addresses that it serves at: store, upstreams, pull and the admin API's handler.
 * `serve` puts HTTP servers in front of it; a command with --store talks to one of its own (local.h).
 *
 * Life: larder_open(), larder_start(), then http_start() with the handlers of `api` and `admin`; pull_close() and
 * http_stop(), larder_close().
 */
#pragma once

#include "base/err.h"
#include "server/registry/hot.h"
#include "server/registry/registry_api.h"
#include "server/registry/traffic.h"

struct admin;
struct config;
struct files;
struct loop;
struct pull;
struct store;
struct work;

struct larder {
	struct store *store;
	struct work *work, *disk;
	struct loop *loop;
	struct pull *pull;
	struct files *files;
	struct traffic *traffic;
	struct hot *hot;
	struct guesses *guesses;
	struct registry_api api;
	struct admin *admin;
};

/* Opens the store, which is made where there is none. Returns an exit status; on error what was opened is
 * larder_close()'s. Blocks. */
int larder_open(struct larder *larder, const struct config *config, struct err *err);
/* Starts everything else. Likewise. */
int larder_start(struct larder *larder, const struct config *config, struct err *err);
/* Reads the store over in the background as the configuration says, and fetches anew what proves damaged. */
int larder_start_scrub(struct larder *larder, const struct config *config, struct err *err);
/* Takes what can change of a configuration: the store's limits, and the upstreams with their credentials. */
void larder_reload(struct larder *larder, const struct config *config);
/* All HTTP servers have stopped. Takes one that was not, or not wholly, opened. */
void larder_close(struct larder *larder);
