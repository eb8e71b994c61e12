/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of registry/ share: one request under way, and how replies are put together. */
#pragma once

#include "base/err.h"
#include "server/access/access.h"
#include "server/access/crowd.h"
#include "server/access/guesses.h"
#include "server/http/http.h"
#include "server/pull/pull.h"
#include "server/registry/route.h"

struct client_login;
struct hot;
struct multipart;
struct pull_permit;

#define VISIT_HEADERS_MAX 16
#define VISIT_TEXT_MAX    8192 /* what peers may put in (names, links, warnings) is bounded far below */

struct visit {
	struct pull *pull;
	struct hot *hot;
	struct http_request *request;
	struct route route;
	bool head;
	bool admitted;                  /* by larder's own access check … */
	char user[ACCESS_USER_MAX + 1]; /* … as this user; "" for nobody */
	struct access *access;          /* NULL: whoever reaches the port may pull */
	struct client_login *login;     /* what it shows, where the upstream's registry decides; NULL elsewhere … */
	struct pull_permit *permit;     /* … by this question */
	bool permitted;
	struct guesses *guesses; /* who showed wrong ones … */
	struct guess guess;      /* … and whether these are, … */
	bool is_guessing;        /* … which is being found out */
	struct crowd *crowd;
	const char *counted; /* the user that it counts as, in the crowd; NULL: none, or not yet */
	/* What it waits for or sends from, by route.kind. */
	struct pull_blob *blob;
	struct pull_manifest *manifest;
	struct pull_tags *tags;
	struct pull_referrers *referrers;
	uint64_t since_ms;       /* the catalog's: it tells of what was given by then */
	uint64_t body_offset;    /* where a streamed body begins in the blob */
	struct multipart *parts; /* a body of several ranges */

	const char *outcome; /* for the log */
	struct err err;      /* likewise: why, when it is not good */

	/* The reply's headers, until it is sent. Values are copied into `text`. */
	struct http_header headers[VISIT_HEADERS_MAX];
	size_t header_count;
	bool has_common_headers;
	char *text; /* VISIT_TEXT_MAX */
	size_t text_used;
};

/* Handlers, one a route: called until they reply. The reference was found well-formed. */
void visit_blob(struct visit *visit);
void visit_manifest(struct visit *visit);
void visit_tags(struct visit *visit);
void visit_referrers(struct visit *visit);
void visit_catalog(struct visit *visit);

/* Adds a header; one that does not fit any more is a bug. */
void reply_header(struct visit *visit, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Adds Cache-Status (RFC 9211), and Warning for a stale answer; sets the outcome for the log. */
void reply_cache_status(struct visit *visit, const struct pull_status *status);
/* Adds those that every reply carries; reply_send() does. */
void reply_common_headers(struct visit *visit);
/* Sends the reply with the headers added so far. */
void reply_send(struct visit *visit, int status, const struct http_body *body);
/* Sends an OCI error (distribution-spec, "Error Codes"). `detail` may be NULL. */
void reply_oci_error(struct visit *visit, int status, const char *code, const char *message, const char *detail);
/* Sends what the contract's table says for an error of pull/: `unknown` is the code for "no such thing" here. */
void reply_error(struct visit *visit, const struct err *err, const char *unknown);
