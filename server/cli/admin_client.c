/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/admin_client.h"

#include "base/cleanup.h"

#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#define DEFAULT_PORT "5001"
#define HOST_MAX     256

static int no_larder(struct err *err, const char *url, int errno_value)
{
	const char *why = errno_value == EAGAIN || errno_value == EINPROGRESS ? "no answer in time"
									      : strerrordesc_np(errno_value);

	return err_set(err, ERR_UPSTREAM, "no larder answers at %s: %s", url, why);
}

static int invalid_url(struct err *err, const char *url, const char *why)
{
	return err_set(err, ERR_INVALID, "'%s' %s; write http://HOST:PORT or unix:/PATH", url, why);
}

/* Connecting. */

static int open_socket(int family)
{
	struct timeval wait = {.tv_sec = ADMIN_CLIENT_WAIT_S};
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	/* On Linux the one for sending bounds connect() too. */
	if (fd >= 0 && (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) < 0 ||
			setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) < 0)) {
		close(fd);
		return -1;
	}
	return fd;
}

static int connect_unix(const char *url, const char *path, struct err *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = -1;

	if (path[0] != '/' || strlen(path) >= sizeof(address.sun_path))
		return invalid_url(err, url, "is no socket's path");
	strcpy(address.sun_path, path);
	fd = open_socket(AF_UNIX);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return no_larder(err, url, errno);
	return take_fd(fd);
}

/* "HOST", "HOST:PORT", "[V6]:PORT" into two texts. */
static bool split_host(const char *text, char host[HOST_MAX], char port[HOST_MAX])
{
	bool bracketed = text[0] == '[';
	const char *start = text + bracketed;
	size_t len = strcspn(start, bracketed ? "]" : ":/");
	const char *rest = start + len;

	if (len == 0 || len >= HOST_MAX || (bracketed && *rest != ']'))
		return false;
	memcpy(host, start, len);
	host[len] = '\0';
	rest += bracketed;
	strcpy(port, DEFAULT_PORT);
	if (*rest == ':') {
		size_t digits = strspn(rest + 1, "0123456789");

		if (digits == 0 || digits > 5)
			return false;
		memcpy(port, rest + 1, digits);
		port[digits] = '\0';
		rest += 1 + digits;
	}
	return *rest == '\0' || strcmp(rest, "/") == 0;
}

static int connect_tcp(const char *url, const char *text, struct err *err)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
	char host[HOST_MAX], port[HOST_MAX];
	_cleanup_close_ int fd = -1;
	int code, errno_value = ENOENT;

	if (!split_host(text, host, port))
		return invalid_url(err, url, "is no address of an admin API");
	code = getaddrinfo(host, port, &hints, &found);
	if (code)
		return err_set(err, ERR_UPSTREAM, "no larder answers at %s: %s", url, gai_strerror(code));
	for (const struct addrinfo *at = found; at && fd < 0; at = at->ai_next) {
		fd = open_socket(at->ai_family);
		if (fd < 0 || connect(fd, at->ai_addr, at->ai_addrlen) == 0)
			continue;
		errno_value = errno;
		close(fd);
		fd = -1;
	}
	freeaddrinfo(found);
	return fd < 0 ? no_larder(err, url, errno_value) : take_fd(fd);
}

/* A descriptor, or a negative code. */
static int connect_url(const char *url, struct err *err)
{
	if (strncmp(url, "unix:", 5) == 0)
		return connect_unix(url, strncmp(url + 5, "//", 2) == 0 ? url + 7 : url + 5, err);
	if (strncasecmp(url, "https:", 6) == 0)
		return invalid_url(err, url, "asks for TLS, which the admin API does not speak");
	return connect_tcp(url, strncasecmp(url, "http://", 7) == 0 ? url + 7 : url, err);
}

/* The exchange. */

static int send_request(int fd, const struct admin_request *request, struct err *err)
{
	_cleanup_(buf_dispose) struct buf head = {0};
	size_t sent = 0;

	/* HTTP/1.0: the answer is not chunked, and the connection ends behind it. */
	buf_printf(&head, "%s %s HTTP/1.0\r\nHost: localhost\r\nUser-Agent: larder/" LARDER_VERSION "\r\n",
		   request->method, request->target);
	if (request->token)
		buf_printf(&head, "Authorization: Bearer %s\r\n", request->token);
	buf_append_text(&head, "\r\n");
	while (sent < head.len) {
		ssize_t n = send(fd, head.data + sent, head.len - sent, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return no_larder(err, request->url, errno);
		sent += (size_t)n;
	}
	explicit_bzero(head.data, head.len);
	return 0;
}

static int receive_all(int fd, const struct admin_request *request, struct buf *text, struct err *err)
{
	char piece[16384];

	for (;;) {
		ssize_t n = recv(fd, piece, sizeof(piece), 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return no_larder(err, request->url, errno);
		if (n == 0)
			return 0;
		if (buf_append(text, piece, (size_t)n))
			return err_set(err, ERR_LIMIT, "the answer of %s is too long", request->url);
	}
}

/* The value of Content-Length within a head; -1 when it is not said. */
static long long content_length(const char *head)
{
	const char *found = strcasestr(head, "\r\nContent-Length:");

	return found ? strtoll(found + strlen("\r\nContent-Length:"), NULL, 10) : -1;
}

static int parse_answer(const struct admin_request *request, struct buf *text, struct admin_answer *answer,
			struct err *err)
{
	char *end = text->len ? strstr(text->data, "\r\n\r\n") : NULL;
	int minor;
	size_t body_len;
	long long said;

	if (!end || sscanf(text->data, "HTTP/1.%d %d", &minor, &answer->status) != 2)
		return err_set(err, ERR_UPSTREAM, "what answers at %s is no larder's admin API", request->url);
	end[2] = '\0';
	said = content_length(text->data);
	body_len = text->len - (size_t)(end + 4 - text->data);
	if (said >= 0 && (unsigned long long)said != body_len)
		return err_set(err, ERR_UPSTREAM, "the answer of %s was cut", request->url);
	answer->body.max = ADMIN_CLIENT_BODY_MAX;
	return buf_append(&answer->body, end + 4, body_len);
}

int admin_client_ask(const struct admin_request *request, struct admin_answer *answer, struct err *err)
{
	_cleanup_(buf_dispose) struct buf text = {.max = ADMIN_CLIENT_BODY_MAX};
	_cleanup_close_ int fd = connect_url(request->url, err);
	int code = fd < 0 ? fd : send_request(fd, request, err);

	memset(answer, 0, sizeof(*answer));
	if (code == 0)
		code = receive_all(fd, request, &text, err);
	return code ? code : parse_answer(request, &text, answer, err);
}
