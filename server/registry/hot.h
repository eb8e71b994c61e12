/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Manifests that are asked for again and again, as replies ready to be sent: by the request as it came in, each with a
 * ticket (pull.h) that says whether it still holds. Answering out of here takes no look at the disk, no memory and no
 * lock that all requests share. In memory alone, and bounded: what was put in first makes room. Any thread.
 */
#pragma once

#include "server/http/http.h"
#include "server/pull/pull.h"

#define HOT_BYTES_MAX ((size_t)4 << 20)
#define HOT_BODY_MAX  ((size_t)64 << 10) /* a larger manifest is not kept here */

struct hot;
struct route;

struct hot *hot_new(void);
void hot_free(struct hot *hot);

/* What the access log wants to know of the request that it answers. */
struct hot_entry {
	struct pull_ticket ticket;
	struct pull_upstream *upstream;
	char *repository;
	char *reference;
};

/* Answers the request, when the answer is here and holds: request->prepared is then set, and hot_entry_of() leads from
 * there back to its entry. */
bool hot_reply(struct hot *hot, struct pull *pull, struct http_request *request);
const struct hot_entry *hot_entry_of(const struct http_request *request);

/* Keeps the answer to this request: a 200 with these headers and this body (without data, it answers HEAD alone). */
void hot_keep(struct hot *hot, struct http_request *request, const struct route *route,
	      const struct pull_ticket *ticket, const struct http_header *headers, size_t header_count,
	      const struct http_body *body);
