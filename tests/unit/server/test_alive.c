/* SPDX-License-Identifier: Apache-2.0 */
#include "server/http/http.h"

#include <arpa/inet.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define LONG_MS  10000
#define SHORT_MS 200

static sem_t entered, released;

/* What no handler may do. */
static void hang(void *arg, struct http_request *request)
{
	struct http_body body = {.kind = HTTP_BODY_MEMORY, .data = "", .len = 0};

	(void)arg;
	sem_post(&entered);
	sem_wait(&released);
	http_reply(request, 200, NULL, 0, &body);
}

static void ended(void *arg, struct http_request *request, bool complete)
{
	(void)arg;
	(void)request;
	(void)complete;
}

static int ask(const struct http_server *server)
{
	static const char request[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
	struct sockaddr_in to = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	unsigned port;

	assert_int_equal(sscanf(http_address(server, 0), "127.0.0.1:%u", &port), 1);
	to.sin_port = htons((uint16_t)port);
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	assert_int_equal(write(fd, request, strlen(request)), strlen(request));
	return fd;
}

static void server_is_alive_until_one_of_its_threads_hangs(void **state)
{
	static const char *const listen = "127.0.0.1:0";
	struct http_options options = {
		.listen = &listen,
		.listen_count = 1,
		.threads = 2,
		.limits.connections = 10,
		.handler = {.handle = hang, .ended = ended},
	};
	struct http_server *server;
	struct err err = {0};
	int fd;

	(void)state;
	sem_init(&entered, 0, 0);
	sem_init(&released, 0, 0);
	assert_int_equal(http_start(&options, &server, &err), 0);
	assert_true(http_is_alive(server, LONG_MS));
	fd = ask(server);
	sem_wait(&entered);
	assert_false(http_is_alive(server, SHORT_MS));
	sem_post(&released);
	assert_true(http_is_alive(server, LONG_MS));
	close(fd);
	http_stop(server, 0, NULL, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(server_is_alive_until_one_of_its_threads_hangs)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
