/* SPDX-License-Identifier: Apache-2.0 */
/* The way out: through a proxy that the configuration or the environment names, and over TLS with a CA and a client
 * certificate of one's own. */
#include "tests/wire/expect.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BLOBS "*/blobs/*"

/*
 * A forward proxy: CONNECT, and requests in absolute form, whose request line it rewrites. A thread takes connections,
 * and one for each carries bytes until either side ends. All are joined at the end.
 */
struct proxy {
	int listener;
	uint16_t port;
	pthread_t taker;
	pthread_t carriers[64];
	unsigned carrier_count;
	unsigned connects, plains; /* read once the proxy has ended, or atomically */
	bool refuses;              /* answers 403 to everything */
};

static int dial(const char *address)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	char host[64];
	unsigned port = 0;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (sscanf(address, "%63[0-9.]:%u", host, &port) != 2 || inet_pton(AF_INET, host, &to.sin_addr) != 1)
		port = 0;
	to.sin_port = htons((uint16_t)port);
	if (fd >= 0 && (port == 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0)) {
		close(fd);
		return -1;
	}
	return fd;
}

static bool copy_some(int from, int to)
{
	char data[16384];
	ssize_t n = recv(from, data, sizeof(data), 0);
	return n > 0 && send(to, data, (size_t)n, MSG_NOSIGNAL) == n;
}

static void carry(int a, int b)
{
	struct pollfd fds[2] = {{.fd = a, .events = POLLIN}, {.fd = b, .events = POLLIN}};
	for (;;) {
		if (poll(fds, 2, -1) <= 0)
			return;
		if ((fds[0].revents && !copy_some(a, b)) || (fds[1].revents && !copy_some(b, a)))
			return;
	}
}

struct carrier {
	struct proxy *proxy;
	int client;
};

static size_t read_head(int fd, char *head, size_t max)
{
	size_t len = 0;
	while (len < max - 1 && !strstr(head, "\r\n\r\n") && recv(fd, head + len, 1, 0) == 1)
		head[++len] = '\0';
	return len;
}

/* Sends the first request on, in the form that servers take: GET /path instead of GET http://host/path. */
static bool forward_head(int server, const char *head)
{
	const char *target = strstr(head, "http://");
	const char *path = target ? strchr(target + 7, '/') : NULL;
	_cleanup_free_ char *line = path ? mem_printf("%.*s%s", (int)(target - head), head, path) : NULL;
	return line && send(server, line, strlen(line), MSG_NOSIGNAL) == (ssize_t)strlen(line);
}

static void serve(struct proxy *proxy, int client)
{
	static const char refusal[] = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
	static const char done[] = "HTTP/1.1 200 Connection established\r\nX-Proxy: words of its own\r\n\r\n";
	char head[8192] = "";
	bool tunnel;
	if (!read_head(client, head, sizeof(head)))
		return;
	tunnel = strncmp(head, "CONNECT ", 8) == 0;
	__atomic_fetch_add(tunnel ? &proxy->connects : &proxy->plains, 1, __ATOMIC_RELAXED);
	const char *scheme_end = strstr(head, "://");
	const char *address = tunnel ? head + strlen("CONNECT ") : scheme_end ? scheme_end + 3 : "";
	_cleanup_close_ int server = proxy->refuses ? -1 : dial(address);
	if (server < 0) {
		send(client, refusal, strlen(refusal), MSG_NOSIGNAL);
		return;
	}
	if (tunnel ? send(client, done, strlen(done), MSG_NOSIGNAL) > 0 : forward_head(server, head))
		carry(client, server);
}

static void *run_carrier(void *arg)
{
	struct carrier *carrier = arg;
	serve(carrier->proxy, carrier->client);
	close(carrier->client);
	free(carrier);
	return NULL;
}

static void *take_connections(void *arg)
{
	struct proxy *proxy = arg;
	while (proxy->carrier_count < 64) {
		int client = accept(proxy->listener, NULL, NULL);
		if (client < 0)
			break;
		struct carrier *carrier = mem_alloc(sizeof(*carrier));
		*carrier = (struct carrier){proxy, client};
		if (pthread_create(&proxy->carriers[proxy->carrier_count], NULL, run_carrier, carrier) == 0)
			proxy->carrier_count++;
	}
	return NULL;
}

static struct proxy *proxy_new(void)
{
	struct proxy *proxy = mem_alloc(sizeof(*proxy));
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	proxy->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(proxy->listener, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(proxy->listener, 16), 0);
	assert_int_equal(getsockname(proxy->listener, (struct sockaddr *)&address, &len), 0);
	proxy->port = ntohs(address.sin_port);
	assert_int_equal(pthread_create(&proxy->taker, NULL, take_connections, proxy), 0);
	return proxy;
}

/* After its larder has ended: that is what ends the connections. */
static void proxy_free(struct proxy **proxy)
{
	shutdown((*proxy)->listener, SHUT_RDWR);
	pthread_join((*proxy)->taker, NULL);
	for (unsigned i = 0; i < (*proxy)->carrier_count; i++)
		pthread_join((*proxy)->carriers[i], NULL);
	close((*proxy)->listener);
	free(*proxy);
}

static unsigned passed(const struct proxy *proxy)
{
	return __atomic_load_n(&proxy->connects, __ATOMIC_RELAXED) + __atomic_load_n(&proxy->plains, __ATOMIC_RELAXED);
}

/* A larder with one upstream at this URL, with these keys besides. */
static struct larder *larder_to(struct wire *wire, const char *url, const char *keys)
{
	_cleanup_free_ char *config =
		mem_printf("admin: { listen: off }\ndefault_upstream: far.test\nupstreams:\n  far.test:\n"
			   "    url: %s\n    retries: 0\n%s",
			   url, keys);
	struct larder_options options = {.config = config};
	return wire_larder(wire, &options);
}

static void clear_environment(void)
{
	static const char *const names[] = {"http_proxy", "https_proxy", "all_proxy", "no_proxy",
					    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unsetenv(names[i]);
}

static void set_proxy_variable(const char *name, const struct proxy *proxy)
{
	_cleanup_free_ char *url = mem_printf("http://127.0.0.1:%u", proxy->port);
	setenv(name, url, 1);
}

static int pull_status(struct larder *larder, struct scripted *upstream)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	char digest[SCRIPTED_DIGEST_MAX];
	scripted_add_blob(upstream, "team/app", 3, 300000, digest);
	assert_true(ask(larder, NULL, NULL, &reply, "/v2/team/app/blobs/%s", digest));
	if (reply.status == 200)
		expect_content(&reply, digest);
	return reply.status;
}

WIRE_TEST(plain_upstream_is_reached_through_the_configured_proxy)
{
	clear_environment();
	_cleanup_(proxy_free) struct proxy *proxy = proxy_new();
	struct scripted *upstream = wire_upstream(wire, NULL);
	_cleanup_free_ char *keys = mem_printf("    proxy: http://127.0.0.1:%u\n", proxy->port);
	/* Exceptions from the environment's proxy are none from the configuration's. */
	setenv("NO_PROXY", "*", 1);
	struct larder *larder = larder_to(wire, scripted_url(upstream, 0), keys);
	assert_int_equal(pull_status(larder, upstream), 200);
	assert_int_equal(passed(proxy), 1);
	larder_stop(larder);
	clear_environment();
}

static void expect_tunnel(struct wire *wire, bool h2, const char *variable)
{
	clear_environment();
	_cleanup_(proxy_free) struct proxy *proxy = proxy_new();
	struct scripted *upstream = wire_upstream_bare(wire, NULL);
	wire_listen(upstream, &(struct scripted_listen){.tls = wire_tls(wire), .h2 = h2});
	_cleanup_free_ char *keys = variable ? mem_printf("    ca: %s\n", scripted_tls_ca(wire_tls(wire)))
					     : mem_printf("    ca: %s\n    proxy: http://127.0.0.1:%u\n",
							  scripted_tls_ca(wire_tls(wire)), proxy->port);
	if (variable)
		set_proxy_variable(variable, proxy);
	struct larder *larder = larder_to(wire, scripted_url(upstream, 0), keys);
	assert_int_equal(pull_status(larder, upstream), 200);
	/* The proxy's 200 is not the registry's. */
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	assert_true(ask(larder, NULL, NULL, &reply, "/v2/team/app/manifests/none"));
	expect_error(&reply, 404, "MANIFEST_UNKNOWN");
	assert_true(__atomic_load_n(&proxy->connects, __ATOMIC_RELAXED) >= 1);
	size_t count;
	struct scripted_record *records = scripted_records(upstream, "GET", BLOBS, &count);
	assert_true(count >= 1);
	assert_int_equal(records[0].protocol, h2 ? SCRIPTED_HTTP2 : SCRIPTED_HTTP1);
	scripted_records_free(records, count);
	larder_stop(larder);
	clear_environment();
}

WIRE_TEST(tls_upstream_is_reached_through_a_tunnel)
{
	expect_tunnel(wire, false, NULL);
}

WIRE_TEST(http2_upstream_is_reached_through_a_tunnel)
{
	expect_tunnel(wire, true, NULL);
}

WIRE_TEST(environment_names_the_proxy)
{
	expect_tunnel(wire, false, "HTTPS_PROXY");
}

WIRE_TEST(environment_names_the_proxy_in_lower_case)
{
	expect_tunnel(wire, false, "https_proxy");
}

WIRE_TEST(environment_excepts_hosts_from_its_proxy)
{
	clear_environment();
	_cleanup_(proxy_free) struct proxy *proxy = proxy_new();
	struct scripted *upstream = wire_upstream(wire, NULL);
	set_proxy_variable("http_proxy", proxy);
	setenv("NO_PROXY", "example.com,127.0.0.1", 1);
	struct larder *larder = larder_to(wire, scripted_url(upstream, 0), "");
	assert_int_equal(pull_status(larder, upstream), 200);
	assert_int_equal(passed(proxy), 0);
	larder_stop(larder);
	setenv("NO_PROXY", "example.com", 1);
	larder_restart(larder);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	assert_true(ask(larder, NULL, NULL, &reply, "/v2/team/app/tags/list"));
	assert_int_equal(passed(proxy), 1);
	larder_stop(larder);
	clear_environment();
}

/* What the proxy says is not taken for the registry's word: its 403 is no refusal of the registry's. */
WIRE_TEST(refusal_by_the_proxy_is_not_the_upstreams)
{
	clear_environment();
	_cleanup_(proxy_free) struct proxy *proxy = proxy_new();
	struct scripted *upstream = wire_upstream_bare(wire, NULL);
	wire_listen(upstream, &(struct scripted_listen){.tls = wire_tls(wire)});
	_cleanup_free_ char *keys = mem_printf("    ca: %s\n    proxy: http://127.0.0.1:%u\n",
					       scripted_tls_ca(wire_tls(wire)), proxy->port);
	proxy->refuses = true;
	struct larder *larder = larder_to(wire, scripted_url(upstream, 0), keys);
	assert_int_equal(pull_status(larder, upstream), 502);
	expect_count(upstream, NULL, NULL, 0);
	larder_stop(larder);
}

WIRE_TEST(upstream_with_a_ca_of_its_own_is_trusted_only_with_it)
{
	clear_environment();
	struct scripted *upstream = wire_upstream_bare(wire, NULL);
	wire_listen(upstream, &(struct scripted_listen){.tls = wire_tls(wire)});
	struct larder *stranger = larder_to(wire, scripted_url(upstream, 0), "");
	assert_int_equal(pull_status(stranger, upstream), 502);
	expect_count(upstream, NULL, NULL, 0);
	larder_stop(stranger);
	_cleanup_free_ char *keys = mem_printf("    ca: %s\n", scripted_tls_ca(wire_tls(wire)));
	assert_int_equal(pull_status(larder_to(wire, scripted_url(upstream, 0), keys), upstream), 200);
}

static char *certificate_keys(struct wire *wire)
{
	_cleanup_free_ char *cert = wire_path(wire, "client.pem");
	_cleanup_free_ char *key = wire_path(wire, "client.key");
	return mem_printf("    ca: %s\n    client_cert: %s\n    client_key: %s\n", scripted_tls_ca(wire_tls(wire)),
			  cert, key);
}

static void expect_certificate(struct wire *wire, bool h2)
{
	clear_environment();
	struct scripted *upstream = wire_upstream_bare(wire, NULL);
	wire_listen(upstream, &(struct scripted_listen){.tls = wire_tls(wire), .h2 = h2, .client_certificate = true});
	_cleanup_free_ char *without = mem_printf("    ca: %s\n", scripted_tls_ca(wire_tls(wire)));
	_cleanup_free_ char *with = certificate_keys(wire);
	struct larder *stranger = larder_to(wire, scripted_url(upstream, 0), without);
	assert_int_equal(pull_status(stranger, upstream), 502);
	larder_stop(stranger);
	assert_int_equal(pull_status(larder_to(wire, scripted_url(upstream, 0), with), upstream), 200);
}

WIRE_TEST(client_certificate_is_shown)
{
	expect_certificate(wire, false);
}

WIRE_TEST(client_certificate_is_shown_over_http2)
{
	expect_certificate(wire, true);
}

/* Who one is, is no business of where a redirect leads. */
WIRE_TEST(client_certificate_is_not_shown_to_another_host)
{
	clear_environment();
	struct scripted *upstream = wire_upstream_bare(wire, NULL);
	const struct scripted_tls *tls = wire_tls(wire);
	wire_listen(upstream, &(struct scripted_listen){.tls = tls, .client_certificate = true});
	int other = wire_listen(
		upstream, &(struct scripted_listen){.tls = tls, .address = "127.0.0.2", .client_certificate = true});
	int open = wire_listen(upstream, &(struct scripted_listen){.tls = tls, .address = "127.0.0.2"});
	_cleanup_free_ char *keys = certificate_keys(wire);
	_cleanup_free_ char *to_other = mem_printf("%s*", scripted_url(upstream, other));
	_cleanup_free_ char *to_open = mem_printf("%s*", scripted_url(upstream, open));
	struct larder *larder = larder_to(wire, scripted_url(upstream, 0), keys);
	int rule = scripted_add_rule(upstream,
				     &(struct scripted_rule){.path = BLOBS, .listener = 1, .redirect = to_other});
	assert_int_equal(pull_status(larder, upstream), 502);
	scripted_remove_rule(upstream, rule);
	scripted_add_rule(upstream, &(struct scripted_rule){.path = BLOBS, .listener = 1, .redirect = to_open});
	assert_int_equal(pull_status(larder, upstream), 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(plain_upstream_is_reached_through_the_configured_proxy),
		WIRE_CASE(tls_upstream_is_reached_through_a_tunnel),
		WIRE_CASE(http2_upstream_is_reached_through_a_tunnel),
		WIRE_CASE(environment_names_the_proxy),
		WIRE_CASE(environment_names_the_proxy_in_lower_case),
		WIRE_CASE(environment_excepts_hosts_from_its_proxy),
		WIRE_CASE(refusal_by_the_proxy_is_not_the_upstreams),
		WIRE_CASE(upstream_with_a_ca_of_its_own_is_trusted_only_with_it),
		WIRE_CASE(client_certificate_is_shown),
		WIRE_CASE(client_certificate_is_shown_over_http2),
		WIRE_CASE(client_certificate_is_not_shown_to_another_host),
	};
	return cmocka_run_group_tests_name("egress", tests, NULL, NULL);
}
