/* SPDX-License-Identifier: Apache-2.0 */
/* The admin API's client, against a server of a few lines on a unix socket. */
#include "server/cli/admin_client.h"

#include "base/cleanup.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define REQUEST_MAX ((size_t)8 << 20)

/* Takes one connection, reads until the request holds `until`, answers and closes. */
struct server {
	char directory[32], path[48], url[56];
	int listener;
	pthread_t thread;
	const char *until;
	const char *answer;
	struct buf request;
};

static void *serve(void *arg)
{
	struct server *server = arg;
	_cleanup_close_ int fd = accept(server->listener, NULL, NULL);
	char piece[65536];
	ssize_t got;

	while (!(server->request.data && strstr(server->request.data, server->until)) &&
	       (got = recv(fd, piece, sizeof(piece), 0)) > 0)
		buf_append(&server->request, piece, (size_t)got);
	for (size_t sent = 0, len = strlen(server->answer); sent < len;) {
		ssize_t n = send(fd, server->answer + sent, len - sent, MSG_NOSIGNAL);

		if (n <= 0)
			break;
		sent += (size_t)n;
	}
	return NULL;
}

static void server_start(struct server *server, const char *until, const char *answer)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	*server = (struct server){.directory = "/tmp/larder-test-XXXXXX",
				  .until = until,
				  .answer = answer,
				  .request = {.max = REQUEST_MAX}};
	assert_non_null(mkdtemp(server->directory));
	snprintf(server->path, sizeof(server->path), "%s/socket", server->directory);
	snprintf(server->url, sizeof(server->url), "unix:%s", server->path);
	strcpy(address.sun_path, server->path);
	server->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(server->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(server->listener, 1), 0);
	assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

/* Waits for the server; what it was sent stays until server_dispose(). */
static void server_join(struct server *server)
{
	assert_int_equal(pthread_join(server->thread, NULL), 0);
	close(server->listener);
	unlink(server->path);
	rmdir(server->directory);
}

static void server_dispose(struct server *server)
{
	buf_dispose(&server->request);
}

static int take_text(void *arg, const void *data, size_t len)
{
	return buf_append(arg, data, len);
}

static int take_nothing(void *arg, const void *data, size_t len)
{
	(void)arg, (void)data, (void)len;
	return -1;
}

static void question_carries_its_token_and_gets_the_whole_document(void **state)
{
	struct server server;
	struct admin_answer answer;
	struct admin_request request = {.method = "PUT",
					.target = "/api/v1/pins/a?b=c%20d",
					.token = "sesame",
					.content_type = "application/json",
					.text = "{\"images\":[]}"};

	(void)state;
	server_start(&server, "{\"images\":[]}", "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n{\"a\": 1}\n");
	request.url = server.url;
	assert_int_equal(admin_client_ask(&request, &answer, NULL), 0);
	server_join(&server);
	assert_int_equal(answer.status, 404);
	assert_string_equal(answer.body.data, "{\"a\": 1}\n");
	assert_memory_equal(server.request.data, "PUT /api/v1/pins/a?b=c%20d HTTP/1.1\r\n", 37);
	assert_non_null(strstr(server.request.data, "\r\nAuthorization: Bearer sesame\r\n"));
	assert_non_null(strstr(server.request.data, "\r\nContent-Type: application/json\r\n"));
	buf_dispose(&answer.body);
	server_dispose(&server);
}

static void answer_s_body_streams_and_one_that_is_cut_is_told_from_a_whole_one(void **state)
{
	static const char whole[] =
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ndata\r\n1\r\n!\r\n0\r\n\r\n";
	static const char cut[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ndata\r\n";
	static const struct {
		const char *answer;
		int code;
		const char *body;
	} cases[] = {{whole, 0, "data!"}, {cut, ERR_IO, "data"}};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		_cleanup_(buf_dispose) struct buf body = {0};
		struct admin_request request = {.method = "GET", .target = "/", .take = take_text, .arg = &body};
		struct admin_answer answer;
		struct server server;
		struct err err;

		server_start(&server, "\r\n\r\n", cases[i].answer);
		request.url = server.url;
		assert_int_equal(admin_client_ask(&request, &answer, &err), cases[i].code);
		server_join(&server);
		assert_string_equal(body.data, cases[i].body);
		assert_int_equal(answer.body.len, 0);
		server_dispose(&server);
	}
}

static void request_body_streams_with_a_length_or_in_chunks(void **state)
{
	static const int64_t lengths[] = {6, -1};
	static const char *const headers[] = {"\r\nContent-Length: 6\r\n", "\r\nTransfer-Encoding: chunked\r\n"};
	static const char *const untils[] = {"\r\n\r\nimport", "\r\n6\r\nimport\r\n0\r\n"};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		int pipe_fds[2];
		struct admin_request request = {.method = "POST",
						.target = "/api/v1/import",
						.give = admin_give_from_fd,
						.give_length = lengths[i],
						.arg = &pipe_fds[0]};
		struct admin_answer answer;
		struct server server;

		assert_int_equal(pipe(pipe_fds), 0);
		assert_int_equal(write(pipe_fds[1], "import", 6), 6);
		close(pipe_fds[1]);
		/* Without "100 Continue", curl goes on after a second. */
		server_start(&server, untils[i], "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
		request.url = server.url;
		assert_int_equal(admin_client_ask(&request, &answer, NULL), 0);
		server_join(&server);
		close(pipe_fds[0]);
		assert_int_equal(answer.status, 200);
		assert_non_null(strstr(server.request.data, headers[i]));
		buf_dispose(&answer.body);
		server_dispose(&server);
	}
}

static void giving_up_is_told_from_failing(void **state)
{
	static const volatile sig_atomic_t stop = 1;
	struct admin_answer answer;
	struct server server;
	struct admin_request request = {.method = "GET", .target = "/", .take = take_nothing};

	(void)state;
	server_start(&server, "\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndata");
	request.url = server.url;
	assert_int_equal(admin_client_ask(&request, &answer, NULL), ERR_CANCELLED);
	server_join(&server);
	server_dispose(&server);
	/* No answer comes: the server waits for what is never said. */
	server_start(&server, "never", "");
	request = (struct admin_request){.url = server.url, .method = "GET", .target = "/", .stop = &stop};
	assert_int_equal(admin_client_ask(&request, &answer, NULL), ERR_CANCELLED);
	shutdown(server.listener, SHUT_RDWR); /* it may not even have connected */
	server_join(&server);
	server_dispose(&server);
}

static void who_does_not_answer_is_named(void **state)
{
	static const struct {
		const char *url;
		int code;
	} cases[] = {
		{"unix:/nonexistent/socket", ERR_UPSTREAM},
		{"unix://nonexistent/socket", ERR_INVALID},
		{"unix:relative", ERR_INVALID},
		{"127.0.0.1:1", ERR_UPSTREAM},
		{"http://127.0.0.1:1/", ERR_UPSTREAM},
		{"ftp://127.0.0.1", ERR_UPSTREAM},
		{"http://user@127.0.0.1:1", ERR_INVALID},
		{"http://127.0.0.1:1/?a", ERR_INVALID},
		{"http://a b", ERR_INVALID},
		{"", ERR_INVALID},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct admin_request request = {.url = cases[i].url, .method = "GET", .target = "/"};
		struct admin_answer answer;
		struct err err = {0};
		int code = admin_client_ask(&request, &answer, &err);

		if (code != cases[i].code)
			fail_msg("%s: %d, not %d: %s", cases[i].url, code, cases[i].code, err.text);
		assert_non_null(strstr(err.text, cases[i].url));
		buf_dispose(&answer.body);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(question_carries_its_token_and_gets_the_whole_document),
		cmocka_unit_test(answer_s_body_streams_and_one_that_is_cut_is_told_from_a_whole_one),
		cmocka_unit_test(request_body_streams_with_a_length_or_in_chunks),
		cmocka_unit_test(giving_up_is_told_from_failing),
		cmocka_unit_test(who_does_not_answer_is_named),
	};
	return cmocka_run_group_tests_name("admin_client", tests, NULL, NULL);
}
