/* SPDX-License-Identifier: Apache-2.0 */
/* Who pushes a large body to where nothing is taken is told so, however long he goes on, within bounds. */
#include "tests/wire/expect.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TARGET       "/v2/team/app/blobs/uploads/1"
#define PUT_FOR_EVER "PUT " TARGET " HTTP/1.1\r\nHost: a\r\nContent-Length: 1099511627776\r\n\r\n"
#define LARGE        (48 * MIB)  /* more than is read before the answer, less than is borne behind it */
#define BORNE_MOST   (256 * MIB) /* with all that is in buffers */
#define CLOSED_MS    30000

/* Of requests, none of which is one here. */
static char *make_body(void)
{
	static const char smuggled[] = "GET /v2/team/app/manifests/smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
	char *body = mem_alloc(LARGE);

	for (size_t at = 0; at + sizeof(smuggled) <= LARGE; at += sizeof(smuggled) - 1)
		memcpy(body + at, smuggled, sizeof(smuggled) - 1);
	return body;
}

WIRE_TEST(large_upload_is_refused_with_an_answer)
{
	static const char *const methods[] = {"PUT", "POST", "PATCH", "DELETE"};
	struct scripted *upstream = wire_upstream(wire, NULL);
	struct larder *larder = wire_larder_for(wire, upstream, "registry.test");
	_cleanup_free_ char *body = make_body();

	for (unsigned i = 0; i < 8; i++) {
		_cleanup_(client_reply_dispose) struct client_reply reply = {0};
		struct client_request request = {.port = larder_port(larder),
						 .method = methods[i % 4],
						 .target = TARGET,
						 .body = body,
						 .body_len = LARGE};

		/* It reads when it has sent all. */
		if (!client_fetch(&request, &reply))
			fail_msg("%s: %s", request.method, reply.error);
		expect_error(&reply, 405, "UNSUPPORTED");
		expect_header(&reply, "Connection", "close");
	}
	expect_ping(larder);
	expect_count(upstream, NULL, NULL, 0);
}

/* Where such an upload has begun, and its head was sent. */
static int begin_upload(const struct larder *larder)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(larder_port(larder))};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_return_code(fd, 0);
	inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
	assert_return_code(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(send(fd, PUT_FOR_EVER, strlen(PUT_FOR_EVER), MSG_NOSIGNAL), strlen(PUT_FOR_EVER));
	return fd;
}

WIRE_TEST(upload_without_an_end_is_cut)
{
	struct larder *larder = wire_larder_for(wire, wire_upstream(wire, NULL), "registry.test");
	_cleanup_close_ int fd = begin_upload(larder);
	_cleanup_free_ char *piece = mem_alloc(MIB);
	uint64_t sent = 0;
	ssize_t count;

	while (sent <= BORNE_MOST && (count = send(fd, piece, MIB, MSG_NOSIGNAL)) > 0)
		sent += (uint64_t)count;
	assert_in_range(sent, LARGE, BORNE_MOST);
	expect_ping(larder);
}

WIRE_TEST(upload_that_stands_still_is_closed_in_the_end)
{
	struct larder *larder = wire_larder_for(wire, wire_upstream(wire, NULL), "registry.test");
	_cleanup_close_ int fd = begin_upload(larder);
	uint64_t until_ms = clock_ms() + CLOSED_MS;
	char answer[4096];
	ssize_t got, len = 0;

	/* The answer, and the end of what larder sends; what is sent to it is taken all the same. */
	while ((got = recv(fd, answer + len, sizeof(answer) - (size_t)len, 0)) > 0)
		len += got;
	assert_int_equal(got, 0);
	assert_memory_equal(answer, "HTTP/1.1 405 ", 13);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), 1);
		nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
	}
	while (send(fd, "x", 1, MSG_NOSIGNAL) == 1) {
		assert_true(clock_ms() < until_ms);
		nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(large_upload_is_refused_with_an_answer),
		WIRE_CASE(upload_without_an_end_is_cut),
		WIRE_CASE(upload_that_stands_still_is_closed_in_the_end),
	};
	return cmocka_run_group_tests_name("uploads", tests, NULL, NULL);
}
