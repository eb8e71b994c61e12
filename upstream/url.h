/* SPDX-License-Identifier: Apache-2.0 */
/* URLs as far as the registry client needs them (RFC 3986): taken apart, joined, compared by origin, judged. Pure
 * functions. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define URL_MAX 8192 /* presigned CDN addresses pass 2,000 characters */

/* The parts of an absolute http(s) URL. */
struct url {
	bool https;
	char host[256];   /* lower case, IPv6 without brackets */
	unsigned port;    /* the scheme's default when none is written */
	const char *path; /* points into the parsed text: path with query, "" or starting with '/' */
};

/* Takes apart; refuses other schemes, userinfo, hosts of anything but letters, digits and "-._", control characters,
 * spaces, fragments, a query without a path, and more than URL_MAX characters. 0 or ERR_INVALID. */
int url_parse(const char *text, struct url *url);

bool url_same_origin(const struct url *a, const struct url *b); /* scheme, host and port */
bool url_same_host(const struct url *a, const struct url *b);   /* host alone */

/* True when the host is written as an address, or a name, that means this machine or a private network: loopback,
 * link-local (169.254.0.0/16 with the clouds' metadata service, fe80::/10), RFC 1918, RFC 4193, 100.64.0.0/10,
 * unspecified, multicast, IPv4-mapped IPv6 of these, `localhost`, `*.localhost`, and odd spellings that resolvers take
 * (decimal, octal, hex, short forms). */
bool url_host_private(const char *host);

/* Resolves `reference` (absolute, "//host/…", "/path", "path", "?query") against `base`, without its fragment. Caller
 * frees. NULL when the result is not a URL that url_parse() takes. */
char *url_join(const char *base, const char *reference);

/* Percent-encodes for use in a query value. Caller frees. */
char *url_escape(const char *text);
/* The bytes that it was made of. Caller frees; NULL when it is not percent-encoded, or holds a NUL. */
char *url_unescape(const char *text);

/* The target of the first Link header part with rel="next" (RFC 8288), resolved against `base` and of the same origin.
 * Caller frees; NULL when there is none or it leads elsewhere. */
char *url_link_next(const char *base, const char *link_header);
