/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of the upstream side that hold over HTTP/1.1 and over HTTP/2 alike: written once with BOTH_TEST(), run twice.
 * HTTP/1.1 is spoken in the clear, HTTP/2 over TLS.
 */
#pragma once

#include "tests/wire/expect.h"

#define BLOBS "*/blobs/*"
#define KIB   ((uint64_t)1 << 10)

#define BOTH_TEST(name)                                                                                                \
	static void name##_over(struct wire *wire, bool h2);                                                           \
	WIRE_TEST(name##_over_http1)                                                                                   \
	{                                                                                                              \
		name##_over(wire, false);                                                                              \
	}                                                                                                              \
	WIRE_TEST(name##_over_http2)                                                                                   \
	{                                                                                                              \
		name##_over(wire, true);                                                                               \
	}                                                                                                              \
	static void name##_over(struct wire *wire, bool h2)
#define BOTH_CASES(name) WIRE_CASE(name##_over_http1), WIRE_CASE(name##_over_http2)

/* A scripted upstream with one listener that speaks HTTP/1.1 or HTTP/2. */
struct scripted *upstream_speaking(struct wire *wire, const struct scripted_options *options, bool h2);
/* Another listener that speaks likewise, on another host (127.0.0.2) and open to everyone, as a CDN; returns its id. */
int listen_elsewhere(struct wire *wire, struct scripted *upstream, bool h2);

/* A larder whose default upstream, registry.test, is this one. `keys` are more of its keys ("idle_timeout: 1s,
 * retries: 1"), or NULL. */
struct larder *larder_before(struct wire *wire, struct scripted *upstream, const char *keys);

/* Blobs of the same size from consecutive seeds in one repository, asked for side by side by a thread each. Returns
 * when all are answered, and right. */
void fetch_blobs(const struct larder *larder, struct scripted *upstream, const char *repository, uint64_t seed,
		 size_t count, uint64_t size);

/* A request that runs beside the test. */
struct beside;
struct beside *beside_start(const struct larder *larder, const char *target);
/* Waits for its end; the reply is the caller's to dispose of. */
void beside_join(struct beside *beside, struct client_reply *reply);

/* "/v2/REPOSITORY/blobs/DIGEST", for the caller to free. */
char *blob_target(const char *repository, const char *digest);
