/* SPDX-License-Identifier: Apache-2.0 */
#include "upstream/url.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool is_digit(char letter)
{
	return letter >= '0' && letter <= '9';
}

static bool is_alphanumeric(char letter)
{
	return is_digit(letter) || (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z');
}

static char to_lower(char letter)
{
	return letter >= 'A' && letter <= 'Z' ? (char)(letter - 'A' + 'a') : letter;
}

/* Checks an IPv6 address without brackets, with or without a zone (RFC 6874). */
static bool ipv6_valid(const char *host)
{
	char address[INET6_ADDRSTRLEN];
	struct in6_addr parsed;
	size_t len = strcspn(host, "%");
	if (len >= sizeof(address))
		return false;
	memcpy(address, host, len);
	address[len] = '\0';
	if (inet_pton(AF_INET6, address, &parsed) != 1)
		return false;
	if (!host[len])
		return true;
	for (len++; host[len]; len++) {
		if (!is_alphanumeric(host[len]) && !strchr("-._~%", host[len]))
			return false;
	}
	return true;
}

/* Percent-encoding and letters beyond ASCII are refused: libraries would decode them into another host than the one
 * judged. */
static bool name_valid(const char *host)
{
	if (!*host || *host == '.')
		return false;
	for (; *host; host++) {
		if (!is_alphanumeric(*host) && !strchr("-._", *host))
			return false;
	}
	return true;
}

/* Takes "host", "host:port", "[v6]:port" apart. */
static int parse_authority(const char *text, size_t len, struct url *url)
{
	bool bracketed = len > 0 && text[0] == '[';
	const char *host = bracketed ? text + 1 : text;
	const char *end = memchr(text, bracketed ? ']' : ':', len);
	const char *limit = text + len;
	if (!end && bracketed)
		return ERR_INVALID;
	if (!end)
		end = limit;
	size_t host_len = (size_t)(end - host);
	if (host_len >= sizeof(url->host))
		return ERR_INVALID;
	for (size_t i = 0; i < host_len; i++)
		url->host[i] = to_lower(host[i]);
	url->host[host_len] = '\0';
	if (strlen(url->host) != host_len || !(bracketed ? ipv6_valid(url->host) : name_valid(url->host)))
		return ERR_INVALID;

	const char *port = bracketed ? end + 1 : end;
	url->port = url->https ? 443 : 80;
	if (port == limit)
		return 0;
	if (*port++ != ':' || limit - port > 5)
		return ERR_INVALID;
	if (port == limit)
		return 0; /* RFC 3986, section 3.2.3: an empty port is the default one */
	unsigned number = 0;
	for (; port < limit; port++) {
		if (!is_digit(*port))
			return ERR_INVALID;
		number = number * 10 + (unsigned)(*port - '0');
	}
	if (number == 0 || number > 65535)
		return ERR_INVALID;
	url->port = number;
	return 0;
}

int url_parse(const char *text, struct url *url)
{
	struct url parsed = {0};
	if (strnlen(text, URL_MAX + 1) > URL_MAX)
		return ERR_INVALID;
	for (const char *at = text; *at; at++) {
		if ((unsigned char)*at <= ' ' || *at == 0x7f || *at == '#')
			return ERR_INVALID;
	}
	if (!strncasecmp(text, "https://", 8))
		parsed.https = true;
	else if (strncasecmp(text, "http://", 7) != 0)
		return ERR_INVALID;
	const char *authority = text + (parsed.https ? 8 : 7);
	size_t len = strcspn(authority, "/?");
	parsed.path = authority + len;
	if (*parsed.path == '?')
		return ERR_INVALID;
	int rc = parse_authority(authority, len, &parsed);
	if (rc)
		return rc;
	*url = parsed;
	return 0;
}

bool url_same_host(const struct url *a, const struct url *b)
{
	return !strcmp(a->host, b->host);
}

bool url_same_origin(const struct url *a, const struct url *b)
{
	return a->https == b->https && a->port == b->port && url_same_host(a, b);
}

struct network4 {
	uint32_t address;
	unsigned bits;
	enum url_ground ground;
};

#define NETWORK4(a, b, c, d, bits, ground)                                                                             \
	{                                                                                                              \
		(uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (d), bits, ground                     \
	}

/* What the header names, and the registries of special addresses (RFC 6890) that never lead to a public server. The
 * first that fits counts: single addresses are metadata services, of Azure, Alibaba and Oracle. */
static const struct network4 networks[] = {
	NETWORK4(0, 0, 0, 0, 8, URL_LOCAL),         NETWORK4(127, 0, 0, 0, 8, URL_LOCAL),
	NETWORK4(169, 254, 0, 0, 16, URL_LINK),     NETWORK4(168, 63, 129, 16, 32, URL_LINK),
	NETWORK4(100, 100, 100, 200, 32, URL_LINK), NETWORK4(192, 0, 0, 192, 32, URL_LINK),
	NETWORK4(10, 0, 0, 0, 8, URL_PRIVATE),      NETWORK4(100, 64, 0, 0, 10, URL_PRIVATE),
	NETWORK4(172, 16, 0, 0, 12, URL_PRIVATE),   NETWORK4(192, 0, 0, 0, 24, URL_PRIVATE),
	NETWORK4(192, 168, 0, 0, 16, URL_PRIVATE),  NETWORK4(198, 18, 0, 0, 15, URL_PRIVATE),
	NETWORK4(224, 0, 0, 0, 3, URL_PRIVATE),
};

static enum url_ground address4_ground(uint32_t address)
{
	for (size_t i = 0; i < sizeof(networks) / sizeof(networks[0]); i++) {
		unsigned shift = 32 - networks[i].bits;
		if (address >> shift == networks[i].address >> shift)
			return networks[i].ground;
	}
	return URL_PUBLIC;
}

static uint32_t read_address4(const uint8_t *bytes)
{
	return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static enum url_ground address6_ground(const uint8_t bytes[16])
{
	/* Prefixes of 96 bits behind which an IPv4 address stands: compatible, mapped, translated, NAT64 (RFC 6052). */
	static const uint8_t embedding[][12] = {
		{0},
		{[10] = 0xff, [11] = 0xff},
		{[8] = 0xff, [9] = 0xff},
		{0x00, 0x64, 0xff, 0x9b},
	};
	static const uint8_t local_nat64[6] = {0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}; /* RFC 8215 */
	static const uint8_t metadata[4] = {0xfd, 0x00, 0x0e, 0xc2};                /* fd00:ec2::254, Amazon */

	for (size_t i = 0; i < sizeof(embedding) / sizeof(embedding[0]); i++) {
		if (!memcmp(bytes, embedding[i], sizeof(embedding[i])))
			return address4_ground(read_address4(bytes + 12)); /* "::" and "::1" are in 0.0.0.0/8 */
	}
	if (bytes[0] == 0x20 && bytes[1] == 0x02) /* 6to4, RFC 3056 */
		return address4_ground(read_address4(bytes + 2));
	if ((bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80) || !memcmp(bytes, metadata, sizeof(metadata)))
		return URL_LINK;
	return (bytes[0] == 0xfe && bytes[1] >= 0xc0) || /* fec0::/10 of old */
			       (bytes[0] & 0xfe) == 0xfc || bytes[0] == 0xff ||
			       !memcmp(bytes, local_nat64, sizeof(local_nat64))
		       ? URL_PRIVATE
		       : URL_PUBLIC;
}

static bool ends_with(const char *text, const char *end)
{
	size_t text_len = strlen(text);
	size_t end_len = strlen(end);
	return text_len >= end_len && !strcmp(text + text_len - end_len, end);
}

/* No top-level domain is a number, so that such a name can only be meant as an address. */
static bool ends_in_number(const char *host)
{
	const char *label = strrchr(host, '.');
	label = label ? label + 1 : host;
	if (label[0] == '0' && label[1] == 'x')
		return strspn(label + 2, "0123456789abcdef") == strlen(label + 2);
	return *label && strspn(label, "0123456789") == strlen(label);
}

static bool name_local(const char *name)
{
	static const char *const local_names[] = {"localhost", "localhost.localdomain", "ip6-localhost",
						  "ip6-loopback"};
	for (size_t i = 0; i < sizeof(local_names) / sizeof(local_names[0]); i++) {
		if (!strcmp(name, local_names[i]))
			return true;
	}
	return ends_with(name, ".localhost");
}

/* An answer of "public" lets it be dialled: so what cannot be read is the opposite. */
enum url_ground url_host_ground(const char *host)
{
	char name[256];
	size_t len = strlen(host);
	if (len >= 2 && host[0] == '[' && host[len - 1] == ']') {
		host++;
		len -= 2;
	}
	const char *zone = memchr(host, '%', len);
	if (zone && memchr(host, ':', len))
		len = (size_t)(zone - host);
	while (len && host[len - 1] == '.')
		len--;
	if (len == 0 || len >= sizeof(name))
		return URL_LOCAL;
	for (size_t i = 0; i < len; i++)
		name[i] = to_lower(host[i]);
	name[len] = '\0';

	if (strchr(name, ':')) {
		struct in6_addr address6;
		return inet_pton(AF_INET6, name, &address6) == 1 ? address6_ground(address6.s6_addr) : URL_LOCAL;
	}
	if (!name_valid(name) || name_local(name))
		return URL_LOCAL;
	/* inet_aton takes the spellings that getaddrinfo takes: fewer than four parts, octal, hexadecimal. */
	struct in_addr address4;
	if (inet_aton(name, &address4))
		return address4_ground(ntohl(address4.s_addr));
	return ends_in_number(name) ? URL_LOCAL : URL_PUBLIC;
}

/* RFC 3986, section 5.2.4, in place, up to the query. `path` starts with '/'. */
static void remove_dot_segments(char *path)
{
	char *end = path + strcspn(path, "?");
	char *out = path;
	for (char *in = path; in < end;) {
		/* `in` stands on a '/', and so does `out`, or behind everything kept. */
		char *next = in + 1;
		while (next < end && *next != '/')
			next++;
		size_t len = (size_t)(next - in);
		bool one_dot = len == 2 && in[1] == '.';
		bool two_dots = len == 3 && in[1] == '.' && in[2] == '.';
		if (two_dots) {
			while (out > path && *--out != '/')
				;
		}
		if (!one_dot && !two_dots) {
			memmove(out, in, len);
			out += len;
		} else if (next == end) {
			*out++ = '/';
		}
		in = next;
	}
	memmove(out, end, strlen(end) + 1);
}

static bool has_scheme(const char *text)
{
	size_t len = 0;
	while (is_alphanumeric(text[len]) || (text[len] && strchr("+-.", text[len])))
		len++;
	return len > 0 && text[len] == ':';
}

/* Puts the path of `reference`, resolved against the base's path, behind what is in `joined`. */
static void append_path(struct buf *joined, const char *base_path, const char *reference)
{
	size_t path_start = joined->len;
	size_t base_len = strcspn(base_path, "?");
	if (!*reference) {
		buf_append_text(joined, base_path);
		return;
	}
	if (*reference == '?') {
		buf_append_text(joined, base_len ? "" : "/");
		buf_append(joined, base_path, base_len);
		buf_append_text(joined, reference);
		return;
	}
	if (*reference != '/') {
		while (base_len && base_path[base_len - 1] != '/')
			base_len--;
		buf_append_text(joined, base_len ? "" : "/");
		buf_append(joined, base_path, base_len);
	}
	buf_append_text(joined, reference);
	remove_dot_segments(joined->data + path_start);
	joined->len = strlen(joined->data);
}

char *url_join(const char *base, const char *reference)
{
	struct url parsed;
	if (url_parse(base, &parsed) || strnlen(reference, URL_MAX + 1) > URL_MAX)
		return NULL;
	_cleanup_free_ char *relative = mem_strndup(reference, strcspn(reference, "#"));
	_cleanup_(buf_dispose) struct buf joined = {0};
	if (has_scheme(relative)) {
		buf_append_text(&joined, relative);
	} else if (relative[0] == '/' && relative[1] == '/') {
		buf_append_text(&joined, parsed.https ? "https:" : "http:");
		buf_append_text(&joined, relative);
	} else {
		buf_append(&joined, base, (size_t)(parsed.path - base));
		append_path(&joined, parsed.path, relative);
	}
	/* "https://host?query" is a URL too, and the one form that url_parse() does not take. */
	const char *authority = strstr(joined.data, "//");
	size_t authority_end = authority ? (size_t)(authority - joined.data) + 2 : joined.len;
	authority_end += strcspn(joined.data + authority_end, "/?");
	char *url = joined.data[authority_end] != '?'
			    ? mem_strdup(joined.data)
			    : mem_printf("%.*s/%s", (int)authority_end, joined.data, joined.data + authority_end);
	if (url_parse(url, &parsed)) {
		free(url);
		return NULL;
	}
	return url;
}

char *url_escape(const char *text)
{
	static const char hex[] = "0123456789ABCDEF";
	char *escaped = mem_alloc(strlen(text) * 3 + 1);
	char *at = escaped;
	for (; *text; text++) {
		unsigned char byte = (unsigned char)*text;
		if (is_alphanumeric(*text) || strchr("-._~", *text)) {
			*at++ = *text;
		} else {
			*at++ = '%';
			*at++ = hex[byte >> 4];
			*at++ = hex[byte & 15];
		}
	}
	return escaped;
}

char *url_unescape(const char *text)
{
	_cleanup_free_ char *bytes = mem_alloc(strlen(text) + 1);
	char *at = bytes;

	for (; *text; text++) {
		unsigned byte;

		if (*text != '%') {
			*at++ = *text;
			continue;
		}
		if (!isxdigit((unsigned char)text[1]) || !isxdigit((unsigned char)text[2]) ||
		    sscanf(text + 1, "%2x", &byte) != 1 || byte == 0)
			return NULL;
		*at++ = (char)byte;
		text += 2;
	}
	return take_pointer(bytes);
}

/* Moves past a quoted string or anything else up to one of the separators. */
static const char *skip_value(const char *at, const char *separators)
{
	while (*at && !strchr(separators, *at)) {
		if (*at++ != '"')
			continue;
		for (; *at && *at != '"'; at++) {
			if (*at == '\\' && at[1])
				at++;
		}
		if (*at)
			at++;
	}
	return at;
}

/* Whether one of the blank-separated relation types in [text, end) is "next". */
static bool names_next(const char *text, const char *end)
{
	while (text < end) {
		const char *word = text;
		while (text < end && !strchr(" \t\"", *text))
			text++;
		if (text - word == 4 && !strncasecmp(word, "next", 4))
			return true;
		if (text < end)
			text++;
	}
	return false;
}

/* Reads the parameters of one link, from behind its '>', and moves to the comma after them. */
static bool read_rel_next(const char **text)
{
	bool found = false;
	bool seen = false; /* RFC 8288, section 3.3: of several rel the first counts */
	const char *at = *text;
	while (*at && *at != ',') {
		at += strspn(at, "; \t");
		const char *name = at;
		at = skip_value(at, ";,");
		size_t name_len = strcspn(name, "= \t;,");
		const char *value = name + name_len + strspn(name + name_len, " \t");
		if (seen || name_len != 3 || strncasecmp(name, "rel", 3) != 0 || *value != '=')
			continue;
		seen = true;
		found = names_next(value + 1, at);
	}
	*text = at;
	return found;
}

char *url_link_next(const char *base, const char *link_header)
{
	const char *at = link_header;
	for (;;) {
		at += strspn(at, ", \t");
		if (*at != '<')
			return NULL;
		const char *target = ++at;
		at = strchr(at, '>');
		if (!at)
			return NULL;
		size_t target_len = (size_t)(at++ - target);
		if (!read_rel_next(&at))
			continue;
		_cleanup_free_ char *reference = mem_strndup(target, target_len);
		_cleanup_free_ char *next = url_join(base, reference);
		struct url from;
		struct url to;
		if (!next || url_parse(base, &from) || url_parse(next, &to) || !url_same_origin(&from, &to))
			return NULL;
		return take_pointer(next);
	}
}
