/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small HTTP/1.1 client on blocking sockets with deadlines, written to show what came over the wire and when, and to
 * misbehave: it can read a little and leave. Over TLS where a certificate to trust is given. One thread at a time per
 * client; no state is shared.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CLIENT_DIGEST_MAX 72
#define CLIENT_KEPT_MAX   ((size_t)8 << 20)

struct client;

struct client_reply {
	int status;                     /* 0: no answer; see `error` */
	char *head;                     /* status line and fields, as they came */
	char *body;                     /* the first bytes of it, NUL behind; "" when none */
	size_t body_len;                /* how many are kept: at most CLIENT_KEPT_MAX, or what the request said */
	uint64_t body_bytes;            /* how many came */
	char digest[CLIENT_DIGEST_MAX]; /* sha256 of all that came */
	bool complete;                  /* the body ended as its framing says */
	double head_ms;                 /* from sending the request to the whole head */
	double first_ms;                /* to the first body byte */
	double total_ms;                /* to the last */
	char error[128];                /* "" when nothing went wrong */
};

struct client_request {
	const char *address; /* NULL: 127.0.0.1 */
	const char *from;    /* one's own, likewise */
	uint16_t port;
	const char *ca;     /* file of the certificates that are trusted; NULL: plain TCP */
	const char *method; /* NULL: GET */
	const char *target;
	const char *headers; /* "Name: value" lines, each ended by \r\n; Host is added */
	const void *body;
	size_t body_len;
	unsigned deadline_ms; /* for everything; 0: 60 s */
	uint64_t leave_after; /* hang up after this many body bytes; 0: never */
	uint64_t rate;        /* read no faster than so many bytes a second; 0: as they come */
	size_t keep;          /* body bytes to keep; 0: CLIENT_KEPT_MAX */
};

/* One request on a connection of its own. True when a whole answer came, whatever its status. The reply is always to be
 * disposed of. */
bool client_fetch(const struct client_request *request, struct client_reply *reply);

/* As many requests side by side, a thread each, let go together once every thread is ready. True when all answers were
 * whole. */
bool client_fetch_many(const struct client_request *requests, struct client_reply *replies, size_t count);

/* GET on 127.0.0.1 with the defaults. */
bool client_get(uint16_t port, const char *target, struct client_reply *reply);

/* A header's value, for the caller to free; NULL when absent. */
char *client_reply_header(const struct client_reply *reply, const char *name);
void client_reply_dispose(struct client_reply *reply);
void client_replies_dispose(struct client_reply *replies, size_t count);

/*
 * The same in steps, for tests that act in between. Order: connect; then send, head and body as often as the connection
 * is kept; close. Each step ends at the deadline given to connect.
 */
struct client *client_connect(const char *address, uint16_t port, unsigned deadline_ms);
/* The TLS handshake, before anything is sent: with "localhost", trusting the certificates in this file. */
bool client_secure(struct client *client, const char *ca);
bool client_send(struct client *client, const struct client_request *request);
/* Reads the head into the reply (which the caller zeroed). */
bool client_read_head(struct client *client, struct client_reply *reply);
/* Reads up to `len` body bytes, framing taken off, into `data`. How many came; 0 at the body's end; -1 when it broke
 * off. */
ssize_t client_read_body(struct client *client, void *data, size_t len);
/* Why the last step failed. Borrowed. */
const char *client_error(const struct client *client);
/* Hangs up. Takes NULL. */
void client_close(struct client *client);
