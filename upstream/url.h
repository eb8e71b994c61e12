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

/* How near to this machine an address lies. Who sends us on may send us as near as it is itself, and no nearer. */
enum url_ground {
	URL_PUBLIC,
	URL_PRIVATE, /* RFC 1918, RFC 4193, 100.64.0.0/10, multicast, and what else leads to no public server */
	URL_LINK,    /* 169.254.0.0/16, fe80::/10, and where the clouds' metadata services are otherwise */
	URL_LOCAL,   /* loopback, unspecified, `localhost`, `*.localhost` */
};

/* Where a host lies that is written as an address, also IPv4 in IPv6, and in the odd spellings that resolvers take
 * (decimal, octal, hex, short forms); of a name, URL_PUBLIC: its address is judged when there is one. What cannot be
 * read as a host is URL_LOCAL. */
enum url_ground url_host_ground(const char *host);

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
