/* SPDX-License-Identifier: Apache-2.0 */
/* What texts are taken as addresses, URLs, names and paths. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/ref.h"
#include "server/cli/config_keys.h"
#include "server/prefetch/spec.h"
#include "upstream/url.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#define PORT_DIGITS_MAX 5

char *config_take_text(const char *text, const char **why)
{
	(void)why;
	return mem_strdup(text);
}

char *config_take_glob(const char *text, const char **why)
{
	const char *open = strchr(text, '[');
	/* fnmatch() takes an open bracket for itself: such a glob matches next to nothing, and denies nothing. */
	if (open && !strchr(open, ']')) {
		*why = "has a '[' without a ']'; close it";
		return NULL;
	}
	return mem_strdup(text);
}

char *config_take_image(const char *text, const char **why)
{
	struct spec spec;
	if (spec_parse(text, &spec, NULL) == 0)
		return mem_strdup(text);
	*why = "is no reference; write NAME:TAG, NAME@DIGEST, a glob of tags, or quay://ORG/GLOB:TAG";
	return NULL;
}

char *config_take_pin(const char *text, const char **why)
{
	if (ref_tag_valid(text, strlen(text)))
		return mem_strdup(text);
	*why = "is no name of a pin; it has letters, digits, dots, hyphens and underscores";
	return NULL;
}

char *config_take_path(const char *text, const char **why)
{
	if (text[0] == '~') {
		*why = "starts with '~', which only a shell understands; write ${HOME}";
		return NULL;
	}
	return mem_strdup(text);
}

char *config_take_url(const char *text, const char **why)
{
	struct url url;
	size_t len = strlen(text);
	if (url_parse(text, &url) || !url.host[0]) {
		*why = "is not an http(s) URL without user name; write https://HOST[:PORT][/PATH]";
		return NULL;
	}
	if (strpbrk(text, "?#")) {
		*why = "has a query or a fragment; write https://HOST[:PORT][/PATH]";
		return NULL;
	}
	while (text[len - 1] == '/')
		len--;
	if (!strncmp(text + len - 3, "/v2", 3)) {
		*why = "ends in /v2, which larder adds by itself; leave it out";
		return NULL;
	}
	return mem_strndup(text, len);
}

char *config_take_proxy(const char *text, const char **why)
{
	static const char *const schemes[] = {"http://", "https://", "socks5://", "socks5h://"};
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		size_t len = strlen(schemes[i]);
		if (strncmp(text, schemes[i], len) != 0)
			continue;
		const char *ignored = NULL;
		_cleanup_free_ char *as_http = mem_printf("http://%s", text + len);
		_cleanup_free_ char *taken = config_take_url(as_http, &ignored);
		if (taken && !strchr(taken + strlen("http://"), '/'))
			return mem_printf("%s%s", schemes[i], taken + strlen("http://"));
	}
	*why = "is not a proxy; write http://HOST:PORT, https://HOST:PORT, socks5://HOST:PORT or socks5h://HOST:PORT";
	if (strchr(text, '@'))
		*why = "has a user name; for a proxy that wants a login set https_proxy in larder's environment, and "
		       "leave "
		       "this out";
	return NULL;
}

static bool port_valid(const char *port)
{
	size_t digits = strspn(port, "0123456789");
	return digits && !port[digits] && digits <= PORT_DIGITS_MAX && atoi(port) <= 65535;
}

/* ADDR:PORT with the address in numbers, IPv6 in brackets. */
static bool address_valid(const char *text)
{
	char host[INET6_ADDRSTRLEN];
	unsigned char bytes[sizeof(struct in6_addr)];
	bool bracketed = text[0] == '[';
	const char *start = text + bracketed;
	const char *end = strchr(start, bracketed ? ']' : ':');
	if (!end || (size_t)(end - start) >= sizeof(host))
		return false;
	snprintf(host, sizeof(host), "%.*s", (int)(end - start), start);
	end += bracketed;
	return inet_pton(bracketed ? AF_INET6 : AF_INET, host, bytes) == 1 && *end == ':' && port_valid(end + 1);
}

char *config_take_listen(const char *text, const char **why)
{
	if (!address_valid(text)) {
		*why = "is not ADDR:PORT; write one like 127.0.0.1:5000, 0.0.0.0:5000 or '[::]:5000'";
		return NULL;
	}
	return mem_strdup(text);
}

char *config_take_admin(const char *text, const char **why)
{
	static const char prefix[] = "unix:";
	if (!strncmp(text, prefix, strlen(prefix))) {
		const char *path = text + strlen(prefix);
		if (path[0] != '/' || strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
			*why = "is no socket's path; write unix:/PATH with fewer than 108 bytes";
			return NULL;
		}
		return mem_strdup(text);
	}
	if (strcmp(text, "off") != 0 && !address_valid(text)) {
		*why = "is not an address; write ADDR:PORT, unix:/PATH or off";
		return NULL;
	}
	return mem_strdup(text);
}

/* Letters, digits and inner hyphens, in labels between dots. */
static bool host_valid(const char *host, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		bool at_edge = i == 0 || i + 1 == len || host[i - 1] == '.' || host[i + 1] == '.';
		if (!isalnum((unsigned char)host[i]) && (at_edge || (host[i] != '-' && host[i] != '.')))
			return false;
	}
	return len > 0;
}

char *config_take_name(const char *text, const char **why)
{
	bool valid = address_valid(text);
	if (!valid && text[0] != '[') {
		const char *colon = strchr(text, ':');
		valid = host_valid(text, colon ? (size_t)(colon - text) : strlen(text)) &&
			(!colon || port_valid(colon + 1));
	}
	if (!valid || strlen(text) > REF_UPSTREAM_MAX) {
		*why = "is not a registry's name; write HOST or HOST:PORT";
		return NULL;
	}
	/* Hosts are the same in whatever case; kept in one, they compare plainly. */
	char *name = mem_strdup(text);
	for (char *at = name; *at; at++)
		*at = (char)tolower((unsigned char)*at);
	return name;
}
