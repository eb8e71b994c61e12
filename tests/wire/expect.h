/* SPDX-License-Identifier: Apache-2.0 */
/* How wire tests ask larder and say what they expect of its answers and of what the upstream saw. What is not as
 * expected fails the test; so these belong to the test's own thread. */
#pragma once

#include "tests/wire/harness.h"

#define MIB ((uint64_t)1 << 20)

/* One request of a larder. `method` and `headers` may be NULL. `reply` is zeroed or an earlier one, which is disposed
 * of. True when a whole answer came. */
bool ask(const struct larder *larder, const char *method, const char *headers, struct client_reply *reply,
	 const char *format, ...) __attribute__((format(printf, 5, 6)));

/* A larder whose upstreams, credentials and times stand in a configuration: the text with every %s replaced by the
 * upstream's first URL, and %d by the test's directory. */
struct larder *larder_configured(struct wire *wire, struct scripted *upstream, const char *config);

/* A header's value; NULL: it is absent. */
void expect_header(const struct client_reply *reply, const char *name, const char *value);
/* A header that contains this. */
void expect_header_with(const struct client_reply *reply, const char *name, const char *part);
/* An error of the OCI distribution-spec. */
void expect_error(const struct client_reply *reply, int status, const char *code);
/* A whole 200 whose body has this digest. */
void expect_content(const struct client_reply *reply, const char *digest);
/* How many requests the upstream saw. */
void expect_count(struct scripted *upstream, const char *method, const char *pattern, unsigned count);
/* That it answers. */
void expect_ping(const struct larder *larder);
/* Asks by HEAD until the answer comes from the store, as what was fetched is written behind the answer. Returns how
 * often it asked. */
unsigned expect_hit_soon(const struct larder *larder, const char *target);

/* Whether this program, and so larder, was built with a sanitizer: slower, and larger than life. */
bool built_with_sanitizer(void);
