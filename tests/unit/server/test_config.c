/* SPDX-License-Identifier: Apache-2.0 */
/* Documents that are taken and what becomes of them, and documents that are refused and what is said. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "server/cli/config.h"

#include <ctype.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

static char directory[] = "/tmp/larder-config-XXXXXX";

static void free_config(struct config **config)
{
	config_free(*config);
}
#define _cleanup_config_ _cleanup_(free_config)

static struct config *parse(const char *text)
{
	struct config *config = NULL;
	struct err err = {0};
	if (config_parse("t.yaml", text, strlen(text), &config, &err))
		fail_msg("refused: %s", err.text);
	assert_non_null(config);
	return config;
}

/* Expects the one message; `says` ending in '~' stands for its beginning. */
static void refuse(const char *text, const char *says)
{
	struct config *config = (struct config *)directory;
	struct err err = {0};
	int code = config_parse("t.yaml", text, strlen(text), &config, &err);
	assert_null(config);
	assert_int_not_equal(code, 0);
	assert_int_equal(code, err.code);
	size_t len = strlen(says);
	if (says[len - 1] == '~')
		len--;
	else
		len++;
	if (strncmp(err.text, says, len) != 0)
		fail_msg("for:\n%s\nexpected: %s\nbut said: %s", text, says, err.text);
}

static char *write_file(const char *name, const char *text, size_t len)
{
	char *path = mem_printf("%s/%s", directory, name);
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), len);
	return path;
}

static void defaults_are_those_of_the_contract(void **state)
{
	(void)state;
	_cleanup_config_ struct config *config = parse("");
	assert_int_equal(config->listen.count, 1);
	assert_string_equal(config->listen.items[0], "127.0.0.1:5000");
	assert_string_equal(config->admin.listen, "127.0.0.1:5001");
	assert_true(config->store.max_size == UINT64_C(200) << 30);
	assert_true(config->store.min_free == UINT64_C(5) << 30);
	assert_false(config->offline);
	assert_string_equal(config->default_upstream, "docker.io");
	assert_int_equal(config->log.level, LOG_INFO);
	assert_int_equal(config->log.format, LOG_TEXT);
	assert_int_equal(config->upstream_count, 7);
	const struct config_upstream *hub = config_find_upstream(config, "Index.Docker.IO");
	assert_non_null(hub);
	assert_string_equal(hub->name, "docker.io");
	assert_string_equal(hub->url, "https://registry-1.docker.io");
	assert_int_equal(hub->tag_ttl_ms, 60000);
	assert_true(hub->stale_for_ms == UNITS_FOREVER);
	assert_int_equal(hub->missing_ttl_ms, 10000);
	assert_int_equal(hub->rate_limit.events, 0);
	assert_int_equal(hub->max_connections, 8);
	assert_int_equal(hub->retries, 3);
	assert_int_equal(hub->connect_timeout_ms, 10000);
	assert_int_equal(hub->idle_timeout_ms, 30000);
	static const char *const names[] = {"quay.io",         "ghcr.io",           "gcr.io",
					    "registry.k8s.io", "mcr.microsoft.com", "public.ecr.aws"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_non_null(config_find_upstream(config, names[i]));
	assert_null(config_find_upstream(config, "example.com"));
}

static void the_store_is_where_xdg_says(void **state)
{
	(void)state;
	assert_int_equal(setenv("XDG_DATA_HOME", "/data/of/me", 1), 0);
	_cleanup_config_ struct config *config = config_default();
	assert_string_equal(config->store.path, geteuid() == 0 ? "/var/lib/larder" : "/data/of/me/larder");
	assert_int_equal(unsetenv("XDG_DATA_HOME"), 0);
}

static void documents_with_nothing_in_them_are_valid(void **state)
{
	(void)state;
	static const char *const texts[] = {"",
					    "\n\n",
					    "# nothing\n",
					    "---\n",
					    "---\n...\n",
					    "{}",
					    "null",
					    "upstreams:\n",
					    "store: ~\ntls: {}\nupstreams: {quay.io: }\n",
					    "\xef\xbb\xbf"};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		config_free(parse(texts[i]));
}

static void every_key_arrives_in_its_field(void **state)
{
	(void)state;
	_cleanup_free_ char *file = write_file("some.pem", "x\n", 2);
	_cleanup_free_ char *password = write_file("password", "s3cret: \"x\"\n", 12);
	_cleanup_free_ char *login = write_file("config.json", "{}", 2);
	_cleanup_free_ char *text = mem_printf(
		"listen: [ '[::1]:0', 0.0.0.0:80 ]\n"
		"tls: { cert: %s, key: %s, client_ca: %s }\n"
		"admin: { listen: 0.0.0.0:1, token_file: %s }\n"
		"store: { path: /x, max_size: 0, min_free: 1.5GiB }\n"
		"access: { htpasswd: %s }\n"
		"log: { level: debug, format: json }\n"
		"offline: true\n"
		"default_upstream: Some.Host:5000\n"
		"upstreams:\n"
		"  some.host:5000:\n"
		"    { url: 'http://[::1]:5000/path/', mirrors: [ http://m ], aliases: other.host, username: me,\n"
		"      password_file: %s, ca: %s, client_cert: %s, client_key: %s, insecure: true, tag_ttl: 0,\n"
		"      immutable_tags: [ 'v[0-9]*' ], stale_for: 7d, missing_ttl: 0, allow: [ 'a/*' ], deny: [ b ],\n"
		"      rate_limit: 100/6h, max_connections: 256, retries: 0, connect_timeout: 1500ms,\n"
		"      idle_timeout: 1h30m, proxy: 'socks5h://p:1080', docker_config: %s, token_services: [ Auth.Host, "
		"a:8 ] }\n",
		file, file, file, file, file, password, file, file, file, login);
	_cleanup_config_ struct config *config = parse(text);
	assert_int_equal(config->listen.count, 2);
	assert_string_equal(config->listen.items[0], "[::1]:0");
	assert_null(config->listen.items[2]);
	assert_string_equal(config->tls.cert, file);
	assert_string_equal(config->tls.key, file);
	assert_string_equal(config->tls.client_ca, file);
	assert_string_equal(config->admin.listen, "0.0.0.0:1");
	assert_string_equal(config->admin.token_file, file);
	assert_string_equal(config->store.path, "/x");
	assert_true(config->store.max_size == 0 && config->store.min_free == UINT64_C(3) << 29);
	assert_string_equal(config->access.htpasswd, file);
	assert_int_equal(config->log.level, LOG_DEBUG);
	assert_int_equal(config->log.format, LOG_JSON);
	assert_true(config->offline);
	assert_string_equal(config->default_upstream, "some.host:5000");
	assert_int_equal(config->upstream_count, 8);
	const struct config_upstream *upstream = config_find_upstream(config, "other.host");
	assert_string_equal(upstream->name, "some.host:5000");
	assert_string_equal(upstream->url, "http://[::1]:5000/path");
	assert_string_equal(upstream->mirrors.items[0], "http://m");
	assert_string_equal(upstream->username, "me");
	assert_string_equal(upstream->password, "s3cret: \"x\"");
	assert_string_equal(upstream->ca, file);
	assert_string_equal(upstream->client_cert, file);
	assert_string_equal(upstream->client_key, file);
	assert_true(upstream->insecure);
	assert_int_equal(upstream->tag_ttl_ms, 0);
	assert_string_equal(upstream->immutable_tags.items[0], "v[0-9]*");
	assert_int_equal(upstream->stale_for_ms, 7 * 86400000);
	assert_int_equal(upstream->missing_ttl_ms, 0);
	assert_string_equal(upstream->allow.items[0], "a/*");
	assert_string_equal(upstream->deny.items[0], "b");
	assert_int_equal(upstream->rate_limit.events, 100);
	assert_int_equal(upstream->rate_limit.period_ms, 6 * 3600000);
	assert_int_equal(upstream->max_connections, 256);
	assert_int_equal(upstream->retries, 0);
	assert_int_equal(upstream->connect_timeout_ms, 1500);
	assert_int_equal(upstream->idle_timeout_ms, 5400000);
	assert_string_equal(upstream->proxy, "socks5h://p:1080");
	assert_string_equal(upstream->docker_config, login);
	assert_int_equal(upstream->token_services.count, 2);
	assert_string_equal(upstream->token_services.items[0], "auth.host");
	assert_string_equal(upstream->token_services.items[1], "a:8");
}

static void a_file_overrides_a_built_in_upstream_key_by_key(void **state)
{
	(void)state;
	_cleanup_config_ struct config *config = parse(
		"upstreams:\n  Docker.io:\n    tag_ttl: 5m\n  new.example: {}\n  quay.io: { aliases: q.example }\n");
	assert_int_equal(config->upstream_count, 8);
	const struct config_upstream *hub = config_find_upstream(config, "docker.io");
	assert_int_equal(hub->tag_ttl_ms, 300000);
	assert_string_equal(hub->url, "https://registry-1.docker.io");
	assert_int_equal(hub->aliases.count, 2);
	assert_string_equal(config_find_upstream(config, "new.example")->url, "https://new.example");
	_cleanup_config_ struct config *cleared = parse("upstreams: {docker.io: {aliases: []}, index.docker.io: }");
	assert_int_equal(config_find_upstream(cleared, "docker.io")->aliases.count, 0);
	assert_string_equal(config_find_upstream(cleared, "index.docker.io")->name, "index.docker.io");
}

static void anchors_are_followed_and_never_in_circles(void **state)
{
	(void)state;
	_cleanup_config_ struct config *config = parse("upstreams:\n  a.example: &a { retries: 7 }\n  b.example: *a\n");
	assert_int_equal(config_find_upstream(config, "b.example")->retries, 7);
	refuse("listen: &l [ *l ]\n", "t.yaml:1:9: listen[0]: takes one value, not a list");
	refuse("upstreams: &u\n  a.example: *u\n", "t.yaml:2:3: upstreams.a.example.a.example: unknown key~");
	refuse("offline: *nowhere\n", "t.yaml:1:10: syntax: found undefined alias");
}

static void variables_expand_in_values(void **state)
{
	(void)state;
	setenv("LARDER_TEST_SET", "/set", 1);
	setenv("LARDER_TEST_EMPTY", "", 1);
	unsetenv("LARDER_TEST_UNSET");
	static const struct {
		const char *written, *path;
	} cases[] = {
		{"${LARDER_TEST_SET}", "/set"},
		{"/a${LARDER_TEST_SET}/b${LARDER_TEST_SET}", "/a/set/b/set"},
		{"${LARDER_TEST_UNSET:-/default}", "/default"},
		{"${LARDER_TEST_EMPTY:-/default}", "/default"},
		{"${LARDER_TEST_SET:-/default}", "/set"},
		{"/x${LARDER_TEST_UNSET:-}", "/x"},
		{"/x${LARDER_TEST_EMPTY}", "/x"},
		{"/$${LARDER_TEST_SET}", "/${LARDER_TEST_SET}"},
		{"/$$${a}", "/$${a}"},
		{"/a$b$$c$", "/a$b$$c$"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		_cleanup_free_ char *text = mem_printf("store:\n  path: %s\n", cases[i].written);
		_cleanup_config_ struct config *config = parse(text);
		assert_string_equal(config->store.path, cases[i].path);
	}
	_cleanup_config_ struct config *config = parse(
		"offline: ${LARDER_TEST_UNSET:-true}\nupstreams: {quay.io: {username: \"${LARDER_TEST_EMPTY}\"}}\n");
	assert_true(config->offline);
	assert_null(config_find_upstream(config, "quay.io")->username);
	refuse("store:\n  path: /x${LARDER_TEST_UNSET}\n",
	       "t.yaml:2:9: store.path: the environment variable LARDER_TEST_UNSET is not set; set it, or write "
	       "${LARDER_TEST_UNSET:-default}");
	refuse("store:\n  path: ${LARDER_TEST_SET\n", "t.yaml:2:9: store.path: '${' has no '}'~");
	refuse("store:\n  path: ${}\n", "t.yaml:2:9: store.path: '${}' names no variable~");
	refuse("store:\n  path: ${1A}\n", "t.yaml:2:9: store.path: '${1A}' names no variable~");
	refuse("store:\n  path: ${A:-${B}}\n", "t.yaml:2:9: store.path: a variable's default holds another~");
	setenv("LARDER_TEST_SET", "two\nlines", 1);
	refuse("store:\n  path: ${LARDER_TEST_SET}\n", "t.yaml:2:9: store.path: 'two?lines' holds control characters~");
	_cleanup_free_ char *large = mem_alloc(9000);
	memset(large, 'x', 8999);
	setenv("LARDER_TEST_SET", large, 1);
	refuse("store:\n  path: ${LARDER_TEST_SET}\n", "t.yaml:2:9: store.path: is too long once~");
	unsetenv("LARDER_TEST_SET");
}

static void what_is_wrong_is_said_with_line_and_column(void **state)
{
	(void)state;
	static const struct {
		const char *text, *says;
	} cases[] = {
		{"listn: x\n", "t.yaml:1:1: listn: unknown key; did you mean listen?"},
		{"# x\n\nstore:\n    max_sise: 3\n", "t.yaml:4:5: store.max_sise: unknown key; did you mean max_size?"},
		{"max_size: 3\n", "t.yaml:1:1: max_size: unknown key here; it belongs in store"},
		{"tag_ttl: 3s\n", "t.yaml:1:1: tag_ttl: unknown key here; it belongs in upstreams.NAME"},
		{"zzz: 3s\n", "t.yaml:1:1: zzz: unknown key; see larder config keys"},
		{"offline: true\noffline: true\n",
		 "t.yaml:2:1: offline: stands here twice, first in line 1; leave out one"},
		{"upstreams:\n  a.b: {}\n  A.b: {}\n", "t.yaml:3:3: upstreams.A.b: stands here twice~"},
		{"offline: yes\n", "t.yaml:1:10: offline: 'yes' is neither true nor false; write one of them"},
		{"offline:\n", "t.yaml:1:9: offline: has no value; give one or leave the key out"},
		{"offline: [true]\n", "t.yaml:1:10: offline: takes one value, not a list"},
		{"offline: !!bool true\n", "t.yaml:1:10: offline: has a tag; leave the tag out"},
		{"[a]: x\n", "t.yaml:1:1: key: a list stands where a key should; write KEY: VALUE"},
		{"\"a\\eb\": x\n", "t.yaml:1:1: key: has a key with control characters; write plain text"},
		{"store: {path: \"a\\0b\"}\n", "t.yaml:1:15: store.path: holds a NUL character; write plain text"},
		{"store: {path: \"a\\nb\"}\n", "t.yaml:1:15: store.path: 'a?b' holds control characters~"},
		{"store: {path: ''}\n", "t.yaml:1:15: store.path: is empty; give a value or leave the key out"},
		{"store: {path: ~/x}\n", "t.yaml:1:15: store.path: '~/x' starts with '~'~"},
		{"store: {max_size: lots}\n",
		 "t.yaml:1:19: store.max_size: 'lots' is not a size; write one like 512MiB or 200GiB"},
		{"store: [x]\n", "t.yaml:1:8: store: takes keys and values, not a list"},
		{"- x\n", "t.yaml:1:1: document: takes keys and values, not a list"},
		{"just text\n", "t.yaml:1:1: document: takes keys and values, not a value"},
		{"listen: []\n", "t.yaml:1:9: listen: is empty; give at least one value or leave the key out"},
		{"listen: {a: b}\n", "t.yaml:1:9: listen: takes a list, not a mapping"},
		{"listen:\n- 1.2.3.4:5\n- 1.2.3.4\n", "t.yaml:3:3: listen[1]: '1.2.3.4' is not ADDR:PORT~"},
		{"log: {level: loud}\n",
		 "t.yaml:1:14: log.level: 'loud' is not known; write error, warn, info or debug"},
		{"default_upstream: nowhere.example\n",
		 "t.yaml:1:19: default_upstream: 'nowhere.example' is not an upstream; write one of upstreams"},
		{"default_upstream: index.docker.io\n",
		 "t.yaml:1:19: default_upstream: 'index.docker.io' is an alias; write docker.io"},
		{"a: b\n---\nc: d\n", "t.yaml:2:1: document: is a second one; write one document"},
		{"a: b\n\tc: d\n", "t.yaml:2:1: syntax: ~"},
		{"store: {path: x\n", "t.yaml:2:1: syntax: ~"},
		{"store:\n  path: \xff\n", "t.yaml:2:9: syntax: invalid leading UTF-8 octet"},
		{"admin: {listen: '0.0.0.0:5001'}\n",
		 "t.yaml:1:17: admin.listen: is beyond loopback without a token; set admin.token_file too"},
		{"tls: {cert: /nowhere/x}\n",
		 "t.yaml:1:13: tls.cert: '/nowhere/x' cannot be read: No such file or directory"},
		{"tls: {cert: /}\n", "t.yaml:1:13: tls.cert: '/' is not a file; name a regular file"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		refuse(cases[i].text, cases[i].says);
}

/* The entry of one upstream, a.example, in flow style: its text starts at column 16 of line 1. */
static void refuse_in_upstream(const char *entry, const char *says)
{
	_cleanup_free_ char *text = mem_printf("upstreams: {\n a.example: {\n%s}}\n", entry);
	_cleanup_free_ char *full = mem_printf("t.yaml:3:%s", says);
	refuse(text, full);
}

static void an_upstream_is_checked(void **state)
{
	(void)state;
	refuse_in_upstream(
		"password: hunter2",
		"11: upstreams.a.example.password: secrets do not stand in this file; use password_file or the "
		"variable LARDER_PASSWORD_A_EXAMPLE");
	refuse_in_upstream("username: me",
			   "11: upstreams.a.example.username: has no password; set password_file or the "
			   "variable LARDER_PASSWORD_A_EXAMPLE");
	_cleanup_free_ char *file = write_file("some.pem", "x\n", 2);
	_cleanup_free_ char *lone_password = mem_printf("password_file: %s", file);
	refuse_in_upstream(lone_password, "16: upstreams.a.example.password_file: has no user name; set username too");
	_cleanup_free_ char *lone_cert = mem_printf("client_cert: %s", file);
	refuse_in_upstream(lone_cert, "14: upstreams.a.example.client_cert: has no private key; set client_key too");
	_cleanup_free_ char *lone_key = mem_printf("client_key: %s", file);
	refuse_in_upstream(lone_key, "13: upstreams.a.example.client_key: has no certificate; set client_cert too");
	refuse_in_upstream("allow: ['']", "9: upstreams.a.example.allow[0]: has an empty item~");
	refuse_in_upstream("max_connections: 0", "18: upstreams.a.example.max_connections: '0' is not a number from 1 "
						 "to 256");
	refuse_in_upstream("max_connections: 257", "18: ~");
	refuse_in_upstream("retries: 101", "10: ~");
	refuse_in_upstream("retries: -1", "10: ~");
	refuse_in_upstream("retries: 1x", "10: ~");
	refuse_in_upstream("retries: 18446744073709551617", "10: ~");
	refuse_in_upstream("tag_ttl: soon", "10: upstreams.a.example.tag_ttl: 'soon' is not a duration; write one like "
					    "30s, 5m, 12h or 1h30m, or forever");
	refuse_in_upstream("idle_timeout: 0s", "15: upstreams.a.example.idle_timeout: '0s' is out of bounds~");
	refuse_in_upstream("idle_timeout: forever", "15: ~");
	refuse_in_upstream("rate_limit: 20", "13: upstreams.a.example.rate_limit: '20' is not a rate~");
	refuse_in_upstream("aliases: [ quay.io ]", "12: upstreams.a.example.aliases[0]: 'quay.io' already means the "
						   "upstream quay.io; leave out one of the two");
	refuse_in_upstream(
		"aliases: [ x.example, INDEX.docker.io ]",
		"23: upstreams.a.example.aliases[1]: 'index.docker.io' already means the upstream docker.io~");
	refuse_in_upstream("aliases: [ a.example ]", "12: ~");
	refuse_in_upstream("url: https://user:pass@host",
			   "6: upstreams.a.example.url: 'https://*********@host' is not~");
}

static void only_good_addresses_urls_and_names_are_taken(void **state)
{
	(void)state;
	static const char *const listens[] = {
		"localhost:5000", ":5000",       "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:5 ",     "::1:5000", "[::1]",
		"[::1]5000",      "[1.2.3.4]:1", "[::1]:x",  "1.2.3.256:80",  "1.2.3.4:123456", "unix:/x"};
	for (size_t i = 0; i < sizeof(listens) / sizeof(listens[0]); i++) {
		_cleanup_free_ char *text = mem_printf("listen: \"%s\"\n", listens[i]);
		refuse(text, "t.yaml:1:9: listen: ~");
	}
	static const char *const admins[] = {"unix:", "unix:relative", "on", "Off", "localhost:1"};
	for (size_t i = 0; i < sizeof(admins) / sizeof(admins[0]); i++) {
		_cleanup_free_ char *text = mem_printf("admin: {listen: \"%s\"}\n", admins[i]);
		refuse(text, "t.yaml:1:17: admin.listen: ~");
	}
	static const char *const good_admins[] = {"unix:/run/larder.sock", "off", "[::1]:1", "127.9.9.9:0"};
	for (size_t i = 0; i < sizeof(good_admins) / sizeof(good_admins[0]); i++) {
		_cleanup_free_ char *text = mem_printf("admin: {listen: \"%s\"}\n", good_admins[i]);
		config_free(parse(text));
	}
	static const char *const urls[] = {"ftp://x",         "x.example",   "https://",     "https:///x",
					   "https://u@x",     "https://x?q", "https://x/#f", "https://x y",
					   "https://x:99999", "//x"};
	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		_cleanup_free_ char *url = mem_printf("url: \"%s\"", urls[i]);
		refuse_in_upstream(url, "6: upstreams.a.example.url: ~");
		_cleanup_free_ char *mirror = mem_printf("mirrors: [\"%s\"]", urls[i]);
		refuse_in_upstream(mirror, "11: upstreams.a.example.mirrors[0]: ~");
		_cleanup_free_ char *proxy = mem_printf("proxy: \"%s\"", urls[i]);
		refuse_in_upstream(proxy, "8: upstreams.a.example.proxy: ~");
	}
	static const char *const names[] = {"a b", "-a",  "a-.b",  "a..b",  ".a", "a.",  "a/b",
					    "a:",  "a:x", "a:1:2", "[::1]", "",   "a_b", "http://a"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		_cleanup_free_ char *text = mem_printf("upstreams: {\"%s\": {}}\n", names[i]);
		refuse(text, "t.yaml:1:13: upstreams: ~");
	}
	config_free(parse("upstreams: {\"[::1]:5000\": {}, localhost: {}, \"10.0.0.1:5000\": {}, a-b.c--d: {}}\n"));
}

static void bounds_hold(void **state)
{
	(void)state;
	_cleanup_(buf_dispose) struct buf text = {0};
	buf_append_text(&text, "upstreams:\n");
	for (int i = 0; i < CONFIG_UPSTREAMS_MAX; i++)
		buf_printf(&text, "  u%d.example: {}\n", i);
	refuse(text.data, "t.yaml:1019:3: upstreams: holds too many; up to 1024 are taken");
	buf_clear(&text);
	buf_append_text(&text, "upstreams: {quay.io: {deny: [");
	for (int i = 0; i <= CONFIG_LIST_MAX; i++)
		buf_append_text(&text, "x,");
	buf_append_text(&text, "]}}");
	refuse(text.data, "t.yaml:1:542: upstreams.quay.io.deny[256]: has too many items; up to 256 are taken");
	buf_clear(&text);
	buf_append_text(&text, "#");
	while (text.len < CONFIG_FILE_MAX)
		buf_append_text(&text, "#");
	config_free(parse(text.data));
	buf_append_text(&text, "#");
	refuse(text.data, "t.yaml: is larger than 1048576 bytes");
	_cleanup_free_ char *path = write_file("large.yaml", text.data, text.len);
	struct config *config = NULL;
	assert_int_equal(config_read(path, &config, NULL), ERR_LIMIT);
	buf_clear(&text);
	for (int i = 0; i < 100000; i++)
		buf_append_text(&text, "[");
	refuse(text.data, "t.yaml:1:17: document: nests too deep; no key needs this");
	buf_clear(&text);
	for (int i = 0; i < 100000; i++)
		buf_append_text(&text, "- ");
	refuse(text.data, "t.yaml:1:33: document: nests too deep; no key needs this");
	buf_clear(&text);
	for (int i = 0; i < 80000; i++)
		buf_printf(&text, "- &a%d x\n", i);
	refuse(text.data, "t.yaml:257:3: document: has too many anchors; repeat the values instead");
}

static void passwords_come_from_a_file_or_the_environment(void **state)
{
	(void)state;
	setenv("LARDER_PASSWORD_A_EXAMPLE_5000", "from the environment", 1);
	_cleanup_config_ struct config *from_environment = parse("upstreams: {\"a.example:5000\": {username: me}}");
	assert_string_equal(config_find_upstream(from_environment, "a.example:5000")->password, "from the environment");
	_cleanup_config_ struct config *nobody = parse("upstreams: {\"a.example:5000\": {}}");
	assert_null(config_find_upstream(nobody, "a.example:5000")->password);
	_cleanup_free_ char *file = write_file("password", "line one\nline two\r\n", 19);
	_cleanup_free_ char *text =
		mem_printf("upstreams: {\"a.example:5000\": {username: me, password_file: %s}}", file);
	_cleanup_config_ struct config *from_file = parse(text);
	assert_string_equal(config_find_upstream(from_file, "a.example:5000")->password, "line one\nline two");
	free(write_file("password", "\n", 1));
	refuse(text,
	       "t.yaml:1:61: upstreams.a.example:5000.password_file: is empty; the file must hold the password and "
	       "nothing else");
	free(write_file("password", "a\0b", 3));
	refuse(text, "t.yaml:1:61: upstreams.a.example:5000.password_file: holds a NUL byte~");
	_cleanup_free_ char *large = mem_alloc(CONFIG_SECRET_MAX + 1);
	memset(large, 'x', CONFIG_SECRET_MAX + 1);
	free(write_file("password", large, CONFIG_SECRET_MAX + 1));
	refuse(text, "t.yaml:1:61: upstreams.a.example:5000.password_file: is too long~");
	unsetenv("LARDER_PASSWORD_A_EXAMPLE_5000");
}

static void docker_config_is_read_and_its_secrets_are_not_told(void **state)
{
	(void)state;
	_cleanup_free_ char *file = write_file("config.json", "{}", 2);
	_cleanup_free_ char *text = mem_printf("upstreams:\n  a.example:\n    docker_config: %s\n", file);
	static const struct {
		const char *text, *says;
	} cases[] = {
		{"{\"auths\": {\"a.example\": {\"auth\": \"s3cret\"}}}",
		 "auths.a.example.auth: is not base64 of USER:PASSWORD"},
		{"{\"auths\": s3cret", "1: is not a JSON object"},
		{"{\"credsStore\": \"../s3cret\"}", "credsStore: is not a helper's name~"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		free(write_file("config.json", cases[i].text, strlen(cases[i].text)));
		_cleanup_free_ char *says =
			mem_printf("t.yaml:3:20: upstreams.a.example.docker_config: %s:%s%s", file,
				   isdigit((unsigned char)cases[i].says[0]) ? "" : " ", cases[i].says);
		refuse(text, says);
	}
	free(write_file("config.json", "{\"auths\": {\"b.example\": {}}}", strlen("{\"auths\": {\"b.example\": {}}}")));
	config_free(parse(text));
	unlink(file);
	refuse(text, "t.yaml:3:20: upstreams.a.example.docker_config: '/tmp/larder-config-~");
}

static void all_problems_are_told_in_order(void **state)
{
	(void)state;
	struct config *config = NULL;
	struct config_problems problems;
	static const char text[] = "offline: maybe\nx: y\nstore: {path: '', min_free: z}\n";
	assert_int_equal(config_parse_all("t.yaml", text, strlen(text), &config, &problems), ERR_INVALID);
	assert_int_equal(problems.count, 4);
	assert_memory_equal(problems.items[0].text, "t.yaml:1:10: ", 13);
	assert_memory_equal(problems.items[1].text, "t.yaml:2:1: ", 12);
	assert_memory_equal(problems.items[2].text, "t.yaml:3:15: ", 13);
	assert_memory_equal(problems.items[3].text, "t.yaml:3:29: ", 13);
	_cleanup_(buf_dispose) struct buf many = {0};
	for (int i = 0; i < 100; i++)
		buf_printf(&many, "x%d: y\n", i);
	assert_int_equal(config_parse_all("t.yaml", many.data, many.len, &config, &problems), ERR_INVALID);
	assert_int_equal(problems.count, CONFIG_PROBLEMS_MAX);
}

static void a_missing_file_is_an_error(void **state)
{
	(void)state;
	struct config *config = NULL;
	struct err err = {0};
	assert_int_equal(config_read("/nowhere/larder.yaml", &config, &err), ERR_IO);
	assert_string_equal(err.text, "/nowhere/larder.yaml: cannot be read: No such file or directory");
	assert_null(config);
	_cleanup_free_ char *path = write_file("good.yaml", "offline: true\n", 14);
	assert_int_equal(config_read(path, &config, &err), 0);
	assert_true(config->offline);
	config_free(config);
	setenv("LARDER_CONFIG", path, 1);
	assert_string_equal(config_default_path(), path);
	unsetenv("LARDER_CONFIG");
}

static void the_command_line_sets_keys_by_their_path(void **state)
{
	(void)state;
	struct err err = {0};
	_cleanup_config_ struct config *config = config_default();
	assert_int_equal(config_set(config, "listen", (const char *const[]){"0.0.0.0:1", "[::]:2"}, 2, &err), 0);
	assert_int_equal(config->listen.count, 2);
	assert_string_equal(config->listen.items[1], "[::]:2");
	assert_int_equal(config_set(config, "listen", (const char *const[]){"0.0.0.0:3", "x"}, 2, &err), ERR_INVALID);
	assert_memory_equal(err.text, "listen: 'x' is not ADDR:PORT", 28);
	assert_string_equal(config->listen.items[0], "0.0.0.0:1");
	assert_int_equal(config_set(config, "listen", NULL, 0, &err), ERR_INVALID);
	assert_int_equal(config_set(config, "store.path", (const char *const[]){"/${x}"}, 1, &err), 0);
	assert_string_equal(config->store.path, "/${x}");
	assert_int_equal(config_set(config, "log.level", (const char *const[]){"warn"}, 1, &err), 0);
	assert_int_equal(config->log.level, LOG_WARN);
	static const char *const bad[] = {"store", "store.", "x.path", "", "upstreams", "listen.x"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(config_set(config, bad[i], (const char *const[]){"x"}, 1, &err), ERR_INVALID);
}

static void the_command_line_adds_and_overrides_upstreams(void **state)
{
	(void)state;
	struct err err = {0};
	_cleanup_config_ struct config *config = config_default();
	assert_int_equal(config_set_upstream(config, "http://127.0.0.1:8080/", true, &err), 0);
	assert_string_equal(config->default_upstream, "127.0.0.1:8080");
	assert_string_equal(config_find_upstream(config, "127.0.0.1:8080")->url, "http://127.0.0.1:8080");
	assert_int_equal(config_set_upstream(config, "Docker.io=http://mirror", false, &err), 0);
	assert_string_equal(config_find_upstream(config, "docker.io")->url, "http://mirror");
	assert_string_equal(config->default_upstream, "127.0.0.1:8080");
	assert_int_equal(config_set_upstream(config, "https://registry-1.docker.io", true, &err), 0);
	assert_string_equal(config->default_upstream, "docker.io");
	assert_int_equal(config->upstream_count, 8);
	assert_int_equal(config_validate(config, &err), 0);
	static const char *const bad[] = {"", "x", "=http://x", "x=", "a b=http://x", "x=ftp://x", "http://"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		err = (struct err){0};
		assert_int_equal(config_set_upstream(config, bad[i], true, &err), ERR_INVALID);
		assert_memory_equal(err.text, "upstream: ", 10);
	}
	assert_int_equal(config->upstream_count, 8);
}

static int make_directory(void **state)
{
	(void)state;
	unsetenv("LARDER_CONFIG");
	return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
	(void)state;
	static const char *const names[] = {"some.pem", "password", "config.json", "large.yaml", "good.yaml"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		_cleanup_free_ char *path = mem_printf("%s/%s", directory, names[i]);
		unlink(path);
	}
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_those_of_the_contract),
		cmocka_unit_test(the_store_is_where_xdg_says),
		cmocka_unit_test(documents_with_nothing_in_them_are_valid),
		cmocka_unit_test(every_key_arrives_in_its_field),
		cmocka_unit_test(a_file_overrides_a_built_in_upstream_key_by_key),
		cmocka_unit_test(anchors_are_followed_and_never_in_circles),
		cmocka_unit_test(variables_expand_in_values),
		cmocka_unit_test(what_is_wrong_is_said_with_line_and_column),
		cmocka_unit_test(an_upstream_is_checked),
		cmocka_unit_test(only_good_addresses_urls_and_names_are_taken),
		cmocka_unit_test(bounds_hold),
		cmocka_unit_test(passwords_come_from_a_file_or_the_environment),
		cmocka_unit_test(docker_config_is_read_and_its_secrets_are_not_told),
		cmocka_unit_test(all_problems_are_told_in_order),
		cmocka_unit_test(a_missing_file_is_an_error),
		cmocka_unit_test(the_command_line_sets_keys_by_their_path),
		cmocka_unit_test(the_command_line_adds_and_overrides_upstreams),
	};
	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
