/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies that clients send to the admin API, and replies whose length nobody knows beforehand: the HTTP server and the
 * admin API's own threads, with routes of this test's. */
#include "tests/wire/expect.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "server/admin/admin_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <semaphore.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define UPLOAD_BYTES ((size_t)64 << 20)
#define HELD_MAX     ((size_t)32 << 20) /* by pipes and by the kernel's buffers, of a loopback connection */

static sem_t may_go_on, has_begun, was_told;
static int told;

/* Routes. */

static void answer_echo(struct admin_visit *visit)
{
	json_t *body = admin_body(visit);

	if (body)
		admin_reply_json(visit, 200, body);
}

static ssize_t hash_upload(struct admin_visit *visit, struct digest *digest)
{
	struct hasher *hasher = hasher_new(DIGEST_SHA256);
	char block[10000];
	ssize_t got, sum = 0;

	while ((got = admin_read(visit, block, sizeof(block))) > 0) {
		if (sum == 0)
			sem_post(&has_begun);
		hasher_update(hasher, block, (size_t)got);
		sum += got;
	}
	hasher_finish(hasher, digest);
	return got ? got : sum;
}

static void answer_upload(struct admin_visit *visit)
{
	char text[DIGEST_TEXT_MAX];
	struct digest digest;
	ssize_t got = hash_upload(visit, &digest);

	if (got < 0) {
		told = (int)got;
		sem_post(&was_told);
		return;
	}
	admin_reply_json(visit, 200,
			 json_pack("{s:I, s:s}", "bytes", (json_int_t)got, "digest", digest_format(&digest, text)));
}

static void answer_slow_upload(struct admin_visit *visit)
{
	sem_wait(&may_go_on);
	answer_upload(visit);
}

static void answer_refused_upload(struct admin_visit *visit)
{
	char block[16];

	admin_read(visit, block, sizeof(block));
	admin_reply_error(visit, 400, "invalid", "that is no archive");
}

static void answer_download(struct admin_visit *visit)
{
	static const struct http_header type = {"Content-Type", "application/x-tar"};
	_cleanup_free_ char *block = mem_alloc(100000);

	admin_reply_stream(visit, 200, &type, 1, HTTP_LENGTH_UNKNOWN);
	for (int i = 0; i < 100 && told == 0; i++) {
		memset(block, 'a' + i % 26, 100000);
		told = admin_write(visit, block, 100000);
	}
	if (strcmp(visit->rest, "cut") == 0)
		admin_cut(visit);
	sem_post(&was_told);
}

const struct admin_route admin_routes[] = {
	{HTTP_POST, "/echo", "", "", answer_echo, .way = ADMIN_BLOCKS, .sends = "Json"},
	{HTTP_POST, "/upload", "", "", answer_upload, .way = ADMIN_STREAMS},
	{HTTP_POST, "/slow", "", "", answer_slow_upload, .way = ADMIN_STREAMS},
	{HTTP_POST, "/refused", "", "", answer_refused_upload, .way = ADMIN_STREAMS},
	{HTTP_GET, "/download/{how}", "", "", answer_download, .way = ADMIN_STREAMS},
};
const size_t admin_route_count = sizeof(admin_routes) / sizeof(admin_routes[0]);

/* The server. */

struct bed {
	struct admin *admin;
	struct http_server *http;
	uint16_t port;
};

static struct bed bed;

static int bed_setup(void **state)
{
	const char *listen = "127.0.0.1:0";
	struct admin_options admin = {0};
	struct err err = {0};

	(void)state;
	told = 0;
	sem_init(&may_go_on, 0, 0);
	sem_init(&has_begun, 0, 0);
	sem_init(&was_told, 0, 0);
	bed.admin = admin_new(&admin);
	struct http_options options = {.listen = &listen,
				       .listen_count = 1,
				       .threads = 1,
				       .limits.connections = 16,
				       .handler = admin_handler(bed.admin)};
	if (http_start(&options, &bed.http, &err))
		fail_msg("%s", err.text);
	bed.port = (uint16_t)strtoul(strchr(http_address(bed.http, 0), ':') + 1, NULL, 10);
	return 0;
}

static int bed_teardown(void **state)
{
	(void)state;
	http_stop(bed.http, 1000, admin_close, bed.admin);
	admin_free(bed.admin);
	return 0;
}

static void post(const char *target, const char *headers, const void *body, size_t len, struct client_reply *reply)
{
	struct client_request request = {.port = bed.port,
					 .method = "POST",
					 .target = target,
					 .headers = headers,
					 .body = body,
					 .body_len = len};

	client_reply_dispose(reply);
	if (!client_fetch(&request, reply))
		fail_msg("no answer: %s", reply->error);
}

static int raw_connect(void)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_port = htons(bed.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_return_code(connect(fd, (struct sockaddr *)&address, sizeof(address)), errno);
	return fd;
}

static void raw_say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Reads until the text is there, or (NULL) the connection ends; what came is the caller's to free. */
static char *raw_hear(int fd, const char *until)
{
	struct buf heard = {0};
	char block[65536];

	while (!until || !heard.data || !strstr(heard.data, until)) {
		struct pollfd polled = {.fd = fd, .events = POLLIN};
		assert_int_equal(poll(&polled, 1, WIRE_WAIT_MS), 1);
		ssize_t got = recv(fd, block, sizeof(block), 0);
		if (got <= 0)
			break;
		assert_int_equal(buf_append(&heard, block, (size_t)got), 0);
	}
	return heard.data ? heard.data : mem_strdup("");
}

/* Tests. */

static void json_body_reaches_a_route_whole(void **state)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	const char chunked[] = "5\r\n{\"a\":\r\n3\r\n 1}\r\n0\r\n\r\n";

	(void)state;
	post("/echo", NULL, "{\"a\": [1, 2]}", 13, &reply);
	assert_int_equal(reply.status, 200);
	assert_string_equal(reply.body, "{\"a\":[1,2]}\n");
	post("/echo", NULL, NULL, 0, &reply);
	assert_string_equal(reply.body, "{}\n");

	_cleanup_close_ int fd = raw_connect();
	raw_say(fd, "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
	raw_say(fd, chunked);
	_cleanup_free_ char *heard = raw_hear(fd, "}\n");
	assert_non_null(strstr(heard, "{\"a\":1}"));
}

static void json_body_that_is_wrong_or_too_large_is_refused(void **state)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *large = mem_alloc(HTTP_COLLECT_MAX + 1);

	(void)state;
	memset(large, ' ', HTTP_COLLECT_MAX + 1);
	post("/echo", NULL, "{\"a\": ", 6, &reply);
	assert_int_equal(reply.status, 400);
	assert_non_null(strstr(reply.body, "line 1, column 6"));
	post("/echo", NULL, "[1]", 3, &reply);
	assert_int_equal(reply.status, 400);
	large[0] = '{';
	large[HTTP_COLLECT_MAX - 1] = '}';
	post("/echo", NULL, large, HTTP_COLLECT_MAX, &reply);
	assert_int_equal(reply.status, 200);
	post("/echo", NULL, large, HTTP_COLLECT_MAX + 1, &reply);
	assert_int_equal(reply.status, 413);
}

static void upload_is_read_to_its_last_byte(void **state)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *data = mem_alloc(UPLOAD_BYTES);
	char text[DIGEST_TEXT_MAX];
	struct digest digest;

	(void)state;
	for (size_t i = 0; i < UPLOAD_BYTES; i++)
		data[i] = (char)(i * 2654435761U >> 13);
	digest_of(DIGEST_SHA256, data, UPLOAD_BYTES, &digest);
	post("/upload", NULL, data, UPLOAD_BYTES, &reply);
	assert_int_equal(reply.status, 200);
	assert_non_null(strstr(reply.body, digest_format(&digest, text)));
	post("/upload", NULL, NULL, 0, &reply);
	assert_non_null(strstr(reply.body, "\"bytes\":0"));
}

static void slow_receiver_holds_the_sender_back(void **state)
{
	_cleanup_free_ char *block = mem_alloc(1 << 20), *head = NULL;
	size_t sent = 0;

	(void)state;
	_cleanup_close_ int fd = raw_connect();
	head = mem_printf("POST /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n", UPLOAD_BYTES);
	raw_say(fd, head);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	/* Nothing more goes in for a while: the sender is held. */
	for (struct pollfd polled = {.fd = fd, .events = POLLOUT}; sent < UPLOAD_BYTES && poll(&polled, 1, 300) == 1;) {
		size_t left = UPLOAD_BYTES - sent < 1 << 20 ? UPLOAD_BYTES - sent : 1 << 20;
		ssize_t put = send(fd, block, left, MSG_NOSIGNAL);
		sent += put > 0 ? (size_t)put : 0;
	}
	assert_true(sent < HELD_MAX);
	sem_post(&may_go_on);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	while (sent < UPLOAD_BYTES) {
		size_t left = UPLOAD_BYTES - sent < 1 << 20 ? UPLOAD_BYTES - sent : 1 << 20;
		ssize_t put = send(fd, block, left, MSG_NOSIGNAL);
		assert_true(put > 0);
		sent += (size_t)put;
	}
	_cleanup_free_ char *heard = raw_hear(fd, "}\n");
	assert_non_null(strstr(heard, "\"bytes\":67108864"));
}

static void sender_who_leaves_is_noticed_by_the_receiver(void **state)
{
	(void)state;
	int fd = raw_connect();
	raw_say(fd, "POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nsome");
	sem_wait(&has_begun);
	close(fd);
	sem_wait(&was_told);
	assert_int_equal(told, ERR_CANCELLED);
}

static void refusal_comes_while_the_body_is_still_sent(void **state)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *data = mem_alloc(UPLOAD_BYTES);

	(void)state;
	post("/refused", NULL, data, UPLOAD_BYTES, &reply);
	assert_int_equal(reply.status, 400);
	assert_non_null(strstr(reply.body, "that is no archive"));
}

static void client_that_asks_first_is_told_to_go_on_or_not(void **state)
{
	(void)state;
	_cleanup_close_ int fd = raw_connect();
	raw_say(fd, "POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
	_cleanup_free_ char *heard = raw_hear(fd, "\r\n\r\n");
	assert_int_equal(strncmp(heard, "HTTP/1.1 100 ", 13), 0);
	raw_say(fd, "data");
	_cleanup_free_ char *answer = raw_hear(fd, "}\n");
	assert_non_null(strstr(answer, "\"bytes\":4"));

	_cleanup_close_ int other = raw_connect();
	raw_say(other,
		"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
	_cleanup_free_ char *refusal = raw_hear(other, "}\n");
	assert_int_equal(strncmp(refusal, "HTTP/1.1 404 ", 13), 0);
}

static void reply_of_unknown_length_comes_in_chunks(void **state)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	(void)state;
	assert_true(client_get(bed.port, "/download/all", &reply));
	assert_int_equal(reply.status, 200);
	assert_int_equal(reply.body_bytes, 10000000);
	expect_header(&reply, "Transfer-Encoding", "chunked");
	expect_header(&reply, "Content-Length", NULL);
	assert_int_equal(reply.body[7999999], 'a' + 79 % 26);
}

static void reply_of_unknown_length_ends_an_http_1_0_connection(void **state)
{
	(void)state;
	_cleanup_close_ int fd = raw_connect();
	raw_say(fd, "GET /download/all HTTP/1.0\r\nHost: localhost\r\n\r\n");
	_cleanup_free_ char *heard = raw_hear(fd, NULL);
	assert_null(strstr(heard, "chunked"));
	assert_int_equal(strlen(strstr(heard, "\r\n\r\n") + 4), 10000000);
}

static void reply_that_was_cut_is_seen_as_cut(void **state)
{
	struct client_request request = {.port = bed.port, .target = "/download/cut"};
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	(void)state;
	assert_false(client_fetch(&request, &reply));
	assert_int_equal(reply.status, 200);
}

static void reader_who_leaves_is_noticed_by_the_writer(void **state)
{
	struct client_request request = {.port = bed.port, .target = "/download/all", .leave_after = 1000};
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	(void)state;
	client_fetch(&request, &reply);
	sem_wait(&was_told);
	/* What the pipe and the kernel took was more than all there was, or it was told. */
	assert_true(told == 0 || told == ERR_CANCELLED);
}

static void stop_ends_what_still_streams(void **state)
{
	(void)state;
	_cleanup_close_ int fd = raw_connect();
	raw_say(fd, "POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nsome");
	sem_wait(&has_begun);
	http_stop(bed.http, 100, admin_close, bed.admin);
	sem_wait(&was_told);
	assert_int_equal(told, ERR_CANCELLED);
	admin_free(bed.admin);
}

#define BED_CASE(name) cmocka_unit_test_setup_teardown(name, bed_setup, bed_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BED_CASE(json_body_reaches_a_route_whole),
		BED_CASE(json_body_that_is_wrong_or_too_large_is_refused),
		BED_CASE(upload_is_read_to_its_last_byte),
		BED_CASE(slow_receiver_holds_the_sender_back),
		BED_CASE(sender_who_leaves_is_noticed_by_the_receiver),
		BED_CASE(refusal_comes_while_the_body_is_still_sent),
		BED_CASE(client_that_asks_first_is_told_to_go_on_or_not),
		BED_CASE(reply_of_unknown_length_comes_in_chunks),
		BED_CASE(reply_of_unknown_length_ends_an_http_1_0_connection),
		BED_CASE(reply_that_was_cut_is_seen_as_cut),
		BED_CASE(reader_who_leaves_is_noticed_by_the_writer),
		cmocka_unit_test_setup(stop_ends_what_still_streams, bed_setup),
	};
	return cmocka_run_group_tests_name("bodies", tests, NULL, NULL);
}
