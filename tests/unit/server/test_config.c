/* SPDX-License-Identifier: Apache-2.0 */
/* Documents that are taken, and what becomes of them. */
#include "tests/unit/server/config_bed.h"

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
	refuse("listen: &l [ *l ]\n", "t.yaml:1:9: listen[0]: takes one value, not a list~");
	refuse("upstreams: &u\n  a.example: *u\n", "t.yaml:2:3: upstreams.a.example.a.example: unknown key~");
	refuse("offline: *nowhere\n", "t.yaml:1:10: syntax: found undefined alias; put quotes~");
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
	};
	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
