/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules: what a scripted upstream does other than a good registry would. Each rule counts the requests that match it;
 * the first rule whose window (`from`, `count`) covers its own count decides, whole, what happens to the request. A
 * rule without a status, redirect or raw answer lets the registry answer and then bends that answer.
 */
#pragma once

#include "tests/wire/scripted.h"

enum scripted_cut {
	SCRIPTED_CUT_NONE,
	SCRIPTED_CUT_FIN,    /* end of stream without a TLS goodbye; on HTTP/2 this ends the whole connection */
	SCRIPTED_CUT_RST,    /* TCP reset, once the peer's kernel has what was sent before */
	SCRIPTED_CUT_STREAM, /* HTTP/2: RST_STREAM with `h2_error`; HTTP/1.1: as FIN */
	SCRIPTED_CUT_GOAWAY, /* HTTP/2: GOAWAY that names this stream as the last, then as FIN; HTTP/1.1: as FIN */
};

#define SCRIPTED_BEFORE_HEAD (-1) /* as `cut_at`: before the status line */

struct scripted_rule {
	/* Which requests. */
	const char *method; /* NULL: any */
	const char *path;   /* a glob in which * crosses slashes, against the path with or without query; NULL: any */
	const char *with_header; /* only requests that carry this header; NULL: any */
	int listener;            /* only at this listener; 0: any */
	unsigned from;           /* the first matching request it applies to, from 1 on; 0 is 1 */
	unsigned count;          /* how many it applies to; 0: all from there on */

	/* The answer instead of the registry's. */
	int status; /* with `body`, or a registry error in JSON; 0: the registry answers */
	const char *body;
	const char *redirect; /* a Location for 307 (or `status`); a * at its end stands for the request's target */
	const void *raw;      /* bytes sent as they are, then the connection ends */
	size_t raw_len;

	/* Headers, as "Name: value" lines split by \n: each replaces the one of its name; an empty value takes it away.
	 */
	const char *headers;
	const char *etag; /* replaces the ETag, in what is said and in what If-Range is held against */

	/* Time. */
	unsigned delay_ms; /* before the status line */
	bool hold;         /* no answer before scripted_release() */
	uint64_t rate;     /* body bytes a second of each such answer; 0: as the shape says */
	bool stall;        /* after `stall_at` body bytes, send nothing for `stall_ms`; 0: until scripted_release() */
	uint64_t stall_at;
	unsigned stall_ms;

	/* Ends. */
	enum scripted_cut cut;
	int64_t cut_at;     /* after this many body bytes of this answer */
	uint32_t h2_error;  /* code of the RST_STREAM; 0: INTERNAL_ERROR */
	bool refuse_stream; /* HTTP/2: REFUSED_STREAM at once; HTTP/1.1: the connection ends without an answer */
	bool close;         /* HTTP/1.1: Connection: close after this answer; HTTP/2: GOAWAY, streams go on */

	/* Lies. */
	bool flip; /* one bit is wrong at `flip_at`, counted in the whole content, not in the range */
	uint64_t flip_at;
	int64_t length_lie;  /* added to the Content-Length said */
	bool no_length;      /* no Content-Length: chunked in HTTP/1.1 */
	bool ignore_range;   /* 200 with everything */
	bool endless_body;   /* filler after the body, for ever; implies no_length */
	bool endless_header; /* header fields for ever */
};

/* Adds a rule, copied. Returns its id, from 1 on. */
int scripted_add_rule(struct scripted *scripted, const struct scripted_rule *script);

/* How many requests the rule was applied to. */
unsigned scripted_rule_applied(struct scripted *scripted, int id);

/* Lets go what a rule holds or stalls, now and from now on. */
void scripted_release(struct scripted *scripted, int id);

/* The rule matches nothing any more; what it does to running answers goes on. 0: all rules. */
void scripted_remove_rule(struct scripted *scripted, int id);
