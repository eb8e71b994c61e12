/* SPDX-License-Identifier: Apache-2.0 */
/* What hostile clients send, take too slowly, or open too much of: refused or bounded, and nobody else notices. */
#include "tests/wire/expect.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SMUGGLED "GET /v2/team/app/manifests/smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
#define HEAD     "GET /v2/ HTTP/1.1\r\nHost: a\r\n"

/* A raw connection, from `source` unless NULL. `receive_buffer` 0: the system's. */
static int raw_connect(const struct larder *larder, const char *source, int receive_buffer)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	if (receive_buffer)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
	if (source) {
		inet_pton(AF_INET, source, &address.sin_addr);
		assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	}
	address.sin_port = htons(larder_port(larder));
	inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* Sends what the peer takes; one that has hung up is no failure. */
static bool raw_send(int fd, const void *data, size_t len)
{
	for (size_t sent = 0; sent < len;) {
		ssize_t count = send(fd, (const char *)data + sent, len - sent, MSG_NOSIGNAL);

		if (count <= 0)
			return false;
		sent += (size_t)count;
	}
	return true;
}

/* Reads into `answer` until `text` has come, or the end. True: the text has come. */
static bool raw_read_to(int fd, const char *text, struct buf *answer)
{
	char piece[65536];

	for (;;) {
		struct pollfd polled = {.fd = fd, .events = POLLIN};
		ssize_t got;

		if (text && answer->data && memmem(answer->data, answer->len, text, strlen(text)))
			return true;
		if (poll(&polled, 1, WIRE_WAIT_MS) != 1)
			fail_msg("neither an answer nor an end: \"%.200s\"", answer->data ? answer->data : "");
		got = recv(fd, piece, sizeof(piece), 0);
		if (got <= 0)
			return false;
		buf_append(answer, piece, (size_t)got);
	}
}

static unsigned count_of(const struct buf *text, const char *part)
{
	unsigned count = 0;

	for (const char *at = text->data; at && (at = strstr(at, part)); at++)
		count++;
	return count;
}

struct malformed {
	const char *what, *bytes;
	size_t len;
};
#define MALFORMED(what, bytes)                                                                                         \
	{                                                                                                              \
		what, bytes, sizeof(bytes) - 1                                                                         \
	}

/* Each is followed by what would be a request of its own to somebody who reads the first one differently. */
static const struct malformed malformed[] = {
	MALFORMED("no Host", "GET /v2/ HTTP/1.1\r\n\r\n"),
	MALFORMED("two Hosts", HEAD "Host: b\r\n\r\n"),
	MALFORMED("the same Host twice", HEAD "Host: a\r\n\r\n"),
	MALFORMED("a Host with a space", "GET /v2/ HTTP/1.1\r\nHost: a b\r\n\r\n"),
	MALFORMED("a Host with a user", "GET /v2/ HTTP/1.1\r\nHost: user@a\r\n\r\n"),
	MALFORMED("two Content-Lengths", HEAD "Content-Length: 0\r\nContent-Length: 58\r\n\r\n"),
	MALFORMED("the same Content-Length twice", HEAD "Content-Length: 0\r\nContent-Length: 0\r\n\r\n"),
	MALFORMED("a list of Content-Lengths", HEAD "Content-Length: 0, 58\r\n\r\n"),
	MALFORMED("a signed Content-Length", HEAD "Content-Length: +0\r\n\r\n"),
	MALFORMED("a negative Content-Length", HEAD "Content-Length: -1\r\n\r\n"),
	MALFORMED("a hexadecimal Content-Length", HEAD "Content-Length: 0x0\r\n\r\n"),
	MALFORMED("an empty Content-Length", HEAD "Content-Length: \r\n\r\n"),
	MALFORMED("both framings", HEAD "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
	MALFORMED("both framings, the other way round",
		  HEAD "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
	MALFORMED("two Transfer-Encodings",
		  HEAD "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
	MALFORMED("an unknown Transfer-Encoding", HEAD "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
	MALFORMED("a list of Transfer-Encodings", HEAD "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
	MALFORMED("a Transfer-Encoding in HTTP/1.0",
		  "GET /v2/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
	MALFORMED("a space before the colon", HEAD "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
	MALFORMED("a chunk of no size", HEAD "Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
	MALFORMED("a chunk that is longer than it says",
		  HEAD "Transfer-Encoding: chunked\r\n\r\n1\r\nabcd\r\n0\r\n\r\n"),
	MALFORMED("a line without a colon", HEAD "Range\r\n\r\n"),
	MALFORMED("a header that goes on before there is one", "GET /v2/ HTTP/1.1\r\n Host: a\r\n\r\n"),
	MALFORMED("a strange header name", HEAD "Ra(nge: x\r\n\r\n"),
	MALFORMED("a control character in a header", HEAD "Accept: a\001b\r\n\r\n"),
	MALFORMED("a bare CR in a header", HEAD "Accept: a\rX-Injected: b\r\n\r\n"),
	MALFORMED("a NUL in the target", "GET /v2/\0x HTTP/1.1\r\nHost: a\r\n\r\n"),
	MALFORMED("a control character in the target", "GET /v2/\001 HTTP/1.1\r\nHost: a\r\n\r\n"),
	MALFORMED("a space in the target", "GET /v2/ x HTTP/1.1\r\nHost: a\r\n\r\n"),
	MALFORMED("a bare CR in the target", "GET /v2/\r HTTP/1.1\r\nHost: a\r\n\r\n"),
	MALFORMED("a control character in the method", "G\001T /v2/ HTTP/1.1\r\nHost: a\r\n\r\n"),
	MALFORMED("a target that is no path", "GET v2/ HTTP/1.1\r\nHost: a\r\n\r\n"),
	MALFORMED("a tunnel", "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"),
	MALFORMED("another scheme", "GET ftp://a/v2/ HTTP/1.1\r\nHost: a\r\n\r\n"),
	MALFORMED("no version", "GET /v2/\r\n\r\n"),
	MALFORMED("another protocol", "GET /v2/ ICAP/1.0\r\nHost: a\r\n\r\n"),
};

WIRE_TEST(malformed_requests_are_refused_with_what_follows_them)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	struct larder *larder = wire_larder_for(wire, upstream, "registry.test");

	for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
		_cleanup_(buf_dispose) struct buf answer = {0};
		int fd = raw_connect(larder, NULL, 0);

		raw_send(fd, malformed[i].bytes, malformed[i].len);
		raw_send(fd, SMUGGLED, strlen(SMUGGLED));
		raw_read_to(fd, NULL, &answer);
		close(fd);
		if (!answer.data || strncmp(answer.data, "HTTP/1.1 400 ", 13) != 0)
			fail_msg("%s: \"%.100s\"", malformed[i].what, answer.data ? answer.data : "");
		if (answer.data && strstr(answer.data, "UNKNOWN"))
			fail_msg("%s: what was behind it was answered too", malformed[i].what);
	}
	expect_count(upstream, NULL, "*smuggled*", 0);
	expect_ping(larder);
}

WIRE_TEST(nothing_behind_a_chunked_body_is_a_request)
{
	static const char request[] = HEAD "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" SMUGGLED;
	struct scripted *upstream = wire_upstream(wire, NULL);
	struct larder *larder = wire_larder_for(wire, upstream, "registry.test");
	_cleanup_(buf_dispose) struct buf answer = {0};
	int fd = raw_connect(larder, NULL, 0);

	raw_send(fd, request, strlen(request));
	assert_false(raw_read_to(fd, NULL, &answer));
	close(fd);
	assert_int_equal(strncmp(answer.data, "HTTP/1.1 200 ", 13), 0);
	assert_int_equal(count_of(&answer, "HTTP/1.1 "), 1);
	expect_count(upstream, NULL, "*smuggled*", 0);
}

WIRE_TEST(body_that_nobody_asked_for_is_read_up_to_a_bound)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	struct larder *larder = wire_larder_for(wire, upstream, "registry.test");
	_cleanup_free_ char *body = mem_alloc(32 * MIB);
	struct client_request request = {
		.port = larder_port(larder), .target = "/v2/", .body = body, .body_len = 16 * MIB};
	_cleanup_(client_reply_dispose) struct client_reply small = {0}, large = {0};

	assert_true(client_fetch(&request, &small));
	assert_int_equal(small.status, 200);
	request.body_len = 32 * MIB;
	assert_false(client_fetch(&request, &large));
	expect_ping(larder);
}

WIRE_TEST(request_of_a_proxys_client_is_taken)
{
	static const char request[] =
		"GET http://elsewhere.test:1/v2/ HTTP/1.1\r\nHost: elsewhere.test:1\r\nConnection: close\r\n\r\n";
	struct scripted *upstream = wire_upstream(wire, NULL);
	struct larder *larder = wire_larder_for(wire, upstream, "registry.test");
	_cleanup_(buf_dispose) struct buf answer = {0};
	int fd = raw_connect(larder, NULL, 0);

	raw_send(fd, request, strlen(request));
	raw_read_to(fd, NULL, &answer);
	close(fd);
	assert_int_equal(strncmp(answer.data, "HTTP/1.1 200 ", 13), 0);
}

/* Whatever is echoed, in a header or in JSON, is the text that it was, or is not echoed. */
WIRE_TEST(line_breaks_and_control_characters_are_not_echoed)
{
	static const char *const targets[] = {
		"/v2/team/app%0d%0aX-Injected:%201/manifests/v1",
		"/v2/team/app/manifests/v1%0d%0aX-Injected:%201",
		"/v2/team/app/manifests/%22%5c%01%7f",
		"/v2/team/app/blobs/sha256:%0d%0aX-Injected:%201",
		"/v2/team/app/referrers/sha256:%0aX-Injected:%201",
		"/v2/team/app/manifests/v1?ns=registry.test%0d%0aX-Injected:%201",
		"/v2/team/app/tags/list?n=1&last=v1%0d%0aX-Injected:%201",
		"/v2/team/app/tags/list?n=1%0d%0aX-Injected:%201",
		"/v2/team/app/tags/list?next_page=v1%0d%0aX-Injected:%201",
		"/v2/_catalog?last=a%0d%0aX-Injected:%201",
		"/v2/team/app/referrers/"
		"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855?artifactType=a%0d%0aX-"
		"Injected:%201",
	};
	struct scripted *upstream = wire_upstream(wire, NULL);
	struct larder *larder = wire_larder_for(wire, upstream, "registry.test");

	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
		_cleanup_(client_reply_dispose) struct client_reply reply = {0};

		assert_true(larder_get(larder, targets[i], &reply));
		assert_in_range(reply.status, 400, 404);
		expect_header(&reply, "X-Injected", NULL);
		for (size_t j = 0; j + 1 < reply.body_len; j++)
			if ((unsigned char)reply.body[j] < ' ')
				fail_msg("%s: a control character in the body", targets[i]);
	}
	expect_count(upstream, NULL, "*", 0);
}

WIRE_TEST(oversized_heads_are_refused)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	struct larder *larder = wire_larder_for(wire, upstream, "registry.test");
	_cleanup_free_ char *filler = mem_alloc(MIB + 1);
	struct {
		const char *before;
		size_t len;
		const char *after, *status;
	} heads[] = {
		{"GET /v2/", 2500, " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 400 "},
		{"GET /v2/", MIB, " HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 414 "},
		{HEAD "Accept: ", MIB, "\r\n\r\n", "HTTP/1.1 431 "},
		{HEAD, MIB, ": b\r\n\r\n", "HTTP/1.1 431 "},
	};

	memset(filler, 'a', MIB);
	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		_cleanup_(buf_dispose) struct buf answer = {0};
		int fd = raw_connect(larder, NULL, 0);

		/* What larder no longer reads may break the connection before the answer is read: it is refused anyway.
		 */
		if (raw_send(fd, heads[i].before, strlen(heads[i].before)) && raw_send(fd, filler, heads[i].len))
			raw_send(fd, heads[i].after, strlen(heads[i].after));
		raw_read_to(fd, NULL, &answer);
		close(fd);
		if (answer.data && strncmp(answer.data, heads[i].status, strlen(heads[i].status)) != 0)
			fail_msg("%zu bytes behind \"%s\": \"%.100s\"", heads[i].len, heads[i].before, answer.data);
	}
	expect_count(upstream, NULL, "*", 0);
	expect_ping(larder);
}

/* A larder with these keys of `clients`. */
static struct larder *larder_with_clients(struct wire *wire, struct scripted *upstream, const char *keys)
{
	_cleanup_free_ char *config = mem_printf("default_upstream: registry.test\n"
						 "upstreams: { registry.test: { url: \"%%s\" } }\n"
						 "clients: { %s }\n",
						 keys);

	return larder_configured(wire, upstream, config);
}

static void pause_ms(unsigned ms)
{
	nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000}, NULL);
}

/* Whether larder ends the connection within the time, while `drip` is sent to it every 50 ms. */
static bool is_cut_while_dripping(int fd, const char *drip)
{
	uint64_t deadline = clock_ms() + WIRE_WAIT_MS;

	while (clock_ms() < deadline) {
		struct pollfd polled = {.fd = fd, .events = POLLIN};
		char byte;

		if (poll(&polled, 1, 50) == 1 && recv(fd, &byte, 1, 0) <= 0)
			return true;
		if (*drip)
			raw_send(fd, drip, strlen(drip));
	}
	return false;
}

WIRE_TEST(slow_heads_are_cut)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	struct larder *larder = larder_with_clients(wire, upstream, "request_timeout: 1s");
	int idle = raw_connect(larder, NULL, 0), line = raw_connect(larder, NULL, 0);
	int field = raw_connect(larder, NULL, 0);

	raw_send(line, "GET /v2/", 8);
	raw_send(field, HEAD, strlen(HEAD));
	expect_ping(larder);
	assert_true(is_cut_while_dripping(field, "a: b\r\n"));
	assert_true(is_cut_while_dripping(line, "a"));
	assert_true(is_cut_while_dripping(idle, ""));
	expect_ping(larder);
	close(idle);
	close(line);
	close(field);
}

static int ask_slowly(struct larder *larder, const char *target)
{
	_cleanup_free_ char *request = mem_printf("GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", target);
	_cleanup_(buf_dispose) struct buf answer = {0};
	int fd = raw_connect(larder, NULL, 4096);

	raw_send(fd, request, strlen(request));
	assert_true(raw_read_to(fd, "\r\n\r\n", &answer));
	return fd;
}

/* Until larder has ended the connection: what its system had on the way is read first. */
static void expect_cut(int fd, uint64_t less_than)
{
	char piece[65536];
	uint64_t bytes = 0;
	ssize_t got;

	while ((got = recv(fd, piece, sizeof(piece), 0)) > 0)
		bytes += (uint64_t)got;
	assert_in_range(bytes, 0, less_than - 1);
}

WIRE_TEST(client_that_takes_nothing_is_cut_and_one_that_pauses_is_not)
{
	const uint64_t size = 64 * MIB;
	struct scripted *upstream = wire_upstream(wire, NULL);
	struct larder *larder = larder_with_clients(wire, upstream, "min_rate: 64KiB, patience: 3s");
	char digest[SCRIPTED_DIGEST_MAX], target[128];
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_(buf_dispose) struct buf rest = {0};
	int stopped, pausing;

	scripted_add_blob(upstream, "team/app", 1, size, digest);
	snprintf(target, sizeof(target), "/v2/team/app/blobs/%s", digest);
	assert_true(larder_get(larder, target, &reply));
	expect_hit_soon(larder, target);
	stopped = ask_slowly(larder, target);
	pausing = ask_slowly(larder, target);
	pause_ms(1200);
	assert_false(raw_read_to(pausing, NULL, &rest) || rest.len < size - MIB);
	assert_true(larder_wait_output(larder, "too slowly", WIRE_WAIT_MS));
	expect_cut(stopped, size);
	close(stopped);
	close(pausing);
	expect_ping(larder);
}

/* That there is nothing to take is not the client's fault. */
WIRE_TEST(client_that_waits_for_the_upstream_is_not_cut)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	struct larder *larder =
		larder_with_clients(wire, upstream, "min_rate: 64KiB, patience: 1s, request_timeout: 1s");
	char digest[SCRIPTED_DIGEST_MAX];
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	scripted_add_blob(upstream, "team/app", 1, MIB, digest);
	scripted_add_rule(upstream, &(struct scripted_rule){
					    .path = "*/blobs/*", .stall = true, .stall_at = 1000, .stall_ms = 4000});
	assert_true(ask(larder, NULL, NULL, &reply, "/v2/team/app/blobs/%s", digest));
	expect_content(&reply, digest);
}

/* Whether a new connection from there is served. */
static bool is_served(const struct larder *larder, const char *source, int *fd)
{
	static const char request[] = HEAD "\r\n";
	_cleanup_(buf_dispose) struct buf answer = {0};

	*fd = raw_connect(larder, source, 0);
	raw_send(*fd, request, strlen(request));
	return raw_read_to(*fd, "\r\n\r\n", &answer);
}

WIRE_TEST(connections_of_one_client_and_of_all_are_bounded)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	struct larder *larder = larder_with_clients(wire, upstream, "max_connections: 6, max_connections_each: 4");
	int fds[8], refused;
	uint64_t deadline = clock_ms() + WIRE_WAIT_MS;

	for (unsigned i = 0; i < 4; i++)
		assert_true(is_served(larder, "127.0.0.1", &fds[i]));
	assert_false(is_served(larder, "127.0.0.1", &refused));
	close(refused);
	assert_true(is_served(larder, "127.0.0.2", &fds[4]));
	assert_true(is_served(larder, "127.0.0.3", &fds[5]));
	assert_false(is_served(larder, "127.0.0.4", &refused));
	close(refused);
	/* A place that is given back is another's, of whoever. */
	close(fds[0]);
	while (!is_served(larder, "127.0.0.4", &fds[0]) && clock_ms() < deadline)
		close(fds[0]);
	assert_false(is_served(larder, "127.0.0.1", &refused));
	close(refused);
	close(fds[4]);
	while (!is_served(larder, "127.0.0.1", &fds[4]) && clock_ms() < deadline)
		close(fds[4]);
	for (unsigned i = 0; i < 6; i++)
		close(fds[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(malformed_requests_are_refused_with_what_follows_them),
		WIRE_CASE(nothing_behind_a_chunked_body_is_a_request),
		WIRE_CASE(body_that_nobody_asked_for_is_read_up_to_a_bound),
		WIRE_CASE(request_of_a_proxys_client_is_taken),
		WIRE_CASE(line_breaks_and_control_characters_are_not_echoed),
		WIRE_CASE(oversized_heads_are_refused),
		WIRE_CASE(slow_heads_are_cut),
		WIRE_CASE(client_that_takes_nothing_is_cut_and_one_that_pauses_is_not),
		WIRE_CASE(client_that_waits_for_the_upstream_is_not_cut),
		WIRE_CASE(connections_of_one_client_and_of_all_are_bounded),
	};
	return cmocka_run_group_tests_name("hygiene", tests, NULL, NULL);
}
