/* SPDX-License-Identifier: Apache-2.0 */
#include "upstream/token.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "upstream/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define WAITERS 10

/* Who is shown credentials. */

static bool trusted(const char *upstream, const char *service)
{
	static const char *const allowed[] = {"auth.example.com", "sso.example.net:8443"};
	struct url a, b;

	assert_int_equal(url_parse(upstream, &a), 0);
	assert_int_equal(url_parse(service, &b), 0);
	return token_service_trusted(&a, &b, allowed, 2);
}

static void token_credentials_go_to_the_upstream_itself_and_to_services_known_or_configured(void **state)
{
	(void)state;
	assert_true(trusted("https://registry.example.com", "https://registry.example.com/token"));
	assert_true(trusted("https://registry.example.com:5000", "https://registry.example.com/token"));
	assert_true(trusted("http://127.0.0.1:5000", "http://127.0.0.1:5001/token"));
	assert_true(trusted("http://127.0.0.1:5000", "https://127.0.0.1/token"));
	assert_true(trusted("https://registry-1.docker.io", "https://auth.docker.io/token"));
	assert_true(trusted("https://registry.gitlab.com", "https://gitlab.com/jwt/auth"));
	assert_true(trusted("https://registry.example.com", "https://auth.example.com/token"));
	assert_true(trusted("https://registry.example.com", "https://sso.example.net:8443/token"));
}

static void token_credentials_go_to_nobody_else(void **state)
{
	static const char *const services[] = {
		"https://evil.example/token",
		"https://registry-1.docker.io.evil.example/token",
		"https://auth.docker.io.evil.example/token",
		"https://xauth.docker.io/token",
		"https://docker.io/token",
		"https://auth.docker.io:8443/token",
		"http://auth.docker.io:443/token",
		"http://registry-1.docker.io/token", /* in the clear */
		"https://gitlab.com/jwt/auth",       /* another registry's */
		"https://auth.example.com:444/token",
		"http://auth.example.com:443/token",
		"https://sso.example.net/token",
		"https://10.0.0.1/token",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++)
		if (trusted("https://registry-1.docker.io", services[i]))
			fail_msg("%s is trusted", services[i]);
	assert_false(trusted("https://registry.example.com", "https://auth.docker.io/token"));
	assert_false(trusted("https://auth.docker.io", "https://registry-1.docker.io/token"));
}

/* A token service that answers what it is told to, and counts. */
static struct {
	int listen_fd;
	unsigned port;
	pthread_t thread;

	pthread_mutex_t lock;
	const char *body;
	int status;
	unsigned requests, with_credentials;
	char target[512];
} service = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void answer(int fd)
{
	char request[4096], reply[512];
	size_t used = 0;
	ssize_t got;
	int len;

	while (used < sizeof(request) - 1 && (got = read(fd, request + used, sizeof(request) - 1 - used)) > 0) {
		used += (size_t)got;
		request[used] = '\0';
		if (strstr(request, "\r\n\r\n"))
			break;
	}
	request[used] = '\0';
	if (used == 0)
		return;
	pthread_mutex_lock(&service.lock);
	snprintf(service.target, sizeof(service.target), "%.*s", (int)strcspn(request, "\r"), request);
	service.with_credentials += strcasestr(request, "\r\nAuthorization: ") != NULL;
	service.requests++;
	len = snprintf(reply, sizeof(reply), "HTTP/1.1 %d X\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
		       service.status, strlen(service.body), service.body);
	pthread_mutex_unlock(&service.lock);
	assert_int_equal(write(fd, reply, (size_t)len), len);
}

static void *serve(void *arg)
{
	int fd;

	(void)arg;
	while ((fd = accept(service.listen_fd, NULL, NULL)) >= 0) {
		answer(fd);
		close(fd);
	}
	return NULL;
}

static void service_start(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);

	service.requests = service.with_credentials = 0;
	service.listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(service.listen_fd, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(service.listen_fd, 64), 0);
	assert_int_equal(getsockname(service.listen_fd, (struct sockaddr *)&address, &len), 0);
	service.port = ntohs(address.sin_port);
	assert_int_equal(pthread_create(&service.thread, NULL, serve, NULL), 0);
}

static void service_says(int status, const char *body)
{
	pthread_mutex_lock(&service.lock);
	service.status = status;
	service.body = body;
	pthread_mutex_unlock(&service.lock);
}

static void service_stop(void)
{
	shutdown(service.listen_fd, SHUT_RDWR);
	pthread_join(service.thread, NULL);
	close(service.listen_fd);
}

/* The tokens of one upstream, on a loop of its own. */
static struct {
	struct loop *loop;
	struct fetch_pool *pool;
	struct tokens *tokens;
	struct tokens_options options;
	struct challenge challenge;
	enum url_ground ground;
	struct token_waiter waiters[WAITERS];
	size_t wanted;
	const char *refused; /* what token_drop() is told */
	struct client_login *login;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned told;
	char got[256]; /* the last authorization, "" for none */
	struct err err;
} test = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void ready(struct token_waiter *waiter, const char *authorization, const struct err *err)
{
	(void)waiter;
	pthread_mutex_lock(&test.lock);
	test.told++;
	snprintf(test.got, sizeof(test.got), "%s", authorization ? authorization : "");
	test.err = err ? *err : (struct err){0};
	pthread_cond_signal(&test.changed);
	pthread_mutex_unlock(&test.lock);
}

static void begin_on_loop(void *arg)
{
	const struct fetch_pool_options options = {.connect_timeout_ms = 5000, .idle_timeout_ms = 5000};

	(void)arg;
	test.pool = fetch_pool_new(test.loop, &options);
	test.tokens = tokens_new(test.loop, test.pool, &test.options);
}

static void begin(const char *upstream_url)
{
	struct err err = {0};

	test.options = (struct tokens_options){
		.upstream_name = "test", .upstream_url = upstream_url, .username = "u", .password = "p"};
	test.ground = URL_LOCAL;
	test.challenge = (struct challenge){.scheme = CHALLENGE_BEARER, .service = "a b"};
	assert_int_equal(loop_start(&test.loop, &err), 0);
	loop_run(test.loop, begin_on_loop, NULL);
}

static void end_on_loop(void *arg)
{
	(void)arg;
	tokens_free(test.tokens);
	fetch_pool_free(test.pool);
}

static void end(void)
{
	loop_run(test.loop, end_on_loop, NULL);
	loop_stop(test.loop);
}

static void get_on_loop(void *arg)
{
	(void)arg;
	for (size_t i = 0; i < test.wanted; i++) {
		test.waiters[i] = (struct token_waiter){.ready = ready};
		token_get(test.tokens, &test.challenge, "repository:a/b:pull", test.ground, test.login,
			  &test.waiters[i]);
	}
}

/* Asks so many times at once, waits for all the answers, and returns the last one's error code. */
static int get(size_t wanted)
{
	test.wanted = wanted;
	test.told = 0;
	loop_run(test.loop, get_on_loop, NULL);
	pthread_mutex_lock(&test.lock);
	while (test.told < wanted)
		pthread_cond_wait(&test.changed, &test.lock);
	pthread_mutex_unlock(&test.lock);
	return test.err.code;
}

static void drop_on_loop(void *arg)
{
	(void)arg;
	token_drop(test.tokens, &test.challenge, "repository:a/b:pull", test.login, test.refused);
}

static void begin_with_service(const char *host, const char *body)
{
	_cleanup_free_ char *url = NULL;

	service_says(200, body);
	service_start();
	url = mem_printf("http://127.0.0.1:%u", service.port);
	begin(url);
	snprintf(test.challenge.realm, sizeof(test.challenge.realm), "http://%s:%u/token", host, service.port);
}

static void end_with_service(void)
{
	end();
	service_stop();
}

static void token_is_asked_for_once_however_many_want_it(void **state)
{
	(void)state;
	begin_with_service("127.0.0.1", "{\"token\":\"first\",\"expires_in\":300}");
	assert_int_equal(get(WAITERS), 0);
	assert_string_equal(test.got, "Bearer first");
	assert_int_equal(service.requests, 1);
	assert_int_equal(service.with_credentials, 1);
	assert_string_equal(service.target, "GET /token?service=a%20b&scope=repository%3Aa%2Fb%3Apull HTTP/1.1");

	service_says(200, "{\"token\":\"second\"}");
	assert_int_equal(get(1), 0);
	assert_string_equal(test.got, "Bearer first");
	assert_int_equal(service.requests, 1);

	test.refused = "Bearer another";
	loop_run(test.loop, drop_on_loop, NULL);
	get(1);
	assert_string_equal(test.got, "Bearer first");
	test.refused = "Bearer first";
	loop_run(test.loop, drop_on_loop, NULL);
	get(1);
	assert_string_equal(test.got, "Bearer second");
	assert_int_equal(service.requests, 2);
	end_with_service();
}

static void token_is_renewed_shortly_before_it_ends(void **state)
{
	uint64_t began;

	(void)state;
	begin_with_service("127.0.0.1", "{\"access_token\":\"first\",\"expires_in\":1}");
	began = clock_ms();
	get(1);
	service_says(200, "{\"token\":\"second\",\"expires_in\":1}");
	do
		get(1);
	while (strcmp(test.got, "Bearer first") == 0);
	assert_string_equal(test.got, "Bearer second");
	assert_int_equal(service.requests, 2);
	/* The margin is a quarter of so short a life. */
	assert_true(clock_ms() - began >= 750);
	end_with_service();
}

static void token_refusals_and_nonsense_are_not_remembered(void **state)
{
	static const char *const nonsense[] = {"",
					       "no JSON",
					       "[]",
					       "{}",
					       "{\"token\":\"\"}",
					       "{\"token\":\"two words\"}",
					       "{\"token\":\"a\\r\\nX: y\"}",
					       "{\"token\":7}"};

	(void)state;
	begin_with_service("127.0.0.1", "{}");
	for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
		service_says(200, nonsense[i]);
		assert_int_equal(get(1), ERR_UPSTREAM);
		assert_string_equal(test.got, "");
	}
	service_says(403, "{}");
	assert_int_equal(get(1), ERR_DENIED);
	service_says(429, "{}");
	assert_int_equal(get(1), ERR_RATE);
	service_says(500, "{}");
	assert_int_equal(get(1), ERR_UPSTREAM);
	service_says(200, "{\"token\":\"good\"}");
	assert_int_equal(get(1), 0);
	assert_string_equal(test.got, "Bearer good");
	end_with_service();
}

static void token_strangers_are_asked_without_credentials(void **state)
{
	(void)state;
	begin_with_service("localhost", "{\"token\":\"anonymous\"}");
	assert_int_equal(get(1), 0);
	assert_string_equal(test.got, "Bearer anonymous");
	assert_int_equal(service.requests, 1);
	assert_int_equal(service.with_credentials, 0);
	end_with_service();
}

static void token_services_of_hostile_challenges_are_not_asked(void **state)
{
	static const char *const realms[] = {
		"http://registry.example.com/token",
		"https://127.0.0.1/token",
		"https://169.254.169.254/latest",
		"https://localhost/token",
		"https://[::1]/token",
		"https://2130706433/token",
		"https://10.1.2.3:5000/token",
		"file:///etc/passwd",
		"https://user:pass@example.com/",
		"gopher://example.com/",
		"https:///token",
		"",
	};

	(void)state;
	begin("https://registry.example.com");
	test.ground = URL_PUBLIC;
	for (size_t i = 0; i < sizeof(realms) / sizeof(realms[0]); i++) {
		snprintf(test.challenge.realm, sizeof(test.challenge.realm), "%s", realms[i]);
		test.told = 0;
		test.wanted = 1;
		loop_run(test.loop, get_on_loop, NULL);
		/* Told at once: nothing was connected to. */
		if (test.told != 1 || test.err.code != ERR_UPSTREAM)
			fail_msg("\"%s\" is not refused", realms[i]);
	}
	end();
}

static void cancel_on_loop(void *arg)
{
	(void)arg;
	get_on_loop(NULL);
	token_cancel(test.tokens, &test.waiters[0]);
	token_cancel(test.tokens, &test.waiters[0]);
}

static void token_waiters_may_give_up_and_are_told_at_the_end(void **state)
{
	(void)state;
	begin_with_service("127.0.0.1", "{\"token\":\"late\"}");
	test.wanted = 3;
	test.told = 0;
	loop_run(test.loop, cancel_on_loop, NULL);
	end(); /* with or without the answer, the two that still wait are told */
	assert_int_equal(test.told, 2);
	service_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(token_credentials_go_to_the_upstream_itself_and_to_services_known_or_configured),
		cmocka_unit_test(token_credentials_go_to_nobody_else),
		cmocka_unit_test(token_is_asked_for_once_however_many_want_it),
		cmocka_unit_test(token_is_renewed_shortly_before_it_ends),
		cmocka_unit_test(token_refusals_and_nonsense_are_not_remembered),
		cmocka_unit_test(token_strangers_are_asked_without_credentials),
		cmocka_unit_test(token_services_of_hostile_challenges_are_not_asked),
		cmocka_unit_test(token_waiters_may_give_up_and_are_told_at_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
