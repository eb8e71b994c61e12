/* SPDX-License-Identifier: Apache-2.0 */
/* The admin API's own address: where it listens, who may ask, and how it says no. */
#include "tests/wire/admin.h"
#include "tests/wire/expect.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static void expect_said(const struct client_reply *reply, int status, const char *part)
{
	if (reply->status != status || !strstr(reply->body, part))
		fail_msg("%d %s instead of %d with %s", reply->status, reply->body, status, part);
	expect_header(reply, "Content-Type", "application/json");
}

static uint16_t port_taken(int *fd)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	*fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_return_code(bind(*fd, (struct sockaddr *)&address, len), 0);
	assert_return_code(listen(*fd, 1), 0);
	assert_return_code(getsockname(*fd, (struct sockaddr *)&address, &len), 0);
	return ntohs(address.sin_port);
}

WIRE_TEST(probes_say_that_larder_serves)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct larder *larder = larder_with_admin(wire, "127.0.0.1:0", NULL, NULL);
	admin_ask(larder, NULL, "/healthz", NULL, &reply);
	expect_said(&reply, 200, "{\"healthy\":true,\"reasons\":[]}");
	admin_ask(larder, NULL, "/readyz", NULL, &reply);
	expect_said(&reply, 200, "{\"ready\":true,\"reasons\":[]}");
	admin_ask(larder, "HEAD", "/readyz", NULL, &reply);
	assert_int_equal(reply.status, 200);
}

WIRE_TEST(store_that_cannot_be_written_is_not_ready)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *partial = wire_path(wire, "store/partial");
	struct larder *larder = larder_with_admin(wire, "127.0.0.1:0", NULL, NULL);
	/* The tests may run as root, whom no mode keeps from writing. */
	assert_return_code(rmdir(partial), 0);
	admin_ask(larder, NULL, "/readyz", NULL, &reply);
	expect_said(&reply, 503, "the store cannot be written: ");
	admin_ask(larder, NULL, "/healthz", NULL, &reply);
	expect_said(&reply, 200, "true");
	assert_return_code(mkdir(partial, 0750), 0);
	admin_ask(larder, NULL, "/readyz", NULL, &reply);
	expect_said(&reply, 200, "true");
}

WIRE_TEST(admin_api_says_no_in_json)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct larder *larder = larder_with_admin(wire, "127.0.0.1:0", NULL, NULL);
	admin_ask(larder, NULL, "/api/v1/nothing", NULL, &reply);
	expect_said(&reply, 404, "{\"error\":{\"code\":\"not_found\",\"message\":\"");
	admin_ask(larder, "POST", "/healthz", NULL, &reply);
	expect_said(&reply, 405, "{\"error\":{\"code\":\"method_not_allowed\",\"message\":\"");
	expect_header(&reply, "Allow", "GET, HEAD");
	admin_ask(larder, NULL, "/%zz", NULL, &reply);
	expect_said(&reply, 400, "{\"error\":{\"code\":\"invalid\",\"message\":\"");
}

WIRE_TEST(token_changes_while_larder_runs)
{
	static const char old[] = "Authorization: Bearer old\r\n", new[] = "Authorization: Bearer new\r\n";
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *token = wire_write_file(wire, "token", "old\n");
	_cleanup_free_ char *config = mem_printf("admin: { token_file: %s }\n", token);
	struct larder *larder = larder_with_admin(wire, "127.0.0.1:0", NULL, config);

	free(wire_write_file(wire, "token", "\n"));
	larder_signal(larder, SIGHUP);
	assert_true(larder_wait_output(larder, "SIGHUP: all stays as it was", WIRE_WAIT_MS));
	admin_ask(larder, NULL, "/api/v1/status", old, &reply);
	assert_int_equal(reply.status, 200);
	free(wire_write_file(wire, "token", "new\n"));
	larder_signal(larder, SIGHUP);
	assert_true(larder_wait_output(larder, "the configuration was read again", WIRE_WAIT_MS));
	admin_ask(larder, NULL, "/api/v1/status", old, &reply);
	assert_int_equal(reply.status, 401);
	admin_ask(larder, NULL, "/api/v1/status", new, &reply);
	assert_int_equal(reply.status, 200);
}

WIRE_TEST(token_is_asked_for_where_one_is_configured)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *token = wire_write_file(wire, "token", "open sesame\n");
	_cleanup_free_ char *config = mem_printf("admin: { token_file: %s }\n", token);
	struct larder *larder = larder_with_admin(wire, "127.0.0.1:0", NULL, config);
	static const char *const wrong[] = {
		NULL,
		"Authorization: Bearer open\r\n",
		"Authorization: Bearer open sesame open sesame\r\n",
		"Authorization: Bearer \r\n",
		"Authorization: Basic open sesame\r\n",
	};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		admin_ask(larder, NULL, "/api/v1/status", wrong[i], &reply);
		expect_said(&reply, 401, "{\"error\":{\"code\":\"unauthorized\"");
		expect_header(&reply, "WWW-Authenticate", "Bearer realm=\"larder\"");
	}
	/* Nor does it tell a stranger what paths there are. */
	admin_ask(larder, NULL, "/api/v1/nothing", NULL, &reply);
	assert_int_equal(reply.status, 401);
	admin_ask(larder, NULL, "/api/v1/nothing", "Authorization: Bearer open sesame\r\n", &reply);
	assert_int_equal(reply.status, 404);
	admin_ask(larder, NULL, "/readyz", NULL, &reply);
	assert_int_equal(reply.status, 200);
}

WIRE_TEST(page_from_elsewhere_cannot_reach_it_by_a_name_of_its_own)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct larder *larder = larder_with_admin(wire, "127.0.0.1:0", NULL, NULL);
	struct client_request request = {
		.port = admin_port(larder), .address = "rebound.example", .target = "/api/v1/nothing"};
	struct client *client = client_connect(NULL, request.port, WIRE_WAIT_MS);
	assert_true(client_send(client, &request));
	assert_true(client_read_head(client, &reply));
	assert_int_equal(reply.status, 403);
	client_close(client);
}

WIRE_TEST(page_from_elsewhere_cannot_reach_it_by_the_right_name)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct larder *larder = larder_with_admin(wire, "127.0.0.1:0", NULL, NULL);
	_cleanup_free_ char *own = mem_printf("Origin: http://127.0.0.1:%u\r\n", admin_port(larder));
	_cleanup_free_ char *page = mem_printf("%sSec-Fetch-Site: same-origin\r\n", own);
	_cleanup_free_ char *longer = mem_printf("Origin: http://127.0.0.1:%u0\r\n", admin_port(larder));
	const char *const foreign[] = {
		"Sec-Fetch-Site: cross-site\r\n",
		"Sec-Fetch-Site: same-site\r\n",
		"Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n",
		"Origin: https://elsewhere.example\r\n",
		"Origin: null\r\n",
		"Origin: http://127.0.0.1\r\n",
		longer,
	};
	const char *const familiar[] = {NULL, "Sec-Fetch-Site: none\r\n", own, page};

	for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
		admin_ask(larder, "POST", "/api/v1/gc", foreign[i], &reply);
		expect_said(&reply, 403, "{\"error\":{\"code\":\"denied\"");
		/* Not even as a stream, which begins before its body is there. */
		admin_ask(larder, "POST", "/api/v1/import", foreign[i], &reply);
		expect_said(&reply, 403, "pages from elsewhere");
		admin_ask(larder, NULL, "/api/v1/status", foreign[i], &reply);
		expect_said(&reply, 403, "pages from elsewhere");
		/* What anybody may have: a link to the page, and the probes. */
		admin_ask(larder, NULL, "/", foreign[i], &reply);
		assert_int_equal(reply.status, 200);
		admin_ask(larder, NULL, "/healthz", foreign[i], &reply);
		assert_int_equal(reply.status, 200);
	}
	/* None of them started anything. */
	admin_ask(larder, NULL, "/api/v1/jobs", NULL, &reply);
	assert_string_equal(reply.body, "{\"jobs\":[]}\n");
	for (size_t i = 0; i < sizeof(familiar) / sizeof(familiar[0]); i++) {
		admin_ask(larder, "POST", "/api/v1/gc", familiar[i], &reply);
		expect_said(&reply, 202, "\"job\"");
		admin_ask(larder, NULL, "/metrics", familiar[i], &reply);
		assert_int_equal(reply.status, 200);
	}
}

/* Whoever shows the token is known: a page from elsewhere cannot send it unasked. */
WIRE_TEST(token_is_enough_wherever_the_page_is_from)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *token = wire_write_file(wire, "token", "sesame\n");
	_cleanup_free_ char *config = mem_printf("admin: { token_file: %s }\n", token);
	struct larder *larder = larder_with_admin(wire, "127.0.0.1:0", NULL, config);

	admin_ask(larder, NULL, "/api/v1/status",
		  "Authorization: Bearer sesame\r\nOrigin: https://front.example\r\nSec-Fetch-Site: same-site\r\n",
		  &reply);
	assert_int_equal(reply.status, 200);
}

WIRE_TEST(unix_socket_is_for_its_group_and_outlives_a_kill)
{
	_cleanup_free_ char *path = wire_path(wire, "admin.sock");
	_cleanup_free_ char *address = mem_printf("unix:%s", path);
	struct larder *larder = larder_with_admin(wire, address, NULL, NULL);
	struct stat found;
	assert_return_code(stat(path, &found), 0);
	assert_int_equal(found.st_mode, S_IFSOCK | 0660);

	_cleanup_free_ char *other = wire_path(wire, "other");
	const char *second[] = {"serve", "--listen", "127.0.0.1:0", "--store", other, "--admin", address, NULL};
	_cleanup_free_ char *said = NULL;
	assert_int_equal(wire_run(wire, second, &said), 1);
	assert_non_null(strstr(said, "another program listens there"));

	larder_kill(larder);
	assert_return_code(stat(path, &found), 0);
	larder_restart(larder);
	larder_stop(larder);
	assert_int_equal(stat(path, &found), -1);
}

WIRE_TEST(what_is_no_socket_is_not_replaced)
{
	_cleanup_free_ char *path = wire_write_file(wire, "precious", "work\n");
	_cleanup_free_ char *address = mem_printf("unix:%s", path);
	_cleanup_free_ char *store = wire_path(wire, "store");
	const char *given[] = {"serve", "--listen", "127.0.0.1:0", "--store", store, "--admin", address, NULL};
	struct stat found;
	assert_int_equal(wire_run(wire, given, NULL), 1);
	assert_return_code(stat(path, &found), 0);
	assert_int_equal(found.st_size, 5);
}

WIRE_TEST(address_that_was_asked_for_and_is_taken_ends_larder)
{
	_cleanup_free_ char *store = wire_path(wire, "store"), *said = NULL;
	int fd = -1;
	_cleanup_free_ char *address = mem_printf("127.0.0.1:%u", port_taken(&fd));
	const char *given[] = {"serve", "--listen", "127.0.0.1:0", "--store", store, "--admin", address, NULL};
	assert_int_equal(wire_run(wire, given, &said), 1);
	assert_non_null(strstr(said, address));
	assert_non_null(strstr(said, "--admin"));
	close(fd);
}

WIRE_TEST(address_beyond_loopback_needs_a_token)
{
	_cleanup_free_ char *said = NULL;
	const char *given[] = {"serve", "--listen", "127.0.0.1:0", "--admin", "0.0.0.0:0", NULL};
	assert_int_equal(wire_run(wire, given, &said), 2);
	assert_non_null(strstr(said, "token_file"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(probes_say_that_larder_serves),
		WIRE_CASE(store_that_cannot_be_written_is_not_ready),
		WIRE_CASE(admin_api_says_no_in_json),
		WIRE_CASE(token_is_asked_for_where_one_is_configured),
		WIRE_CASE(token_changes_while_larder_runs),
		WIRE_CASE(page_from_elsewhere_cannot_reach_it_by_a_name_of_its_own),
		WIRE_CASE(page_from_elsewhere_cannot_reach_it_by_the_right_name),
		WIRE_CASE(token_is_enough_wherever_the_page_is_from),
		WIRE_CASE(unix_socket_is_for_its_group_and_outlives_a_kill),
		WIRE_CASE(what_is_no_socket_is_not_replaced),
		WIRE_CASE(address_that_was_asked_for_and_is_taken_ends_larder),
		WIRE_CASE(address_beyond_loopback_needs_a_token),
	};
	return cmocka_run_group_tests_name("admin", tests, NULL, NULL);
}
