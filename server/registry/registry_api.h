/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry API, downstream (OCI distribution-spec; Registry V2): an HTTP handler on top of pull/. Each request has
 * a struct visit from its first handle() to its ended(); a request that waits is handled again after each wake-up, from
 * where it was.
 */
#pragma once

#include "server/http/http.h"

struct pull;

/* The handler for http_start(). `pull` is borrowed. */
struct http_handler registry_handler(struct pull *pull);
