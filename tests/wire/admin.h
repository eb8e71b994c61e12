/* SPDX-License-Identifier: Apache-2.0 */
/* A larder's admin API, asked by wire tests. Failures fail the test. */
#pragma once

#include "tests/wire/harness.h"

/* A larder whose admin API listens on `admin`, "127.0.0.1:0", with a configuration (NULL: none) and upstream
 * ("NAME=URL", NULL: one that nobody answers at). */
struct larder *larder_with_admin(struct wire *wire, const char *admin, const char *upstream, const char *config);

/* The port that it got. */
uint16_t admin_port(struct larder *larder);

/* One request; any answer will do. `reply` is zeroed or an earlier one; `method` and `headers` may be NULL. */
void admin_ask(struct larder *larder, const char *method, const char *target, const char *headers,
	       struct client_reply *reply);

/* /metrics, for the caller to free. */
char *admin_metrics(struct larder *larder);
/* The value of one series, written as it is there: `name{label="…"}`. 0 when it is absent. */
double metric_value(const char *metrics, const char *series);
/* The sum over all series of the name whose labels hold `part`; "" for all. */
double metric_sum(const char *metrics, const char *name, const char *part);
