/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the Quay API lists, as an interest like those of pull.h: opened, polled until it is ready, closed. It is for
 * prefetch: asked behind all clients, kept nowhere, and the names are the interest's own.
 */
#pragma once

#include "server/pull/pull.h"

#define PULL_QUAY_NAMES_MAX 100000

struct pull_quay;

/* The names of an organisation's image repositories that changed at `since_s` or later (0: all), "ORGANISATION/NAME".
 */
struct pull_quay *pull_quay_open_repositories(struct pull *pull, struct pull_upstream *upstream,
					      const char *organisation, int64_t since_s);
/* The tags of a repository; with `tag`, that one alone if it is there. */
struct pull_quay *pull_quay_open_tags(struct pull *pull, struct pull_upstream *upstream, const char *repository,
				      const char *tag);
int pull_quay_poll(struct pull_quay *quay, struct waiter *waiter, struct err *err);
/* After poll() returned 0. */
size_t pull_quay_count(const struct pull_quay *quay);
const char *pull_quay_name(const struct pull_quay *quay, size_t nth);
/* Takes NULL. What is still asked is given up. */
void pull_quay_close(struct pull_quay *quay);
