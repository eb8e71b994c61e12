/* SPDX-License-Identifier: Apache-2.0 */
/* What clients asked for and got, counted. Read by anyone with count_read(). */
#pragma once

#include "base/count.h"
#include "server/http/http.h"

enum traffic_kind {
	TRAFFIC_MANIFEST,
	TRAFFIC_BLOB,
	TRAFFIC_TAGS,
	TRAFFIC_REFERRERS,
	TRAFFIC_PING,
	TRAFFIC_CATALOG,
	TRAFFIC_OTHER, /* what the registry API has no route for, and pushes */
	TRAFFIC_KINDS,
};

enum traffic_outcome {
	TRAFFIC_HIT,
	TRAFFIC_MISS,
	TRAFFIC_COLLAPSED,
	TRAFFIC_STALE,
	TRAFFIC_ERROR,
	TRAFFIC_OUTCOMES,
};

#define TRAFFIC_METHODS (HTTP_OTHER + 1)

struct traffic {
	uint64_t requests[TRAFFIC_KINDS][TRAFFIC_METHODS][COUNT_STATUSES][TRAFFIC_OUTCOMES];
	uint64_t served_bytes[TRAFFIC_OUTCOMES];
	struct count_histogram request_time;    /* from the request's head to the reply's last byte */
	struct count_histogram first_byte_time; /* … to its first */
};

const char *traffic_kind_name(enum traffic_kind kind);
const char *traffic_outcome_name(enum traffic_outcome outcome);
const char *traffic_method_name(enum http_method method);

/* Counts a request that has ended. `outcome` is one of the names; any other counts as an error. */
void traffic_note(struct traffic *traffic, const struct http_request *request, enum traffic_kind kind,
		  const char *outcome);
